"""How likely the student finds the gold answer after each teacher turn: what it has learnt within the context.

The answer is scored behind the student's context as it stood when its turn began, on rows of their own: the dialogue
itself was over by then, so that the gold answer never enters it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import jax
import numpy as np

from sml_jax.common.errors import UserError
from sml_jax.dialogue.framing import Framing
from sml_jax.dialogue.transcript import Dialogue
from sml_jax.engine.context_batch import ContextBatch
from sml_jax.engine.engine import Engine
from sml_jax.evaluate.statistics import mean_ci95
from sml_jax.tasks.problems.types import HasAnswerFormat, Problem


def answer_logliks(
    task: HasAnswerFormat,
    problems: Sequence[Problem],
    dialogues: Sequence[Dialogue],
    framing: Framing,
    engine: Engine,
    params: Any,
    max_turns: int,
) -> np.ndarray:
    """The log-likelihood of the gold answer after each teacher turn of each dialogue.

    After the teacher's k-th turn (its first is the problem's statement) the student's context is continued with the
    answer format, such as "my answer is ". The result is the sum of the log-probabilities of the answer's own tokens
    behind that, at temperature 1; the format's tokens and the end of the turn do not count.

    Args:
      task: writes gold answers as utterances.
      problems: what each of the N dialogues is about.
      dialogues: finished ones. Dropped ones, which count nowhere, must not be among them.
      framing: writes the answers as tokens.
      engine: the student's. params: the student's, in any form that `Engine.prepare_params` takes.
      max_turns: K, the largest number of student turns that a dialogue could have.

    Returns:
      f64 [N, K] in nats, NaN for teacher turns that a dialogue does not have.

    References:
      The measure: arXiv 2602.16488 (the negative of it, averaged). What counts as the answer's tokens is ours.
    """
    logliks = np.full((len(dialogues), max_turns), np.nan)
    rows = engine.max_concurrent
    # The random key is never used: nothing is sampled here.
    contexts = ContextBatch(engine, params, jax.random.key(0))
    for first in range(0, len(dialogues), rows):
        batch = dialogues[first : first + rows]
        # Turn by turn, so that each token of a context goes through the model once.
        for turn in range(1, max_turns + 1):
            continuations, answer_sizes = {}, {}
            for row, dialogue in enumerate(batch):
                if turn > len(dialogue.turn_starts):
                    continue
                context = dialogue.context_before(turn)
                if turn == 1:
                    contexts.start(row, first + row, context)
                else:
                    contexts.replace(row, context)
                # An answer that the tokenizer does not take leaves its dialogue without a number.
                with suppress(UserError, ValueError):
                    gold = task.gold_utterance(problems[first + row], turn)
                    continuations[row], answer_sizes[row] = _continuation(framing.text, *gold)
            for row, logprobs in contexts.score(continuations).items():
                logliks[first + row, turn - 1] = float(np.sum(logprobs[-answer_sizes[row] :], dtype=np.float64))
    return logliks


def answer_loglik_summary(logliks: np.ndarray) -> dict[str, list]:
    """The fields of an `eval.json` entry about the gold answer's likelihood, for one arm.

    Args:
      logliks: f64 [N, K], see `answer_logliks`.

    Returns:
      Lists by teacher turn, in nats, None where too few dialogues reached the turn. `answer_loglik_at_turn`: the mean
      over the dialogues that reached it. `answer_loglik_ci95`: its 95 % interval. `answer_loglik_n`: how many those
      are: fewer and fewer, since solved dialogues end. `answer_loglik_change_at_turn` and
      `answer_loglik_change_ci95`: the mean change that the teacher's turn made, over the same dialogues before and
      after it, so that it does not matter which dialogues end; None for the first turn.
    """
    changes = np.diff(logliks, axis=1, prepend=np.nan)
    means, intervals = _by_turn(logliks)
    change_means, change_intervals = _by_turn(changes)
    return {
        "answer_loglik_at_turn": means,
        "answer_loglik_ci95": intervals,
        "answer_loglik_n": np.isfinite(logliks).sum(axis=0).tolist(),
        "answer_loglik_change_at_turn": change_means,
        "answer_loglik_change_ci95": change_intervals,
    }


def _by_turn(values: np.ndarray) -> tuple[list[float | None], list[list[float] | None]]:
    """Means and intervals of the columns' numbers; None where a column has none, or too few for an interval."""
    means: list[float | None] = []
    intervals: list[list[float] | None] = []
    for column in values.T:
        numbers = column[np.isfinite(column)]
        means.append(float(numbers.mean()) if len(numbers) else None)
        intervals.append(list(mean_ci95(numbers)[1:]) if len(numbers) > 1 else None)
    return means, intervals


def _continuation(encode: Callable[[str], list[int]], answer_format: str, answer: str) -> tuple[list[int], int]:
    """The tokens of format and answer, and how many of them are the answer's.

    A tokenizer may merge the end of the format with the beginning of the answer: such a token is the answer's.
    """
    tokens, format_tokens = encode(answer_format + answer), encode(answer_format)
    pairs = zip(tokens, format_tokens, strict=False)
    common = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(tokens), len(format_tokens)))
    # An answer without tokens of its own has none to score; then the last token stands for it.
    return tokens, max(len(tokens) - common, 1)
