"""What the GPU benchmark asks of each side, and the arithmetic of it. Imports the standard library alone."""

from __future__ import annotations

import dataclasses
import json

# Bytes and bfloat16 products a second, dense, as published: https://www.nvidia.com/en-us/data-center/h100/,
# https://www.nvidia.com/en-us/data-center/h200/, https://www.nvidia.com/en-us/data-center/a100/ (SXM cards).
PEAKS = {"H200": (4.8e12, 989e12), "H100": (3.35e12, 989e12), "A100-SXM4-80GB": (2.039e12, 312e12)}


def peaks(kind: str) -> tuple[float, float] | None:
    """Published bytes and products a second of a device by its name; None for one that is not known."""
    return next((peak for name, peak in PEAKS.items() if name in kind), None)


@dataclasses.dataclass(frozen=True)
class Work:
    """A model's shape (Gemma 3 1B's by default, its config.json on huggingface.co) and the sizes of the work.

    Attributes:
      rows: that decode at once, one measurement each. context: tokens that each row holds. steps: sampled after them.
      update_rows, update_time: of the update's micro-batch.
      repeats: of everything, of which medians are told.
    """

    vocab: int = 262_144
    width: int = 1152
    layers: int = 26
    heads: int = 4
    kv_heads: int = 1
    head_dim: int = 256
    hidden: int = 6912
    window: int = 512
    every: int = 6  # each sixth layer is global
    rows: tuple[int, ...] = (64, 256)
    context: int = 1024
    steps: int = 128
    update_rows: int = 8
    update_time: int = 2048
    repeats: int = 5

    @property
    def local_layers(self) -> int:
        return self.layers - self.layers // self.every

    @property
    def matrices(self) -> int:
        """Numbers in the matrices of all layers."""
        attention = 2 * self.width * self.head_dim * (self.heads + self.kv_heads)
        return self.layers * (attention + 3 * self.width * self.hidden)

    def step_bytes(self, rows: int) -> float:
        """That a step of decoding cannot do without, in bfloat16: all weights once, and what each row's layers see.

        The embedding table is the output layer too, and counts once. On average over the steps.
        """
        seen = self.context + (self.steps + 1) / 2
        slots = self.local_layers * min(self.window, seen) + (self.layers - self.local_layers) * seen
        weights = self.matrices + self.vocab * self.width
        return 2.0 * (weights + rows * slots * 2 * self.kv_heads * self.head_dim)

    @property
    def update_flops(self) -> float:
        """Of a micro-batch's gradients, every token trained on: products alone, and nothing that is computed again."""
        time = self.update_time

        def seen(most: int) -> float:
            """Keys that the queries of a row see in all."""
            return sum(min(i + 1, most) for i in range(time))

        scores = self.local_layers * seen(self.window) + (self.layers - self.local_layers) * seen(time)
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
