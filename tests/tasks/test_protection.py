"""Which walls are taken, that weak ones are refused, and what the filter of system calls decides."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from sml_jax.common.errors import UserError
from sml_jax.tasks import Limits, run_tests
from sml_jax.tasks.code.sandbox import protection, seccomp, walls
from sml_jax.tasks.code.task import CodeTask

ALLOW = 0x7FFF0000


def decide(machine: str, number: int, *arguments: int) -> int:
    """What the filter returns, by reading its instructions one by one."""
    arch = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}[machine]
    data = struct.pack("<IIQ6Q", number, arch, 0, *(*arguments, 0, 0, 0, 0, 0, 0)[:6])
    lines = list(struct.iter_unpack("<HBBI", seccomp.filter_program(machine)))
    at = accumulator = 0
    while True:
        code, yes, no, value = lines[at]
        if code == 0x06:
            return value
        if code == 0x20:
            accumulator, step = struct.unpack_from("<I", data, value)[0], 0
        else:
            outcomes = {0x15: accumulator == value, 0x35: accumulator >= value, 0x45: bool(accumulator & value)}
            step = yes if outcomes[code] else no
        at += 1 + step


@pytest.mark.parametrize("column", [0, 1], ids=["x86_64", "aarch64"])
def test_the_filter(column: int) -> None:
    machine = ("x86_64", "aarch64")[column]
    numbers = {"read": (0, 63), "openat": (257, 56), "socket": (41, 198), "execve": (59, 221), "ptrace": (101, 117)}
    numbers |= {"connect": (42, 203), "chmod": (90, 53), "memfd_create": (319, 279), "io_uring_setup": (425, 425)}
    free = {name: decide(machine, pair[column]) == ALLOW for name, pair in numbers.items()}
    assert [name for name, allowed in free.items() if allowed] == ["read", "openat"]
    clone, kill, fcntl, prlimit = (56, 220)[column], (62, 129)[column], (72, 25)[column], (302, 261)[column]
    threads, fork, namespace = 0x3D0F00, 0x1200011, 0x3D0F00 | 0x10000000
    assert [decide(machine, clone, flags) == ALLOW for flags in (threads, fork, namespace)] == [True, False, False]
    assert decide(machine, 435) == 0x50026  # clone3: the C library then asks for clone
    assert [decide(machine, kill, pid, 9) == ALLOW for pid in (seccomp.PID, 1, 2**64 - 1, 0)] == [True] + [False] * 3
    assert [decide(machine, fcntl, 3, command) == ALLOW for command in (1, 3, 8, 10, 15, 1024)] == [True] * 2 + [
        False
    ] * 4
    assert decide(machine, prlimit, 0, 7, 0, 1) == ALLOW  # asks
    assert decide(machine, prlimit, 0, 3, 1, 0) == ALLOW  # the stack
    assert decide(machine, prlimit, 0, 7, 1, 0) != ALLOW and decide(machine, prlimit, 9, 3, 1, 0) != ALLOW
    if machine == "x86_64":
        assert decide(machine, 0x40000000) != ALLOW  # the other numbering of the same calls


def test_the_weak_one_is_refused_unless_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protection, "_strongest", lambda: (walls.possible_walls()[-1], "bubblewrap: none"))
    with pytest.raises(UserError, match=r"no protection .*bubblewrap: none.*weak=True"):
        run_tests("x = 1", ["assert x == 1"])
    with pytest.raises(UserError, match="no protection"):
        CodeTask("code", {}).protection()
    assert run_tests("x = 1", ["assert x == 1"], limits=Limits(weak=True)).correct
    assert "WEAK" in CodeTask("code", {}, Limits(weak=True)).protection()


def test_a_deep_and_closed_folder_is_removed(tmp_path: Path) -> None:
    top = tmp_path / "top"
    top.mkdir()
    here = os.open(top, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("d", dir_fd=here)
        inner = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=inner))
        os.close(here)
        here = inner
    os.close(here)
    (top / "closed").mkdir(mode=0)
    walls.remove_folder(str(top))
    assert not top.exists()
