"""The labels of a student's turns by rules: one for any text, soon."""

from __future__ import annotations

import time

from fuzz.campaign import Target
from fuzz.source import Source
from sml_jax.evaluate.labels import LABELS, label_turn

WORDS = (
    *("if", "either", "or", "could be", "maybe", "depending on", "without knowing", "case", "assuming", "then"),
    *("otherwise", "what", "which", "how many", "is it", "can you", "please", "tell me", "I can't", "don't know"),
    *("not enough", "and", "the answer is", "my answer is", "1", "2.5", "two", "`x`", "```", "$", "-", "* ", "1. "),
    *("?", ".", "!", ",", ":", ";", "\n", " ", "a", "we", "when", "for a", "at", "would", "\\boxed{", "####"),
    *("def f(x):", "return", "\u2019", '"', "'"),
)
# Longer than any turn.
_MAX_CHARACTERS = 20_000


def check(source: Source) -> None:
    """One case."""
    # One of the labels for any text, in a time that grows with its length alone.
    longest = _MAX_CHARACTERS if source.flag(3) else 600
    text = source.pumped(WORDS, longest) if source.flag() else source.text(WORDS, 40, longest)
    start = time.process_time()
    assert label_turn(text, source.flag()) in LABELS
    used = time.process_time() - start
    assert used < 1.0 + 2e-4 * len(text), f"{used:.1f} s for {len(text)} characters"


def target() -> Target:
    """The labels of turns."""
    return Target("labels", check, cpu_s=20.0)
