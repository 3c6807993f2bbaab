"""Where the answer of an utterance is."""

import time

import pytest

from sml_jax.tasks.math.extract import extract_answer, final_answer


@pytest.mark.parametrize(
    ("utterance", "answer"),
    [
        (r"\boxed{\frac{1}{\sqrt{2}}}", r"\frac{1}{\sqrt{2}}"),
        (r"\boxed 5", "5"),
        (r"\fbox{5}", "5"),
        (r"\boxed{2}, then $x=\boxed{3}$", "3"),
        (r"$\boxed{2}$ and $\boxed{3}$", "2, 3"),
        (r"\boxed{2} so again \boxed{2}", "2"),
        (r"\boxed{2}. No, the answer is 3.", "3"),
        (r"The answer is 3. Hence \boxed{2}", "2"),
        (r"\boxed{2}. The answer is in the box.", "2"),
        ("#### 5\nThat is all.", "5"),
        ("#### Step 1: add 3\nThe answer is 5", "5"),
        ("#### Conclusion\n#### Answer: 5 eggs", "5 eggs"),
        ("#### Paris", "Paris"),
        ("The answer is $x = 2.5$. It was hard.", "$x = 2.5$"),
        ("The answer is $5. The cost was ($3)", "$5"),
        ("The answer is\n\\[\nx = 3\n\\]\nas was to be shown", "\\[\nx = 3\n\\]"),
        ("The final answer to the question is therefore 5, because 2 + 3 = 5.", "5"),
        ("**Final Answer:** 5 km", "5 km"),
        ("## Answer\n\n5 km", "5 km"),
        ("The answer is 5 or 6.", "5 or 6"),
        ("So she has 5 of the 7 eggs.", "5"),
        ("So 2 + 3 = 5 of the 7 eggs.", "5"),
        ("So she has **5** of the 7 eggs.", "5"),
        ("She has to pay $5 for the 7 eggs.", "$5"),
        ("The share is 0.5, or 50%.", "0.5"),
        ("So she has 5 eggs.\nHope this helps!", "5"),
        ("5", "5"),
        ("5 eggs", "5"),
        ("It costs 3 million dollars", "3 million"),
        ("She may have 5 or 6", None),
        ("wuz qi 5", None),
        ("Please give me the 5 facts", None),
        ("Is it 5?", None),
        ("My answer is unclear", None),
        (r"\boxed{", None),
        ("", None),
    ],
)
def test_extract(utterance: str, answer: str | None) -> None:
    assert extract_answer(utterance) == answer


def test_final_answer() -> None:
    assert final_answer("2+2=4\n#### 4") == "4"
    assert final_answer(r"Thus \boxed{x} = \boxed{y}.") == "y"
    assert final_answer(" x + 1 ") == "x + 1"


@pytest.mark.parametrize("between", [" " * 10_000 + "x", "\n" * 10_000 + "$x", ", " * 5_000 + "x", "$}" * 5_000 + "="])
def test_whatever_stands_between_two_boxes_is_read_at_once(between):
    r"""Every way of sharing the white space out was tried: 400 blanks between two boxes took a minute."""
    start = time.process_time()
    assert extract_answer(rf"\boxed{{1}}{between}\boxed{{2}}") == "2"
    assert time.process_time() - start < 2
