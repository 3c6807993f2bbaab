"""The leak guard's test: does a teacher's turn give the answer away?"""

from __future__ import annotations

import re
from fractions import Fraction
from itertools import pairwise

from sml_jax.tasks.leaks.code import copies_program, is_program
from sml_jax.tasks.leaks.context import is_announced, is_label, is_stated
from sml_jax.tasks.leaks.math import holds_expression
from sml_jax.tasks.problems.numbers import Mention, mentions, plain_numbers, plain_value

# Answers that are also words of any explanation: they count where they are given as the answer.
_COMMON = frozenset({"yes", "no", "true", "false", "even", "odd", "none", "all", "both", "always", "never"})
_MAX_MENTIONS = 200  # a number repeated more often than this is not looked at one by one
# Words after a number that are its unit; functions of expressions are none.
_UNIT = r"(?: (?!pi\b|sqrt|infinity)[a-z²³/]{2,}){1,3}"
# What may stand between two numbers of one list or tuple.
_BETWEEN = re.compile(r"[\s,;&(){}\[\]]*+(?:\b(?:and|or)\b)?[\s(){}]*+(?:[a-z]\s*+=\s*+)?", re.IGNORECASE)


def leaks(gold: str, teacher_utterance: str, student_so_far: str) -> bool:
    """Whether the teacher says the answer before the student has.

    A number leaks if the teacher states an equal number in any form: "0.5", "1/2", `\\frac{1}{2}`, "50%", "one half";
    "1,000", "10^3", "a thousand". It does not leak as part of a longer number, as a label ("step 2", a numbered list),
    as a count of the conversation ("2 mistakes"), as a bound ("less than 50"), or as a calculation ("40 + 2", "48/2").
    A whole number up to ten does not leak as an operand ("divide by 2") or in a set phrase ("the two sides") either.

    An expression leaks in LaTeX, in Unicode or as typed, with its terms in any order. A tuple or list of numbers leaks
    with any separators, a program by the lines that are copied from it (`leaks.code.copies_program`). "yes", "true" and
    the letter of a choice leak if they are given as the answer. Any other answer leaks if its words or symbols are
    repeated, whatever their case and spacing. Of a GSM8K solution, the answer is what follows its `####`.

    What is public already does not leak. The exception is a number in the problem's statement: saying that it is the
    answer ("the answer is 5") leaks, unless the student has said so.

    Args:
      gold: the answer.
      teacher_utterance: what the teacher is about to say.
      student_so_far: all that is public already: the problem's statement and the student's turns.

    Returns:
      True if `teacher_utterance` gives the answer and `student_so_far` does not. No text raises an error.

    References:
      The string match of RL2F's leak check, arXiv 2602.16066; its judge model is not part of this.
    """
    # A program is compared line by line.
    if is_program(gold):
        return copies_program(gold, teacher_utterance, student_so_far) or (
            _verbatim(teacher_utterance, gold) and not _verbatim(student_so_far, gold)
        )
    gold = gold.rsplit("####", 1)[-1].strip()
    if not gold or not teacher_utterance:
        return False
    # A number is looked for in every way of writing it.
    values = answer_values(gold)
    if values:
        leaked = _leaks_number(values, plain_numbers(teacher_utterance), plain_numbers(student_so_far))
        if leaked is not None:
            return leaked
        # A plain number that neither text has is not looked for as text: "5" would stand in "5/2".
        if plain_value(gold) is not None and not re.search(r"[/ ]", gold):
            return False
    return _holds(teacher_utterance, gold) and not _holds(student_so_far, gold)


def _leaks_number(values: frozenset[Fraction], teacher_text: str, public_text: str) -> bool | None:
    """Whether the teacher says a number that is not public yet.

    Args:
      values: what the number may be worth.
      teacher_text, public_text: from `plain_numbers`.

    Returns:
      None where neither text has the number at all: it may still stand there in the gold answer's own spelling.
    """
    told = [mention for mention in mentions(teacher_text) if not values.isdisjoint(mention.values)]
    public = [mention for mention in mentions(public_text) if not values.isdisjoint(mention.values)][:_MAX_MENTIONS]
    public = [mention for mention in public if not is_label(public_text, mention)]
    if not told and not public:
        return None
    if len(told) > _MAX_MENTIONS:
        return not public
    if not public:
        return any(is_stated(teacher_text, mention, public_text) for mention in told)
    # A number of the problem's own is no secret, but that it is the answer is one.
    announced = any(
        is_announced(teacher_text, mention) and is_stated(teacher_text, mention, public_text) for mention in told
    )
    return announced and not any(is_announced(public_text, mention) for mention in public)


