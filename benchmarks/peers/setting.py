"""The sizes of the model and of every work. All sides read it, so it imports the standard library and NumPy only."""

from __future__ import annotations

import dataclasses
import json

import numpy as np

# Times the rows of the other works that ours has at once where turns are of random length.
RANDOM_BATCHES = 2


@dataclasses.dataclass(frozen=True)
class Setting:
    """The model's shape and the works' sizes. The defaults are a small shape; `shapes.py` has those of real models.

    Attributes:
      width, layers, heads, kv_heads, head_dim, hidden, vocab: the decoder's sizes.
      family: "qwen3" (QK norm), "llama", or "qwen2" (biases on queries, keys and values).
      tied: whether the logits' matrix is that of the embeddings.
      rope_base, norm_eps: of the rotary embeddings and of the RMS norms.
      weights: a Hugging Face folder whose weights every side loads; empty for random weights that each side draws.
      prompts, samples: rows are `prompts * samples`, `samples` dialogues a prompt.
      prompt: tokens of a prompt. sample: tokens sampled where nothing ends a row.
      turns, said, given: of a dialogue: student turns, the most tokens of each, tokens that the teacher gives back.
      dialogues: how many are played where student turns are of random length.
      peer_dialogues: how many of those a peer plays in one repeat. A peer that plays batch after batch takes time in
        proportion, so its rate over some is its rate over all.
      stop_tokens: how many tokens of the vocabulary end a student's turn where lengths are random. A random model says
        each of its tokens about as often, so 197 of 4,096 give turns of 1 to 32 tokens with mean 16.5, as a uniform
        draw would.
    """

    width: int = 256
    layers: int = 6
    heads: int = 8
    kv_heads: int = 8
    head_dim: int = 32
    hidden: int = 1024
    vocab: int = 4096
    family: str = "qwen3"
    tied: bool = False
    rope_base: float = 1e6
    norm_eps: float = 1e-6
    weights: str = ""
    prompts: int = 8
    samples: int = 8
    prompt: int = 64
    sample: int = 128
    turns: int = 4
    said: int = 32
    given: int = 32
    dialogues: int = 512
    peer_dialogues: int = 512
    stop_tokens: int = 197
    step_turns: int = 1
    micro_rows: int = 64
    warm_ups: int = 2

    @property
    def rows(self) -> int:
        """Dialogues at once."""
        return self.prompts * self.samples

    @property
    def dialogue_tokens(self) -> int:
        """The longest context of a dialogue, the teacher's last reply left out: nobody samples after it."""
        return self.prompt + self.turns * (self.said + self.given) - self.given

    @property
    def step_said(self) -> int:
        """Tokens sampled in a turn of the GRPO step."""
        return self.sample if self.step_turns == 1 else self.said

    @property
    def step_completion(self) -> int:
        """Tokens behind the prompt in the GRPO step, those that the teacher gives included."""
        return self.step_turns * (self.step_said + self.given) - self.given

    def end_ids(self) -> list[int]:
        """Tokens that end a turn of random length: spread over the vocabulary, never token 0, which peers pad with."""
        return [1 + (i * (self.vocab - 1)) // self.stop_tokens for i in range(self.stop_tokens)]

    def prompt_rows(self, rows: int | None = None, seed: int = 0) -> np.ndarray:
        """int32 [rows, prompt]: each prompt `samples` times in a row. Tokens are never 0."""
        rows = self.rows if rows is None else rows
        # Prompts by NumPy, so that sides with different libraries get the same ones.
        unique = np.random.default_rng(seed).integers(1, self.vocab, (-(-rows // self.samples), self.prompt))
        return np.repeat(unique, self.samples, axis=0)[:rows].astype(np.int32)

    def replies(self, rows: int, turn: int) -> np.ndarray:
        """int32 [rows, given]: what the teacher says after the student's `turn`-th turn."""
        # Seeds apart from the prompts' ones.
        return np.random.default_rng(1000 + turn).integers(1, self.vocab, (rows, self.given)).astype(np.int32)

    def to_json(self) -> str:
        """All sizes as JSON text, as a side's process is given them."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Setting:
        """The setting that `to_json` wrote."""
        return cls(**json.loads(text))
