"""Which clause of a sentence says something, and which numbers of it therefore answer nothing."""

import json
from pathlib import Path

import pytest

import sml_jax.tasks.math.clauses as module
from sml_jax.tasks import verify_math
from sml_jax.tasks.math.clauses import cases_differ, clauses, what_is_said
from sml_jax.tasks.math.extract import extract_answer


@pytest.mark.parametrize(
    ("sentence", "said"),
    [
        ("She has 12 eggs", "She has 12 eggs"),
        ("She has 40 left, because she gave away 2", "She has 40 left"),
        ("Because she gave away 2, she has 40 left", "she has 40 left"),
        ("28, since there are 4 weeks and 7 days in each", "28"),
        ("I get 40, as 2 of the 42 were given away", "I get 40"),
        ("If you multiply 5 by 12, you get 60", "you get 60"),
        ("If it were 16, then each child would get 4", ""),
        ("It's 60 if the hall is full, otherwise it's 48", ""),
        ("The area is 54 when the width is 6", "The area is 54"),
        ("The number of cars after giving 16 away is 32 - 16 = 16",) * 2,
        ("It is 14, and not 11 as I wrote before", "It is 14"),
        ("Not 11 but 14", "14"),
        ("The answer is 20, which is 2 more than 18", "The answer is 20"),
        ("We know that each row has 12 chairs", ""),
        ("We know that each row has 12 chairs, so there are 60", "so there are 60"),
        ("We know that 5 * 12 = 60",) * 2,
        ("I used 7 instead of 5", ""),
        ("I multiplied 4 by 9 and got 36", "got 36"),
        ("The sale ends after 10 days",) * 2,
        ("She buys 3 packs, and each pack has 24 pens", ""),
    ],
)
def test_what_a_sentence_says(sentence: str, said: str) -> None:
    assert what_is_said(sentence) == said.strip(" ,").removeprefix("and ")


def test_clauses_keep_every_word() -> None:
    sentence = "Since there are 5 rows, we have 60 chairs, because each row has 12, so it's 60"
    assert "".join(clause.text for clause in clauses(sentence)) == sentence
    assert [clause.role for clause in clauses(sentence)] == ["reason", "says", "reason", "says"]


def test_one_value_for_each_case_is_a_hedge() -> None:
    for hedge in (
        "25 if we count the driver, and 24 if not",
        "with the closet it's 54, without it 48",
        "25, unless the driver counts, then it's 26",
        "if they skip the driver it is 24, with the driver it is 25",
    ):
        assert cases_differ(hedge)
        assert not verify_math("25", f"The answer is {hedge}.").correct
    assert not cases_differ("If 3 shirts cost 45 dollars, one shirt costs 15")


