"""Finds the one answer that a mathematics utterance gives."""

from __future__ import annotations

import re

ANSWER_CHARACTERS = 2_000
_MINUS_SIGNS = str.maketrans("\u2212\u2013\uff0d", "---")

# Every pattern here is linear in what it reads. First what marks an answer.
_BOX = re.compile(r"\\(?:boxed|fbox)\s*(?:\{|(?=[^\s{]))")
_JOINED = re.compile(  # possessive: white space fits in many places, and all of them would be tried
    r"[\s$,;.]*+(?:\\\)|\\\]|\\text\{)*+[\s,;$]*+(?:and|or)?[\s}$,;]*+(?:\\\(|\\\[)?[\s$]*+(?:[a-z]\s*+=\s*+)?",
    re.IGNORECASE,
)
_HASHES = re.compile(r"####(?!#)[ \t*:]*")
_HEADING = re.compile(
    r"(?:\d+[.)] )?(?:step|part|solution|explanation|conclusion|summary|final|verif|check|case|calculat)", re.IGNORECASE
)
_MARKER = re.compile(
    r"\banswers?\b(?: to (?:the|this) (?:question|problem))?"
    r"[ *_]*(?:(is|was|equals|are)\b(?!')|([:=\uff1a]))?[\s:*_]*",
    re.IGNORECASE,
)
_LEAD_IN = re.compile(r"(?:(?:(?:is|equal to|equals|simply|just|exactly|therefore|thus|now|indeed)\b|:)[\s:*_]*)+")
_VALUE = re.compile(
    r"(?:\(?[A-J]\)(?!\w)|(?:about|approximately|around|only|a total of|roughly)\b ?)?[\s*_]*"
    r"[-+~\u2248\u00b1$\u00a3\u20ac\u00a5\u20b9(\[{|]*[\\0-9.\u221a\u03c0\u221e\u00b1\u00bc-\u00be]"
)
_MATHS = (
    r"\$\$.{0,2000}?\$\$|\\\[.{0,2000}?\\\]|\\\(.{0,2000}?\\\)|"
    r"\$(?![\s$])(?:[^$\n\\]|\\.){0,2000}?(?<!\s)\$(?![0-9])"
)
# The end of a statement, unless it stands inside mathematics.
_STOP = re.compile(
    rf"({_MATHS})|(?<!\b[A-Z])(?<!\b[ap]\.m)[.!?\u3002](?=[\s*\"')$]|$)|;(?=\s)|"
    r"\n\s*\n|\n(?=[^\n]*[A-Za-z]{3})|\n\Z",
    re.DOTALL,
)
_ASIDE = re.compile(r",? (?:because|since|so|which|where|given|when we|if we|as we|after rounding)\b")

