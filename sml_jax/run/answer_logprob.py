"""The gold answer's likelihood in the dialogues of a rollout, for methods that learn from it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from sml_jax.common.errors import UserError
from sml_jax.dialogue.framing import Framing
from sml_jax.dialogue.rollout import Played
from sml_jax.dialogue.transcript import Transcript
from sml_jax.engine.engine import Engine
from sml_jax.evaluate.answer_loglik import answer_logliks
from sml_jax.learn.returns import turns_to_tokens
from sml_jax.learn.signals import Method, reads_answer_logprob
from sml_jax.tasks.problems.types import HasAnswerFormat, Problem, Task


def check_answer_format(stage: str, method: Method, task: Task) -> None:
    """Checks that a task can say its gold answers, if the method reads their likelihood.

    Raises:
      UserError: it cannot.
    """
    if reads_answer_logprob(method) and not isinstance(task, HasAnswerFormat):
        raise UserError(
            f"{stage}: the method {type(method).__name__} reads the likelihood of the gold answer, but the task "
            f"{task.name} has no gold_utterance, which says the answer as a student would: give the task one, or take "
            "another method"
        )


def transcript_for(
    method: Method,
    played: Played,
    task: Task,
    problems: Sequence[Problem],
    framing: Framing,
    engine: Engine,
    params: Any,
) -> Transcript:
    """The transcript of a rollout, with `answer_logprob` if the method needs it.

    The dialogues are over by then, and answers are scored on rows of their own: no gold answer enters a dialogue, or
    what is trained on.

    Args:
      method: the stage's.
      played: the rollout. task, framing, engine: with which it was played.
      problems: those that were given to it.
      params: the student's parameters, with which it was played.
    """
    transcript = played.transcript
    if not reads_answer_logprob(method):
        return transcript
    assert isinstance(task, HasAnswerFormat), "the stage has checked it"
    group = np.asarray(transcript.group)
    kept = np.flatnonzero(~np.asarray(transcript.dropped))
    by_turn = np.zeros((len(group), max(int(np.max(transcript.turns)), 1)), np.float32)
    measured = answer_logliks(
        task,
        [problems[group[row]] for row in kept],
        [played.dialogues[row] for row in kept],
        framing,
        engine,
        params,
        by_turn.shape[1],
    )
    # A dialogue with a turn that could not be measured has no gains.
    taken = np.arange(by_turn.shape[1]) < np.asarray(transcript.turns)[kept, None]
    complete = np.isfinite(measured) | ~taken
    by_turn[kept] = np.where(taken & complete.all(axis=1, keepdims=True), np.nan_to_num(measured), 0)
    logprob = np.asarray(turns_to_tokens(jnp.asarray(by_turn), jnp.asarray(transcript.turn)))
    return transcript.replace(answer_logprob=logprob)  # type: ignore[attr-defined]
