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
    """Sets this process's resource limits, for good.

    The hard limit on processor time is a second above the soft one, so that the process can report where it was.

    Args:
      limits: the fields of `limits.Limits`, by name.
      calls: how many calls of a function the process will make; each may use all of `cpu_s`.
    """
    for resource_id, soft in (
        (resource.RLIMIT_CPU, limits["cpu_s"]),
        (resource.RLIMIT_AS, limits["memory_bytes"]),
        (resource.RLIMIT_FSIZE, limits["file_bytes"]),
        (resource.RLIMIT_NOFILE, limits["open_files"]),
        (resource.RLIMIT_CORE, 0),
    ):
        hard_limit = soft * max(1, calls) + 1 if resource_id == resource.RLIMIT_CPU else soft
        # What limits the process that started this one cannot be raised.
        inherited_limit = resource.getrlimit(resource_id)[1]
        if inherited_limit != resource.RLIM_INFINITY:
            soft, hard_limit = min(soft, inherited_limit), min(hard_limit, inherited_limit)
        try:  # noqa: SIM105 - contextlib costs milliseconds
            resource.setrlimit(resource_id, (soft, hard_limit))
        except (ValueError, OSError):
            pass  # macOS refuses RLIMIT_AS


def close_files(except_for: set[int]) -> None:
    """Closes every open file of this process, except those with the numbers `except_for`."""
    low = 0
    for number in sorted(except_for):
        if low < number:  # an empty range that starts at 0 would close all
            os.closerange(low, number)
        low = number + 1
    os.closerange(low, max(1 << 16, low))


def lock(walls: dict[str, Any], scratch: str, secret: bool) -> None:
    """Takes rights from this process, for good: to files, the network, other processes and system calls.

    Nothing is done if `walls` has neither a filter nor landlock.

    Args:
      walls: `Walls.request`. "seccomp": the filter of system calls, or b"" for none; "pid": the four bytes in it that
        this process's id replaces; "landlock": the version of landlock, or 0 for none; "readable": the paths that
        may be read.
      scratch: the one folder that may be written to.
      secret: whether other processes are kept from looking into this one's memory.

    Raises:
      OSError: the kernel refused a step.
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
        handled_rights = (1 << _FS_BITS.get(abi, 16)) - 1
        network, scoped = (3 if abi >= 4 else 0), (3 if abi >= 6 else 0)
        attributes = b"".join(part.to_bytes(8, "little") for part in (handled_rights, network, scoped))
        attributes = attributes[: 8 if abi < 4 else 16 if abi < 6 else 24]
        ruleset = system_call(_CREATE_RULESET, attributes, len(attributes), 0)
        for path in [*walls["readable"], scratch]:
            try:
                path_file = os.open(path, os.O_PATH | os.O_CLOEXEC)
            except OSError:
                continue
            is_folder = os.stat(path).st_mode & 0o170000 == 0o040000
            allowed_rights = (_WRITE | _REFER | _TRUNCATE if path == scratch else _READ) & handled_rights
            if not is_folder:
                allowed_rights &= _READ_FILE | _WRITE_FILE
                allowed_rights |= _WRITE_FILE if path == "/dev/null" else 0
            rule = allowed_rights.to_bytes(8, "little") + path_file.to_bytes(4, "little")
            system_call(_ADD_RULE, ruleset, _PATH_BENEATH, rule, 0)
            os.close(path_file)
        system_call(_RESTRICT_SELF, ruleset, 0)
        os.close(ruleset)

    # The filter comes last, as it forbids the calls above. It is an array of instructions of 8 bytes, the last 4 of
    # which are a constant; where that stands for the process's own id, the id is put in.
    if walls["seccomp"]:
        own_id = os.getpid().to_bytes(4, "little")
        filter_code = walls["seccomp"]
        filter_code = b"".join(
            filter_code[at : at + 4]
            + (own_id if filter_code[at + 4 : at + 8] == walls["pid"] else filter_code[at + 4 : at + 8])
            for at in range(0, len(filter_code), 8)
        )
        instructions = ctypes.create_string_buffer(filter_code, len(filter_code))
        program_header = (len(filter_code) // 8).to_bytes(8, "little") + ctypes.addressof(instructions).to_bytes(
            8, "little"
        )
        prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.create_string_buffer(program_header, 16))
