"""Every way of computing self-attention against the plain reference."""

import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.sharding import NamedSharding, PartitionSpec

from sml_jax.common.errors import UserError
from sml_jax.models.ops import attention
from sml_jax.models.ops.attention import choose_implementation, reference_attention, self_attention
from sml_jax.models.ops.attention_blocks import _Rule, _visible_pairs, blocked_attention
from sml_jax.models.ops.attention_splash import splash_attention
from sml_jax.sharding import make_mesh

Arrays = tuple[jax.Array, jax.Array, jax.Array]


def arrays(rows: int, time: int, heads: int, kv_heads: int, dim: int, dtype: Any = jnp.float32) -> Arrays:
    rng = np.random.default_rng(time * 31 + heads)
    shapes = [(rows, time, count, dim) for count in (heads, kv_heads, kv_heads)]
    q, k, v = (jnp.asarray(rng.normal(size=shape), dtype) for shape in shapes)
    return q, k, v


@partial(jax.jit, static_argnames=("window", "scale", "softcap"))
def reference(q: jax.Array, k: jax.Array, v: jax.Array, window: int, **rule: Any) -> jax.Array:
    """The reference with whole rows."""
    positions = jnp.broadcast_to(jnp.arange(q.shape[1]), q.shape[:2])
    return reference_attention(q, k, v, positions, positions >= 0, True, window=window, **rule)


def assert_same(way: Callable[..., jax.Array], other: Callable[..., jax.Array], given: Arrays, within: float) -> None:
    """Both functions of (q, k, v) agree in value and in the gradients of a sum with random signs and sizes."""
    weight = jnp.asarray(np.random.default_rng(5).normal(size=given[0].shape), jnp.float32)

    def outcome(f: Callable[..., jax.Array]) -> Any:
        def total(*args: jax.Array) -> tuple[jax.Array, jax.Array]:
            out = f(*args)
            return (out * weight).sum(), out

        return jax.jit(jax.grad(total, argnums=(0, 1, 2), has_aux=True))(*given)

    jax.tree.map(partial(np.testing.assert_allclose, rtol=within, atol=within), outcome(way), outcome(other))


def test_a_known_answer_where_all_scores_are_equal() -> None:
    values = jnp.array([1.0, 3.0, 5.0, 7.0]).reshape(1, 4, 1, 1)
    zeros = jnp.zeros((1, 4, 2, 1))
    out = reference(zeros, zeros[:, :, :1], values, window=0, scale=1.0)
    np.testing.assert_allclose(out[0, :, 1, 0], [1.0, 2.0, 3.0, 4.0])
    near = reference(zeros, zeros[:, :, :1], values, window=2, scale=1.0)
    np.testing.assert_allclose(near[0, :, 0, 0], [1.0, 2.0, 4.0, 6.0])


def test_a_known_answer_of_scale_cap_and_groups() -> None:
    # Two tokens; the second sees scores 2 * 3 = 6, capped to 4 tanh(1.5), and 0. Query heads 0, 1 share kv head 0.
    key = jnp.array([3.0, 0.0]).reshape(1, 2, 1, 1) * jnp.ones((1, 2, 2, 1))
    value = jnp.array([[1.0, 10.0], [0.0, 0.0]]).reshape(1, 2, 2, 1)
    out = reference(jnp.ones((1, 2, 4, 1)), key, value, window=0, scale=2.0, softcap=4.0)
    weight = 1 / (1 + np.exp(-4 * np.tanh(1.5)))
    np.testing.assert_allclose(out[0, 1, :, 0], np.array([1, 1, 10, 10]) * weight, rtol=1e-6)


def blocks_equal_the_reference(
    shape: tuple[int, int], kv_heads: int, group: int, window: int, softcap: float | None, split: bool
) -> None:
    given_arrays = arrays(*shape, kv_heads * group, kv_heads, 4)
    rule: dict[str, Any] = {"window": window, "scale": 0.7, "softcap": softcap}
    assert_same(partial(blocked_attention, split=split, **rule), partial(reference, **rule), given_arrays, 1e-5)