# What follows a marker and is not an answer: "the answer is not ...", "the answer is wrong".
_NO_ANSWER = re.compile(
    r"(?:not|never|unknown|unclear|unsure|uncertain|what|which|how|why|wrong|right|correct|incorrect|missing|too|off|"
    r"in|based|given|to|the same|that|obtained|found)\b",
    re.IGNORECASE,
)
_PLEASANTRY = re.compile(r"(?:I )?(?:hope|let me know|feel free|if you|thank|good luck|please let)\b", re.IGNORECASE)
_REQUEST = re.compile(
    r"\W*(?:please|could|can|would|should|tell|give|let|what|which|how|why|do|does|is|are)\b", re.IGNORECASE
)
# What stands before the last number and makes it no statement: "5 or 6", "step 3".
_HEDGE = re.compile(
    r"(?:\b(?:or|not|nor|than|least|most|between|except|step|problem|question|part|maybe|perhaps|chapter)|n't|[#?])"
    r" ?[-+$\u00a3\u20ac]*$",
    re.IGNORECASE,
)
# Verbs and signs of a sentence that states its number.
_STATES = re.compile(
    r"[=\u2248]|\b(?:is|are|was|were|be|equals?|makes?|made|total|gives?|gets?|got|has|have|had|costs?|cost|takes?|took|"
    r"needs?|needed|pays?|paid|earns?|earned|spends?|spent|sells?|sold|leaves?|left|remains?|remaining|eats?|ate|"
    r"saves?|saved|uses?|used|buys?|bought|receives?|received|will|would|must|so|therefore|thus|hence|did|does|do|"
    r"weighs?|reads?|drives?|drove|runs?|ran|works?|worked|contains?|becomes?|answer|came|comes|went)\b",
    re.IGNORECASE,
)
_DIGITS = "[0-9]{1,60}"
_NUMBER = (
    rf"[0-9]{{1,3}}(?:,[0-9]{{3}})+(?:\.[0-9]{{1,60}})?|{_DIGITS} {_DIGITS} ?/ ?{_DIGITS}|"
    rf"(?:{_DIGITS}(?:\.[0-9]{{0,60}})?|\.{_DIGITS})(?: ?/ ?{_DIGITS})?"
)
_LAST_NUMBER = re.compile(
    rf"(?<![\w.,)/+:^-])[-+]?[$\u00a3\u20ac\u00a5\u20b9]?(?:{_NUMBER})(?:\s?\\?%)?(?![\w/*+^=:-])"
)
_SENTENCE_END = re.compile(r"[.!?;\u3002](?=[\s*\"')]|$)|\n")
_SCALE = re.compile(r" (?:hundred|thousand|million|billion|trillion)\b")


def final_answer(gold: str) -> str:
    r"""The bare answer of a gold text: after its last `####`, else in its last `\boxed{}`, else all of it."""
    if "####" in gold:
        return gold.rpartition("####")[2].strip()
    boxes = _boxes(gold)
    return (boxes[-1][2] if boxes else gold).strip()


def extract_answer(utterance: str) -> str | None:
    r"""The text of the one answer that an utterance gives, None if it gives none.

    The last of these counts: a `\boxed{..}` (boxes that follow each other are one answer of several parts), the line
    after `####`, a mathematical value after "the answer is" or "answer:". Where there is none of them, words after
    such a marker count; then the last number of a last sentence that states something or is nothing but the number.
    A question, a request and a hedge ("5 or 6") give no answer.
    """
    marked = [*_boxed(utterance), *_after_hashes(utterance), *_after_markers(utterance)]
    # Mathematical values go before words, and later answers before earlier ones.
    for wanted in (True, False):
        answers = [(at, text) for at, text, is_value in marked if is_value == wanted and text.strip()]
        if answers:
            return max(answers)[1].strip()[:ANSWER_CHARACTERS].rstrip()
    return _bare_number(utterance)


def after_last_marker(utterance: str) -> str:
    """The text after the last "####" or "the answer is", for answers of several sentences; "" where there is none."""
    ends = [mark.end() for mark in _MARKER.finditer(utterance)] + [mark.end() for mark in _HASHES.finditer(utterance)]
    return utterance[max(ends) :].strip() if ends else ""


def _boxes(text: str, most: int = 20) -> list[tuple[int, int, str]]:
    """Start, end and content of the last complete boxes, in order."""
    boxes: list[tuple[int, int, str]] = []
    for box in list(_BOX.finditer(text))[-most:]:
        if not box[0].endswith("{"):  # \boxed 5
            bare = re.compile(r"[^\s$.,}\\]+").match(text, box.end())
            if bare:
                boxes.append((box.start(), bare.end(), bare[0]))
            continue
        # The brace that closes the box; one that is never closed does not count.
        depth = 1
        for mark in re.compile(r"\\.|[{}]", re.DOTALL).finditer(text, box.end()):
            depth += {"{": 1, "}": -1}.get(mark[0], 0)
            if depth == 0:
                boxes.append((box.start(), mark.end(), text[box.end() : mark.start()]))
                break
    # A box within a box is a part of the outer one.
    outer: list[tuple[int, int, str]] = []
    for box_found in boxes:
        if not outer or box_found[0] >= outer[-1][1]:
            outer.append(box_found)
    return [box_found for box_found in outer if box_found[2].strip()]


