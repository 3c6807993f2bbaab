"""Tells what a sentence does with a value: states it, or only denies, doubts, asks, plans or remembers it."""

from __future__ import annotations

import re

SENTENCE_END = re.compile(r"[.!?;\u3002](?=[\s*\"')]|$)|\n")
"""The end of a sentence, without regard to mathematics."""
# What a sentence says of a value begins anew at these.
_CLAUSE = re.compile(
    r"[,;:\u2014](?!\d)|(?<!anything )(?<!nothing )\b(?:but|so|then|therefore|thus|hence|and|because|since|however|"
    r"now|instead|actually)\b",
    re.IGNORECASE,
)
# Before a value: it is denied, doubted, supposed, or was said earlier.
_UNSTATED = re.compile(
    r"\b(?:not|never|cannot|can ?not|no (?:way|chance|reason|longer)|nobody|no one|doubts?|doubtful|unsure|unlikely|"
    r"wrong|incorrect|false|"
    r"impossible|mistaken|mistakenly|incorrectly|wrongly|(?<!I )suppose|supposing|assume|assumes|assuming|imagine|"
    r"pretend|"
    r"if|whether|unless|wonder|wondering|maybe|perhaps|possibly|might|could|thought|said|guessed|claimed|believed|"
    r"wrote|told|assumed|asked|originally|initially|at first|formerly|refuse|disagree|you (?:say|think|mean|want|"
    r"tell)|(?:they|he|she|some|people|book|friend|teacher|key|hint|it) (?:[a-z]{2,6} )?(?:says?|claims?|thinks?|"
    r"believes?|suggests?)|why|neither|"
    r"hardly|previously|earlier|error|mistake|used to|anything but|nothing like|"
    r"other than|far from|between)\b|n't\b|n\u2019t\b",
    re.IGNORECASE,
)
_NO_DOUBT = re.compile(
    r"\b(?:no|not|without(?: a)?|n't) (?:doubt|wrong|mistake|error|only)s?\b|\bif I'm not wrong\b", re.IGNORECASE
)
# An answer by one of these names is not the one given now.
_OLD = re.compile(
    r"\b(?:old|older|previous|first|earlier|last|initial|original|former|prior|wrong|incorrect|mistaken|false|other|"
    r"current|above|before|earliest)[ *_]{1,4}(?:\w{1,20} )?$",
    re.IGNORECASE,
)
# Words with which a sentence turns from what was to what is.
_TURN = re.compile(r"\b(?:but|so|now|then|instead|actually|however|yet|though|thus|therefore)\b|;", re.IGNORECASE)
# Behind a value: it was an earlier one ("12 was my first answer", "12 before, but now").
_OLD_BEHIND = re.compile(
    r"(?:\s[a-z]{1,15}){0,2}?\s(?:was what (?:I|we|you)\b|(?:was|were|is|as|in|for)\s(?:my|the|our|your|"
    r"an?)\s(?:old|older|previous|first|"
    r"earlier|"
    r"initial|original|former|prior|last|wrong|incorrect)\b(?! (?:day|week|month|year|hour|time))"
    r"|(?:was|is)\sthe\sanswer\s(?:to|of|for)\s(?:the|a|an|my)\s(?:previous|last|first|other|earlier)"
    r"|(?:earlier|at first|initially|previously|originally|last time)(?=\W*$|\W? but\b|,)|before(?=,| but\b))",
    re.IGNORECASE,
)
_DISAGREES = re.compile(r"[^.]{0,30}, but I (?:disagree|doubt|do not|don)", re.IGNORECASE)
# Behind a value: it is denied after all.
_DENIED = re.compile(
    r"(?!\W{0,4}(?:because|since|as|so|if|when|where)\b)[\s,*]{0,4}(?:(?:\w{1,20}\s){0,2}?(?:which|that|this|it|"
    r"but it|and it)\s)?(?:\w{1,20}\s){0,2}?(?:"
    r"(?:is|was|are|were|be|seems?|looks?|turned out(?: to be)?|must be)\s(?:\w{1,12}\s)?(?:wrong|incorrect|false|"
    r"impossible|mistaken|not (?:right|correct|true|possible|it|the|my|our|your|an?|valid|what)|a mistake|an error|"
    r"too (?:high|low|big|small|large|much|many|few|little))|"
    r"(?:isn|wasn|aren)['\u2019]t (?:right|correct|true|possible|it|the|valid|what)|"
    r"(?:cannot|can not|can['\u2019]t|couldn['\u2019]t) be|(?:does not|doesn['\u2019]t) (?:work|make sense|fit|add up|"
    r"look|seem)|(?:could|might|may)(?: also| well)? be|(?:is|was|looks|seems) (?:confusing|unclear|strange|odd)|"
    r"(?:is|was|seems|"
    r"looks) [a-z]{2,12}, but (?:it is |it['\u2019]s |"
    r"is )?not)\b",
    re.IGNORECASE,
)
# Before a value that no word marks as the answer, "not" may belong to what is counted: "the eggs not eaten are 12".
_NOT_SAID = re.compile(
    r"(?:\b(?:is|are|was|were|it|equal|be|['\u2019]s)(?: not| never|n['\u2019]t)(?: (?:exactly|just|really|equal to|"
    r"going to be|simply|even))? ?[$]?$|"
    r"\b(?:not|cannot|can['\u2019]t|couldn['\u2019]t|won['\u2019]t|never) (?:be|equal)\b|(?:not|n['\u2019]t) (?:get|"
    r"see|understand|mean|recall|think|"
    r"believe|true|sure|certain|know|say|"
    r"correct|right|the case|agree)\b|\bno (?:way|chance|reason|longer|clue|idea)\b|\b(?:false|wrong|incorrect|"
    r"untrue) (?:that|"
    r"to)\b|\b(?:nobody|no one|doubt|doubts|unsure|unlikely|(?<!I )suppose|supposing|"
    r"assume|assuming|imagine|pretend|if|whether|unless|wonder|wondering|maybe|perhaps|possibly|thought|said|guessed|"
    r"claimed|wrote|previously|earlier|anything but|nothing like|other than|far from|used to|why|you (?:say|said|told|"
    r"mean|meant|wrote)|your hint|(?:problem|question) (?:says|said|tells|states|asks|wants|gives|mentions)|"
    r"wrong to|wrongly|mistakenly|"
    r"incorrectly|instead of|rather than|(?:could|might|may)(?: also)? be)\b)",
    re.IGNORECASE,
)
_TAG = re.compile(
    r",? *(?:\(|\b)(?:right|correct|yes|ok(?:ay)?|isn['\u2019]t it|is (?:it|that|this)(?: answer)? (?:right|correct|"
    r"ok)|am I"
    r"(?: right| correct)?|don['\u2019]t you (?:think|agree)|do you agree|what do you think)[ )]*$",
    re.IGNORECASE,
)
_WORK = (
    r"(?:add|subtract|multiply|divide|use|find|figure|calculate|compute|check|try|recalculate|redo|rework|solve|start|"
    r"look|"
    r"count|determine|take|plug|substitute|simplify|factor|compare|convert|set up|write|apply|consider|begin|review|"
    r"verify|correct|fix|double|halve|round|break|work|think about|focus|account|include|remember|know|be "
    r"careful|make sure|show|explain|see how|change|replace|remove)"
)
_ADVERB = r"(?: (?:I|we|not|never|now|also|then|just|first|next|only|again|still|instead|have to|need to)\b){0,3}"
_PLAN = re.compile(
    rf"(?:\b(?:I|we|you){_ADVERB} (?:will|shall|should|must|need to|have to|had to|am going to|are going to|want to|"
    rf"can|could|"
    r"would|may|plan to|try to)\b|\b(?:I|we|you)['\u2019](?:ll|d|m going to|re going to)\b|\b(?:let['\u2019]s|let us|"
    r"let me|forgot to|"
    rf"remember to|supposed to|(?:step|thing|plan|idea|goal) (?:is|was|would be)(?: to)?)\b|^\W{{0,3}}(?:next|first|"
    rf"then|"
    rf"now|second|finally)\b,?){_ADVERB} {_WORK}\b|"
    rf"(?:^|:)[^\w-]{{0,4}}(?:please |then |now |next |and ){{0,2}}{_WORK}\b|\b(?:would|might|may|could) (?:need|"
    rf"have|help|want) to\b|"
    rf"\b(?:I|we|you){_ADVERB} (?:add|subtract|multiply|divide|double|halve|plug|substitute|combine|replace)\b|"
    r"\bstep (?:is|was|would be) [a-z]{3,12}ing\b",
    re.IGNORECASE,
)
_RESULT = re.compile(
    r"[=\u2248]|\b(?:that|it)['\u2019]s\b|\b(?:gets?|gives?|equals?|makes?|obtain|is|are|"
    r"becomes?)\b(?=[^=]{0,200}[0-9])|:(?= ?\S)",
    re.IGNORECASE,
)
_CHANGES_ANSWER = re.compile(
    r"\b(?:chang|revis|correct|updat|switch)[a-z]{1,3} (?:my|the|our|this|"
    r"it)(?: [a-z]{1,12}){0,2} (?:from \S{1,20} )?to [-$]{0,2}[0-9]",
    re.IGNORECASE,
)
_MISHAP = re.compile(
    r"\b(?:should(?: not|n['\u2019]t)? have (?:us|add|subtract|multipli|divid|count|includ|taken|doubl|halv)|"
    r"wrong (?:number|value|operation)|I (?:did|had|have|should)(?: not|n['\u2019]t)\b|(?:wrong|mistaken) (?:with|"
    r"about|on|in|when|to)|left out|"
    r"leaving out|skipped|mistakes?|errors?|forgot|"
    r"forgotten|confused|misread|misunderstood|overlooked|wrongly|incorrectly|"
    r"(?:on|in|at|see) (?:line|step|part|problem|question|equation) [0-9])",
    re.IGNORECASE,
)
_REMARK = re.compile(
    r"(?:I|I['\u2019](?:m|ve|ll|d)|my|this|that|it|that['\u2019]s|it['\u2019]s|sorry|thanks?|great|good|nice|hope|"
    r"hopefully|let me know|"
    r"feel free|please let|if you|oh|ok|okay|done|yes|yay|you|you['\u2019]re|your|we|math|what a|fun|cool|awesome|"
    r"now it|it all|ask me|ask if|now I (?:see|understand|get it|know)|I understand|hooray|problem solved|best|"
    r"cheers|have a|simple|easy|"
    r"and that['\u2019]s|there you|here you|wow|all done)\b",
    re.IGNORECASE,
)
_PLEASANTRY = re.compile(
    r"(?:I )?(?:hope|let me know|feel free|if you|thanks?|thank you|good luck|correct me|tell me if|please (?:let|"
    r"tell|check|confirm|correct|"
    r"verify))\b(?! me (?:try|check))",
    re.IGNORECASE,
)
_LOST = re.compile(
    r"\b(?:don['\u2019]t|do not|not|no) (?:know|sure|understand|idea|certain|get it|see)|\bunsure\b|\bstuck\b|"
    r"\bconfused\b|"
    r"\bcan['\u2019]t\b|\bcannot\b|\bhelp me\b|\bneed (?:help|more|to)\b|\bgive up\b|\bno longer\b|\bimpossible\b|"
    r"\bnot (?:right|correct)\b",
    re.IGNORECASE,
)
# A sentence that takes back what stands before it: "That's wrong.", "That fails."
_TAKES_BACK = re.compile(
    r"\W{0,4}(?:(?:but|no|hmm|wait|oh|oops|sorry)\b[, ]{1,2}){0,2}(?:that|this|it|which|the answer|this answer|"
    r"that answer)(?:['\u2019]s| is| was| must be| seems| looks)? (?:(?:clearly|definitely|still|also|obviously|"
    r"certainly) )?"
    r"(?:wrong|incorrect|false|impossible|a mistake|not (?:right|correct|true|possible|it|what|valid)|fails?\b|"
    r"(?:does|is|can)(?: not|n['\u2019]t|not) (?:work|fit|make sense|right|correct|be|possible|add up))",
    re.IGNORECASE,
)
_UNSURE = re.compile(
    r"(?:but |though |although )?I(?:['\u2019]m| am) (?:still )?not (?:so |very |100% |completely |entirely |"
    r"quite )?(?:sure|"
    r"certain)(?: (?:about|of|if|whether|that) (?:this|that|it|my)\b.{0,40}| though| yet)*$",
    re.IGNORECASE,
)
# Questions about what was just said, and offers.
_ASKS_APPROVAL = re.compile(
    r"(?:so |and |but |now )?(?:(?:is|was|are|does|did|do|am|have|has) (?:this|that|it|my|the answer|the result|I|you|"
    r"these|there)\b|"
    r"what do you (?:think|say)|(?:right|correct|ok|okay|agreed?|good|yes|better)$|any (?:other |more |"
    r"further )?questions|"
    r"(?:can|could|would|will) you (?:please )?(?:check|confirm|verify|tell me (?:if|whether)|agree|like|let me know)|"
    r"how(?:'s| is| was| about) (?:that|this|it)$|how did I do|did I|would you like|isn['\u2019]t (?:it|that)|"
    r"any (?:feedback|thoughts|comments|advice)|makes? sense|what (?:is|was|did you get as) your (?:result|answer|"
    r"solution)|"
    r"do you|does (?:that|this|it)|shall (?:I|we)|what['\u2019]s next|what is next|are you|(?:what|anything)(?: else)? "
    r"(?:should|can|shall) (?:I|we) do next|(?:can|could|shall) (?:we|I) (?:do|try|have|get) (?:another|the next|more)|"
    r"how about you|what about you|what did you get|is there (?:another|a better|an easier) way)",
    re.IGNORECASE,
)
# A question about how a result was found, which leaves the result.
_ASKS_ABOUT_STEP = re.compile(
    r"(?:so |and |but )?(?:(?:was|is) it (?:right|ok|okay|correct|fine) (?:to|that)|did I|have I|was I (?:right|"
    r"wrong) to|"
    r"do you (?:agree|see)|did you)\b",
    re.IGNORECASE,
)
_TELLS = re.compile(r"\b(?:it|that|this)(?: is|['\u2019]s)(?: still| indeed)? [-$]{0,2}[0-9]", re.IGNORECASE)
_CHECK = re.compile(
    r"(?:\W{0,4})(?:(?:to|let me|let['\u2019]s|I|we|now|and|as a|a|quick)[ ,]{1,2}){0,3}(?:double-?|quick )?(?:check|"
    r"verif)",
    re.IGNORECASE,
)


