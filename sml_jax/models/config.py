"""A decoder's configuration: one frozen dataclass for all families."""

from __future__ import annotations

import dataclasses
import json

import jax.numpy as jnp

from sml_jax.common.errors import UserError
from sml_jax.common.json_text import parse_json
from sml_jax.models.json_fields import check_fields, typed_values
from sml_jax.models.ops.attention import ATTENTIONS
from sml_jax.models.ops.rope import RopeScaling

# Far above any real model. A larger number is a slip that would otherwise allocate gigabytes.
_MAX_SIZE = 2**31 - 1
MAX_LAYERS = 2_000


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raises a UserError unless the value of a field is one of its choices."""
    if value not in choices:
        raise UserError(f"model: {name} is {value!r}; it takes {', '.join(map(repr, choices))}")


# Names for what the backward pass computes again; see `DecoderConfig.remat`.
REMATS = ("none", "layer", "dots")

# The projections of a layer that can have an adapter.
LORA_TARGETS = ("query", "key", "value", "out", "gate", "up", "down")


@dataclasses.dataclass(frozen=True)
class LoraConfig:
    """Low-rank adapters (LoRA, arXiv 2106.09685): a projection x W becomes x W + (x A) B * alpha / rank.

    Attributes:
      rank: columns of A and rows of B.
      alpha: weight of the adapters; (x A) B is multiplied by alpha / rank.
      targets: projections that have an adapter, in every layer: "query", "key", "value", "out" (attention), "gate",
        "up", "down" (MLP). They are stored in this order, whatever the order in which they are given.
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
            problem = f"hold {unknown}" if unknown else "are empty"
            raise UserError(f"lora: targets {problem}; they take {', '.join(map(repr, LORA_TARGETS))}")
        object.__setattr__(self, "targets", tuple(name for name in LORA_TARGETS if name in self.targets))

    @property
    def scale(self) -> float:
        """The factor by which (x A) B is multiplied: alpha / rank."""
        return self.alpha / self.rank