@pytest.mark.parametrize(
    ("utterance", "answer"),
    [
        # A number that a reason names answers nothing, whether or not the sentence says another one.
        ("It can't be 10, because 10 is even.", None),
        ("No, 18 is too small, since 18 times 5 is only 90.", None),
        ("It's thirty-six because 4 * 9 = 36.", "thirty-six"),
        ("He can buy three plums because .75 / .25 = 3", "3"),
        ("It is 32. That is because 2 * 16 = 32.", "32"),
        # Facts of the problem.
        ("Let me restate the problem: a train goes 60 miles per hour.", None),
        ("Let me summarize the problem. The room is 6 feet wide. It is 9 feet long.", None),
        ("According to the problem, each row has 12 chairs.", None),
        ("There are 24 hours in a day, and the problem asks about 3 days.", None),
        ("You said the gate is 2 meters wide. That means the fence is 38 meters long.", "38"),
        # What a speaker did on the way, or is going to do.
        ("I see now that I used 7 instead of 5.", None),
        ("Yes, that's 36. I added 32 and 4.", "36"),
        ("I'll have another look at the 9.", None),
        ("We can split it into 9 parts.", None),
        ("I will pay 9 dollars.", "9"),
        # An answer and then its explanation; an answer and then another step.
        ("Yes, it is 32. He drank 2 * 8 = 16 ounces.", "32"),
        ("Yes, it is 32. Then 32 / 2 = 16.", "16"),
        # An equation that is still to be solved.
        ("So we have the equation 2x + 10 = 50.", None),
        ("Adding them gives 2x = 16, so x = 8.", "x = 8"),
        ("The perimeter is P = 2a + 2b = 20.", "20"),
        # Numbers of steps, of items and of what is said in a talk.
        ("That gives 33 tickets. Please tell me if I went wrong in step 2.", "33"),
        ("The area is 54. Sorry it took me 3 tries.", "54"),
        ("Please tell me:\n1. the price of a pen\n2. the number of pens", None),
        # Questions whether the sentence before is right.
        ("I get 33, is this what you were looking for?", "33"),
        ("So that makes 33. Was the second step okay?", "33"),
        ("So the area would be 54, wouldn't it?", "54"),
        ("240 / 8 = 30. We need to find out how much money it makes in 6 weeks.", None),
        ("So I need to divide by 3, which gives 2.", "2"),
        ("Here is what we know:\n- The book has 420 pages.\n- She reads 20 pages a day.", None),
        ("Nope, still 21.", "21"),
        ("The bakery sells its rolls in bags of 8.", None),
        ("If they sell all, it's 30. Otherwise it's 28.", None),
        # What is denied, or said by others.
        ("16 makes no sense.", None),
        ("It's impossible to get 16.", None),
        ("My friend says it's 16.", None),
        ("So she had 16 at first.", "16"),
        ("You have to undo the multiplication by 3.", None),
        # The answer stands before the calculation that gives it.
        ("The average amount guessed is 80 because 240 / 3 = 80", "80"),
        ("She gets 16 quarters because 4 x 4 = 16", "16"),
        ("The unknown temperature is at least 68 because 200 - 132 = 68", "68"),
        ("The temperature is at least 68 because 200 - 100 = 100", None),
        ("It is not 68 because 200 - 132 = 68", None),
        # One clause says a value, and another takes an earlier one back; remarks behind a comma.
        ("240 is correct, 26 was a mistake.", "240"),
        ("240, I'm sure of it.", "240"),
        # What is given, and who gave it.
        ("The cost is 240 euros, given 120 plants.", "240"),
        ("Now that we know there are 120 plants, the cost is 240 euros.", "240"),
        ("There should be 3 plants on each square meter, according to the problem.", None),
        ("Each plant costs 2 euros, as you said.", None),
        ("It's 18, as you said.", "18"),
        # Two measures describe a thing, and leave what was said before.
        ("The bed is 8 meters long and 5 meters wide.", None),
        ("The bed is 8 by 5.", None),
        ("The area is 40. The bed is 8 meters long and 5 meters wide.", "40"),
        # Two facts conclude nothing; nor does one that is half of the other.
        ("There are 2 adults and 3 children in the family.", None),
        ("An adult ticket is 12 dollars and a child's ticket is half of that.", None),
        ("x is 3 and y is 5.", None),
        ("A child pays 6 dollars as that is half of 12.", "6"),
        # A new attempt beside an old one, and remarks that go on to something else.
        ("My first attempt gave 42, my second gives 50.", "50"),
        ("I gave 42 as my answer last time.", None),
        ("50 dollars. What's the next question?", "50"),
        ("It's 50 dollars. Anything else?", "50"),
        ("That adds up to 50.", "50"),
        ("I fail to see how it is 50.", None),
        # Plans without their first number, and what is counted of a talk.
        ("Next step: times 3.", None),
        ("I'd better count the 3 sides again.", None),
        ("Two questions before I start.", None),
        # A negation reaches what its verb governs.
        ("My result didn't include the balcony's 15 chairs.", None),
        ("The eggs that were not sold are 12.", "12"),
        (r"We get \boxed{12}, and 10 is not the answer.", "12"),
    ],
)
def test_reading_by_clauses(utterance: str, answer: str | None) -> None:
    assert extract_answer(utterance) == answer


def test_no_word_that_opens_a_clause_is_missing_from_the_lists(monkeypatch) -> None:
    class Everything(frozenset):
        def isdisjoint(self, other) -> bool:
            return False

    lines = (Path(__file__).parent / "math_verdicts.jsonl").read_text().splitlines()
    texts = [json.loads(line)["utterance"] for line in lines]
    found = [clauses(text) for text in texts]
    for words in ("_SUBORDINATE_WORDS", "_REPORT_WORDS", "_SPEAKERS"):
        monkeypatch.setattr(module, words, Everything())
    assert found == [clauses(text) for text in texts]
    assert sum(len(parts) > 1 for parts in found) > 50


def test_yes_answers_only_what_asks_for_it() -> None:
    assert verify_math("yes", "Yes.").correct and not verify_math("17", "Yes.").attempted
    assert verify_math("17", "The answer is yes.").attempted