def last_clause(text: str) -> str:
    """The last clause of what stands in front of a value in its sentence; at most 300 characters are looked at."""
    text = text[-300:]
    ends = [end.end() for end in SENTENCE_END.finditer(text)] + [end.end() for end in _CLAUSE.finditer(text)]
    return text[max(ends, default=0) :]


def after_turn(text: str) -> str:
    """What follows the last word with which a sentence turns to something new: "but", "so", "now"."""
    ends = [turn.end() for turn in _TURN.finditer(text[-300:])]
    return text[-300:][max(ends, default=0) :]


def unstated(before: str) -> bool:
    """Whether the words in front of a value deny, doubt or suppose it, or tell that it was said earlier."""
    clause = _NO_DOUBT.sub(" ", last_clause(before))
    return _UNSTATED.search(clause) is not None


def not_said(before: str) -> bool:
    """As `unstated`, for a value that no word marks as the answer."""
    return _NOT_SAID.search(_NO_DOUBT.sub(" ", last_clause(before))) is not None


def tells_old_answer(before: str) -> bool:
    """Whether the words in front of the word "answer" make it an earlier or a wrong one."""
    return _OLD.search(before[-60:]) is not None


def denied(behind: str) -> bool:
    """Whether the words behind a value take it back ("12, which is incorrect") or call it an earlier one."""
    behind = behind[:200]
    return any(pattern.match(behind) for pattern in (_DENIED, _OLD_BEHIND, _DISAGREES))


