"""The record of one dialogue, as a line of `dialogues.jsonl`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from sml_jax.tasks.problems.types import Turn, Verdict


@runtime_checkable
class JudgedDialogue(Protocol):
    """A finished dialogue with its verdicts: what labels and tables need of `sml_jax.dialogue.transcript.Dialogue`."""

    @property
    def problem_id(self) -> str: ...

    @property
    def arm(self) -> str: ...

    @property
    def turns(self) -> Sequence[Turn]: ...

    @property
    def verdicts(self) -> Sequence[Verdict]:
        """One for each student turn, in order."""
        ...

    @property
    def solved_turn(self) -> int:
        """The student turn, from 1, that solved it; 0 for none."""
        ...


@runtime_checkable
class RecordableDialogue(JudgedDialogue, Protocol):
    """What a record needs besides."""

    @property
    def tokens(self) -> Sequence[int]: ...

    @property
    def leaks(self) -> int: ...

    @property
    def redactions(self) -> int: ...

    @property
    def injected_turns(self) -> Sequence[int]: ...

    @property
    def overlong(self) -> bool: ...

    @property
    def dropped(self) -> str: ...


def dialogue_record(dialogue: RecordableDialogue, step: int, policy: str) -> dict[str, Any]:
    """Everything about one dialogue, in plain Python that JSON takes.

    Args:
      dialogue: a finished dialogue.
      step: the run's global step whose parameters played the student.
      policy: who played the student, such as "base" or "trained".

    Returns:
      `problem_id`, `arm`, `policy`, `step`; `turns`, each with `role` and `text`; `verdicts`, one for each student
      turn, with `correct`, `attempted` and `detail`; `solved_turn` (from 1, 0 for never); `leak` (a teacher turn gave
      the answer away), `leaks` and `redactions`, counts; `injected_turns`, the student turns that hold an injected
      question; `overlong`, it ended for want of room in a context; `dropped`, why it does not count, "" for one that
      does (the last student turn may then be without a verdict); `tokens`, the public conversation as the student's
      model read it.
    """
    return {
        "problem_id": dialogue.problem_id,
        "arm": dialogue.arm,
        "policy": policy,
        "step": int(step),
        "solved_turn": int(dialogue.solved_turn),
        "turns": [{"role": turn.role, "text": turn.text} for turn in dialogue.turns],
        "verdicts": [
            {"correct": bool(verdict.correct), "attempted": bool(verdict.attempted), "detail": verdict.detail}
            for verdict in dialogue.verdicts
        ],
        "leak": int(dialogue.leaks) > 0,
        "leaks": int(dialogue.leaks),
        "redactions": int(dialogue.redactions),
        "injected_turns": [int(turn) for turn in dialogue.injected_turns],
        "overlong": bool(dialogue.overlong),
        "dropped": dialogue.dropped,
        "tokens": [int(token) for token in dialogue.tokens],
    }
