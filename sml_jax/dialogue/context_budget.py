"""Context budgets: how many tokens a dialogue may take, and whether the next turn still fits."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from sml_jax.common.errors import UserError
from sml_jax.common.own_code import raise_own_mistake
from sml_jax.dialogue.drops import in_one_line
from sml_jax.dialogue.framing import Framing
from sml_jax.dialogue.live import LiveDialogue
from sml_jax.dialogue.rules import DialogueRules
from sml_jax.dialogue.teacher import Teacher
from sml_jax.engine.engine import Engine
from sml_jax.tasks.problems.types import Problem, Task

UNLIMITED = sys.maxsize


@dataclass(frozen=True)
class TurnCosts:
    """The most tokens that each step of a dialogue can add to a context.

    Attributes:
      student_turn: of the student's turn, in the student's context.
      student_reply: of the teacher's reply, in the student's context.
      teacher_turn: of the student's turn, in the teacher's context.
      teacher_reply: of the teacher's reply and of the verifier's words before it, in the teacher's context.
      question: what the question writer reads and writes beyond the teacher's context; removed again afterwards.
        0 without question injection.
      max_rewind: the most tokens that are removed at once from the end of a context, for a reply that is sampled again
        or a turn that a question replaces.
    """

    student_turn: int
    student_reply: int
    teacher_turn: int
    teacher_reply: int
    question: int
    max_rewind: int

    @classmethod
    def under(cls, framing: Framing, rules: DialogueRules) -> TurnCosts:
        """The costs in dialogues that are written as tokens by `framing` and limited by `rules`."""
        # A reply may be the guard's redaction, which no budget cuts.
        reply_tokens = max(rules.teacher_tokens, len(framing.text(rules.guard.redaction)))
        # The framing of an empty text is empty, so it is measured around a text of one sign, which the limit 0 cuts.
        private_tokens = rules.private_tokens + len(framing.teacher_reads("-", 0))
        teacher_turn = rules.student_tokens + len(framing.teacher_hears([]))
        # The writer reads the verifier's words and a request after the attempt, and then writes the question.
        question_tokens = private_tokens + len(framing.asks_question()) + rules.student_tokens if rules.injection else 0
        return cls(
            # A turn that spends its tokens gets an end besides.
            student_turn=rules.student_tokens + 1,
            student_reply=reply_tokens + len(framing.student_hears([])),
            teacher_turn=teacher_turn,
            teacher_reply=private_tokens + len(framing.teacher_begins()) + reply_tokens + len(framing.teacher_ends()),
            question=question_tokens,
            max_rewind=max(rules.teacher_tokens, teacher_turn + question_tokens if question_tokens else 0),
        )


@dataclass(frozen=True)
class ContextBudget:
    """Tells whether the next turn fits in both contexts, so that no turn is cut because a context is full.

    Attributes:
      costs: tokens that each step adds at most.
      student: largest number of tokens in the student's context.
      teacher: largest number of tokens in the teacher's context, which the question writer reads too.
    """

    costs: TurnCosts
    student: int = UNLIMITED
    teacher: int = UNLIMITED

    @classmethod
    def of(cls, framing: Framing, rules: DialogueRules, engine: Engine, teacher: Teacher) -> ContextBudget:
        """The budget of a rollout's dialogues.

        Args:
          framing, rules: how the dialogues are written as tokens, and their limits.
          engine: the student's; the question writer uses it too.
          teacher: the rollout's. If it has no contexts, only the question writer limits the teacher's context.
        """
        costs = TurnCosts.under(framing, rules)
        # Models that read the teacher's context: the question writer, in the student's engine, and the teacher.
        reader_lengths = [engine.max_length] if rules.injection is not None else []
        if teacher.max_length is not None:
            reader_lengths.append(teacher.max_length)
        if rules.max_context is not None:
            teacher_limit = min(rules.max_context, *reader_lengths) if reader_lengths else UNLIMITED
            return cls(costs, min(rules.max_context, engine.max_length), teacher_limit)
        # Without `max_context` the engine was made with room for every dialogue. Only a teacher that knows another
        # problem may meet a pair of statement and knowledge that is longer than any that the engine was measured by.
        return cls(costs, teacher=min(reader_lengths, default=UNLIMITED)) if teacher.knows == "other" else cls(costs)

    def for_turn(self, live: LiveDialogue) -> bool:
        """Whether a whole student turn fits in both sides' contexts, so that the student may begin it."""
        return self._fits(live, 0, 0)

    def for_exchange(self, live: LiveDialogue) -> bool:
        """Whether the teacher may reply: the reply and the student's next turn both fit in both sides' contexts."""
        return self._fits(live, self.costs.student_reply, self.costs.teacher_reply)

    def _fits(self, live: LiveDialogue, student_reply: int, teacher_reply: int) -> bool:
        """Whether a student turn fits in both contexts after replies of so many tokens."""
        costs = self.costs
        teacher_length = len(live.teacher_context) + teacher_reply + costs.teacher_turn + costs.question
        student_length = len(live.student_context.tokens) + student_reply + costs.student_turn
        return student_length <= self.student and teacher_length <= self.teacher


