"""Gemma 4's fields of a config.json for layers that differ: their heads, shared keys and values, per-layer embeddings.

Published files give the sizes of global layers in fields of their own (`global_head_dim`). Newer versions of
transformers write an object instead that gives each layer the values in which it differs (`per_layer_config`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sml_jax.families import ConfigFormat
from sml_jax.models.config import DecoderConfig
from sml_jax.models.hf.fields import Fields

# Fields of `DecoderConfig` for what `per_layer_config` may give a layer.
_SIZES = {"head_dim": "head_dim", "num_key_value_heads": "kv_heads"}


def read_varied_layers(
    fields: Fields, form: ConfigFormat, kinds: tuple[str, ...], sizes: Mapping[str, int]
) -> dict[str, Any]:
    """Takes the fields that say in what layers differ.

    Args:
      fields: of a config.json.
      form: how the family writes it.
      kinds: "local" or "global" for each layer.
      sizes: what the file gives all layers: "head_dim", "kv_heads" and "mlp_dim".

    Returns:
      Fields of `DecoderConfig`, by name.

    Raises:
      UserError: a value is not supported, or layers differ in a way that the decoder does not have.
    """
    key_as_value = fields.flag("attention_k_eq_v", False)
    global_head_dim = fields.integer("global_head_dim", form.defaults["global_head_dim"])
    global_kv_heads = fields.take("num_global_key_value_heads", None)
    if global_kv_heads is not None:
        global_kv_heads = Fields({"num_global_key_value_heads": global_kv_heads}).integer("num_global_key_value_heads")
    # transformers reads this field only where values are keys.
    values: dict[str, Any] = {
        "global_key_as_value": key_as_value,
        "global_head_dim": global_head_dim,
        "global_kv_heads": global_kv_heads if key_as_value else None,
    }
    by_layer = fields.take("per_layer_config", None)
    if by_layer is not None:
        values |= _sizes_of_kinds(fields, by_layer, kinds, sizes)

    sharing = _whole_number(fields, "num_kv_shared_layers", 0)
    double_width = fields.flag("use_double_wide_mlp", False)
    values |= {
        "kv_sharing_layers": sharing,
        "sharing_mlp_dim": 2 * sizes["mlp_dim"] if double_width and sharing else None,
        "per_layer_dim": _whole_number(
            fields, "hidden_size_per_layer_input", form.defaults["hidden_size_per_layer_input"]
        ),
        "per_layer_vocab_size": fields.integer(
            "vocab_size_per_layer_input", form.defaults["vocab_size_per_layer_input"]
        ),
    }
    # Without experts their sizes mean nothing. Only tokens of pictures see what follows them, and dialogues have none.
    fields.only("enable_moe_block", (False,), False)
    for name in ("num_experts", "top_k_experts", "moe_intermediate_size"):
        fields.take(name, None)
    fields.only("use_bidirectional_attention", ("vision", False), False)
    return values


def write_varied_layers(config: DecoderConfig) -> dict[str, Any]:
    """The fields of config.json that say in what the layers of a configuration differ."""
    values: dict[str, Any] = {
        "attention_k_eq_v": config.global_key_as_value,
        "global_head_dim": config.global_head_dim or config.head_dim,
        "num_global_key_value_heads": config.global_kv_heads or config.kv_heads,
        "num_kv_shared_layers": config.kv_sharing_layers,
        "use_double_wide_mlp": config.sharing_mlp_dim == 2 * config.mlp_dim,
        "hidden_size_per_layer_input": config.per_layer_dim,
        "vocab_size_per_layer_input": config.per_layer_vocab_size or config.vocab_size,
        "enable_moe_block": False,
        "use_bidirectional_attention": None,
    }
    return values


def _sizes_of_kinds(fields: Fields, by_layer: Any, kinds: tuple[str, ...], sizes: Mapping[str, int]) -> dict[str, Any]:
    """The heads of local and global layers, from an object that gives some layers other sizes."""
    name = "per_layer_config"
    if not isinstance(by_layer, Mapping) or not all(isinstance(value, Mapping) for value in by_layer.values()):
        raise fields.error(name, by_layer, "it must be an object of objects, one for each layer that differs")
    # The names are numbers of layers, which transformers pads with zeros to equal lengths.
    values_of = {int(layer): value for layer, value in by_layer.items() if str(layer).isdecimal()}
    if len(values_of) < len(by_layer) or not set(values_of) <= set(range(len(kinds))):
        raise fields.error(name, by_layer, f"its names must be numbers of layers below {len(kinds)}")
    of_kind: dict[str, dict[str, int]] = {}
    for layer, kind in enumerate(kinds):
        own = Fields(values_of.get(layer, {}), f"{fields.where}: {name}: {layer}")
        of_layer = {ours: own.integer(theirs, sizes[ours]) for theirs, ours in _SIZES.items()}
        own.finish(())
        if of_kind.setdefault(kind, of_layer) != of_layer:
            raise fields.error(name, by_layer, f"all {kind} layers must have the same sizes")
    base = of_kind.get("local", of_kind.get("global", {}))
    of_global = of_kind.get("global", base)
    return {**base, "global_head_dim": of_global["head_dim"], "global_kv_heads": of_global["kv_heads"]}


def _whole_number(fields: Fields, name: str, default: Any) -> int:
    """Takes a field whose value must be a whole number of at least 0; the default if it is absent or null."""
    value = fields.take(name, default)
    return 0 if value == 0 and not isinstance(value, bool) else Fields({name: value}, fields.where).integer(name)
