"""Which place of an utterance states its answer, and what the answer is worth: cases of every kind, judged by hand."""

import contextlib
import json
import time
from pathlib import Path

import pytest

from sml_jax.tasks import verify_math
from sml_jax.tasks.math.canonical import canonical
from sml_jax.tasks.math.chains import digits_and_base
from sml_jax.tasks.math.choices import same_choice
from sml_jax.tasks.math.compare import same_answer
from sml_jax.tasks.math.extract import after_last_marker, extract_answer
from sml_jax.tasks.math.intervals import as_intervals
from sml_jax.tasks.math.opposites import say_opposites
from sml_jax.tasks.math.task import MathTask
from sml_jax.tasks.math.value_words import with_values
from sml_jax.tasks.math.verify import verify_math_many
from sml_jax.tasks.problems.types import Problem

CASES = [json.loads(line) for line in (Path(__file__).parent / "math_verdicts.jsonl").read_text().splitlines()]
KINDS = sorted({case["kind"] for case in CASES})
# What a student says in its turn, and whether that is an attempt.
TURNS = [
    ("I don't know the answer.", False),
    ("I need help with this one.", False),
    ("Can you give me a hint?", False),
    ("So she has 12 apples.", True),
    ("The answer is 12.", True),
    ("I think it is 12.", True),
    ("Let me think about it again.", False),
    ("Next I will multiply 3 by 4.", False),
    ("What is the first step?", False),
    ("\\boxed{12}", True),
    ("I made a mistake in step 2.", False),
    ("Okay, I will try again.", False),
    ("12", True),
    ("Maybe I should start with the eggs.", False),
    ("My previous answer was 12.", False),
    ("I am not sure about the answer.", False),
    ("Is the answer 12?", False),
    ("It's 12, right?", True),
    ("3 * 4 = 12", True),
    ("I got 12 but I am not sure.", True),
    ("Thank you for the hint!", False),
    ("Thank you, so the answer is 12.", True),
    ("Does she sell all the eggs?", False),
    ("How many eggs does she have?", False),
    ("I forgot to subtract 3.", False),
    ("You are right, I forgot to add the 3 eggs.", False),
    ("You are right, it should be 12.", True),
    ("I understand now. The total is 12.", True),
    ("First, find the number of eggs.", False),
    ("I would say 12.", True),
    ("The answer is unclear.", False),
    ("There is not enough information to find the answer.", False),
    ("Hmm, that gives 12.", True),
    ("We need to find how many eggs are left.", False),
    ("Do I need to add 3 or multiply by 3?", False),
    ("Should I add 3?", False),
    ("Then I divide 24 by 2.", False),
    ("24 / 2 = 12", True),
    ("I can't solve this.", False),
    ("The final answer is 12 dollars.", True),
    ("So each egg costs 2 dollars, and I need to know how many there are.", False),
    ("My answer is wrong, let me check.", False),
    ("Answer: 12", True),
    ("I will check my answer again.", False),
    ("What do you mean by 3 eggs?", False),
    ("I do not understand why you subtract 3.", False),
    ("The answer is 12 because 3 * 4 = 12.", True),
    ("#### 12", True),
    ("Sorry, I was wrong.", False),
    ("Sorry, I was wrong. It is 12.", True),
    ("Let's see.", False),
    ("I have to add 3 and 4.", False),
    ("The total cost is $12.", True),
    ("She would have 12 left.", True),
    ("I'm confused about the answer.", False),
    ("Your hint says that there are 3 more.", False),
    ("It takes 12 minutes.", True),
    ("How do I get the answer?", False),
    ("Therefore x = 12.", True),
    ("What do you mean by the remaining eggs?", False),
    ("I'm not sure how to begin. Could you explain the first part?", False),
    ("I would rather not answer that.", False),
    ("Sorry, I cannot help with that.", False),
    ("As an AI language model, I am unable to see the picture.", False),
    ("Plan:\n1. Find the eggs that are left.\n2. Multiply by the price.", False),
    ("Let me set this up. Let x be the number of eggs she sells.", False),
    ("First we find how many eggs she has left after breakfast and baking.", False),
    ("16 - 3 = 13, and then I still need to subtract the 4 for baking.", False),
    ("16 - 3 - 4 = 9, so she sells 9 eggs.", True),
    ("She sells 9 eggs at 2 dollars each, for a total of 18 dollars.", True),
    ("Is it 18?", False),
    ("Would it be 18 or 24?", False),
    ("Hmm, either 18 or 24.", False),
    ("It might be 18.", False),
    ("Maybe 18?", False),
    ("I believe the total is 18 dollars.", True),
    ("My best guess is 18.", True),
    ("18 dollars per day", True),
    ("Eighteen.", True),
    ("The answer is eighteen dollars.", True),
    ("def solve():\n    return (16 - 3 - 4) * 2", False),
    ("```python\neggs = 16 - 3 - 4\nprint(eggs * 2)\n```", False),
    ("```python\nprint((16 - 7) * 2)\n```\nThis prints 18.", True),
    ("```python\nprint((16 - 7) * 2)\n```\nOutput: 18", True),
    ("I like turtles.", False),
    ("The weather is nice today.", False),
    ("Hello! How can I help you?", False),
    ("Thanks, that helps a lot!", False),
    ("Thanks, now I see that it is 18.", True),
    ("I give up.", False),
    ("No idea.", False),
    ("I have no clue what to do with the 4 muffins.", False),
    ("This problem does not give enough information.", False),
    ("I'll try: 9 times 2 is 18.", True),
    ("$9 \\times 2 = 18$", True),
    ("\\[ 9 \\cdot 2 = \\boxed{18} \\]", True),
    ("So the answer will be \\boxed{}.", False),
    ("Put the final answer in \\boxed{}.", False),
    ("#### 18", True),
    ("Final answer: $18", True),
    ("The answer is left as an exercise.", False),
    ("The answer depends on the price.", False),
    ("I am still working on the answer.", False),
    ("Could you tell me whether my answer of 12 is close?", False),
    ("Was my mistake in the second step?", False),
    ("You said that 4 eggs are for muffins, right?", False),
    ("I see, so I should not count the 4 muffins twice.", False),
    ("Okay, so 16 - 3 - 4 first.", False),
    ("Right. I multiplied by 3 instead of 2.", False),
    ("I multiplied by the wrong number; it should be 9 * 2 = 18.", True),
    ("Let me recompute. 16 - 7 = 9. 9 * 2 = 18. So she makes $18.", True),
    ("I don't think I can do this one without a calculator.", False),
    ("x = 18", True),
    ("$\\frac{1}{2}$", True),
    ("So we get $x = \\frac{3}{4}$.", True),
    ("The final answer is \\frac{3}{4}.", True),
    ("Yes.", False),
    ("(B)", True),
    ("I think option B is right.", True),
    ("Each muffin uses 4 eggs, I guess?", False),
    ("What is 16 - 7?", False),
    ("The next step is to multiply 9 by 2.", False),
    ("After that I will have the total.", False),
    ("All right, one more time!", False),
    ("No solution.", True),
    ("no real roots", True),
    ("def f(x):\n    return x + 1", False),
    ("def area(r):\n    pi = 3\n    return pi * r * r\n", False),
    ("def f(x):\n    return x + 1\n\nSo f(2) = 3.", True),
]
# Pieces that a regular expression might try in many ways.
BOMBS = [
    *(
        " ",
        "\n",
        "a ",
        "1 ",
        "1,",
        "1, ",
        "-",
        "*",
        "**a",
        "__a",
        "<",
        "<<a",
        "[[",
        "(",
        "( 1,",
        "$",
        "$a ",
        "\\(",
        "\\[",
    ),
    *(
        "\\boxed",
        "\\boxed{",
        "{",
        "\\",
        "\\text{",
        "\\frac{\\text{a}}{",
        "\\color{red}",
        "#### ",
        "<answer>",
        "_{",
        "^{",
    ),
    *("the answer is ", "answer: ", "is the answer. ", "1 or ", "so ", "I now ", "we will ", "not ", "no, ", "wait, "),
    *(". ", "? ", "1. ", "1=", "x=1, ", "1 \\approx ", "(1,2)\\cup ", "x<", "9/", "9_", "(A) or ", "C, ", "yes or "),
    *(
        "negative ",
        "one and a half ",
        "two hundred and ",
        "3 dozen ",
        "1 a b ",
        "1 below zero ",
        "Rs. ",
        "1e",
        " - a",
        " !",
        "because 1, ",
        "if we know 1 ",
        "I used 1 to ",
        "To a, not 1 ",
    ),
]


