"""What methods have in common that add a signal to those of another method."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from sml_jax.common.errors import UserError
from sml_jax.dialogue.transcript import Transcript
from sml_jax.learn.methods import Grpo
from sml_jax.learn.signals import Method, Signals, check_weight, min_group_size_of, reads_answer_logprob


@dataclass(frozen=True)
class BesideMethod:
    """The base class of a method that adds a weighted loss to another method's.

    Attributes:
      label: the method's name in errors.
      beside: the method whose signals it adds to; None for its own signal alone.
      weight: of its own loss beside the other one.

    Raises:
      UserError: the weight is no number from 0 on, or nothing would be trained on.
    """

    label: ClassVar[str]
    beside: Method | None = field(default_factory=Grpo)
    weight: float = 0.1

    def __post_init__(self) -> None:
        check_weight(self.label, self.weight)
        if self.beside is None and not self.weight:
            raise UserError(f"{self.label}: weight is 0 and beside is None, so nothing is trained on: set one")

    @property
    def min_group_size(self) -> int:
        """The number of dialogues of a problem that `beside` needs."""
        return min_group_size_of(self.beside)

    @property
    def needs_answer_logprob(self) -> bool:
        """Whether `beside` reads `Transcript.answer_logprob`."""
        return reads_answer_logprob(self.beside)

    def signals_beside(self, transcript: Transcript) -> Signals:
        """The signals of `beside`; empty ones without it."""
        return Signals() if self.beside is None else self.beside(transcript)
