"""Statistics of a rollout's dialogues, for the metrics."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from sml_jax.dialogue.drops import TEACHER, VERIFIER, not_dropped
from sml_jax.dialogue.transcript import Dialogue


def dialogue_statistics(dialogues: Sequence[Dialogue]) -> dict[str, float]:
    """Success, turns and rates of what may go wrong, over the dialogues of a rollout.

    Returns:
      Averages over the dialogues that were not dropped: `success`, `first_turn_success`, `turns` (of the student),
      `overlong_rate`; NaN if there is none. Fractions of their student turns: `attempt_rate`, `injected_rate`.
      Fractions of the teacher's replies: `leak_rate`, `one_step_rate`, `unmarked_rate`, `redaction_rate`. Fraction of
      both sides' turns: `truncated_rate`. Fraction of all dialogues: `dropped_rate`. `verifier_errors` is the number of
      dialogues that were dropped because the verifier failed, `teacher_errors` of those whose teacher gave no reply.
    """
    drop_reasons = [dialogue.dropped for dialogue in dialogues if dialogue.dropped]
    counted = not_dropped(dialogues)
    # A turn counts once for its side, however often it was drawn.
    student_turn_count = sum(len(d.verdicts) for d in counted)
    reply_count = sum(d.teacher_turns for d in counted)
    return {
        # Results.
        "success": _mean(d.solved_turn > 0 for d in counted),
        "first_turn_success": _mean(d.solved_turn == 1 for d in counted),
        "turns": _mean(len(d.verdicts) for d in counted),
        "attempt_rate": sum(v.attempted for d in counted for v in d.verdicts) / max(student_turn_count, 1),
        # What went wrong. A rate over no turns is 0.
        "leak_rate": sum(d.leaks for d in counted) / max(reply_count, 1),
        "one_step_rate": sum(d.one_steps for d in counted) / max(reply_count, 1),
        "unmarked_rate": sum(d.unmarked for d in counted) / max(reply_count, 1),
        "redaction_rate": sum(d.redactions for d in counted) / max(reply_count, 1),
        "truncated_rate": sum(d.truncated for d in counted) / max(student_turn_count + reply_count, 1),
        "injected_rate": sum(len(d.injected_turns) for d in counted) / max(student_turn_count, 1),
        "overlong_rate": _mean(d.overlong for d in counted),
        "dropped_rate": len(drop_reasons) / max(len(dialogues), 1),
        "verifier_errors": float(sum(reason.startswith(f"{VERIFIER}:") for reason in drop_reasons)),
        "teacher_errors": float(sum(reason.startswith(f"{TEACHER}:") for reason in drop_reasons)),
    }


def _mean(values: Iterable[float]) -> float:
    numbers = list(values)
    return float(sum(numbers)) / len(numbers) if numbers else math.nan
