"""Aptitude and unreliability over repeated simulations of the same instructions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from sml_jax.errors import UserError
from sml_jax.evaluate.labels import Label, premature
from sml_jax.evaluate.statistics import mean_ci95_over_seeds


def aptitude(scores: ArrayLike) -> dict[str, np.ndarray]:
    """P, A90 and U of each instruction over its simulations.

    Args:
      scores: float[I, N], the score of each simulation of each instruction, 0 to 100; NaN for one that does not count.

    Returns:
      `P`, the mean; `A90`, the 90th percentile: how good the better simulations are; `U`, the 90th minus the 10th
      percentile: how far apart good and bad ones lie. f64[I] each, percentiles by linear interpolation.

    Raises:
      UserError: no instruction or no simulation.

    References:
      arXiv 2505.06120, performance, aptitude and unreliability.
    """
    table = np.asarray(scores, np.float64)
    if table.ndim != 2 or 0 in table.shape:
        raise UserError(f"scores of shape {table.shape}: give one or more simulations of one or more instructions")
    low, high = np.nanpercentile(table, [10, 90], axis=1)
    return {"P": np.nanmean(table, axis=1), "A90": high, "U": high - low}


def aptitude_summary(scores: ArrayLike) -> dict[str, Any]:
    """What `eval.json` holds of P, A90 and U.

    Args:
      scores: float[I, N], as for `aptitude`. An instruction of which no simulation counts is left out.

    Returns:
      `P`, `A90`, `U`: means over instructions; `P_ci95`, `A90_ci95`, `U_ci95`: Student's 95 % intervals over
      instructions within 0 to 100, None for a single instruction; `n`, instructions; `simulations`, of each.
    """
    table = np.asarray(scores, np.float64)
    if table.ndim == 2 and table.size:
        table = table[~np.isnan(table).all(axis=1)]
    summary: dict[str, Any] = {}
    for name, values in aptitude(table).items():
        summary[name] = float(values.mean())
        interval = np.clip(mean_ci95_over_seeds(values)[1:], 0, 100).tolist() if len(values) > 1 else None
        summary[f"{name}_ci95"] = interval
    return {**summary, "n": table.shape[0], "simulations": table.shape[1]}


def premature_summary(
    labels: Sequence[Sequence[Label]], revealed: Sequence[Sequence[int]], shards: Sequence[int]
) -> dict[str, float | None]:
    """How often the student answers before it has been told everything.

    Args:
      labels: for each dialogue, those of the student's turns.
      revealed: for each dialogue, how many shards stood revealed when each turn was taken.
      shards: of each dialogue's instruction, the first included.

    Returns:
      `premature_rate`, answers among the student turns that were taken before every shard stood revealed, None where
      there is no such turn; `premature_dialogues`, the part of the dialogues with at least one such answer.

    References:
      Premature answer attempts: arXiv 2505.06120 and 2602.16488.
    """
    counts = [premature(*dialogue) for dialogue in zip(labels, revealed, shards, strict=True)]
    early = sum(told < every for by_turn, every in zip(revealed, shards, strict=True) for told in by_turn)
    return {
        "premature_rate": sum(counts) / early if early else None,
        "premature_dialogues": sum(count > 0 for count in counts) / max(len(counts), 1),
    }
