"""Tells whether the words around a value deny it, doubt it, or make it an earlier one."""

from __future__ import annotations

import re

SENTENCE_END = re.compile(r"[.!?;\u3002](?=[\s*\"')]|$)|\n")
"""The end of a sentence, without regard to mathematics."""
VAGUE = r"or so\b(?! (?:I|we|it)\b)|or thereabouts\b|plus or minus\b|give or take\b"
"""Words behind a number, as a pattern, that leave open which number it is."""
OLD = re.compile(
    r"\b(?:old|previous|first|earlier|last|initial|original|former|wrong|incorrect)\b[^.,]{0,30}?\b(?:answer|result|"
    r"try|attempt|guess|solution|calculation)\b|\b(?:I (?:said|wrote|thought|guessed|had said|put)|when I first|"
    r"earlier|previously|"
    r"before I|had been|used to be)\b",
    re.IGNORECASE,
)
"""Words of a sentence without the word "answer" that tell an earlier value."""
# What a sentence says of a value begins anew at these.
_CLAUSE = re.compile(
    r"[,;:\u2014](?!\d)|(?<!anything )(?<!nothing )\b(?:but|(?<!not )(?<!n't )so|then|therefore|thus|hence|and|"
    r"because|since|however|"
    r"now|instead|actually)\b",
    re.IGNORECASE,
)
# Before a value: it is denied, doubted, supposed, or was said earlier.
_UNSTATED = re.compile(
    r"\b(?:not|never|cannot|can ?not|no (?:way|chance|reason|longer)|nobody|no one|doubts?|doubtful|unsure|unlikely|"
    r"wrong|incorrect|false|impossible|(?:possible|conceivable|plausible) that|mistaken|mistakenly|incorrectly|"
    r"wrongly|(?<!I )suppose|supposing|assume|"
    r"assumes|assuming|imagine|pretend|if|whether|unless|wonder|wondering|maybe|perhaps|possibly|might|could|"
    r"(?<!second )thought|"
    r"said|guessed|claimed|believed|wrote|told|assumed|asked|originally|initially|at first|formerly|refuse|disagree|"
    r"you (?:say|think|mean|want|tell)|(?:they|he|she|some|people|book|friend|teacher|key|hint|"
    r"it) (?:[a-z]{2,6} )?(?:says?|claims?|thinks?|believes?|suggests?)|(?:says|claims|insists|swears)|why|neither|"
    r"hardly|previously|earlier|error|mistake|used to|anything but|nothing like|other than|far from|between)\b|n't\b|"
    r"n\u2019t\b",
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
_TURN = re.compile(
    r"\b(?:but|so|now|then|instead|actually|however|yet|though|thus|therefore|this time|(?:the|my) (?:second|new|next|"
    r"latest|current|final))\b|;",
    re.IGNORECASE,
)
# Behind a value: it was an earlier one ("12 was my first answer", "12 before, but now").
_OLD_BEHIND = re.compile(
    r"(?:\s[a-z]{1,15}){0,2}?\s(?:was what (?:I|we|you)\b|was\s(?:my|our|your)\s(?:answer|"
    r"result|guess|solution|response)\b|(?:was|were|is|as)\s(?:my|the|our|your|an?)\s(?:old|"
    r"older|previous|first|earlier|initial|original|former|prior|last|wrong|incorrect)\b(?! (?:day|week|month|year|"
    r"hour|time))|(?:in|for)\s(?:my|the|our|your)\s(?:old|older|previous|first|earlier|initial|original|former|prior|"
    r"last|"
    r"wrong)\s(?:answer|result|guess|solution|response|try|attempt|version|message|reply|one)\b|(?:was|"
    r"is)\sthe\sanswer\s(?:to|of|for)\s(?:the|a|an|my)\s(?:previous|last|first|other|earlier)|"
    r"(?:earlier|at first|initially|previously|originally|last time)(?=\W*$|\W? but\b|,)|before(?=,| but\b))",
    re.IGNORECASE,
)
_DISAGREES = re.compile(
    r"[^.]{0,40},? but (?:I (?:disagree|doubt|do not|don)|(?:something|it|that|this) (?:seems|looks|feels|sounds|is|"
    r"must be) "
    r"(?:off|wrong|strange|weird|odd|fishy|too)\b|(?:that|this|it)(?:['\u2019]s| is| was)? ?(?:isn|wasn|not|"
    r"wrong|incorrect|false|too|a mistake|a trap|nonsense|not)\b)",
    re.IGNORECASE,
)
# Behind a value: it is denied after all.
_DENIED = re.compile(
    r"(?!\W{0,4}(?:because|since|as|so|if|when|where)\b|, (?:the|my) (?!answer|result|number|value|total|first|last)"
    r"[a-z]{3,15} (?:was|were)\b)[\s,*]{0,4}(?:(?:[A-Za-z]{1,20},?\s){0,2}?(?:which|that|this|"
    r"it|but it|and it)\s)?(?:[A-Za-z]{1,20}\s){0,2}?(?:(?:that|it|this|which)['\u2019]s (?:[a-z]{2,12} )?(?:wrong|"
    r"incorrect|false|impossible|a mistake|not|too)|(?:is|was|are|were|be|seems?|looks?|turned out(?: to be)?|"
    r"must be)\s(?:\w{1,12}\s)?(?:wrong|incorrect|false|impossible|mistaken|not (?:right|correct|true|possible|it|the|"
    r"my|our|your|an?|valid|what)|a mistake|an error|too [a-z]+)|(?:isn|wasn|aren)['\u2019]t (?:right|correct|true|"
    r"possible|it|the|valid|what)|(?:cannot|can not|can['\u2019]t|couldn['\u2019]t)(?: [a-z]{4,12})? be|it (?:isn|ain|"
    r"wasn)['\u2019]t|"
    r"(?:does not|doesn['\u2019]t) (?:work|make sense|fit|add up|look|seem)|makes? no sense|(?:could|might|"
    r"may)(?: also| well)? be|(?:is|was|looks|seems) (?:confusing|unclear|strange|odd)|(?:is|was|seems|"
    r"looks) [a-z]{2,12}, but (?:it is |it['\u2019]s |is )?not)\b",
    re.IGNORECASE,
)
# Behind a value: it is a bound, or one value of many.
_VAGUE = re.compile(
    rf"(?: [a-z]{{2,12}}){{0,2}}? (?:{VAGUE}|and (?:up|above|over|beyond|counting)(?=\W*$))|"
    r",? said (?:nobody|no one)\b|,? only (?:if|when)\b|"
    r"\W{1,4}(?:not\W*$|just kidding\b)",
    re.IGNORECASE,
)
# Before a value that no word marks as the answer, "not" may belong to what is counted: "the eggs not eaten are 12".
_NOT_SAID = re.compile(
    r"(?:\bso far\b|\bstuck\b|\bimpossible to\b|(?<!calculation )(?<!calculator )(?<!math )\b(?:says|claims|thinks|"
    r"believes|suggests)\b|\b(?:do|does|did|has|have|had|could|would)(?:n['\u2019]t| not)\b(?![^=]{0,200}\b(?:is|are|"
    r"was|were|makes?|leaves?|equals?|total)\b)|\b(?:I|we|you|it|this|that) ?(?:do|does|did|ca|could|wo|would|should|"
    r"is|was|have|had|can)?(?:n['\u2019]t|not| not)\b|\b(?:is|are|was|were|it|equal|be|['\u2019]s)(?: not| never|"
    r"n['\u2019]t)(?: (?:exactly|just|really|equal to|going to be|simply|even))? ?[$]?$|\b(?:cannot|(?:can|won|couldn|"
    r"shouldn)['\u2019]t) [a-z]|\bnot (?:be|equal)\b|\bnever\b|\b(?:under|by|at|in) no [a-z]|(?:not|"
    r"n['\u2019]t) (?:so |really |quite |entirely |too |that )?(?:get|see|understand|mean|recall|think|believe|true|"
    r"sure|certain|know|say|correct|right|the case|"
    r"agree|[a-z]{3,12} (?:that|it is|it['\u2019]s|how|whether))\b|\bno (?:way|chance|reason|longer|clue|idea)\b|"
    r"\bfail(?:s|ed)? to \b|\b(?:false|wrong|incorrect|untrue) (?:that|to)\b|\b(?:nobody|no one|doubt|doubts|unsure|"
    r"unlikely|(?<!I )suppose|supposing|assume|assuming|imagine|pretend|if|whether|unless|wonder|wondering|maybe|"
    r"perhaps|possibly|(?:(?<!second )thought|said|guessed|claimed|wrote)(?! (?:is|are|was|were)\b)|previously|earlier|"
    r"anything but|nothing like|other than|far from|used to|why|you (?:say|said|told|mean|meant|wrote)|(?:want|"
    r"expect)(?:s|ed)? (?:me |us )?to (?:hear|say|get)|your hint(?! (?:I|we)\b)|(?:problem|question) (?:says|said|"
    r"tells|states|asks|wants|gives|mentions)|wrong to|wrongly|mistakenly|incorrectly|instead of|rather than|(?:could|"
    r"might|may)(?: also)? be)\b)",
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


def is_quoted(before: str, behind: str) -> bool:
    """Whether a value ends a sentence that is only quoted: '"The answer is 5" would be a lie'."""
    return "answer" in before and before[-1:] not in '"\u201c' and re.match(r"[\"\u201d],? [a-z]", behind) is not None


def denied(behind: str) -> bool:
    """Whether the words behind a value take it back ("12, which is incorrect") or call it an earlier one."""
    behind = behind[:200]
    return any(pattern.match(behind) for pattern in (_DENIED, _OLD_BEHIND, _DISAGREES, _VAGUE))
