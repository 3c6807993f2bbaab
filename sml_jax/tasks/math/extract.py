"""Finds the one answer that a mathematics utterance gives."""

from __future__ import annotations

import re

from sml_jax.tasks.math.boxes import boxed_answer, complete_boxes
from sml_jax.tasks.math.marked import ANSWER_CHARACTERS, Marked, after_hashes, after_last_marker, after_markers, tagged
from sml_jax.tasks.math.unmarked import unmarked_answer

__all__ = ["ANSWER_CHARACTERS", "after_last_marker", "extract_answer", "final_answer"]

# "<<48+24=72>>", what GSM8K's calculator was given.
_CALCULATOR = re.compile(r"<<[^<>=\n]{0,200}=[^<>\n]{0,200}>>")
# "not 20 but 16": what is denied in passing.
_NOT_BUT = re.compile(
    r"(?:\bnot|(?<=is)n['\u2019]t) ([*$]{0,3}-?[0-9][^\s,;]{0,20}(?: [a-z]{2,12})?),? but (?:rather "
    r")?(?=[*$]{0,3}-?[0-9])"
)
_STRUCK_OUT = re.compile(r"~~[^~\n]{1,80}~~")
_COMMENT = re.compile(r"<!--(?:(?!-->).){0,500}-->", re.DOTALL)  # is not shown
# "12,50 \u20ac": beside the sign of a currency that is written so, the comma is a decimal point.
_EUROS = re.compile(
    r"(?<![0-9.,])([0-9]{1,9}),([0-9]{2})(?= ?(?:\u20ac|EUR\b|euros?\b))|(?<=\u20ac)([0-9]{1,9}),([0-9]{2})(?![0-9,])"
)
# Tags that change how a text looks, and the special tokens that end a turn.
_STYLE_TAG = re.compile(r"</?(?:b|strong|i|em|u|code|p|span|mark)>|<\|[a-z_]{1,20}\|>|</?s>", re.IGNORECASE)


def final_answer(gold: str) -> str:
    r"""The bare answer of a gold text: after its last `####`, else in its last `\boxed{}`, else all of it."""
    if "####" in gold:
        return gold.rpartition("####")[2].strip()
    boxes = complete_boxes(gold)
    return (boxes[-1][2] if boxes else gold).strip()


def extract_answer(utterance: str, unmarked: bool = True, gold: str = "") -> str | None:
    r"""The text of the one answer that an utterance gives, None if it gives none.

    Of the places that state an answer the last one decides: a `\boxed{..}` that holds a value (boxes that follow each
    other are one answer of several parts), the line after `####`, a sentence that says the answer ("the answer is 5",
    "5 is the answer"). A sentence that only mentions the word, or denies, doubts, asks, or tells an earlier answer,
    states none. Where a mathematical value is stated, words are not an answer. Where nothing states an answer, the last
    sentence with a value decides, if it says what something is.

    Args:
      utterance: what was said.
      unmarked: whether a value that nothing marks as the answer counts.
      gold: the gold answer, whose kind says what an unmarked value looks like: a number, a choice, a day.
    """
    text = _STRUCK_OUT.sub("", utterance) if "~~" in utterance else utterance
    text = _STYLE_TAG.sub("", _CALCULATOR.sub("", _COMMENT.sub("", text))) if "<" in text else text
    if "," in text:
        text = _EUROS.sub(lambda amount: f"{amount[1] or amount[3]}.{amount[2] or amount[4]}", text)
    text = text.replace("!=", "\u2260")
    text = _NOT_BUT.sub("", text) if " but " in text else text
    box = boxed_answer(text)
    marked = [Marked(box[0], box[1], "value")] if box else []
    marked += [*tagged(text), *after_hashes(text), *after_markers(text, correcting=bool(box))]
    # Mathematical values go before words, and later answers before earlier ones.
    for kind in ("value", "words"):
        answers = [(answer.place, answer.text) for answer in marked if answer.kind == kind and answer.text.strip()]
        if answers:
            return max(answers)[1].strip()[:ANSWER_CHARACTERS].rstrip()
    bare = unmarked_answer(text, gold) if unmarked else None
    # The heading "Answer:" over a text states nothing itself, unless nothing else does.
    headed = [answer.text for answer in marked if answer.kind == "heading" and answer.text.strip()]
    if bare is None and headed:
        return headed[-1].strip()[:ANSWER_CHARACTERS].rstrip()
    return bare
