"""verify_math on pairs of answers that a person judged, each said in several ways."""

import random
from contextlib import closing

import pytest
from math_pairs import EQUAL, SAID, UNEQUAL

from sml_jax.tasks.math.equivalence import EquivalencePool
from sml_jax.tasks.math.verify import verify_math, verify_math_many

WAYS = (r"\boxed{%s}", "The answer is %s.", "First 3 + 4 = 7.\n#### %s", "**Final answer:** %s")

SOLUTION = "She has 16 eggs and eats 3, then bakes 4 into muffins.\nShe sells 16 - 3 - 4 = 9 for $2 each."
MODELS = [
    "{s}\n#### {n}",
    "{s}\n#### ${n}.00",
    "{s}\n#### {n} dollars",
    "{s}\n#### {n}\n\nLet me know if you have any questions!",
    "{s}\n#### Final Answer: {n}",
    "#### Step 1: sell\n{s}\n#### Step 2: conclude\nThe total is {n} dollars.",
    "{s}\n\nThe final answer is: $\\boxed{{{n}}}$",
    "{s} Therefore the answer is \\boxed{{\\${n}}}.",
    "{s}\n\\[\n\\boxed{{{n} \\text{{ dollars}}}}\n\\]",
    "{s}\nThe answer is {n}.",
    "{s} The answer is {n}",
    "{s}\nThe answer is: ${n}$.",
    "{s}\nThe answer is ${n} because she sells 9 eggs for 2 dollars.",
    "{s}\nSo the answer is {n} since 3 + 4 = 7.",
    "The answer is {n}.\n\n{s}",
    "{s}\nThe answer is \\( {n} \\).",
    "{s}\nHence, the answer is \\[ x = {n} \\]",
    "{s}\n**Answer: {n}**",
    "{s}\n**Final Answer**\n\n{n} dollars",
    "{s}\n\n### Answer\n\n**${n}**",
    "{s}\nFinal Answer: The final answer is {n}. I hope it is correct.",
    "{s}\nAnswer: $\\frac{{{n}}}{{1}}$",
    "{s}\nSo she makes ${n} every day.",
    "{s}\nTherefore, she makes a total of **${n}** in 1 day.",
    "{s}\n\\[ 9 \\cdot 2 = {n} \\]",
    "{s}\n\nHence, 9 * 2 = {n} dollars.",
    "{s}\nThe answer is 5. Wait, the answer is {n}.",
    "{s} \\boxed{{5}}. Wait, that is wrong. The answer is \\boxed{{{n}}}.",
]


def _said(pairs):
    return [(gold, way.replace("%s", answer)) for gold, answer in pairs for way in WAYS]


def test_there_are_enough_pairs() -> None:
    assert len(set(EQUAL)) >= 100 and len(set(UNEQUAL)) >= 100 and len(set(EQUAL + UNEQUAL)) >= 200
    assert not set(EQUAL) & set(UNEQUAL)


@pytest.mark.parametrize(("pairs", "right"), [(EQUAL, True), (UNEQUAL, False)])
def test_pairs(pairs, right: bool) -> None:
    said = _said(pairs)
    verdicts = verify_math_many(said)
    assert [pair for pair, verdict in zip(said, verdicts, strict=True) if verdict.correct != right] == []
    if right:
        assert all(verdict.attempted for verdict in verdicts)


def test_a_verdict_does_not_depend_on_what_was_judged_before() -> None:
    """ln x is ln |x| where x is positive: a draw of points that happens to hold no other would take them for equal."""
    with closing(EquivalencePool(workers=1)) as pool:
        told = [pool.ask(rf"\ln|{name}|", rf"\ln {name}", 60.0) for name in "abcdfghjkmnpqrstuvwxyz"]
    assert not any(told)


@pytest.mark.parametrize(("gold", "utterance", "right"), SAID)
def test_whole_utterances(gold: str, utterance: str, right: bool) -> None:
    assert verify_math(gold, utterance).correct == right


