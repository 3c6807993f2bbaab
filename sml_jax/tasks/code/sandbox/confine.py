"""Locks up the process that it runs in. Part of the bare process: imports only what costs next to nothing."""

from __future__ import annotations

import os
import resource
from typing import Any

_RULE, _PATH = 445, 1  # landlock_add_rule, LANDLOCK_RULE_PATH_BENEATH; landlock's numbers are the same everywhere
_READ_FILE, _READ_DIR = 1 << 2, 1 << 3
_WRITE = (1 << 1) | _READ_FILE | _READ_DIR | (1 << 4) | (1 << 5) | (1 << 7) | (1 << 8)  # files and folders, no links
_REFER, _TRUNCATE = 1 << 13, 1 << 14
_FS_BITS = {1: 13, 2: 14, 3: 15, 4: 15}  # by ABI; from 5 on, 16
_KILL = 9


def limit(limits: dict[str, Any], calls: int) -> None:
    """Sets the resource limits; a second of processor time lies between the soft and the hard one, for last words."""
    for which, most in (
        (resource.RLIMIT_CPU, limits["cpu_s"]),
        (resource.RLIMIT_AS, limits["memory_bytes"]),
        (resource.RLIMIT_FSIZE, limits["file_bytes"]),
        (resource.RLIMIT_NOFILE, limits["open_files"]),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(which)[1]
        top = most
        if which == resource.RLIMIT_CPU:
            top = most * max(1, calls) + 1
        if hard != resource.RLIM_INFINITY:
            most, top = min(most, hard), min(top, hard)
        try:  # noqa: SIM105 - contextlib costs milliseconds
            resource.setrlimit(which, (most, top))
        except (ValueError, OSError):
            pass  # macOS refuses RLIMIT_AS


def keep_files(kept: set[int]) -> None:
    """Closes every open file but these."""
    low = 0
    for number in sorted(kept):
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

    def call(*arguments: Any) -> int:
        got: int = libc.syscall(*[ctypes.c_long(a) if isinstance(a, int) else a for a in arguments])
        if got < 0:
            raise OSError(ctypes.get_errno(), f"system call {arguments[0]}: {os.strerror(ctypes.get_errno())}")
        return got

    def control(*arguments: Any) -> None:
        if libc.prctl(*[ctypes.c_ulong(a) if isinstance(a, int) else a for a in (*arguments, 0, 0, 0, 0)[:5]]) < 0:
            raise OSError(ctypes.get_errno(), f"prctl {arguments[0]}: {os.strerror(ctypes.get_errno())}")

    parent = os.getppid()
    control(1, _KILL)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        os._exit(1)
    control(38, 1)  # PR_SET_NO_NEW_PRIVS
    if secret:
        control(4, 0)  # PR_SET_DUMPABLE
    capset = 126 if os.uname().machine == "x86_64" else 91
    call(capset, (0x20080522).to_bytes(4, "little") + bytes(4), bytes(24))
    if walls["landlock"]:
        abi = walls["landlock"]
        handled = (1 << _FS_BITS.get(abi, 16)) - 1
        network, scoped = (3 if abi >= 4 else 0), (3 if abi >= 6 else 0)
        rules = b"".join(part.to_bytes(8, "little") for part in (handled, network, scoped))
        rules = rules[: 8 if abi < 4 else 16 if abi < 6 else 24]
        owner = call(444, rules, len(rules), 0)
        for path in [*walls["readable"], scratch]:
            try:
                place = os.open(path, os.O_PATH | os.O_CLOEXEC)
            except OSError:
                continue
            folder = os.stat(path).st_mode & 0o170000 == 0o040000
            may = (_WRITE | _REFER | _TRUNCATE if path == scratch else _READ_FILE | _READ_DIR) & handled
            if not folder:
                may &= _READ_FILE | (1 << 1)  # /dev/null may be written to
                may |= (1 << 1) if path == "/dev/null" else 0
            call(_RULE, owner, _PATH, may.to_bytes(8, "little") + place.to_bytes(4, "little"), 0)
            os.close(place)
        call(446, owner, 0)
        os.close(owner)
    if walls["seccomp"]:
        own = os.getpid().to_bytes(4, "little")
        code = walls["seccomp"]
        code = b"".join(
            code[at : at + 4] + (own if code[at + 4 : at + 8] == walls["pid"] else code[at + 4 : at + 8])
            for at in range(0, len(code), 8)
        )
        text = ctypes.create_string_buffer(code, len(code))
        head = (len(code) // 8).to_bytes(8, "little") + ctypes.addressof(text).to_bytes(8, "little")
        control(22, 2, ctypes.create_string_buffer(head, 16))  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER
