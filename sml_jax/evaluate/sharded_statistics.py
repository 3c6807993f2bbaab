"""Aptitude and unreliability over repeated simulations of the same instructions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from sml_jax.common.errors import UserError
from sml_jax.evaluate.labels import Label, count_premature
from sml_jax.evaluate.statistics import mean_ci95_over_seeds


def aptitude(scores: ArrayLike) -> dict[str, np.ndarray]:
    """Performance P, aptitude A90 and unreliability U of each instruction over its simulations.

    Args:
      scores: float[I, N], the score, 0 to 100, of each of N simulations of I instructions; NaN for a simulation to
        ignore, such as a dropped dialogue.

    Returns:
      Three f64[I]: `P`, the mean; `A90`, the 90th percentile, which says how good the better simulations are; `U`, the
      90th minus the 10th percentile, which says how far apart good and bad simulations lie. Percentiles are
      interpolated linearly.

    Raises:
      UserError: there is no instruction or no simulation.

    References:
      arXiv 2505.06120, performance, aptitude and unreliability.
    """
    table = np.asarray(scores, np.float64)
    if table.ndim != 2 or 0 in table.shape:
        raise UserError(f"scores of shape {table.shape}: give one or more simulations of one or more instructions")
    # Instruction by instruction: unreliability is the spread of one instruction's simulations, not over instructions.
    low, high = np.nanpercentile(table, [10, 90], axis=1)
    return {"P": np.nanmean(table, axis=1), "A90": high, "U": high - low}


def aptitude_summary(scores: ArrayLike) -> dict[str, Any]:
    """The fields of an `eval.json` entry about P, A90 and U; see `aptitude`.

    Args:
      scores: float[I, N], as for `aptitude`. An instruction whose scores are all NaN is left out.

    Returns:
      `P`, `A90`, `U`: means over instructions. `P_ci95`, `A90_ci95`, `U_ci95`: Student's 95 % intervals over
      instructions as [low, high], clipped to 0..100; None for a single instruction. `n`: the number of instructions.
      `simulations`: the number N of simulations of each.

    Raises:
      UserError: no instruction is left, or there is no simulation.
    """
    score_table = np.asarray(scores, np.float64)
    if score_table.ndim == 2 and score_table.size:
        score_table = score_table[~np.isnan(score_table).all(axis=1)]
    summary: dict[str, Any] = {}
    for name, values in aptitude(score_table).items():
        summary[name] = float(values.mean())
        # Student's interval may pass the ends of the scale.
        interval = np.clip(mean_ci95_over_seeds(values)[1:], 0, 100).tolist() if len(values) > 1 else None
        summary[f"{name}_ci95"] = interval
    return {**summary, "n": score_table.shape[0], "simulations": score_table.shape[1]}


def premature_summary(
    labels: Sequence[Sequence[Label]], revealed: Sequence[Sequence[int]], shards: Sequence[int]
) -> dict[str, float | None]:
    """How often the student answers before it has been told every shard.

    Args:
      labels: for each dialogue, the labels of the student's turns.
      revealed: for each dialogue, how many shards had been revealed when each turn was taken.
      shards: for each dialogue, how many shards its instruction has, the first included.

    Returns:
      `premature_rate`: of the student turns before the last shard was revealed, the fraction that are answers; None if
      there is no such turn. `premature_dialogues`: the fraction of dialogues with at least one such answer.

    References:
      Premature answer attempts: arXiv 2505.06120 and 2602.16488.
    """
    premature_counts = [count_premature(*dialogue) for dialogue in zip(labels, revealed, shards, strict=True)]
    early_turns = sum(
        revealed_count < shard_count
        for by_turn, shard_count in zip(revealed, shards, strict=True)
        for revealed_count in by_turn
    )
    return {
        "premature_rate": sum(premature_counts) / early_turns if early_turns else None,
        "premature_dialogues": sum(count > 0 for count in premature_counts) / max(len(premature_counts), 1),
    }
