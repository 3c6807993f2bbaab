"""The sizes and arithmetic of the GPU benchmark's work. Both sides read it, so it imports the standard library only."""

from __future__ import annotations

import dataclasses
import json

# Bytes and dense bfloat16 operations a second, as published: https://www.nvidia.com/en-us/data-center/h100/,
# https://www.nvidia.com/en-us/data-center/h200/, https://www.nvidia.com/en-us/data-center/a100/ (SXM cards).
PEAKS = {"H200": (4.8e12, 989e12), "H100": (3.35e12, 989e12), "A100-SXM4-80GB": (2.039e12, 312e12)}


def peaks(kind: str) -> tuple[float, float] | None:
    """Published bytes and operations a second of a device, by its name; None for a device that is not listed."""
    return next((peak for name, peak in PEAKS.items() if name in kind), None)


@dataclasses.dataclass(frozen=True)
class Work:
    """A model's shape (by default that of Gemma 3 1B's config.json on huggingface.co) and the sizes of the work.

    Attributes:
      every: each layer of this number is global, the others are local.
      rows: numbers of rows that decode at once; each is a measurement of its own.
      context: tokens that each row holds. steps: tokens that are sampled after them.
      update_rows, update_time: shape of the update's micro-batch.
      repeats: of every measurement; medians are reported.
    """

    vocab: int = 262_144
    width: int = 1152
    layers: int = 26
    heads: int = 4
    kv_heads: int = 1
    head_dim: int = 256
    hidden: int = 6912
    window: int = 512
    every: int = 6
    rows: tuple[int, ...] = (64, 256)
    context: int = 1024
    steps: int = 128
    update_rows: int = 8
    update_time: int = 2048
    repeats: int = 5

    @property
    def local_layers(self) -> int:
        """How many layers see a window alone."""
        return self.layers - self.layers // self.every

    @property
    def matrices(self) -> int:
        """How many numbers the matrices of all layers hold."""
        attention = 2 * self.width * self.head_dim * (self.heads + self.kv_heads)
        return self.layers * (attention + 3 * self.width * self.hidden)

    def step_bytes(self, rows: int) -> float:
        """Bytes that a decoding step must read, in bfloat16, on average over the steps.

        These are all weights once, and the keys and values that each row's layers see. The embedding table is the
        output layer too and counts once.
        """
        mean_length = self.context + (self.steps + 1) / 2
        global_layers = self.layers - self.local_layers
        slots = self.local_layers * min(self.window, mean_length) + global_layers * mean_length
        weights = self.matrices + self.vocab * self.width
        return 2.0 * (weights + rows * slots * 2 * self.kv_heads * self.head_dim)

    @property
    def update_flops(self) -> float:
        """FLOPs of a micro-batch's gradients with every token trained on: matrix products, recomputation left out."""
        time = self.update_time

        def visible_pairs(window: int) -> float:
            """How many pairs of a query and a key that it sees a row has."""
            return sum(min(i + 1, window) for i in range(time))

        global_layers = self.layers - self.local_layers
        scores = self.local_layers * visible_pairs(self.window) + global_layers * visible_pairs(time)
        # The backward pass takes twice the forward pass: a product for each of a product's two factors.
        forward = 2 * time * (self.matrices + self.vocab * self.width) + 4 * self.heads * self.head_dim * scores
        return 3.0 * self.update_rows * forward

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Work:
        values = json.loads(text)
        return cls(**{**values, "rows": tuple(values["rows"])})


TINY = Work(
    vocab=512, width=64, layers=2, heads=4, kv_heads=1, head_dim=32, hidden=128, window=16, every=2, rows=(2, 4),
    context=48, steps=8, update_rows=2, update_time=64, repeats=2,
)  # fmt: skip