def without_tag(question: str) -> str | None:
    """A question without the tag that makes it a statement ("it is 18, right"); None where there is no tag."""
    tag = _TAG.search(question[-60:])
    return (
        question[: len(question[:-60]) + tag.start()]
        if tag and re.search(r"\w", question[:-60] + question[-60:][: tag.start()])
        else None
    )


def plans(sentence: str) -> bool:
    """Whether a sentence says what is to be done, without a result."""
    if _CHANGES_ANSWER.search(sentence):
        return False
    plans_found = list(_PLAN.finditer(sentence))
    return bool(plans_found) and not _RESULT.search(sentence, plans_found[-1].end())


def tells_mishap(sentence: str) -> bool:
    """Whether a sentence tells what went wrong earlier."""
    return _MISHAP.search(sentence) is not None


def is_check(sentence: str) -> bool:
    """Whether a sentence checks a result that was found before."""
    return _CHECK.match(sentence) is not None and not _TELLS.search(sentence)


def takes_back(sentence: str) -> bool:
    """Whether a sentence takes back what was stated before it: "That's wrong."."""
    return _TAKES_BACK.match(sentence) is not None


def tells_past_mishap(sentence: str) -> bool:
    """Whether a sentence tells what went wrong before, which leaves what was stated since: "I forgot the 24 before"."""
    return (
        tells_mishap(sentence)
        and re.search(
            r"\b(?:before|earlier|at first|previously|"
            r"last time)\W*$",
            sentence,
        )
        is not None
    )


def asks_about_step(question: str) -> bool:
    """Whether a question is about how a result was found: "Was it right to halve 48?"."""
    return _ASKS_ABOUT_STEP.match(question.strip(" \t\r\n*_\"'()")) is not None


def is_remark(sentence: str, end: str) -> bool:
    """Whether a sentence without a value leaves what was stated before it: thanks, an offer, "Is it right?"."""
    sentence = sentence.strip(" \t\r\n*_\"'()")
    if end == "?":
        return _ASKS_APPROVAL.match(sentence) is not None
    if not re.search("[A-Za-z]", sentence):
        return True
    if takes_back(sentence):
        return False
    if _PLEASANTRY.match(sentence) or _UNSURE.match(sentence):
        return True
    if re.search(r"\b(?:before|earlier|at first)$", sentence) and re.match(r"(?:I|my|that|it)\b", sentence, re.I):
        return True
    exclaims = len(sentence.split()) <= 3 or end == "!"
    return (exclaims or _REMARK.match(sentence) is not None) and not plans(sentence) and not _LOST.search(sentence)
