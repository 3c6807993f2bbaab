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
    """Asks a chat model which kind each student turn is; a `Labeller` for `behaviour_summary`.

    Where the model names no kind, the rules of `label_turn` decide.

    Attributes:
      engine: compiled kernels of the model, best greedy, with room for `labelling_length`. params: its parameters.
      messages: its chat format.
      prompt: the name of a shipped prompt or a path. Field: utterance.
      utterance_tokens: of a turn, as many of its first tokens are shown.
    """

    engine: Engine
    params: dict
    messages: MessageFormat
    utterance_tokens: int
    prompt: str = "label_turn"

    def __call__(self, turns: Sequence[tuple[str, bool]]) -> list[Label]:
        """A label for each (utterance, whether the verifier found an answer in it)."""
        labels: dict[tuple[str, bool], Label] = {}
        waiting = list(dict.fromkeys(turns))
        rows = ContextBatch(self.engine, self.params, jax.random.key(0))
        for first in range(0, len(waiting), self.engine.max_concurrent):
            batch = waiting[first : first + self.engine.max_concurrent]
            for row, (utterance, _) in enumerate(batch):
                rows.start(row, first + row, self._context(utterance))
            for turn, said in zip(batch, rows.sample(range(len(batch)), ANSWER_TOKENS), strict=True):
                labels[turn] = self._read(self.messages.utterance(self.messages.spoken(said.tokens)), *turn)
        return [labels[turn] for turn in turns]

    @cached_property
    def _template(self) -> tuple[str, str]:
        before, after = fill(load_prompt(self.prompt, "utterance"), utterance="\0").split("\0")
        return before, after

    def _context(self, utterance: str) -> list[int]:
        m, (before, after) = self.messages, self._template
        shown = m.text(utterance)[: self.utterance_tokens]
        asked = [*m.text(before), *shown, *m.text(after)]
        return [*m.begin, *m.open_user, *asked, *m.stop_ids[:1], *m.after, *m.open_model]

    @staticmethod
    def _read(said: str, utterance: str, attempted: bool) -> Label:
        found = _LABEL.search(said)
        if found is None:
            return label_turn(utterance, attempted)
        return next(label for label in LABELS if label == found[1].lower())


def labelling_length(messages: MessageFormat, utterance_tokens: int, prompt: str = "label_turn") -> int:
    """Tokens of context that labelling a turn of `utterance_tokens` tokens takes."""
    asked = messages.message("user", fill(load_prompt(prompt, "utterance"), utterance=""))
    return len(messages.begin) + len(asked) + utterance_tokens + len(messages.open_model) + ANSWER_TOKENS
