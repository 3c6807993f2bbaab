"""The process behind a verdict: it starts or says so, leaves nothing behind, and gives the same answer every time."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sml_jax.tasks.code.cases import run_cases
from sml_jax.tasks.code.problem import CallCase, IoCase
from sml_jax.tasks.code.run_tests import run_tests
from sml_jax.tasks.code.sandbox import Limits, runner, strongest_walls


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "_PAUSES_S", (0.0, 0.0))


def refuse(monkeypatch: pytest.MonkeyPatch, times: int) -> list[int]:
    """Makes the first `times` starts of a process fail; the returned list counts the starts."""
    start, tried = subprocess.Popen, [0]

    def popen(*args: object, **options: object) -> object:
        tried[0] += 1
        if tried[0] <= times:
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return start(*args, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(runner.subprocess, "Popen", popen)
    return tried


@pytest.mark.usefixtures("hasty")
def test_a_process_that_does_not_start_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = refuse(monkeypatch, 2)
    assert run_tests("x = 1", ["assert x == 1"]).correct
    assert tried == [3]


@pytest.mark.usefixtures("hasty")
def test_a_process_that_never_starts_is_an_error_and_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(monkeypatch, 99)
    before = os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else []
    with pytest.raises(RuntimeError, match=r"no process could be started.*unavailable"):
        run_tests("x = 1", ["assert x == 1"])
    with pytest.raises(RuntimeError, match="no process could be started"):
        run_cases("print(1)", [IoCase("", "1")])
    if before:
        assert len(os.listdir("/proc/self/fd")) == len(before)


@pytest.mark.usefixtures("hasty")
def test_a_process_that_ends_before_it_begins_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    strongest_walls()  # it is tried with the interpreter as it is
    monkeypatch.setattr(runner.walls, "python_executable", lambda: "/bin/false")
    with pytest.raises(RuntimeError, match="ended with status 1 before it began"):
        run_tests("x = 1", ["pass"])


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")
def test_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner.tempfile, "tempdir", str(tmp_path))
    limits = Limits(wall_s=60.0, cpu_s=1)

    def held() -> tuple[int, str]:
        children = ""
        for thread in os.listdir("/proc/self/task"):
            with contextlib.suppress(FileNotFoundError):  # a thread that ended meanwhile
                children += Path(f"/proc/self/task/{thread}/children").read_text()
        return len(os.listdir("/proc/self/fd")), children

    before = held()
    for code in ("x = 1", "x = 2", "x =", "import os; os._exit(1)", "open('left', 'w').write('x'); x = 1"):
        run_tests(code, ["assert x == 1"], limits=limits)
        run_cases(code, [IoCase("", "1")], limits=limits)
        run_cases(code, [CallCase("[]", "1")], "x", limits)
    run_tests("while True: pass", ["pass"], limits=limits)
    assert held() == before
    assert list(tmp_path.iterdir()) == []


def test_sets_keep_their_order_between_runs() -> None:
    code = "def f(): return list({'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'})"
    details = {run_tests(code, ["assert f() == 0"]).detail for _ in range(4)}
    assert len(details) == 1


def test_output_never_changes_a_verdict() -> None:
    loud = "print('x' * 10**7)\nimport sys\nprint('y' * 10**7, file=sys.stderr)\nsys.stdout.close()\ndef f(): return 1"
    assert run_tests(loud, ["assert f() == 1"]).correct
    assert not run_tests(loud, ["assert f() == 2"]).correct


def test_installed_packages_may_be_used_and_the_working_folder_is_not_on_the_path() -> None:
    tests = ["assert numpy.ones(2).sum() == 2", "assert '' not in sys.path", "assert sys.flags.safe_path"]
    assert run_tests("import sys\nimport numpy", tests).correct
    assert sys.executable
