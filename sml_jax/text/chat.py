"""Chat formats as token pieces: how a turn opens and closes. Contexts are only ever appended to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sml_jax.tasks.problems.types import Role
from sml_jax.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class ChatFormat:
    """Token pieces around utterances, one control token each: a `sml_jax.dialogue.framing.Framing` without prompts.

    Attributes:
      tokenizer: encodes what is between the pieces.
      begin: opens a context.
      open_teacher, open_student: open a turn.
      open_private: opens what only the teacher may read.
      ask: after a student's turn, in the question writer's context: asks for a question to put in its place.
      ends: tokens that end a turn when sampled; the first of them closes turns that we write.
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
        return self.stop_ids[:1]

    def open(self, role: Role) -> tuple[int, ...]:
        """The piece that opens `role`'s turn."""
        return self.open_student if role == "student" else self.open_teacher

    def text(self, text: str) -> list[int]:
        """An utterance without its end."""
        return self.tokenizer.encode(text)

    def turn(self, role: Role, text: str) -> list[int]:
        """A whole turn of given text."""
        return [*self.open(role), *self.text(text), *self.close]

    def private(self, text: str, limit: int | None = None) -> list[int]:
        """A block of private knowledge, of at most `limit` tokens of text; nothing for an empty text."""
        return [*self.open_private, *self.text(text)[:limit], *self.close] if text else []

    def utterance(self, tokens: Sequence[int]) -> str:
        """The text of sampled tokens, with or without their end."""
        return self.tokenizer.decode(tokens)

    def spoken(self, tokens: Sequence[int]) -> list[int]:
        """Sampled tokens without their end."""
        return [token for token in tokens if token not in self.stop_ids]

    def feedback(self, tokens: Sequence[int]) -> list[int] | None:
        """The same: all that a teacher says goes to the student."""
        return self.spoken(tokens)

    def student_opening(self, question: str) -> list[int]:
        """The problem as the student reads it, up to its opened turn."""
        return [*self.begin, *self.turn("teacher", question), *self.open_student]

    def student_hears(self, reply: Sequence[int]) -> list[int]:
        """The teacher's reply, up to the student's opened turn."""
        return [*self.open_teacher, *reply, *self.close, *self.open_student]

    def teacher_opening(self, question: str, knowledge: str) -> list[int]:
        """Private knowledge, then the problem."""
        return [*self.begin, *self.private(knowledge), *self.turn("teacher", question)]

    def teacher_hears(self, said: Sequence[int]) -> list[int]:
        """The student's turn as the teacher reads it; closed by the first of the ends, whichever was sampled."""
        return [*self.open_student, *said, *self.close]

    def teacher_reads(self, private: str, limit: int | None = None) -> list[int]:
        """The verifier's words on that turn."""
        return self.private(private, limit)

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
        """Tokens that nobody may sample: every control but the ends of turns."""
        return tuple(sorted(self.tokenizer.control_ids() - set(self.stop_ids)))


def simple_format(tokenizer: Tokenizer) -> ChatFormat:
    """The format of the pocket world: one control token for each piece."""

    def piece(name: str) -> tuple[int, ...]:
        return (tokenizer.control(name),)

    return ChatFormat(
        tokenizer,
        begin=piece("<begin>"),
        open_teacher=piece("<teacher>"),
        open_student=piece("<student>"),
        open_private=piece("<private>"),
        ask=piece("<ask>"),
        stop_ids=piece("<end>"),
    )
