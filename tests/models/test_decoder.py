"""The decoder against a plain NumPy one, and what every causal model must keep."""

import dataclasses
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy_decoder import numpy_logits

from sml_jax.common.errors import UserError
from sml_jax.models.config import DecoderConfig
from sml_jax.models.decoder import Decoder, abstract_params, count_params, init_params
from sml_jax.models.ops.rope import RopeScaling
from sml_jax.sharding import RULES

BASE = DecoderConfig(
    vocab_size=19, embed_dim=16, layers=2, heads=4, kv_heads=2, head_dim=8, mlp_dim=24, max_length=64
)  # fmt: skip
GEMMA3 = {
    "layer_pattern": ("local", "global"),
    "window": 3,
    "rope_base": 1e6,
    "rope_local_base": 1e4,
    "rope_scaling": RopeScaling("linear", factor=8.0),
    "activation": "gelu",
    "qk_norm": True,
    "post_norms": True,
    "norm_plus_one": True,
    "embedding_scale": True,
    "attention_scale": 0.3,
}
FAMILIES = {
    "llama": {},
    "llama3": {"rope_scaling": RopeScaling("llama3", 8.0, 1.0, 4.0, 32), "tied_embeddings": False},
    "qwen2, one kv head": {"qkv_bias": True, "rope_base": 1e6, "kv_heads": 1},
    "qwen3, a kv head each": {"qk_norm": True, "kv_heads": 4},
    "gemma2": {
        "layer_pattern": ("local", "global"),
        "window": 4,
        "attention_softcap": 0.5,
        "final_softcap": 0.7,
        "activation": "gelu",
        "post_norms": True,
        "norm_plus_one": True,
        "embedding_scale": True,
    },
    "gemma3": GEMMA3,
    "all local, one base": {"layer_pattern": ("local",), "window": 2, "rope_scaling": RopeScaling("linear", 4.0)},
}


def noisy(params: dict, seed: int = 1) -> dict:
    """Parameters moved off their initial values, so that norms and biases that start at 0 or 1 show."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: leaf + jnp.asarray(0.2 * rng.normal(size=leaf.shape), leaf.dtype), params)


Apply = Callable[..., jax.Array]


def made(**changes: Any) -> tuple[Apply, dict]:
    """The jitted forward pass of a variant of `BASE`, whose logits are NumPy's, and moved parameters."""
    model = Decoder(dataclasses.replace(BASE, **changes))
    forward, rng = jax.jit(model.apply), np.random.default_rng(0)

    def draw(path: tuple, leaf: Any) -> jax.Array:
        """By NumPy, which compiles nothing, at about the scale at which the parameter is initialised."""
        if path[-1].key == "scale":
            return jnp.full(leaf.shape, float(not model.config.norm_plus_one), leaf.dtype)
        return jnp.asarray(rng.normal(0, model.config.embed_dim**-0.5, leaf.shape), leaf.dtype)

    initial = jax.tree_util.tree_map_with_path(draw, nn.unbox(abstract_params(model)))
    return lambda *args: np.asarray(forward(*args)), noisy(initial)


@pytest.fixture(scope="module")
def gemma() -> tuple[Apply, dict]:
    return made(**GEMMA3)


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_are_those_of_a_plain_numpy_decoder(family: str) -> None:
    config = dataclasses.replace(BASE, **FAMILIES[family])
    apply, params = made(**FAMILIES[family])
    rows = np.random.default_rng(0).integers(0, config.vocab_size, (2, 9))
    logits = apply(params, jnp.asarray(rows))
    assert logits.shape == (2, 9, config.vocab_size) and logits.dtype == jnp.float32
    for row, got in zip(rows, logits, strict=True):
        np.testing.assert_allclose(got, numpy_logits(config, params, row.tolist()), atol=1e-4, rtol=0)


@settings(max_examples=20)
@given(st.lists(st.integers(0, 18), min_size=8, max_size=8), st.integers(1, 7), st.integers(0, 18))
def test_a_later_token_changes_no_earlier_logit(gemma, tokens, at, other) -> None:
    apply, params = gemma
    changed = [*tokens[:at], other, *tokens[at + 1 :]]
    logits = apply(params, jnp.asarray([tokens, changed]))
    np.testing.assert_array_equal(logits[0, :at], logits[1, :at])
    if changed != tokens:
        assert np.abs(np.asarray(logits[0, at] - logits[1, at])).max() > 1e-3


@settings(max_examples=20)
@given(st.lists(st.integers(0, 18), min_size=8, max_size=8), st.integers(1, 7), st.integers(0, 18))
def test_padding_has_no_influence_whatever_its_token(gemma, tokens, length, pad) -> None:
    apply, params = gemma
    padded = jnp.asarray([tokens, [*tokens[:length], *[pad] * (8 - length)]])
    logits = apply(params, padded)
    np.testing.assert_array_equal(logits[0, :length], logits[1, :length])


