"""Rotary settings of a config.json, in the form of transformers 4 (`rope_theta`, ...) and of 5 (`rope_parameters`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from sml_jax.common.errors import UserError
from sml_jax.models.hf.fields import Fields
from sml_jax.models.ops.rope import RopeScaling

_CLASSIC = ("rope_theta", "rope_scaling", "rope_local_base_freq")


class Rope(NamedTuple):
    """Bases and scaling. `local_base` is None where local layers have no settings of their own."""

    base: float
    scaling: RopeScaling
    local_base: float | None


def read_rope(fields: Fields, default_base: float, default_local_base: float | None) -> Rope:
    """Takes the rotary settings out of `fields`.

    Args:
      fields: of a config.json.
      default_base: the family's base.
      default_local_base: the base of the family's local layers; None if they share the global ones' settings.

    Raises:
      UserError: a kind of scaling that is not supported, or two forms that disagree.
    """
    new = fields.take("rope_parameters", None)
    given = {name: fields.take(name, None) for name in _CLASSIC}
    classic = {name: value for name, value in given.items() if value is not None}
    if "rope_local_base_freq" in classic and default_local_base is None:
        raise fields.error("rope_local_base_freq", classic["rope_local_base_freq"], "this family has no such field")
    if new is None:
        return _read_classic(Fields(classic, fields.where), default_base, default_local_base)
    rope = _read_parameters(_mapping(new, "rope_parameters", fields), fields.where, default_base, default_local_base)
    # Files made for both versions give both forms. What the older one leaves out, the newer one settles.
    filled = _read_classic(Fields(classic, fields.where), rope.base, rope.local_base)
    if "rope_scaling" not in classic:
        filled = filled._replace(scaling=rope.scaling)
    if filled != rope:
        raise UserError(f"{fields.where}: rope_parameters and {', '.join(classic)} disagree; remove one of the two")
    return rope


def _read_classic(fields: Fields, default_base: float, default_local_base: float | None) -> Rope:
    base = fields.number("rope_theta", default_base)
    scaling = fields.take("rope_scaling", None)
    local = None if default_local_base is None else fields.number("rope_local_base_freq", default_local_base)
    kind = RopeScaling() if scaling is None else _read_scaling(Fields(_mapping(scaling, "rope_scaling", fields)))
    return Rope(base, kind, local)


def _read_parameters(
    values: Mapping[str, Any], where: str, default_base: float, default_local_base: float | None
) -> Rope:
    if default_local_base is None:
        fields = Fields(values, f"{where}: rope_parameters")
        return Rope(fields.number("rope_theta", default_base), _read_scaling(fields), None)
    by_kind = Fields(values, f"{where}: rope_parameters")
    parts = {}
    for kind, default in (("full_attention", default_base), ("sliding_attention", default_local_base)):
        part = Fields(_mapping(by_kind.take(kind, {}), kind, by_kind), f"{where}: rope_parameters: {kind}")
        parts[kind] = part.number("rope_theta", default), _read_scaling(part)
    by_kind.finish(())
    if parts["sliding_attention"][1].kind != "none":
        raise UserError(f"{where}: rope_parameters: sliding_attention is scaled; only full_attention may be")
    return Rope(*parts["full_attention"], parts["sliding_attention"][0])


def _read_scaling(fields: Fields) -> RopeScaling:
    older = fields.take("type", None)
    kind = fields.only("rope_type", ("default", "linear", "llama3"), older or "default")
    if older not in (None, kind):
        raise fields.error("type", older, f"rope_type is {kind!r}")
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
    else:
        scaling = RopeScaling()
    fields.finish(())
    return scaling


def _mapping(value: Any, name: str, fields: Fields) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise fields.error(name, value, "it must be an object")
    return value


def write_rope(rope: Rope) -> dict[str, Any]:
    """The settings in the form of transformers 4, which 5 reads too."""
    s = rope.scaling
    scaling: dict[str, Any] | None = None
    if s.kind == "linear":
        scaling = {"rope_type": "linear", "factor": s.factor}
    elif s.kind == "llama3":
        scaling = {
            "rope_type": "llama3",
            "factor": s.factor,
            "low_freq_factor": s.low_frequency_factor,
            "high_freq_factor": s.high_frequency_factor,
            "original_max_position_embeddings": s.original_length,
        }
    written: dict[str, Any] = {"rope_theta": rope.base, "rope_scaling": scaling}
    if rope.local_base is not None:
        written["rope_local_base_freq"] = rope.local_base
    return written
