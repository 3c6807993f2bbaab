"""Whether a student's turn offers several answers and settles on none, by rules on its wording."""

from __future__ import annotations

import re

from sml_jax.evaluate.label_text import FENCE, SENTENCE_END, without_runs

# An answer as it may be offered: a number, inline code, a number word.
_OFFERED = r"(?:[-$+\\]?\(?\d[\w.,/%^]*|`[^`\n]+`|one|two|three|four|five|six|seven|eight|nine|ten)"
_POSSIBLY = r"(?:(?:could|might|may)(?:\s+also)?\s+be|maybe|perhaps|possibly|probably|either)"
# Two answers side by side: "either 5 or 6", "maybe 5, or possibly 6", "5 or 6 depending on ...", "I cannot decide
# between 5 and 6".
_ALTERNATIVES = re.compile(
    rf"""(?<![a-z]\sis\s)(?<!=\s)\beither\s+(?:\w+\s+)?{_OFFERED}[^.?!\n]{{0,40}}?\bor\s+(?:\w+\s+)?{_OFFERED}
      | \b{_POSSIBLY}\s+{_OFFERED}[^!\n]{{0,60}}?\b(?:or|{_POSSIBLY})\s+(?:{_POSSIBLY}\s+)?{_OFFERED}
      | {_OFFERED}\s*,?\s+or\s+{_OFFERED}[^.?!\n]{{0,20}}\bdepending\s+on\b
      | \b(?:(?:two|three|several|multiple)\s+possible\s+(?:answers|results|values|solutions))\b
      | \bdepending\s+on\b[^.?!\n]{{1,60}}{_OFFERED},?\s+or\s+{_OFFERED}
      | {_OFFERED}(?:\s+[a-z]+)?\W+or\s+{_OFFERED}[^.?!\n]{{0,20}}\bif\b
      | {_OFFERED}\s+(?:\w+\s+)?if\b[^.?!\n]{{1,60}}?(?:\band|\bor|\bbut|[,;])\s+(?:\w+\s+)?{_OFFERED}\s+(?:\w+\s+)?if\b
      | \bwithout\s+(?:knowing|the|more)\b[^.?!\n]{{1,60}}:[^?!\n]{{0,40}}?
        {_OFFERED}\b[^?!\n]{{1,60}}?[,;][^?!\n]{{0,20}}?{_OFFERED}
      | \b(?:can't|cannot|can\s+not)\s+decide\b[^.?!\n]{{0,30}}{_OFFERED}\s+(?:and|or)\s+{_OFFERED}
      | \bi(?:'d|\s+would)?\s+(?:guess|say|think)\b[^.?!\n]{{0,30}}?{_OFFERED}\s+or\s+{_OFFERED}
      | {_OFFERED}\W+or\s+{_OFFERED}[^.?!\n]{{0,20}}\b(?:not\s+sure|unsure|don't\s+know|cannot\s+tell|can't\s+(?:tell
        |decide))
      | \b(?:it's|it\s+is|be|say|guess|somewhere)\s+(?:somewhere\s+)?between\s+{_OFFERED}\s+and\s+{_OFFERED}
      | \bif\b[^.?!\n]{{1,60}}?{_OFFERED}\s*[,;.]\s+(?:and\s+|but\s+|or\s+)?with(?:out)?\b[^.?!\n]{{1,40}}?{_OFFERED}
      | \bwith(?:out)?\b[^.?!\n]{{1,40}}?{_OFFERED}\W+(?:and\s+|but\s+)?with(?:out)?\b[^.?!\n]{{1,40}}?{_OFFERED}
      | \bif\b[^.?!\n]{{1,60}}?{_OFFERED}[^.?!\n]{{0,12}}\b(?:and|or)\s+{_OFFERED}\s+(?:\w+\s+)?(?:otherwise|if\s+not)\b
      | {_OFFERED}[^.?!\n]{{0,12}}\bif\b[^.?!\n]{{1,60}}?\b(?:otherwise|else|if\s+not)\b[^.?!\n]{{0,12}}{_OFFERED}
      | \bif\b[^.?!\n]{{1,60}}?{_OFFERED}(?:\s+\w+)?\W+(?:and\s+|but\s+|or\s+)?(?:otherwise|else|if\s+not)\b
        [^.?!\n]{{0,20}}{_OFFERED}
      | {_OFFERED}[^.?!\n]{{0,12}}\bwith(?:out)?\b[^.?!,;\n]{{1,40}}[,;]\s+(?:and\s+|but\s+|or\s+)?
        {_OFFERED}[^.?!\n]{{0,12}}\bwith(?:out)?\b
      | ^\W*(?:(?:it's|it\s+is|that's|i\s+get|i\s+got|so|then|(?:the|my)\s+(?:final\s+)?answer\s+is)\s+){{0,2}}
        {_OFFERED}(?:\s+\w+)?\s+or\s+{_OFFERED}(?:\s+\w+)?\W*$
      | \b(?:torn|hesitat\w+|undecided|waver\w*|choose|choosing)\s+between\s+{_OFFERED}
      | \bdepends\b[^.?!\n]{{1,60}}?{_OFFERED}[^.?!,;\n]{{1,30}}[,;]\s+(?:and\s+|or\s+|but\s+)?{_OFFERED}
      | ^\W*my\s+answer\s+is\s+{_OFFERED}\s+or\s+{_OFFERED}
    """,
    re.IGNORECASE | re.VERBOSE,
)
# The head of a condition or of a numbered case.
_BRANCH = re.compile(
    r"\bif\b|\bassuming\b|\bsuppos(?:e|ing)\b|\bin\s+case\b|\bunder\s+(?:interpretation|reading|assumption)\s+\w+"
    r"|(?:^|\n|[.;:])\W*(?:case|scenario|option|version|interpretation|alternative)\s+\w{1,2}\b",
    re.IGNORECASE,
)
# In a narrative these are no conditions; where the writer is unsure they are.
_WEAK_BRANCH = re.compile(rf"{_BRANCH.pattern}|\bfor\s+an?\b|\bwhen\b|\bat\s+\$?(?=\d)", re.IGNORECASE)
_UNSURE = re.compile(r"\b(?:would|depend\w*|could|might|only say|not sure|unsure|unclear|unknown)\b", re.IGNORECASE)
_BRANCH_REACH = 160  # characters after a condition's head within which its answer must stand
# Program text without a fence; its conditions are no hedge.
_CODE_LINE = re.compile(
    r"^\s*(?:(?:def|if|elif|else|for|while|class|try|with)\b.*:\s*(?:\S.*)?|\s+return\b.*)$|^return\b.*$", re.MULTILINE
)
# "5 if ..., 6 otherwise".
_OTHERWISE = re.compile(
    rf"{_OFFERED}[^.?!\n]{{1,40}}\bif\b[^.?!\n]{{1,60}}{_OFFERED}[^.?!\n]{{0,6}}\botherwise\b", re.IGNORECASE
)
_HAS_OFFERED = re.compile(_OFFERED, re.IGNORECASE)
# What stands between a condition and its answer.
_CONSEQUENCE = re.compile(
    r"\b(?:then|total|answer|result|gives?|get|would|will|earns?|costs?|price|use|pays?|is|it's|that's|could)\b|"
    r"[,:]\s|=",
    re.IGNORECASE,
)
# Words that announce the one answer.
_COMMITS = re.compile(
    r"\\boxed|####|\bfinal answer\b|\b(?:the|my) (?:answer|result|total) (?:is|must be|should be)\b"
    r"|\bi(?:'ll| will) (?:go with|say|take)\b"
    r"|\bi (?:choose|pick)\b|\b(?:therefore|hence|thus|in total|altogether)\b",
    re.IGNORECASE,
)
# Words that make an announced answer conditional after all.
_CONDITIONAL = re.compile(
    r"\b(?:if|either|depend\w*|could|might|may|maybe|perhaps|possibl[ey]|assuming|suppose|otherwise|case|scenario|"
    r"interpretation|assumption|option|version|or)\b",
    re.IGNORECASE,
)


