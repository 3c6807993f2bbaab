"""Sentences behind a stated value that leave it as it is: thanks, offers, checks, questions for approval."""

from __future__ import annotations

import re

from sml_jax.tasks.math.plans import begins_plan

_TAG = re.compile(
    r",? *(?:\(|\b)(?:[a-z]{2,6}n['\u2019]t (?:it|they|he|she|that|there|we|I)|right|correct|yes|ok(?:ay)?|"
    r"isn['\u2019]t it|is (?:it|that|this)(?: answer)? (?:right|correct|ok)|am I(?: right| correct)?|"
    r"don['\u2019]t you (?:think|agree)|do you agree|what do you think)[ )]*$",
    re.IGNORECASE,
)
_REMARK = re.compile(
    r"(?:I|I['\u2019](?:m|ve|ll|d)|my|this|that|it|that['\u2019]s|it['\u2019]s|sorry|thanks?|great|good|nice|hope|"
    r"hopefully|let me know|feel free|please let|if you|oh|ok|okay|done|ready|excellent|perfect|lovely|yes|yay|you|"
    r"you['\u2019]re|your|we|math|what a|fun|cool|awesome|now it|it all|ask me|ask if|now I (?:see|understand|get it|"
    r"know)|I understand|hooray|problem solved|best|cheers|have a|simple|easy|and that['\u2019]s|there you|here you|"
    r"wow|all done)\b",
    re.IGNORECASE,
)
_PLEASANTRY = re.compile(
    r"I can (?:explain|show|walk)|you(?: were| are|['\u2019]re) right (?:that|about|to)|(?:your|the) (?:hint|tip|"
    r"picture|advice|drawing)s? "
    r"(?:helped|"
    r"was|worked|made)|(?:drawing|making|using|doing) [^.,]{1,40} (?:helped|helps)|(?:I )?(?:hope|let me know|feel "
    r"free|if you|thanks?|thank you|good luck|correct me|tell me if|please (?:let|"
    r"double-check|look|tell|check|confirm|correct|verify))\b(?! me (?:try|check))",
    re.IGNORECASE,
)
_LOST = re.compile(
    r"\b(?:don['\u2019]t|do not|not|no) (?:know|sure|understand|idea|certain|get it|see)|\bunsure\b|\bstuck\b|"
    r"\bconfused\b|\bcan['\u2019]t\b|\bcannot\b|\bhelp me\b|\bneed (?:help|more|to)\b|\bgive up\b|\bno longer\b|"
    r"\bimpossible\b|\bnot (?:right|correct)\b",
    re.IGNORECASE,
)
# A sentence that takes back what stands before it: "That's wrong.", "That fails."
_TAKES_BACK = re.compile(
    r"\W{0,4}(?:(?:but|no|hmm|wait|oh|oops|sorry)\b[, ]{1,2}){0,2}(?:that|this|it|which|the answer|this answer|"
    r"that answer)(?:['\u2019]s| is| was| must be| seems| looks)? (?:(?:clearly|definitely|still|also|obviously|"
    r"certainly) )?(?:wrong|incorrect|false|impossible|a mistake|not (?:right|correct|true|possible|it|what|valid)|"
    r"fails?\b|(?:does|is|can)(?: not|n['\u2019]t|not) (?:work|fit|make sense|right|correct|be|possible|add up))",
    re.IGNORECASE,
)
_SCRAPS = re.compile(
    r"(?:(?:actually|wait|no|oh|oops|hmm|sorry)\b[, ]{1,2}){0,2}(?:scrap|scratch|strike|forget|ignore|disregard) "
    r"(?:that|it|"
    r"this|what I)\b|(?:just |only )?(?:kidding|joking)\b|not\b\W*(?:\n|\Z)",
    re.IGNORECASE,
)
# What a sentence about the talk itself speaks of.
_TALK = re.compile(r"\b(?:hints?|help|exercise|explanation|tips?|advice|patience|puzzle)\b", re.IGNORECASE)
_SHORT = 10  # words of a sentence that only rounds off
# What is still open: a sentence with one of these goes on to another result, or doubts the one before.
_OPEN = re.compile(
    r"\b(?:not|never|wrong|incorrect|unless|next|first|then|still|remaining|rest|missing|forgot|mistake|error|need|"
    r"should|must|but|however|or|maybe|perhaps|if|more|less|fewer|another|other|also|half|twice|double|each|every|"
    r"what|how|why|which)\b|n['\u2019]t\b",
    re.IGNORECASE,
)
_UNSURE = re.compile(
    r"(?:but |though |although )?I(?:['\u2019]m| am) (?:still )?not (?:so |very |100% |completely |entirely |"
    r"quite )?(?:sure|certain)(?: (?:about|of|if|whether|that) (?:this|that|it|my)\b.{0,40}| though| yet)*$",
    re.IGNORECASE,
)
# Questions about what was just said, and offers.
_ASKS_APPROVAL = re.compile(
    r"(?:so |and |but |now )?(?:(?:is|was|are|does|did|do|am|have|has) (?:this|that|it|my|the answer|the result|I|you|"
    r"these|there)\b|what do you (?:think|say)|(?:right|correct|ok|okay|agreed?|good|yes|better)$|any (?:other |more |"
    r"further )?questions|(?:can|could|would|will) you (?:please )?(?:check|confirm|verify|tell me (?:if|whether)|"
    r"agree|like|let me know)|how(?:'s| is| was| about) (?:that|this|it)$|how did I do|did I|would you like|"
    r"isn['\u2019]t (?:it|that)|any (?:feedback|thoughts|comments|advice)|makes? sense|what (?:is|was|"
    r"did you get as) your (?:result|answer|solution)|do you|(?:how )?does (?:that|this|it)|(?:on to|ready for) the "
    r"next|shall (?:I|we)|should I (?:show|round|"
    r"explain|write|go|continue|box|do)\b|(?:what|who)(?:['\u2019]s| is) (?:the )?next|anything else$|what else$|"
    r"(?:the )?next (?:question|one|problem)$|are you|what(?:['\u2019]s| is) wrong\b|where (?:did I|is (?:the|"
    r"my)) (?:go wrong|mistake|error)|(?:what|anything)(?: else)? (?:should|can|shall) (?:I|we) do next|(?:can|could|"
    r"shall) (?:we|I) (?:do|try|have|get) (?:another|the next|more)|how about you|what about you|what did you get|"
    r"is there (?:another|a better|an easier) way|(?:is|was|are|were|does|did) (?:the|"
    r"my) (?:[a-z]{2,12} ){0,3}?(?:steps?|answer|result|reasoning|work|working|approach|method|calculation|solution|"
    r"math|logic)\b)",
    re.IGNORECASE,
)
# A question of yes or no that is about the talk, not about the problem: "Can we go on?", not "Is the tank empty?".
_ASKS_ABOUT_TALK = re.compile(
    r"(?:so |and |but |now |ok(?:ay)? |or )?(?:is|was|are|were|does|did|do|am|have|has|can|could|would|will|shall|may|"
    r"should|must|isn['\u2019]t|don['\u2019]t|didn['\u2019]t|wasn['\u2019]t|can['\u2019]t) (?:you|I|we|it|this|that|"
    r"these|my|everything|anything|all|the (?:answer|result)|there (?:be|another|a|any|more|something|"
    r"anything))\b(?!.*\b(?:how|what|which|where|why|hint|clue|help|know|need|missing|mean|have to|supposed|add|"
    r"subtract|multiply|divide|use|count|round|find|calculate|convert|include|take|add|start|try again|assume)\b)",
    re.IGNORECASE,
)
# A question about how a result was found, which leaves the result.
_ASKS_ABOUT_STEP = re.compile(
    r"(?:so |and |but )?(?:(?:was|is) it (?:right|ok|okay|correct|fine) (?:to|that)|did I|have I|was I (?:right|"
    r"wrong) to|do you (?:agree|see)|did you)\b",
    re.IGNORECASE,
)
_TELLS = re.compile(
    r"\b(?:(?:it|that|this)(?: is|['\u2019]s)(?: still| indeed)?|gave|gives?|got|get|found|so (?:it|I|"
    r"we)\b.{0,30}) [-$]{0,2}[0-9]",
    re.IGNORECASE,
)
_CHECK = re.compile(
    r"(?:\W{0,4})(?:(?:to|let me|let['\u2019]s|I|we|now|and|as a|a|quick)[ ,]{1,2}){0,3}(?:(?:double-?|quick )?"
    r"(?:check|verif)|(?:plug|substitut|put)[a-z]{0,5} (?:(?:it|this|that|[a-z] ?= ?-?[0-9]{1,9}) )?back\b)",
    re.IGNORECASE,
)


