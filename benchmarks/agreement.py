"""Measures how often a teacher model says exactly what the scripted teacher would have said."""

from __future__ import annotations

from collections.abc import Sequence

from sml_jax.common.errors import UserError
from sml_jax.dialogue.transcript import Dialogue
from sml_jax.pocket.world import PocketTask


def teacher_agreement(task: PocketTask, dialogues: Sequence[Dialogue], split: str = "test") -> tuple[int, int]:
    """Compares each teacher reply in finished dialogues with the scripted reply to the same conversation.

    Args:
      task: the task that the dialogues were played on; its scripted teacher is the standard.
      dialogues: finished dialogues about problems of `split`.
      split: "train" or "test".

    Returns:
      (number of replies that are equal character by character, number of all replies). The teacher's first turn, which
      states the problem, is not a reply.

    Raises:
      UserError: a dialogue's problem is not in the split.
    """
    # The scripted teacher needs the problem itself; dialogues hold its id.
    problems = {problem.id: problem for problem in task.problems(split)}
    agreed = replies = 0
    for dialogue in dialogues:
        problem = problems.get(dialogue.problem_id)
        if problem is None:
            raise UserError(f"{task.name} has no {split} problem {dialogue.problem_id!r}: give the dialogues' split")
        # Turns alternate and the teacher opens, so its replies stand at the even positions from 2 on.
        for position in range(2, len(dialogue.turns), 2):
            verdict = dialogue.verdicts[position // 2 - 1]
            scripted_reply = task.reply(problem, dialogue.turns[:position], verdict)
            agreed += scripted_reply == dialogue.turns[position].text
            replies += 1
    return agreed, replies
