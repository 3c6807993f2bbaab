"""A row of text to learn, and where such rows come from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from sml_jax.text.chat import ChatFormat


@dataclass(frozen=True)
class WeightedText:
    """A row of tokens to train on, and the weight of each token in the loss.

    Attributes:
      tokens: token ids.
      weights: one for each token; 0 for a token that is only read as context.
    """

    tokens: tuple[int, ...]
    weights: tuple[float, ...]


@runtime_checkable
class TextSource(Protocol):
    """Makes an endless stream of rows of text to train on."""

    def examples(self, chat: ChatFormat, seed: int) -> Iterator[WeightedText]:
        """An endless iterator of rows, written in the chat format `chat`. The same seed gives the same rows."""
        ...
