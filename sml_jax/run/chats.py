"""How a run's models are spoken to: a tokenizer, and how utterances and prompts are written into contexts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from sml_jax.common.assets import SHIPPED_TOKENIZERS
from sml_jax.common.errors import UserError
from sml_jax.common.paths import user_path
from sml_jax.dialogue.framing import Framing, MessageFraming
from sml_jax.dialogue.prompts import Prompts
from sml_jax.text.chat import simple_format
from sml_jax.text.families import family_of, message_format
from sml_jax.text.gguf_tokenizer import folder_of_texts
from sml_jax.text.huggingface import load_tokenizer
from sml_jax.text.messages import MessageFormat
from sml_jax.text.tokenizer import SentencePieceTokenizer


@dataclass(frozen=True)
class RoleChat:
    """The pocket world's format: a control token marks each part of a context, and there are no prompts.

    Attributes:
      tokenizer: a SentencePiece model file with these tokens, or "pocket" for the one that ships with the package.
    """

    tokenizer: str = "pocket"

    @property
    def padding(self) -> int:
        """The most rows that a model's embedding may have beyond the tokenizer's vocabulary: 0."""
        return 0

    def framing(self, prompts: Prompts | None = None) -> Framing:
        """Makes the framing that writes contexts in this format.

        Args:
          prompts: must be None, since this format has no prompts.

        Raises:
          UserError: prompts are given, or the tokenizer lacks a control token.
        """
        if prompts is not None:
            raise UserError("prompts are for chat models: bind Experiment.chat to a FamilyChat, or give no prompts")
        tokenizer = SentencePieceTokenizer(SHIPPED_TOKENIZERS.get(self.tokenizer) or Path(self.tokenizer))
        try:
            return simple_format(tokenizer)
        except UserError as error:
            raise UserError(
                f"{error}: give the tokenizer of the base, or bind Experiment.chat to a FamilyChat"
            ) from error


@dataclass(frozen=True)
class FamilyChat:
    """The chat template of a model family, with prompts around the texts.

    Attributes:
      tokenizer: a model folder, a tokenizer.json or .model file, or a GGUF file.
      family: whose template, see `sml_jax.text.families`; None reads it from the folder's config.json.
      thinking: whether a model that can think before it answers (Qwen 3) does so.
      prompts: of the training dialogues; a suite may have other ones.
    """

    tokenizer: str
    family: str | None = None
    thinking: bool = False
    prompts: Prompts = Prompts()

    @property
    def padding(self) -> int:
        """The most rows that a model's embedding may have beyond the tokenizer's vocabulary: families round that up."""
        return 1024

    def framing(self, prompts: Prompts | None = None) -> Framing:
        """Makes the framing that writes contexts in this template.

        Args:
          prompts: used in place of the training dialogues' prompts; None for those.

        Raises:
          UserError: the tokenizer cannot be read, or its family is not known.
        """
        return MessageFraming(self._messages, prompts or self.prompts)

    # The vocabulary of a large model takes seconds to read, and every suite asks for a framing.
    @cached_property
    def _messages(self) -> MessageFormat:
        """The family's template over the tokenizer; read once."""
        # The family is told from the config.json beside the tokenizer.
        path = user_path(self.tokenizer)
        tokenizer = load_tokenizer(path)
        with folder_of_texts(path) as folder:
            return message_format(self.family or family_of(folder), tokenizer, folder, self.thinking)


Chat = RoleChat | FamilyChat
