"""What is counted of a trace, held against what XLA says of the compiled executable, on simulated devices."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from sml_jax.common.executables import Executable, memory_of
from sml_jax.engine.engine import Engine
from sml_jax.learn.losses import PolicyLoss
from sml_jax.learn.optimizers import adamw
from sml_jax.learn.train_state import abstract_state
from sml_jax.learn.update import Learner
from sml_jax.models.config import DecoderConfig, LoraConfig
from sml_jax.models.decoder import Decoder
from sml_jax.models.layout import sharded_param_shapes
from sml_jax.run.memory_account import MARGIN
from sml_jax.run.memory_liveness import temporary_bytes
from sml_jax.sharding import make_mesh

KB = 1000
CONFIG = DecoderConfig(
    vocab_size=256, embed_dim=32, layers=3, heads=4, kv_heads=2, head_dim=8, mlp_dim=96, max_length=128
)
SMOLLM2 = DecoderConfig(
    vocab_size=49152, embed_dim=576, layers=30, heads=9, kv_heads=3, head_dim=64, mlp_dim=1536, max_length=2048
)


def counted_and_compiled(executable: Executable) -> tuple[float, float]:
    """Bytes beside the arguments, by the trace and by the compiler."""
    traced = executable.jitted.trace(*executable.args)
    return temporary_bytes(traced, wide_bfloat16=True), memory_of(traced.lower().compile()).added


def gradients(config: DecoderConfig, rows: int, length: int, loss: PolicyLoss | None) -> Executable:
    model, mesh, optimizer = Decoder(config), make_mesh(over=jax.devices()[:1]), adamw(1e-3)
    params = sharded_param_shapes(model, mesh)
    reference = params if getattr(loss, "needs_reference", False) else None
    learner = Learner(model, optimizer, loss, reference, mesh)
    streams = ("policy",) if loss else ("likelihood",)
    return learner.programs(abstract_state(params, optimizer, mesh), rows, length, streams)[0]


def check_near(executable: Executable) -> None:
    """The compiler needs no more than what is counted and the margin, and not less than two thirds of it."""
    counted, compiled = counted_and_compiled(executable)
    assert compiled <= MARGIN * counted and counted <= 1.5 * compiled, (executable.name, counted / compiled)


@pytest.mark.parametrize(
    ("changes", "rows", "length", "loss"),
    [
        ({}, 8, 128, PolicyLoss()),
        pytest.param({"remat": "layer"}, 8, 128, PolicyLoss(), marks=pytest.mark.extra),
        pytest.param({"dtype": "bfloat16", "remat": "dots"}, 16, 64, None, marks=pytest.mark.extra),
        pytest.param(
            {"lora": LoraConfig(rank=4), "tied_embeddings": False}, 4, 128, PolicyLoss(kl_coef=0.1),
            marks=pytest.mark.extra,
        ),
    ],
)  # fmt: skip
def test_gradients_need_what_is_counted(changes: dict[str, Any], rows, length, loss):
    check_near(gradients(dataclasses.replace(CONFIG, **changes), rows, length, loss))


@pytest.mark.slow  # half a minute of compilation: `pytest -m slow tests/run/test_memory_liveness.py`
@pytest.mark.parametrize("remat", ["none", "dots", "layer"])
def test_gradients_of_smollm2_need_what_is_counted(remat):
    check_near(gradients(dataclasses.replace(SMOLLM2, remat=remat), 16, 256, PolicyLoss()))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_calls_of_the_engine_need_what_is_counted_beside_their_caches(dtype):
    config = dataclasses.replace(CONFIG, dtype=dtype)
    engine = Engine(Decoder(config), 16, 96, 16, (0,), (1,), mesh=make_mesh(over=jax.devices()[:1]))
    _, extend, write, decode, _, _ = engine.programs()
    cache = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(engine.abstract_cache()))
    # The largest of the calls decides, and it is an `extend` or, in bfloat16 on a CPU, a widened copy of the cache.
    pairs = [counted_and_compiled(call) for call in (extend, write, decode)]
    counted, compiled = (max(numbers) for numbers in zip(*pairs, strict=True))
    assert compiled <= MARGIN * counted and counted <= 2 * compiled
    if dtype == "float32":
        # A donated cache is written in its place.
        assert pairs[1][0] < 0.01 * cache and pairs[1][1] < 0.01 * cache


def peak(function: Any, *shapes: tuple[int, ...], donate: tuple[int, ...] = ()) -> float:
    args = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    return temporary_bytes(jax.jit(function, donate_argnums=donate).trace(*args), wide_bfloat16=False)


def test_known_answers():
    """Of arrays of 4,000 bytes."""
    n = (1000,)
    # One array is made, written over itself, and is the result.
    assert peak(lambda x: jnp.sin(jnp.cos(x)), n) == 4 * KB
    # Two are there before they are added up, into one of them.
    assert peak(lambda x: jnp.sin(x) + jnp.cos(x), n) == 8 * KB
    # A donated argument is written over.
    assert peak(lambda x: jnp.sin(x), n, donate=(0,)) == 0
    # A product's result lies beside its factors, of which one was made.
    assert peak(lambda x, y: jnp.sin(x) @ y, (10, 100), (100, 10)) == 4 * KB + 400
    # What is broadcast is never written.
    assert peak(lambda x: (x[:, None] + jnp.zeros((1000, 50))).sum(), n) == pytest.approx(200 * KB, rel=0.03)
    # Of a scan's body what is there at once counts once, and what it stacks as a whole.
    steps = lambda x: jax.lax.scan(lambda c, _: (jnp.sin(c), jnp.cos(c)), x, None, length=10)  # noqa: E731
    assert peak(steps, n) == pytest.approx(4 * KB + 40 * KB + 8 * KB, rel=0.1)