def test_a_token_with_the_padding_id_inside_a_row_counts(gemma) -> None:
    apply, params = gemma
    logits = apply(params, jnp.asarray([[3, 0, 5], [3, 7, 5]]))
    assert np.abs(np.asarray(logits[0, 2] - logits[1, 2])).max() > 1e-3


def test_a_local_layer_sees_only_its_window() -> None:
    apply, params = made(layers=1, layer_pattern=("local",), window=3)
    rows = jnp.asarray([[1, 2, 3, 4, 5, 6], [9, 2, 3, 4, 5, 6]])
    near, far = apply(params, rows)
    np.testing.assert_array_equal(near[3:], far[3:])  # the first token is 3 away from position 3
    assert np.abs(np.asarray(near[2] - far[2])).max() > 1e-4


def test_the_final_softcap_bounds_the_logits() -> None:
    apply, params = made(final_softcap=0.7)
    params = jax.tree.map(lambda leaf: 50 * leaf, params)
    assert np.abs(np.asarray(apply(params, jnp.asarray([[1, 2, 3]])))).max() <= 0.7


@pytest.mark.parametrize("family", ["llama3", "qwen2, one kv head", "gemma3"])
def test_every_parameter_has_a_known_logical_axis_for_each_dimension(family: str) -> None:
    model = Decoder(dataclasses.replace(BASE, **FAMILIES[family]))
    abstract = abstract_params(model)
    boxes = jax.tree.leaves(abstract, is_leaf=lambda leaf: isinstance(leaf, nn.LogicallyPartitioned))
    assert boxes
    for box in boxes:
        assert isinstance(box, nn.LogicallyPartitioned), box
        assert len(box.names) == len(box.value.shape)
        # A single key-value head has no axis: it is whole on every device.
        known = {name for name, _ in RULES}
        assert all(
            name in known or (name is None and size == 1) for name, size in zip(box.names, box.value.shape, strict=True)
        )
    shapes = jax.eval_shape(lambda: init_params(model, jax.random.key(0)))
    assert shapes == nn.unbox(abstract)


def test_how_many_parameters() -> None:
    # Embedding 19*16; a layer: query and out 16*4*8 each, key and value 16*2*8 each, three of 16*24, two norms; a norm.
    layer = 2 * 512 + 2 * 256 + 3 * 384 + 2 * 16
    assert count_params(made()[1]) == 304 + 2 * layer + 16


def test_bfloat16_computes_near_float32_and_gives_float32_logits() -> None:
    exact_apply, params = made(final_softcap=2.0)
    tokens = jnp.asarray([[1, 2, 3, 4, 5, 6]])
    exact, rough = exact_apply(params, tokens), made(final_softcap=2.0, dtype="bfloat16")[0](params, tokens)
    assert rough.dtype == jnp.float32
    difference = np.abs(np.asarray(exact - rough))
    assert 0 < difference.max() < 0.1 * np.abs(np.asarray(exact)).max()


def test_parameters_may_be_kept_in_bfloat16() -> None:
    shapes = abstract_params(Decoder(dataclasses.replace(BASE, param_dtype="bfloat16")))
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes) if leaf.ndim > 2} == {jnp.dtype("bfloat16")}


@pytest.mark.extra
def test_remat_and_unrolling_change_no_gradient() -> None:
    params = made()[1]
    tokens = jnp.asarray([[1, 2, 3, 4]])

    def gradient(config: DecoderConfig) -> dict:
        return jax.jit(jax.grad(lambda p: jnp.sum(jnp.square(Decoder(config).apply(p, tokens)))))(params)

    plain = gradient(BASE)
    for remat in (True, "layer", "dots", "none"):
        other = gradient(dataclasses.replace(BASE, remat=remat, scan_unroll=2))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3), plain, other)


def test_remat_decides_what_the_backward_pass_keeps() -> None:
    """Gradients to the parameters: "dots" multiplies by weights as often as no remat does, "layer" again."""
    params = made()[1]
    tokens = jnp.ones((2, 8), jnp.int32)

    def products(remat: bool | str) -> int:
        model = Decoder(dataclasses.replace(BASE, remat=remat))
        return str(jax.make_jaxpr(jax.grad(lambda p: jnp.sum(model.apply(p, tokens))))(params)).count("dot_general[")

    assert products(False) == products("none") < products("dots") < products("layer") == products(True)


def test_remat_takes_names_and_what_older_files_say() -> None:
    for remat in (True, False, "auto", "none", "layer", "dots"):
        config = dataclasses.replace(BASE, remat=remat)
        assert DecoderConfig.from_json(config.to_json()) == config
    with pytest.raises(UserError, match="remat is 'all'; it takes 'auto', 'none', 'layer', 'dots'"):
        dataclasses.replace(BASE, remat="all")
    with pytest.raises(UserError, match="remat is 1; it takes"):
        DecoderConfig.from_json(BASE.to_json().replace('"remat": "auto"', '"remat": 1'))
