"""One decoder for every family: its configuration, its parameters and adapters.

Reading and writing models on disk is the work of `sml_jax.models.hf`. Its functions may be taken from here as well
(`from sml_jax.models import load_model`); they are imported at first use, since that folder builds on this one.
"""

import importlib
from typing import Any

from sml_jax.models.config import DecoderConfig, LoraConfig
from sml_jax.models.decoder import Decoder, abstract_params, count_params, init_params
from sml_jax.models.layout import place_params, shard_params
from sml_jax.models.lora import add_lora, load_adapters, merge_lora, save_adapters
from sml_jax.models.ops.cached_attention import KVCache, KVSegment
from sml_jax.models.ops.rope import RopeScaling

# Names that `models.hf` defines. Importing that folder here would make a circle: it imports this one.
_IN_HF = ("config_from_hf", "config_to_hf", "load_model", "save_hf", "save_model")

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
    "place_params",
    "save_adapters",
    "save_hf",
    "save_model",
    "shard_params",
]


def __getattr__(name: str) -> Any:
    if name in _IN_HF:
        return getattr(importlib.import_module("sml_jax.models.hf"), name)
    raise AttributeError(f"module 'sml_jax.models' has no attribute {name!r}")