def hedges(text: str) -> bool:
    """Whether a student's turn hedges: offers several answers, or answers on conditions, and does not choose.

    "Either 5 or 6" hedges, and so does "if the rate is 5 then 10, if it is 6 then 12". A derivation by cases that ends
    in one answer does not, nor do the two roots of an equation ("x = 2 or x = -3").
    """
    # Only prose is read: a program's branches are part of one answer. Runs that no text has are cut, since the patterns
    # take time in the square of such a run.
    prose = without_runs(FENCE.sub(" `code` ", text))
    if "\n" in prose:
        prose = without_runs(_CODE_LINE.sub("", prose))  # taking lines out leaves a run of line ends
    # Who announces an answer without conditions has settled.
    if any(_COMMITS.search(line) and not _CONDITIONAL.search(line) for line in SENTENCE_END.split(prose)):
        return False
    if _ALTERNATIVES.search(prose) or _OTHERWISE.search(prose):
        return True
    # Otherwise two conditions, each with an answer of its own, are a hedge.
    branch_heads = list((_WEAK_BRANCH if _UNSURE.search(prose) else _BRANCH).finditer(prose))
    branch_ends = [head.start() for head in branch_heads[1:]] + [len(prose)]
    branches = [
        prose[head.end() : min(end, head.end() + _BRANCH_REACH)]
        for head, end in zip(branch_heads, branch_ends, strict=False)
    ]
    return sum(bool(_HAS_OFFERED.search(branch) and _CONSEQUENCE.search(branch)) for branch in branches) >= 2
