"""What a failing test says: values, messages, lines, and never more than 400 characters."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sml_jax.tasks.code.detail import detail_of, failure_hint
from sml_jax.tasks.code.run_tests import run_tests
from sml_jax.tasks.code.sandbox import CANDIDATE, Ending, Limits

LONG = "def f(): return list(range(1000))"


@pytest.mark.parametrize(
    ("code", "test", "detail"),
    [
        ("def f(): return 3", "assert f() == 4", "test 1 (assert f() == 4) failed: expected 4, got 3"),
        ("def f(): return 3", "assert 4 == f()", "failed: expected 4, got 3"),
        ("def f(): return [3]", "assert [-1, {2}] == f()", "failed: expected [-1, {2}], got [3]"),
        ("def f(): return '3'", "assert f() == 3", "failed: expected 3, got '3'"),
        ("def f(): pass", "assert f() == [1, 2]", "failed: expected [1, 2], got None"),
        ("def f(): return (1, 2)", "assert f() == [1, 2]", "failed: expected [1, 2], got (1, 2)"),
        ("def f(): return 'ñ'", "assert f() == 'n'", "failed: expected 'n', got 'ñ'"),
        ("def f(): return '\\ud800'", "assert f() == 'n'", r"failed: expected 'n', got '\ud800'"),
        ("def f(): return {1, 2}", "assert set(f()) == set([1])", "failed: expected {1}, got {1, 2}"),
        ("def f(): return 0", "assert f()", "failed: expected a true value, got 0"),
        ("def f(): return 5", "assert not f()", "failed: expected a false value, got 5"),
        ("def f(): return 5", "assert f() < 5", "failed: 5 < 5 does not hold"),
        ("def f(): return 5", "assert f() in (1, 2)", "failed: 5 in (1, 2) does not hold"),
        ("def f(): return 5", "assert f() is None", "failed: 5 is None does not hold"),
        ("def f(): return 2.5", "assert abs(f() - 2) < 1e-6", "failed: 0.5 < 1e-06 does not hold"),
        ("def f(): return 5", "assert 1 < f() < 3", "failed: expected a true value, got False"),
        ("def f(): return 3", "assert f() == 4, 'too low'", "failed: AssertionError: too low; expected 4, got 3"),
        ("x = 1", "assert 1 == 1; assert x == 2; assert x == 3", "failed: expected 2, got 1"),
        (
            "x = 1",
            "for n in (1, 5):\n    assert x == n\n    assert n",
            "test 1 (assert x == n) failed: expected 5, got 1",
        ),
        (
            "def f(x): return x",
            "def check(g):\n    assert g(1) == 1\n    assert g(2) == (\n        3\n    )\ncheck(f)",
            "test 1 (assert g(2) == ( 3 )) failed: expected 3, got 2",
        ),
        (
            "def f(x): return 1 / x",
            "y = 1\nf(1)\nf(0)",
            "test 1 (f(0)) failed: ZeroDivisionError: division by zero (line 1:",
        ),
        (
            "def f():\n    assert 1 == 2, 'mine'",
            "assert f() == 1",
            "failed: AssertionError: mine (line 2: assert 1 == 2,",
        ),
        (
            "def g(): return {}['a']\ndef f(): return g()",
            "f()",
            "failed: KeyError: 'a' (line 1: def g(): return {}['a'])",
        ),
        ("x = 1\ny = = 2", "pass", "the code failed: SyntaxError: invalid syntax (line 2: y = = 2)"),
        ("def f():\nreturn 1", "pass", "the code failed: IndentationError: expected an indented block"),
        ("return 1", "pass", "the code failed: SyntaxError: 'return' outside function (line 1: return 1)"),
        (
            LONG,
            "assert f() == list(range(500)) + [7] + list(range(501, 1000))",
            "expected 7 at index 500, got 500 there",
        ),
        (LONG, "assert f() == list(range(1001))", "failed: expected list of 1001: 0, 1, 2"),
        ("def f(): return 'a' * 999", "assert f() == 'a' * 998", "failed: expected a length of 998, got 999"),
        ("def f(): return 10**5000", "assert f() == 1", "failed: expected 1, got an int of 16610 bits"),
        (
            "class A:\n    def __repr__(self): raise ValueError\ndef f(): return A()",
            "assert f() == 1",
            "failed: expected 1, got a A whose repr raises ValueError",
        ),
        (
            "class A:\n    def __eq__(self, other): raise TypeError('no')\ndef f(): return A()",
            "assert f() == 1",
            "failed: expected 1, got <solution.A object at",
        ),
        ("import sys\nsys.exit('bye')", "pass", "the code failed: SystemExit: bye (line 2: sys.exit('bye'))"),
        ("raise BaseException(' a\\n b ')", "pass", "the code failed: BaseException: a b (line 1:"),
        ("x = input()", "pass", "the code failed: EOFError: EOF when reading a line (line 1: x = input())"),
    ],
)
def test_a_failure_says(code: str, test: str, detail: str) -> None:
    verdict = run_tests(code, [test])
    assert verdict.attempted and not verdict.correct
    assert detail in verdict.detail and len(verdict.detail) <= 400


def test_sides_of_a_comparison_are_found_once_and_in_order() -> None:
    code = "seen = []\ndef f(x):\n    seen.append(x)\n    return x"
    assert run_tests(
        code, ["assert f(1) == f(1)", "assert not f(0)", "assert f(2) < f(3)", "assert seen == [1, 1, 0, 2, 3]"]
    ).correct


def test_a_broken_setup_and_a_broken_test_are_named() -> None:
    assert run_tests("x = 1", ["pass"], "1 / 0").detail == "the setup failed: ZeroDivisionError: division by zero"
    assert run_tests("x = 1", ["assert (x"]).detail.startswith("test 1 (assert (x) failed: SyntaxError: '(' was never")


@given(
    st.lists(st.text(max_size=600), max_size=8).map(tuple),
    st.sampled_from(["values", "error", "time", "missing", "silent"]),
    st.integers(-64, 255),
    st.text(max_size=600),
)
def test_any_report_makes_one_short_line(words: tuple[str, ...], kind: str, status: int, code: str) -> None:
    ending = Ending("test 1", (kind, *words), False, status)
    text = detail_of(ending, Limits(), [(CANDIDATE, code), ("test 1", "assert x")])
    assert text.startswith("test 1 (assert x) failed: ") and len(text) <= 400


def test_hints_do_not_tell_what_was_expected() -> None:
    for detail in (
        "test 1 (assert f(2) == 77) failed: expected 77, got 5",
        "test 1 (assert f(2) == 77, 'm') failed: AssertionError: m; expected 77, got 5",
        "test 1 (assert f(2) > 77) failed: 5 > 77 does not hold",
        "case 1 (input '2') failed: in line 2 of the output expected '77', got '5'",
        "case 1 (f(2)) failed: expected 77, got 5",
        "test 1 (assert f(2) == 77) failed: no end within 5 s of processor time",
        "test 1 (assert f(2) == 77) failed: ValueError: no (line 2: raise ValueError('no'))",
        "test 1 (assert f(2) == 77) failed: left early, status 0",
    ):
        assert "77" not in failure_hint(detail)
