"""The filter of system calls: an allow-list as a BPF program. What is not on it fails with EPERM.

Numbers: arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h of Linux; the program's form:
Documentation/userspace-api/seccomp_filter.rst.
"""

from __future__ import annotations

import platform
import struct
from collections.abc import Sequence

_ALLOW, _EPERM, _ENOSYS = 0x7FFF0000, 0x00050001, 0x00050026
_LOAD, _EQ, _GE, _SET, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06  # ld abs, jeq, jge, jset, ret
_NUMBER, _ARCH, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data
_ARCHES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_X32 = 0x40000000
PID = 0x7EADBEEF
"""Stands for the process's own id, which is known only when the filter is installed."""

# name: (number on x86_64, number on aarch64); None where there is no such call.
_CALLS: dict[str, tuple[int | None, int | None]] = {
    **{"read": (0, 63), "write": (1, 64), "close": (3, 57), "fstat": (5, 80), "lseek": (8, 62), "mmap": (9, 222)},
    **{"open": (2, None), "stat": (4, None), "lstat": (6, None), "poll": (7, None), "access": (21, None)},
    **{"mprotect": (10, 226), "munmap": (11, 215), "brk": (12, 214), "rt_sigaction": (13, 134)},
    **{"rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139), "pread64": (17, 67), "pwrite64": (18, 68)},
    **{"readv": (19, 65), "writev": (20, 66), "pipe": (22, None), "select": (23, None), "sched_yield": (24, 124)},
    **{"mremap": (25, 216), "madvise": (28, 233), "dup": (32, 23), "dup2": (33, None), "pause": (34, None)},
    **{"nanosleep": (35, 101), "getitimer": (36, 102), "alarm": (37, None), "setitimer": (38, 103)},
    **{"getpid": (39, 172), "sendfile": (40, 71), "exit": (60, 93), "uname": (63, 160), "flock": (73, 32)},
    **{"fsync": (74, 82), "fdatasync": (75, 83), "ftruncate": (77, 46), "getdents": (78, None), "getcwd": (79, 17)},
    **{"chdir": (80, 49), "fchdir": (81, 50), "rename": (82, None), "mkdir": (83, None), "rmdir": (84, None)},
    **{"unlink": (87, None), "readlink": (89, None), "umask": (95, 166), "gettimeofday": (96, 169)},
    **{"getrlimit": (97, 163), "getrusage": (98, 165), "sysinfo": (99, 179), "times": (100, 153)},
    **{"getuid": (102, 174), "getgid": (104, 176), "geteuid": (107, 175), "getegid": (108, 177)},
    **{"getppid": (110, 173), "getpgrp": (111, None), "getpgid": (121, 155), "getsid": (124, 156)},
    **{"getgroups": (115, 158), "getresuid": (118, 148), "getresgid": (120, 150), "rt_sigpending": (127, 136)},
    **{"sigaltstack": (131, 132), "statfs": (137, 43), "fstatfs": (138, 44), "gettid": (186, 178)},
    **{"time": (201, None), "futex": (202, 98), "sched_getaffinity": (204, 123), "getdents64": (217, 61)},
    **{"set_tid_address": (218, 96), "restart_syscall": (219, 128), "clock_gettime": (228, 113)},
    **{"clock_getres": (229, 114), "clock_nanosleep": (230, 115), "exit_group": (231, 94), "epoll_wait": (232, None)},
    **{"epoll_ctl": (233, 21), "openat": (257, 56), "mkdirat": (258, 34), "newfstatat": (262, 79)},
    **{"unlinkat": (263, 35), "renameat": (264, 38), "readlinkat": (267, 78), "faccessat": (269, 48)},
    **{"pselect6": (270, 72), "ppoll": (271, 73), "set_robust_list": (273, 99), "epoll_pwait": (281, 22)},
    **{"eventfd2": (290, 19), "epoll_create1": (291, 20), "dup3": (292, 24), "pipe2": (293, 59)},
    **{"preadv": (295, 69), "pwritev": (296, 70), "getcpu": (309, 168), "renameat2": (316, 276)},
    **{"getrandom": (318, 278), "membarrier": (324, 283), "copy_file_range": (326, 285), "statx": (332, 291)},
    **{"rseq": (334, 293), "close_range": (436, 436), "faccessat2": (439, 439), "shutdown": (48, 210)},
    **{"recvfrom": (45, 207)},
}
_CLONE, _CLONE3, _PRCTL = (56, 220), (435, 435), (157, 167)
_SETRLIMIT, _PRLIMIT = (160, 164), (302, 261)
_KILL, _TGKILL, _FCNTL, _IOCTL = (62, 129), (234, 131), (72, 25), (16, 29)
_SOCKETPAIR, _SENDTO = (53, 199), (44, 206)
_NAMES_OF_THREADS_AND_MEMORY = (15, 16, 0x53564D41)  # PR_SET_NAME, PR_GET_NAME, PR_SET_VMA
_OWN_LIMITS = (0, 3)  # RLIMIT_CPU and RLIMIT_STACK, which no process can raise past its hard limits
_FCNTLS = (0, 1, 2, 3, 4, 5, 6, 7, 1030, 1032)  # duplicates, flags, locks; no owner, signal or lease
_IOCTLS = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)  # TCGETS, TIOCGWINSZ, FIONREAD, FIONBIO, FIO(N)CLEX
_THREAD, _NEW_NAMESPACES = 0x10000, 0x7E020080


