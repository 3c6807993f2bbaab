"""The leak guard's test against cases judged by hand, real answers, and its promises for any text."""

import json
import time
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sml_jax.tasks.leaks import leaks

GSM8K = "She sells 9 eggs.\n9 * 2 = <<9*2=18>>18\n#### 18"


@pytest.mark.parametrize(
    ("gold", "teacher_text"),
    [
        ("47", "it is 47"),
        ("47", "47"),
        ("47", "the answer is 47."),
        ("47", "not 46,47 is better"),  # a list without a space
        ("47", "3 + 44 = 47!"),
        ("47", "(47)"),
        ("47", "$47"),
        ("47", "47%"),
        ("47", "47.00"),
        ("1000", "say 1,000"),
        ("1,000", "say 1000.0"),
        ("1000.0", "1,000."),
        ("$1,000", "a thousand, 1000"),
        ("-5", "try -5"),
        ("+5", "try 5"),
        ("0.5", "it is 1/2"),
        (".5", "it is 0.5"),
        (".5", "it is .5"),
        ("1/2", "0.50 is right"),
        ("1,2", "the pair 1,2"),
        ("1e5", "it is 1e5"),
        ("07", "the answer is 07"),
        ("10*4+(x//7+3)%10", "write 10*4+(x//7+3)%10"),
        ("10*4+(x//7+3)%10", "write 10 * 4 + (x // 7 + 3) % 10 now"),
        ("x + 1", "x+1"),
        ("Paris", "it is paris, of course"),
        ("New York", "NEW  YORK"),
        ("foo!", "foo! indeed"),
        (GSM8K, "you get 18"),
        ("#### 1,234", "1234"),
    ],
)
def test_the_answer_is_given_away(gold, teacher_text):
    assert leaks(gold, teacher_text, "")


@pytest.mark.parametrize(
    ("gold", "teacher_text"),
    [
        ("47", "part 1 is too low, part 2 is right"),
        ("47", "147 or 471"),
        ("47", "4.47 or 47.5"),
        ("47", "4 and 7"),
        ("47", "1,047"),
        ("47", "x47"),
        ("47", "47th"),
        ("47", "-47"),
        ("5", "try -5"),
        ("7", "07"),
        ("07", "7"),
        ("7", "part 1 is from 0 to 2"),
        ("1000", "1,0000"),
        ("x+1", "x+12"),
        ("x+1", "max+1"),
        ("10*4+(x//7+3)%10", "for x = 7 want 44 got 43"),
        ("Paris", "comparison"),
        ("New York", "newyork"),
        (GSM8K, "9 eggs"),
        ("", "anything"),
        ("  ", "anything"),
        ("####", "####"),
        ("the work\n#### ", "the work"),
        ("47", ""),
    ],
)
def test_the_answer_is_not_given_away(gold, teacher_text):
    assert not leaks(gold, teacher_text, "")


def test_what_the_student_has_said_is_no_secret():
    assert leaks("47", "it is 47", "my answer is 48")
    assert not leaks("47", "it is 47", "my answer is 48\nmy answer is 47.0")
    assert leaks("47", "it is 47", "my answer is 147"), "another number that holds it does not make it public"
    assert not leaks("x+1", "yes, x+1", "is it x + 1 ?")


CASES = [json.loads(line) for line in (Path(__file__).parent / "leak_cases.jsonl").read_text("utf-8").splitlines()]


def test_precision_and_recall_on_turns_judged_by_hand():
    """Each case: the answer, a teacher's turn, what is public, and whether a person would say that it gives it away."""
    assert sum(case["leak"] for case in CASES) >= 60 and sum(not case["leak"] for case in CASES) >= 60
    flagged = [leaks(case["gold"], case["said"], case["so_far"]) for case in CASES]
    wrong = [case for case, flag in zip(CASES, flagged, strict=True) if flag != case["leak"]]
    right = sum(flag and case["leak"] for case, flag in zip(CASES, flagged, strict=True))
    precision, recall = right / sum(flagged), right / sum(case["leak"] for case in CASES)
    for case in wrong:
        print("missed" if case["leak"] else "false alarm", json.dumps(case, ensure_ascii=False))
    print(f"{len(CASES)} turns: precision {precision:.3f}, recall {recall:.3f}")
    assert precision >= 0.95 and recall >= 0.95


