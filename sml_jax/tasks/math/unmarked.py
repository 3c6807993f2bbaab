"""The value that an utterance states without marking it as the answer."""

from __future__ import annotations

import re

from sml_jax.tasks.math.canonical import NO_SOLUTION
from sml_jax.tasks.math.sentence_values import in_digits
from sml_jax.tasks.math.sentences import (
    SENTENCE_END,
    asks_about_step,
    denied,
    is_check,
    is_remark,
    plans,
    tells_past_mishap,
    without_tag,
)
from sml_jax.tasks.math.stated_choice import label_line, stated_choice
from sml_jax.tasks.math.stated_number import LAST_NUMBER, OLD, stated_number

_MINUS_SIGNS = str.maketrans("\u2212\u2013\uff0d\u2010\u2011", "-----")
_READ_CHARACTERS = 4_000
_MOST_REMARKS = 4
_YES_OR_NO = re.compile(
    r"(?:yes|no)(?:, (?:it|they|he|she|this|that|there|the)\b[^.!?\n]{0,80})?[.!]?|(?:(?:so )?(?:it is |it's |"
    r"that is ))?(?:true|false)[.!]?|"
    r"(?:so |thus |therefore |hence |then )?,? ?the (?:statement|claim|assertion|answer|equation) is (?:true|"
    r"false)[.!]?",
    re.IGNORECASE,
)
_BARE_LIST = re.compile(r"[-$]{0,2}[0-9][0-9.]{0,20}(?:; ?[-$]{0,2}[0-9][0-9.]{0,20}){1,20}[.\s]*")
_OPENS_FORMULA = re.compile(r"(?<!\\)\\[(\[]")
_NAMED_DAY = re.compile(
    r"(?:(?:so|then|thus|therefore),? )?(?:it|that)(?: is|['\u2019]s| was| will be)(?: on| in|"
    r" a)? ([A-Z][a-z]{2,15})[.!]?",
    re.I,
)
# A program states nothing, be it fenced or a function with the lines that are indented below it.
_CODE = re.compile(
    r"```[a-zA-Z]{1,20}\n.*?(?:```|\Z)|^def \w{1,40}\([^\n]*:\n(?:[ \t][^\n]*(?:\n|\Z))*", re.DOTALL | re.MULTILINE
)
_HEADING = re.compile(r"A: (?=[^\n]{0,200}=)")  # "A: 16 - 7 = 9" answers "Q:", and chooses nothing
_IS_ANSWER = re.compile(
    r"\W{0,4}(?:so )?(?:this|that|which|it)(?: is|['\u2019]s| was| must be)\b[^.!?]{0,30}\banswer\b", re.IGNORECASE
)
_WORDS = re.compile(
    r"(?:(?:so|okay|ok|now|then|well|thus|hence|I think|I believe|I get|I guess|I'd say)[, ]{1,2}){0,3}(?:(?:it|"
    r"that)(?: is|['\u2019]s) )?"
    r"((?:minus |negative )?(?:zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|"
    r"fifteen|"
    r"sixteen|seventeen|eighteen|nineteen|twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety|a hundred|a thousand|"
    r"a dozen)"
    r"\b[a-z -]{0,40})$",
    re.IGNORECASE,
)


def unmarked_answer(utterance: str) -> str | None:
    """The value of the last sentence that has one, if that sentence states it.

    Remarks, questions for approval and checks behind that sentence are passed over; a plan, a request, a hedge or a
    denial behind it leaves the utterance without an answer.
    """
    whole = _HEADING.sub("", utterance.strip())
    if _BARE_LIST.fullmatch(whole[:400]):
        return whole
    chosen = stated_choice(whole) if len(whole) <= 160 and "\n" not in whole else label_line(whole)
    if chosen:
        return chosen
    if re.fullmatch(r"\(?[a-e]\)?", whole) or _YES_OR_NO.fullmatch(whole):
        return whole
    if NO_SOLUTION.fullmatch(whole.rstrip(".!").lower()):
        return whole.rstrip(".!")
    opened = [formula.start() for formula in _OPENS_FORMULA.finditer(whole)]
    if opened and opened[-1] > max(whole.rfind("\\)"), whole.rfind("\\]")):
        return None  # the end of the text cuts a formula off
    named = _NAMED_DAY.fullmatch(whole)
    if named:
        return named[1]
    whole = _CODE.sub("\n", whole)
    text = whole[-_READ_CHARACTERS:].translate(_MINUS_SIGNS)
    may_spell = re.search("[0-9]", text) is None  # digits go before numbers in words
    remarks, rejected, said_answer = 0, "", False
    for sentence, end in reversed(_sentences(text)):
        stripped = sentence.strip(" \t\r\n*_\"'.,;!?")
        if not stripped:
            continue
        asks = end == "?"
        chosen = stated_choice(stripped)
        if chosen:
            return None if asks else chosen
        has_value = re.search("[0-9]", stripped) is not None
        worded = _WORDS.fullmatch(stripped)
        if worded and not asks:
            return worded[1].strip()
        spelled = None if has_value or asks or not may_spell else in_digits(sentence)
        if spelled is not None and (number := stated_number(spelled, said_answer)):
            return number
        if not has_value or is_check(stripped):
            if remarks >= _MOST_REMARKS or not (is_check(stripped) or is_remark(stripped, end)):
                return None
            remarks, said_answer = remarks + 1, said_answer or _IS_ANSWER.match(stripped) is not None
            continue
        if asks:
            statement = without_tag(stripped)
            if statement is None and remarks < _MOST_REMARKS and asks_about_step(stripped):
                remarks += 1
                continue
            if statement is None:
                return None
            sentence = statement
        number = stated_number(sentence, said_answer)
        if number is None and remarks < _MOST_REMARKS and (_passes_over(stripped) or tells_past_mishap(stripped)):
            remarks, rejected = remarks + 1, rejected + " " + stripped
            continue
        # "She has 12. So 12 is not correct."
        return None if number is None or number in rejected.split() else number
    return None


def _sentences(text: str) -> list[tuple[str, str]]:
    """The sentences of a text, each with the sign that ends it."""
    found, start = [], 0
    for end in SENTENCE_END.finditer(text):
        if end[0] == "." and re.search(
            r"\b(?:i\.e|e\.g|Rs|No|approx|[ap]\.m)$", text[max(0, end.start() - 8) : end.start()]
        ):
            continue
        found.append((text[start : end.start()], end[0]))
        start = end.end()
    return [*found[-50:], (text[start:], "")]


def _passes_over(sentence: str) -> bool:
    """Whether a sentence tells an earlier value or denies one, so that a value before it stands."""
    numbers = list(LAST_NUMBER.finditer(sentence))
    if not numbers:
        return False
    number = numbers[-1]
    before, behind = sentence[: number.start()], sentence[number.end() :]
    return OLD.search(sentence) is not None or (
        (
            denied(behind)
            or re.search(r"\b(?:not|isn['\u2019]t|wasn['\u2019]t|instead of|rather than) $", before[-20:]) is not None
        )
        and not plans(sentence)
    )
