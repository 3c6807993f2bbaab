"""Kernels in int8: how they are rounded, the product in plain JAX, and the C++ product beside a twin in NumPy."""

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sml_jax.models.config import DecoderConfig
from sml_jax.models.ops.int8 import quantise, quantise_and_pack
from sml_jax.models.parts import Embedding, Projection

needs_compiler = pytest.mark.skipif(shutil.which("c++") is None, reason="needs a C++ compiler, c++")
CPU = Path("/proc/cpuinfo").read_text().split() if Path("/proc/cpuinfo").exists() else []
# Built for the CPU at hand, by its own compiler.
HAS_BYTE_PRODUCTS = "CXX" not in os.environ and bool({"avx512_vnni", "avx_vnni"} & set(CPU))


def some(*shape: int, seed: int = 0) -> np.ndarray:
    """Numbers whose rows differ in size, as those of hidden states and of channels do."""
    random = np.random.default_rng((seed, *shape))
    return (random.normal(size=shape) * np.exp(random.normal(size=(*shape[:-1], 1)))).astype(np.float32)


def tiny_config(**changes: object) -> DecoderConfig:
    sizes = dict(vocab_size=9, embed_dim=6, layers=1, heads=1, kv_heads=1, head_dim=2, mlp_dim=4, max_length=8)
    return DecoderConfig(**{**sizes, **changes})


def dequantised(kernel: np.ndarray, inner_axes: tuple[int, ...]) -> np.ndarray:
    """The float32 kernel that a kernel in int8 stands for."""
    rounded = quantise(jnp.asarray(kernel), inner_axes)
    return np.asarray(rounded.values, np.float32) * np.expand_dims(np.asarray(rounded.scale), inner_axes)


def test_a_channel_is_rounded_to_127_steps_by_hand():
    kernel = jnp.array([[1.0, -0.1, 0.0], [0.26, 12.7, 0.0], [-0.51, 3.14, 0.0]])
    rounded = quantise(kernel, (0,))
    np.testing.assert_array_equal(rounded.values, [[127, -1, 0], [33, 127, 0], [-65, 31, 0]])
    np.testing.assert_allclose(rounded.scale, [1 / 127, 0.1, 1.0], rtol=1e-6)
    # The same numbers as a table, whose rows are the channels.
    table = quantise(kernel.T, (1,))
    np.testing.assert_array_equal(table.values, rounded.values.T)
    np.testing.assert_array_equal(table.scale, rounded.scale)


@pytest.mark.parametrize(
    ("shape", "inner_axes"), [((7, 5), (0,)), ((6, 2, 3), (0,)), ((2, 3, 5), (0, 1)), ((9, 4), (1,))]
)
@pytest.mark.parametrize("pack", [quantise, pytest.param(quantise_and_pack, marks=needs_compiler)])
def test_a_product_is_that_with_the_dequantised_kernel(shape, inner_axes, pack):
    kernel = some(*shape)
    wide = dequantised(kernel, inner_axes)
    steps = np.abs(kernel).max(inner_axes, keepdims=True) / 127
    assert (np.abs(wide - kernel) <= steps * 0.5001).all()
    x = some(2, 3, *(shape[axis] for axis in inner_axes))
    expected = np.tensordot(x.astype(np.float64), wide, (range(2, x.ndim), inner_axes))
    rounded = pack(jnp.asarray(kernel), inner_axes)
    np.testing.assert_allclose(rounded.product(jnp.asarray(x)), expected, atol=2e-4 * np.abs(expected).max())
    if inner_axes == (1,):
        np.testing.assert_allclose(rounded.rows(jnp.array([[8, 0]])), wide[[[8, 0]]], rtol=1e-6)


def test_integers_are_exact_in_bfloat16_and_sums_stay_float32():
    kernel, x = jnp.asarray(some(64, 8)), jnp.asarray(some(4, 64), jnp.bfloat16)
    expected = np.asarray(x, np.float64) @ dequantised(np.asarray(kernel), (0,))
    product = quantise(kernel, (0,)).product(x)
    assert product.dtype == jnp.float32
    np.testing.assert_allclose(product, expected, atol=1e-5 * np.abs(expected).max())