def test_a_number_of_the_problems_own_leaks_only_when_announced():
    problem = "A box holds 12 pens and 5 books. How many of them are books?"
    assert not leaks("5", "There are 5 books, as it says.", problem)
    assert leaks("5", "The answer is 5.", problem)
    assert not leaks("5", "Yes, the answer is 5.", problem + " The answer is 5."), "the student has said so"
    assert not leaks("5", "Your answer is 5 too high.", problem)


@pytest.mark.parametrize(
    ("gold", "same"),
    [
        (
            "0.5",
            ["1/2", "\\frac{1}{2}", "$\\dfrac12$", "\u00bd", "one half", "a half", "50%", "50\\%", "0.50", ".5", "2/4"],
        ),
        ("1000", ["1,000", "1000.0", "10^3", "$10^{3}$", "one thousand", "a thousand", "1{,}000", "$1,000.00"]),
        ("21", ["twenty-one", "twenty one", "\\boxed{21}", "**21**", "21."]),
        ("-2.5", ["\u22122.5", "-5/2", "-2 1/2", "$-\\frac{5}{2}$", "minus two and a half"]),
    ],
)
def test_equal_forms_of_a_number_are_the_number(gold, same):
    for form in same:
        assert leaks(gold, f"So it is {form}", ""), form
        assert not leaks(gold, f"So it is {gold}", f"I say {form}"), form
        if gold == "0.5" and "half" not in form:
            assert leaks(form, "So it is 0.5", ""), form


@pytest.mark.parametrize(
    ("gold", "furniture", "statement"),
    [
        ("1", "Have one look at the sign.", "It is one."),
        ("2", "Look at step 2.", "Look again: it is 2."),
        ("2", "There are 2 mistakes.", "There are 2 apples."),
        ("2", "Divide by 2.", "You get 2."),
        ("2", "The two sides differ.", "She needs two."),
        ("3", "1. Add.\n2. Double.\n3. Compare.", "3 is what is left."),
        ("50", "It is less than 50.", "It is 50."),
        ("4", "All 4 terms are wrong.", "There are 4 terms left over: 4."),
    ],
)
def test_a_number_in_passing_is_not_a_statement(gold, furniture, statement):
    assert not leaks(gold, furniture, "")
    assert leaks(gold, statement, "")


PROGRAM = """def total(xs):
    result = 0
    for x in xs:
        if x % 3 == 0 and x not in seen:
            result += x * x
    return result
"""


@pytest.mark.parametrize(
    ("teacher_text", "leak"),
    [
        (PROGRAM, True),
        ("`if x%3==0 and x not in seen:`", True),  # one long line, without its spaces
        ("if n % 3 == 0 and n not in known:  # another name", True),
        ("if x % 3 == 0 and y not in seen:", False),  # two names where the solution has one
        ("if x % 4 == 0 and x not in seen:", False),
        ("def total(xs):\n    result = 0\n    for x in xs:", False),  # anyone's first lines
        ("return result", False),
        ("", False),
    ],
)
def test_copied_program_lines(teacher_text, leak):
    assert leaks(PROGRAM, teacher_text, "sum up the squares") == leak
    assert not leaks(PROGRAM, teacher_text, PROGRAM), "the student's own program is no secret"


def test_one_short_line_of_a_longer_program_is_a_hint_and_two_are_a_copy():
    program = "def f(n):\n    m = n // 2\n    while m * m > n:\n        m = (m + n // m) // 2\n    return m - n\n"
    assert not leaks(program, "while m * m > n:", "")
    assert not leaks(program, "m = n // 2 ... and much later m = (m + n)", "")
    assert leaks(program, "m = n // 2\nwhile m * m > n:", "")
    assert not leaks(program, "m = n // 2\nwhile m * m > n:", "m = n // 2"), "only one of them is news"


