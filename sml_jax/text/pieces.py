"""The texts around the messages of a chat, and how they become tokens together with the messages' own texts."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from sml_jax.families import ChatTemplate
from sml_jax.text.tokenizer import Tokenizer

Speaker = Literal["system", "user", "model"]

# The control tokens that open and close a block of thinking, as models of several families have them.
_THINKING = (("<think>", "</think>"), ("<|channel>", "<channel|>"))


def thinking_markers(names: Container[str]) -> tuple[str, str] | None:
    """The names of the tokens that open and close a block of thinking; None if these are not both among `names`."""
    return next((pair for pair in _THINKING if all(marker in names for marker in pair)), None)


@dataclass(frozen=True)
class ChatPieces:
    """The texts around the messages of a chat, in which control tokens are written by name ("<|im_end|>").

    A context is one of three starts, the first user's text, `user_end` and the model's opening. The model samples its
    reply and the token `stop`. Then come `after`, `user`, the next user's text, and so on: each step appends.

    Attributes:
      user: text that opens every user's message but the first.
      model: text that opens the model's message, of which the tokens are then sampled.
      stop: the control token that ends the model's message.
      after: text between that token and the next `user`.
      begin: text that opens a context.
      user_end: text that closes a user's message; None for `stop` and `after`.
      default_start: text before the first user's text in a chat without a system message; None for `begin` and `user`.
      system_start: text before the system's text.
      system_end: text between the system's text and that of the first user.
      earlier_model: text that opens the model's earlier messages in the public template, if not `model`: the template
        takes back something of what it wrote when that message was the last one. None if it takes nothing back.
      stripped: the speakers whose texts the template strips of white space at both ends.
    """

    user: str
    model: str
    stop: str
    after: str = ""
    begin: str = ""
    user_end: str | None = None
    default_start: str | None = None
    system_start: str | None = None
    system_end: str = "\n\n"
    earlier_model: str | None = None
    stripped: frozenset[Speaker] = frozenset()

    @property
    def close_user(self) -> str:
        """The text that closes a user's message."""
        return self.stop + self.after if self.user_end is None else self.user_end

    @property
    def opening_of_earlier(self) -> str:
        """The text that opens an earlier message of the model's in the public template."""
        return self.model if self.earlier_model is None else self.earlier_model

    @property
    def has_system_message(self) -> bool:
        """Whether system texts have a message of their own. If not they stand in the first user's message."""
        return self.system_start not in (None, self.begin + self.user)

    @property
    def opens_thinking(self) -> bool:
        """Whether the model's message is opened inside a block of thinking, so that the model only closes it."""
        return any(self.model.count(opening) > self.model.count(closing) for opening, closing in _THINKING)

    def start(self, system: str | None) -> list[Part]:
        """What stands before the first user's text.

        Args:
          system: the system's text; "" for none; None for what the public template has in a chat without one.
        """
        if system is None:
            return [Part(self.begin + self.user if self.default_start is None else self.default_start)]
        if not system:
            return [Part(self.begin + self.user)]
        start = self.begin + self.user if self.system_start is None else self.system_start
        return [Part(start), Part(self.as_written("system", system), given=True), Part(self.system_end)]

    def as_written(self, speaker: Speaker, text: str) -> str:
        """A message's text as the public template writes it: some templates strip white space."""
        return text.strip() if speaker in self.stripped else text


class Part(NamedTuple):
    """A part of a context's text.

    Attributes:
      text: the text.
      given: True for the text of a message, which becomes ordinary tokens whatever it spells; False for text of the
        chat format, in which the names of control tokens stand for these.
    """

    text: str
    given: bool = False


def encode_parts(tokenizer: Tokenizer, parts: Iterable[Part], names: re.Pattern[str]) -> list[int]:
    """The tokens of parts in a row, as if their text were tokenised at once.

    What stands between two control tokens is encoded as one text, so that a message's first newline can be one token
    with the newline of its opening.

    Args:
      tokenizer: the model's.
      parts: in order.
      names: matches the names of the tokenizer's control tokens, see `names_pattern`.
    """
    ids = tokenizer.control_names()
    tokens: list[int] = []
    stretch = ""
    for text, given in parts:
        if given:
            stretch += text
            continue
        # At odd places stand the names of control tokens, between them the texts.
        for place, piece in enumerate(names.split(text)):
            if place % 2 == 0:
                stretch += piece
                continue
            tokens += [*tokenizer.encode(stretch), ids[piece]] if stretch else [ids[piece]]
            stretch = ""
    return tokens + tokenizer.encode(stretch) if stretch else tokens


def names_pattern(names: Mapping[str, int]) -> re.Pattern[str]:
    """A regular expression with one group that matches any of these names, the longest that fits."""
    longest_first = sorted(names, key=lambda name: (-len(name), name))
    return re.compile(f"({'|'.join(map(re.escape, longest_first)) or '(?!)'})")


def compose(pieces: ChatPieces, system: str | None, texts: Sequence[str], take_back: bool = True) -> str:
    """The text of a chat up to where the model speaks next, for comparison with the public template's rendering.

    Args:
      pieces: the chat format.
      system: as for `ChatPieces.start`.
      texts: those of user and model in turn, the user's first and last.
      take_back: whether the model's earlier messages are opened by `earlier_model`.
    """
    written = "".join(part.text for part in pieces.start(system))
    earlier_model = pieces.opening_of_earlier if take_back else pieces.model
    for index, text in enumerate(texts):
        if index % 2:
            written += earlier_model + pieces.as_written("model", text) + pieces.stop + pieces.after + pieces.user
        else:
            written += pieces.as_written("user", text) + pieces.close_user
    return written + pieces.model


def family_pieces(template: ChatTemplate, thinking: bool = False) -> ChatPieces:
    """The pieces of a family's chat template, for models that bring no template of their own.

    Args:
      template: the family's.
      thinking: whether the model may think before it answers.
    """
    close = template.stop_ids[0] + template.after
    head = template.thinking_system if thinking else ""
    system_start = None if template.system is None else template.begin + template.system + head
    # The text that a template has of its own, where the chat has no system message.
    default_start = None
    if (template.default_system or head) and system_start is not None:
        default_start = system_start + template.default_system + close + template.user
    # What the prompt writes behind the model's opening stands in no earlier message of the public template.
    written = template.thinking if thinking else template.unthinking or ""
    return ChatPieces(
        user=template.user,
        model=template.model + written,
        stop=template.stop_ids[0],
        after=template.after,
        begin=template.begin,
        default_start=default_start,
        system_start=system_start,
        system_end="\n\n" if system_start is None else close + template.user,
        earlier_model=template.model if written else None,
        stripped=frozenset(template.stripped),
    )
