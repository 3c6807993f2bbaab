"""The rotary embedding's settings in a config.json.

transformers 4 has fields of their own for them (`rope_theta`, ...), transformers 5 an object `rope_parameters`. Files
may have either or both.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from sml_jax.common.errors import UserError
from sml_jax.models.hf.fields import Fields
from sml_jax.models.ops.rope import RopeScaling

# The fields of transformers 4.
_CLASSIC = ("rope_theta", "rope_scaling", "rope_local_base_freq")


class Rope(NamedTuple):
    """The settings of the rotary embedding, as in `DecoderConfig`.

    Attributes:
      base: base of the wavelengths.
      scaling: how frequencies are stretched for long contexts.
      local_base: base of local layers, whose frequencies are not stretched; None if they share the settings of global
        layers.
    """

    base: float
    scaling: RopeScaling
    local_base: float | None


def read_rope(
    fields: Fields,
    default_base: float,
    default_local_base: float | None,
    default_scaling: RopeScaling | None = None,
) -> Rope:
    """Takes the rotary settings out of the fields of a config.json.

    Args:
      fields: the fields of a config.json, in the form of transformers 4 (`rope_theta`, ...), of 5 (`rope_parameters`),
        or both.
      default_base: the base to use if the file gives none.
      default_local_base: the same for local layers; None if they share the settings of global layers.
      default_scaling: the scaling where a file has no settings at all, of a family whose files have the newer form
        alone; None for families that have both forms.

    Raises:
      UserError: a value is not supported, or the two forms are both given and disagree.
    """
    parameters = fields.take("rope_parameters", None)
    if default_scaling is not None:
        if parameters is None:
            return Rope(default_base, default_scaling, default_local_base)
        by_kind = _mapping(parameters, "rope_parameters", fields)
        return _read_parameters(by_kind, fields.where, default_base, default_local_base)
    classic_values = {name: fields.take(name, None) for name in _CLASSIC}
    classic_present = {name: value for name, value in classic_values.items() if value is not None}
    if "rope_local_base_freq" in classic_present and default_local_base is None:
        raise fields.error(
            "rope_local_base_freq", classic_present["rope_local_base_freq"], "this family has no such field"
        )
    if parameters is None:
        return _read_classic(Fields(classic_present, fields.where), default_base, default_local_base)
    rope_parameters = _mapping(parameters, "rope_parameters", fields)
    rope = _read_parameters(rope_parameters, fields.where, default_base, default_local_base)
    # Files made for both versions give both forms, which must agree. The newer form fills in what the older leaves out.
    classic_rope = _read_classic(Fields(classic_present, fields.where), rope.base, rope.local_base)
    if "rope_scaling" not in classic_present:
        classic_rope = classic_rope._replace(scaling=rope.scaling)
    if classic_rope != rope:
        raise UserError(
            f"{fields.where}: rope_parameters and {', '.join(classic_present)} disagree; remove one of the two"
        )
    return rope


def _read_classic(fields: Fields, default_base: float, default_local_base: float | None) -> Rope:
    """Reads the form of transformers 4."""
    base = fields.number("rope_theta", default_base)
    scaling = fields.take("rope_scaling", None)
    local_base = None if default_local_base is None else fields.number("rope_local_base_freq", default_local_base)
    rope_scaling = (
        RopeScaling() if scaling is None else _read_scaling(Fields(_mapping(scaling, "rope_scaling", fields)))
    )
    return Rope(base, rope_scaling, local_base)


def _read_parameters(
    values: Mapping[str, Any], where: str, default_base: float, default_local_base: float | None
) -> Rope:
    """Reads the form of transformers 5, which nests an object for each kind of layer if these differ."""
    if default_local_base is None:
        fields = Fields(values, f"{where}: rope_parameters")
        return Rope(fields.number("rope_theta", default_base), _read_scaling(fields), None)
    # An object for each kind of layer; the one of local layers may change the base only.
    kinds_object = Fields(values, f"{where}: rope_parameters")
    by_layer_kind = {}
    for kind, default_of_kind in (("full_attention", default_base), ("sliding_attention", default_local_base)):
        kind_fields = Fields(
            _mapping(kinds_object.take(kind, {}), kind, kinds_object), f"{where}: rope_parameters: {kind}"
        )
        by_layer_kind[kind] = kind_fields.number("rope_theta", default_of_kind), _read_scaling(kind_fields)
    kinds_object.finish(())
    if by_layer_kind["sliding_attention"][1].kind != "none":
        raise UserError(f"{where}: rope_parameters: sliding_attention is scaled; only full_attention may be")
    return Rope(*by_layer_kind["full_attention"], by_layer_kind["sliding_attention"][0])


def _read_scaling(fields: Fields) -> RopeScaling:
    """Reads an object that describes a scaling, and nothing else."""
    # Older files call the kind "type".
    old_kind = fields.take("type", None)
    kind = fields.only("rope_type", ("default", "linear", "llama3", "proportional"), old_kind or "default")
    if old_kind not in (None, kind):
        raise fields.error("type", old_kind, f"rope_type is {kind!r}")
    if kind == "linear":
        scaling = RopeScaling("linear", fields.number("factor"))
    elif kind == "llama3":
        scaling = RopeScaling(
            kind="llama3",
            factor=fields.number("factor"),
            low_frequency_factor=fields.number("low_freq_factor"),
            high_frequency_factor=fields.number("high_freq_factor"),
            original_length=fields.integer("original_max_position_embeddings"),
        )
    elif kind == "proportional":
        fraction = fields.number("partial_rotary_factor", 1.0)
        if fraction > 1:
            raise fields.error("partial_rotary_factor", fraction, "it must be at most 1")
        scaling = RopeScaling(kind, fields.number("factor", 1.0), rotary_fraction=fraction)
    else:
        scaling = RopeScaling()
    fields.finish(())
    return scaling


def _mapping(value: Any, name: str, fields: Fields) -> Mapping[str, Any]:
    """The value of a field that must be an object."""
    if not isinstance(value, Mapping):
        raise fields.error(name, value, "it must be an object")
    return value


def write_rope(rope: Rope, newer_form: bool = False) -> dict[str, Any]:
    """The fields of config.json for these settings.

    Args:
      rope: the settings.
      newer_form: whether to write the form of transformers 5, for families that have no other; else that of version 4,
        which version 5 reads too.
    """
    scaling = rope.scaling
    scaling_fields: dict[str, Any] | None = None
    if scaling.kind == "proportional":
        scaling_fields = {"rope_type": "proportional", "partial_rotary_factor": scaling.rotary_fraction}
        # transformers reads this field, but warns that it does not know it.
        if scaling.factor != 1:
            scaling_fields["factor"] = scaling.factor
    if scaling.kind == "linear":
        scaling_fields = {"rope_type": "linear", "factor": scaling.factor}
    elif scaling.kind == "llama3":
        scaling_fields = {
            "rope_type": "llama3",
            "factor": scaling.factor,
            "low_freq_factor": scaling.low_frequency_factor,
            "high_freq_factor": scaling.high_frequency_factor,
            "original_max_position_embeddings": scaling.original_length,
        }
    if newer_form:
        of_global = {"rope_theta": rope.base, **(scaling_fields or {"rope_type": "default"})}
        of_local = {"rope_theta": rope.local_base, "rope_type": "default"}
        return {"rope_parameters": {"full_attention": of_global, "sliding_attention": of_local}}
    fields: dict[str, Any] = {"rope_theta": rope.base, "rope_scaling": scaling_fields}
    if rope.local_base is not None:
        fields["rope_local_base_freq"] = rope.local_base
    return fields