@dataclasses.dataclass(frozen=True)
class DecoderConfig:
    """The shape of a decoder-only transformer, and how it is computed.

    All families share this skeleton: RMS norms before attention and MLP, rotary position embeddings, grouped-query
    attention, a gated MLP. The fields say in what they differ.

    Attributes:
      vocab_size: rows of the embedding, a token each.
      embed_dim: size of a hidden state.
      layers: number of layers.
      heads: query heads; a multiple of `kv_heads`.
      kv_heads: key and value heads; each serves heads / kv_heads query heads.
      head_dim: size of a head; even.
      mlp_dim: size of the inside of the gated MLP.
      max_length: longest context in tokens for which an engine may make caches.
      activation: of the MLP's gate: "silu" (Llama, Qwen), or "gelu" for GELU's tanh approximation (Gemma).
      layer_pattern: "global" or "local" for each layer, repeated over the depth. A local layer sees only the last
        `window` tokens.
      window: tokens that a local layer sees, the query's own included.
      rope_base: base of the rotary wavelengths.
      rope_local_base: another base for local layers, whose frequencies are then not scaled (Gemma 3); None for the same
        base and scaling in all layers.
      rope_scaling: how rotary frequencies are stretched for long contexts.
      attention_scale: factor of the attention scores; None for head_dim ** -0.5.
      attention_softcap: scores become cap * tanh(scores / cap) (Gemma 2); None for no cap.
      final_softcap: the same for the logits.
      qk_norm: whether queries and keys are RMS normed over the head (Gemma 3, Qwen 3).
      qkv_bias: whether the query, key and value projections have biases (Qwen 2.5).
      post_norms: whether attention and MLP have a norm after them as well (Gemma).
      norm_plus_one: whether the weights of norms are stored as offsets from one (Gemma).
      norm_eps: added to the mean square in every norm.
      embedding_scale: whether embeddings are multiplied by sqrt(embed_dim) (Gemma).
      tied_embeddings: whether the output layer is the transposed embedding.
      attention: implementation of attention. "auto" takes the device's best; "xla", "cudnn" (NVIDIA) and "splash" (TPU)
        name one for complete rows, without caches. "native" is "xla" on a CPU, with C++ for attention over caches and
        for products of a few rows (`models.ops.cache_backends`).
      dtype: dtype of the computation, "float32" or "bfloat16".
      param_dtype: dtype that parameters are stored in; norms and adapters are always float32.
      remat: what the backward pass computes again instead of storing it. False or "none": nothing. True or "layer": all
        of a layer, so that one hidden state a layer is stored. "dots": all but products with weights.
      scan_unroll: layers per step of the scan over layers.
      lora: adapters on the projections, which are then the only parameters that training changes; None for none.
        `add_lora` gives a model adapters.
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
        # Gin and JSON give lists; a tuple keeps the configuration hashable, as static arguments of jit must be.
        object.__setattr__(self, "layer_pattern", tuple(self.layer_pattern))
        # Sizes, then names, then what fields demand of each other. Gin and JSON reach this code unchecked.
        for name in ("vocab_size", "embed_dim", "layers", "heads", "kv_heads", "head_dim", "mlp_dim", "max_length"):
            if getattr(self, name) < 1:
                raise UserError(f"model: {name} is {getattr(self, name)}; it must be at least 1")
            limit = MAX_LAYERS if name == "layers" else _MAX_SIZE
            if getattr(self, name) > limit:
                raise UserError(f"model: {name} is {getattr(self, name)}; it must be at most {limit}")
        # Grouped-query attention gives each kv head the same number of query heads.
        if self.heads % self.kv_heads:
            raise UserError(f"model: heads ({self.heads}) must be a multiple of kv_heads ({self.kv_heads})")
        _check_choice("activation", self.activation, ("silu", "gelu"))
        _check_choice("attention", self.attention, ATTENTIONS)
        _check_choice("dtype", self.dtype, ("float32", "bfloat16"))
        _check_choice("param_dtype", self.param_dtype, ("float32", "bfloat16"))
        if not isinstance(self.remat, bool):
            _check_choice("remat", self.remat, REMATS)
        # Rotary embeddings rotate pairs of numbers.
        if self.head_dim % 2:
            raise UserError(f"model: head_dim is {self.head_dim}; rotary embeddings need an even number")
        if not self.layer_pattern or set(self.layer_pattern) - {"global", "local"}:
            raise UserError(f'model: layer_pattern is {self.layer_pattern}; it takes "global" and "local"')
        if "local" in self.layer_pattern and self.window < 1:
            raise UserError(f"model: window is {self.window}; local layers (layer_pattern) need at least 1")
        if self.scan_unroll < 1:
            raise UserError(f"model: scan_unroll is {self.scan_unroll}; it must be at least 1")
        # Numbers that must be positive; None is allowed where it is the default.
        above_zero = ("rope_base", "rope_local_base", "attention_scale", "attention_softcap", "final_softcap")
        for name in (*above_zero, "norm_eps"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise UserError(f"model: {name} is {value}; give a number above 0")

    @property
    def local_layers(self) -> tuple[bool, ...]:
        """For each layer, from the bottom, whether it is local: it sees only the last `window` tokens."""
        return tuple(self.layer_pattern[i % len(self.layer_pattern)] == "local" for i in range(self.layers))

    @property
    def compute_dtype(self) -> jnp.dtype:
        """`dtype` as a JAX dtype."""
        return jnp.dtype(self.dtype)

    def to_json(self) -> str:
        """The configuration as JSON text, read back by `from_json`."""
        return json.dumps(dataclasses.asdict(self), indent=2)

    @classmethod
    def from_json(cls, text: str) -> DecoderConfig:
        """Reads what `to_json` wrote.

        Raises:
          UserError: a field is unknown or missing, or has a value of another type.
        """
        try:
            values = parse_json(text, unique_names=True)
        except ValueError as error:
            raise UserError(f"model config: not JSON ({error})") from error
        values = check_fields(values, "model config", cls)
        # Nested objects are read by their own dataclass, so that errors name the field inside them.
        if "rope_scaling" in values:
            scaling = check_fields(values["rope_scaling"], "rope_scaling", RopeScaling)
            values["rope_scaling"] = RopeScaling(**typed_values(scaling, RopeScaling))
        if values.get("lora") is not None:
            lora = check_fields(values["lora"], "lora", LoraConfig)
            values["lora"] = LoraConfig(**typed_values(lora, LoraConfig))
        try:
            return cls(**typed_values(values, cls))
        except TypeError as error:
            # The only way left for the constructor to raise this: a field without a default is missing.
            raise UserError(f"model config: {str(error).split('__() ')[-1]}") from error


RUN_FIELDS = ("attention", "dtype", "param_dtype", "max_length", "remat", "scan_unroll")
"""The fields that say how a model is run or stored, not which function it computes."""


def run_settings(config: DecoderConfig) -> dict[str, object]:
    """The `RUN_FIELDS` of a configuration, field -> value, to pass as overrides (`hf.checkpoint.with_overrides`)."""
    return {name: getattr(config, name) for name in RUN_FIELDS}


def canonical(config: DecoderConfig) -> DecoderConfig:
    """The configuration in a normal form: two that compute the same function in the same way become equal.

    The layer pattern becomes the shortest one that gives the same layers when it is repeated. Fields without effect
    become None or 0, such as `window` without local layers.
    """
    kinds = tuple("local" if local else "global" for local in config.local_layers)
    # The shortest pattern that repeats to the same layers.
    period = next(p for p in range(1, len(kinds) + 1) if all(kind == kinds[i % p] for i, kind in enumerate(kinds)))
    # A local base that equals the global one changes nothing, unless the global frequencies are scaled.
    local_base_is_global = config.rope_local_base == config.rope_base and config.rope_scaling.kind == "none"
    any_local = "local" in kinds
    return dataclasses.replace(
        config,
        layer_pattern=kinds[:period],
        window=config.window if any_local else 0,
        rope_local_base=None if local_base_is_global or not any_local else config.rope_local_base,
        rope_scaling=RopeScaling() if config.rope_scaling.kind == "none" else config.rope_scaling,
        attention_scale=None if config.attention_scale == config.head_dim**-0.5 else config.attention_scale,
    )
