"""The lock of a run's folder: one run at a time writes there, and one that was killed does not block the next.

The holder keeps the file `run.lock` locked with flock, which the system undoes when the process ends, however it ends.
The file also names the holder, because some network disks know no flock, or keep it to each host. Where a newcomer
cannot look the holder up, the holder's heartbeat decides: it writes a new number every `BEAT_SECONDS`. The newcomer
watches the file for `SILENCE_SECONDS`, by its own clock, so that the clocks of hosts need not agree.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import stat
import threading
import time
import weakref
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from sml_jax.common.errors import UserError
from sml_jax.common.json_text import parse_json
from sml_jax.run.io.display import printable
from sml_jax.run.io.json_lines import writing
from sml_jax.run.io.process_identity import ProcessIdentity, is_alive, this_process

LOCK_NAME = "run.lock"
BEAT_SECONDS = 10.0
# Network disks may show a file as it was up to a minute ago.
SILENCE_SECONDS = 90.0
# The holder's name takes some 300 bytes.
_MAX_BYTES = 4096


class FolderHeld(UserError):
    """Raised for a folder that another process holds, so that whoever has other work can take that up instead."""


class FolderLock:
    """Held by one process of all that name the same file; see the module.

    Args:
      path: the lock's file, in a folder that exists. It is removed when the lock is released.
      beat: seconds between heartbeats.
      silence: seconds without a heartbeat after which a holder that cannot be looked up counts as gone.
    """

    def __init__(self, path: Path, beat: float = BEAT_SECONDS, silence: float = SILENCE_SECONDS):
        self._path = path
        self._beat_seconds, self._silence = beat, silence
        self._token = secrets.token_hex(8)
        self._since = datetime.now(UTC).isoformat(" ", "seconds")
        self._beats = 0
        self._descriptor: int | None = None
        self._released = threading.Event()
        self._thread = threading.Thread(target=self._keep_beating, name="heartbeat of the run's folder", daemon=True)

    def acquire(self) -> None:
        """Takes the lock. It may wait, with a line that says so, where the last holder cannot be looked up.

        Raises:
          FolderHeld: another process holds it.
          UserError: the file cannot be written.
        """
        watch = _Watch(self._path, self._silence)
        while self._descriptor is None:
            descriptor, is_new = _open(self._path)
            try:
                locked = _flock(descriptor)
                text = _read(descriptor)
                # The last holder may have removed the file after it was opened here.
                if _is_at(descriptor, self._path) and watch.may_take(text, locked, is_new):
                    self._take(descriptor)
            finally:
                if self._descriptor is None:
                    os.close(descriptor)
            if self._descriptor is None:
                time.sleep(min(0.5, self._silence / 20))

    def check(self) -> None:
        """Makes sure that this process still holds the lock, which it took.

        Raises:
          UserError: another process has taken it over, or somebody removed it.
        """
        try:
            text = self._read_again()
        except FileNotFoundError:
            raise UserError(
                f"{self._path} was removed while this run held it, and another run may have begun: this one ends, so "
                "that their records do not mix. Start again with the same --workdir, which goes on from the last "
                "checkpoint"
            ) from None
        except OSError:
            # A disk that cannot be read for a moment says nothing of the holder.
            return
        if not self._is_ours(text):
            raise UserError(
                f"{_words(_holder(text))} has taken over {self._path.parent}, since it saw no heartbeat of this run "
                f"for {self._silence:g} seconds: this one ends, so that their records do not mix. See what suspended "
                "it, or cut it off from its disk"
            )

    def release(self) -> None:
        """Gives the lock back, and removes its file if it is still this process's."""
        if self._descriptor is None:
            return
        self._released.set()
        self._thread.join()
        # The file goes while it is still locked, so that it is never another's.
        try:
            if self._is_ours(self._read_again()):
                self._path.unlink()
        except OSError:
            # A lock that is left behind names a process that has ended, and blocks nobody.
            pass
        os.close(self._descriptor)
        self._descriptor = None

    def _take(self, descriptor: int) -> None:
        """Writes this process's name into the file, and begins to renew it."""
        with writing(self._path):
            length = self._write(descriptor)
            os.ftruncate(descriptor, length)
        self._descriptor = descriptor
        _held.add(self)
        self._thread.start()

    def _write(self, descriptor: int) -> int:
        """Writes the file anew and returns its length. It never becomes shorter, since the number of beats grows."""
        self._beats += 1
        values = {**asdict(this_process()), "since": self._since, "token": self._token, "beats": self._beats}
        text = (json.dumps(values) + "\n").encode()
        os.pwrite(descriptor, text, 0)
        os.fsync(descriptor)
        return len(text)

    def _keep_beating(self) -> None:
        """Renews the file until the lock is released, or is another's."""
        while not self._released.wait(self._beat_seconds):
            assert self._descriptor is not None
            try:
                if not self._is_ours(self._read_again()):
                    return
                self._write(self._descriptor)
            except OSError:
                # A full disk or a lost network: the next beat may succeed.
                continue

    def _read_again(self) -> str:
        """The file as other processes see it: network disks look again when a file is opened."""
        descriptor = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            return _read(descriptor)
        finally:
            os.close(descriptor)

    def _is_ours(self, text: str) -> bool:
        return self._token in text

    def close_in_child(self) -> None:
        """Lets go of the open file in a forked child, which would keep the file locked after its parent's end."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


class _Watch:
    """What a newcomer has seen of a lock's file so far, and what follows from it."""

    def __init__(self, path: Path, silence: float):
        self._path, self._silence = path, silence
        self._first_text: str | None = None
        self._until = 0.0

    def may_take(self, text: str, locked: bool | None, is_new: bool) -> bool:
        """Whether the lock may be taken now; if not, the newcomer looks again a little later.

        Args:
          text: what the file holds now.
          locked: whether flock gave the file to the newcomer; None where the disk knows no flock.
          is_new: whether the newcomer made the file.

        Raises:
          FolderHeld: the lock is another process's.
        """
        # Whoever takes the lock writes the file before unlocking it: an empty one is nobody's.
        if locked is not False and (is_new or (locked and not text)):
            return True
        holder = _holder(text)
        alive = is_alive(holder) if holder is not None else None
        if alive:
            raise self._held(holder, "")
        if alive is False and locked is not False:
            return True
        # The holder cannot be looked up, or is gone while somebody else has just locked the file.
        if self._first_text is None:
            self._first_text, self._until = text, time.monotonic() + self._silence
            if alive is None:
                print(
                    f"{self._path} names {_words(holder)}, which cannot be looked up from here: waiting up to "
                    f"{self._silence:g} seconds for a heartbeat of it",
                    flush=True,
                )
        elif alive is None and text != self._first_text:
            raise self._held(holder, ", and has just renewed its lock")
        if time.monotonic() < self._until:
            return False
        if locked is False:
            raise self._held(holder, f", or a process that it left behind; no heartbeat for {self._silence:g} seconds")
        print(f"no heartbeat of {_words(holder)} for {self._silence:g} seconds: its lock is taken over", flush=True)
        return True

    def _held(self, holder: ProcessIdentity | None, more: str) -> FolderHeld:
        """The error for a folder that another process holds."""
        return FolderHeld(
            f"{self._path.parent} is held by {_words(holder)}{more}; two runs would mix their records: wait until it "
            f"has ended, stop it, or give another --workdir. If you know that it is gone, remove {self._path}"
        )


