"""Chat templates as token pieces.

Contexts are only ever appended to, so no text is rendered or tokenised twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sml_jax.common.errors import UserError
from sml_jax.text.tokenizer import Tokenizer

Speaker = Literal["system", "user", "model"]


@dataclass(frozen=True)
class MessageFormat:
    """A chat format: the tokens around the messages of a chat. `message_format` makes those of the public families.

    A context is `begin`, then messages. A message is an opening, its text, the first of `stop_ids`, and `after`. What
    the model samples follows `open_model` and ends with one of `stop_ids`.

    Attributes:
      tokenizer: encodes the texts of messages.
      begin: tokens that open a context; may be empty.
      open_system: tokens that open the system's message. None if the family has none; system text then goes in front of
        the text of the first user message, with a blank line between them.
      open_user: tokens that open a user's message.
      open_model: tokens that open the model's message.
      stop_ids: tokens that end a sampled message. The first of them closes messages whose text is given.
      after: tokens between the end of a message and the next opening.
      think: the tokens that open and close a block of thinking, which the model may sample before its answer; None if
        it may not.
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
        """Plain text as tokens. Text that spells a control token becomes ordinary tokens."""
        return self.tokenizer.encode(text)

    def message(self, speaker: Speaker, text: str) -> list[int]:
        """The tokens of a complete message: its opening, the text, the first of `stop_ids`, and `after`.

        Args:
          speaker: "system", "user" or "model".
          text: the text of the message.

        Raises:
          UserError: `speaker` is "system", and the family has no system message.
        """
        # One of the three openings is missing in families without a system message.
        opening = {"system": self.open_system, "user": self.open_user, "model": self.open_model}[speaker]
        if opening is None:
            raise UserError("this chat format has no system message: put its text in front of the first user message")
        return [*opening, *self.text(text), *self.stop_ids[:1], *self.after]

    def utterance(self, tokens: Sequence[int]) -> str:
        """The text of tokens. Control tokens, such as `stop_ids` and the markers of thinking, are left out."""
        return self.tokenizer.decode(tokens)

    def spoken(self, tokens: Sequence[int]) -> list[int]:
        """The tokens of a sampled message that the other side may read: without `stop_ids` and its block of thinking.

        Newlines after the block are removed too. The list is empty if the block was never closed, because the message
        was cut off while the model was thinking.
        """
        message_tokens = [int(token) for token in tokens if int(token) not in self.stop_ids]
        if self.think is None:
            return message_tokens
        last_opening, last_closing = (_last_index(message_tokens, marker) for marker in self.think)
        # Cut off while thinking: nothing was said. Without any block, all of it was.
        if last_opening > last_closing:
            return []
        if last_closing < 0:
            return message_tokens
        # The answer starts after the block and the newlines behind it.
        answer_start = last_closing + 1
        while answer_start < len(message_tokens) and not self.tokenizer.decode(
            message_tokens[answer_start : answer_start + 1]
        ).strip("\n"):
            answer_start += 1
        return message_tokens[answer_start:]

    def suppressed_ids(self) -> tuple[int, ...]:
        """Ids that must not be sampled: all control tokens but `stop_ids` and the markers in `think`, sorted."""
        return tuple(sorted(self.tokenizer.control_ids() - {*self.stop_ids, *(self.think or ())}))


def _last_index(tokens: Sequence[int], token: int) -> int:
    """The last index of a token; -1 if it does not occur."""
    return max((index for index, other in enumerate(tokens) if other == token), default=-1)
