"""The sentences and lines that say which answer they give: "the answer is 5", "5 is the answer", "#### 5"."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from sml_jax.tasks.math.clauses import WISHED, cases_differ
from sml_jax.tasks.math.followers import takes_back, without_tag
from sml_jax.tasks.math.headings import CALCULATION, STEPS, is_worked
from sml_jax.tasks.math.remarks import NUMBER, last_sentence, plain, without_aside, without_remark
from sml_jax.tasks.math.sentences import denied, is_quoted, last_clause, tells_old_answer, unstated
from sml_jax.tasks.problems.numbers import answer_number

ANSWER_CHARACTERS = 2_000
_MINUS_SIGNS = str.maketrans("\u2212\u2013\uff0d\u2010\u2011", "-----")
_MARKERS = 50  # at most so many of a text are read, from its end

# What marks an answer.
_HASHES = re.compile(r"####(?!#)[ \t*:]*")
_TAGGED = re.compile(r"<(answer|final_answer|final|ans|result)>([^<>]{1,500})</\1>", re.IGNORECASE)
_HEADING = re.compile(
    r"(?:\d+[.)] )?(?:step|part|solution|explanation|conclusion|summary|section|chapter|question|problem|exercise|"
    r"final|verif|check|case|calculat)",
    re.IGNORECASE,
)
_MARKER = re.compile(
    r"\b(?:answers?\b(?: (?:to|of|for) (?:the|this|your) (?:question|problem)| here)?|(?<=final )(?:result|"
    r"solution)(?=[ *_]{0,4}(?:is|[:=])))[ *_\"]*(?:((?:(?:is|was|equals|are|being|becomes)|(?:should|must|would|will|"
    r"has to|turns out to|to) be|(?:comes?|came) out (?:as|to(?: be)?)|works out (?:as|to(?: be)?))\b(?!['\u2019])|"
    r"['\u2019]s\b)|(->|=>|[:=\uff1a\u2192]|[-\u2013](?= \(?[A-J]\)?[.\s]*(?:$|\n))))?[\s:*_]*",
    re.IGNORECASE,
)
# A correction behind an answer that was stated: "No, it is 15."
_CORRECTION = re.compile(
    r"(?:(?<=[.!?;] )|(?<=\n))(?:(?:no|wait(?=[,.:!]| no)|hold on|actually|oops|sorry|hmm|"
    r"correction)[,.:! ]{1,3}){1,3}(?:I mean|(?:it|that) (?:should be|is|must be)|it's|"
    r"make that)? ?(?=[-$]{0,2}[0-9][0-9.,]{0,20}(?:\s[a-z]{2,12})?[.!]?(?:\s|$))",
    re.IGNORECASE,
)
_LEAD_IN = re.compile(
    r"(?:(?:(?:is|equal to|equals|simply|just|exactly|therefore|thus|now|indeed|then|clearly|actually|still|also|"
    r"definitely|of course|again|as follows|found to be|given by|thus|hence|probably)\b|:|=+>|-+>|"
    r"[\u2192\u21d2])[\s:*_,]*)+",
    re.IGNORECASE,
)
_VALUE = re.compile(
    r"(?:\(?[A-J]\)(?!\w)|(?:about|approximately|around|only|a total of|roughly|negative|minus|US|Rs\.?)\b ?)?[\s*_]*"
    r"[-+~\u2248\u00b1$\u00a3\u20ac\u00a5\u20b9(\[{|<]*[\\0-9.\u221a\u03c0\u221e\u00b1\u00bc-\u00be]"
)
_MATHS = (
    r"\$\$.{0,2000}?\$\$|\\\[.{0,2000}?\\\]|\\\(.{0,2000}?\\\)|"
    r"\$(?![\s$])(?:[^$\n\\]|\\.){0,2000}?(?<!\s)\$(?![0-9])"
)
# The end of a statement, unless it stands inside mathematics. A semicolon before a number goes on with a list.
_STOP = re.compile(
    rf"({_MATHS})|(?:(?<!\b[A-Z])|(?<=\A[A-J])(?=. \())"
    r"(?<!\b[ap]\.m)(?<!\b[ie]\.[eg])(?<!\bRs)(?!! ?[=+*/^])[.!?\u3002](?=[\s*\"')$]|$)|"
    r";(?=\s)(?!\s?(?:[-$]?[0-9.]{1,20}|\(?[A-J]\)?)(?:;|\.?\s*$|\.?\s*\n))|\n\s*\n|\n(?=[^\n]*[A-Za-z]{3})|\n\Z|"
    r"</[a-z_]{1,15}>",
    re.DOTALL,
)
# Another candidate in the next sentence.
_NEXT_HEDGE = re.compile(
    r"[\s.,;!?*]{0,6}(?:or|alternatively|otherwise|maybe|perhaps|possibly|or maybe|(?:but )?it (?:could|might|"
    r"may)(?: also)? be)\b(?:[^.!?\n]{0,40}?[0-9(]| \(?[A-J]\b)|[\s.]{0,4}-?[0-9][0-9.,]{0,12}\?",
    re.IGNORECASE,
)
# What follows a marker and is not an answer: "the answer is not ...", "the answer is wrong".
_NO_ANSWER = re.compile(
    r"(?:(?:[a-z]{1,15} )?(?:not|never)|unknown|unclear|unsure|uncertain|what|which|how|why|wrong|right|correct|"
    r"incorrect|missing|too|off|in|based|given|to|the same|that|obtained|found|anything but|nothing like|other than|"
    r"far from|left as|left to|determined by|nowhere near|different|neither|hardly|no longer|cannot|may(?! [0-9])|"
    r"might|could|maybe|perhaps|possibly|between|likely wrong|there|below|above|here|as (?:above|before)|"
    r"see\b|"
    r"(?:an? |the )?(?:multiple|factor|divisor|power|root|digit) of|close to|near|just (?:under|over|"
    r"short of)|under|(?:depends|rhymes) (?:on|with)|a (?:number|value) (?:near|close)|divisible by|on (?:page|line)|"
    r"in (?:step|"
    r"line)|"
    r"still unknown|hard|easy|false|somewhere|either wrong)\b",
    re.IGNORECASE,
)
_MINE = re.compile(r"\b(?:my|our|your) (?:\w{1,12} )?$", re.IGNORECASE)
# "3 steps are needed:", over these steps.
_INTRODUCES = re.compile(r"[^\n:=]{0,120}[a-z)]:[*_ ]{0,4}\n\s*\S")
_UNDERLINE = re.compile(r"\A[-=]{3,}\s*\n")  # of the heading "Answer"
_FETCHES = re.compile(
    r"\b(?:check|verify|find|get|getting|compute|calculate|reach|explain|justify|confirm|see|about|double-check|revise|"
    r"recheck|understand|(?:verification|check|proof|explanation|justification|derivation|"
    r"calculation) of)(?:ing)? (?:the|my|our|your|this|that|an?)? ?(?:\w{1,12} )?$",
    re.IGNORECASE,
)
_CORRECTS = re.compile(
    r"\b(?:correct|chang|updat|revis|fix|amend|replac)[a-z]{0,4} (?:my|the|our|this|that) (?:[a-z]{1,10} )?$",
    re.IGNORECASE,
)
_ASKS = re.compile(
    r"\W{0,4}(?:is|was|does|did|could|can|would|should|where|why|how)\b(?! (?:it|that) is)[^,:]*$", re.IGNORECASE
)
_ALONE = re.compile(r"[-+]?[$\u00a3\u20ac(\\]*[0-9.][0-9.,/]{0,40}[)%\\$]*(?: [a-zA-Z]{1,15}){0,2}")
_LINKS_BACK = re.compile(
    r"\b(?!was[*_ ]{1,4}(?:my|our))(?:is|are|was|as|for)(?:[*_ ]{1,4})(?:the|my|our|an?)[*_ ]{1,4}(?:(?:final|correct|"
    r"right|required|desired|only|exact|new|actual|numerical|best|revised|corrected|updated)[*_ ]{1,4}){0,2}$",
    re.IGNORECASE,
)
_CONNECTIVES = re.compile(
    r"[\s*_,]{0,4}(?:(?:so|thus|hence|therefore|then|and|now|ok|okay|finally|yes|no|I|we|you|get|got|have|found|find|"
    r"obtain|obtained|arrive|arrived|at|believe|think|say|that|it is|give|conclude|with|end up|ended up|came|come|"
    r"up)\b[\s,:]*){0,8}",
    re.IGNORECASE,
)
_LABEL_ALONE = re.compile(r"\(?[A-J]\)?")
_PUTS = re.compile(
    r"\b(?:I|we)(?:['\u2019](?:m|ll|d))? (?:am |will |would |now |have to |then )*(?:put|submit|giv|writ|choos|choose|"
    r"tak|record|"
    r"enter|mark|go|hav|got|get)(?:e|ing|ting)?(?: down| with)? ",
    re.IGNORECASE,
)
# "the interval [-2, 5]"
_KIND_OF_VALUE = re.compile(
    r"(?:the|an?) (?:[a-z]{3,12} )?(?:interval|point|pair|set|ratio|list|triple|vector|number|value|expression|"
    r"function|"
    r"equation|fraction|angle|date|line) (?=[-(\[{$\\*0-9]|[a-z] ?[=<>])"
)
# "30 apples minus 6 apples makes 24 apples"
_SPOKEN_RESULT = re.compile(
    r"[0-9][^=.]{0,60} (?:minus|plus|times|divided by) [^=.]{1,60} (?:makes?|equals?|gives?|leaves?|is|are) "
    r"(?=[$]?[0-9])"
)
_PROPERTY = re.compile(
    r"(?:an? )?(?:positive|negative|even|odd|whole|integer|bigger|smaller|larger|greater)\b[^.0-9]{0,40}\bso\b"
)
_OTHER_LABEL = re.compile(r"\b(?:no|wait|actually|maybe|else|or|perhaps)\b\W{1,3}\(?[A-J]\b")
_NUMBER_AHEAD = re.compile(rf"{NUMBER}|\$[^$]{{1,200}}\$|\S{{1,40}}")
_CHANGED_SINCE = re.compile(r",? but\b[^.]{0,60}\b(?:it|that|this|I|now)\b[^.]{0,30}[0-9]")
_CHANGED = re.compile(r",? but (?:now )?(?:it|that|this) (?:is|should|must)\b")
# "30 was the answer to the previous question."
_OF_ANOTHER = re.compile(
    r"answers?\b[^.!?\n]{0,20} (?:the|a|an|my|your|our) (?:previous|last|first|other|earlier|another) (?:question|"
    r"problem|part)|answers?\b[^.!?\n]{0,20} another (?:question|problem)",
    re.IGNORECASE,
)
_CONCLUDES = re.compile(r"\b(?:so|thus|hence|therefore|which means(?: that)?)\b[\s,:]*", re.IGNORECASE)
_BEFORE_LINK = re.compile(
    r"\$[^$\n]{1,280}\$|\\\(.{1,280}\\\)|(?i:option |choice |letter )?\(?[A-J]\)?|[A-Z][a-z]{2,20}|"
    r"\$?[A-Za-z]\w{0,2} ?= ?\S.{0,100}"
)


@dataclass(frozen=True)
class Marked:
    """An answer that a text marks as such.

    Attributes:
      place: index of its mark in the text.
      text: the answer.
      kind: a mathematical "value", "words", or the first sentence of a text under the "heading" Answer.
    """

    place: int
    text: str
    kind: Literal["value", "words", "heading"]


def tagged(text: str) -> list[Marked]:
    """What stands in tags such as `<answer>`."""
    answers: list[Marked] = []
    if "<" not in text:
        return answers
    for tag in list(_TAGGED.finditer(text))[-_MARKERS:]:
        said = after_markers(tag[2])  # <answer>The answer is 72</answer>
        answers.append(Marked(tag.start(), said[-1].text if said else tag[2].strip(" #\n"), "value"))
    return answers


def after_hashes(text: str) -> list[Marked]:
    """The lines after `####`, unless they are headings."""
    answers: list[Marked] = []
    if "####" not in text:
        return answers
    for mark in list(_HASHES.finditer(text))[-_MARKERS:]:
        line, _, following = text[mark.end() : mark.end() + ANSWER_CHARACTERS].lstrip().partition("\n")
        line = line.partition("</")[0].translate(_MINUS_SIGNS).strip(" *#\t\r")
        named = re.match(r"(?:the )?(?:final )?answer\b[ :*]*(?:is\b)?[ :*]*", line, re.IGNORECASE)
        line = plain(line[named.end() :] if named else line)
        heading = _HEADING.match(line) or line.endswith(":")
        if line and not (heading and (following.strip() or re.fullmatch(r"(?:step|part|case) [0-9]{1,3}", line, re.I))):
            is_value = _VALUE.match(line) is not None or not following.strip()
            if _VALUE.match(line):
                line = without_remark(line)
            answers.append(Marked(mark.start(), line, "value" if is_value else "words"))
    return answers


def after_markers(text: str, correcting: bool = False) -> list[Marked]:
    """What sentences with "answer" state, and corrections of it.

    Args:
      text: an utterance.
      correcting: whether something outside these sentences states an answer that may be corrected.
    """
    answers = []
    lowered = text.lower()
    markers = _MARKER.finditer(text) if "answer" in lowered or "final" in lowered else ()
    for marker in list(markers)[-_MARKERS:]:
        stated = _stated(text, marker)
        if stated is not None:
            answers.append(stated)
    first = min((answer.place for answer in answers), default=None)
    corrections = _CORRECTION.finditer(text) if correcting or first is not None else ()
    for correction in list(corrections)[-_MARKERS:]:
        if correcting or (first is not None and first < correction.start()):
            value, end, _ = _first_sentence(text[correction.end() : correction.end() + 100])
            if end != "?":
                answers.append(Marked(correction.start(), without_remark(value), "value"))
    return answers


def after_last_marker(text: str) -> str:
    """The text after the last "####" or "the answer is", for answers of several sentences; "" where there is none."""
    markers = [marker for marker in list(_MARKER.finditer(text))[-_MARKERS:] if _may_state(text, marker)]
    ends = [mark.end() for mark in [*markers, *_HASHES.finditer(text)]]
    end = text[max(ends) :].strip() if ends else ""
    return "" if end.endswith("?") else end


def _may_state(text: str, marker: re.Match[str]) -> bool:
    """Whether the words in front of a marker let it state an answer."""
    before = text[max(0, marker.start() - 300) : marker.start()]
    if (marker[2] or "").strip() and _CORRECTS.search(before[-60:]):
        return True  # "Let me correct my previous answer: 25."
    if marker[1] == "was" and _MINE.search(before[-30:]):
        return False  # "My answer was 5" tells what was said
    if WISHED.search(last_sentence(before)):
        return False
    fetches = not marker[1] and _FETCHES.search(before[-80:]) is not None
    return not (tells_old_answer(before) or unstated(before) or fetches or _ASKS.match(last_clause(before)))


def _stated(text: str, marker: re.Match[str]) -> Marked | None:
    """The answer that the sentence around a marker states, if it does."""
    following = text[marker.end() : marker.end() + ANSWER_CHARACTERS].translate(_MINUS_SIGNS)
    if not _may_state(text, marker):
        return None
    # "answer" must be linked to what follows, by a verb, a colon or a new line, unless that is a number.
    lead_in = _LEAD_IN.match(following)
    opens_line = "\n" in marker[0] and not marker[0].strip(" *_\n").endswith(("is", "are", "was"))
    linked = marker[1] or marker[2] or "\n" in marker[0] or lead_in
    bulleted = "\n" in marker[0] and "*" in marker[0]  # the mark has taken the first bullet
    steps_follow = STEPS.match(("* " if bulleted else "") + following) is not None
    mark = marker[0] + (lead_in[0] if lead_in else "")
    following = following[lead_in.end() :] if lead_in else following
    opened = re.search(r"(\*{1,3}|__?)$", mark)
    if opened:  # the mark has taken the first half of "**72** clips"
        following = re.sub(re.escape(opened[1]) + r"(?![\w(])", "", following, count=1)
    following = following.removeprefix("} ")  # \text{Answer: } 72
    following = _UNDERLINE.sub("", following)
    if opens_line and not steps_follow:
        following = re.sub(r"\A[-\u2022] (?=[$]?[0-9])", "", following)
    if (opens_line or marker[2]) and _INTRODUCES.match(following):
        return None
    sentence, end, rest = _first_sentence(following)
    if not sentence or re.match(r"[.!?,;)\"](?![0-9])", following):
        return None if linked and not re.match(r"\s*[.!?,;)\"](?![0-9])", following) else _stated_before(text, marker)
    if end == "?":
        statement = without_tag(sentence)
        if statement is None:
            return None
        sentence = statement
    whole = plain(sentence)
    if cases_differ(whole):
        return None  # "25 if we count the driver, and 24 if not"
    whole = _KIND_OF_VALUE.sub("", whole, count=1) if _KIND_OF_VALUE.match(whole) else whole
    if re.search(r"[\"\u201d],? ?(?:said|says|claimed|is what)\b", whole):
        return None  # "The answer is 5", said my friend
    if _PROPERTY.match(whole):
        return None  # "The answer has to be positive, so 75."
    answer = without_aside(whole)
    if _LABEL_ALONE.fullmatch(answer) and _OTHER_LABEL.search(whole, len(answer)):
        answer = whole  # "C - no, D"
    value = _NUMBER_AHEAD.match(answer)
    if (
        not answer
        or re.match(r"\\boxed\{[\s.?]*\}", answer)
        or _NO_ANSWER.match(answer)
        or (value and (denied(whole[value.end() :]) or is_quoted("answer", whole[value.end() :])))
    ):
        return None
    if (_CHANGED_SINCE if marker[1] == "was" else _CHANGED).search(whole):
        return None
    if not linked and not _ALONE.fullmatch(whole):
        return None
    if takes_back(rest.lstrip()):
        return None
    hedge = _NEXT_HEDGE.match(rest)
    if hedge:
        return Marked(marker.start(), f"{answer} or {hedge[0]}", "value")
    # A heading over a worked solution.
    heading = bool(marker[2]) or opens_line or "follows" in mark
    is_value = _VALUE.match(answer) is not None
    tail = whole[len(answer) :] if whole.startswith(answer) else ""
    rest = tail + rest if re.match(r",? (?:so|then|thus|hence|therefore)\b", tail) else rest
    if heading and (steps_follow or is_worked(answer, is_value, rest)):
        return None if steps_follow or is_value else Marked(marker.start(), answer, "heading")
    spoken = _SPOKEN_RESULT.match(answer)
    answer = answer[spoken.end() :] if spoken else answer
    if answer.count("}") > answer.count("{"):  # \textbf{The answer is 21.}
        answer = answer.rstrip("}. ")
    answer = re.sub(r"(?<=\w) (?:then|indeed|though|obviously|definitely|for sure)$", "", answer)
    answer = without_remark(answer) if is_value else answer
    return Marked(marker.start(), answer, "value" if is_value else "words")


def _stated_before(text: str, marker: re.Match[str]) -> Marked | None:
    """The value in front of "is the answer"."""
    before = last_sentence(text[max(0, marker.start() - 300) : marker.start()].translate(_MINUS_SIGNS))
    link = _LINKS_BACK.search(before)
    following = text[marker.end() : marker.end() + 3].lstrip("\"')* ")
    if _OF_ANOTHER.match(text, marker.start()):
        return None
    if link is None or following.startswith("?") or "boxed" in before:
        return None
    value = _CONCLUDES.split(before[: link.start()])[-1]  # "48 + 24 = 72, so 72"
    connectives = _CONNECTIVES.match(value)
    value = plain(value[connectives.end() if connectives else 0 :]).strip(" ,*_")
    value = re.sub(r"(?:,|:|;) ?(?:and )?(?:that|this|it|which)$", "", value)
    put = _PUTS.search(before[: link.start()]) if link[0].startswith("as") else None
    value = before[put.end() : link.start()].strip() if put else value  # "I'm putting down 5 as the answer"
    if not _VALUE.match(value.strip("$")) and not _BEFORE_LINK.fullmatch(value):
        value = value.rpartition(" and ")[2]
    if re.search(r"\b(?:this|that|it|these)$", value):
        return None  # "With 8 rolls a bag this is the answer" points back
    if CALCULATION.match(value):
        value = value.rpartition("=")[2].strip()
    spelled = answer_number(value.lower()) if len(value) <= 60 else None
    if not _VALUE.match(value.strip("$")) and not _BEFORE_LINK.fullmatch(value) and spelled is None:
        return None
    return None if value in ("This", "That", "Here", "What") else Marked(marker.start(), value, "value")


def _first_sentence(text: str) -> tuple[str, str, str]:
    """The first sentence outside mathematics, the sign that ends it, and the text behind it."""
    for stop in _STOP.finditer(text):
        if stop[1] is None and text[: stop.start()].strip(" *_\t\n"):
            return text[: stop.start()].strip(" \t\n"), stop[0][:1], text[stop.end() :]
    return text.strip(" \t\n"), "", ""
