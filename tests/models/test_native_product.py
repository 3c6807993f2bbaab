"""The C++ products of few rows: against XLA's, shared by any number of cores, and where they are used."""

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from sml_jax.models.config import DecoderConfig
from sml_jax.models.decoder import Decoder, init_params
from sml_jax.models.ops import native_product as module
from sml_jax.models.ops.native_product import MAX_ROWS, native_product, native_product_pays
from sml_jax.sharding import make_mesh

pytestmark = pytest.mark.skipif(shutil.which("c++") is None, reason="needs a C++ compiler, c++")

FIRST, LAST = (((2,), (0,)), ((), ())), (((2,), (1,)), ((), ()))


def some(*shape: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(sum(shape)).normal(size=shape), jnp.float32)


def test_a_product_by_hand() -> None:
    x, kernel = jnp.array([[[1.0, 2.0]], [[0.0, -1.0]]]), jnp.array([[1.0, 10.0, 100.0], [2.0, 20.0, 200.0]])
    expected = [[[5, 50, 500]], [[-2, -20, -200]]]
    np.testing.assert_array_equal(native_product(x, kernel, FIRST), expected)
    np.testing.assert_array_equal(native_product(x, kernel.T, LAST), expected)


@pytest.mark.parametrize("rows", range(1, MAX_ROWS + 1))
@pytest.mark.parametrize(("inner", "outer"), [(1, 1), (7, 65), (8, 16), (33, 200), (64, 300), (256, 1030)])
def test_it_is_the_product(rows, inner, outer) -> None:
    """Sizes around the blocks that it works in: 8 lines, 16 lanes, 64 columns of a core."""
    x, kernel = some(rows, 1, inner), some(inner, outer)
    expected = np.asarray(x, np.float64) @ np.asarray(kernel, np.float64)
    for got in (native_product(x, kernel, FIRST), native_product(x, kernel.T, LAST)):
        assert got.shape == (rows, 1, outer)
        np.testing.assert_allclose(got, expected, atol=1e-6 * inner, rtol=1e-5)


def test_several_dimensions_are_summed_over_and_come_out() -> None:
    x, kernel = some(2, 1, 4, 16), some(4, 16, 3, 8)
    got = native_product(x, kernel, (((2, 3), (0, 1)), ((), ())))
    np.testing.assert_allclose(got, jnp.tensordot(x, kernel, 2), atol=1e-5)


@pytest.mark.parametrize("tied", [False, True])
def test_a_model_with_these_products_is_the_same_model(tied) -> None:
    config = DecoderConfig(
        vocab_size=70,
        embed_dim=32,
        layers=2,
        heads=4,
        kv_heads=2,
        head_dim=16,
        mlp_dim=48,
        max_length=16,
        tied_embeddings=tied,
    )
    plain = Decoder(config)
    params, tokens = init_params(plain, jax.random.key(0)), jnp.array([[3, 69]])
    logits = jax.jit(plain.clone(product=native_product).apply)(params, tokens)
    np.testing.assert_allclose(logits, jax.jit(plain.apply)(params, tokens), atol=1e-5)


SUMS = """
import sys
import jax, numpy as np
from sml_jax.models.ops.native_product import native_product
x, kernel = (np.random.default_rng(0).normal(size=size).astype(np.float32) for size in ((3, 77), (77, 1000)))
for factor, axis in ((kernel, 0), (kernel.T.copy(), 1)):
    print(np.asarray(native_product(x, factor, (((1,), (axis,)), ((), ())))).tobytes().hex())
"""


@pytest.mark.slow  # two processes that start JAX: `pytest -m slow tests/models/test_native_product.py`
def test_sums_do_not_depend_on_the_number_of_threads() -> None:
    """NPROC: the size of XLA's pool."""
    outputs = set()
    for threads in ("1", "8"):
        env = {**os.environ, "NPROC": threads, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""}
        done = subprocess.run([sys.executable, "-c", SUMS], env=env, capture_output=True, text=True, check=True)
        outputs.add(done.stdout)
    assert len(outputs) == 1 and len(outputs.pop()) > 16_000


def test_callers_at_once_do_not_disturb_each_other() -> None:
    kernel = some(256, 512)
    rows = [some(1, 1, 256) * (i + 1) for i in range(4)]
    multiply = jax.jit(lambda x: native_product(x, kernel, FIRST))
    expected = [np.asarray(multiply(x)) for x in rows]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(50):
            for got, one in zip(pool.map(multiply, rows), expected, strict=True):
                np.testing.assert_array_equal(got, one)


def test_where_it_pays(monkeypatch) -> None:
    monkeypatch.setattr(module, "cores", lambda: 2)
    assert native_product_pays(1) and native_product_pays(MAX_ROWS) and not native_product_pays(MAX_ROWS + 1)
    seen = []

    def loop(x: jax.Array) -> jax.Array:
        seen.append(native_product_pays(x.shape[0]))
        return x

    everyone, rows = make_mesh(), PartitionSpec("data")
    jax.jit(jax.shard_map(loop, mesh=everyone, in_specs=rows, out_specs=rows))(jnp.zeros(everyone.size))
    assert seen == [everyone.size == 1], "devices of one mesh would take each other's cores"
    monkeypatch.setattr(module, "cores", lambda: 1)
    assert not native_product_pays(1), "with one core there is nothing to share"