def without_tag(question: str) -> str | None:
    """A question without the tag that makes it a statement ("it is 18, right"); None where there is no tag."""
    tag = _TAG.search(question[-60:])
    start = len(question[:-60]) + tag.start() if tag else question.rfind(", ")
    asked = question[start + 1 :].strip()
    # "I get 33, is this what you were looking for": the last clause asks whether the others are right.
    if start < 0 or not re.search(r"\w", question[:start]) or not (tag or _ASKS_APPROVAL.match(asked)):
        return None
    return question[:start]


def is_check(sentence: str) -> bool:
    """Whether a sentence checks a result that was found before."""
    return _CHECK.match(sentence) is not None and not _TELLS.search(sentence)


def is_pleasantry(sentence: str) -> bool:
    """Whether a sentence thanks, hopes or asks to look at what was said, whatever numbers it has."""
    return _PLEASANTRY.match(sentence) is not None


def takes_back(sentence: str) -> bool:
    """Whether a sentence takes back what was stated before it: "That's wrong."."""
    return _SCRAPS.match(sentence.strip(" *_")) is not None or _TAKES_BACK.match(sentence) is not None


def asks_about_step(question: str) -> bool:
    """Whether a question is about how a result was found: "Was it right to halve 48?"."""
    return _ASKS_ABOUT_STEP.match(question.strip(" \t\r\n*_\"'()")) is not None


