"""A student's turn in pieces: program text in fences, lines, items of lists, sentences. The label rules read these."""

from __future__ import annotations

import re

# Program text; a fence that is never closed reaches to the end.
FENCE = re.compile(r"```.*?(?:```|\Z)", re.DOTALL)
# Quotes and brackets after the last sign belong to the sentence.
SENTENCE_END = re.compile(r"(?<=[.!?])[\"')*_]*\s+|\n+")
# "- ", "* ", "1. ", "(2) " at the head of a line.
BULLET = re.compile(r"^\s*(?:[-*\u2022]|\(?\d{1,2}[.)])\s+")
# Runs that no natural text has.
_RUN = re.compile(r"\W{60,}|[^\s\W]{200,}|\S{400,}")


def without_runs(text: str) -> str:
    """The text with each overlong word, and each overlong run of signs or spaces, cut to 60 characters.

    Some of the label rules take time in the square of such a run's length.
    """
    return _RUN.sub(lambda run: run[0][:60], text)


def sentences(text: str) -> list[str]:
    """Splits a text into its sentences, in order. A line without a sentence's end is a sentence of its own.

    The number or bullet of a list item stays with the item's first sentence. Blank sentences are left out.
    """
    all_sentences = []
    for line in text.split("\n"):
        # The full stop in "1. " ends no sentence.
        bullet = BULLET.match(line)
        start = bullet.end() if bullet else 0
        first, *rest = SENTENCE_END.split(line[start:])
        all_sentences += [line[:start] + first, *rest]
    return [sentence for sentence in all_sentences if sentence.strip()]
