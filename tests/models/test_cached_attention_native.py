"""The C++ for caches against the plain way, whose masks say what it leaves unread."""

import os
import shutil
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sml_jax.common.errors import UserError
from sml_jax.models.ops import native_build, native_product
from sml_jax.models.ops.attention import choose_implementation
from sml_jax.models.ops.cached_attention import KVCache, KVSegment, cached_attention
from sml_jax.models.ops.cached_attention_native import native_cached_attention

pytestmark = pytest.mark.skipif(shutil.which("c++") is None, reason="needs a C++ compiler, c++")

# heads, kv_heads, dim, time, slot (None: the window is the new tokens), window, local, softcap
SHAPES = {
    "a step, a head each": (8, 8, 32, 1, 5, 0, False, None),
    "the first step": (8, 8, 32, 1, 0, 0, False, None),
    "a step, shared heads": (4, 1, 256, 1, 7, 0, False, None),
    "a step, local, capped": (4, 2, 64, 1, 7, 6, True, 20.0),
    "a window": (4, 4, 32, 9, None, 0, False, None),
    "a window of more queries than lanes": (4, 2, 128, 33, None, 0, False, None),
    "a window of more queries than are taken at once": (4, 4, 32, 75, None, 0, False, None),
    "the same, local, shared heads": (4, 2, 64, 75, None, 37, True, 20.0),
    "a step, many shared heads": (20, 1, 32, 1, 7, 0, False, None),
    "a window, local": (4, 2, 48, 9, None, 6, True, None),
    "a window, local, shorter than it": (4, 2, 16, 9, None, 3, True, None),
    "a global layer of a local model": (4, 2, 16, 9, None, 3, False, 5.0),
    "few queries in a window": (4, 4, 16, 3, None, 0, False, 5.0),
}
ROWS, KEPT, ROOM = 6, 40, 12
START = [0, 1, 17, 40, 5]


def given(heads, kv_heads, dim, time, slot, garbage: float = 0.0, dtype: str = "float32"):
    """Query, segments of the native way and positions; what no query may see is `garbage`. Five of six rows.

    `dtype` is that of the keys and values.
    """
    rng = np.random.default_rng(heads + dim + time)
    room = time if slot is None else ROOM
    at, start, rows = 0 if slot is None else slot, np.array(START, np.int32), np.array([4, 0, 5, 2, 1], np.int32)

    def some(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    query, cached = some(5, time, heads, dim), [some(ROWS, KEPT, kv_heads, dim) for _ in range(2)]
    new_kv = [some(5, room, kv_heads, dim) for _ in range(2)]
    if garbage:
        for array in cached:
            array[3] = garbage  # nobody's
            for row, count in zip(rows, start, strict=True):
                array[row, count:] = garbage
        for array in new_kv:
            array[:, at + time :] = garbage
    cached_kv, own_kv = (KVCache(*(jnp.asarray(array, dtype) for array in arrays)) for arrays in (cached, new_kv))
    past = KVSegment(cached_kv, None, None, rows=jnp.asarray(rows)[None])
    new = KVSegment(own_kv, None, None, None if slot is None else jnp.int32(slot))
    return jnp.asarray(query), (past, new), jnp.asarray(start[:, None] + at + np.arange(time, dtype=np.int32))


@partial(jax.jit, static_argnames=("is_local", "window", "scale", "softcap"))
def plain(query, segments, positions, is_local, **rule) -> jax.Array:
    """The same by `cached_attention`, with masks and heads before time."""
    past, new = segments
    start = positions[:, 0] - (0 if new.slot is None else new.slot)
    slots = [jnp.arange(segment.kv.keys.shape[1]) for segment in segments]
    cached, new_kv = (jax.tree.map(lambda x: x.swapaxes(1, 2), segment.kv) for segment in segments)
    at = jnp.broadcast_to(slots[0], (5, len(slots[0])))
    past = KVSegment(jax.tree.map(lambda x: x[past.rows[0]], cached), at, at < start[:, None])
    held = jnp.broadcast_to(slots[1] < positions[0, -1] - start[0] + 1, (5, len(slots[1])))
    new = KVSegment(new_kv, start[:, None] + slots[1], held)
    return cached_attention(query, (past, new), positions, jnp.asarray(is_local), **rule)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_it_is_the_plain_way(shape, dtype) -> None:
    """The plain way widens bfloat16 to the queries' float32, so both compute with the same numbers."""
    *sizes, window, local, softcap = shape
    query, segments, positions = given(*sizes, dtype=dtype)
    assert segments[0].kv.keys.dtype == jnp.dtype(dtype)
    rule = {"window": window, "scale": 0.4, "softcap": softcap}
    expected = plain(query, segments, positions, local, **rule)
    got = native_cached_attention(query, segments, positions, jnp.asarray(local), **rule)
    assert np.ptp(expected) > 0.5
    np.testing.assert_allclose(got, expected, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_nothing_is_read_but_what_a_row_holds(shape, dtype) -> None:
    """Not-a-numbers wherever no token is change no bit."""
    *sizes, window, local, softcap = shape
    rule = {"window": window, "scale": 0.4, "softcap": softcap}
    clean, dirty = (given(*sizes, garbage=garbage, dtype=dtype) for garbage in (0.0, np.nan))
    outs = [native_cached_attention(*one, jnp.asarray(local), **rule) for one in (clean, dirty)]
    np.testing.assert_array_equal(*outs)


@pytest.mark.parametrize("few", [1, 2, 4])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_rows_that_cores_share_are_the_same(monkeypatch, shape, few) -> None:
    """Heads of a row are shared where there are few rows; nothing is summed over heads."""
    *sizes, window, local, softcap = shape
    monkeypatch.setattr(native_product, "cores", lambda: 2)
    rule = {"window": window, "scale": 0.4, "softcap": softcap}
    query, (past, new), positions = given(*sizes)
    whole = native_cached_attention(query, (past, new), positions, jnp.asarray(local), **rule)
    part = slice(1, 1 + few)
    # Slices by NumPy, which compiles nothing.
    past = past._replace(rows=jnp.asarray(np.asarray(past.rows)[:, part]))
    new = new._replace(kv=jax.tree.map(lambda x: jnp.asarray(np.asarray(x)[part]), new.kv))
    query, positions = (jnp.asarray(np.asarray(x)[part]) for x in (query, positions))
    got = native_cached_attention(query, (past, new), positions, jnp.asarray(local), **rule)
    np.testing.assert_array_equal(got, np.asarray(whole)[part])


@pytest.mark.parametrize(
    ("changed", "says"), [(jnp.float16, "must be float32 or bfloat16"), (None, "attend: keys and values")]
)
def test_other_keys_and_values_are_an_error(changed, says) -> None:
    """Of another dtype, or the caches' of one and the new tokens' of another."""
    query, (past, new), positions = given(4, 4, 32, 9, None)
    past = past._replace(kv=jax.tree.map(lambda x: x.astype(changed or jnp.bfloat16), past.kv))
    new = new if changed is None else new._replace(kv=jax.tree.map(lambda x: x.astype(changed), new.kv))
    with pytest.raises(jax.errors.JaxRuntimeError, match=says):
        rule = {"window": 0, "scale": 0.4, "softcap": None}
        native_cached_attention(query, (past, new), positions, jnp.asarray(False), **rule).block_until_ready()


def test_a_known_answer_where_all_scores_are_equal() -> None:
    """The mean of the values that are seen: slots 0 to 2 of the cache hold 1, 2, 3; the new token 6."""
    values = jnp.broadcast_to(jnp.array([1.0, 2.0, 3.0, 100.0])[None, :, None, None], (1, 4, 1, 16))
    past = KVSegment(KVCache(jnp.zeros((1, 4, 1, 16)), values), None, None)
    new = KVSegment(KVCache(jnp.zeros((1, 1, 1, 16)), jnp.full((1, 1, 1, 16), 6.0)), None, None)
    rule = {"window": 2, "scale": 1.0, "softcap": None}
    query, position = jnp.ones((1, 1, 1, 16)), jnp.array([[3]])
    for local, mean in ((False, 3.0), (True, 4.5)):
        out = native_cached_attention(query, (past, new), position, jnp.asarray(local), **rule)
        np.testing.assert_allclose(out, mean, rtol=1e-6)


def test_scores_far_apart_neither_overflow_nor_vanish() -> None:
    query, segments, positions = given(4, 4, 32, 9, None)
    rule = {"window": 0, "scale": 300.0, "softcap": None}
    out = native_cached_attention(query, segments, positions, jnp.asarray(False), **rule)
    np.testing.assert_allclose(out, plain(query, segments, positions, False, **rule), atol=1e-4)


@pytest.mark.parametrize(
    ("platform", "dtype", "dim", "says"),
    [
        ("tpu", jnp.float32, 32, "it runs on CPUs"),
        ("cpu", jnp.bfloat16, 32, "it takes float32"),
        ("cpu", jnp.float32, 24, "a multiple of 16"),
    ],
)
def test_where_it_cannot_run_it_says_so(platform, dtype, dim, says) -> None:
    with pytest.raises(UserError, match=says):
        choose_implementation("native", platform, jnp.dtype(dtype), dim, None)
    assert choose_implementation("native", "cpu", jnp.dtype(jnp.float32), 32, 20.0) == "xla"


@pytest.mark.parametrize(
    ("compiler", "says"), [("/nowhere/c++", "cannot run '/nowhere/c\\+\\+'"), ("false", "false failed")]
)
def test_without_a_compiler_it_says_what_to_do(monkeypatch, compiler, says) -> None:
    monkeypatch.setitem(os.environ, "CXX", compiler)
    with pytest.raises(UserError, match=says) as raised:
        native_build._load_once.__wrapped__()
    assert 'attention = "auto"' in str(raised.value)


def test_with_no_compiler_on_the_path_it_says_what_to_do(monkeypatch) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(native_build.shutil, "which", lambda name: None)
    with pytest.raises(UserError, match="there is none here"):
        native_build._load_once.__wrapped__()