@pytest.mark.parametrize(
    ("shape", "kv_heads", "group", "window", "softcap", "split"),
    [
        ((3, 1), 1, 1, 0, None, False),
        ((2, 300), 2, 3, 0, 2.0, False),
        ((2, 300), 1, 2, 131, None, False),
        ((1, 257), 2, 1, 1, 2.0, True),
    ],
)
def test_blocks_equal_the_reference(
    shape: tuple[int, int], kv_heads: int, group: int, window: int, softcap: float | None, split: bool
) -> None:
    blocks_equal_the_reference(shape, kv_heads, group, window, softcap, split)


@pytest.mark.slow
@given(
    shape=st.tuples(st.integers(1, 4), st.integers(1, 400)),
    kv_heads=st.integers(1, 2),
    group=st.integers(1, 3),
    window=st.one_of(st.just(0), st.integers(1, 410)),
    softcap=st.sampled_from([None, 2.0]),
    split=st.booleans(),
)
def test_blocks_of_any_shape_equal_the_reference(
    shape: tuple[int, int], kv_heads: int, group: int, window: int, softcap: float | None, split: bool
) -> None:
    """`pytest -m slow tests/models/test_attention.py`: each of 50 shapes compiles anew."""
    blocks_equal_the_reference(shape, kv_heads, group, window, softcap, split)


