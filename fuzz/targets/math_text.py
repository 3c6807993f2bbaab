"""The text side of the mathematics verifier: extraction, one spelling, numbers, comparison; the algebra is left out."""

from __future__ import annotations

import time
from fractions import Fraction

from fuzz.campaign import Target
from fuzz.source import Source
from sml_jax.tasks.math.canonical import canonical, folded, split_parts
from sml_jax.tasks.math.compare import same_answer
from sml_jax.tasks.math.extract import ANSWER_CHARACTERS, after_last_marker, extract_answer, final_answer
from sml_jax.tasks.problems.numbers import answer_number, same_number

# Words and signs that mark, spell or hedge answers.
WORDS = (
    *("the answer is", "answer:", "answers", "####", "####\n", "\\boxed{", "\\boxed 5", "\\boxed{1}", "\\fbox{", "}"),
    *("{", "so", "or", "and", "is", "=", "\\text{", "\\mathrm{cm}", "\\frac{1}{2}", "\\frac12", "\\frac", "\\dfrac{"),
    *("\\sqrt{2}", "\\pi", "\\left(", "\\right)", "(", ")", "[", "]", "\\{", "\\}", "\\(", "\\)", "\\[", "\\]", "$"),
    *("$$", "\\$", "€", "%", "\\%", "\\pm", "\\cup", "\\infty", "\\le ", "\\circ", "^", "^{", "_", ",", ";", "."),
    *(":", "!", "?", "\\\\", "\\,", "1,000", "1 000", "3.14", "1/2", "10^6", "1e5", "x", "y", "x = 5", "2x + 3", "-"),
    *("\u2212", "+", "*", "**", "/", "sqrt(2)", "twenty", "-one", "hundred", "half", "minus", "dollars", "cm", "m"),
    *("am", "(A)", "B)", "yes", "no", "true", "false", "step", "because", "Hope this helps", "what is"),
    *("\\begin{pmatrix}", "\\end{pmatrix}", "&", "~", "`", "**5**", "\n\n"),
)
# What may stand between two boxes of one answer.
_BETWEEN = (" ", "\n", ",", ";", ".", "$", "}", "and", "or", "\\)", "\\(", "\\]", "\\[", "\\text{", "x", "=", "y = ")
_CPU_S = 4.0


def _spelled(source: Source) -> tuple[str, Fraction]:
    """A number as people write it, and its value."""
    digits_value = source.integer(0, 10 ** source.integer(1, 12))
    sign = source.pick(("", "-", "+", "\u2212"))
    worth = -digits_value if sign in ("-", "\u2212") else digits_value
    kind = source.integer(0, 6)
    if kind == 0:
        return f"{sign}{digits_value:,}", Fraction(worth)
    if kind == 1:
        places = source.integer(1, 6)
        digits = source.integer(0, 10**places - 1)
        part = Fraction(digits, 10**places)
        return f"{sign}{digits_value}.{digits:0{places}d}", worth + (
            -part if worth < 0 or sign in ("-", "\u2212") else part
        )
    if kind == 2:
        under = source.integer(1, 999)
        return f"{sign}{digits_value}/{under}", Fraction(worth, under)
    if kind == 3:
        under = source.integer(1, 999)
        return f"{sign}\\frac{{{digits_value}}}{{{under}}}", Fraction(worth, under)
    if kind == 4:
        return f"${sign}{digits_value}$", Fraction(worth)
    if kind == 5:
        return f"\\text{{{sign}{digits_value}}}.", Fraction(worth)
    return f"{sign}{digits_value}", Fraction(worth)


def _check_number(source: Source) -> None:
    """A number is worth what it says, and is the same number as any other way of writing it."""
    (left_text, left_value), (right_text, right_value) = _spelled(source), _spelled(source)
    left, right = answer_number(canonical(left_text)), answer_number(canonical(right_text))
    assert left is not None and left.value == left_value, f"{left_text!r} reads as {left}"
    assert right is not None
    if left_value == right_value:
        assert same_number(left, right) and same_number(right, left), f"{left_text!r} and {right_text!r}"
    assert same_number(left, left)


def _late(gold: str, attempt: str) -> bool:
    raise TimeoutError


def check(source: Source) -> None:
    """One case."""
    if source.flag(4):
        _check_number(source)
        return
    # Any texts, some of them made to slow down regular expressions.
    longest = 20_000 if source.flag(4) else 1_500
    utterance, gold = source.text(WORDS, 40, longest), source.text(WORDS, 10, longest if source.flag(8) else 200)
    if source.flag(8):
        utterance = f"\\boxed{{1}}{source.pumped(_BETWEEN, longest)}\\boxed{{2}}"
    elif source.flag(4):
        utterance = source.pumped(WORDS, longest)
    elif source.flag(8):
        gold = source.pumped(WORDS, longest)
    # Extraction, spelling, numbers and comparison, all together in time.
    start = time.process_time()
    attempt = extract_answer(utterance)
    assert attempt is None or (attempt == attempt.strip() != "" and len(attempt) <= ANSWER_CHARACTERS), repr(attempt)
    answer = final_answer(gold)[:20_000]
    assert answer == answer.strip() or len(gold) > 20_000
    after_last_marker(utterance)
    for text in (answer, attempt or ""):
        spelled = canonical(text)
        assert isinstance(folded(spelled), str)
        answer_number(spelled)
        split_parts(spelled)
    # The algebra says no, or is late; an answer that is written alike is right without it.
    equal = (lambda gold, attempt: False) if source.flag() else _late
    try:
        assert same_answer(answer, attempt or utterance[-2000:], equal) in (True, False)
        assert not canonical(answer) or not folded(canonical(answer)) or same_answer(answer, answer, equal)
    except TimeoutError:
        assert equal is _late
    used = time.process_time() - start
    assert used < _CPU_S, f"{used:.1f} s for {len(utterance)} and {len(gold)} characters"


def target() -> Target:
    """What `verify_math` does by itself."""
    return Target("math_text", check, cpu_s=20.0)
