"""Q-priming's question writer: the student's own model, shown what the teacher knows (arXiv 2602.16488)."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import numpy as np

from sml_jax.dialogue.framing import Framing
from sml_jax.dialogue.live import LiveDialogue
from sml_jax.dialogue.rules import QuestionInjection
from sml_jax.engine.context_batch import ContextBatch, Utterance
from sml_jax.engine.engine import Engine

_DRAW = 0x51  # sets these draws apart from all others of the run's seed


class QuestionWriter:
    """Writes questions in place of incorrect student turns, in contexts of its own.

    Args:
      injection: how often a turn becomes a question.
      engine, params: the student's model. framing: writes the contexts.
      max_tokens: tokens of a question at most.
      key: the random key of the writer's samples. seed: the run's, which decides what turns become questions.
    """

    def __init__(
        self,
        injection: QuestionInjection,
        engine: Engine,
        params: dict,
        framing: Framing,
        max_tokens: int,
        key: jax.Array,
        seed: int,
    ):
        self._injection, self._framing, self._max_tokens, self._seed = injection, framing, max_tokens, seed
        self._contexts = ContextBatch(engine, params, key)

    def wants(self, live: LiveDialogue) -> bool:
        """Whether the dialogue's latest turn t (from 0), an incorrect one, becomes a question: with chance decay**t."""
        t = len(live.verdicts) - 1
        # The draw depends on seed, dialogue and turn alone, so that batching changes no dialogue.
        draw = np.random.default_rng([self._seed, live.id, t, _DRAW]).random()
        return bool(draw < self._injection.decay**t)

    def open(self, live: LiveDialogue) -> None:
        """Gives the row's context to a new dialogue."""
        self._contexts.start(live.row, live.id, live.teacher_context)

    def write(
        self, lives: Sequence[LiveDialogue], attempts: Sequence[Sequence[int]], private: Sequence[list[int]]
    ) -> list[Utterance]:
        """Samples a question for each dialogue.

        Args:
          lives: dialogues whose `teacher_context` ends before the attempt.
          attempts: each dialogue's attempt as the teacher reads it.
          private: the verifier's output on it as the teacher reads it.

        Returns:
          The questions, in the order of `lives`.
        """
        # The writer reads what the teacher would read, and then the request for a question.
        for live, attempt, block in zip(lives, attempts, private, strict=True):
            context = [*live.teacher_context, *attempt, *block, *self._framing.asks_question()]
            self._contexts.replace(live.row, context)
        return self._contexts.sample([live.row for live in lives], self._max_tokens)
