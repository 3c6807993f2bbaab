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
    """The tokens around the turns of a dialogue, for models without prompts in natural language.

    It has the methods of `sml_jax.dialogue.framing.Framing`, which say when each is used.

    Attributes:
      tokenizer: encodes the texts between the pieces.
      begin: opens a context.
      open_teacher: opens a teacher's turn.
      open_student: opens a student's turn.
      open_private: opens a block that only the teacher reads.
      ask: follows a student's turn in the question writer's context and asks for a question to put in its place.
      stop_ids: tokens that end a sampled turn. The first of them closes the turns that we write.
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
        """The piece that closes a turn that we write."""
        return self.stop_ids[:1]

    def open(self, role: Role) -> tuple[int, ...]:
        """The piece that opens `role`'s turn."""
        return self.open_student if role == "student" else self.open_teacher

    def text(self, text: str) -> list[int]:
        """A text as tokens, without an end."""
        return self.tokenizer.encode(text)

    def turn(self, role: Role, text: str) -> list[int]:
        """A complete turn with the given text."""
        return [*self.open(role), *self.text(text), *self.close]

    def private(self, text: str, limit: int | None = None) -> list[int]:
        """A block of private knowledge with at most `limit` tokens of text; no tokens for an empty text."""
        return [*self.open_private, *self.text(text)[:limit], *self.close] if text else []

    # Sampled turns.
    def utterance(self, tokens: Sequence[int]) -> str:
        """The text of sampled tokens. Their end, a control token, leaves nothing behind."""
        return self.tokenizer.decode(tokens)

    def spoken(self, tokens: Sequence[int]) -> list[int]:
        """Sampled tokens without their end."""
        return [token for token in tokens if token not in self.stop_ids]

    def feedback(self, tokens: Sequence[int]) -> list[int] | None:
        """The part of a sampled teacher turn that goes to the student: all but its end."""
        return self.spoken(tokens)

    # The student's context: private knowledge never enters it.
    def student_opening(self, question: str) -> list[int]:
        """The student's context up to its first turn: the problem as the teacher's turn, then the student's opening."""
        return [*self.begin, *self.turn("teacher", question), *self.open_student]

    def student_hears(self, reply: Sequence[int]) -> list[int]:
        """The teacher's reply as a complete turn, then the opening of the student's next turn."""
        return [*self.open_teacher, *reply, *self.close, *self.open_student]

    # The teacher's context.
    def teacher_opening(self, question: str, knowledge: str) -> list[int]:
        """The teacher's context up to the student's first turn: private knowledge, then the problem."""
        return [*self.begin, *self.private(knowledge), *self.turn("teacher", question)]

    def teacher_hears(self, student_turn: Sequence[int]) -> list[int]:
        """The student's turn as the teacher reads it, closed by the first stop token whichever one was sampled."""
        return [*self.open_student, *student_turn, *self.close]

    def teacher_reads(self, private: str, limit: int | None = None) -> list[int]:
        """The verifier's words on that turn, as private knowledge."""
        return self.private(private, limit)

    # The pieces around a reply that is sampled in between.
    def teacher_begins(self) -> list[int]:
        """Opens the teacher's turn."""
        return list(self.open_teacher)

    def teacher_ends(self) -> list[int]:
        """Closes the teacher's turn."""
        return list(self.close)

    def asks_question(self) -> list[int]:
        """Asks for a question in place of the student's last turn."""
        return list(self.ask)

    def suppressed_ids(self) -> tuple[int, ...]:
        """Tokens that neither side may sample: all control tokens but those that end a turn."""
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
