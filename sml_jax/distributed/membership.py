"""How processes join a run and leave it: no process waits for a peer that is gone, and each says why it ends."""

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

from sml_jax.common.errors import EXIT_PEER_LOST, EXIT_STOPPED, EXIT_USER_ERROR, Stopped, UserError
from sml_jax.distributed import abort_handler, processes, store
from sml_jax.distributed.heartbeats import LOST_AFTER, Heartbeats

# All in seconds.
_START_TIMEOUT = 300  # until all processes must have come
_END_TIMEOUT = 30
_GRACE = 5.0  # in which an error of one process may turn out to be an error of all
_PRIMARY_STAYS = 12.0  # process 0 holds the store, so it waits this long for the others to end first
_STORE_SILENCE = 5.0  # of the store, once JAX has given it up

_NOT_FOUND = "the processes of the run did not find each other"
# How the text of XLA's errors begins where a peer may be to blame.
_PEER_ERROR = re.compile("(UNKNOWN|INTERNAL|UNAVAILABLE|ABORTED|CANCELLED|DEADLINE_EXCEEDED|FAILED_PRECONDITION): ")


@dataclass(frozen=True)
class ProcessGroup:
    """Which processes run together, in the terms of `jax.distributed.initialize`. The default is one process alone.

    Attributes:
      coordinator_address: HOST:PORT of process 0, with a port that is free there.
      num_processes: how many there are. process_id: the number of this one, from 0.
      detect: whether JAX finds what is not given: it knows TPU pods, Slurm, Open MPI and Kubernetes.

    Raises:
      UserError: only some of the values are given, or one is not possible.
    """

    coordinator_address: str | None = None
    num_processes: int | None = None
    process_id: int | None = None
    detect: bool = False

    def __post_init__(self) -> None:
        values = [self.coordinator_address, self.num_processes, self.process_id]
        if not self.detect and None in values and values != [None] * 3:
            raise UserError(
                "several processes: give --coordinator_address=HOST:PORT, --num_processes=N and --process_id=I all "
                "three, or --distributed=auto on a cluster that JAX knows"
            )
        address, count, number = self.coordinator_address, self.num_processes, self.process_id
        if address is not None and not (":" in address and address.rpartition(":")[2].isdigit()):
            raise UserError(f"several processes: coordinator_address is {address!r}: give HOST:PORT of process 0")
        if count is not None and count < 1:
            raise UserError(f"several processes: num_processes is {count}; it must be at least 1")
        if number is not None and not 0 <= number < (count or number + 1):
            raise UserError(f"several processes: process_id is {number}; give a number from 0 to {(count or 1) - 1}")

    @property
    def is_single(self) -> bool:
        """Whether this process runs alone, without others."""
        return not self.detect and self.coordinator_address is None


@contextlib.contextmanager
def join_group(group: ProcessGroup, lost_after: float = LOST_AFTER) -> Iterator[None]:
    """A context manager that runs its body as one of several processes; for a single process it does nothing.

    Nothing may have used a JAX device before it. Standard output is silenced in every process but 0. An error in the
    body ends all processes; a lost peer ends them too, with exit code 76.

    Args:
      group: the processes.
      lost_after: seconds without a sign of life after which a peer is lost.

    Raises:
      UserError: the processes did not find each other, or have different versions of JAX.
    """
    if group.is_single:
        yield
        return
    _connect(group)
    peers = _Peers(lost_after)
    with contextlib.ExitStack() as stack:
        if not processes.is_primary():
            null_file = stack.enter_context(open(os.devnull, "w"))
            stack.enter_context(contextlib.redirect_stdout(null_file))
        try:
            processes.assert_equal("the version of JAX", version("jax"))
            yield
        except BaseException as error:
            peers.leave_after(error)
            raise
        peers.leave_together()


