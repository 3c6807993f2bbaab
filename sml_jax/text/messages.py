"""A family's chat template as token pieces. Contexts are only ever appended to, so nothing is rendered twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sml_jax.common.errors import UserError
from sml_jax.text.tokenizer import Tokenizer

Speaker = Literal["system", "user", "model"]


@dataclass(frozen=True)
class MessageFormat:
    """What stands around the messages of a chat, as tokens. `sml_jax.text.families` makes those of the public families.

    A context is `begin`, then messages: an opening, the message, the first of the ends, `after`. The model is sampled
    behind `open_model` and says an end itself.

    Attributes:
      tokenizer: encodes what is between the pieces.
      begin: opens a context; may be empty.
      open_system: opens the system's message. None if the family has none: system text then goes in front of the first
        user message, with a blank line between.
      open_user: opens a user's message.
      open_model: opens the model's message, up to what is sampled.
      ends: tokens that end a sampled message; the first of them closes messages that we write.
      after: what stands between an end and the next opening.
      think: the tokens that open and close a block of thinking which the model may sample first; None if it may not.
    """

    tokenizer: Tokenizer
    begin: tuple[int, ...]
    open_system: tuple[int, ...] | None
    open_user: tuple[int, ...]
    open_model: tuple[int, ...]
    stop_ids: tuple[int, ...]
    after: tuple[int, ...]
    think: tuple[int, int] | None = None

    def text(self, text: str) -> list[int]:
        """Plain text as tokens; never a control token."""
        return self.tokenizer.encode(text)

    def message(self, speaker: Speaker, text: str) -> list[int]:
        """A whole message of given text, up to where the next one opens.

        Raises:
          UserError: a system message in a family without any.
        """
        opening = {"system": self.open_system, "user": self.open_user, "model": self.open_model}[speaker]
        if opening is None:
            raise UserError("this chat format has no system message: put its text in front of the first user message")
        return [*opening, *self.text(text), *self.stop_ids[:1], *self.after]

    def utterance(self, tokens: Sequence[int]) -> str:
        """The text of tokens, with or without an end; markers of thinking leave nothing behind."""
        return self.tokenizer.decode(tokens)

    def spoken(self, tokens: Sequence[int]) -> list[int]:
        """What of a sampled message the other side may read: no end, no block of thinking, no newlines behind that.

        A block that was opened and not closed, because the message was cut off, leaves nothing.
        """
        said = [int(token) for token in tokens if int(token) not in self.stop_ids]
        if self.think is None:
            return said
        opened, closed = (_last(said, marker) for marker in self.think)
        if opened > closed:
            return []
        if closed < 0:
            return said
        start = closed + 1
        while start < len(said) and not self.tokenizer.decode(said[start : start + 1]).strip("\n"):
            start += 1
        return said[start:]

    def suppressed_ids(self) -> tuple[int, ...]:
        """Tokens that nobody may sample: every control but the ends and the markers of thinking."""
        return tuple(sorted(self.tokenizer.control_ids() - {*self.stop_ids, *(self.think or ())}))


def _last(tokens: Sequence[int], token: int) -> int:
    """Where a token stands last; -1 if nowhere."""
    return max((at for at, other in enumerate(tokens) if other == token), default=-1)
