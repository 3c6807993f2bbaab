r"""Finds the boxes of a text: `\boxed{..}`, `\fbox{..}` and their forms without braces."""

from __future__ import annotations

import re
from collections.abc import Iterator

from sml_jax.tasks.math.followers import takes_back
from sml_jax.tasks.math.sentences import denied, last_clause, tells_old_answer

_BOX = re.compile(r"\\(?:boxed|fbox|framebox)\s*(?:\{|(?=[^\s{]))|(?<![\\A-Za-z])boxed\{")
# What stands in a box without braces: a command with its arguments, or one word.
_WITHOUT_BRACES = re.compile(r"\\[A-Za-z]{1,20}(?:\s?\{[^{}]{0,200}\}|[0-9]){0,2}|[^\s$.,}\\]+")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_JOINED = re.compile(  # possessive: white space fits in many places, and all of them would be tried
    r"[\s$,;.]*+(?:\\\)|\\\]|\\text\{)*+[\s,;$]*+(?:and|or)?[\s}$,;]*+(?:\\\(|\\\[)?[\s$]*+(?:[a-z]\s*+=\s*+)?",
    re.IGNORECASE,
)
_NOT_A_VALUE = re.compile(
    r"(?:\\text\s?\{)?\s*(?:(?:final |your |the )?answer(?: here)?|\.{3}|\\[lc]?dots|\?+)\s*\}?\s*$", re.I
)
# Another candidate right behind the box.
_HEDGED = re.compile(
    r"[\s$*.)\]\\]{0,9},? ?or (?:maybe |perhaps |possibly |even )?[-$\\]{0,3}\(?[0-9A-J]\S{0,40}", re.I
)

# Within a box, behind its value: "6 (maybe)", "6 is wrong".
_UNSURE_WITHIN = re.compile(r"[0-9].*\b(?:maybe|perhaps|possibly|wrong|incorrect|unsure)\b", re.IGNORECASE)
_SHORT = 5  # words of a sentence that takes a box back, and not something else behind it
_EXAMPLE = re.compile(
    r"(?:\A,? ?|\b)for (?:example|instance)\Z|\A,? ?(?:for (?:example|instance)|as an example)\b", re.IGNORECASE
)

# In front of a box: what it holds is not so, or was an earlier answer.
_DENIES_NEXT = re.compile(
    r"(?:\b(?:is|are|was|be|it|answer)(?: not|n['\u2019]t)|\b(?:cannot|can['\u2019]t|couldn['\u2019]t|never|may|"
    r"might|could)(?: (?:very |just )?(?:well|also|possibly))? be|"
    r"\bnever (?:say|write|claim|accept)|\bnot)"
    r"(?: (?:equal to|exactly|just|simply))?:?$",
    re.IGNORECASE,
)
_NAMES_ANSWER = re.compile(
    r"(?:answer|result|solution)s?(?: (?:was|is|were|of|had been|came out as))?:?$", re.IGNORECASE
)

Box = tuple[int, int, str]
"""Start, end and content of a box."""


def complete_boxes(text: str, most: int = 20) -> list[Box]:
    """The last complete boxes that hold something, in order.

    A box that the end of the text cuts off may have meant any value: it takes away the boxes before it.
    """
    boxes: list[Box] = []
    if "\\" not in text and "boxed{" not in text:
        return boxes
    for box in list(_BOX.finditer(text))[-most:]:
        if not box[0].endswith("{"):
            bare = _WITHOUT_BRACES.match(text, box.end())
            if bare:
                boxes.append((box.start(), bare.end(), bare[0]))
            continue
        # The brace that closes the box.
        depth, end = 1, 0
        for brace_or_escape in _BRACE.finditer(text, box.end()):
            depth += {"{": 1, "}": -1}.get(brace_or_escape[0], 0)
            if depth == 0:
                end = brace_or_escape.start()
                break
        if end:
            boxes.append((box.start(), end + 1, text[box.end() : end]))
        elif re.match(r"\s*(?:[\w\\$({-]|$)", text[box.end() :]):
            boxes.clear()
    return list(_outer(boxes))


def boxed_answer(text: str) -> tuple[int, str] | None:
    r"""Place and content of the last box, with the ones that lead up to it: `\boxed{2} and \boxed{3}` is "2, 3"."""
    boxes = [box for box in complete_boxes(text) if not _is_denied(text, box)]
    if not boxes:
        return None
    parts, start = [boxes[-1][2]], boxes[-1][0]
    for begin, end, content in reversed(boxes[:-1]):
        between = text[end:start]
        if not _JOINED.fullmatch(between) or "\n\n" in between:
            break
        if content != parts[0]:
            parts.insert(0, content)
        start = begin
    hedge = _HEDGED.match(text, boxes[-1][1])
    return boxes[-1][0], ", ".join(parts) + (hedge[0] if hedge else "")


def _is_denied(text: str, box: Box) -> bool:
    r"""Whether the words beside a box deny it, or say that it holds an earlier answer: "It is not `\boxed{12}`"."""
    before = last_clause(text[max(0, box[0] - 300) : box[0]]).rstrip(" $([*_\\")
    if _DENIES_NEXT.search(before):
        return True
    asked = re.match(r"[\s$)\]*\\]{0,8}\?", text[box[1] : box[1] + 20])
    if asked and re.match(r"\W*(?:is|was|could|would|does|should|can|might)\b", before, re.IGNORECASE):
        return True
    if re.match(
        r"[\s$)\]*\\]{0,8}(?:\?\s*(?:no|not|nope|hmm|wait|wrong)|\(?(?:wrong|incorrect))\b",
        text[box[1] : box[1] + 30],
        re.IGNORECASE,
    ):
        return True
    behind = text[box[1] : box[1] + 200].lstrip(" $)]*\\.")
    leads_in = text[max(0, box[0] - 30) : box[0]].rstrip(" $\\([,:")
    next_sentence = re.split(r"[.!?\n]", behind, maxsplit=1)[0]
    taken_back = len(next_sentence.split()) <= _SHORT and takes_back(next_sentence)
    if taken_back or _UNSURE_WITHIN.search(box[2]) or _EXAMPLE.match(behind) or _EXAMPLE.search(leads_in):
        return True
    answer = _NAMES_ANSWER.search(before)
    return (answer is not None and tells_old_answer(before[: answer.start()])) or denied(text[box[1] : box[1] + 200])


def _outer(boxes: list[Box]) -> Iterator[Box]:
    """Leaves out boxes within a box, which are a part of it, and boxes that hold no value."""
    reached = 0
    for box in boxes:
        if box[0] >= reached:
            reached = box[1]
            if box[2].strip() and not _NOT_A_VALUE.match(box[2]):
                yield box
