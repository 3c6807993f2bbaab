"""Whether a number in a teacher's turn is a quantity that it states, or a label, an operand, a bound, a count."""

from __future__ import annotations

import re

from sml_jax.tasks.problems.numbers import Mention

_REACH = 48  # characters of context on either side
_LARGEST_SMALL = 10  # numbers up to it are also the furniture of any explanation

# A number after one of these words is a label.
_LABELLED = re.compile(
    r"\b(?:steps?|parts?|questions?|lines?|cases?|pages?|chapters?|sections?|examples?|exercises?|problems?|items?"
    r"|rows?|columns?|equations?|eqs?\.?|figures?|tables?|tests?|hints?|attempts?|turns?|rounds?|options?|choices?"
    r"|theorems?|lemmas?|no\.)\s*[#:(]?\s*(?:\d+\s*(?:,|and|or|to|-|&)\s*)*$|(?<!#)#\s*$",
    re.IGNORECASE,
)
_LIST_ITEM = re.compile(r"^[ \t>*-]*\(?\d{1,2}[.):]\s+\S", re.MULTILINE)
_LINE_START = re.compile(r"(?:^|\n)[ \t>*(-]*$")

# Things that are counted in talk and never what a problem asks for: "2 mistakes".
_TALK = re.compile(
    r"\s+(?:(?:more|other|small|little|further|different|big|main|remaining|minor)\s+)?(?:errors?|mistakes?|issues?"
    r"|problems?|bugs?|typos?|steps?|attempts?|tries|hints?|things?|guesses|chances|turns?|questions?|parts"
    r"|decimal|decimals|significant|pieces? of (?:information|advice))\b",
    re.IGNORECASE,
)
# Things that a problem may ask for: their count is talk unless the problem or the student named them.
_AMBIGUOUS = re.compile(
    r"\s+(?:(?:different|unknown|missing|given)\s+)?"
    r"(terms?|sides?|digits?|cases?|lines?|equations?|factors?|variables?|unknowns?|numbers?|sentences?|facts?|places?)\b",
    re.IGNORECASE,
)
# A bound: "less than 50".
_BOUND = re.compile(
    r"(?:\b(?:less|more|fewer|greater|smaller|larger|bigger|higher|lower)\s+than|\b(?:below|above|under|between|from)"
    r"|\bout\s+of|\bbetween\s+\S+\s+and|\bfrom\s+\S+\s+to)\s*$",
    re.IGNORECASE,
)
# An operand of a sum that the student is to do: "divide by 2", "2 times".
_OPERAND_BEFORE = re.compile(
    r"(?:[*/÷+]|\d\s?x|[\w)]\s+-|\b(?:by|times|mod|modulo|plus|minus|power|power of|base"
    r"|set\b[^.:,;\n]{0,16}(?:=|to|equal to)))\s*$",
    re.IGNORECASE,
)
_OPERAND_AFTER = re.compile(
    r"\s*[*/÷]|\s?x\s?\d|\s*\+\s*[\w(\\]|\s-\s[\d\w(]|\s+(?:times|plus|minus|to the)\b|-[a-z]", re.IGNORECASE
)
# Set phrases: "the two sides", "one of".
_POINTING = re.compile(
    r"\b(?:the|these|those|both|other|first|last|next|your|my|his|her|its|all|any|each|every|no|this|that|which|another)"
    r"\s+$",
    re.IGNORECASE,
)
_ONE_STATED = re.compile(
    r"(?:\b(?:is|are|be|equals?|equal to|gets?|gives?|say|answer|exactly|only|just|to)|[=:])\s+$", re.IGNORECASE
)
_ONE_OF = re.compile(
    r"\s+(?:of|more|way|thing|that|who|which|to|you|i|we|can|could|by|at|off|time|\w*er)\b", re.IGNORECASE
)
# "The probabilities sum to 1" says nothing of the problem.
_CONVENTION = re.compile(r"\b(?:sum|sums|add up|adds up|total) to\s*$", re.IGNORECASE)

