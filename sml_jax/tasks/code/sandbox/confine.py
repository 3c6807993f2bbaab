"""Locks up the process that it runs in. Part of the bare process: imports only what costs next to nothing."""

from __future__ import annotations

import os
import resource
from typing import Any

# Landlock, see Documentation/userspace-api/landlock.rst of Linux. Its numbers are the same on every machine.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # system calls
_PATH_BENEATH = 1  # LANDLOCK_RULE_PATH_BENEATH
_WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 1, 1 << 2, 1 << 3
_REMOVE_DIR, _REMOVE_FILE, _MAKE_DIR, _MAKE_REG = 1 << 4, 1 << 5, 1 << 7, 1 << 8
_REFER, _TRUNCATE = 1 << 13, 1 << 14
_READ = _READ_FILE | _READ_DIR
_WRITE = _WRITE_FILE | _READ | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_REG  # files and folders, no links
_FS_BITS = {1: 13, 2: 14, 3: 15, 4: 15}  # how many rights on files there are, by ABI; from 5 on, 16
# Options of prctl.
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 1, 4, 22, 38
_SECCOMP_MODE_FILTER = 2
_SIGKILL = 9
_CAPABILITY_VERSION_3 = 0x20080522


def limit(limits: dict[str, Any], calls: int) -> None:
    """Sets this process's resource limits.

    A second of processor time lies between the soft limit and the hard one, for last words.

    Args:
      limits: the fields of `limits.Limits`.
      calls: how many calls of a function share the process; each has the processor's time for itself.
    """
    for which, soft in (
        (resource.RLIMIT_CPU, limits["cpu_s"]),
        (resource.RLIMIT_AS, limits["memory_bytes"]),
        (resource.RLIMIT_FSIZE, limits["file_bytes"]),
        (resource.RLIMIT_NOFILE, limits["open_files"]),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = soft * max(1, calls) + 1 if which == resource.RLIMIT_CPU else soft
        # What limits the process that started this one cannot be raised.
        inherited = resource.getrlimit(which)[1]
        if inherited != resource.RLIM_INFINITY:
            soft, hard = min(soft, inherited), min(hard, inherited)
        try:  # noqa: SIM105 - contextlib costs milliseconds
            resource.setrlimit(which, (soft, hard))
        except (ValueError, OSError):
            pass  # macOS refuses RLIMIT_AS


def close_files(except_for: set[int]) -> None:
    """Closes every open file but these."""
    low = 0
    for number in sorted(except_for):
        if low < number:  # an empty range that starts at 0 would close all
            os.closerange(low, number)
        low = number + 1
    os.closerange(low, max(1 << 16, low))


def lock(walls: dict[str, Any], scratch: str, secret: bool) -> None:
    """Takes from this process, for good, what `walls` says.

    Args:
      walls: "seccomp": the filter or b""; "landlock": the ABI or 0; "readable": paths; "signal": kill with the parent.
      scratch: the one folder that may be written to.
      secret: no other process may look into this one.

    Raises:
      OSError: the kernel refused one of them.
    """
    if not (walls["seccomp"] or walls["landlock"]):
        return
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)

    def system_call(*arguments: Any) -> int:
        result: int = libc.syscall(*[ctypes.c_long(a) if isinstance(a, int) else a for a in arguments])
        if result < 0:
            raise OSError(ctypes.get_errno(), f"system call {arguments[0]}: {os.strerror(ctypes.get_errno())}")
        return result

    def prctl(*arguments: Any) -> None:
        if libc.prctl(*[ctypes.c_ulong(a) if isinstance(a, int) else a for a in (*arguments, 0, 0, 0, 0)[:5]]) < 0:
            raise OSError(ctypes.get_errno(), f"prctl {arguments[0]}: {os.strerror(ctypes.get_errno())}")

    # The kernel kills this process with its parent. A parent that has ended already sends no signal any more.
    parent = os.getppid()
    prctl(_PR_SET_PDEATHSIG, _SIGKILL)
    if os.getppid() != parent:
        os._exit(1)

    # No new rights by running a file, and none of the old capabilities.
    prctl(_PR_SET_NO_NEW_PRIVS, 1)
    if secret:
        prctl(_PR_SET_DUMPABLE, 0)
    capset = 126 if os.uname().machine == "x86_64" else 91
    system_call(capset, _CAPABILITY_VERSION_3.to_bytes(4, "little") + bytes(4), bytes(24))

    # The ruleset handles every right that this ABI knows, so what no rule allows is refused.
    if walls["landlock"]:
        abi = walls["landlock"]
        handled = (1 << _FS_BITS.get(abi, 16)) - 1
        network, scoped = (3 if abi >= 4 else 0), (3 if abi >= 6 else 0)
        attributes = b"".join(part.to_bytes(8, "little") for part in (handled, network, scoped))
        attributes = attributes[: 8 if abi < 4 else 16 if abi < 6 else 24]
        ruleset = system_call(_CREATE_RULESET, attributes, len(attributes), 0)
        for path in [*walls["readable"], scratch]:
            try:
                place = os.open(path, os.O_PATH | os.O_CLOEXEC)
            except OSError:
                continue
            is_folder = os.stat(path).st_mode & 0o170000 == 0o040000
            allowed = (_WRITE | _REFER | _TRUNCATE if path == scratch else _READ) & handled
            if not is_folder:
                allowed &= _READ_FILE | _WRITE_FILE
                allowed |= _WRITE_FILE if path == "/dev/null" else 0
            rule = allowed.to_bytes(8, "little") + place.to_bytes(4, "little")
            system_call(_ADD_RULE, ruleset, _PATH_BENEATH, rule, 0)
            os.close(place)
        system_call(_RESTRICT_SELF, ruleset, 0)
        os.close(ruleset)

    # The filter comes last, as it forbids the calls above. It is an array of instructions of 8 bytes, the last 4 of
    # which are a constant; where that stands for the process's own id, the id is put in.
    if walls["seccomp"]:
        own_id = os.getpid().to_bytes(4, "little")
        code = walls["seccomp"]
        code = b"".join(
            code[at : at + 4] + (own_id if code[at + 4 : at + 8] == walls["pid"] else code[at + 4 : at + 8])
            for at in range(0, len(code), 8)
        )
        instructions = ctypes.create_string_buffer(code, len(code))
        head = (len(code) // 8).to_bytes(8, "little") + ctypes.addressof(instructions).to_bytes(8, "little")
        prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.create_string_buffer(head, 16))
