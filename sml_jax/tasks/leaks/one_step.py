"""Whether a teacher's turn leaves the student one operation from the answer: "your answer is 6 too high"."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from sml_jax.tasks.leaks.context import around, is_announced, is_bound, is_label, is_small, is_talk, points
from sml_jax.tasks.leaks.detect import answer_values
from sml_jax.tasks.problems.numbers import Mention, mentions, plain_numbers
from sml_jax.tasks.problems.types import Problem, Turn

_MAX_MENTIONS = 200  # numbers of one turn that are looked at
_GAP = r"[^.!?:\d\n]{0,40}"  # words of the same sentence between an operation and its number
_ARTICLE = r"(?:(?:the|a|an|another|all|those|these|his|her|their|exactly|only|just|about)\s+){0,2}[€£(]?\s*$"
# Words between a number and what it is too much or too little of: "5 minutes longer", "6 of the eggs too many".
_UNITS = r"(?:\s*(?!(?:is|are|was|were|be|and|or|but|not|so|that|which|has|have|you|it)\b)[a-z%€£]{1,15}){0,3}?\s*"

# An operation that was left out may be of either kind.
_LEFT_OUT = r"(?:forg[eo]t\w*|le(?:ft|ave|aving) out|miss(?:ed|ing)?|omit\w*|ignor\w+|overlook\w*|account\w*)"
_PARTICIPLES = r"(?:missing|left out|forgotten|omitted|ignored|overlooked|accounted)"
_ADDITIVE_BEFORE = re.compile(
    rf"\b(?:add(?:s|ed|ing)?|subtract\w*|deduct\w*|remov\w+|tak(?:e|es|en|ing) (?:away|off|out)|includ\w+|differences?"
    rf"|{_LEFT_OUT})\b{_GAP}$"
    # "too high by 6", "it exceeds the right one by 6", "increase it by 6"
    r"|\b(?:off|wrong|out|short|over|under|too \w+|exceed\w*|differ\w*|increas\w+|decreas\w+|reduc\w+|rais\w+|lower\w*"
    rf"|up|down|ahead|behind)\b{_GAP}\bby {_ARTICLE}"
    rf"|\b(?:plus|minus|without|another|extra|additional) {_ARTICLE}"
    # "60 - 6", "x + 6", "your answer - 6"; a dash between words is none
    r"|(?:[\d)%]|\b[a-z]|\b(?:answer|result|total|sum|number|value)) ?[-+] ?$",
    re.IGNORECASE,
)
_ADDITIVE_AFTER = re.compile(
    rf"{_UNITS}\b(?:too [a-z]+|more|less|fewer|extra|off|short|over|under|above|below|beyond|away|missing|apart"
    r"|(?:long|short|high|low|great|larg|bigg|small|lat|earli|old|young|heavi|light|tall|wid|deep|farth|furth|fast|slow"
    r"|cheap|dear|warm|cold|hott|cool|clos)e?r)\b"
    rf"|(?! of\b){_GAP}\b(?:added|subtracted|removed|deducted|included|taken (?:away|off|out)|{_PARTICIPLES})\b"
    r"| ?[-+] ?[\d(]| (?:plus|minus)\b",
    re.IGNORECASE,
)
_MULTIPLICATIVE_BEFORE = re.compile(
    rf"\b(?:multipl\w+|divid\w+|split\w*|shar(?:ed?|ing)|scal(?:ed?|ing)|factors?|ratio|{_LEFT_OUT})\b{_GAP}$"
    rf"|\b(?:times|over|per) {_ARTICLE}"
    r"|(?:[\d)%]|\b[a-z]|\b(?:answer|result|total|sum|number|value)) ?[*/÷] ?$",
    re.IGNORECASE,
)
_MULTIPLICATIVE_AFTER = re.compile(
    rf" ?[*/÷]| ?x ?\d| (?:times|over)\b|[- ]?fold\b|(?! of\b){_GAP}\b(?:multiplied|divided|split|{_PARTICIPLES})\b"
    r"| of (?:your|that|this|what|it)\b",
    re.IGNORECASE,
)
_TAKEN_FROM = re.compile(rf"\b(?:subtract\w*|deduct\w*|tak(?:e|es|en|ing))\b{_GAP}\bfrom {_ARTICLE}", re.IGNORECASE)
# "You need 6 more" is said of the answer, also where the problem says "6 more" of something else.
_OF_THE_ANSWER = re.compile(
    r"\byou(?:r [a-z]+|.re)?(?: (?:are|were|is|was|needs?|needed|lacks?|should|must|be|still|exactly|just|only))* ?$",
    re.IGNORECASE,
)
_CLOCK = re.compile(r"\d:$")

# Words that hold an operation and its number: "twice as much", "half of that". What is done twice is no number.
_NUMBER_WORD = re.compile(
    r"(?P<done>\b(?:check|read|look|think|tr[iy]|work)\w*\b[^.!?\d\n]{0,20} (?=twice))?"
    r"\b(?:(?P<two>twice|doubl(?:ed?|ing)|hal(?:f|ved?|ving))"
    r"|(?P<three>thrice|tripl(?:ed?|ing)|a third)|(?P<four>quadrupl(?:ed?|ing)|a (?:quarter|fourth)))(?![-\w])"
    r"(?P<next> \w+(?: \w+)?)?",
    re.IGNORECASE,
)
_NO_OPERATION = re.compile(
    r" (?:check\w*|right|correct|wrong|done|way|there|an?|of the (?:way|work|problem))\b", re.IGNORECASE
)
_FACTORS = {"two": 2, "three": 3, "four": 4}


@dataclass(frozen=True)
class _Steps:
    """The numbers that lead from the student's latest number to the answer in one operation.

    Attributes:
      additive: to be added or subtracted, or to subtract from. multiplicative: to be multiplied or divided by, or to
        divide. percent: shares, as in 1/2 for 50 %, to be taken, added, taken off or undone.
      ratios: how many times the one is the other, both ways.
      from_percent: whether the student's number is a percentage, to which percentage points may be added.
    """

    additive: frozenset[Fraction]
    multiplicative: frozenset[Fraction]
    percent: frozenset[Fraction]
    ratios: frozenset[Fraction]
    from_percent: bool


@dataclass(frozen=True)
class _Public:
    """What the problem and the student have said: the text, its words in one spacing, and its numbers."""

    text: str
    words: str
    numbers: frozenset[Fraction]


def one_step(gold: str, teacher_utterance: str, statement: str, student_turns: Sequence[str]) -> bool:
    """Whether a teacher's turn leaves the student a single operation from its latest number to the answer.

    The operation is on the student's latest number and a number that the teacher says. It is +, -, * or /, in either
    order, or takes, adds, subtracts or undoes a percentage. The latest number is the answer of the student's latest
    turn with a number, or else the last number of that turn.

    A number of the teacher's that is new in the dialogue counts if it is above ten or no whole number. Small numbers,
    and those that the problem or the student has named, occur in every explanation. They count only if the teacher
    names an operation of the right kind with them ("subtract the 6", "6 too high", "60 - 6"), in words that are not a
    quotation of the problem. Words such as "twice" and "half" are operation and number at once. Labels ("part 2"),
    ordinals, times of day, bounds ("less than 6") and counts of the conversation ("2 mistakes") never count.

    Args:
      gold: the answer.
      teacher_utterance: what the teacher is about to say.
      statement: the problem's full statement.
      student_turns: the student's turns, in order.

    Returns:
      True if so. False if `gold` is no plain number, or if the student has given no number or the answer already. No
      text raises an error.
    """
    golds = answer_values(gold.rsplit("####", 1)[-1].strip())
    latest = _latest_number(student_turns)
    if not golds or latest is None or not golds.isdisjoint(latest.values):
        return False
    steps, public = _steps(latest, golds), _public(_plain("\n".join([statement, *student_turns])))
    text = _plain(teacher_utterance)
    numbers = mentions(text)[:_MAX_MENTIONS]
    return any(_leads_there(text, number, steps, public) for number in numbers) or _holds_number_word(
        text, steps, public
    )


def one_step_in_dialogue(problem: Problem, teacher_utterance: str, conversation: Sequence[Turn]) -> bool:
    """`one_step` for a problem and all turns of its dialogue so far, the problem's statement first."""
    statement = "\n".join([problem.question, *problem.shards])
    student_turns = [turn.text for turn in conversation if turn.role == "student"]
    return one_step(problem.answer, teacher_utterance, statement, student_turns)


