"""Which process this is, in words that another process can check: also after a restart, and from another container."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ProcessIdentity:
    """A process that held, or holds, a run's folder.

    Attributes:
      host: name of its machine or container.
      pid: its number there.
      boot: id of the machine's start, "" where the system tells none. Machines that share a name differ in it.
      pid_namespace: of the container whose numbers `pid` is one of, "" where the system tells none.
      start_ticks: when it began, in clock ticks after the machine's start, so that a later process with the same number
        is not taken for it; -1 where the system does not say.
    """

    host: str
    pid: int
    boot: str
    pid_namespace: str
    start_ticks: int


def this_process() -> ProcessIdentity:
    """The identity of the process that asks."""
    return ProcessIdentity(socket.gethostname(), os.getpid(), *_machine(), _start_ticks(os.getpid()) or -1)


def is_alive(other: ProcessIdentity) -> bool | None:
    """Whether a process still runs; None where that cannot be known from here.

    It can be known where both are of one start of one machine, and number processes alike. Names of hosts do not tell:
    a container that is started anew on another machine often has the name of the one before.
    """
    boot, pid_namespace = _machine()
    if (other.boot, other.pid_namespace) != (boot, pid_namespace):
        return None
    # Systems without these two ids are told apart by their names.
    if not boot and other.host != socket.gethostname():
        return None
    ticks = _start_ticks(other.pid)
    if ticks is None:
        return _has_process(other.pid)
    # A process that began at another moment has only been given the same number.
    return ticks > 0 and other.start_ticks in (ticks, -1)


def _machine() -> tuple[str, str]:
    """The ids of this start of the machine and of the space of process numbers; "" for one that is not told."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return boot, os.readlink("/proc/self/ns/pid")
    except OSError:
        return "", ""


def _start_ticks(pid: int) -> int | None:
    """When a process began; 0 if it has ended; None where the system does not say."""
    if not Path("/proc/self/stat").exists():
        return None
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        # A process of another user may be hidden.
        return None if _has_process(pid) else 0
    # The name, in brackets, may hold blanks and brackets itself. The state follows it: Z and X have ended.
    fields = text.rpartition(")")[2].split()
    return 0 if fields[0] in ("Z", "X") else int(fields[19])


def _has_process(pid: int) -> bool:
    """Whether a process has this number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        # It is another user's.
        return True
    return True
