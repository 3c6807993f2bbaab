"""run_tests: passes, each way to fail, each limit, and that nothing survives the run."""

import json
import time

import pytest

from sml_jax.common.errors import UserError
from sml_jax.tasks import Limits, Verdict, run_tests

FORGERY = r"""
import os
for pipe in range(1, 64):
    try:
        os.write(pipe, b'\n%s %s %s\n' % (b'0' * 32, b'end'.hex().encode(), b'passed'.hex().encode()))
    except OSError:
        pass
os._exit(0)
"""
SHORT = Limits(wall_s=60.0, cpu_s=1)


def test_passes_with_setup_and_shared_names() -> None:
    verdict = run_tests(
        "def f(x):\n    return twice(x) + 1",
        ["assert f(2) == 5", "g = f(1)", "assert g == 3"],
        "twice = lambda x: 2 * x",
    )
    assert verdict == Verdict(correct=True, attempted=True, detail="all 3 tests passed")


def test_a_dataclass_with_postponed_annotations_works() -> None:
    code = "from __future__ import annotations\nfrom dataclasses import dataclass\n@dataclass\nclass A:\n    a: int"
    assert run_tests(code, ["assert A(1).a == 1"]).correct


@pytest.mark.parametrize("code", ["", "  \n"])
def test_blank_code_is_no_attempt(code: str) -> None:
    assert run_tests(code, ["pass"]) == Verdict(correct=False, attempted=False, detail="no code")


def test_no_tests_is_an_error() -> None:
    with pytest.raises(UserError, match="at least one"):
        run_tests("x = 1", [])


@pytest.mark.parametrize(
    ("code", "test", "detail"),
    [
        ("def f(): return 3", "assert f() == 4", "test 1 (assert f() == 4) failed: expected 4, got 3"),
        ("def f(): return 3", "assert f() == 4, 'too low'", "AssertionError: too low; expected 4, got 3"),
        ("x = 1", "y", "NameError"),
        ("def f(:", "pass", "the code failed: SyntaxError"),
        ("print('ok'); import sys; sys.exit(0)", "pass", "the code failed: SystemExit: 0"),
        ("import os; os._exit(0)", "pass", "the code failed: left early, status 0"),
        ("def f():\n    import os\n    os._exit(0)", "f()", "test 1 (f()) failed: left early, status 0"),
        ("import os; os.kill(os.getpid(), 11)", "pass", "left early, status -11"),
        (FORGERY, "pass", "the code failed: it answered with what is no value"),
        (
            "import builtins\nbuiltins.exec = print\nbuiltins.compile = print",
            "assert False",
            "expected a true value, got False",
        ),
        ("input()", "pass", "EOFError"),
        ("class E(Exception):\n    def __str__(self): raise self\nraise E", "pass", "the code failed: E"),
        ("\ud800", "pass", "UnicodeEncodeError"),
        ("\0", "pass", "the code failed"),
        ("def f():\n    while True: pass", "f()", "test 1 (f()) failed: no end within"),
        ("x = [0] * 10**10", "pass", "MemoryError"),
        ("open('a', 'wb').write(b'a' * 10**7)", "pass", "OSError"),
        ("a = [open('/dev/null') for _ in range(200)]", "pass", "OSError"),
        ("def f(): return f()", "f()", "RecursionError"),
    ],
)
def test_fails_and_says_why(code: str, test: str, detail: str) -> None:
    verdict = run_tests(code, [test], limits=SHORT)
    assert verdict.attempted and not verdict.correct
    assert detail in verdict.detail


def test_wall_time_and_the_failing_test_are_named() -> None:
    start = time.monotonic()
    verdict = run_tests("import time", ["pass", "time.sleep(60)"], limits=Limits(wall_s=1.0))
    assert verdict.detail == "test 2 (time.sleep(60)) failed: no end within 1 s" and not verdict.correct
    assert time.monotonic() - start < 30  # of the 60 that it would sleep


def test_detail_is_capped() -> None:
    verdict = run_tests("x = 1", [f"assert x == 2, 'no' * 9999  # {'a' * 999}"])
    assert len(verdict.detail) <= 400


def test_environment_and_folder_are_bare(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_SECRET", "1")
    tests = [
        "import os, sys",
        "assert os.listdir('.') == []",
        "assert 'SOME_SECRET' not in os.environ",
        "assert sys.flags.no_user_site and sys.flags.safe_path and '' not in sys.path",
    ]
    assert run_tests("x = 1", tests).detail == "all 4 tests passed"


def test_mbpp_solutions_pass_and_another_problem_s_do_not(real_data) -> None:
    rows = [json.loads(line) for line in (real_data / "mbpp" / "mbpp.jsonl").read_text().splitlines()[:12]]
    for row, other in zip(rows, rows[1:] + rows[:1], strict=True):
        assert run_tests(row["code"], row["test_list"], row["test_setup_code"]).correct
        assert not run_tests(other["code"], row["test_list"], row["test_setup_code"]).correct
