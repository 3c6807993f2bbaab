"""A row of text to learn, and where such rows come from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from sml_jax.text.chat import ChatFormat


@dataclass(frozen=True)
class WeightedText:
    """A row of tokens to learn, and how much the prediction of each counts.

    Attributes:
      tokens: token ids.
      weights: one for each token; 0 for one that is read and not learnt.
    """

    tokens: tuple[int, ...]
    weights: tuple[float, ...]


@runtime_checkable
class TextSource(Protocol):
    """An endless stream of rows."""

    def examples(self, chat: ChatFormat, seed: int) -> Iterator[WeightedText]:
        """Rows written in `chat`; the same seed gives the same stream."""
        ...