def test_there_are_cases_of_every_kind() -> None:
    assert len(KINDS) == 25 and len(CASES) >= 3_000
    assert {case["correct"] for case in CASES} == {True, False}


@pytest.mark.parametrize("kind", KINDS)
def test_verdicts_of_a_kind(kind: str) -> None:
    cases = [case for case in CASES if case["kind"] == kind]
    verdicts = verify_math_many([(case["gold"], case["utterance"]) for case in cases])
    assert [case for case, verdict in zip(cases, verdicts, strict=True) if verdict.correct != case["correct"]] == []


@pytest.mark.parametrize(("turn", "attempted"), TURNS)
def test_attempts(turn: str, attempted: bool) -> None:
    assert verify_math("17", turn).attempted == attempted


@pytest.mark.parametrize(
    "mention",
    [
        "I hope this answer is right.",
        "This is the answer.",
        "My old answer was 3.",
        "Is the answer 3?",
        "The answer is not 3.",
    ],
)
def test_a_sentence_that_states_nothing_takes_nothing_away(mention: str) -> None:
    assert extract_answer(rf"\boxed{{12}}. {mention}") == "12"
    assert extract_answer(f"The answer is 12. {mention}") == "12"


@pytest.mark.parametrize("gold", [str(number) for number in range(1, 10)])
@pytest.mark.parametrize(
    "chain", [r" \approx ", " = ", ", ", " or ", r" \text{ or } ", "; ", " and ", " / ", r"} or \boxed{", r"}, \boxed{"]
)
def test_several_candidates_never_pay(gold: str, chain: str) -> None:
    candidates = chain.join(str(number) for number in range(1, 10))
    assert not verify_math(gold, rf"\boxed{{{candidates}}}").correct
    if "boxed" not in chain:
        assert not verify_math(gold, f"The answer is {candidates}.").correct


