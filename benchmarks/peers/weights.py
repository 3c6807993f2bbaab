"""Writes random weights of a shape as a Hugging Face folder, which every side loads: `python weights.py SETTING_JSON`.

The setting's `weights` is the folder. One that is there already is kept.
"""

from __future__ import annotations

import sys
from pathlib import Path

import jax
from setting import Setting

from sml_jax.models import Decoder, DecoderConfig, init_params
from sml_jax.models.hf.save import save_hf

# Standard deviation of the embeddings. They are the logits' matrix too: with larger ones, a random model would say the
# token before once more, and turns of random length would not end as often as they should.
EMBEDDING_STD = 0.02


def config_of(s: Setting, attention: str = "auto", cache_dtype: str | None = None) -> DecoderConfig:
    """The setting's shape as our configuration."""
    return DecoderConfig(
        vocab_size=s.vocab,
        embed_dim=s.width,
        layers=s.layers,
        heads=s.heads,
        kv_heads=s.kv_heads,
        head_dim=s.head_dim,
        mlp_dim=s.hidden,
        max_length=4096,
        rope_base=s.rope_base,
        norm_eps=s.norm_eps,
        qk_norm=s.family == "qwen3",
        qkv_bias=s.family == "qwen2",
        tied_embeddings=s.tied,
        attention=attention,
        cache_dtype=cache_dtype,
    )


def write_weights(s: Setting) -> None:
    """Writes the folder `s.weights`, float32, unless it holds a model."""
    if Path(s.weights, "config.json").exists():
        return
    config = config_of(s)

    def draw(key: jax.Array) -> dict:
        params = init_params(Decoder(config), key)
        table = params["params"]["embedding"]["embedding"]
        params["params"]["embedding"]["embedding"] = table * (EMBEDDING_STD * s.width**0.5)
        return params

    save_hf(s.weights, config, jax.jit(draw)(jax.random.key(0)), s.family)


if __name__ == "__main__":
    write_weights(Setting.from_json(sys.argv[1]))
