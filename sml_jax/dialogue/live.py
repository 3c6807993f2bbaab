"""A dialogue under way: what is public, what the teacher's side holds, and what it has come to."""

from __future__ import annotations

from dataclasses import dataclass, field

from sml_jax.dialogue.framing import Framing
from sml_jax.dialogue.transcript import Dialogue, Record
from sml_jax.tasks.problems.types import Problem, Turn, Verdict


@dataclass
class LiveDialogue:
    """State of one dialogue, on the host.

    Attributes:
      id: of the dialogue in its run; with the run's seed it decides every random draw.
      group: index of its problem in the rollout. row: where it runs.
      other: another problem, for a teacher that knows the wrong one.
      record: the student's context. knowing: the teacher's, private knowledge included.
      revealed: numbers of the shards that a language-model user has revealed, in their order.
      most_turns: student turns that it may have.
      over: nobody speaks any more. overlong: for want of room in a context.
      dropped: why it does not count, "" if it does; see `drops`.
    """

    id: int
    group: int
    row: int
    problem: Problem
    other: Problem
    record: Record = field(default_factory=Record)
    teacher_context: list[int] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    leaks: int = 0
    redactions: int = 0
    injected_turns: list[int] = field(default_factory=list)
    truncated: int = 0
    unmarked: int = 0
    revealed: list[int] = field(default_factory=list)
    most_turns: int = 0
    over: bool = False
    overlong: bool = False
    dropped: str = ""

    @property
    def solved_turn(self) -> int:
        """The first correct turn, from 1; 0 for none. The dialogue ends there."""
        return len(self.verdicts) if self.verdicts and self.verdicts[-1].correct else 0

    @property
    def public_text(self) -> str:
        """What the problem's statement and the student have said: no leak if the teacher says it again."""
        said = [turn.text for turn in self.turns if turn.role == "student"]
        return "\n".join([self.problem.question, *said])

    def drop(self, kind: str, why: str) -> None:
        """Ends the dialogue and leaves it out, for a reason that opens with its kind."""
        self.dropped, self.over = f"{kind}: {why}", True

    def finished(self, arm: str) -> Dialogue:
        """The dialogue as it stands, for a reader."""
        return Dialogue(
            problem_id=self.problem.id,
            arm=arm,
            turns=tuple(self.turns),
            verdicts=tuple(self.verdicts),
            solved_turn=0 if self.dropped else self.solved_turn,
            tokens=tuple(self.record.tokens),
            leaks=self.leaks,
            redactions=self.redactions,
            injected_turns=tuple(self.injected_turns),
            truncated=self.truncated,
            unmarked=self.unmarked,
            revealed=tuple(self.revealed),
            overlong=self.overlong,
            dropped=self.dropped,
        )


def open_dialogue(live: LiveDialogue, framing: Framing, static_knowledge: str) -> None:
    """The teacher states the problem; the student's turn is opened in its own context only."""
    live.turns.append(Turn("teacher", live.problem.question))
    live.record.given(framing.student_opening(live.problem.question))
    live.teacher_context = framing.teacher_opening(live.problem.question, static_knowledge)