@given(time=st.integers(1, 600), block=st.integers(1, 40), window=st.integers(0, 700))
def test_the_pairs_of_blocks_are_those_with_something_to_see(time: int, block: int, window: int) -> None:
    time = -(-time // block) * block
    ahead = np.arange(time)[:, None] - np.arange(time)
    seen = (ahead >= 0) & (ahead < (window or time))
    expected = np.argwhere(seen.reshape(time // block, block, time // block, block).any(axis=(1, 3)))
    np.testing.assert_array_equal(_visible_pairs(time, _Rule(block, window, 1.0, None)), expected)


def test_a_few_heads_at_a_time_are_all_heads(monkeypatch: pytest.MonkeyPatch) -> None:
    """With room for four kv heads' scores, the 2 x 6 of six rows go in three steps, the 2 x 5 of five in five."""
    monkeypatch.setattr("sml_jax.models.ops.attention_blocks._SCORES_AT_ONCE", 4 * 2 * 20 * 20)
    for rows, steps in ((6, 3), (5, 5)):
        given_arrays = arrays(rows, 20, 4, 2, 4)
        way = partial(blocked_attention, window=0, scale=0.5)
        assert f"length={steps}" in str(jax.make_jaxpr(way)(*given_arrays))
        np.testing.assert_allclose(
            jax.jit(way)(*given_arrays), jax.jit(partial(reference, window=0, scale=0.5))(*given_arrays), atol=1e-5
        )


def test_blocks_of_bfloat16_are_near_the_float32_reference() -> None:
    exact = arrays(2, 150, 4, 2, 16)
    q, k, v = (x.astype(jnp.bfloat16) for x in exact)
    out = jax.jit(partial(blocked_attention, window=40, scale=0.25))(q, k, v)
    assert out.dtype == jnp.bfloat16
    expected = jax.jit(partial(reference, window=40, scale=0.25))(*(x.astype(jnp.float32) for x in (q, k, v)))
    np.testing.assert_allclose(out.astype(jnp.float32), expected, atol=0.02)


def test_live_tokens_do_not_see_padding() -> None:
    """Rows of 1 to 110 live tokens, what follows being anything finite: the lengths change no live output."""
    rows, time = 3, 110
    q, k, v = arrays(rows, time, 4, 2, 8)
    positions = jnp.broadcast_to(jnp.arange(time), (rows, time))
    valid = positions < jnp.array([[1], [57], [110]])
    rule: dict[str, Any] = {"window": 30, "scale": 0.3}
    expected = jax.jit(partial(reference_attention, **rule))(q, k, v, positions, valid, jnp.asarray(True))
    far = jnp.where(valid[:, :, None, None], 1.0, 1e4)
    out = jax.jit(partial(self_attention, **rule))(q * far, k * far, v * far, jnp.asarray(True))
    assert np.isfinite(out).all()
    np.testing.assert_allclose(out[valid], expected[valid], atol=1e-5)


@pytest.mark.parametrize("is_local", [False, True])
def test_a_traced_kind_of_layer_is_the_static_one(is_local: bool) -> None:
    given_arrays = arrays(2, 40, 2, 2, 4)
    rule: dict[str, Any] = {"window": 9, "scale": 0.5}

    def traced(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
        # As in the decoder: a scan over layers that carries each layer's kind.
        flags = jnp.array([is_local])
        return jax.lax.scan(lambda c, flag: (c + self_attention(q, k, v, flag, **rule), None), q * 0, flags)[0]

    assert_same(traced, lambda *x: reference(*x, window=9 if is_local else 0, scale=0.5), given_arrays, 1e-5)


def test_long_rows_never_hold_their_scores() -> None:
    """Forward and backward of 4,096 tokens need a quarter of one [heads, time, time] array."""
    shapes = [jax.ShapeDtypeStruct((1, 4096, heads, 32), jnp.float32) for heads in (4, 2, 2)]

    def memory(way: Callable[..., jax.Array]) -> int:
        grad = jax.grad(lambda *x: way(*x, window=0, scale=0.2).sum(), argnums=(0, 1, 2))
        return jax.jit(grad).lower(*shapes).compile().memory_analysis().temp_size_in_bytes

    whole = 4 * 4 * 4096**2
    assert memory(blocked_attention) < whole / 4
    assert memory(reference) >= whole


def test_rows_and_heads_split_over_a_mesh_give_the_same() -> None:
    mesh = make_mesh(2, 2, 2)
    where = NamedSharding(mesh, PartitionSpec(("data", "fsdp"), None, "tensor"))
    given_arrays = arrays(4, 120, 4, 2, 8)
    q, k, v = (jax.device_put(x, where) for x in given_arrays)
    program = jax.jit(partial(self_attention, window=50, scale=0.3)).lower(q, k, v, jnp.asarray(True)).compile()
    assert "all-gather" not in program.as_text()
    np.testing.assert_allclose(
        program(q, k, v, jnp.asarray(True)), reference(*given_arrays, window=50, scale=0.3), atol=1e-5
    )


def test_the_platform_is_that_of_the_arrays_mesh() -> None:
    """A mesh of devices that are not here, as for compiling for a TPU without one."""
    device = jax.sharding.AbstractDevice(device_kind="TPU v5 lite", num_cores=1, platform="tpu")
    mesh = jax.sharding.AbstractMesh((2,), ("data",), abstract_device=device)
    seen = []
    # Shapes, since an array cannot be made on devices that are not here.
    for sharding in (NamedSharding(mesh, PartitionSpec()), None):
        shape = jax.ShapeDtypeStruct((2,), jnp.float32, sharding=sharding)
        jax.eval_shape(lambda x: seen.append(attention.platform_of(jax.typeof(x).sharding.mesh)) or x, shape)
    assert seen == ["tpu", "cpu"]


@pytest.mark.parametrize(
    ("platform", "dtype", "head_dim", "softcap", "chosen"),
    [
        ("cpu", "float32", 32, None, "xla"),
        ("tpu", "bfloat16", 256, 50.0, "splash"),
        ("gpu", "bfloat16", 128, None, "cudnn"),
        ("gpu", "bfloat16", 256, None, "cudnn"),
        ("gpu", "float32", 128, None, "xla"),
        ("gpu", "bfloat16", 128, 50.0, "xla"),
        ("gpu", "bfloat16", 100, None, "xla"),
        ("gpu", "bfloat16", 512, None, "xla"),
    ],
)
def test_auto_takes_the_devices_own_way_where_it_can(
    platform: str, dtype: str, head_dim: int, softcap: float | None, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "_cuda_generation", lambda: 9)
    assert choose_implementation("auto", platform, jnp.dtype(dtype), head_dim, softcap) == chosen
    assert choose_implementation("xla", platform, jnp.dtype(dtype), head_dim, softcap) == "xla"


@pytest.mark.parametrize(
    ("generation", "head_dim", "chosen"), [(0, 64, "xla"), (7, 64, "xla"), (8, 128, "cudnn"), (8, 256, "xla")]
)
def test_auto_knows_older_gpus(generation: int, head_dim: int, chosen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "_cuda_generation", lambda: generation)
    assert choose_implementation("auto", "gpu", jnp.dtype("bfloat16"), head_dim, None) == chosen


@pytest.mark.parametrize(
    ("named", "platform", "dtype", "softcap", "says"),
    [
        ("splash", "cpu", "float32", None, "TPUs, and this computation is for cpu"),
        ("cudnn", "tpu", "bfloat16", None, "NVIDIA GPUs, and this computation is for tpu"),
        ("cudnn", "gpu", "float32", None, "bfloat16 and float16"),
        ("cudnn", "gpu", "bfloat16", 50.0, "soft cap"),
        ("flash", "gpu", "bfloat16", None, "it takes 'auto', 'xla', 'cudnn', 'splash'"),
    ],
)
def test_a_named_way_that_cannot_run_is_an_error_with_the_cure(
    named: str, platform: str, dtype: str, softcap: float | None, says: str
) -> None:
    with pytest.raises(UserError, match=says) as error:
        choose_implementation(named, platform, jnp.dtype(dtype), 64, softcap)
    assert named == "flash" or '"auto"' in str(error.value)


@pytest.mark.slow
@pytest.mark.parametrize(("window", "softcap"), [(0, None), (50, 2.0)])
def test_splash_interpreted_equals_the_reference(window: int, softcap: float | None) -> None:
    """`pytest -m slow tests/models/test_attention.py`: half a minute each, for interpreted kernels compile slowly."""
    rule: dict[str, Any] = {"window": window, "scale": 0.3, "softcap": softcap}
    splash = partial(splash_attention, interpret=True, **rule)
    assert_same(splash, partial(reference, **rule), arrays(1, 140, 4, 2, 16), 1e-4)


@pytest.mark.slow
def test_splash_compiles_for_a_tpu_slice() -> None:
    """`pytest -m slow tests/models/test_attention.py`: the forward and backward pass of a small Gemma for v5e:2x2.

    In a process of its own: libtpu keeps threads and settings that other tests should not meet.
    """
    pytest.importorskip("libtpu", reason="compiling for a TPU needs libtpu: pip install libtpu")
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "TPU_SKIP_MDS_QUERY": "1", "ALLOW_MULTIPLE_LIBTPU_LOAD": "1"}
    script = Path(__file__).with_name("compile_for_tpu.py")
    done = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    # Three kernels (forward, and backward for queries and for keys), each for local and for global layers.
    assert int(done.stdout.split()[-1]) >= 6


def test_cudnn_equals_the_reference() -> None:
    """`SML_JAX_TEST_PLATFORM=cuda pytest tests/models/test_attention.py -k cudnn`, on a GPU."""
    if jax.default_backend() != "gpu" or attention._cuda_generation() < 8:
        pytest.skip("needs an NVIDIA GPU (Ampere or later) and JAX with CUDA; there is none here")
    given_arrays = arrays(2, 300, 4, 2, 64, jnp.bfloat16)
    for window in (0, 100):
        way = partial(self_attention, is_local=True, window=window, scale=0.1, implementation="cudnn")
        assert_same(way, partial(reference, window=window, scale=0.1), given_arrays, 0.05)
