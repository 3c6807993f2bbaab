"""bfloat16 computation on float32 parameters: what is computed in which of them."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sml_jax.learn.batches import MicroBatch
from sml_jax.learn.gradients import add_gradients
from sml_jax.learn.losses import PolicyLoss
from sml_jax.learn.signals import LikelihoodSignal, PolicySignal
from sml_jax.learn.train_state import init_state
from sml_jax.learn.update import Learner
from sml_jax.models.config import DecoderConfig
from sml_jax.models.decoder import Decoder, init_params

ROWS, TIME, BF16, F32 = 4, 8, jnp.dtype("bfloat16"), jnp.dtype("float32")
CONFIG = DecoderConfig(
    vocab_size=24, embed_dim=16, layers=3, heads=2, kv_heads=1, head_dim=8, mlp_dim=20, max_length=8, dtype="bfloat16"
)


@pytest.fixture(scope="module")
def params() -> dict:
    return init_params(Decoder(CONFIG), jax.random.key(0))


@pytest.fixture(scope="module")
def part() -> MicroBatch:
    rng = np.random.default_rng(0)
    weights = np.full((ROWS, TIME), 1 / (ROWS * TIME), np.float32)
    tokens = rng.integers(0, 24, (ROWS, TIME)).astype(np.int32)
    return MicroBatch(
        tokens, np.full(ROWS, TIME, np.int32), PolicySignal(np.ones_like(weights), weights, weights - 3.0)
    )


def equations(jaxpr: Any) -> Iterator[Any]:
    """All of a jaxpr and of those within it."""
    for equation in jaxpr.eqns:
        yield equation
        for value in jax.tree.leaves(equation.params, is_leaf=lambda v: hasattr(v, "eqns") or hasattr(v, "jaxpr")):
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                yield from equations(inner)


def of_update(params: dict, part: MicroBatch) -> list[Any]:
    model = Decoder(CONFIG)
    total, part = (params, jnp.zeros(())), jax.tree.map(jnp.asarray, part)
    traced = jax.make_jaxpr(lambda p: add_gradients(model, model, PolicyLoss(), total, p, {}, None, part))(params)
    return list(equations(traced.jaxpr))


def test_products_with_weights_are_bfloat16_and_what_is_summed_and_exponentiated_float32(params, part):
    actual = of_update(params, part)
    with_weights = [e for e in actual if e.primitive.name == "dot_general" and not e.params["dimension_numbers"][1][0]]
    assert len(with_weights) > 20
    assert {v.aval.dtype for e in with_weights for v in e.invars} == {BF16}
    assert {e.outvars[0].aval.dtype for e in actual if e.primitive.name in ("exp", "log", "rsqrt")} == {F32}
    # Over the vocabulary, nothing has fewer bits than float32 but the gradient that goes into products.
    last = [e for e in actual if e.outvars and getattr(e.outvars[0].aval, "shape", ())[-1:] == (24,)]
    assert {e.primitive.name for e in last if e.outvars[0].aval.dtype == BF16} <= {
        "convert_element_type",
        "dot_general",
        "transpose",
        "add_any",
        "pjit",
        "cond",
        "scan",
    }


def test_a_layers_kernel_is_cast_once_and_the_optimiser_casts_nothing(params, part):
    """Inside the scans over layers: once forward, and the backward pass takes the cast one."""
    kernel = params["params"]["layers"]["mlp"]["up"]["kernel"].shape[1:]
    casts = [
        e
        for e in of_update(params, part)
        if e.primitive.name == "convert_element_type"
        and e.outvars[0].aval.dtype == BF16
        and e.invars[0].aval.dtype == F32
        and e.outvars[0].aval.shape == kernel
    ]
    assert len(casts) == 2, "gate and up"
    optimizer = optax.adamw(1e-3)
    state = init_state(params, optimizer)
    assert {leaf.dtype for leaf in jax.tree.leaves(state) if leaf.ndim} == {F32}
    traced = jax.make_jaxpr(lambda g: optimizer.update(g, state.opt_state, state.params))(params)
    assert not [e for e in equations(traced.jaxpr) for v in e.outvars if getattr(v.aval, "dtype", F32) == BF16]


def test_steps_too_small_for_bfloat16_add_up(params, part):
    """One step moves no parameter by a bfloat16's spacing; all are kept, and thirty-two move some by one."""
    optimizer = optax.adamw(2e-5, weight_decay=0.0)
    learner = Learner(Decoder(CONFIG), optimizer)
    part = part.replace(policy=None, likelihood=LikelihoodSignal(part.policy.weights))
    state, _ = learner.update(init_state(params, optimizer), [part])
    near = lambda leaf: jnp.where(jnp.abs(leaf) > 0.02, leaf, 0.0)  # noqa: E731 - spacing there is at least 2 ** -13
    before, after = (near(tree["params"]["embedding"]["embedding"]) for tree in (params, state.params))
    assert 0 < jnp.max(jnp.abs(after - before)) < 2**-13
    moved = jnp.mean(after != before)
    rounded = jnp.mean(after.astype(BF16) != before.astype(BF16))
    assert moved > 0.5 and rounded < moved / 4
    for _ in range(31):
        state, _ = learner.update(state, [part])
    later = near(state.params["params"]["embedding"]["embedding"])
    assert jnp.mean(later.astype(BF16) != before.astype(BF16)) > 2 * rounded


def test_logits_are_not_rounded_to_bfloat16(params):
    """They are the float32 sums of bfloat16 products, tied or not."""
    hidden = jax.random.normal(jax.random.key(1), (5, 16), BF16)
    for tied in (True, False):
        model = Decoder(DecoderConfig(**{**vars(CONFIG), "tied_embeddings": tied}))
        made = init_params(model, jax.random.key(2))["params"]
        kernel = made["embedding"]["embedding"].T if tied else made["output"]["kernel"]
        actual = model.apply({"params": made}, hidden, method="logits")
        exact = np.asarray(hidden, np.float64) @ np.asarray(kernel.astype(BF16), np.float64)
        np.testing.assert_allclose(actual, exact, rtol=1e-5, atol=1e-5)
        assert actual.dtype == F32 and not np.allclose(np.asarray(actual.astype(BF16), np.float64), exact, rtol=1e-5)
