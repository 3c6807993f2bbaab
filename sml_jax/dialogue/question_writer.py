"""Q-priming's question writer: the student's own model, shown what the teacher knows (arXiv 2602.16488)."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import numpy as np

from sml_jax.dialogue.framing import Framing
from sml_jax.dialogue.live import LiveDialogue
from sml_jax.dialogue.rules import QuestionInjection
from sml_jax.engine.context_batch import ContextBatch
from sml_jax.engine.engine import Engine
from sml_jax.engine.turns import Utterance

_DRAW = 0x51  # sets these draws apart from all others of the run's seed


class QuestionWriter:
    """Writes the questions of Q-priming that take the place of incorrect student turns.

    It has its own context in each row, so the student's contexts are not touched.

    Args:
      injection: how often a turn becomes a question.
      engine, params: the student's model, which writes the questions. framing: writes the contexts as tokens.
      max_tokens: largest number of tokens of a question.
      key: the random key of the writer's samples. seed: the run's, which decides which turns become questions.
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
        """Draws whether the dialogue's latest turn, which must be incorrect, becomes a question.

        The chance is decay**t for turn t, counted from 0. The draw depends on seed, dialogue and turn alone.
        """
        t = len(live.verdicts) - 1
        # The draw depends on seed, dialogue and turn alone, so that batching changes no dialogue.
        draw = np.random.default_rng([self._seed, live.id, t, _DRAW]).random()
        return bool(draw < self._injection.decay**t)

    def open(self, live: LiveDialogue) -> None:
        """Starts the writer's context in the dialogue's row anew, with the teacher's context."""
        self._contexts.start(live.row, live.id, live.teacher_context)

    def write(
        self, lives: Sequence[LiveDialogue], attempts: Sequence[Sequence[int]], private: Sequence[list[int]]
    ) -> list[Utterance]:
        """Samples a question for each dialogue.

        Args:
          lives: dialogues whose `teacher_context` does not hold the student's attempt yet.
          attempts: for each dialogue the attempt, as tokens of the teacher's context.
          private: for each dialogue the verifier's words on the attempt, as tokens of the teacher's context.

        Returns:
          The sampled questions, in the order of `lives`.
        """
        # The writer reads what the teacher would read, and then the request for a question.
        for live, attempt, private_tokens in zip(lives, attempts, private, strict=True):
            context = [*live.teacher_context, *attempt, *private_tokens, *self._framing.asks_question()]
            # The request does not stay: the writer's next context in this dialogue goes on from the teacher's.
            self._contexts.replace(live.row, context, kept=len(live.teacher_context))
        return self._contexts.sample([live.row for live in lives], self._max_tokens)