def _boxed(text: str) -> list[tuple[int, str, bool]]:
    r"""The last box, with the ones that lead up to it: `\boxed{2} and \boxed{3}` is "2, 3".

    Returns:
      As the next two functions: (place in the text, answer, whether it is a mathematical value).
    """
    boxes = _boxes(text)
    if not boxes:
        return []
    parts, start = [boxes[-1][2]], boxes[-1][0]
    for begin, end, content in reversed(boxes[:-1]):
        between = text[end:start]
        if not _JOINED.fullmatch(between) or "\n\n" in between:
            break
        if content != parts[0]:
            parts.insert(0, content)
        start = begin
    return [(boxes[-1][0], ", ".join(parts), True)]


def _after_hashes(text: str) -> list[tuple[int, str, bool]]:
    """The lines after `####`, unless they are headings."""
    answers = []
    for mark in _HASHES.finditer(text):
        line, _, following = text[mark.end() :].lstrip().partition("\n")
        line = line.translate(_MINUS_SIGNS).strip(" *\t\r")
        named = re.match(r"(?:the )?(?:final )?answer\b[ :*]*(?:is\b)?[ :*]*", line, re.IGNORECASE)
        line = line[named.end() :] if named else line
        heading = _HEADING.match(line) or line.endswith(":")
        if line and not (heading and following.strip()):
            answers.append((mark.start(), line, _VALUE.match(line) is not None or not following.strip()))
    return answers


def _after_markers(text: str) -> list[tuple[int, str, bool]]:
    """What the markers "answer is", "answer:" and their like name, up to the end of the sentence."""
    answers = []
    for marker in list(_MARKER.finditer(text))[-50:]:
        following = text[marker.end() : marker.end() + ANSWER_CHARACTERS].translate(_MINUS_SIGNS)
        # "answer" must be linked to what follows, by a verb, a colon or a new line, unless that is a number.
        linked = marker[1] or marker[2] or "\n" in marker[0]
        lead_in = _LEAD_IN.match(following)
        if lead_in:
            following, linked = following[lead_in.end() :], True
        answer = first_statement(following)
        is_value = _VALUE.match(answer) is not None
        if answer and not _NO_ANSWER.match(answer) and (linked or re.match(r"[-+]?[$\u00a3\u20ac(\\]*[0-9.]", answer)):
            answers.append((marker.start(), answer, is_value))
    return answers


def first_statement(text: str) -> str:
    """A text up to the end of its first sentence outside mathematics, without an aside such as "because .."."""
    end = len(text)
    for stop in _STOP.finditer(text):
        if stop[1] is None and text[: stop.start()].strip(" *_\t\n"):
            end = stop.start()
            break
    return _ASIDE.split(text[:end], maxsplit=1)[0].strip(" *_\t\n")


def _bare_number(utterance: str) -> str | None:
    """The last number of the last sentence, if that sentence states it."""
    text = utterance.translate(_MINUS_SIGNS)
    # The last sentence, leaving out at most three pleasantries: "I hope that helps."
    for _ in range(3):
        text = text.rstrip(" \t\r\n*_$.,;!\"')")
        ends = [end.end() for end in _SENTENCE_END.finditer(text) if end.end() < len(text)]
        start = ends[-1] if ends else 0
        if not _PLEASANTRY.match(text[start:].strip()):
            break
        text = text[:start]
    sentence = text[start:].strip(" \t\r\n").replace("\\$", "$")
    if "?" in sentence[-3:] or _REQUEST.match(sentence):
        return None
    # The last number, in what is bold if anything is: "That makes **12** apples."
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
        alone = not re.search(r"\w", before) and len(behind.split()) <= 4
        if _HEDGE.search(before) or re.match(r",? (?:or|and) [-$]?[0-9]", behind):
            return None
        if alone or _STATES.search(sentence):
            scale = _SCALE.match(behind)
            return number[0] + (scale[0] if scale else "")
        return None
    return None
