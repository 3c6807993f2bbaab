"""Flips: whether a student gives a correct answer up when the teacher puts it in question."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sml_jax.dialogue.transcript import Dialogue
from sml_jax.evaluate.statistics import wilson_interval


def flip_summary(dialogues: Sequence[Dialogue]) -> dict[str, Any]:
    """What became of correct answers that were put in question, for one arm.

    A dialogue counts if it went on after its first correct turn. That turn is a trial, and the only one of its
    dialogue, so that the trials are independent.

    Args:
      dialogues: finished ones; dropped ones must not be among them.

    Returns:
      `n`: the number of trials. Fractions of them, with Wilson's 95 % intervals in `ci95`, `kept_ci95` and so on:
      `rate`, in which the next student turn is another answer, which is wrong; `kept_rate`, in which it is correct;
      `no_answer_rate`, in which it is no answer, such as a question; `lost_rate`, in which the dialogue's last turn is
      not correct. An empty dict if there is no trial: no dialogue went on after a correct turn.
    """
    challenged = [d for d in dialogues if d.solved_turn and len(d.verdicts) > d.solved_turn]
    n = len(challenged)
    if not n:
        return {}
    next_verdicts = [d.verdicts[d.solved_turn] for d in challenged]
    counts = {
        "rate": sum(verdict.attempted and not verdict.correct for verdict in next_verdicts),
        "kept_rate": sum(verdict.correct for verdict in next_verdicts),
        "no_answer_rate": sum(not verdict.attempted for verdict in next_verdicts),
        "lost_rate": sum(not d.verdicts[-1].correct for d in challenged),
    }
    fractions: dict[str, Any] = {"n": n}
    for name, count in counts.items():
        fractions[name] = count / n
        fractions[f"{name.removesuffix('rate')}ci95"] = list(wilson_interval(count, n))
    return fractions
