"""What a rollout came to, as numbers for the metrics."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from sml_jax.dialogue.drops import VERIFIER, kept
from sml_jax.dialogue.transcript import Dialogue


def dialogue_statistics(dialogues: Sequence[Dialogue]) -> dict[str, float]:
    """Counts of a rollout as rates: leaks, redactions and truncations per turn, questions injected per student turn.

    Dropped dialogues are in `dropped_rate` and, where the verifier failed, in the count `verifier_errors`; everything
    else is of those that were kept, and what is of dialogues is NaN if there are none.
    """
    dropped = [d.dropped for d in dialogues if d.dropped]
    counted = kept(dialogues)
    student = sum(len(d.verdicts) for d in counted)
    teacher = sum(d.teacher_turns for d in counted)
    return {
        "success": _mean(d.solved_turn > 0 for d in counted),
        "first_turn_success": _mean(d.solved_turn == 1 for d in counted),
        "turns": _mean(len(d.verdicts) for d in counted),
        "attempt_rate": sum(v.attempted for d in counted for v in d.verdicts) / max(student, 1),
        "leak_rate": sum(d.leaks for d in counted) / max(teacher, 1),
        "unmarked_rate": sum(d.unmarked for d in counted) / max(teacher, 1),
        "redaction_rate": sum(d.redactions for d in counted) / max(teacher, 1),
        "truncated_rate": sum(d.truncated for d in counted) / max(student + teacher, 1),
        "injected_rate": sum(len(d.injected_turns) for d in counted) / max(student, 1),
        "overlong_rate": _mean(d.overlong for d in counted),
        "dropped_rate": len(dropped) / max(len(dialogues), 1),
        "verifier_errors": float(sum(reason.startswith(f"{VERIFIER}:") for reason in dropped)),
    }


def _mean(values: Iterable[float]) -> float:
    numbers = list(values)
    return float(sum(numbers)) / len(numbers) if numbers else math.nan