def required_length(framing: Framing, task: Task, problems: Sequence[Problem], rules: DialogueRules) -> int:
    """The largest number of tokens that a context of either side can reach if every turn spends its whole budget.

    A problem that cannot be written as tokens is left out, since its dialogues will be dropped.

    Raises:
      UserError: no problem can be written as tokens.
    """
    return _longest(_openings(framing, task, problems), framing, rules)


def context_length(framing: Framing, task: Task, problems: Sequence[Problem], rules: DialogueRules) -> int:
    """The length in tokens that an engine's contexts need: `required_length`, or `rules.max_context` if that is less.

    Raises:
      UserError: no problem can be written as tokens, or `rules.max_context` is too short for any problem and one turn.
    """
    return context_lengths(framing, task, problems, rules)[1]


def context_lengths(framing: Framing, task: Task, problems: Sequence[Problem], rules: DialogueRules) -> tuple[int, int]:
    """The fewest tokens that open a context of either side, and `context_length`. Both raise the same errors."""
    opening_lengths = _openings(framing, task, problems)
    shortest_opening = min(map(min, opening_lengths))
    required_tokens = _longest(opening_lengths, framing, rules)
    if rules.max_context is None or required_tokens <= rules.max_context:
        return shortest_opening, required_tokens
    # Long problems may be dropped, but if even the shortest has no room then nothing can be played.
    shortest_dialogue = (
        min(student_length for student_length, _ in opening_lengths) + TurnCosts.under(framing, rules).student_turn
    )
    if shortest_dialogue > rules.max_context:
        raise UserError(
            f"dialogue: max_context is {rules.max_context}, but the shortest problem of {task.name} and one student "
            f"turn take {shortest_dialogue} tokens: raise max_context, or lower student_tokens"
        )
    return shortest_opening, rules.max_context


def _longest(openings: Sequence[tuple[int, int]], framing: Framing, rules: DialogueRules) -> int:
    """Tokens of the longer side's context after the last student turn, which has no reply."""
    costs, reply_count = TurnCosts.under(framing, rules), rules.max_turns - 1
    # The longest openings of either side need not be of the same problem: this is an upper bound.
    student_opening, teacher_opening = map(max, zip(*openings, strict=True))
    return max(
        student_opening + rules.max_turns * costs.student_turn + reply_count * costs.student_reply,
        teacher_opening + rules.max_turns * costs.teacher_turn + reply_count * costs.teacher_reply + costs.question,
    )


def _openings(framing: Framing, task: Task, problems: Sequence[Problem]) -> list[tuple[int, int]]:
    """Numbers of tokens that open the contexts of student and teacher, for each problem that tokens can express."""
    lengths, first_failure = [], None
    for problem in problems:
        # A framing or a task of one's own may raise anything about a problem's text.
        try:
            student_tokens = framing.student_opening(problem.question)
            teacher_tokens = framing.teacher_opening(problem.question, task.static_knowledge(problem))
        except Exception as error:
            raise_own_mistake(error, f"measuring how long the dialogue about problem {problem.id} begins")
            first_failure = first_failure or f"problem {problem.id}: {in_one_line(error)}"
        else:
            lengths.append((len(student_tokens), len(teacher_tokens)))
    if not lengths:
        reason = first_failure or "there are none"
        raise UserError(f"{task.name}: none of {len(problems)} problems can be written down for a model: {reason}")
    return lengths