def _connect(group: ProcessGroup) -> None:
    """Starts JAX's distributed runtime. Raises a UserError if the processes do not find each other."""
    import jax

    # JAX would handle SIGTERM itself, but a run that is asked to stop must first save a checkpoint.
    jax.config.update("jax_enable_preemption_service", False)
    cure = (
        f"see that all {group.num_processes or 'of them'} were started with the same address, and that its port is free"
    )
    # When JAX has waited in vain it aborts the process, which no exception handler sees.
    abort_handler.delay_aborts(
        0, lambda: _exit(EXIT_USER_ERROR, f"{_NOT_FOUND} within {_START_TIMEOUT} seconds: {cure}")
    )
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
    """This process among the others: their names for messages, and the ways in which this process ends.

    Two threads may want to end the process: the main thread after an error in the body, and the heartbeats' watch after
    a farewell or loss of a peer. The first one to take the lock `_leaving` decides how; the other waits for ever.
    """

    def __init__(self, lost_after: float):
        self._me, self._count = store.process_id(), store.process_count()
        hosts = processes.all_gather([socket.gethostname(), os.getpid()])
        self._names = [f"process {p} of {self._count} (host {host}, pid {pid})" for p, (host, pid) in enumerate(hosts)]
        self._leaving = threading.Lock()
        self._lost_after = lost_after
        self._hearts = Heartbeats(self._on_lost, self._on_farewell, lost_after)
        self._hearts.start()
        # JAX aborts when the store is gone. The abort waits until the heartbeats have named the process that held it.
        abort_handler.delay_aborts(2 * _STORE_SILENCE, lambda: self._hearts.limit_store_silence(_STORE_SILENCE))

    def leave_together(self) -> None:
        """Leaves together with all other processes, at the end of the body."""
        processes.all_gather(None)
        self._disconnect()

    def leave_after(self, error: BaseException) -> None:
        """Leaves because the body raised `error`.

        It returns only in process 0, and only if all processes have the same error or were all asked to stop: process 0
        then reports it. In every other case it ends the process.

        Raises:
          SystemExit: in the other processes, if all have the same error.
        """
        if isinstance(error, Stopped) or (isinstance(error, SystemExit) and not error.code):
            self.leave_together()
            self._exit_unless_primary(EXIT_STOPPED if isinstance(error, Stopped) else 0)
            return
        if _may_come_from_a_peer(error):
            # If a peer is to blame, the heartbeats find it lost within this time and end the process.
            time.sleep(self._lost_after + _GRACE)
        if not self._leaving.acquire(blocking=False):
            threading.Event().wait()
        code = _exit_code(error)
        message = f"{'' if isinstance(error, UserError) else type(error).__name__ + ': '}{error}"
        message = (message.splitlines() or [""])[0]
        self._hearts.leave_farewell(json.dumps({"code": code, "text": message}).encode())

        # An error that all processes have (a mistake in the recipe) is reported once, by process 0.
        deadline = time.monotonic() + _GRACE
        while time.monotonic() < deadline and len(self._hearts.farewells) + 1 < self._count:
            time.sleep(0.05)
        farewells = [json.loads(farewell) for farewell in self._hearts.farewells.values()]
        if len(farewells) + 1 == self._count and all(f == {"code": code, "text": message} for f in farewells):
            self._disconnect()
            self._exit_unless_primary(code)
            return
        if code == 1:
            traceback.print_exception(error)
        self._end(code, f"{self._names[self._me]}: {message}")

    def _exit_unless_primary(self, code: int) -> None:
        """Ends every process but 0, which has something to report first."""
        if self._me:
            raise SystemExit(code)

    def _disconnect(self) -> None:
        """Stops the heartbeats and leaves JAX's runtime."""
        import jax

        self._hearts.stop()
        with contextlib.suppress(RuntimeError):  # a peer that dies during the shutdown has done its work
            jax.distributed.shutdown()

    def _on_lost(self, peers: list[int]) -> None:
        """Ends the process because peers stopped beating; called in the watching thread."""
        peer_names = " and ".join(self._names[peer] for peer in peers)
        message = (
            f"{peer_names} {'was' if len(peers) == 1 else 'were'} lost; start the job again and it goes on "
            "from the last checkpoint"
        )
        if self._leaving.acquire(blocking=False):
            if 0 not in peers:  # the store is still there, so the others can be told
                self._hearts.leave_farewell(json.dumps({"code": EXIT_PEER_LOST, "text": message}).encode())
            self._end(EXIT_PEER_LOST, message, lost_count=len(peers))

    def _on_farewell(self, peer: int, farewell: bytes) -> None:
        """Ends the process because a peer ended and said why; called in the watching thread."""
        reason: dict[str, Any] = json.loads(farewell)
        if reason["code"] != EXIT_PEER_LOST:
            time.sleep(_GRACE)  # this process may be about to raise the same error
        if not self._leaving.acquire(blocking=False):
            return
        message = reason["text"]
        if reason["code"] != EXIT_PEER_LOST:
            message = f"{self._names[peer]} ended, and so all do: {message}"
        self._hearts.leave_farewell(json.dumps({"code": reason["code"], "text": message}).encode())
        self._end(reason["code"], message)

    def _end(self, code: int, text: str, lost_count: int = 0) -> NoReturn:
        """Prints why and ends the process at once, because its main thread may be waiting for a peer for ever.

        Args:
          lost_count: peers that are gone and will leave no farewell.
        """
        _print_error(text)
        # Process 0 holds the store: the others' farewells need it.
        deadline = time.monotonic() + _PRIMARY_STAYS
        while (
            self._me == 0 and time.monotonic() < deadline and len(self._hearts.farewells) + 1 + lost_count < self._count
        ):
            time.sleep(0.05)
        if self._me == 0 and self._hearts.farewells:
            time.sleep(0.5)  # a process ends a moment after its farewell
        os._exit(code)


def _print_error(text: str) -> None:
    """Writes an error to standard error in one piece, also from a thread or a signal handler."""
    sys.stderr.flush()
    os.write(2, f"sml-jax: error: {text}\n".encode(errors="backslashreplace"))


def _exit(code: int, text: str) -> NoReturn:
    """Prints an error and ends the process at once."""
    _print_error(text)
    os._exit(code)


def _may_come_from_a_peer(error: BaseException | None) -> bool:
    """Whether an error may come from a collective or barrier that a peer did not reach.

    XLA raises these as exceptions of any type, so that only their text tells.
    """
    while error is not None:
        if _PEER_ERROR.match(str(error)):
            return True
        error = error.__cause__ or error.__context__
    return False


def _exit_code(error: BaseException) -> int:
    """The exit code of the process for an error of its body."""
    if isinstance(error, UserError):
        return EXIT_USER_ERROR
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 1
    return 130 if isinstance(error, KeyboardInterrupt) else 1
