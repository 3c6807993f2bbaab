"""A decoder's configuration: one frozen dataclass for all families."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import jax.numpy as jnp

from sml_jax.common.errors import UserError
from sml_jax.common.json_text import parse_json
from sml_jax.models.json_fields import check_fields, typed_values
from sml_jax.models.ops.attention import ATTENTIONS
from sml_jax.models.ops.int8 import ROLLOUT_WEIGHTS
from sml_jax.models.ops.rope import RopeScaling

# Far above any real model. A larger number is a slip that would otherwise allocate gigabytes.
_MAX_SIZE = 2**31 - 1
MAX_LAYERS = 2_000


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raises a UserError unless the value of a field is one of its choices."""
    if value not in choices:
        raise UserError(f"model: {name} is {value!r}; it takes {', '.join(map(repr, choices))}")


# Names for what the backward pass computes again; see `DecoderConfig.remat`.
REMATS = ("auto", "none", "layer", "dots")

# The projections of a layer that have an adapter unless others are named, and those of some families that may have one.
LORA_TARGETS = ("query", "key", "value", "out", "gate", "up", "down")
MORE_LORA_TARGETS = (
    *("per_layer_gate", "per_layer_out"),
    *("delta_query", "delta_key", "delta_value", "delta_gate", "delta_beta", "delta_decay", "delta_out"),
)


@dataclasses.dataclass(frozen=True)
class LoraConfig:
    """Low-rank adapters (LoRA, arXiv 2106.09685): a projection x W becomes x W + (x A) B * alpha / rank.

    Attributes:
      rank: columns of A and rows of B.
      alpha: weight of the adapters; (x A) B is multiplied by alpha / rank.
      targets: projections that have an adapter, in every layer that has such a projection: "query", "key", "value",
        "out" (attention), "gate", "up", "down" (MLP). Not by default: "per_layer_gate", "per_layer_out" (per-layer
        embeddings), "delta_query", "delta_key", "delta_value", "delta_gate", "delta_beta", "delta_decay", "delta_out"
        (delta nets). They are stored in this order, whatever the order in which they are given.
    """

    rank: int = 16
    alpha: float = 32.0
    targets: tuple[str, ...] = LORA_TARGETS

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise UserError(f"lora: rank is {self.rank}; it must be at least 1")
        if not 0 < self.alpha < float("inf"):
            raise UserError(f"lora: alpha is {self.alpha}; give a number above 0, such as twice the rank")
        known = (*LORA_TARGETS, *MORE_LORA_TARGETS)
        unknown = sorted(set(self.targets) - set(known))
        if unknown or not self.targets:
            problem = f"hold {unknown}" if unknown else "are empty"
            raise UserError(f"lora: targets {problem}; they take {', '.join(map(repr, known))}")
        object.__setattr__(self, "targets", tuple(name for name in known if name in self.targets))

    @property
    def scale(self) -> float:
        """The factor by which (x A) B is multiplied: alpha / rank."""
        return self.alpha / self.rank