# Words that say that the answer follows.
_ANNOUNCED = re.compile(
    r"(?:(?<!\byour)(?<!\bthat)\s(?:answer|result|solution)(?:\s+(?:is|should be|must be|has to be|equals)|:|\s*=)"
    r"|\byou (?:should|will|would|must)(?: have)? (?:get|got|find|found|obtain|obtained)|\bcomes (?:out )?(?:to|as))"
    r"(?:\s+(?:exactly|just|simply|indeed))?[\s*_({:]*$|####\s*$|\\boxed\s*\{\s*$",
    re.IGNORECASE,
)


def is_label(text: str, mention: Mention) -> bool:
    """Whether a number is only the name of something: "step 2", "equation (5)", the "3." of a numbered list.

    Args:
      text: a text that `plain_numbers` has rewritten.
      mention: a number in that text, from `mentions`.
    """
    before, after = around(text, mention)
    if _LABELLED.search(before):
        return True
    if after.startswith(") ") and "(" not in before:
        return True  # "1) do this 2) do that"
    # The number of a list's item stands at the start of a line; one with a full stop may also be a sentence.
    if not (_LINE_START.search(before) and re.match(r"[.):]\s+\S", after)):
        return False
    return after.startswith(")") or len(_LIST_ITEM.findall(text)) > 1


def is_stated(text: str, mention: Mention, public_text: str) -> bool:
    """Whether a number in a teacher's turn may be meant as the answer.

    Labels, bounds ("less than 50") and counts of the conversation ("2 mistakes") are not. Any other number above ten
    nearly always is. Whole numbers up to ten occur in every explanation, so they are not if they are operands ("divide
    by 2"), part of a set phrase ("the two sides", "one of"), or count "terms" or "digits" that nobody asked for.

    Args:
      text: the teacher's turn, rewritten by `plain_numbers`.
      mention: a number in that text, from `mentions`.
      public_text: the problem and the student's turns. If they name the counted thing ("terms"), its count may be the
        answer.
    """
    before, after = around(text, mention)
    if is_talk(text, mention, public_text) or is_bound(before):
        return False
    value = mention.values[0]
    if re.search(r"\bby\s*$", before, re.IGNORECASE) and value in (100, 1000):
        return False  # the conversion of units and percentages
    if not is_small(mention):
        return True
    # From here on the number is a whole one up to ten.
    if _OPERAND_BEFORE.search(before) or _OPERAND_AFTER.match(after) or points(before):
        return False
    if value == 1 and _CONVENTION.search(before):
        return False
    # The word "one" is mostly a pronoun.
    if mention.spelled and value == 1:
        return bool(_ONE_STATED.search(before)) and not _ONE_OF.match(after)
    return True


def is_talk(text: str, mention: Mention, public_text: str) -> bool:
    """Whether a number is a label ("step 2") or counts something in the conversation ("2 mistakes").

    A count of "terms", "digits" and the like is such a count only if `public_text` does not name these.

    Args:
      text, mention, public_text: see `is_stated`.
    """
    after = around(text, mention)[1]
    if is_label(text, mention) or _TALK.match(after):
        return True
    counted = _AMBIGUOUS.match(after) if is_small(mention) else None
    return counted is not None and counted[1].casefold().rstrip("s") not in public_text.casefold()


def is_bound(before: str) -> bool:
    """Whether the text `before` a number, from `around`, makes it a bound: "less than"."""
    return _BOUND.search(before) is not None


def points(before: str) -> bool:
    """Whether the text `before` a number, from `around`, ends with a word such as "the", "these" or "your"."""
    return _POINTING.search(before) is not None


def is_small(mention: Mention) -> bool:
    """Whether a number is a whole number from -10 to 10."""
    value = mention.values[0]
    return abs(value) <= _LARGEST_SMALL and value.denominator == 1


def is_announced(text: str, mention: Mention) -> bool:
    """Whether a text says explicitly that a number is the answer: "the answer is 5", "you should get 5".

    Args:
      text: a text that `plain_numbers` has rewritten.
      mention: a number in that text, from `mentions`.
    """
    return _ANNOUNCED.search(" " + around(text, mention)[0]) is not None


def around(text: str, mention: Mention) -> tuple[str, str]:
    """(text before a number, text after it), at most 48 characters each.

    Args:
      text: the text in which the number was found.
      mention: the number.
    """
    return text[max(0, mention.start - _REACH) : mention.start], text[mention.end : mention.end + _REACH]
