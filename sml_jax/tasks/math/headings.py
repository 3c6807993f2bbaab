"""Tells the heading "Answer:" over a worked solution from a sentence that states the answer."""

from __future__ import annotations

import re

from sml_jax.tasks.math.followers import is_check

# A list of steps, or a calculation that others follow.
STEPS = re.compile(
    r"\s*(?:\*\*)?(?:(?:\(?[1aA][.)]|[-\u2022*]|Step 1)\s+\S[^\n]*\n\s*(?:\*\*)?(?:\(?[2bB][.)]|[-\u2022*]|Step 2)\s|"
    r"1[.)] [A-Za-z][^\n]{0,300}[.;] 2[.)] )",
    re.IGNORECASE,
)
CALCULATION = re.compile(
    r"(?=[^=\n]{0,120}[0-9][^=\n]{0,40} ?(?:[-+*/x\u00d7\u00f7]|\\cdot|\\times) ?[^=\n]{0,40}[0-9])[^=\n]{1,200}="
)
# "15% of 80 is 12"
_SPOKEN = re.compile(
    r"\b[0-9][0-9.,]{0,12}%? (?:of|times|plus|minus|divided by|[-+*/]) [$]?[0-9.]{1,12} (?:is|are|makes?|"
    r"gives?) [$]?[0-9]"
)
_BEGINS_WORK = re.compile(r"(?:let|first|to|we|i|since|if|she|he|they|there)\b", re.IGNORECASE)
_SAYS = re.compile(
    r"=|\b(?:is|are|has|have|had|makes?|will|was|were|gets?|earns?|costs?|needs?|sells?|spends?|pays?|uses?)\b"
)
_LABELLED = re.compile(r"[-*\u2022]? ?\w[\w ]{1,40} ?[:=] ?\S[^\n]*")  # a line such as "Weeks: 4"
_COUNTS = re.compile(
    r"[0-9.,$]{1,20}(?: [a-z]{2,15}){1,3} (?:are|is|were|was|have|has|had|go|went|pays?|costs?|"
    r"makes?|gives?|gets?|needs?|eats?|sells?|buys?|takes?)\b"
)

# "5 rows", over other lines of the same kind.
_THINGS = re.compile(r"[0-9.,$]{1,20}(?: [a-z]{2,15}){1,3}")
_THINGS_BELOW = re.compile(r"\s*[0-9.,$]{1,20}(?: [a-z]{2,15}){1,4}\n")
# A line over a check of what was found: "**Verification of the answer:**".
_CHECKS = re.compile(
    r"\n[\s*#_]{0,8}(?:(?:let me|let['\u2019]s|to|quick) ){0,2}(?:(?:double-?)?check(?:ing)?|verif(?:y|ication)|proof|"
    r"test)\b"
    r"[^\n:]{0,40}:[*_ ]{0,4}\n",
    re.IGNORECASE,
)


def without_check(text: str) -> str:
    """A text without the part under the heading of a check, which tells nothing new."""
    heading = _CHECKS.search(text)
    return text[: heading.start()] if heading else text


def is_worked(answer: str, is_value: bool, rest: str) -> bool:
    """Whether the text under a heading is worked out: prose with numbers, or calculations one after another."""
    if not is_value:
        if answer.startswith("|"):
            return True  # a table
        if _LABELLED.match(answer) and _LABELLED.match(rest.lstrip()):
            return True
        if rest.strip() and _BEGINS_WORK.match(answer):
            return True
        prose = re.search(r"[0-9]", answer) and re.match(r"(?:[A-Za-z']{2,}[ ,]+[A-Za-z0-9']|An? [a-z]{2})", answer)
        return prose is not None and (rest.strip() != "" or _SAYS.search(answer) is not None)
    if _LABELLED.match(answer) and re.search("[A-Za-z]", answer) and _LABELLED.match(rest.lstrip()):
        return True
    if _THINGS.fullmatch(answer) and (_THINGS_BELOW.match(rest) or CALCULATION.match(rest.lstrip())):
        return True
    if _COUNTS.match(answer) and re.search(r"[0-9]", rest):
        return True
    if _SPOKEN.match(answer) and _SPOKEN.search(rest):
        return True
    if not CALCULATION.match(answer):
        return False
    if re.search(r"=[^=]*(?:[,;] | and | then |\n)[^=]*=", answer):
        return True
    return re.search(r"=\s*\$?[0-9]", rest) is not None and not is_check(rest.strip(" \n*_-.;"))
