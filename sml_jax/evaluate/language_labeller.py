"""Turn labels by a language model, in place of the rules."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import jax

from sml_jax.dialogue.prompts import fill, load_prompt
from sml_jax.engine.context_batch import ContextBatch
from sml_jax.engine.engine import Engine
from sml_jax.evaluate.labels import LABELS, Label, label_turn
from sml_jax.text.messages import MessageFormat

ANSWER_TOKENS = 16
_LABEL = re.compile(rf"\b({'|'.join(LABELS)})\b", re.IGNORECASE)


@dataclass(frozen=True)
class LanguageLabeller:
    """A `Labeller` that asks a chat model for the label of each student turn.

    Calling it with (utterance, attempted) pairs returns their labels, in order. Where the model's answer holds no
    label, the rules of `label_turn` decide.

    Attributes:
      engine: compiled kernels of the model, best with greedy sampling. A context must hold `labelling_length` tokens.
      params: the model's parameters. messages: its chat format.
      utterance_tokens: how many tokens of a turn the model reads, from the first.
      prompt: the name of a prompt that ships with the package, or a path. It has one field, `utterance`.
    """

    engine: Engine
    params: dict
    messages: MessageFormat
    utterance_tokens: int
    prompt: str = "label_turn"

    def __call__(self, turns: Sequence[tuple[str, bool]]) -> list[Label]:
        """A label for each (utterance, whether the verifier found an answer in it)."""
        labels: dict[tuple[str, bool], Label] = {}
        # Students repeat themselves, and an equal turn has an equal label.
        distinct_turns = list(dict.fromkeys(turns))
        self.engine.limit_vocabulary(self.messages.tokenizer.vocab_size)
        contexts = ContextBatch(self.engine, self.params, jax.random.key(0))
        for first in range(0, len(distinct_turns), self.engine.max_concurrent):
            batch = distinct_turns[first : first + self.engine.max_concurrent]
            for row, (utterance, _) in enumerate(batch):
                contexts.start(row, first + row, self._context(utterance))
            for turn, answer in zip(batch, contexts.sample(range(len(batch)), ANSWER_TOKENS), strict=True):
                labels[turn] = self._read(self.messages.utterance(self.messages.spoken(answer.tokens)), *turn)
        return [labels[turn] for turn in turns]

    @cached_property
    def _template(self) -> tuple[str, str]:
        """The prompt's texts before and after the utterance."""
        # The prompt is split at a sign that it cannot hold.
        before, after = fill(load_prompt(self.prompt, "utterance"), utterance="\0").split("\0")
        return before, after

    def _context(self, utterance: str) -> list[int]:
        """The tokens that ask for an utterance's label, up to the model's turn."""
        m, (before, after) = self.messages, self._template
        cut_utterance = m.text(utterance)[: self.utterance_tokens]
        return [*m.opening(before, whole=False), *cut_utterance, *m.text(after), *m.model_turn]

    @staticmethod
    def _read(answer: str, utterance: str, attempted: bool) -> Label:
        """The first label in the model's answer, or the rules' if there is none."""
        # A chat model may wrap the label in a sentence.
        match = _LABEL.search(answer)
        if match is None:
            return label_turn(utterance, attempted)
        return next(label for label in LABELS if label == match[1].lower())


def labelling_length(messages: MessageFormat, utterance_tokens: int, prompt: str = "label_turn") -> int:
    """The length in tokens of a context in which a `LanguageLabeller` can label a turn.

    Args:
      messages: the model's chat format.
      utterance_tokens: how many tokens of a turn the model reads.
      prompt: as for `LanguageLabeller`.
    """
    prompt_tokens = messages.opening(fill(load_prompt(prompt, "utterance"), utterance=""))
    return len(prompt_tokens) + len(messages.model_turn) + utterance_tokens + ANSWER_TOKENS
