"""A chat format in which every piece around a turn is one control token, as the pocket world has it.

Contexts are only ever appended to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sml_jax.tasks.problems.types import Role
from sml_jax.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class ChatFormat:
    """A chat format with one control token for each piece around a turn, and no prompts in natural language.

    It has the methods of `sml_jax.dialogue.framing.Framing`, which documents when each is used. All of them return
    tokens, except `utterance`.

    Attributes:
      tokenizer: encodes the texts between the control tokens.
      begin: tokens that open a context.
      open_teacher: tokens that open a teacher's turn.
      open_student: tokens that open a student's turn.
      open_private: tokens that open a block that only the teacher reads.
      ask: tokens after a student's turn in the question writer's context. They ask for a question that the student
        could have asked instead.
      stop_ids: tokens that end a sampled turn. The first of them closes turns whose text is given.
    """

    tokenizer: Tokenizer
    begin: tuple[int, ...]
    open_teacher: tuple[int, ...]
    open_student: tuple[int, ...]
    open_private: tuple[int, ...]
    ask: tuple[int, ...]
    stop_ids: tuple[int, ...]

    @property
    def close(self) -> tuple[int, ...]:
        """The token that closes a turn with a given text, as a tuple."""
        return self.stop_ids[:1]

    def open(self, role: Role) -> tuple[int, ...]:
        """The tokens that open a turn of `role`, which is "student" or "teacher"."""
        return self.open_student if role == "student" else self.open_teacher

    def text(self, text: str) -> list[int]:
        """A text as tokens, without a closing token."""
        return self.tokenizer.encode(text)

    def turn(self, role: Role, text: str) -> list[int]:
        """A complete turn with the given text: its opening, the text, the closing token."""
        return [*self.open(role), *self.text(text), *self.close]

    def private(self, text: str, limit: int | None = None) -> list[int]:
        """A complete block that only the teacher reads; no tokens for an empty text.

        Args:
          text: the private knowledge.
          limit: the text is cut to this many tokens; None for no limit.
        """
        return [*self.open_private, *self.text(text)[:limit], *self.close] if text else []

    # Sampled turns.
    def utterance(self, tokens: Sequence[int]) -> str:
        """The text of sampled tokens. Control tokens, such as the one that ends a turn, are left out."""
        return self.tokenizer.decode(tokens)

    def spoken(self, tokens: Sequence[int]) -> list[int]:
        """Sampled tokens without those that end a turn (`stop_ids`)."""
        return [token for token in tokens if token not in self.stop_ids]

    def feedback(self, tokens: Sequence[int]) -> list[int] | None:
        """The tokens of a sampled teacher turn that the student is given: all but `stop_ids`. Never None here."""
        return self.spoken(tokens)

    def earlier_turn(self, tokens: Sequence[int]) -> tuple[int, list[int]] | None:
        """What becomes of a turn when the other side has answered: it always stays as it is (None)."""
        return None

    # The student's context: private knowledge never enters it.
    def student_opening(self, question: str) -> list[int]:
        """The student's context up to its first turn: the problem as the teacher's turn, then the student's opening."""
        return [*self.begin, *self.turn("teacher", question), *self.open_student]

    def student_hears(self, reply: Sequence[int]) -> list[int]:
        """The teacher's reply as a complete turn, then the opening of the student's next turn.

        They go into the student's context, which must end with the token that ends the student's last turn.
        """
        return [*self.open_teacher, *reply, *self.close, *self.open_student]

    # The teacher's context.
    def teacher_opening(self, question: str, knowledge: str) -> list[int]:
        """The teacher's context up to the student's first turn: private knowledge, then the problem."""
        return [*self.begin, *self.private(knowledge), *self.turn("teacher", question)]

    def teacher_hears(self, student_turn: Sequence[int]) -> list[int]:
        """The student's turn as a complete turn for the teacher's context, closed by the first of `stop_ids`.

        Args:
          student_turn: the sampled tokens without `stop_ids` (see `spoken`).
        """
        return [*self.open_student, *student_turn, *self.close]

    def teacher_reads(self, private: str, limit: int | None = None) -> list[int]:
        """The verifier's words on the student's turn, as private knowledge of at most `limit` tokens of text."""
        return self.private(private, limit)

    # The pieces around a reply that is sampled in between.
    def teacher_begins(self) -> list[int]:
        """The tokens that open the teacher's turn in its own context."""
        return list(self.open_teacher)

    def teacher_ends(self) -> list[int]:
        """The token that closes the teacher's turn in its own context, as a list."""
        return list(self.close)

    def asks_question(self) -> list[int]:
        """The tokens that ask for a question in place of the student's last turn (`ask`)."""
        return list(self.ask)

    def suppressed_ids(self) -> tuple[int, ...]:
        """Ids that neither side may sample: all control tokens but `stop_ids`, sorted."""
        return tuple(sorted(self.tokenizer.control_ids() - set(self.stop_ids)))


def simple_format(tokenizer: Tokenizer) -> ChatFormat:
    """The chat format of the pocket world.

    Args:
      tokenizer: it must have the control tokens <begin>, <teacher>, <student>, <private>, <ask> and <end>.

    Raises:
      UserError: the tokenizer lacks one of them.
    """

    def piece(name: str) -> tuple[int, ...]:
        return (tokenizer.control(name),)

    # The names are those of the tokenizer that the package ships for the pocket world.
    return ChatFormat(
        tokenizer,
        begin=piece("<begin>"),
        open_teacher=piece("<teacher>"),
        open_student=piece("<student>"),
        open_private=piece("<private>"),
        ask=piece("<ask>"),
        stop_ids=piece("<end>"),
    )