def test_unmarked_values_count_only_where_they_are_asked_for() -> None:
    problem = Problem(id="1", question="3 * 4?", answer="12")
    for said, marked in (("12", False), ("So she has 12 eggs.", False), ("The answer is 12.", True), ("#### 12", True)):
        assert verify_math("12", said).correct
        verdict = verify_math("12", said, unmarked=False)
        assert (verdict.correct, verdict.attempted) == (marked, marked)
        assert MathTask("toy", {"test": [problem]}, unmarked=False).verify([(problem, said)]) == [verdict]


def test_two_sides_agree_or_do_not_pay() -> None:
    assert verify_math(r"\sqrt{2}", r"\boxed{\sqrt{2} \approx 1.414}").correct
    assert not verify_math("2", r"\boxed{\sqrt{2} \approx 2.4}").correct
    assert not verify_math("37", r"\boxed{36 \approx 37}").correct


def test_the_last_place_that_states_decides() -> None:
    places = ["\\boxed{{{}}}", "#### {}", "<answer>{}</answer>", "The answer is {}.", "{} is the answer."]
    for first in places:
        for last in places:
            assert extract_answer(f"{first.format(12)}\nThen: {last.format(15)}") == "15", (first, last)


@pytest.mark.parametrize("sign", ["=", "\\to", "\\sim", "\\equiv", "\\neq", "\\Rightarrow", "\\cong", "->", "=>", ":="])
def test_signs_between_unequal_numbers_do_not_pay(sign: str) -> None:
    for gold in ("36", "37"):
        assert not verify_math(gold, f"\\boxed{{36 {sign} 37}}").correct
        assert not verify_math(gold, f"The answer is $36 {sign} 37$.").correct


def test_a_correction_of_a_stated_answer_decides() -> None:
    assert extract_answer("The answer is 12. No, it is 15.") == "15"
    assert extract_answer(r"\boxed{12}. Wait, it should be 15.") == "15"


def test_a_box_that_is_cut_off_takes_the_boxes_before_it_away() -> None:
    assert extract_answer(r"\boxed{5}. After checking: \boxed{7") is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("negative 3", "-3"),
        ("3 dozen eggs", "36 eggs"),
        ("one and a half dozen", "18"),
        ("three quarters of a mile", "3/4 of a mile"),
        ("2 and a half", "5/2"),
        ("4 degrees below zero", "-4 degrees"),
        ("3 factorial", "3!"),
        ("twenty fifth", "twenty fifth"),
        ("3 eggs", "3 eggs"),
    ],
)
def test_words_that_change_a_value(text: str, value: str) -> None:
    assert with_values(text) == value


def test_inequalities_and_unions_are_the_same_sets() -> None:
    union = as_intervals(canonical(r"(-\infty,1]\cup(3,+\infty)"))
    assert union is not None and union == as_intervals(canonical(r"x > 3 \text{ or } x \leq 1"))
    assert union != as_intervals(canonical(r"x \geq 3 \text{ or } x \leq 1"))
    assert as_intervals("x + 1") is None


def test_choices() -> None:
    assert same_choice("B", "B) 42") and same_choice("(B)", "b") and not same_choice("B", "B or C")
    assert same_choice("yes", "Yes, it does") and not same_choice("yes", "yes or no")
    assert same_choice("42", "B") is None


def test_opposites_and_bases() -> None:
    assert say_opposites("Day 5", "Week 5") and say_opposites("a loss of 5", "a gain of 5")
    assert not say_opposites("5 days", "5") and not say_opposites("Day 5", "day 5")
    assert digits_and_base(r"1010_{ two }") == digits_and_base("1010_2") == ("1010", 2)
    assert digits_and_base("x_2") is None


@pytest.mark.parametrize("piece", BOMBS)
def test_hostile_texts_are_read_in_time(piece: str) -> None:
    def late(gold: str, attempt: str) -> bool:
        raise TimeoutError

    start, text = time.process_time(), piece * (20_000 // len(piece))
    for around in ("{}", "The answer is {}", "5 {} is the answer.", "#### {}", "So it is {} 5"):
        extract_answer(around.replace("{}", text))
    after_last_marker(text)
    canonical(text)
    for gold in ("18", "A", "x<2 or x>3"):
        with contextlib.suppress(TimeoutError):
            same_answer(gold, text[:2_000], late)
    assert time.process_time() - start < 4
