"""Room in the contexts: what a dialogue may take, and whether the next turn still fits."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from sml_jax.dialogue.drops import in_one_line
from sml_jax.dialogue.framing import Framing
from sml_jax.dialogue.live import LiveDialogue
from sml_jax.dialogue.rules import DialogueRules
from sml_jax.errors import UserError
from sml_jax.tasks.problems.types import Problem, Task

ENDLESS = sys.maxsize


@dataclass(frozen=True)
class TurnCosts:
    """The most tokens that each step of a dialogue adds to a context, every budget spent.

    Attributes:
      student_turn, student_reply: the student's turn and the teacher's reply, in the student's context.
      teacher_turn, teacher_reply: the same in the teacher's; the verifier's words count with the reply.
      question: what the question writer reads and writes on from the teacher's context, and takes back.
      max_rewind: the most that a side takes back at once: a reply that is drawn again, or a turn for a question.
    """

    student_turn: int
    student_reply: int
    teacher_turn: int
    teacher_reply: int
    question: int
    max_rewind: int

    @classmethod
    def under(cls, framing: Framing, rules: DialogueRules) -> TurnCosts:
        """The steps of dialogues under these rules."""
        reply = max(rules.teacher_tokens, len(framing.text(rules.guard.redaction)))
        private = rules.private_tokens + len(framing.teacher_reads("-", 0))
        heard = rules.student_tokens + len(framing.teacher_hears([]))
        # The verifier's words once more, the request, and the question.
        question = private + len(framing.asks_question()) + rules.student_tokens if rules.injection else 0
        return cls(
            student_turn=rules.student_tokens + 1,
            student_reply=reply + len(framing.student_hears([])),
            teacher_turn=heard,
            teacher_reply=private + len(framing.teacher_begins()) + reply + len(framing.teacher_ends()),
            question=question,
            max_rewind=max(rules.teacher_tokens, heard + question if question else 0),
        )


@dataclass(frozen=True)
class ContextBudget:
    """Tells whether what comes next fits whole, so that no turn is cut for want of room.

    Attributes:
      student: tokens of the student's context at most. knowing: of the teacher's and the question writer's.
    """

    steps: TurnCosts
    student: int = ENDLESS
    teacher_context: int = ENDLESS

    def for_turn(self, live: LiveDialogue) -> bool:
        """Whether the student may begin a turn: both sides can take all of it."""
        return self._fits(live, 0, 0)

    def for_exchange(self, live: LiveDialogue) -> bool:
        """Whether the teacher may reply: both sides can take that and the student's turn after it."""
        return self._fits(live, self.steps.student_reply, self.steps.teacher_reply)

    def _fits(self, live: LiveDialogue, in_record: int, in_knowing: int) -> bool:
        steps = self.steps
        heard = len(live.teacher_context) + in_knowing + steps.teacher_turn + steps.question
        said = len(live.record.tokens) + in_record + steps.student_turn
        return said <= self.student and heard <= self.teacher_context


def required_length(framing: Framing, task: Task, problems: Sequence[Problem], rules: DialogueRules) -> int:
    """Tokens that the longer side's context may take, if every turn spends its whole budget.

    A problem that cannot be written down is left out: its dialogues will be dropped.

    Raises:
      UserError: there is none that can be.
    """
    return _longest(_openings(framing, task, problems), framing, rules)


def context_length(framing: Framing, task: Task, problems: Sequence[Problem], rules: DialogueRules) -> int:
    """Tokens of context to make room for: `required_length`, or `rules.max_context` if that is less.

    Raises:
      UserError: no problem leaves the student room for a turn.
    """
    openings = _openings(framing, task, problems)
    required = _longest(openings, framing, rules)
    if rules.max_context is None or required <= rules.max_context:
        return required
    least = min(student for student, _ in openings) + TurnCosts.under(framing, rules).student_turn
    if least > rules.max_context:
        raise UserError(
            f"dialogue: max_context is {rules.max_context}, but the shortest problem of {task.name} and one student "
            f"turn take {least} tokens: raise max_context, or lower student_tokens"
        )
    return rules.max_context


def _longest(openings: Sequence[tuple[int, int]], framing: Framing, rules: DialogueRules) -> int:
    steps, replies = TurnCosts.under(framing, rules), rules.max_turns - 1
    student, teacher = map(max, zip(*openings, strict=True))
    return max(
        student + rules.max_turns * steps.student_turn + replies * steps.student_reply,
        teacher + rules.max_turns * steps.teacher_turn + replies * steps.teacher_reply + steps.question,
    )


def _openings(framing: Framing, task: Task, problems: Sequence[Problem]) -> list[tuple[int, int]]:
    """Tokens that open the student's and the teacher's context, for each problem that can be written down."""
    lengths, failure = [], None
    for problem in problems:
        try:
            student = framing.student_opening(problem.question)
            teacher = framing.teacher_opening(problem.question, task.static_knowledge(problem))
        except Exception as error:
            failure = failure or f"problem {problem.id}: {in_one_line(error)}"
        else:
            lengths.append((len(student), len(teacher)))
    if not lengths:
        why = failure or "there are none"
        raise UserError(f"{task.name}: none of {len(problems)} problems can be written down for a model: {why}")
    return lengths
