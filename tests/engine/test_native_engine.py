"""An engine whose caches are read by compiled C++ says what any other does."""

import shutil
from dataclasses import replace

import jax
import numpy as np
import pytest
from engine_toys import CONFIG, END, mesh_of

from sml_jax.common.errors import UserError
from sml_jax.engine import ContextBatch, Engine
from sml_jax.models.decoder import Decoder, init_params
from sml_jax.models.ops import cache_backends, native_product

pytestmark = pytest.mark.skipif(shutil.which("c++") is None, reason="needs a C++ compiler, c++")

OPENING = list(range(1, 12)) * 4


def talk(
    attention: str,
    mesh: tuple[int, int, int],
    rows: int,
    cache_dtype: str | None = None,
    chunk_sizes: tuple[int, ...] = (8,),
) -> tuple[ContextBatch, list]:
    """Three turns of rows of several lengths, of which some begin alike."""
    config = replace(CONFIG, head_dim=16, attention=attention, cache_dtype=cache_dtype, max_length=128)
    model = Decoder(config)
    params = init_params(model, jax.random.key(0))
    engine = Engine(
        model,
        rows,
        128,
        8,
        (END,),
        chunk_sizes=chunk_sizes,
        batch_sizes=(1, rows // (mesh[0] * mesh[1])),
        mesh=mesh_of(*mesh),
    )
    if attention == "native":
        engine.warm_up(params)
    compiled = engine.executable_count()
    side, said = ContextBatch(engine, params, jax.random.key(1)), []
    for row in range(rows):
        side.start(row, row, OPENING if row % 2 else [1 + row % 12, 3] * (1 + row))
    for turn in range(3):
        said += side.sample(range(rows), 8)
        for row in range(turn, rows):
            side.append(row, [5, 4, 3, 2, 1][: 1 + row % 5])
    assert attention != "native" or engine.executable_count() == compiled, "something was compiled after the warm-up"
    return side, said


@pytest.mark.parametrize(
    ("mesh", "rows"), [((1, 1, 1), 4), pytest.param((4, 1, 1), 16, marks=pytest.mark.slow)], ids=str
)
def test_it_says_what_the_plain_engine_says(mesh, rows, monkeypatch) -> None:
    multiplied = []

    def multiply(x, *args, **options):
        multiplied.append(x.shape[0])
        return native_product.native_product(x, *args, **options)

    monkeypatch.setattr(native_product, "cores", lambda: 2)
    monkeypatch.setattr(cache_backends, "native_product", multiply)
    (plain, expected), (native, got) = (talk(attention, mesh, rows) for attention in ("xla", "native"))
    assert [turn.tokens for turn in got] == [turn.tokens for turn in expected]
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a.logprobs, b.logprobs, atol=1e-5)
    assert native.copied_tokens == plain.copied_tokens > 32, "openings longer than a window of copying were copied"
    assert set(multiplied) == ({1, 4} if mesh == (1, 1, 1) else set()), (
        "cores share the products of one device's few rows"
    )
    assert len(native._engine.cache_lengths) == 1 < len(plain._engine.cache_lengths), "one length of caches"


@pytest.mark.extra
def test_caches_in_bfloat16_are_read_alike_and_take_half_the_memory() -> None:
    """The C++ and the plain engine round the same numbers, however many tokens are given in one call."""
    arguments = (1, 1, 1), 4, "bfloat16"
    (plain, expected), (native, got), (_, in_chunks) = (
        talk(attention, *arguments, chunk_sizes)
        for attention, chunk_sizes in (("xla", (8,)), ("native", (8,)), ("native", (3,)))
    )
    for turns in (got, in_chunks):
        assert [turn.tokens for turn in turns] == [turn.tokens for turn in expected]
        for a, b in zip(turns, expected, strict=True):
            np.testing.assert_allclose(a.logprobs, b.logprobs, atol=1e-4)
    # Exact caches give something else, by no more than rounding to 8 bits can.
    _, exact = talk("native", (1, 1, 1), 4)
    differences = [
        np.abs(a.logprobs[0] - b.logprobs[0]) for a, b in zip(got[:4], exact[:4], strict=True) if len(a.logprobs)
    ]
    assert 1e-6 < max(differences) < 0.05
    caches = [jax.tree.leaves(batch._engine.empty_cache(64)) for batch in (plain, native)]
    assert {array.dtype.itemsize for arrays in caches for array in arrays} == {2}


@pytest.mark.parametrize("mesh", [(1, 2, 1), (1, 1, 2)], ids=str)
def test_a_mesh_that_splits_more_than_rows_over_data_is_refused(mesh) -> None:
    with pytest.raises(UserError, match="a mesh of data alone"):
        talk("native", mesh, 4)