@pytest.mark.parametrize("style", MODELS)
def test_the_ways_in_which_models_end_their_solutions(style: str) -> None:
    for said, right in (("18", True), ("19", False), ("-18", False), ("180", False), ("1.8", False)):
        verdict = verify_math("18", style.format(s=SOLUTION, n=said))
        assert verdict.attempted and verdict.correct == right, said


def test_many_gives_what_one_by_one_gives_in_order() -> None:
    pairs = [*_said(random.Random(0).sample(EQUAL + UNEQUAL, 20)), ("18", ""), ("18", ""), ("", "18")]
    assert verify_math_many(pairs) == [verify_math(*pair) for pair in pairs]
    assert verify_math_many([]) == []


# docs/verifiers.md, "What is equal": a row's name, texts that are one answer, and pairs that are not.
TABLE = [
    ("numbers", ["18", "$18.00", "18 eggs", "eighteen"], [("18", "18 million"), ("$1.50", "150 cents")]),
    ("thousands", ["1,000", "1{,}000", "1 000"], []),
    ("decimals", ["1/3", "0.333333"], [("1/3", "0.33"), ("0", "0.0000001")]),
    ("percent", ["50%", "50"], [("50%", "500")]),
    ("percent as a share", ["50%", "0.5"], []),
    ("algebra", ["x^2-1", "(x-1)(x+1)"], [("\\ln x", "\\ln|x|"), ("3x", "3y")]),
    ("fractions", ["\\frac{1}{2}x", "1/2 x", "0.5x"], []),
    ("equations", ["3x+4y=5", "6x+8y=10"], [("x=5", "y=5")]),
    ("names", ["x = 5", "5"], []),
    ("functions", ["y=2x+1", "2x+1"], []),
    ("signs in words", ["-3", "negative 3"], [("3", "3 dozen"), ("a loss of 5", "a gain of 5"), ("Day 5", "Week 5")]),
    ("dozens", ["36", "3 dozen"], []),
    ("parts in words", ["3/4", "three quarters"], []),
    ("factorials", ["3!", "3 factorial"], []),
    ("letters", ["2w+2l", "2l+2w"], [("5", "3+2t"), ("16t", "16"), ("3s", "3")]),
    ("letters of units", ["3", "3s", "3 m", "3m^2"], [("3", "3x"), ("3", "3+s")]),
    ("the imaginary unit", ["-4", "4i^2"], []),
    ("bases", ["1010_2", "1010_{\\text{two}}"], [("12", "12_8")]),
    ("lists", ["7,-7", "\\pm 7", "\\{-7,7\\}", "x=7 or x=-7"], [("7,-7", "7"), ("5", "5 or 6")]),
    ("intervals", ["x > 3", "(3,\\infty)"], [("(1,2)", "(2,1)"), ("[1,2]", "(1,2)")]),
    ("unions", ["x < 2 or x > 3", "(-\\infty,2)\\cup(3,\\infty)"], []),
    ("choices", ["A", "(A)", "A) 42"], []),
    ("no solution", ["no solution", "\\emptyset"], [("max at 7", "min at 7")]),
    ("times", ["3:30 pm", "3:30 PM"], [("3:30", "3")]),
]


@pytest.mark.parametrize(("row", "equal", "unequal"), TABLE, ids=[row[0] for row in TABLE])
def test_the_table_of_the_docs(row: str, equal: list[str], unequal: list[tuple[str, str]]) -> None:
    for attempt in equal[1:]:
        assert verify_math(equal[0], rf"\boxed{{{attempt}}}").correct, attempt
    for gold, attempt in unequal:
        assert not verify_math(gold, rf"\boxed{{{attempt}}}").correct, (gold, attempt)


def test_what_is_not_compared() -> None:
    assert verify_math("5 meters", r"\boxed{5 \text{ kg}}").correct and verify_math("3, 4", r"\boxed{4, 3}").correct
    assert not verify_math(
        "The sum of two even numbers is even.", "The answer is that even numbers add up to even."
    ).correct
