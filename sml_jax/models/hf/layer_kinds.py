"""Which layers are local, as a config.json says it: by a list, or by the family's rule."""

from __future__ import annotations

import logging
from typing import Any

from sml_jax.families import ConfigFormat
from sml_jax.models.config import DecoderConfig
from sml_jax.models.hf.fields import Fields

_log = logging.getLogger(__name__)

# Values of `layer_types`, and how `DecoderConfig.layer_pattern` calls them.
_LAYER_KINDS = {"full_attention": "global", "sliding_attention": "local"}
_DELTA_KINDS = {"full_attention": "global", "linear_attention": "delta"}
_HF_LAYER_KINDS = {ours: theirs for theirs, ours in (_LAYER_KINDS | _DELTA_KINDS).items()}


def read_layer_kinds(fields: Fields, form: ConfigFormat, layers: int) -> tuple[int, tuple[str, ...]]:
    """Takes the fields that say which layers are local.

    Args:
      fields: of a config.json.
      form: how the family writes it.
      layers: the number of layers.

    Returns:
      The window of local layers, 0 without any, and "local", "global" or "delta" for each layer, to be repeated.

    Raises:
      UserError: a field is missing, or its value is not supported.
    """
    if form.sliding == "none":
        # Newer programs list the layers of every model.
        listed = fields.take("layer_types", None)
        if listed not in (None, ["full_attention"] * layers):
            raise fields.error("layer_types", listed, f"in this family it must list {layers} of 'full_attention'")
        return 0, ("global",)
    window, names = 0, _LAYER_KINDS
    if form.sliding == "delta":
        names, period = _DELTA_KINDS, form.period
        for name in form.period_fields:
            period = fields.integer(name, period)
        kinds = tuple("global" if (i + 1) % period == 0 else "delta" for i in range(layers))
    elif form.sliding == "periodic":
        window = fields.integer("sliding_window", form.defaults["sliding_window"])
        # Another name of the same field in some of Gemma's files.
        fields.only("sliding_window_size", (window,), window)
        period = form.period
        for name in reversed(form.period_fields):
            period = fields.integer(name, period)
        last_global = layers if form.last_is_global else 0
        kinds = tuple("global" if (i + 1) % period == 0 or i + 1 == last_global else "local" for i in range(layers))
    else:
        window, first_local = _read_upper_window(fields, form)
        kinds = tuple("local" if window and i >= first_local else "global" for i in range(layers))
    # A list of all layers, which newer files have, overrules these rules.
    listed = fields.take("layer_types", None)
    if listed is None:
        return window, kinds
    if not isinstance(listed, list) or len(listed) != layers or any(kind not in tuple(names) for kind in listed):
        raise fields.error("layer_types", listed, f"it must list {layers} of {', '.join(map(repr, names))}")
    kinds = tuple(names[kind] for kind in listed)
    if form.last_is_global and kinds[-1] != "global":
        _log.warning("%s: the last layer is given full attention, as in transformers", fields.where)
        kinds = (*kinds[:-1], "global")
    if "local" in kinds and not window:
        raise fields.error("layer_types", listed, "sliding layers need use_sliding_window and sliding_window")
    return window, kinds


def _read_upper_window(fields: Fields, form: ConfigFormat) -> tuple[int, int]:
    """The window, 0 if it is not used, and the first layer that has it."""
    use_window = fields.flag("use_sliding_window", False)
    size = fields.take("sliding_window", None)
    first_local = fields.take("max_window_layers", form.defaults["max_window_layers"])
    if isinstance(first_local, bool) or not isinstance(first_local, int):
        raise fields.error("max_window_layers", first_local, "it must be a whole number")
    used = use_window and size is not None
    return Fields({"sliding_window": size}).integer("sliding_window") if used else 0, first_local


def write_layer_kinds(config: DecoderConfig, form: ConfigFormat) -> dict[str, Any]:
    """The fields of config.json that say which layers of a configuration are local; `form` is the family's."""
    if form.sliding == "none":
        return {}
    local = config.local_layers
    # The full list is written, so that any pattern survives, whatever the family's rule.
    pattern = config.layer_pattern
    listed = [_HF_LAYER_KINDS[pattern[i % len(pattern)]] for i in range(config.layers)]
    if form.sliding == "delta":
        return {"layer_types": listed}
    if form.sliding == "periodic":
        return {"layer_types": listed, "sliding_window": max(config.window, 1)}
    return {
        "layer_types": listed,
        "sliding_window": config.window if any(local) else None,
        "use_sliding_window": any(local),
        "max_window_layers": local.index(True) if any(local) else config.layers,
    }
