"""Splits a sentence into clauses, and tells which of them say something and which only support what is said.

A number answers only in a clause that says something. "She has 40 left, because she gave away 2." says 40 and gives 2
as the reason; "The problem says that each row has 12 chairs." tells what is known, and says nothing itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Role = Literal["says", "reason", "condition", "aside", "report", "narration"]

_READ_CHARACTERS = 600  # of a sentence, from its end
_MOST_CLAUSES = 12
_SIGNED = r"[-$\u00a3\u20ac*]{0,4}[0-9]"
# A conjunction that makes its clause a part of another one, and the role of that clause.
_SUBORDINATE = re.compile(
    r"\b(?P<reason>(?i:because|since|given that|(?:(?<=, )|\A)given(?! ?:)|now that|seeing that|seeing as|"
    r"considering that|due to|thanks to)\b|(?<!same )(?<!such )(?<!soon )(?<!long )(?<!much )(?<!many )(?<!far "
    r")(?<!well )as(?= (?:that|this|it|he|she|they|there|we|you) (?:is|are|was|were|has|have|had|costs?|pays?|gets?|"
    r"needs?) | (?!an? )(?:(?!as |many |much |long |far |soon |well )[a-z0-9]{1,15} ){1,5}?(?:costs?|is|are|was|were|"
    r"has|had|pays?|gets?|needs?|takes?) )|(?<=, )as(?= (?:there|the|each|every|all|both|it|he|she|they|in|"
    r"[0-9]{1,20}|[A-Z][a-z]{1,20}) [^,]{3})|(?<=, )for(?= (?:[a-z0-9]{1,15} ){1,6}?(?:is|are|was|were|makes?|gives?|"
    r"costs?) ))|\b(?P<condition>(?i:if|unless|when|whenever|provided that|assuming|whether)\b)|"
    r"\b(?P<aside>(?i:although|though|despite)\b|(?<=[ (])where\b|who(?=['\u2019]s | is [0-9])|(?<=, )which (?:is|are|"
    r"was|"
    r"were)(?= (?:[^,; ]{1,20} ){1,6}(?:more|less|fewer|greater|larger|smaller|higher|lower|times|half|twice|double|"
    r"than)\b)|(?i:after|before|once|until)(?= (?:[a-z]{2,12}ing|he|she|it|they|we|I|you|the|his|her|their|"
    r"[A-Z][a-z]{1,20}|all(?! but)|[0-9]{1,9})\b))|\A(?P<purpose>(?i:to|in order to)(?= [a-z]{2,12} ))"
    rf"|\b(?P<contrast>(?i:(?:and |but )?not|no longer|instead of|rather than|as opposed to)(?= (?:the )?{_SIGNED}))",
)
# What somebody said, or what the problem tells: such a clause repeats, and says nothing of its own.
_REPORT = re.compile(
    r"\b(?:(?:the|this|your|our) (?:word |math |original )?(?:problem|question|text|story|hint|statement|prompt|"
    r"passage|exercise|task)(?: also| only| just| clearly)? (?:says?|said|states?|stated|tells?|told|gives?|gave|"
    r"mentions?|mentioned|asks?|asked|wants?|specifies)|according to (?:the|your|this|you)|(?:summary|recap) of|"
    r"as (?:stated|given|mentioned|described)|(?:in|from) (?:the|this|your) (?:problem|question|text|story|hint|"
    r"message|task|description|explanation)(?=,)|(?:we|i)(?: are| am| were| was| have been|['\u2019](?:re|m|"
    r"ve been)) (?:also )?(?:given|told)|(?:we|i) (?:already |also |only |just )?kn[eo]w(?! (?:that )?(?:it|"
    r"the (?:final )?(?:answer|total|result))\b)|you (?:already |just |also )?(?:said|say|told|mentioned|gave|wrote|"
    r"mean)|(?:it|they|[a-z]{3,12})(?: is| are|['\u2019]s) (?:given|stated|mentioned|known) (?:as|that|in|to be)|"
    r"(?:given|known|facts|givens|start|input|data)(?=\)?:)|so far (?:I|we) have|i understand that|(?:the )?given "
    r"(?:information|facts|"
    r"values|data)|the (?:known|given) (?:facts|values|quantities)|(?:let me|let['\u2019]s|i(?: will|['\u2019]ll)|"
    r"to) (?:first )?(?:restate|rephrase|repeat|recap|(?:go over|go through|list|review|write down) (?:the|"
    r"what) (?:facts|problem|information|givens|we know)|summari[sz]e)|there (?:are|"
    r"is) [a-z0-9,.]{1,12} [a-z]{2,12} in (?:a|an|each|every|one|1) (?:minute|hour|day|week|month|year|decade|century|"
    r"dozen|foot|yard|mile|pound|ton|gallon|quart|dollar|meter|kilometer|kilogram|liter))\b",
    re.IGNORECASE,
)
# What the speakers did on their way: its numbers are what they worked with.
_NARRATION = re.compile(
    r"\b(?:I|[Ww]e|[Yy]ou) (?:(?:just|first|also|had|only|then|mistakenly|accidentally|wrongly|should have|"
    r"should not have|shouldn['\u2019]t have|did not|didn['\u2019]t|have|forgot to) ){0,2}(?:used?|added?|"
    r"subtract(?:ed)?|multipl(?:y|ied)|divided?|doubled?|halved?|squared|rounded|converted|forgot(?:ten)?|missed|"
    r"ignored|overlooked|skipped|mixed|misread|miscounted|confused|wrote|put|had|took|tried|assumed|started|"
    r"includ(?:e|ed)|applied|plugged|substituted|left out)(?= )(?! (?:it|this|that|the answer|my answer) (?:is|as)\b)"
)
_NARRATION_ENDS = re.compile(
    r",? ?\b(?:and|to|which|so|but|that|this|then) (?:(?:I|we|now|then|it|that) ){0,2}(?:gets?|got|gives?|gave|found|"
    r"finds?|made|makes?|obtain(?:ed)?|is|leaves|left|comes?|came)\b",
    re.IGNORECASE,
)
# Each of these patterns needs one of its words, and most sentences have none: a set is far quicker than a pattern.
_WORDS = re.compile("[a-z]+")
_SUBORDINATE_WORDS = frozenset(
    _WORDS.findall(
        "because for since given seeing considering due thanks as if unless when whenever provided assuming whether "
        "although though who despite where which after before once until not longer instead rather opposed now"
    )
)
_REPORT_WORDS = frozenset(
    _WORDS.findall(
        "problem message description explanation summary recap question text story hint statement prompt passage "
        "exercise task according stated "
        "given mentioned described told know knew said say gave wrote mean known far understand information facts "
        "values data quantities restate rephrase repeat recap over through list review write summarize summarise there"
    )
)
_SPEAKERS = frozenset({"i", "we", "you"})
# Where a sentence goes on to say something behind a subordinate clause.
_TURN = re.compile(
    r"(?:[,\u2014]|(?<= )-) ?(?:and )?(?:so|but|then|therefore|thus|hence|now|it is|it['\u2019]s|leaving|making|giving|"
    r"which (?:means|gives|makes|leaves|equals))\b(?! not)|;|:(?= )| and (?:then|so|now|is|are|it)\b",
    re.IGNORECASE,
)
# A comma that ends the clause at the beginning of a sentence; not one of a list of numbers.
_CLAUSE_COMMA = re.compile(r"(?<![0-9]),(?= )|(?<=[0-9]),(?= [^0-9 ])|(?<=\w)(?= then\b)")
# "If you add them you get 60": the conclusion comes without a comma.
_WE_GET = re.compile(r"(?<= )(?:we|you|I) (?:get|have|obtain|find|end up)\b", re.IGNORECASE)
_COORDINATES = re.compile(r"(?:\A\W*|[;:.!]\W*|\b(?:and|but|so|then|thus|hence|therefore)[ ,]*)\Z", re.IGNORECASE)
_CALCULATION = re.compile(r"[0-9)%a-z] ?(?:[-+*/\u00d7\u00f7x]|\\times|\\cdot) ?[($]?[0-9][^=]{0,80}=", re.IGNORECASE)
_CALCULATED = re.compile(r"=|\b(?:is|are|was|were) [$]?[0-9]")
_RESULT = re.compile(r"[=\u2248]|\\boxed")
_TIME = re.compile(r"(?:after|before|until|once) [0-9]", re.IGNORECASE)
_UNREAL = re.compile(r"\w+ (?:it|that|this|(?:the|my|his|her) [a-z]{2,12}|[a-z]) were\b", re.IGNORECASE)
# "When I first tried it, I got 18", "If each box held 7 pens, 14 would be the answer"
_AT_FIRST = re.compile(r"when (?:I|we) (?:first|last) ", re.IGNORECASE)
_WOULD_ANSWER = re.compile(r"\bwould be (?:the|my|our) answer\b", re.IGNORECASE)
_OTHERWISE = re.compile(r"\b(?:otherwise|or else|if not)\b", re.IGNORECASE)
_WITH_AND_WITHOUT = re.compile(
    r"\b(?:if|unless|with|without) [^,;]{1,60}[0-9][^;]{0,20}[,;] (?:and |but |or )?(?:with|"
    r"without)\b[^0-9]{0,60}[0-9]|[0-9][^,;]{0,20}[,;] unless [^0-9]{1,60}\b(?:then|where|which)\b[^0-9]{0,30}[0-9]",
    re.IGNORECASE,
)
# "She has 3 packs, and each pack has 24 pens", "x is 3 and y is 5": these tell two things, and conclude nothing.
_CONCLUDES_NOTHING = (
    r"(?!.*(?:=|\\|\b(?:so|thus|hence|therefore|then|total|altogether|left|leaves|result|answer|get|now|makes?|it|"
    r"that['\u2019]s)\b))"
)
_BE = r"(?:is|are|was|were|has|have|had|costs?)"
_SEVERAL_FACTS = re.compile(
    rf"\A{_CONCLUDES_NOTHING}(?:[^,]{{0,80}}[0-9][^,]{{0,60}}, and (?!since|because|as\b|if\b|when)"
    rf"(?:[a-z]{{1,12}} ){{0,2}}?[A-Za-z]{{2,15}} "
    rf"(?:{_BE}|[a-z]{{2,12}}s) [^,]{{0,40}}[0-9][^,]{{0,40}}\Z|[^,]{{0,80}}\b{_BE} [^,]{{0,10}}[0-9][^,]{{0,30}} and "
    rf"(?:[A-Za-z']{{1,12}} ){{0,3}}?{_BE} [^,]{{0,20}}(?:[0-9]|\b(?:half|twice|double|triple) )[^,]{{0,40}}\Z)",
    re.IGNORECASE,
)
# "Each plant costs 2 euros, as you said": who said it comes last. "It is 18, as you said" agrees, and answers.
_SOURCE_LAST = re.compile(
    r",? (?:according to (?:the|this|your|you)|you (?:just |already )?(?:told|said|mentioned|wrote|gave)|as (?:(?:you|"
    r"the (?:problem|question|text|hint)|it) (?:[a-z]{2,8} )?(?:said|says?|told|stated|states?|mentioned|mentions|"
    r"wrote|gave)|stated|given|mentioned|described))\b[^0-9=]{0,40}\Z",
    re.IGNORECASE,
)
_AS_GIVEN = re.compile(
    r"\bif I (?:remember|recall|understood|read)\b[^0-9]*\Z|[^=](?:as (?:was |is )?|, (?:that|which|"
    r"this)(?:['\u2019]s| is| was) )(?:given|known|stated|mentioned|described|what (?:you|they|it|"
    r"the [a-z]{3,10}) (?:said|says?|told|wrote))\W*\Z",
    re.IGNORECASE,
)
_AGREES = re.compile(
    r"=|\b(?:it|it['\u2019]s|that|that['\u2019]s|so|answer|total|result|thus|hence|therefore|gets?|got)\b",
    re.IGNORECASE,
)
_VALUE = re.compile(r"[0-9][0-9.,]*")
_ONLY_NUMBER = re.compile(r"[-$]{0,2}[0-9][0-9.,]{0,20}")
_CASE = re.compile(r"\b(?:if|when|unless|assuming|otherwise|else)\b", re.IGNORECASE)
# A value for one case alone: "5, unless it is 6", "5 if n is even".
_ONE_CASE = re.compile(r"unless (?!I\b|we\b)|if [a-z] is [a-z]{3,12}\W*\Z", re.IGNORECASE)
WISHED = re.compile(
    r"\bif (?:you (?:want|wish|like|insist|prefer)(?=\W*,|\W*\Z)|(?:you|they|he|she|the [a-z]{3,12}|everybody|"
    r"everyone) (?:says?|thinks?|insists?) so\b)",
    re.IGNORECASE,
)
"""A condition of the talk: with "If you want, the answer is 5" a speaker does not say that it is so."""
_CONTRASTED = re.compile(
    rf"(?:not|no longer|instead of|rather than|as opposed to) (?:the )?{_SIGNED}[0-9.,]{{0,20}}"
    r"(?<![.,])(?:(?: [a-z]{2,15}){0,2},|,?)",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"[0-9]")
_ROLES: dict[str, Role] = {"reason": "reason", "condition": "condition", "aside": "aside", "report": "report"}
_ROLES |= {"contrast": "aside", "purpose": "aside", "narration": "narration"}


@dataclass(frozen=True)
class Clause:
    """A clause of a sentence.

    Attributes:
      text: the clause, with the signs behind it.
      role: whether it "says" something itself, gives a "reason" or a "condition", is an "aside", such as the
        circumstances, is a "report" of what is known or was said before, or the "narration" of a speaker's steps.
    """

    text: str
    role: Role


def clauses(sentence: str) -> list[Clause]:
    """The clauses of a sentence, in order; at most its last 600 characters are read."""
    sentence = sentence[-_READ_CHARACTERS:]
    openings = _openings(sentence)
    found: list[Clause] = []
    start = 0  # of what is in no clause so far
    for begin, role in sorted(openings)[:_MOST_CLAUSES]:
        if begin < start:
            continue
        before = sentence[start:begin]
        end = _clause_end(sentence, before, begin, role)
        if end is None:
            continue
        if before.strip():
            found.append(Clause(before, "says"))
        found.append(Clause(sentence[begin:end], _ROLES[role]))
        start = end
    return [*found, Clause(sentence[start:], "says")] if sentence[start:].strip() else found


def _openings(sentence: str) -> list[tuple[int, str]]:
    """Where a clause may begin that says nothing itself, with its role."""
    words = set(_WORDS.findall(sentence.lower()))
    found: list[tuple[int, str]] = []
    if not _SUBORDINATE_WORDS.isdisjoint(words) or sentence[:3].lower() in ("to ", "in "):
        found += [(word.start(), word.lastgroup or "report") for word in _SUBORDINATE.finditer(sentence)]
    if not _REPORT_WORDS.isdisjoint(words):
        found += [(head.start(), "report") for head in _REPORT.finditer(sentence)]
    if not _SPEAKERS.isdisjoint(words):
        found += [(head.start(), "narration") for head in _NARRATION.finditer(sentence)]
    return found


def _clause_end(sentence: str, before: str, begin: int, role: str) -> int | None:
    """Where a subordinate clause ends that begins behind the words `before`; None where it is none after all."""
    said = _NUMBER.search(before) is not None
    opens = _COORDINATES.search(before) is not None or (before.rstrip().endswith(",") and not said)
    turn = _TURN.search(sentence, begin + 1)
    if role == "report" and turn and turn[0] == ":":
        turn = _TURN.search(sentence, turn.end())  # "The given facts are: 5 rows"
    end = turn.start() if turn else len(sentence)
    if role == "report":
        # "We know that 3 * 4 = 12" works something out.
        return None if _CALCULATION.search(sentence, begin, end) else end
    if role == "narration":
        result = _NARRATION_ENDS.search(sentence, begin)
        end = min(end, result.start()) if result else end
        return None if _RESULT.search(sentence, begin, end) else end
    if role == "contrast":
        if opens:
            contrasted = _CONTRASTED.match(sentence, begin)
            return contrasted.end() if contrasted and contrasted.end() < len(sentence) else None
        return end if said else None
    if not opens:
        # "What he has after giving 3 away is 12 - 3 = 9": the subject is long, and what it says comes behind.
        long_subject = (_RESULT if said else _CALCULATED).search(sentence, begin, end) is not None
        timed = role in ("aside", "condition") and not sentence.startswith("where", begin)
        return None if timed and long_subject else end
    result = _WE_GET.search(sentence, begin) if role == "condition" else None
    if result and result.start() < end:
        return result.start()
    comma = _CLAUSE_COMMA.search(sentence, begin)
    if comma and comma.start() < end:
        return comma.end()
    # "Because 3 * 4 is 12." is no more than a reason; "When you add them you get 60." goes on without a comma.
    return end if turn or sentence.startswith(("because", "Because", "Given", "given"), begin) else None


def what_is_said(sentence: str, parts: list[Clause] | None = None) -> str:
    """A sentence without the clauses that only support it; "" where it says nothing, or one thing or another.

    Args:
      sentence: a sentence.
      parts: its clauses, if they are known.
    """
    parts = clauses(sentence) if parts is None else parts
    if cases_differ(sentence, parts):
        return ""
    if _AS_GIVEN.search(sentence):
        return ""
    if all(part.role == "says" for part in parts):
        return "" if " and " in sentence and _SEVERAL_FACTS.search(sentence) else sentence
    source = _SOURCE_LAST.search(sentence) if parts[-1].role in ("report", "reason") else None
    if source and not _AGREES.search(sentence, 0, source.start()):
        return ""
    if parts[-1].role == "report" and any(part.text.rstrip().endswith(" and") for part in parts):
        return ""  # "He has 12, and we know that she has 3" is still on its way
    unreal = [part for part in parts if part.role == "condition" and _UNREAL.match(part.text)]
    supposed = (
        " would" in sentence
        and "=" not in sentence
        and any(part.role == "condition" and re.search(r"\b(?:were|had)\b", part.text) for part in parts)
    )
    tells_old = any(part.role == "condition" and _AT_FIRST.match(part.text) for part in parts)
    wished = any(part.role == "condition" for part in parts) and (
        _WOULD_ANSWER.search(sentence) or (WISHED.search(sentence) and _NUMBER.search(sentence))
    )
    if unreal or supposed or tells_old or wished:
        return ""
    said = " ".join(part.text.strip() for part in parts if part.role == "says").strip(" ,")
    if not _NUMBER.search(said) and any(_TIME.match(part.text) for part in parts):
        return sentence  # "It is taller after 10 days" says when
    if _ONLY_NUMBER.fullmatch(said) and any(part.role == "report" for part in parts):
        return ""  # "12 eggs are mentioned in the text"
    return re.sub(r"^(?:but|and|which) ", "", said)


def cases_differ(sentence: str, parts: list[Clause] | None = None) -> bool:
    """Whether a sentence says one value under one condition and another otherwise: "5 if it rains, and 6 if not"."""
    if ("ith" in sentence or "nless" in sentence) and _WITH_AND_WITHOUT.search(sentence):
        return True
    parts = clauses(sentence) if parts is None else parts
    conditions = [part for part in parts if part.role == "condition"]
    if not conditions:
        return False
    if _OTHERWISE.search(sentence) and len(_VALUE.findall(sentence)) > 1:
        return True
    if any(_ONE_CASE.match(part.text) for part in conditions) and _VALUE.search(parts[0].text):
        return True
    said = sum(part.role == "says" and _NUMBER.search(part.text) is not None for part in parts)
    # "5 if it rains, and 6 if not" holds the other case within the condition.
    inner = any(len(_CASE.findall(part.text)) > 1 and _NUMBER.search(part.text) for part in conditions)
    return said > 0 and (inner or (said > 1 and len(_CASE.findall(sentence)) > 1))
