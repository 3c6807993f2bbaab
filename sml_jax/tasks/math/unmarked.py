"""The value that an utterance states without marking it as the answer."""

from __future__ import annotations

import re

from sml_jax.tasks.math.sentences import (
    SENTENCE_END,
    denied,
    is_check,
    is_remark,
    not_said,
    plans,
    tells_mishap,
    unstated,
    without_tag,
)

_MINUS_SIGNS = str.maketrans("\u2212\u2013\uff0d\u2010\u2011", "-----")
_READ_CHARACTERS = 4_000
_MOST_REMARKS = 4
_REQUEST = re.compile(
    r"\W*(?:please|could|can|would|should(?! be)|tell|give|let me know|what|which|how|why|do|does|is|are|was|"
    r"were)\b(?!['\u2019]s)",
    re.IGNORECASE,
)
# What stands before the last number and makes it no statement: "5 or 6", "step 3".
_HEDGE = re.compile(
    r"(?:\b(?:or|not|nor|than|least|most|between|except|step|problem|question|part|maybe|perhaps|chapter|line|equation|"
    r"exercise|example|either|(?:multipl|divid)[a-z]{1,6}(?: (?:it|this|that|them))? by)|n't|"
    r"[#?<>\u2260\u00b1]|\\(?:neq?|pm|leq?|geq?)|\\sqrt\{) ?[-+$\u00a3\u20ac]*$",
    re.IGNORECASE,
)
# Verbs and signs of a sentence that states its number.
_STATES = re.compile(
    r"[=\u2248:\u2192]|['\u2019]s\b|\b(?:is|are|was|were|be|equals?|makes?|made|total|gives?|gets?|got|has|have|had|"
    r"costs?|cost|takes?|took|"
    r"needs?|needed|pays?|paid|earns?|earned|spends?|spent|sells?|sold|leaves?|left|remains?|remaining|eats?|ate|"
    r"saves?|saved|uses?|used|buys?|bought|receives?|received|will|would|must|so|therefore|thus|hence|did|does|do|"
    r"weighs?|reads?|drives?|drove|runs?|ran|works?|worked|contains?|becomes?|answer|came|comes|went|think|believe|"
    r"guess|"
    r"say|says|result|find|found|obtain|obtained|leaving|giving|making|conclude|sum|product|difference|corrected|okay|"
    r"actually|i['\u2019]d)\b",
    re.IGNORECASE,
)
# Somebody, what they do, and how much: "She swims 7 times".
_DOES = re.compile(
    r"\b(?:[Ss]he|[Hh]e|[Tt]hey|[Ii]t|[A-Z][a-z]{2,14}) (?:only |also |now |then )?[a-z]{2,14}(?:s|ed|ew|ook|ote|"
    r"ove) (?:a total of |only |about )?[$]?$"
)
_OLD = re.compile(
    r"\b(?:old|previous|first|earlier|last|initial|original|former|wrong|incorrect)\b[^.]{0,30}?\b(?:answer|result|"
    r"try|attempt|"
    r"guess|solution|calculation)\b|\b(?:I (?:said|wrote|thought|guessed|had said|put)|earlier|previously|before I)\b",
    re.IGNORECASE,
)
_DIGITS = "[0-9]{1,60}"
_NUMBER = (
    rf"[0-9]{{1,3}}(?:,[0-9]{{3}})+(?:\.[0-9]{{1,60}})?|{_DIGITS} {_DIGITS} ?/ ?{_DIGITS}|"
    rf"(?:{_DIGITS}(?:\.[0-9]{{0,60}})?|\.{_DIGITS})(?: ?/ ?{_DIGITS})?"
)
# A number may run into a unit of two letters or more, or of an area: "25cm", "25m^2".
_RUN_IN_UNIT = (
    r"(?:[cmk]m|ft|in|yd|mi|k?g|mg|m?l|lbs?|oz|hrs?|min|mph|km/h|m/s|[A-Za-z]{3,20})(?:\^?[23])?(?![\w^*+=/])|"
    r"m(?:\^?[23])(?![\w^*+=/])|[/-](?=[A-Za-z]{2})"
)
_LAST_NUMBER = re.compile(
    rf"(?<![\w.,)/+:^-])[-+]?[$\u00a3\u20ac\u00a5\u20b9]?(?:{_NUMBER})(?:\s?\\?%)?(?!(?!{_RUN_IN_UNIT})[\w/*+^=:-]|"
    rf"\.[0-9])"
)
_INTERJECTION = re.compile(
    r"(?:\W{0,4}(?:yes|yeah|no|ok|okay|so|well|hmm|ah|oh|aha|then|now|right|sure|alright|got it)\b){1,4}\W*",
    re.IGNORECASE,
)
_YES_OR_NO = re.compile(
    r"(?:yes|no)(?:, (?:it|they|he|she|this|that|there|the)\b[^.!?\n]{0,80})?[.!]?|(?:(?:so )?(?:it is |it's |"
    r"that is ))?(?:true|false)[.!]?",
    re.IGNORECASE,
)
_IS_ANSWER = re.compile(
    r"\W{0,4}(?:so )?(?:this|that|which|it)(?: is|['\u2019]s| was| must be)\b[^.!?]{0,30}\banswer\b", re.IGNORECASE
)
_COUNTED = re.compile(
    r"\b(?:january|february|march|april|may|june|july|august|september|october|november|december|day|week|month|year|"
    r"page|"
    r"chapter|room|grade|level|round|floor|row) $",
    re.IGNORECASE,
)
_SQUARE_UNIT = re.compile(r"^[-+]?[0-9][0-9.,]{0,30} ?(?:mm|cm|dm|km|m|ft|in|yd|mi)(?:\^?[23]|[\u00b2\u00b3])?$")
# Words and signs behind a number that change its value.
_CHANGES = re.compile(
    r" ?(?:(?:and )?(?:a|one|two|three|four|five|six|seven|nine) (?:half|quarters?|thirds?|fifths?|sixths?|eighths?|"
    r"tenths?)\b|"
    r"-?(?:hundred|thousand|million|billion|trillion|dozens?|score|halves|quarters?|thirds?|fourths?|fifths?|sixths?|"
    r"sevenths?|"
    r"eighths?|ninths?|tenths?|twelfths?|hundredths?|thousandths?|factorial|squared|cubed|percent|per cent)\b|"
    r"and a half\b|(?:[a-z\u00b0]{1,12} ){0,2}below zero\b|!(?=\s|$))",
    re.IGNORECASE,
)
_SCALE = re.compile(r" (?:hundred|thousand|million|billion|trillion)\b")
_CALCULATED = re.compile(r"[\w)%$}\]] ?= ?[$\u00a3\u20ac]?$")
_SIGN_WORD = re.compile(r"\b(?:negative|minus) $", re.IGNORECASE)
_SUBTRACTED = re.compile(
    r"(?:[0-9)]|\b[a-z]|one|two|three|four|five|six|seven|eight|nine|ten|dollars|eggs) minus $", re.IGNORECASE
)
# Several numbers, of which none alone is the answer: brackets, lists, ranges.
_BRACKETS = re.compile(r"\\?[(\[{][^()\[\]{}]{0,100}[0-9\u221e][^()\[\]{}]{0,60}[,;][^()\[\]{}]{1,100}[)\]}]\$?$")
_LIST = re.compile(
    r"(?:(?<=is )|(?<=are )|(?<=were )|(?<=was )|(?<=be )|(?<=: )|(?<== )|(?<=get )|(?<=and )|(?<=so )|^)"
    r"-?[$]?[0-9][0-9.]{0,20}(?:(?:, (?:and |or )?| and | or | to )-?[$]?[0-9][0-9.]{0,20}){1,20}$",
    re.IGNORECASE,
)
_CHOICE = re.compile(
    r"(?i:\W{0,4}(?:(?:so|thus|hence|therefore|then|now|ok|okay|well|the|correct|it is|it's|must be|that is|that's|I|"
    r"my|right|would|"
    r"will|be|go|with|choose|pick|select|say|chose|think|believe|guess|I'd|I'll|option|choice|it|is|"
    r"letter)\b[\s,:]{0,4}){0,8})"
    r"(\([A-J]\)|[A-HJ])(?:[.):]?$|[.):]{1,2} (?=\S).{1,80}$| (?:is|seems|looks)(?: the)? (?:correct|right)(?: option|"
    r" choice)?$)"
)
_NAMES_CHOICE = re.compile(
    r"\b(?:option|choice|it|it's|it is|go|pick|choose|select|say|think|chose|believe)\b|^\W?[A-J]\W|^\(?[A-J]\)?$|"
    r"correct|right",
    re.I,
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
    whole = utterance.strip()
    if len(whole) <= 120 and "\n" not in whole and _is_choice(whole):
        return _choice(whole)
    if re.fullmatch(r"[a-e]|\([a-j]\)", whole) or _YES_OR_NO.fullmatch(whole):
        return whole
    text = utterance[-_READ_CHARACTERS:].translate(_MINUS_SIGNS)
    remarks, rejected, said_answer = 0, "", False
    for sentence, end in reversed(_sentences(text)):
        stripped = sentence.strip(" \t\r\n*_\"'.,;!?")
        if not stripped:
            continue
        asks = end == "?"
        if _is_choice(stripped):
            return None if asks else _choice(stripped)
        has_value = re.search("[0-9]", stripped) is not None
        worded = _WORDS.fullmatch(stripped)
        if worded and not asks:
            return worded[1].strip()
        if not has_value or is_check(stripped):
            if remarks >= _MOST_REMARKS or not (is_check(stripped) or is_remark(stripped, asks)):
                return None
            remarks, said_answer = remarks + 1, said_answer or _IS_ANSWER.match(stripped) is not None
            continue
        if asks:
            statement = without_tag(stripped)
            if statement is None:
                return None
            sentence = statement
        number = _stated_number(sentence, said_answer)
        if number is None and remarks < _MOST_REMARKS and _passes_over(stripped):
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
    numbers = list(_LAST_NUMBER.finditer(sentence))
    if not numbers:
        return False
    number = numbers[-1]
    before, behind = sentence[: number.start()], sentence[number.end() :]
    return _OLD.search(sentence) is not None or (
        (
            denied(behind)
            or re.search(r"\b(?:not|isn['\u2019]t|wasn['\u2019]t|instead of|rather than) $", before[-20:]) is not None
        )
        and not plans(sentence)
    )


def _is_choice(sentence: str) -> bool:
    return len(sentence) <= 160 and _CHOICE.match(sentence) is not None and _NAMES_CHOICE.search(sentence) is not None


def _choice(sentence: str) -> str:
    """The label of a choice and what stands behind it: "C. 42"."""
    choice = _CHOICE.match(sentence)
    assert choice is not None
    return re.sub(r" (?:is|seems|looks)\b.*$", "", sentence[choice.start(1) :])


def _stated_number(sentence: str, states: bool = False) -> str | None:
    """The number that a sentence states: in bold if anything is, behind the last "=", or else the last one.

    Args:
      sentence: one sentence.
      states: whether a sentence behind it says that this was the answer.
    """
    raw = sentence.strip(" \t\r\n").replace("\\$", "$")
    sentence = raw.strip(" *_").rstrip(" \t\r\n*_$.,;!\"')")
    if (
        _REQUEST.match(sentence)
        or (tells_mishap(sentence) and not re.search(r"[=:]|\b(?:so|should be|now)\b", sentence))
        or plans(sentence)
    ):
        return None
    if "\\boxed" in sentence:  # a box that holds no value, or that the end of the text cuts off
        return None
    square = _SQUARE_UNIT.match(sentence)
    if square:
        return sentence
    bold = re.search(r"\*\*([^*]{1,80})(?:\*\*[^*]*)?$", sentence)
    for place in [bold[1], sentence] if bold else [sentence]:
        numbers = list(_LAST_NUMBER.finditer(place))
        if not numbers:
            continue
        number = numbers[-1]
        if "=" in place:  # "2 * 3 = 6 apples for 2 people"
            after = [later for later in numbers if later.start() > place.rindex("=")]
            number = after[0] if after else number
        before, behind = place[: number.start()], place[number.end() :]
        alone = (not re.search(r"\w", before) or _INTERJECTION.fullmatch(before)) and len(behind.split()) <= 4
        if _HEDGE.search(before) or re.match(r",? (?:or|and) [-$]?[0-9]", behind):
            return None
        if (
            _OLD.search(sentence[: sentence.find(place) + number.start()][-80:])
            and "=" not in place
            and place is sentence
        ):
            return None
        calculated = _CALCULATED.search(before[-20:]) is not None
        if "answer" in sentence and unstated(before):
            return None
        if denied(behind) or (not calculated and not_said(before)):
            return None
        says = states or _STATES.search(sentence) or _DOES.search(before[-80:])
        if not alone and not says:
            return None
        return (None if calculated else _several(raw)) or _with_words(before, number[0], behind, calculated)
    brackets = _several(raw) if _STATES.search(sentence) else None
    return brackets


def _several(sentence: str) -> str | None:
    """The brackets, list or range that a sentence ends in: its last number alone is not what it states."""
    sentence = sentence.strip(" \t*_.!")
    brackets = _BRACKETS.search(sentence[-300:])
    if brackets:
        return brackets[0].strip("$")
    listed = _LIST.search(sentence.rstrip("$")[-300:])
    return listed[0] if listed and not re.search(r"\bfrom $", sentence[: -len(listed[0])][-8:]) else None


def _with_words(before: str, number: str, behind: str, calculated: bool) -> str:
    """A number with the words around it that change its value; behind a calculation, "5 dozen" counts dozens."""
    if calculated:
        scale = _SCALE.match(behind)
        return number + (scale[0] if scale else "")
    if _SIGN_WORD.search(before[-12:]) and not _SUBTRACTED.search(before[-20:]):
        number = "-" + number
    counted = _COUNTED.search(before[-12:])
    number = counted[0].strip() + " " + number if counted else number
    changed = _CHANGES.match(behind)
    return number + (changed[0] if changed else "")
