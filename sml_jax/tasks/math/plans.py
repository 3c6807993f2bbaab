"""Tells whether a sentence says what is to be done, or what went wrong, instead of what is so."""

from __future__ import annotations

import re

from sml_jax.tasks.math.verbs import is_act

_WORK = (
    r"(?:add|subtract|multiply|divide|use|find(?! [$]?[0-9]{1,9}\b(?! ?%| percent))|figure|calculate|compute|check|"
    r"try|recalculate|redo|"
    r"rework|solve|start|look|count(?! on)|determine|take|plug|substitute|simplify|factor|compare|convert|set up|"
    r"write|apply|consider|begin|review|verify|correct|fix|double|halve|round|break|work|think about|focus|account|"
    r"include|remember|know|be careful|make sure|show|explain|see how|change|replace|remove)"
)
_ADVERB = r"(?: (?:I|we|not|never|now|also|then|just|first|next|only|again|still|instead|have to|need to)\b){0,3}"
_PLAN = re.compile(
    rf"(?:\b(?:I|we|you){_ADVERB} (?:will|shall|should|must|need to|have to|had to|am going to|are going to|want to|"
    rf"can|could|"
    r"would|may|plan to|try to)\b|\b(?:I|we|you)['\u2019](?:ll|d|m going to|re going to)\b|\b(?:let['\u2019]s|let us|"
    r"let me|forgot to|"
    rf"remember to|supposed to|(?:step|thing|plan|idea|goal) (?:is|was|would be)(?: to)?)\b|^\W{{0,3}}(?:next|first|"
    rf"then|now|second|finally)\b,?){_ADVERB} {_WORK}\b|(?:^|:)[^\w-]{{0,4}}(?:please |then |now |next |"
    rf"and ){{0,2}}{_WORK}\b|\b(?:would|might|may|could) (?:need|have|help|want) to\b|\b(?:I|we|you){_ADVERB} (?:add|"
    rf"subtract|multiply|divide|double|halve|plug|substitute|combine|replace)\b|"
    r"\bstep (?:is|was|would be) [a-z]{3,12}ing\b",
    re.IGNORECASE,
)
_SAYING = (
    r"(?:get|got|have|had|be|give|find|say|go|end|answer|conclude|see|obtain|arrive|choose|pick|stick|still|think|"
    r"believe|guess|estimate|expect|need|owe|submit|tell)\b"
)
_LIGHT_VERBS = {"have", "take", "make", "keep", "find", "count", "use", "read", "start", "finish", "solve"}
# What the speaker is going to do, whatever it is; not what the speaker is going to say or has.
_INTENDS = re.compile(
    rf"\b(?:(?:I|we|you)(?:{_ADVERB} (?:will|shall|should|must|can|could|need to|have to|am going to|are going to|"
    rf"want to|would like to|plan to|try to|have not|did not)|['\u2019](?:ll|m going to|re going to|d (?:like to|"
    rf"better|rather))){_ADVERB} (?!{_SAYING}(?: [a-z']{{1,12}}){{0,3}} ?[-$]{{0,2}}[0-9])([a-z]{{2,15}})\b|(?:let me|"
    rf"let['\u2019]s|let us) (?!(?:say|submit|go with|see|think)\b)[a-z]{{2,15}}\b|[a-z]{{3,12}} (?:is|"
    rf"was) to [a-z]{{3,15}}\b)",
    re.IGNORECASE,
)
_RESULT = re.compile(
    r"[=\u2248]|\bso [-$]{0,2}[0-9]|\b(?:that|it)['\u2019]s\b|[0-9] times\b(?! (?:the|as|[0-9]))|"
    r"\b(?:you|we|I)(?: will|['\u2019](?:ll|re)| are)? (?:see|have(?! to)|(?:be )?left with|end up|reach|"
    r"arrive)\b(?=.{0,80}[0-9])|"
    r"\b(?:gets?|gives?|equals?|makes?|leaves?|obtain|is|are|"
    r"becomes?)\b(?=[^=]{0,200}[0-9])|:(?=[^:]{0,80}[0-9])",
    re.IGNORECASE,
)
_QUESTION = re.compile(r"(?<![,;] )\b(?:how (?:much|many|long|far|old|often)|what|which)\b", re.IGNORECASE)
_CHANGES_ANSWER = re.compile(
    r"\b(?:replac|chang|switch)[a-z]{1,3} (?:from )?[$]?[0-9.]{1,12} (?:by|with|to|for|into) [$]?[0-9]|"
    r"\b(?:chang|revis|correct|updat|switch)[a-z]{0,3} (?:my|the|our|this|that|"
    r"it)(?: [a-z]{1,12}){0,2} (?:from \S{1,20} )?to [-$]{0,2}[0-9]",
    re.IGNORECASE,
)
_MISHAP = re.compile(
    r"\b(?:should(?: not|n['\u2019]t)? have (?:us|add|subtract|multipli|divid|count|includ|taken|doubl|halv)|"
    r"wrong (?:number|value|operation)|I (?:did|had|have|should)(?: not|n['\u2019]t)\b|(?:wrong|mistaken) (?:with|"
    r"about|on|in|when|to)|left out|leaving out|skipped|mistakes?|errors?|forgot|forgotten|confused|misread|"
    r"misunderstood|overlooked|wrongly|incorrectly|(?:on|in|at|see) (?:line|step|part|problem|question|"
    r"equation) [0-9])",
    re.IGNORECASE,
)


def plans(sentence: str) -> bool:
    """Whether a sentence says what is to be done, without a result."""
    if _CHANGES_ANSWER.search(sentence):
        return False
    ends = [plan.end() for plan in _PLAN.finditer(sentence)]
    # What the speaker is going to do is a plan, unless it is something that people of a problem do ("I will pay 5").
    ends += [plan.end() for plan in _INTENDS.finditer(sentence) if not is_act(plan[1] or "") or plan[1] in _LIGHT_VERBS]
    if not ends:
        return False
    # "We need to find how much it makes in 6 weeks": the question that is to be answered has no result.
    question = _QUESTION.search(sentence, max(ends)) if "=" not in sentence else None
    return _RESULT.search(sentence, max(ends), question.start() if question else len(sentence)) is None


def tells_mishap(sentence: str) -> bool:
    """Whether a sentence tells what went wrong earlier."""
    return _MISHAP.search(sentence) is not None


def tells_past_mishap(sentence: str) -> bool:
    """Whether a sentence tells what went wrong before, which leaves what was stated since: "I forgot the 24 before"."""
    return (
        tells_mishap(sentence)
        and re.search(
            r"\b(?:before|earlier|at first|previously|last time)\W*$",
            sentence,
        )
        is not None
    )


def begins_plan(sentence: str) -> bool:
    """Whether a sentence speaks of the next step anywhere, even if it has a result too."""
    return _PLAN.search(sentence) is not None