@dataclasses.dataclass(frozen=True)
class DeltaNetConfig:
    """The shape of gated delta nets (arXiv 2412.06464), see `models.delta_net`.

    Attributes:
      key_heads: heads of queries and keys.
      value_heads: heads of values; a multiple of `key_heads`. Each has a state of key_dim * value_dim numbers.
      key_dim: size of a query or key.
      value_dim: size of a value.
      taps: tokens that the short convolution sums over, the present one included.
    """

    key_heads: int
    value_heads: int
    key_dim: int
    value_dim: int
    taps: int = 4

    def __post_init__(self) -> None:
        for name in ("key_heads", "value_heads", "key_dim", "value_dim"):
            if not 1 <= getattr(self, name) <= _MAX_SIZE:
                raise UserError(f"delta_net: {name} is {getattr(self, name)}; it must be at least 1")
        if self.value_heads % self.key_heads:
            raise UserError(
                f"delta_net: value_heads ({self.value_heads}) must be a multiple of key_heads ({self.key_heads})"
            )
        if not 2 <= self.taps <= 64:
            raise UserError(f"delta_net: taps is {self.taps}; it takes 2 to 64")


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
      layer_pattern: "global", "local" or "delta" for each layer, repeated over the depth. A local layer sees only the
        last `window` tokens. A delta layer has a gated delta net in the place of attention.
      window: tokens that a local layer sees, the query's own included.
      rope_base: base of the rotary wavelengths.
      rope_local_base: another base for local layers, whose frequencies are then not scaled (Gemma 3); None for the same
        base and scaling in all layers.
      rope_scaling: how rotary frequencies are stretched for long contexts.
      rotary_dim: numbers of a head that are rotated, the first ones; even. None for all of them.
      attention_scale: factor of the attention scores; None for the layer's head_dim ** -0.5.
      attention_softcap: scores become cap * tanh(scores / cap) (Gemma 2); None for no cap.
      final_softcap: the same for the logits.
      qk_norm: whether queries and keys are RMS normed over the head (Gemma 3, Qwen 3).
      qkv_bias: whether the query, key and value projections have biases (Qwen 2.5).
      output_gate: whether what attention returns is multiplied by the sigmoid of a gate, a projection of its own beside
        the query's (Qwen 3.5).
      delta_net: the shape of the delta nets in "delta" layers; None without such layers.
      post_norms: whether attention and MLP have a norm after them as well (Gemma).
      norm_plus_one: whether the weights of norms are stored as offsets from one (Gemma).
      norm_eps: added to the mean square in every norm.
      embedding_scale: whether embeddings are multiplied by sqrt(embed_dim) (Gemma).
      tied_embeddings: whether the output layer is the transposed embedding.
      global_head_dim: size of a head in global layers, where it differs from `head_dim`; None for `head_dim`.
      global_kv_heads: key and value heads of global layers, where they differ from `kv_heads`; None for `kv_heads`.
      global_key_as_value: whether global layers have no value projection: their values are what the key projection
        gives, before keys are normed and rotated (Gemma 4).
      value_norm: whether values are RMS normed over the head, without a weight (Gemma 4).
      layer_scalar: whether the output of a layer is multiplied by a stored number, which is not trained (Gemma 4).
      kv_sharing_layers: how many of the last layers have no keys and values of their own. They attend to those of the
        last layer before them that is of their kind, local or global (Gemma 4 E2B and E4B).
      sharing_mlp_dim: `mlp_dim` of these layers; None for the same.
      per_layer_dim: size of the per-layer embeddings: of each token, a vector for each layer, which the layer adds in
        (Gemma 4 E2B and E4B); 0 for none.
      per_layer_vocab_size: rows of the table of per-layer embeddings; None for `vocab_size`.
      attention: implementation of attention. "auto" takes the device's best; "xla", "cudnn" (NVIDIA) and "splash" (TPU)
        name one for complete rows, without caches. "native" is "xla" on a CPU, with C++ for attention over caches and
        for products of a few rows (`models.ops.cache_backends`).
      dtype: dtype of the computation, "float32" or "bfloat16".
      cache_dtype: dtype that an engine stores keys and values in, "float32" or "bfloat16"; None for `dtype`. With
        "bfloat16" beside a `dtype` of "float32", caches are half as large and read in half the time, and the sampler
        rounds keys and values where the trainer does not (`logprob_mismatch` says by how much that matters).
      param_dtype: dtype that parameters are stored in; norms and adapters are always float32.
      remat: what the backward pass computes again instead of storing it. False or "none": nothing. True or "layer": all
        of a layer, so that one hidden state a layer is stored. "dots": all but products with weights. "auto": a run
        chooses the first of "none", "dots" and "layer" that fits (`sml_jax.run.memory_fit`); elsewhere it is "none".
      scan_unroll: layers per step of the scan over layers.
      rollout_weights: how an engine holds the weights that it samples with: None for `dtype`, "int8" for integers with
        a scale for each output channel, made from the parameters whenever these change ("Int8 rollouts" in
        docs/engine.md). Training is computed with the parameters themselves.
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
    rotary_dim: int | None = None
    attention_scale: float | None = None
    attention_softcap: float | None = None
    final_softcap: float | None = None
    qk_norm: bool = False
    qkv_bias: bool = False
    output_gate: bool = False
    delta_net: DeltaNetConfig | None = None
    post_norms: bool = False
    norm_plus_one: bool = False
    norm_eps: float = 1e-6
    embedding_scale: bool = False
    tied_embeddings: bool = True
    global_head_dim: int | None = None
    global_kv_heads: int | None = None
    global_key_as_value: bool = False
    value_norm: bool = False
    layer_scalar: bool = False
    kv_sharing_layers: int = 0
    sharing_mlp_dim: int | None = None
    per_layer_dim: int = 0
    per_layer_vocab_size: int | None = None
    attention: str = "auto"
    dtype: str = "float32"
    cache_dtype: str | None = None
    param_dtype: str = "float32"
    remat: bool | str = "auto"
    scan_unroll: int = 1
    rollout_weights: str | None = None
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
        if self.cache_dtype is not None:
            _check_choice("cache_dtype", self.cache_dtype, ("float32", "bfloat16"))
        _check_choice("param_dtype", self.param_dtype, ("float32", "bfloat16"))
        if self.rollout_weights is not None:
            _check_choice("rollout_weights", self.rollout_weights, ROLLOUT_WEIGHTS)
        if not isinstance(self.remat, bool):
            _check_choice("remat", self.remat, REMATS)
        # Rotary embeddings rotate pairs of numbers.
        if self.head_dim % 2:
            raise UserError(f"model: head_dim is {self.head_dim}; rotary embeddings need an even number")
        if not self.layer_pattern or set(self.layer_pattern) - {"global", "local", "delta"}:
            raise UserError(f'model: layer_pattern is {self.layer_pattern}; it takes "global", "local" and "delta"')
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
        if "delta" in self.layer_pattern and self.delta_net is None:
            raise UserError("model: layer_pattern has delta layers, but delta_net is None: give a DeltaNetConfig")
        if self.rotary_dim is not None and not (0 < self.rotary_dim <= self.head_dim and self.rotary_dim % 2 == 0):
            raise UserError(
                f"model: rotary_dim is {self.rotary_dim}; give an even number of at most head_dim ({self.head_dim})"
            )
        self._check_layers_that_differ()

    def _check_layers_that_differ(self) -> None:
        """Checks the fields that give some layers other sizes than others, or no keys and values."""
        for name in ("global_head_dim", "global_kv_heads", "sharing_mlp_dim", "per_layer_vocab_size"):
            value = getattr(self, name)
            if value is not None and not 1 <= value <= _MAX_SIZE:
                raise UserError(f"model: {name} is {value}; it must be from 1 to {_MAX_SIZE}, or None")
        if not 0 <= self.per_layer_dim <= _MAX_SIZE:
            raise UserError(f"model: per_layer_dim is {self.per_layer_dim}; it must be from 0 to {_MAX_SIZE}")
        if self.global_head_dim is not None and self.global_head_dim % 2:
            raise UserError(f"model: global_head_dim is {self.global_head_dim}; rotary embeddings need an even number")
        if self.global_kv_heads is not None and self.heads % self.global_kv_heads:
            raise UserError(
                f"model: heads ({self.heads}) must be a multiple of global_kv_heads ({self.global_kv_heads})"
            )
        if not 0 <= self.kv_sharing_layers < self.layers:
            raise UserError(
                f"model: kv_sharing_layers is {self.kv_sharing_layers}; it must be from 0 to {self.layers - 1}, "
                "so that a layer is left whose keys and values they read"
            )
        # Each sharing layer needs a layer of its kind below all of them.
        own_layers = self.layers - self.kv_sharing_layers
        missing = set(self.local_layers[own_layers:]) - set(self.local_layers[:own_layers])
        if missing:
            kind = "local" if True in missing else "global"
            raise UserError(
                f"model: the last {self.kv_sharing_layers} layers (kv_sharing_layers) read keys and values of earlier "
                f"ones, but no earlier layer is {kind}, as some of them are: give fewer"
            )

    @property
    def delta_layers(self) -> tuple[bool, ...]:
        """For each layer, from the bottom, whether it has a gated delta net in the place of attention."""
        return tuple(self.layer_pattern[i % len(self.layer_pattern)] == "delta" for i in range(self.layers))

    @property
    def local_layers(self) -> tuple[bool, ...]:
        """For each layer, from the bottom, whether it is local: it sees only the last `window` tokens."""
        return tuple(self.layer_pattern[i % len(self.layer_pattern)] == "local" for i in range(self.layers))

    @property
    def compute_dtype(self) -> jnp.dtype:
        """`dtype` as a JAX dtype."""
        return jnp.dtype(self.dtype)

    @property
    def kv_dtype(self) -> jnp.dtype:
        """The JAX dtype of cached keys and values: `cache_dtype`, or `dtype` where that is None."""
        return jnp.dtype(self.cache_dtype or self.dtype)

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
        if values.get("delta_net") is not None:
            delta_net = check_fields(values["delta_net"], "delta_net", DeltaNetConfig)
            values["delta_net"] = DeltaNetConfig(**typed_values(delta_net, DeltaNetConfig))
        if values.get("lora") is not None:
            lora = check_fields(values["lora"], "lora", LoraConfig)
            values["lora"] = LoraConfig(**typed_values(lora, LoraConfig))
        try:
            return cls(**typed_values(values, cls))
        except TypeError as error:
            # The only way left for the constructor to raise this: a field without a default is missing.
            raise UserError(f"model config: {str(error).split('__() ')[-1]}") from error