def _latest_number(student_turns: Sequence[str]) -> Mention | None:
    for turn in reversed(student_turns):
        text = _plain(turn)
        stated = [mention for mention in mentions(text)[-_MAX_MENTIONS:] if not is_label(text, mention)]
        if stated:
            announced = [mention for mention in stated if is_announced(text, mention)]
            return (announced or stated)[-1]
    return None


def _steps(latest: Mention, golds: frozenset[Fraction]) -> _Steps:
    pairs = [(number, gold) for number in latest.values for gold in golds]
    ratios = {gold / number for number, gold in pairs if number} | {number / gold for number, gold in pairs if gold}
    ratios -= {Fraction(0)}
    additive = {value for number, gold in pairs for value in (gold - number, number - gold, gold + number)}
    multiplicative = ratios | {number * gold for number, gold in pairs}
    # A number that is the answer itself is the leak test's to find.
    return _Steps(
        additive=frozenset(additive - golds - {Fraction(0)}),
        multiplicative=frozenset(multiplicative - golds - {Fraction(0)}),
        percent=frozenset({share for ratio in ratios for share in (ratio, ratio - 1, 1 - ratio) if share > 0}),
        ratios=frozenset(ratios),
        from_percent=len(latest.values) > 1,
    )


def _public(text: str) -> _Public:
    """Of a text from `_plain`."""
    return _Public(text, _squeeze(text), frozenset(value for number in mentions(text) for value in number.values))


