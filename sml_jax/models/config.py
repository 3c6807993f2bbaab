"""The shape of a decoder: one frozen dataclass with room for every family that shares this skeleton."""

from __future__ import annotations

import dataclasses
import json

import jax.numpy as jnp

from sml_jax.common.errors import UserError
from sml_jax.common.json_text import parse_json
from sml_jax.models.json_fields import check_fields, typed_values
from sml_jax.models.ops.attention import ATTENTIONS
from sml_jax.models.ops.rope import RopeScaling

# Far above any model's: what is larger is a slip, which would otherwise end in gigabytes asked for.
_MOST = 2**31 - 1
MOST_LAYERS = 2_000


def _one_of(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise UserError(f"model: {name} is {value!r}; it takes {', '.join(map(repr, choices))}")


# What may be computed again in the backward pass.
REMATS = ("none", "layer", "dots")

# The projections of a layer that an adapter may sit on.
LORA_TARGETS = ("query", "key", "value", "out", "gate", "up", "down")


@dataclasses.dataclass(frozen=True)
class LoraConfig:
    """Low-rank adapters (LoRA, arXiv 2106.09685): a projection x W becomes x W + (x A) B * alpha / rank.

    Attributes:
      rank: columns of A and rows of B.
      alpha: how strongly adapters count, divided by the rank.
      targets: projections of every layer that have one: "query", "key", "value", "out" (attention), "gate", "up",
        "down" (MLP). Kept in this order whatever the order they are given in.
    """

    rank: int = 16
    alpha: float = 32.0
    targets: tuple[str, ...] = LORA_TARGETS

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise UserError(f"lora: rank is {self.rank}; it must be at least 1")
        if not 0 < self.alpha < float("inf"):
            raise UserError(f"lora: alpha is {self.alpha}; give a number above 0, such as twice the rank")
        unknown = sorted(set(self.targets) - set(LORA_TARGETS))
        if unknown or not self.targets:
            wrong = f"hold {unknown}" if unknown else "are empty"
            raise UserError(f"lora: targets {wrong}; they take {', '.join(map(repr, LORA_TARGETS))}")
        object.__setattr__(self, "targets", tuple(name for name in LORA_TARGETS if name in self.targets))

    @property
    def scale(self) -> float:
        """The factor of (x A) B."""
        return self.alpha / self.rank


@dataclasses.dataclass(frozen=True)
class DecoderConfig:
    """A pre-norm, gated, rotary decoder.

    Attributes:
      vocab_size, embed_dim, layers, heads, kv_heads, head_dim, mlp_dim: the sizes; `mlp_dim` is the gated MLP's.
      max_length: the longest context in tokens that caches are made for.
      activation: of the gate, "silu" (Llama, Qwen) or "gelu" (tanh form, Gemma).
      layer_pattern: "global" or "local", repeated over the depth; "local" layers see only the last `window` tokens.
      window: tokens that a local layer sees, itself included.
      rope_base, rope_scaling: of global layers.
      rope_local_base: the base of local layers, which are then not scaled; None for the same as global ones.
      attention_scale: factor of the scores, None for head_dim ** -0.5.
      attention_softcap, final_softcap: tanh caps of scores and logits (Gemma 2), None for none.
      qk_norm: RMS norm of queries and keys over the head (Gemma 3, Qwen 3).
      qkv_bias: biases of the query, key and value projections (Qwen 2.5).
      post_norms: norms after attention and MLP as well as before (Gemma).
      norm_plus_one: norm weights are stored as an offset from one (Gemma).
      embedding_scale: embeddings are multiplied by sqrt(embed_dim) (Gemma).
      tied_embeddings: the output layer is the embedding's transpose.
      attention: how whole rows attend to themselves (`models.attention`): "auto" for the device's best way, "xla",
        "cudnn" or "splash". "native" is a CPU's "xla", and C++ where new tokens look back at caches
        and where one device multiplies few rows.
      dtype: of the computation, "float32" or "bfloat16". Parameters keep `param_dtype`.
      remat: what the backward pass computes again. False or "none": nothing. True or "layer": a layer's inside, so that
        one activation a layer is kept. "dots": all but the results of products with weights, which are kept.
      scan_unroll: layers unrolled in each step of the scan over layers.
      lora: adapters on the layers' projections, the only parameters that are then trained; None for none. Give them to
        a model with `lora.add_lora`.
    """

    vocab_size: int
    embed_dim: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    mlp_dim: int
    max_length: int
    activation: str = "silu"
    layer_pattern: tuple[str, ...] = ("global",)
    window: int = 0
    rope_base: float = 10_000.0
    rope_local_base: float | None = None
    rope_scaling: RopeScaling = RopeScaling()
    attention_scale: float | None = None
    attention_softcap: float | None = None
    final_softcap: float | None = None
    qk_norm: bool = False
    qkv_bias: bool = False
    post_norms: bool = False
    norm_plus_one: bool = False
    norm_eps: float = 1e-6
    embedding_scale: bool = False
    tied_embeddings: bool = True
    attention: str = "auto"
    dtype: str = "float32"
    param_dtype: str = "float32"
    remat: bool | str = False
    scan_unroll: int = 1
    lora: LoraConfig | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "layer_pattern", tuple(self.layer_pattern))
        for name in ("vocab_size", "embed_dim", "layers", "heads", "kv_heads", "head_dim", "mlp_dim", "max_length"):
            if getattr(self, name) < 1:
                raise UserError(f"model: {name} is {getattr(self, name)}; it must be at least 1")
            most = MOST_LAYERS if name == "layers" else _MOST
            if getattr(self, name) > most:
                raise UserError(f"model: {name} is {getattr(self, name)}; it must be at most {most}")
        if self.heads % self.kv_heads:
            raise UserError(f"model: heads ({self.heads}) must be a multiple of kv_heads ({self.kv_heads})")
        _one_of("activation", self.activation, ("silu", "gelu"))
        _one_of("attention", self.attention, ATTENTIONS)
        _one_of("dtype", self.dtype, ("float32", "bfloat16"))
        _one_of("param_dtype", self.param_dtype, ("float32", "bfloat16"))
        if not isinstance(self.remat, bool):
            _one_of("remat", self.remat, REMATS)
        if self.head_dim % 2:
            raise UserError(f"model: head_dim is {self.head_dim}; rotary embeddings need an even number")
        if not self.layer_pattern or set(self.layer_pattern) - {"global", "local"}:
            raise UserError(f'model: layer_pattern is {self.layer_pattern}; it takes "global" and "local"')
        if "local" in self.layer_pattern and self.window < 1:
            raise UserError(f"model: window is {self.window}; local layers (layer_pattern) need at least 1")
        if self.scan_unroll < 1:
            raise UserError(f"model: scan_unroll is {self.scan_unroll}; it must be at least 1")
        above_zero = ("rope_base", "rope_local_base", "attention_scale", "attention_softcap", "final_softcap")
        for name in (*above_zero, "norm_eps"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise UserError(f"model: {name} is {value}; give a number above 0")

    @property
    def local_layers(self) -> tuple[bool, ...]:
        """Which layers are local, bottom first."""
        return tuple(self.layer_pattern[i % len(self.layer_pattern)] == "local" for i in range(self.layers))

    @property
    def compute_dtype(self) -> jnp.dtype:
        return jnp.dtype(self.dtype)

    def to_json(self) -> str:
        """The configuration as JSON text, read back by `from_json`."""
        return json.dumps(dataclasses.asdict(self), indent=2)

    @classmethod
    def from_json(cls, text: str) -> DecoderConfig:
        """Reads what `to_json` wrote. An unknown or missing field is an error, never ignored."""
        try:
            values = parse_json(text)
        except ValueError as error:
            raise UserError(f"model config: not JSON ({error})") from error
        values = check_fields(values, "model config", cls)
        if "rope_scaling" in values:
            scaling = check_fields(values["rope_scaling"], "rope_scaling", RopeScaling)
            values["rope_scaling"] = RopeScaling(**typed_values(scaling, RopeScaling))
        if values.get("lora") is not None:
            lora = check_fields(values["lora"], "lora", LoraConfig)
            values["lora"] = LoraConfig(**typed_values(lora, LoraConfig))
        try:
            return cls(**typed_values(values, cls))
        except TypeError as error:  # a field is missing
            raise UserError(f"model config: {str(error).split('__() ')[-1]}") from error


RUN_FIELDS = ("attention", "dtype", "param_dtype", "max_length", "remat", "scan_unroll")
"""The fields that say how a model is run or stored, not which function it computes."""


def run_settings(config: DecoderConfig) -> dict[str, object]:
    """The values of `RUN_FIELDS`, as overrides for another configuration."""
    return {name: getattr(config, name) for name in RUN_FIELDS}


def canonical(config: DecoderConfig) -> DecoderConfig:
    """An equal configuration in one fixed form, so that configurations of the same function compare equal.

    The layer pattern becomes the shortest one that repeats to the same layers, and fields that change nothing become
    None or 0.
    """
    kinds = tuple("local" if local else "global" for local in config.local_layers)
    period = next(p for p in range(1, len(kinds) + 1) if all(kind == kinds[i % p] for i, kind in enumerate(kinds)))
    same_rope = config.rope_local_base == config.rope_base and config.rope_scaling.kind == "none"
    any_local = "local" in kinds
    return dataclasses.replace(
        config,
        layer_pattern=kinds[:period],
        window=config.window if any_local else 0,
        rope_local_base=None if same_rope or not any_local else config.rope_local_base,
        rope_scaling=RopeScaling() if config.rope_scaling.kind == "none" else config.rope_scaling,
        attention_scale=None if config.attention_scale == config.head_dim**-0.5 else config.attention_scale,
    )
