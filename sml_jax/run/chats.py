"""How a run's models are spoken to: a tokenizer, and how utterances and prompts are written into contexts."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from sml_jax.common.assets import SHIPPED_TOKENIZERS
from sml_jax.common.errors import UserError
from sml_jax.common.gguf_file import is_gguf
from sml_jax.common.paths import user_path
from sml_jax.dialogue.framing import Framing, MessageFraming
from sml_jax.dialogue.prompts import Prompts
from sml_jax.models.decoder import Decoder, abstract_params, count_params
from sml_jax.models.hf.checkpoint import read_model_config
from sml_jax.models.hf.save import copy_text_files
from sml_jax.text.chat import simple_format
from sml_jax.text.formats import model_format
from sml_jax.text.gguf_texts import folder_of_texts, write_gguf_texts
from sml_jax.text.huggingface import load_tokenizer
from sml_jax.text.messages import MessageFormat
from sml_jax.text.tokenizer import SentencePieceTokenizer

_log = logging.getLogger(__name__)
# A model with fewer parameters gets brief prompts.
_SMALL_MODEL = 1_000_000_000


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

    def write_texts(self, folder: Path) -> None:
        """Writes nothing: the tokenizer of this format is not one that Hugging Face's programs open."""

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
    """The chat template of a model, with prompts around the texts.

    Attributes:
      tokenizer: a model folder, a tokenizer.json or .model file, or a GGUF file.
      family: a format that ships with the package, see `sml_jax.text.families`; None for the chat template that the
        model brings along or, without one, the format of the family in its config.json.
      thinking: whether a model that can think before it answers (Qwen 3, 3.5) does so.
      take_back_thinking: whether thinking is taken out of a model's context when the other side has answered, as the
        public templates do. By default it stays, so that a context only grows. If it is taken back, a turn that lost
        something is no longer trained on, since its tokens were sampled in another context: then as a rule only the
        last turn of a dialogue is.
      prompts: of the training dialogues; a suite may have other ones.
      brief_prompts: whether the shipped prompts are replaced by those for small models, see `Prompts.brief`. None: if
        the model beside the tokenizer has fewer than a billion parameters.
    """

    tokenizer: str
    family: str | None = None
    thinking: bool = False
    take_back_thinking: bool = False
    prompts: Prompts = Prompts()
    brief_prompts: bool | None = None

    @property
    def padding(self) -> int:
        """The most rows that a model's embedding may have beyond the tokenizer's vocabulary: families round that up."""
        return 1024

    def write_texts(self, folder: Path) -> None:
        """Writes the files of the tokenizer, the chat template and the settings of generation to a model's folder."""
        path = user_path(self.tokenizer)
        if is_gguf(path):
            write_gguf_texts(path, folder)
        else:
            copy_text_files(path if path.is_dir() else path.parent, folder)

    def framing(self, prompts: Prompts | None = None) -> Framing:
        """Makes the framing that writes contexts in this template.

        Args:
          prompts: used in place of the training dialogues' prompts; None for those.

        Raises:
          UserError: the tokenizer cannot be read, or its chat format is not known or does not fit.
        """
        prompts = prompts or self.prompts
        return MessageFraming(self._messages, prompts.brief() if self._brief else prompts)

    @cached_property
    def _brief(self) -> bool:
        """Whether the prompts for small models are used; that they are chosen by the model's size is logged once."""
        if self.brief_prompts is not None:
            return self.brief_prompts
        path = user_path(self.tokenizer)
        size = _model_size(path if path.is_dir() or is_gguf(path) else path.parent)
        if size is None or size >= _SMALL_MODEL:
            return False
        if self.prompts.brief() != self.prompts:
            _log.warning(
                "the model beside %s has %s parameters: brief prompts take the place of the shipped ones, whose "
                "instructions are too long for it (FamilyChat.brief_prompts = False keeps these)",
                self.tokenizer,
                f"{size:,}",
            )
        return True

    # The vocabulary of a large model takes seconds to read, and every suite asks for a framing.
    @cached_property
    def _messages(self) -> MessageFormat:
        """The template over the tokenizer; read once."""
        # The template lies beside the tokenizer.
        tokenizer = load_tokenizer(self.tokenizer)
        with folder_of_texts(user_path(self.tokenizer)) as folder:
            return model_format(folder, tokenizer, self.family, self.thinking, self.take_back_thinking)


def _model_size(path: Path) -> int | None:
    """The number of parameters of the model at `path`; None if there is none, or it is of another kind."""
    try:
        config = read_model_config(path)
    except UserError:
        # Whoever loads the weights says what is wrong with them.
        return None
    return count_params(abstract_params(Decoder(config)))


Chat = RoleChat | FamilyChat