def is_supported() -> bool:
    """Whether there is a filter of system calls for this machine: it runs Linux on x86_64 or aarch64."""
    return platform.system() == "Linux" and platform.machine() in _ARCHES


def filter_program(machine: str | None = None) -> bytes:
    """The filter of system calls, as the bytes of an array of `struct sock_filter`.

    It allows threads but no new processes, signals to the process itself alone, and only pairs of sockets within the
    process. Wherever the process's own id belongs it has the constant `PID`, which `confine.lock` replaces.

    Args:
      machine: "x86_64" or "aarch64"; this machine's by default.

    Raises:
      KeyError: there is no table for the machine.
    """
    machine = machine or platform.machine()
    arch, column = _ARCHES[machine], ("x86_64", "aarch64").index(machine)

    def argument(index: int) -> int:
        return _ARGUMENTS + 8 * index  # the low half: both machines are little-endian

    # Calls of another architecture, or in the other numbering of this one, are refused before their number is read.
    code: list[tuple[int, int, int, int]] = [
        (_LOAD, 0, 0, _ARCH),
        (_EQ, 1, 0, arch),
        (_RETURN, 0, 0, _EPERM),
        (_LOAD, 0, 0, _NUMBER),
        (_GE, 0, 1, _X32),
        (_RETURN, 0, 0, _EPERM),
    ]

    def when(call: tuple[int | None, int | None], body: Sequence[tuple[int, int, int, int]]) -> None:
        """Adds instructions for one call; every path through them returns."""
        if call[column] is not None:
            code.append((_EQ, 0, len(body), call[column] or 0))
            code.extend(body)

    def one_of(index: int, values: Sequence[int]) -> list[tuple[int, int, int, int]]:
        """Allows a call where its argument is one of some values."""
        tests = [(_EQ, len(values) - at, 0, value) for at, value in enumerate(values)]
        return [(_LOAD, 0, 0, argument(index)), *tests, (_RETURN, 0, 0, _EPERM), (_RETURN, 0, 0, _ALLOW)]

    for call in _CALLS.values():
        when(call, [(_RETURN, 0, 0, _ALLOW)])
    # Threads, but no processes and no namespaces. clone3 keeps its flags in memory, which a filter cannot read: told
    # that there is no such call, the C library asks for clone.
    when(_CLONE3, [(_RETURN, 0, 0, _ENOSYS)])
    thread = [(_LOAD, 0, 0, argument(0)), (_SET, 0, 2, _THREAD), (_SET, 1, 0, _NEW_NAMESPACES)]
    when(_CLONE, [*thread, (_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _EPERM)])
    # Settings and limits of the process itself; prlimit of its own id may also read any limit.
    when(_PRCTL, one_of(0, _NAMES_OF_THREADS_AND_MEMORY))
    when(_SETRLIMIT, one_of(0, _OWN_LIMITS))
    settable = one_of(1, _OWN_LIMITS)
    both_halves = [(_LOAD, 0, 0, argument(2)), (_EQ, 0, 3, 0), (_LOAD, 0, 0, argument(2) + 4), (_EQ, 0, 1, 0)]
    only_read = [*both_halves, (_RETURN, 0, 0, _ALLOW)]
    itself = [(_LOAD, 0, 0, argument(0)), (_EQ, 2, 0, 0), (_EQ, 1, 0, PID), (_RETURN, 0, 0, _EPERM)]
    when(_PRLIMIT, [*itself, *only_read, *settable])
    # Signals to itself alone; files; sockets that reach nobody else.
    for call in (_KILL, _TGKILL):
        when(call, one_of(0, (PID,)))
    when(_FCNTL, one_of(1, _FCNTLS))
    when(_IOCTL, one_of(1, _IOCTLS))
    when(_SOCKETPAIR, one_of(0, (1,)))
    no_address = [(_LOAD, 0, 0, argument(4)), (_EQ, 0, 3, 0), (_LOAD, 0, 0, argument(4) + 4), (_EQ, 0, 1, 0)]
    when(_SENDTO, [*no_address, (_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _EPERM)])
    code.append((_RETURN, 0, 0, _EPERM))  # whatever is on none of the lists
    return b"".join(struct.pack("<HBBI", *line) for line in code)
