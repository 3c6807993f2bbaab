"""Chat templates as token pieces.

Contexts are only ever appended to, so no text is rendered or tokenised twice.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from sml_jax.common.errors import UserError
from sml_jax.text.pieces import ChatPieces, Part, Speaker, encode_parts, names_pattern
from sml_jax.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class MessageFormat:
    """A chat format in tokens: its pieces over a tokenizer. `sml_jax.text.formats.model_format` makes a model's.

    A context is an opening, which ends with the first user's text, then `close_user` and `open_model`. What the model
    samples ends with one of `stop_ids`. `next_user` and another text of the user's follow.

    Attributes:
      tokenizer: encodes the texts of messages.
      pieces: the texts around them.
      stop_ids: tokens that end a sampled message. The first of them closes messages whose text is given.
      think: the tokens that open and close a block of thinking, which the model may sample before its answer; None if
        it may not.
      take_back: whether a message of the model's loses its thinking when the user speaks again, as in the public
        templates of models that think. If not, a context only grows.
    """

    tokenizer: Tokenizer
    pieces: ChatPieces
    stop_ids: tuple[int, ...]
    think: tuple[int, int] | None = None
    take_back: bool = False

    # The pieces as tokens.

    @cached_property
    def begin(self) -> tuple[int, ...]:
        """Tokens that open a context; may be empty."""
        return self._tokens(Part(self.pieces.begin))

    @cached_property
    def open_user(self) -> tuple[int, ...]:
        """Tokens that open a user's message."""
        return self._tokens(Part(self.pieces.user))

    @cached_property
    def close_user(self) -> tuple[int, ...]:
        """Tokens that close a user's message."""
        return self._tokens(Part(self.pieces.close_user))

    @cached_property
    def open_model(self) -> tuple[int, ...]:
        """Tokens that open the model's message."""
        return self._tokens(Part(self.pieces.model))

    @cached_property
    def after(self) -> tuple[int, ...]:
        """Tokens between the end of the model's message and the opening of the user's."""
        return self._tokens(Part(self.pieces.after))

    @cached_property
    def model_turn(self) -> tuple[int, ...]:
        """Tokens behind a user's text, up to where the model's message is sampled."""
        return self._tokens(Part(self.pieces.close_user + self.pieces.model))

    @cached_property
    def next_user(self) -> tuple[int, ...]:
        """Tokens behind the end of the model's message, up to the next user's text."""
        return self._tokens(Part(self.pieces.after + self.pieces.user))

    # Texts.

    def text(self, text: str) -> list[int]:
        """Plain text as tokens. Text that spells a control token becomes ordinary tokens."""
        return self.tokenizer.encode(text)

    def opening(self, user: str, system: str | None = None, whole: bool = True) -> list[int]:
        """The head of a context: the start, the system's text, and the first user's message up to the end of its text.

        Args:
          user: the text of the user's message, or its first part.
          system: the system's text; "" for none; None for what the public template has in a chat without one.
          whole: whether `user` is the whole text. If not, no white space at its end is stripped.

        Returns:
          The tokens of all of it as one text. They are followed by `model_turn`, or by the rest of the message.
        """
        written = self.pieces.as_written("user", user)
        if not whole:
            written += user[len(user.rstrip()) :] if written else ""
        return list(self._tokens(*self.pieces.start(system), Part(written, given=True)))

    def message(self, speaker: Speaker, text: str) -> list[int]:
        """The tokens of a complete message behind others: its opening, the text, its end, and `after`.

        Args:
          speaker: "system", "user" or "model". The system's message can only be a context's first.
          text: the text of the message.

        Raises:
          UserError: `speaker` is "system", and the format has no system message.
        """
        p = self.pieces
        given = Part(p.as_written(speaker, text), given=True)
        if speaker == "user":
            return list(self._tokens(Part(p.user), given, Part(p.close_user)))
        if speaker == "model":
            return list(self._tokens(Part(p.model), given, Part(p.stop + p.after)))
        if not p.has_system_message or p.system_start is None:
            raise UserError("this chat format has no system message: put its text in front of the first user message")
        opening = Part(p.system_start.removeprefix(p.begin))
        return list(self._tokens(opening, given, Part(p.system_end.removesuffix(p.user))))

    # Sampled messages.

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
            return [] if self.pieces.opens_thinking else message_tokens
        # The answer starts after the block and the newlines behind it.
        answer_start = last_closing + 1
        while answer_start < len(message_tokens) and not self.tokenizer.decode(
            message_tokens[answer_start : answer_start + 1]
        ).strip("\n"):
            answer_start += 1
        return message_tokens[answer_start:]

    def earlier_message(self, tokens: Sequence[int]) -> tuple[int, list[int]] | None:
        """What becomes of a message of the model's in its own context when the user speaks again.

        Args:
          tokens: the message without its opening.

        Returns:
          None if it stays as it is. Otherwise the number of tokens at the end of the opening that are taken back, and
          the tokens that stand in place of these and the message, without its end.
        """
        if not self.take_back:
            return None
        sampled, kept = [int(token) for token in tokens if int(token) not in self.stop_ids], self.spoken(tokens)
        earlier = self._tokens(Part(self.pieces.close_user + self.pieces.opening_of_earlier))
        pairs = enumerate(zip(self.model_turn, earlier, strict=False))
        shared = next((index for index, (a, b) in pairs if a != b), min(len(self.model_turn), len(earlier)))
        if len(earlier) == shared == len(self.model_turn) and kept == sampled:
            return None
        return len(self.model_turn) - shared, [*earlier[shared:], *kept]

    def suppressed_ids(self) -> tuple[int, ...]:
        """Ids that must not be sampled: all control tokens but `stop_ids` and the markers in `think`, sorted."""
        return tuple(sorted(self.tokenizer.control_ids() - {*self.stop_ids, *(self.think or ())}))

    @cached_property
    def _names(self) -> re.Pattern[str]:
        """Matches the names of the tokenizer's control tokens."""
        return names_pattern(self.tokenizer.control_names())

    def _tokens(self, *parts: Part) -> tuple[int, ...]:
        """The tokens of parts in a row."""
        return tuple(encode_parts(self.tokenizer, parts, self._names))


def _last_index(tokens: Sequence[int], token: int) -> int:
    """The last index of a token; -1 if it does not occur."""
    return max((index for index, other in enumerate(tokens) if other == token), default=-1)
