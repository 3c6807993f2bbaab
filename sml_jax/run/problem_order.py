"""The order of problems: a pure function of seed and position, so that a resumed run skips and repeats none."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import grain
import numpy as np

from sml_jax.common.errors import UserError
from sml_jax.tasks.problems.types import Problem


def problems_at(problems: Sequence[Problem], seed: int, start: int, count: int) -> list[Problem]:
    """Takes `count` problems from an endless stream of shuffled problems, beginning at position `start`.

    The stream passes over all problems again and again, each time in a new order, which depends on the seed alone. Only
    the problems asked for are read, so a call costs the same however many there are, on disk or in memory.

    Args:
      problems: all of a split.
      seed: of the run.
      start: position in the stream, from 0.
      count: how many problems to take.

    Raises:
      UserError: `problems` is empty.
    """
    if not count:
        return []
    if not len(problems):
        raise UserError("there are no problems to train on: the task's train split is empty")
    # Grain adds the number of the pass to its seed; neighbouring seeds of runs must not share their passes.
    (mixed_seed,) = np.random.SeedSequence(seed).generate_state(1)
    # Grain computes single elements of the shuffled order, so nothing is permuted up to `start`.
    stream = grain.MapDataset.source(problems).shuffle(seed=int(mixed_seed)).repeat()
    return [stream[position] for position in range(start, start + count)]


# Enough to tell data sets apart, and few enough to read at every start of a run.
_FINGERPRINTED = 256


def fingerprint(problems: Sequence[Problem]) -> str:
    """A text that tells sets of problems apart: their number, and a digest of up to 256 of them, evenly spaced."""
    hasher = hashlib.sha256()
    for position in np.unique(np.linspace(0, len(problems) - 1, min(_FINGERPRINTED, len(problems)), dtype=np.int64)):
        problem = problems[int(position)]
        # Text from files may hold lone surrogates, which plain UTF-8 refuses.
        hasher.update(repr((problem.id, problem.question, problem.answer)).encode("utf-8", "surrogatepass"))
    return f"{len(problems)} problems, {hasher.hexdigest()[:16]}"