def is_neutral(sentence: str, end: str) -> bool:
    """Whether a sentence without a value goes on about the problem and leaves a conclusion before it as it is."""
    return (
        end in (".", "!")
        and len(sentence.split()) <= _SHORT
        and not (takes_back(sentence) or begins_plan(sentence) or _LOST.search(sentence) or _OPEN.search(sentence))
    )


def is_remark(sentence: str, end: str) -> bool:
    """Whether a sentence without a value leaves what was stated before it: thanks, an offer, "Is it right?"."""
    sentence = sentence.strip(" \t\r\n*_\"'()")
    if end == "?":
        return (
            _ASKS_APPROVAL.match(sentence) is not None
            or _ASKS_ABOUT_TALK.match(sentence) is not None
            or _TAG.search(sentence[-60:]) is not None
        )
    if not re.search("[A-Za-z]", sentence):
        return True
    if takes_back(sentence):
        return False
    if _PLEASANTRY.match(sentence) or _UNSURE.match(sentence):
        return True
    if re.search(r"\b(?:before|earlier|at first)$", sentence) and re.match(r"(?:I|my|that|it|the)\b", sentence, re.I):
        return True
    if _TALK.search(sentence) and not (_OPEN.search(sentence) or _LOST.search(sentence) or begins_plan(sentence)):
        return True
    exclaims = len(sentence.split()) <= 3 or end == "!"
    return (
        (exclaims or _REMARK.match(sentence) is not None) and not begins_plan(sentence) and not _LOST.search(sentence)
    )