RUN_FIELDS = (
    *("attention", "dtype", "cache_dtype", "param_dtype", "max_length", "remat", "scan_unroll", "rollout_weights"),
)
"""The fields that say how a model is run or stored, not which function it computes."""


def run_settings(config: DecoderConfig) -> dict[str, object]:
    """The `RUN_FIELDS` of a configuration, field -> value, to pass as overrides (`hf.checkpoint.with_overrides`)."""
    return {name: getattr(config, name) for name in RUN_FIELDS}


def canonical(config: DecoderConfig) -> DecoderConfig:
    """The configuration in a normal form: two that compute the same function in the same way become equal.

    The layer pattern becomes the shortest one that gives the same layers when it is repeated. Fields without effect
    become None or 0, such as `window` without local layers.
    """
    kinds = tuple(config.layer_pattern[i % len(config.layer_pattern)] for i in range(config.layers))
    # The shortest pattern that repeats to the same layers.
    period = next(p for p in range(1, len(kinds) + 1) if all(kind == kinds[i % p] for i, kind in enumerate(kinds)))
    any_local = "local" in kinds
    # A local base that equals the global one changes nothing, unless the global frequencies are scaled.
    local_base_is_global = config.rope_local_base == config.rope_base and config.rope_scaling.kind == "none"
    # None stands for each layer's own head size, so it equals a number only where all heads are of one size.
    same_head_dims = config.global_head_dim in (None, config.head_dim)
    same_scale = same_head_dims and config.attention_scale == config.head_dim**-0.5
    sharing_mlp_dim = config.sharing_mlp_dim if config.kv_sharing_layers else None
    per_layer_vocab_size = config.per_layer_vocab_size if config.per_layer_dim else None
    return dataclasses.replace(
        config,
        **_canonical_sizes(config, any_local, "global" in kinds),
        global_key_as_value=config.global_key_as_value and "global" in kinds,
        sharing_mlp_dim=None if sharing_mlp_dim == config.mlp_dim else sharing_mlp_dim,
        per_layer_vocab_size=None if per_layer_vocab_size == config.vocab_size else per_layer_vocab_size,
        layer_pattern=kinds[:period],
        window=config.window if any_local else 0,
        delta_net=config.delta_net if "delta" in kinds else None,
        rotary_dim=None if config.rotary_dim == config.head_dim else config.rotary_dim,
        rope_local_base=None if local_base_is_global or not any_local else config.rope_local_base,
        rope_scaling=RopeScaling() if config.rope_scaling.kind == "none" else config.rope_scaling,
        attention_scale=None if same_scale else config.attention_scale,
    )


def _canonical_sizes(config: DecoderConfig, any_local: bool, any_global: bool) -> dict[str, Any]:
    """The fields of heads in the normal form of `canonical`: sizes of global layers stand apart only if they differ."""
    sizes: dict[str, Any] = {}
    for name in ("head_dim", "kv_heads"):
        base, of_global = getattr(config, name), getattr(config, f"global_{name}")
        # Without local layers the sizes of global ones are those of all.
        if not any_local and of_global is not None:
            base = of_global
        sizes[name] = base
        sizes[f"global_{name}"] = of_global if any_global and of_global != base else None
    return sizes
