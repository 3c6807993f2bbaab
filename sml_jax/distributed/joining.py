"""Joining the processes of a run and leaving them: nobody waits for a peer that is gone, and all say why."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, NoReturn

from sml_jax.distributed import aborts, coordination, processes
from sml_jax.distributed.heartbeats import LOST_AFTER, Heartbeats
from sml_jax.errors import EXIT_PEER_LOST, EXIT_STOPPED, EXIT_USER_ERROR, Stopped, UserError

_START_TIMEOUT = 300  # seconds until all processes must have come
_END_TIMEOUT = 30
_GRACE = 5.0  # seconds in which an error of one process may turn out to be an error of all
_LAST_OUT = 12.0  # process 0 holds the store, so it waits so long for the others to go first
_SILENCE = 5.0  # of the store, once JAX has given it up
_NOT_FOUND = "the processes of the run did not find each other"
# How the text of XLA's errors begins where a peer may be to blame.
_STATUS = re.compile("(UNKNOWN|INTERNAL|UNAVAILABLE|ABORTED|CANCELLED|DEADLINE_EXCEEDED|FAILED_PRECONDITION): ")


@dataclass(frozen=True)
class Group:
    """Which processes run together, in JAX's own words; nothing given is one process alone.

    Attributes:
      coordinator_address: HOST:PORT of process 0, free there. num_processes: in all. process_id: this one's, from 0.
      detect: leave what is not given to JAX, which knows TPU pods, Slurm, Open MPI and Kubernetes.
    """

    coordinator_address: str | None = None
    num_processes: int | None = None
    process_id: int | None = None
    detect: bool = False

    def __post_init__(self) -> None:
        given = [self.coordinator_address, self.num_processes, self.process_id]
        if not self.detect and None in given and given != [None] * 3:
            raise UserError(
                "several processes: give --coordinator_address=HOST:PORT, --num_processes=N and --process_id=I all "
                "three, or --distributed=auto on a cluster that JAX knows"
            )
        address, count, me = self.coordinator_address, self.num_processes, self.process_id
        if address is not None and not (":" in address and address.rpartition(":")[2].isdigit()):
            raise UserError(f"several processes: coordinator_address is {address!r}: give HOST:PORT of process 0")
        if count is not None and count < 1:
            raise UserError(f"several processes: num_processes is {count}; it must be at least 1")
        if me is not None and not 0 <= me < (count or me + 1):
            raise UserError(f"several processes: process_id is {me}; give a number from 0 to {(count or 1) - 1}")

    @property
    def alone(self) -> bool:
        return not self.detect and self.coordinator_address is None


@contextlib.contextmanager
def joined(group: Group, lost_after: float = LOST_AFTER) -> Iterator[None]:
    """Runs the body as one of several processes. Before it, nothing may have touched a JAX device.

    In every process but 0, standard output is silent. An error in the body ends all processes; a lost peer does too,
    with exit code 76.

    Args:
      group: of processes; for one alone this does nothing.
      lost_after: seconds without a sign of life after which a peer is lost.

    Raises:
      UserError: the processes did not find each other.
    """
    if group.alone:
        yield
        return
    _connect(group)
    peers = _Peers(lost_after)
    with contextlib.ExitStack() as stack:
        if not processes.is_primary():
            nowhere = stack.enter_context(open(os.devnull, "w"))
            stack.enter_context(contextlib.redirect_stdout(nowhere))
        try:
            processes.assert_equal("the version of JAX", version("jax"))
            yield
        except BaseException as error:
            peers.leave(error)
            raise
        peers.part()


def _connect(group: Group) -> None:
    import jax

    # JAX would take SIGTERM for itself; a run that is asked to stop saves first.
    jax.config.update("jax_enable_preemption_service", False)
    cure = (
        f"see that all {group.num_processes or 'of them'} were started with the same address, and that its port is free"
    )
    # JAX aborts the process when it has waited in vain.
    aborts.delay_aborts(0, lambda: _exit(EXIT_USER_ERROR, f"{_NOT_FOUND} within {_START_TIMEOUT} seconds: {cure}"))
    try:
        jax.distributed.initialize(
            group.coordinator_address,
            group.num_processes,
            group.process_id,
            cluster_detection_method=None if group.detect else "deactivate",
            initialization_timeout=_START_TIMEOUT,
            shutdown_timeout_seconds=_END_TIMEOUT,
        )
    except (ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        if group.detect and isinstance(error, ValueError):
            raise UserError(
                f"--distributed=auto found no cluster that JAX knows ({reason}): give --coordinator_address=HOST:PORT, "
                "--num_processes=N and --process_id=I"
            ) from error
        raise UserError(f"{_NOT_FOUND} ({reason}): {cure}") from error


class _Peers:
    """This process among the others: who they are, and how it leaves them."""

    def __init__(self, lost_after: float):
        self._me, self._count = coordination.process_id(), coordination.process_count()
        who = processes.all_gather([socket.gethostname(), os.getpid()])
        self._names = [f"process {p} of {self._count} (host {host}, pid {pid})" for p, (host, pid) in enumerate(who)]
        self._leaving = threading.Lock()  # taken once, by the thread that decides how this process ends
        self._lost_after = lost_after
        self._hearts = Heartbeats(self._on_lost, self._on_left, lost_after)
        self._hearts.start()
        aborts.delay_aborts(2 * _SILENCE, lambda: self._hearts.hurry(_SILENCE))

    def part(self) -> None:
        """Leaves together with all others, at the end of the program."""
        processes.all_gather(None)
        self._let_go()

    def leave(self, error: BaseException) -> None:
        """Leaves because of an error. Returns in process 0 if all processes have the same one, to tell it; else ends.

        Raises:
          SystemExit: in the other processes, if all have the same error: process 0 tells it.
        """
        if isinstance(error, Stopped) or (isinstance(error, SystemExit) and not error.code):
            self.part()
            self._quietly(EXIT_STOPPED if isinstance(error, Stopped) else 0)
            return
        if _may_be_a_peers(error):
            time.sleep(self._lost_after + _GRACE)  # the watch ends this process if a peer is to blame
        if not self._leaving.acquire(blocking=False):
            threading.Event().wait()
        code, text = _exit_code(error), f"{'' if isinstance(error, UserError) else type(error).__name__ + ': '}{error}"
        text = (text.splitlines() or [""])[0]
        self._hearts.say(json.dumps({"code": code, "text": text}).encode())
        until = time.monotonic() + _GRACE
        while time.monotonic() < until and len(self._hearts.left) + 1 < self._count:
            time.sleep(0.05)
        words = [json.loads(word) for word in self._hearts.left.values()]
        if len(words) + 1 == self._count and all(word == {"code": code, "text": text} for word in words):
            self._let_go()
            self._quietly(code)
            return
        if code == 1:
            traceback.print_exception(error)
        self._end(code, f"{self._names[self._me]}: {text}")

    def _quietly(self, code: int) -> None:
        """Ends every process but 0, which has something to print."""
        if self._me:
            raise SystemExit(code)

    def _let_go(self) -> None:
        import jax

        self._hearts.stop()
        with contextlib.suppress(RuntimeError):  # a peer that dies now has done its work
            jax.distributed.shutdown()

    def _on_lost(self, peers: list[int]) -> None:
        names = " and ".join(self._names[peer] for peer in peers)
        text = (
            f"{names} {'was' if len(peers) == 1 else 'were'} lost; start the job again and it goes on "
            "from the last checkpoint"
        )
        if self._leaving.acquire(blocking=False):
            if 0 not in peers:
                self._hearts.say(json.dumps({"code": EXIT_PEER_LOST, "text": text}).encode())
            self._end(EXIT_PEER_LOST, text, gone=len(peers))

    def _on_left(self, peer: int, word: bytes) -> None:
        said: dict[str, Any] = json.loads(word)
        if said["code"] != EXIT_PEER_LOST:
            time.sleep(_GRACE)  # this process may be about to find the same, or be waiting for the peer
        if not self._leaving.acquire(blocking=False):
            return
        text = said["text"]
        if said["code"] != EXIT_PEER_LOST:
            text = f"{self._names[peer]} ended, and so all do: {text}"
        self._hearts.say(json.dumps({"code": said["code"], "text": text}).encode())
        self._end(said["code"], text)

    def _end(self, code: int, text: str, gone: int = 0) -> NoReturn:
        """Ends the process at once: its main thread may be waiting for a peer for ever."""
        _say(text)
        until = time.monotonic() + _LAST_OUT
        while self._me == 0 and time.monotonic() < until and len(self._hearts.left) + 1 + gone < self._count:
            time.sleep(0.05)
        if self._me == 0 and self._hearts.left:
            time.sleep(0.5)  # who has said its last word is gone a moment later
        os._exit(code)


def _say(text: str) -> None:
    sys.stderr.flush()
    os.write(2, f"sml-jax: error: {text}\n".encode(errors="backslashreplace"))


def _exit(code: int, text: str) -> NoReturn:
    _say(text)
    os._exit(code)


def _may_be_a_peers(error: BaseException | None) -> bool:
    """Whether it may come from a collective or a barrier that a peer did not come to: XLA raises these as any type."""
    while error is not None:
        if _STATUS.match(str(error)):
            return True
        error = error.__cause__ or error.__context__
    return False


def _exit_code(error: BaseException) -> int:
    if isinstance(error, UserError):
        return EXIT_USER_ERROR
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 1
    return 130 if isinstance(error, KeyboardInterrupt) else 1