def test_real_solutions_leak_and_real_questions_do_not(real_data):
    for line in (real_data / "gsm8k" / "test.jsonl").read_text("utf-8").splitlines()[:100]:
        row = json.loads(line)
        assert leaks(row["answer"], row["answer"], row["question"])
        assert not leaks(row["answer"], row["question"], row["question"])
    rows = [json.loads(line) for line in (real_data / "mbpp" / "mbpp.jsonl").read_text("utf-8").splitlines()[:100]]
    copied = 0
    for row, other_row in zip(rows, rows[1:] + rows[:1], strict=True):
        public = "\n".join([row["text"], *row["test_list"]])
        assert leaks(row["code"], f"Try:\n```python\n{row['code']}\n```", public), row["task_id"]
        assert not leaks(row["code"], f"Your code fails {row['test_list'][0]}", row["text"]), row["task_id"]
        copied += leaks(row["code"], other_row["code"], public)
    assert copied <= 2, "some neighbours are one problem asked twice"


latex_like = st.text(alphabet="0123456789\\{}frac sqrt^_$%+-*/(),.=xy\n`'\"#:[]", max_size=60)


@given(latex_like, latex_like, latex_like)
def test_any_markup_gets_an_answer(gold, teacher_text, public_text):
    assert leaks(gold, teacher_text, public_text) in (True, False)
    assert leaks(f"{gold}\nreturn x", teacher_text, public_text) in (True, False)


@pytest.mark.parametrize(
    "unit", ["47 ", "1,", "\\frac{", "if x: ", "'", "((", "a hundred ", "\n1. ", "x = ", "**", "- "]
)
def test_long_texts_of_one_thing_get_an_answer(unit):
    long = unit * (5000 // len(unit))
    for gold in ("47", "x+1", "(3, 4)", "yes", "Paris", PROGRAM):
        assert not leaks(gold, long, long)


@given(st.text(), st.text(), st.text())
def test_any_texts_get_an_answer(gold, teacher_text, public_text):
    assert leaks(gold, teacher_text, public_text) in (True, False)


number_like = st.from_regex(r"[-+$]?[0-9]{0,4}[.,/]?[0-9]{1,4}[%.]?", fullmatch=True)
expression_like = st.from_regex(r"[-x0-9+*/%() ]{1,12}", fullmatch=True)


@given(st.one_of(st.text(min_size=1), number_like, expression_like))
def test_the_answer_word_for_word_always_leaks_until_the_student_says_it(gold):
    gold = gold.rsplit("####", 1)[-1].strip()
    assume(gold)
    teacher_text = f"so it is {gold} indeed"
    assert leaks(gold, teacher_text, "nothing yet")
    assert not leaks(gold, teacher_text, teacher_text)


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_numbers_leak_by_value(gold, teacher_text):
    for text in (f"{teacher_text}", f"{teacher_text:,}", f"{teacher_text}.0", f"${teacher_text:,}.00"):
        assert leaks(str(gold), f"it is {text}", "") == (gold == teacher_text)
        assert leaks(f"{gold:,}", f"{text} it is", "") == (gold == teacher_text)


def test_a_number_of_thousands_of_digits_is_text():
    """Python makes no number of more than 4,300 digits from text."""
    assert not leaks("42", "9" * 5000 + " * 10^3", "")
    assert leaks("9" * 5000, "so it is " + "9" * 5000, "")


@pytest.mark.parametrize(
    ("gold", "teacher_text"),
    [
        ("42", "1" + ",111" * 25_000 + "x"),
        ("for" + " in" * 30_000 + "\nx", "x"),
        ("(3, 4)", "(3" + " " * 90_000 + "x 4)"),
    ],
    ids=["groups of digits", "a line of one word", "blanks within a tuple"],
)
def test_no_text_takes_the_square_of_its_length(gold, teacher_text):
    start = time.process_time()
    leaks(gold, teacher_text, teacher_text)
    assert time.process_time() - start < 4


@pytest.mark.parametrize(
    "teacher_text", ["one half\u017f", "\u017fix", "f\u0131ve", "twenty-\u017even", "two \u212aings"]
)
def test_letters_that_fold_to_others_make_no_number_word(teacher_text):
    """The long s is "S" in small for a pattern without case, and not for `str.lower`."""
    for gold in ("1/2", "6", "5", "27"):
        assert not leaks(gold, f"it is {teacher_text}", "")
    assert leaks("27", "it is TWENTY-SEVEN", "") and leaks("1/2", "it is One Half", "")
