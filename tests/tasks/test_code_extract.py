"""extract_code: which block wins, what is no attempt, and completions of a given start."""

from __future__ import annotations

import ast
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sml_jax.tasks.code.extract import extract_code

F = "def f(x):\n    return x + 1"
PROMPT = 'from typing import List\n\n\ndef f(x: int) -> List[int]:\n    """ Adds one.\n    >>> f(1)\n    2\n    """\n'


def fenced(code: str, label: str = "python", mark: str = "```") -> str:
    return f"{mark}{label}\n{code}\n{mark}"


@pytest.mark.parametrize(
    "text",
    [
        fenced(F),
        f"Here you are:\n\n{fenced(F)}\n\nIt adds one.",
        fenced(F, ""),
        fenced(F, "py"),
        fenced(F, "Python"),
        fenced(F, "python3.11"),
        fenced(F, "{.python .numberLines}"),
        fenced(F, 'python title="a.py"'),
        fenced(F, "python", "~~~"),
        fenced(F, "python", "````"),
        f"```python\n{F}```",
        f"```python\n{F}",
        "1. First:\n   ```python\n   def f(x):\n       return x + 1\n   ```",
        fenced(F).replace("\n", "\r\n"),
        F,
        f"{fenced('def f(:')}\nSorry, I meant\n{fenced(F)}",
        fenced(F.replace("+ 1", "")) + f"\nThat was wrong.\n{fenced(F)}",
        f"{fenced(F)}\nUse it so:\n{fenced('print(f(3))')}\nIt prints\n{fenced('4', '')}",
        f"{fenced(F)}\nRun\n{fenced('pip install x', 'bash')}\n{fenced('f = 3', 'java')}",
        f"{fenced(F)}\nAnd a half-written one:\n```python\ndef f(x):\n    return (x",
    ],
)
@pytest.mark.parametrize("entry", ["f", ""])
def test_finds_the_function(text: str, entry: str) -> None:
    assert extract_code(text, entry) == F


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Yes",
        "x",
        "42",
        "x = 5",
        "help(me)",
        "Note: this",
        "pass",
        "break",
        "Should it return a list or a tuple?",
        "What is `f(2)`?",
        "return x + 1",
        fenced("4", ""),
        fenced("[1, 2]", ""),
        fenced("f(2) == 3", "text"),
        fenced("assert f(2) == 3"),
        fenced("ls -l", "bash"),
        fenced(""),
        "```",
        "``` ```",
        "\0",
        "(" * 5000,
        "-" * 100_000,
    ],
)
@pytest.mark.parametrize("entry", ["f", ""])
def test_no_program_is_no_attempt(text: str, entry: str) -> None:
    assert extract_code(text, entry) is None


def test_a_use_of_the_function_alone_is_no_attempt_at_it() -> None:
    assert extract_code(f"What should this print?\n{fenced('print(f(2))')}", "f") is None


def test_the_last_block_that_defines_the_entry_wins() -> None:
    test = "def check(g):\n    assert g(1) == 2\ncheck(f)"
    assert extract_code(f"{fenced(F)}\nA check:\n{fenced(test)}", "f") == F
    assert extract_code(f"{fenced('f = lambda x: x + 1')}\n{fenced(test)}", "f") == "f = lambda x: x + 1"
    solution = "class Solution:\n    def f(self, x):\n        return x"
    assert extract_code(f"{fenced(solution)}\n{fenced('s = Solution()')}", "f") == solution


def test_whole_programs_need_no_definition() -> None:
    program = "n = int(input())\nprint(n + 1)"
    assert extract_code(fenced(program)) == program
    assert extract_code(program) == program
    assert extract_code(f"{fenced(program)}\nFor input 3 it prints\n{fenced('4', '')}") == program


@pytest.mark.parametrize(
    "text", [fenced("def f(x)\n    return x"), "def f(x)\n    return x", "```python\ndef f(x):\n  if"]
)
def test_code_that_does_not_parse_was_an_attempt(text: str) -> None:
    code = extract_code(text, "f")
    assert code is not None and "def f(x)" in code and "```" not in code


def test_a_fence_inside_a_docstring_does_not_end_the_block() -> None:
    code = 'def f(x):\n    """Adds one.\n\n    ```\n    f(1)\n    ```\n    """\n    return x + 1'
    assert extract_code(fenced(code), "f") == code


@pytest.mark.parametrize("around", [("Sure, here it is:\n\n", "\n\nIt adds one, as asked."), ("", "\nThis adds one.")])
def test_words_around_a_bare_function_are_let_go(around: tuple[str, str]) -> None:
    assert (extract_code(f"{around[0]}{F}{around[1]}", "f") or "").strip() == F


@pytest.mark.parametrize(
    "answer",
    [
        "    y = x + 1\n    return [y]",
        "y = x + 1\n    return [y]",
        "y = x + 1\nreturn [y]",
        "  y = x + 1\n  return [y]",
        fenced("    y = x + 1\n    return [y]"),
        fenced("y = x + 1\nreturn [y]"),
        fenced("def f(x: int) -> List[int]:\n    return [x + 1]"),
        "def f(x: int) -> List[int]:\n    return [x + 1]",
        "The body:\n" + fenced("    return g(x)\n\ndef g(x):\n    return [x + 1]"),
    ],
)
def test_completes_a_given_start(answer: str) -> None:
    program = extract_code(answer, "f", PROMPT)
    assert program is not None and program.startswith(PROMPT.rstrip())
    space: dict = {}
    exec(compile(program, "program", "exec"), space)
    assert space["f"](1) == [2]


def test_a_start_without_a_body_may_be_answered_by_the_whole_function() -> None:
    space: dict = {}
    exec(extract_code(fenced(F), "f", "import math\ndef f(x):\n") or "", space)
    assert space["f"](1) == 2


@given(
    st.text()
    | st.lists(st.sampled_from(["```", "```python", "~~~", "def f(x):", "    return x", "Yes", ""])).map("\n".join)
)
def test_is_total_and_gives_fence_free_programs(text: str) -> None:
    for prefix in ("", PROMPT):
        code = extract_code(text, "f", prefix)
        assert code is None or code.strip()


@given(st.lists(st.sampled_from(["So:", "Yes", "", "print(f(1))"]), max_size=3), st.sampled_from(["python", "", "py"]))
def test_words_and_uses_around_a_block_change_nothing(words: list[str], label: str) -> None:
    text = "\n".join([*words, fenced(F, label), *words, fenced("print(f(2))", label)])
    code = extract_code(text, "f")
    assert code == F and ast.parse(code)


def test_thousands_of_blocks_are_read_at_once():
    """Every block was compared with all before it: an hour for the blocks that 100,000 characters hold."""
    start = time.process_time()
    found = extract_code("```\nx = 1\n```\n" + "```\nx()\n```\n" * 7_000)
    assert found is not None and time.process_time() - start < 15
