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
