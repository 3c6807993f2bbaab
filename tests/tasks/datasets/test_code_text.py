"""What programs and tests say about the function that is asked for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sml_jax.tasks.datasets.code_text import entry_of, signature_of, unfence


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ("def f():\n  pass\n", "def f():\n  pass"),
        ("Here:\n```python\ndef f():\n  pass\n```\nDone.", "def f():\n  pass"),
        ("```\nx = 1\n```\nand\n```py\ny = 2\n```", "x = 1\ny = 2"),
        ("```Python\n  x\n```", "  x"),
    ],
)
def test_unfence(answer: str, code: str) -> None:
    assert unfence(answer) == code


def test_entry_and_signature() -> None:
    solve = "def solve(a: int, *rest, k=3) -> list[int]:\n  return helper(a)"
    code = f"def helper(x):\n  return x\n{solve}\ndef unused(): pass"
    tests = ["assert solve(1) == [1]", "assert helper(solve(2)) == 2", "not python ("]
    assert entry_of(code, tests) == "solve"
    assert signature_of(code, "solve") == "def solve(a: int, *rest, k=3) -> list[int]:"
    assert signature_of(code, "missing") == "" and entry_of(code, ["assert other(1)"]) == ""
    assert entry_of("class A: pass", ["A()"]) == ""


@given(st.text(max_size=40))
def test_any_text_has_an_answer(code: str) -> None:
    assert isinstance(entry_of(code, [code]), str) and isinstance(signature_of(code, "f"), str)
    assert isinstance(unfence(code), str)


def test_a_signature_of_a_thousand_terms_is_none():
    code = f"def f(x={'-' * 1500}1):\n    return x\n"
    assert signature_of(code, "f") in ("", f"def f(x={'-' * 1500}1):")