def answer_values(gold: str) -> frozenset[Fraction]:
    """What a numeric answer may be worth, without its unit, its box and "x ="; the empty set for any other answer."""
    plain = re.sub(r"\\(?:boxed|text|mathrm|mbox)\s*(?=\{)", " ", gold)
    plain = re.sub(r"\s+", " ", re.sub(r"[{}]", " ", plain_numbers(plain)))
    plain = re.sub(r"^ ?[a-z] ?= ?", "", plain.strip(), flags=re.IGNORECASE).strip()
    if re.fullmatch(r"10\^\d{1,2}", plain):
        return frozenset({Fraction(10) ** int(plain[3:])})
    plain = re.sub(rf"^(\S+(?: \d+/\d+)?){_UNIT}\.?$", r"\1", plain, flags=re.IGNORECASE)
    value = plain_value(plain)
    if value is None:
        return frozenset()
    return frozenset({value, value / 100} if plain.rstrip(".").endswith("%") else {value})


def _holds(text: str, gold: str) -> bool:
    """Whether a text holds an answer that is not a plain number."""
    words = re.sub(r"\\(?:text|textbf|mbox|mathrm|boxed) ?\{([^{}]*)\}|\$", r"\1", gold).strip()
    if words.casefold() in _COMMON or re.fullmatch(r"\(?[A-Za-z]\)?", words):
        return _given_as_answer(text, words.strip("()"))
    return _verbatim(text, gold) or _verbatim(text, words) or holds_expression(text, gold) or _holds_numbers(text, gold)


def _verbatim(text: str, gold: str) -> bool:
    """Whether a text holds an answer as it is written, whatever the case and spacing, as words of its own."""
    squeezed, wanted = _squeeze(text), _squeeze(gold)
    if not wanted:
        return False
    before = r"(?<!\w)" if wanted[0].isalnum() else ""
    after = r"(?!\w)" if wanted[-1].isalnum() else ""
    return re.search(before + re.escape(wanted) + after, squeezed) is not None


def _squeeze(text: str) -> str:
    """No case; one space where spaces part two words, none elsewhere."""
    return re.sub(r"(?<!\w) | (?!\w)", "", " ".join(text.casefold().split()))


def _given_as_answer(text: str, gold: str) -> bool:
    """Whether a common word or a letter is said to be the answer; a letter in its own case: "a mistake" is not "A"."""
    word = re.escape(gold) if len(gold) == 1 else f"(?i:{re.escape(gold)})"
    cue = r"(?i:\b(?:is|are|be|answer|choice|option|choose|pick|say|says)|[:={])"
    filler = r"(?:\s+(?:in fact|indeed|actually|always|clearly|therefore|then|just|simply|also))?"
    ends = r"(?!\w|\s+(?!(?:because|since|as|for|indeed|here|when|and)\b)\w)" if len(gold) > 1 else r"(?!\w)"
    stated = rf"{cue}{filler}[\s\"'(*\[$:]*{word}{ends}|(?<!\w)\({word}\)|^\W*{word}\W*$"
    return re.search(stated, text) is not None


def _holds_numbers(text: str, gold: str) -> bool:
    """Whether the text lists the numbers of a tuple (in order) or of a list (in any order)."""
    without_brackets = plain_numbers(gold).strip().strip("(){}[]")
    parts = [plain_value(part) for part in re.split(r"[,;]| and | or ", without_brackets)]
    wanted = [value for value in parts if value is not None]
    if len(wanted) < 2 or len(wanted) != len(parts):
        return False
    ordered = gold.lstrip("$\\ ").startswith(("(", "[", "left"))
    # Any stretch of the text's numbers, as many as are wanted, with nothing but separators between them.
    plain_text = plain_numbers(text)
    all_mentions = mentions(plain_text)
    for start in range(len(all_mentions) - len(wanted) + 1):
        run = all_mentions[start : start + len(wanted)]
        values = [mention.values[0] for mention in run]
        if (values == wanted or (not ordered and sorted(values) == sorted(wanted))) and _are_listed(plain_text, run):
            return True
    return False


def _are_listed(text: str, run: list[Mention]) -> bool:
    """Whether nothing but separators stands between some numbers of a text."""
    return all(_BETWEEN.fullmatch(text[left.end : right.start]) for left, right in pairwise(run))
