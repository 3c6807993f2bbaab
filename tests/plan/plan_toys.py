"""A tiny job for tests of plans, and a decoder's arithmetic counted by hand."""

from typing import Any

from sml_jax.engine.sampling import Sampling
from sml_jax.learn.losses import PolicyLoss
from sml_jax.learn.optimizers import adamw
from sml_jax.models.config import DecoderConfig
from sml_jax.plan.job import Dialogues, Job, Update


def tiny_config(**changes: Any) -> DecoderConfig:
    sizes = dict(vocab_size=64, embed_dim=32, layers=3, heads=4, kv_heads=2, head_dim=16, mlp_dim=48, max_length=512)
    return DecoderConfig(**{**sizes, **changes})


def tiny_job(config: DecoderConfig | None = None, max_concurrent: int = 8, micro_batch_size: int = 8) -> Job:
    """Online SML in little: dialogues of two turns, no evaluation."""
    dialogues = Dialogues("online", 48, 16, 2, 8, 8, 8, 8, 10, 12, teacher=True)
    update = Update("online", adamw(1e-3), PolicyLoss(), micro_batch_size, 48, 16, 1)
    return Job(
        config or tiny_config(layers=1), max_concurrent, 1, -1, 1, Sampling(), ((dialogues, update),), None, ("little",)
    )


def matrices(config: DecoderConfig) -> int:
    """Numbers in the matrices that a token is multiplied with, the output layer aside."""
    c = config
    attention = 2 * c.embed_dim * c.head_dim * (c.heads + c.kv_heads)
    return c.layers * (attention + 3 * c.embed_dim * c.mlp_dim)


def forward_flops(config: DecoderConfig, rows: int, time: int, seen: int, logits: bool = True) -> float:
    """Of `time` new tokens in each of `rows` rows, each multiplied with `seen` keys and values."""
    c = config
    per_token = 2 * matrices(c) + c.layers * 2 * 2 * c.heads * c.head_dim * seen
    return float(rows * time * (per_token + (2 * c.embed_dim * c.vocab_size if logits else 0)))