def in_16_bits(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """What the C++ product computes with instructions for bytes: integers whose sums are exact, then float64."""
    rounded = quantise(jnp.asarray(kernel), (0,))
    largest = np.abs(x).max(1, keepdims=True)
    inverse = np.divide(np.float32(32639), largest, out=np.zeros_like(largest), where=largest > 0)
    integers = np.rint(x * inverse).astype(np.int64)
    sums = integers @ np.asarray(rounded.values, np.int64)
    return sums * (largest.astype(np.float64) / 32639) * np.asarray(rounded.scale, np.float64)


# Sizes around what the C++ works with at once: 4 bytes of a word, 16 columns of a block, 48 of a panel, 4 rows, 16 rows
# that one caller prepares, 128 of a chunk.
@needs_compiler
@pytest.mark.parametrize("rows", [1, 3, 4, 17, 130])
@pytest.mark.parametrize(("inner", "outer"), [(1, 1), (7, 15), (64, 48), (65, 100), (200, 250)])
def test_the_c_product_is_its_twin(rows, inner, outer):
    x, kernel = some(rows, inner), some(inner, outer, seed=1)
    got = quantise_and_pack(jnp.asarray(kernel), (0,)).product(jnp.asarray(x))
    wide = dequantised(kernel, (0,))
    exact = x.astype(np.float64) @ wide
    # Each number of a row is off by half a step at most, and float32 rounds the rest.
    half_step = np.abs(x).max(1, keepdims=True) / 32639 / 2
    rounding = 2e-6 * (np.abs(x) @ np.abs(wide))
    assert (np.abs(got - exact) <= half_step * np.abs(wide).sum(0) * 1.001 + rounding).all()
    if HAS_BYTE_PRODUCTS:
        np.testing.assert_allclose(got, in_16_bits(x, kernel), atol=1e-6 * np.abs(exact).max())


@needs_compiler
def test_a_number_that_is_not_finite_stays_with_its_row():
    x = some(3, 70)
    x[1, 3], x[2, 69] = np.nan, np.inf
    got = np.asarray(quantise_and_pack(jnp.asarray(some(70, 20)), (0,)).product(jnp.asarray(x)))
    assert np.isfinite(got[0]).all() and not np.isfinite(got[1:]).any()
    assert not np.asarray(quantise_and_pack(jnp.asarray(some(70, 20)), (0,)).product(jnp.zeros((1, 70)))).any()


@needs_compiler
def test_callers_at_once_do_not_disturb_each_other():
    kernel = quantise_and_pack(jnp.asarray(some(256, 512)), (0,))
    rows = [jnp.asarray(some(40, 256, seed=seed)) for seed in range(4)]
    multiply = jax.jit(kernel.product)
    expected = [np.asarray(multiply(x)) for x in rows]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(20):
            for got, one in zip(pool.map(multiply, rows), expected, strict=True):
                np.testing.assert_array_equal(got, one)


@pytest.mark.parametrize("use_bias", [False, True])
def test_a_projection_is_flaxs_dense_layer(use_bias):
    """Parameters from the same key and results, bit for bit; in int8 the same layer with the rounded kernel."""
    x, key = jnp.asarray(some(2, 3, 6)), jax.random.key(0)
    for features, inner in (((5,), 1), ((2, 4), 1), ((5,), 2)):
        axes = tuple(f"axis{i}" for i in range(inner + len(features)))
        init = nn.initializers.variance_scaling(1.0, "fan_in", "normal")
        ours = Projection(tiny_config(), features, axes, jax.lax.dot_general, init, use_bias)
        flaxs = nn.DenseGeneral(features, range(-inner, 0), use_bias=use_bias, kernel_init=init)
        params = nn.unbox(ours.init(key, x))["params"]
        jax.tree.map(np.testing.assert_array_equal, params, flaxs.init(key, x)["params"])
        if use_bias:
            params["bias"] += 0.5
        np.testing.assert_array_equal(ours.apply({"params": params}, x), flaxs.apply({"params": params}, x))
        rounded = {**params, "kernel": quantise(params["kernel"], tuple(range(inner)))}
        wide = {**params, "kernel": dequantised(params["kernel"], tuple(range(inner)))}
        np.testing.assert_allclose(ours.apply({"params": rounded}, x), flaxs.apply({"params": wide}, x), atol=1e-5)


def test_a_table_in_int8_gives_its_rounded_rows():
    config, tokens = tiny_config(dtype="bfloat16"), jnp.array([[3, 8]])
    module, flaxs = Embedding(config), nn.Embed(config.vocab_size, config.embed_dim, dtype=jnp.bfloat16)
    params = nn.unbox(module.init(jax.random.key(0), tokens))
    np.testing.assert_array_equal(module.apply(params, tokens), flaxs.apply(params, tokens))
    table = params["params"]["embedding"]
    rounded = module.apply({"params": {"embedding": quantise(table, (1,))}}, tokens)
    assert rounded.dtype == jnp.bfloat16
    np.testing.assert_array_equal(rounded, dequantised(table, (1,))[np.array(tokens)].astype(jnp.bfloat16))
