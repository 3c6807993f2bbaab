"""One decoder for every family, its configuration, and models on disk."""

from sml_jax.models.config import DecoderConfig, LoraConfig
from sml_jax.models.decoder import Decoder, abstract_params, count_params, init_params
from sml_jax.models.hf.checkpoint import load_model, save_model
from sml_jax.models.hf.config import config_from_hf, config_to_hf
from sml_jax.models.hf.save import save_hf
from sml_jax.models.lora import add_lora, load_adapters, merge_lora, save_adapters
from sml_jax.models.ops.cached_attention import KVCache, KVSegment
from sml_jax.models.ops.rope import RopeScaling

__all__ = [
    "Decoder",
    "DecoderConfig",
    "KVCache",
    "KVSegment",
    "LoraConfig",
    "RopeScaling",
    "abstract_params",
    "add_lora",
    "config_from_hf",
    "config_to_hf",
    "count_params",
    "init_params",
    "load_adapters",
    "load_model",
    "merge_lora",
    "save_adapters",
    "save_hf",
    "save_model",
]
