"""The record of one finished dialogue, as a line of `dialogues.jsonl`."""

from __future__ import annotations

from typing import Any

from sml_jax.dialogue.transcript import Dialogue


def dialogue_record(dialogue: Dialogue, step: int, policy: str) -> dict[str, Any]:
    """A finished dialogue as a line of `dialogues.jsonl`: plain Python that JSON can hold.

    Args:
      dialogue: a finished dialogue.
      step: the number of the run's step, counted over all stages, whose parameters played the student.
      policy: who played the student, such as "base" or "trained".

    Returns:
      `problem_id`, `arm`, `policy`, `step`. `turns`: each with `role` and `text`. `verdicts`: one for each student
      turn, with `correct`, `attempted` and `detail`. `private`: what the teacher alone knew, `static` from the start
      and `by_reply` before each of its replies. `leak`: whether a teacher turn gave the answer away. `tokens`: the
      public conversation as the student's model read it. `answer_loglik`: only where it was measured. The other fields
      are those of `Dialogue`: `domain`, `solved_turn`, `leaks`, `one_steps`, `redactions`, `injected_turns`, `overlong`
      and `dropped`.
    """
    # NumPy numbers become Python's, which JSON needs.
    return {
        # Which dialogue it is, and who spoke.
        "problem_id": dialogue.problem_id,
        "arm": dialogue.arm,
        "policy": policy,
        "step": int(step),
        "domain": dialogue.domain,
        # What was said, and what came of it.
        "solved_turn": int(dialogue.solved_turn),
        "turns": [{"role": turn.role, "text": turn.text} for turn in dialogue.turns],
        "verdicts": [
            {"correct": bool(verdict.correct), "attempted": bool(verdict.attempted), "detail": verdict.detail}
            for verdict in dialogue.verdicts
        ],
        # What the teacher knew, and the student did not.
        "private": {"static": dialogue.static_knowledge, "by_reply": list(dialogue.dynamic_knowledge)},
        # What the rollout did about it.
        "leak": int(dialogue.leaks) > 0,
        "leaks": int(dialogue.leaks),
        "one_steps": int(dialogue.one_steps),
        "redactions": int(dialogue.redactions),
        "injected_turns": [int(turn) for turn in dialogue.injected_turns],
        "overlong": bool(dialogue.overlong),
        "dropped": dialogue.dropped,
        "tokens": [int(token) for token in dialogue.tokens],
        **({"answer_loglik": [float(loglik) for loglik in dialogue.answer_loglik]} if dialogue.answer_loglik else {}),
    }