# Locks that this process holds: forked children let go of their files.
_held: weakref.WeakSet[FolderLock] = weakref.WeakSet()


def _let_go_in_child() -> None:
    for lock in list(_held):
        lock.close_in_child()


os.register_at_fork(after_in_child=_let_go_in_child)


def _open(path: Path) -> tuple[int, bool]:
    """Opens a lock's file, made if it is not there; returns its descriptor and whether it was made.

    Raises:
      UserError: it cannot be opened, or is no file.
    """
    # O_NONBLOCK, so that a FIFO of this name cannot hold up the run.
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with writing(path):
        try:
            return os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o666), True
        except FileExistsError:
            descriptor = os.open(path, flags | os.O_CREAT, 0o666)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UserError(f"{path} is no file, but a run locks one there: remove it, or give another --workdir")
    return descriptor, False


def _flock(descriptor: int) -> bool | None:
    """Locks a file if nobody else has; returns whether it did, None where the disk knows no such locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether an open file is still the one at a path."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except OSError:
        return False


def _read(descriptor: int) -> str:
    return os.pread(descriptor, _MAX_BYTES, 0).decode("utf-8", errors="replace")


def _holder(text: str) -> ProcessIdentity | None:
    """The process that a lock's file names; None if it names none."""
    try:
        values = parse_json(text)
        holder = ProcessIdentity(
            host=str(values["host"]),
            pid=int(values["pid"]),
            boot=str(values["boot"]),
            pid_namespace=str(values["pid_namespace"]),
            start_ticks=int(values["start_ticks"]),
        )
    except (ValueError, TypeError, KeyError, OverflowError):
        return None
    # Other numbers are no process's, and the system would be asked something else.
    return holder if 0 < holder.pid < 2**31 else None


def _words(holder: ProcessIdentity | None) -> str:
    """A holder, as errors call it."""
    return "an unknown process" if holder is None else f"process {holder.pid} on host {printable(holder.host)}"
