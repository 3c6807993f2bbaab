"""The rules of a dialogue: its turns and budgets, the leak guard, and Q-priming's questions."""

from __future__ import annotations

from dataclasses import dataclass

from sml_jax.common.errors import UserError, at_least


@dataclass(frozen=True)
class LeakGuard:
    """Keeps a teacher from giving the answer away.

    Attributes:
      regenerations: how often a turn that gives the answer away is sampled again.
      redaction: the text that replaces the turn if no sample passes.
      refuse_one_step: whether a turn that leaves the student one operation from the answer ("you are 6 too high") is
        treated like one that gives the answer away. It is counted in any case.

    Raises:
      UserError: `regenerations` is negative or `redaction` is empty.
    """

    regenerations: int = 2
    redaction: str = "i can not say that"
    refuse_one_step: bool = False

    def __post_init__(self) -> None:
        at_least(self, regenerations=0)
        if not self.redaction.strip():
            raise UserError("leak guard: redaction is empty: give the text that replaces a turn that leaks")


@dataclass(frozen=True)
class QuestionInjection:
    """Q-priming: replaces some incorrect student turns by questions (arXiv 2602.16488).

    The student's own model writes the question; it is shown its attempt and the teacher's private knowledge. The
    student's context holds the question alone.

    Attributes:
      decay: a question is written for an incorrect turn with probability decay ** t, where t is the turn's number among
        all student turns of the dialogue, counted from 0: for an incorrect first turn always. A question that is cut
        short, attempts an answer or gives the answer away is not used, and the turn stays as it was.

    Raises:
      UserError: `decay` is no probability.
    """

    decay: float = 0.75

    def __post_init__(self) -> None:
        if not 0 <= self.decay <= 1:
            raise UserError(f"question injection: decay is {self.decay}; give a probability")


@dataclass(frozen=True)
class DialogueRules:
    """Limits of a dialogue, and what may be done to its turns.

    Attributes:
      max_turns: largest number of student turns.
      student_tokens, teacher_tokens: largest number of tokens of a turn, its end included. A turn that reaches it
        without an end is closed there.
      private_tokens: largest number of tokens of the verifier's words that the teacher reads before each reply.
      guard: against teachers that give the answer away.
      injection: Q-priming's questions, None for none.
      overlap_verification: whether the teacher reads the student's turn while it is judged. It pays where verdicts take
        long (programs run against tests); the teacher's model then also reads turns that end a dialogue.
      verifier_retries: how often a verifier is asked again about an utterance that it failed on, before the dialogue is
        dropped.
      max_context: largest number of tokens of either side's context. A dialogue whose context has no room for the next
        exchange ends after the student's turn. None: the engine gets room for the longest dialogue that is possible.

    Raises:
      UserError: a value is too small.
    """

    # Budgets.
    max_turns: int = 4
    student_tokens: int = 12
    teacher_tokens: int = 20
    private_tokens: int = 20
    # What may be done to turns.
    guard: LeakGuard = LeakGuard()
    injection: QuestionInjection | None = None
    # How the rollout goes about it.
    overlap_verification: bool = False
    verifier_retries: int = 2
    max_context: int | None = None

    def __post_init__(self) -> None:
        smallest_values = {"max_turns": 1, "student_tokens": 1, "teacher_tokens": 1, "private_tokens": 0}
        for name, smallest in {**smallest_values, "verifier_retries": 0, "max_context": 1}.items():
            value = getattr(self, name)
            if value is not None and value < smallest:
                raise UserError(f"dialogue: {name} is {value}; it must be at least {smallest}")