def _leads_there(text: str, mention: Mention, steps: _Steps, public: _Public) -> bool:
    """Whether a number of the teacher's turn is one of the steps, and is said as one."""
    # 1. The arithmetic, which hardly any number of a text passes.
    is_percent = len(mention.values) > 1
    share = is_percent and mention.values[1] in steps.percent
    values = set(mention.values) if steps.from_percent or not is_percent else set()
    additive = share or not values.isdisjoint(steps.additive)
    multiplicative = share or not values.isdisjoint(steps.multiplicative)
    if not (additive or multiplicative):
        return False
    # 2. What only looks like a quantity.
    before, after = around(text, mention)
    if is_talk(text, mention, public.text) or _CLOCK.search(before) or re.match(r":\d", after):
        return False
    if is_bound(before) and not _TAKEN_FROM.search(before):
        return False
    # 3. A new number speaks for itself.
    small = is_small(mention)
    if not small and public.numbers.isdisjoint(mention.values[:1]) and mention.values[0] != 100:
        return True
    # 4. Any other one needs its operation. In words, small numbers are also set phrases: "the two sides".
    if small and mention.spelled and points(before):
        return False
    told = text[mention.start : mention.end]
    if additive and told[0] in "+-":
        return True
    kinds = [(_ADDITIVE_BEFORE, _ADDITIVE_AFTER)] if additive else []
    kinds += [(_MULTIPLICATIVE_BEFORE, _MULTIPLICATIVE_AFTER)] if multiplicative else []
    phrases = [match[0] + told for lead, _ in kinds if (match := lead.search(before))]
    subject = _OF_THE_ANSWER.search(before)
    phrases += [f"{subject[0] if subject else ''}{told}{match[0]}" for _, f in kinds if (match := f.match(after))]
    return any(_squeeze(phrase) not in public.words for phrase in phrases)


def _holds_number_word(text: str, steps: _Steps, public: _Public) -> bool:
    """Whether the text says "twice", "half" or the like where that leads to the answer."""
    for match in _NUMBER_WORD.finditer(text):
        (factor,) = [factor for name, factor in _FACTORS.items() if match[name]]
        talk = match["done"] or _NO_OPERATION.match(match["next"] or "")
        if factor in steps.ratios and not talk and _squeeze(match[0]) not in public.words:
            return True
    return False


def _plain(text: str) -> str:
    """`plain_numbers` with one space where there were several, such as in place of a dollar sign."""
    return re.sub(" +", " ", plain_numbers(text))


def _squeeze(text: str) -> str:
    """No case, and one space between words."""
    return " ".join(text.casefold().split())
