"""Which forms of a clause state the number in it, and which only carry it."""

import pytest

from sml_jax.tasks import verify_math
from sml_jax.tasks.math.extract import extract_answer
from sml_jax.tasks.math.followers import is_neutral, is_remark
from sml_jax.tasks.math.judged import is_doubtful
from sml_jax.tasks.math.says import only_carries, says

STATED = [
    "I get 5",
    "I'd put it at 5",
    "After your hint I changed 4 to 5",
    "I'm pretty sure the shop sells 5",
    "We end up with 5",
    "You can buy 5",
    "In the end there are 5",
    "It all boils down to 5",
    "Eggs left: 5",
    "So 5 eggs",
    "Including the fee, 5 dollars",
    "5 are left",
    "5 is what I get",
    "5 it is",
    "5 replaces my old answer of 4",
    "The train arrives after 5 minutes",
    "If we add 2 to 3 we get 5",
    "5 of the 7 eggs are sold",
    "5 (3 + 2)",
    "Which means it takes 5 minutes",
    "You'll find 5 yellow tulips",
    "Obviously 5",
    "5 shirts can be made",
    "5 of them have to be yellow",
    "What we get is 5",
    "Only 5 visitors come",
    "Let me go with 5",
    "It was wrong to say 4, it's 5",
    "Result: `5`",
    "The jars fit into 5 boxes",
    "There are 30 jars, which means 5 boxes",
    "Dividing the 30 jars by 6 leads to 5 boxes",
    "4 came from a wrong division, the right result is 5",
    "My calculation says 5",
    "It should come to 5 dollars",
    "$5 for the paint",
    "I'm happy with 5",
    "Not 4 weeks, 5 weeks",
    "He makes 5 shirts, with 1.5 m for each",
    "There are 5 left, for a third of the 15 are red",
    "To find the rest, we subtract 120 from 125, which gives 5",
]
CARRIED = [
    "It may take 5 minutes",
    "It could be 5",
    "Let's say he sells 5 eggs",
    "It's unlikely that he sells 5 eggs",
    "First comes the division by 5",
    "I divided by 5 twice",
    "I start with 5",
    "I take back 5",
    "I'm in grade 5",
    "I've read it 5 times",
    "My answer was 5",
    "My lucky number is 5",
    "Your problem has 5 hens",
    "The tank already holds 5 liters",
    "Now comes the 5",
    "I need the 5 hens for that",
    "Then there are the 5 minutes to add",
    "5 sounds odd",
    "5 strikes me as too low",
    "5 would be too short",
    "5 is the number that I don't understand",
    "5 doesn't feel right",
    "5 has to be subtracted",
    "My guess of 5 was bad",
    "5 eggs are eaten, you told me so",
    "5 was my answer",
    "She'd never pay 5",
    "5, unless it's 6",
    "5, or more",
    "3 and 5 are the numbers",
    "It's hard to believe that it's 5",
    "They say it's 5",
    "The number I gave was 5",
    "5 fails",
    "5 is ruled out",
    "5 eggs are mentioned in the text",
    "The tailor owns 5 m of cloth, it says",
    "5 at most",
    "5, give or take 1",
    "The book has 5 as the solution, but that's wrong",
    "5 m times the coats",
    "It's over 5",
    "Wait 5 minutes, please",
    "I need your help with 5 things",
    "5 makes me doubt",
    "They can't need 5 boxes",
    "I'm supposed to get 5",
    "Seven times 5 comes next",
    "Each hive gives 5 jars, you write",
    "There are 5 hives, if I remember your text",
    "It being 5 would surprise me",
    "The cost could lie at 5",
    "A can costs 5 dollars, that's what you said",
    "In your message, 2 cans are for 5 square meters",
    "The scooter costs 5 dollars, as the problem says",
    "Given that the book has 5 pages",
]


@pytest.mark.parametrize("sentence", STATED)
def test_forms_that_state_a_number(sentence: str) -> None:
    verdict = verify_math("5", sentence + ".")
    assert verdict.correct, extract_answer(sentence)


@pytest.mark.parametrize("sentence", CARRIED)
def test_forms_that_only_carry_a_number(sentence: str) -> None:
    assert not verify_math("5", sentence + ".").correct
    assert verify_math("7", f"\\boxed{{7}}. {sentence}.").correct  # nor does it take a box away


def test_a_clause_is_read_alone() -> None:
    assert says("I divided by 3 and I get ", "") and not only_carries("I divided by 3 and I get ", "")
    assert only_carries("I get 12 and I divide by ", "")
    assert not says("three brothers, ", " of them at school")


def test_few_things_approve_of_a_number() -> None:
    assert not any(is_doubtful(behind) for behind in (" is right", " minutes is my answer", " are left", " eggs", ""))
    assert all(is_doubtful(behind) for behind in (" is nonsense", " seems odd", " won't do", " is one possibility"))


def test_what_may_follow_a_conclusion() -> None:
    for question in ("Can we go on", "Did you get the same", "Will there be a harder one"):
        assert is_remark(question, "?")
    for question in ("Is the tank empty", "How long does it take", "Can you give me a hint", "Does she sell them all"):
        assert not is_remark(question, "?")
    assert is_neutral("The librarian will be glad", ".") and not is_neutral("Then the rest follows", ".")
    assert verify_math("5", "So 5 books are left. The librarian will be glad.").correct
    # Behind a sentence that may be a fact of the problem, it goes on telling the problem.
    assert not verify_math("5", "Each shelf holds 5 books. The librarian is glad.").attempted
