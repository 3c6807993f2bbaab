"""Configurations of models: our model.json and Hugging Face's config.json."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from fuzz.campaign import Target, allowed
from fuzz.source import Source, broken, changed, dumps
from fuzz.toys import toys
from sml_jax.common.errors import UserError
from sml_jax.families import FAMILIES
from sml_jax.models.config import DecoderConfig, LoraConfig
from sml_jax.models.hf.config import config_from_hf, config_to_hf, stored_dtype
from sml_jax.models.hf.load import read_hf_config
from sml_jax.models.hf.save import token_ids
from sml_jax.models.ops.rope import RopeScaling

# Sound configurations by name: each family's, one for images too, and one with the newer field for RoPE.
_CONFIGS: dict[str, dict[str, Any]] = {
    name: {"model_type": name.removesuffix("_sliding"), **values}
    for name, values in toys("models/hf_toys").CONFIGS.items()
}
_CONFIGS["gemma3"] = {"model_type": "gemma3", "text_config": _CONFIGS["gemma3_text"], "vision_config": {}}
_CONFIGS["rope_parameters"] = {
    **{key: value for key, value in _CONFIGS["llama"].items() if not key.startswith("rope")},
    "rope_parameters": {**_CONFIGS["llama"]["rope_scaling"], "rope_theta": 500.0},
}
# One that uses most of the fields.
_OURS = DecoderConfig(
    vocab_size=64,
    embed_dim=16,
    layers=2,
    heads=4,
    kv_heads=2,
    head_dim=8,
    mlp_dim=32,
    max_length=128,
    layer_pattern=("local", "global"),
    window=4,
    rope_local_base=100.0,
    rope_scaling=RopeScaling("linear", 2.0),
    attention_softcap=5.0,
    lora=LoraConfig(rank=2, targets=("query", "value")),
)


def _text(source: Source, value: object) -> bytes:
    content = dumps(changed(source, value)).encode()
    return broken(source, content) if source.flag(4) else content


def _check_types(config: DecoderConfig) -> None:
    """What a configuration that was let in must be for the decoder to work with it."""
    for name in (
        "vocab_size",
        "embed_dim",
        "layers",
        "heads",
        "kv_heads",
        "head_dim",
        "mlp_dim",
        "max_length",
        "window",
    ):
        assert type(getattr(config, name)) is int, f"{name} is {getattr(config, name)!r}"
    for name in ("rope_base", "norm_eps"):
        assert isinstance(getattr(config, name), int | float), f"{name} is {getattr(config, name)!r}"
        assert not isinstance(getattr(config, name), bool), f"{name} is {getattr(config, name)!r}"
    for name in ("rope_local_base", "attention_scale", "attention_softcap", "final_softcap"):
        value = getattr(config, name)
        assert value is None or (isinstance(value, int | float) and not isinstance(value, bool)), f"{name} is {value!r}"
    for name in ("qk_norm", "qkv_bias", "post_norms", "norm_plus_one", "embedding_scale", "tied_embeddings"):
        assert type(getattr(config, name)) is bool, f"{name} is {getattr(config, name)!r}"
    assert type(config.remat) is bool or config.remat in ("auto", "none", "layer", "dots"), f"remat is {config.remat!r}"


def _check_ours(source: Source) -> None:
    text = _text(source, json.loads(_OURS.to_json())).decode("utf-8", "replace")
    config = allowed(lambda: DecoderConfig.from_json(text))
    if not isinstance(config, UserError):
        _check_types(config)
        # As text, since nan is not equal to itself.
        assert DecoderConfig.from_json(config.to_json()).to_json() == config.to_json()
        assert len(config.local_layers) == config.layers


def _check_theirs(source: Source) -> None:
    values = _CONFIGS[source.pick(tuple(_CONFIGS))]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "config.json").write_bytes(_text(source, values))
        if source.flag():
            (folder / "generation_config.json").write_bytes(_text(source, {"eos_token_id": [1, 2]}))
        read = allowed(lambda: read_hf_config(folder))
        allowed(lambda: token_ids(folder))
    if isinstance(read, UserError):
        return
    # Whatever was read, its data type and its shape are found, or an error says why not.
    stored_dtype(read)
    config = allowed(lambda: config_from_hf(read))
    if isinstance(config, UserError):
        return
    _check_types(config)
    # What is written for others is read again as it was.
    for family in FAMILIES:
        written = allowed(lambda family=family: config_to_hf(config, family))
        if not isinstance(written, UserError):
            again = config_from_hf(json.loads(json.dumps(written)))
            assert again.embed_dim == config.embed_dim and again.local_layers == config.local_layers


def check(source: Source) -> None:
    """One case."""
    source.pick((_check_ours, _check_theirs, _check_theirs))(source)


def target() -> Target:
    """Configurations of models."""
    return Target("model_config", check)
