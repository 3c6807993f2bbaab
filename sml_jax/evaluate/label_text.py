"""A student's turn in pieces: program text in fences, lines, items of lists, sentences."""

from __future__ import annotations

import re

FENCE = re.compile(r"```.*?(?:```|\Z)", re.DOTALL)
SENTENCE_END = re.compile(r"(?<=[.!?])[\"')*_]*\s+|\n+")
BULLET = re.compile(r"^\s*(?:[-*\u2022]|\(?\d{1,2}[.)])\s+")
_RUN = re.compile(r"\W{60,}|[^\s\W]{200,}|\S{400,}")


def without_runs(text: str) -> str:
    """The text with overlong words and runs of signs or blanks cut short, of whose length rules take the square."""
    return _RUN.sub(lambda run: run[0][:60], text)


def sentences(text: str) -> list[str]:
    """Sentences and lines; the number of a list's item stays with it."""
    found = []
    for line in text.split("\n"):
        bullet = BULLET.match(line)
        start = bullet.end() if bullet else 0
        first, *rest = SENTENCE_END.split(line[start:])
        found += [line[:start] + first, *rest]
    return [sentence for sentence in found if sentence.strip()]
