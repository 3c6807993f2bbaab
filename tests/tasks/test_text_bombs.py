"""Long runs of one thing, through everything that reads a model's text: the time grows no faster than the text."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from sml_jax.dialogue.framing import marked
from sml_jax.evaluate.label_hedges import hedges
from sml_jax.evaluate.label_questions import count_questions
from sml_jax.evaluate.label_rules import declines, is_missing
from sml_jax.evaluate.label_text import without_runs
from sml_jax.tasks.code.cases import same_output
from sml_jax.tasks.code.detail import one_line
from sml_jax.tasks.code.extract import extract_code
from sml_jax.tasks.leaks import leaks
from sml_jax.tasks.leaks.code import copies_program
from sml_jax.tasks.leaks.one_step import one_step
from sml_jax.tasks.math.compare import same_answer
from sml_jax.tasks.math.extract import extract_answer, final_answer
from sml_jax.tasks.problems.numbers import answer_number

CHARACTERS = 100_000
TURN = 20_000  # characters of a turn that the label rules may be given
QUICK_S = 1.0  # what the longest text may take, however it grows
PROGRAM = "def add(first, second):\n    total = first + second\n    return total\n"

READERS: dict[str, Callable[[str], object]] = {
    "extract_code": extract_code,
    "extract_code_of_an_entry": lambda text: extract_code(text, "f"),
    "extract_code_behind_a_prefix": lambda text: extract_code(text, "f", "def f(x):\n"),
    "extract_answer": extract_answer,
    "final_answer": final_answer,
    "answer_number": answer_number,
    "same_answer": lambda text: same_answer("x+1", text[:2000], lambda left, right: False),
    "leaks_of_a_number": lambda text: leaks("42", text, ""),
    "leaks_of_an_expression": lambda text: leaks("x^2+3x", text, ""),
    "leaks_of_words": lambda text: leaks("the blue house", text, "blue"),
    "leaks_into_the_student_s_text": lambda text: leaks("42", "It is 42.", text),
    "copies_program": lambda text: copies_program(PROGRAM, text, ""),
    "one_step": lambda text: one_step("42", text, "There are 40 and 2.", ["I say 40."]),
    "one_step_of_a_student": lambda text: one_step("42", "Add 2.", "There are 40 and 2.", [text]),
    "feedback": lambda text: marked(text, "feedback"),
    # The label rules are given a turn whose long runs were cut, since some take time in the square of such a run.
    "count_questions": lambda text: count_questions(without_runs(text[:TURN])),
    "hedges": lambda text: hedges(text[:TURN]),
    "declines": lambda text: declines(without_runs(text[:TURN])),
    "is_missing": lambda text: is_missing(without_runs(text[:TURN])),
    "same_output": lambda text: same_output(text, text + "x"),
    "one_line": lambda text: one_line(text, 400),
}
# Readers that take long over short texts too, and share their patterns with others of the table.
DEAR = {"leaks_of_an_expression", "leaks_into_the_student_s_text", "one_step_of_a_student"}
UNITS = [
    *(
        " ",
        "\t",
        "\n",
        " \n",
        "a",
        "a ",
        "1",
        "1 ",
        "1,",
        "1.",
        "-",
        "- ",
        "$",
        "\\",
        "\\\\",
        "{",
        "}",
        "(",
        ")",
        "[",
        "]",
        "<",
    ),
    *(
        "< ",
        "</",
        "/",
        "*",
        "**",
        "_",
        "`",
        "```",
        "```\n",
        "~~~\n",
        "#",
        "####",
        "?",
        "? ",
        "!",
        ".",
        ". ",
        ",",
        ":",
        ";",
        "'",
    ),
    *(
        '"',
        "=",
        "= ",
        "+",
        "1+",
        "1/",
        "^",
        "^{",
        "%",
        "\\boxed{",
        "\\boxed{1}",
        "\\frac",
        "\\frac{",
        "\\frac{1}{",
        "\\text{",
    ),
    *(
        "\\sqrt(",
        "\\approx ",
        "\\pm ",
        "\\left(",
        "answer ",
        "answer: ",
        "the answer is ",
        "is ",
        "or ",
        "and ",
        "so ",
        "not ",
    ),
    *(
        "5 or ",
        "if ",
        "what ",
        "what?",
        "twenty ",
        "twenty-",
        "1 000",
        "1/2 ",
        "x=",
        "x = 1\n",
        "def f(x):\n",
        "import x\n",
    ),
    *(
        "return x\n",
        "@a\n",
        "<feedback>",
        "</feedback>",
        "<feedback",
        "e.g. ",
        "1) ",
        "A) ",
        "(A) ",
        "\u00bd",
        "\u2070",
        "\u00e9",
    ),
]
FRAMES = [
    ("", ""),
    ("```", ""),
    ("```python\n", "`"),
    ("The answer is ", " x"),
    ("\\boxed{", ""),
    ("<feedback>", "?"),
    ("def f(x):\n", ""),
]


def text_of(unit: str, frame: tuple[str, str], characters: int) -> str:
    return frame[0] + (unit * (characters // len(unit) + 1))[:characters] + frame[1]


def seconds(read: Callable[[str], object], text: str) -> float:
    """Seconds of processor time, so that other work on the machine does not count."""
    start = time.process_time()
    read(text)
    return time.process_time() - start


def slow_texts(
    read: Callable[[str], object], frames: list[tuple[str, str]], units: list[str]
) -> list[tuple[str, tuple[str, str], float]]:
    """(unit, frame, seconds) of the texts whose time grows faster than they do."""
    slow = []
    for frame in frames:
        for unit in units:
            spent = seconds(read, text_of(unit, frame, CHARACTERS))
            if spent < QUICK_S:
                continue
            # Slow, but in proportion: half the text takes at least a third of the time.
            half = seconds(read, text_of(unit, frame, CHARACTERS // 2))
            if spent > 3 * half:
                slow.append((unit, frame, spent))
    return slow


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.extra) if n in DEAR else n for n in READERS])
def test_time_grows_no_faster_than_the_text(name: str) -> None:
    assert slow_texts(READERS[name], FRAMES[:1], UNITS[::6]) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_time_grows_no_faster_than_any_text(name: str) -> None:
    assert slow_texts(READERS[name], FRAMES, UNITS) == []


def test_spaces_behind_a_fence_are_read_at_once() -> None:
    """They were divided between three parts of one expression: a minute for 99,000 of them."""
    for text in (
        "```" + " " * 99_000 + "`",
        "```" + " " * 99_000,
        " " * 99_000 + "```",
        "```python" + " " * 99_000 + "x",
    ):
        assert seconds(extract_code, text) < QUICK_S


@pytest.mark.parametrize("unit", ["5", "if ", "5 or ", " ", "`5 ", "def a:\n", "case a ", "not sure 5 when "])
def test_hedges_are_looked_for_in_time_that_grows_no_faster_than_the_turn(unit: str) -> None:
    quarter, whole = (seconds(hedges, text_of(unit, ("", ""), TURN // parts)) for parts in (4, 1))
    assert whole < max(0.05, 8 * quarter)
