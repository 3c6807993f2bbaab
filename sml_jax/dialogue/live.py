"""A dialogue under way: what is public, what each side's context holds, and what has come of it so far."""

from __future__ import annotations

from dataclasses import dataclass, field

from sml_jax.dialogue.framing import Framing
from sml_jax.dialogue.transcript import Dialogue, StudentContext
from sml_jax.tasks.problems.types import Problem, Turn, Verdict


@dataclass
class LiveDialogue:
    """The state of one dialogue while it is played, on the host.

    Attributes:
      id: unique in the run; with the run's seed it decides every random draw of the dialogue.
      group: index of its problem in the rollout. row: its row in the batches of both sides' models.
      problem: what it is about. other_problem: another one, for a teacher that knows the wrong one.
      static_knowledge: what the teacher alone knows from the start, "" for nothing. dynamic_knowledge: for each reply
        that it was asked for, what it alone was told before.
      student_context: what the student has read and said, as tokens.
      teacher_context: what the teacher has read and said, private knowledge included, as tokens.
      turns: the public conversation as text. verdicts: those on the student's turns, in order.
      leaks, one_steps, redactions, injected_turns, truncated, unmarked: see `Dialogue`.
      revealed: numbers of the facts that the teacher's replies have revealed, in their order; see `Reply.fact`.
      reread_from: index of the first token of `student_context` that has changed since the student's model read it;
        None if it has only grown.
      max_turns: the largest number of student turns.
      over: whether it has ended. overlong: whether it ended because a context had no room for the next exchange.
      dropped: why it is left out of all numbers, "" if it is not; see `drops`.
    """

    # Which dialogue it is, and where it runs.
    id: int
    group: int
    row: int
    problem: Problem
    other_problem: Problem
    # What each side has read and said: private knowledge is in the teacher's context alone.
    static_knowledge: str = ""
    dynamic_knowledge: list[str] = field(default_factory=list)
    student_context: StudentContext = field(default_factory=StudentContext)
    teacher_context: list[int] = field(default_factory=list)
    # The conversation as text, and what it came to.
    turns: list[Turn] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    # What the rollout did about it.
    leaks: int = 0
    one_steps: int = 0
    redactions: int = 0
    injected_turns: list[int] = field(default_factory=list)
    truncated: int = 0
    unmarked: int = 0
    revealed: list[int] = field(default_factory=list)
    reread_from: int | None = None
    # Whether it goes on.
    max_turns: int = 0
    over: bool = False
    overlong: bool = False
    dropped: str = ""

    @property
    def solved_turn(self) -> int:
        """The number of the first student turn that was correct, from 1; 0 for none."""
        return next((turn for turn, verdict in enumerate(self.verdicts, 1) if verdict.correct), 0)

    @property
    def public_text(self) -> str:
        """The problem's statement and the student's turns, joined by newlines.

        The teacher may repeat any of it: what stands here is no leak.
        """
        student_texts = [turn.text for turn in self.turns if turn.role == "student"]
        return "\n".join([self.problem.question, *student_texts])

    def open(self, framing: Framing, static_knowledge: str) -> None:
        """States the problem to both sides, as the teacher's first turn and at the head of both contexts.

        The dialogue's first turn is the teacher's; the student's comes second.

        Args:
          framing: writes the contexts as tokens.
          static_knowledge: what the teacher alone knows from the start, "" for nothing.
        """
        self.static_knowledge = static_knowledge
        self.turns.append(Turn("teacher", self.problem.question))
        self.student_context.add_given(framing.student_opening(self.problem.question))
        self.teacher_context = framing.teacher_opening(self.problem.question, static_knowledge)

    def take_back_thinking(self, framing: Framing) -> None:
        """Rewrites the student's last turn in its own context, if `framing` does so when the teacher has answered."""
        context, turn = self.student_context, len(self.verdicts)
        # A turn of which every token was given, or none is there, has nothing to be taken back.
        if turn not in context.turn:
            return
        turn_start = context.turn.index(turn)
        rewritten = framing.earlier_turn(context.tokens[turn_start:])
        if rewritten is not None:
            opening_tokens, tokens = rewritten
            self.reread_from = context.rewrite_turn(turn, opening_tokens, [*tokens, *framing.stop_ids[:1]])

    def drop(self, kind: str, why: str) -> None:
        """Ends the dialogue and leaves it out of all numbers.

        Args:
          kind: one of the kinds in `drops`: "verifier", "problem", "overlong" or "teacher".
          why: the reason, in one line. `dropped` becomes "KIND: WHY".
        """
        self.dropped, self.over = f"{kind}: {why}", True

    def to_dialogue(self, arm: str) -> Dialogue:
        """The dialogue as it stands now, as an immutable record.

        Args:
          arm: the teacher's name, or another label.
        """
        return Dialogue(
            problem_id=self.problem.id,
            arm=arm,
            turns=tuple(self.turns),
            verdicts=tuple(self.verdicts),
            # The verdicts of a dropped dialogue prove nothing.
            solved_turn=0 if self.dropped else self.solved_turn,
            tokens=tuple(self.student_context.tokens),
            turn_starts=tuple(self.student_context.turn_starts),
            leaks=self.leaks,
            one_steps=self.one_steps,
            redactions=self.redactions,
            injected_turns=tuple(self.injected_turns),
            truncated=self.truncated,
            unmarked=self.unmarked,
            revealed=tuple(self.revealed),
            overlong=self.overlong,
            dropped=self.dropped,
            domain=self.problem.domain,
            static_knowledge=self.static_knowledge,
            dynamic_knowledge=tuple(self.dynamic_knowledge),
        )
