"""Training adapters: they learn alone, and nothing of the base's size is differentiated, kept or changed."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sml_jax.common.errors import UserError
from sml_jax.learn.batches import MicroBatch, micro_batches
from sml_jax.learn.gradients import add_gradients
from sml_jax.learn.logprobs import token_logprobs
from sml_jax.learn.losses import PolicyLoss
from sml_jax.learn.optimizers import adamw
from sml_jax.learn.signals import LikelihoodSignal, PolicySignal, Signals
from sml_jax.learn.train_state import init_state
from sml_jax.learn.update import Learner
from sml_jax.models.config import DecoderConfig, LoraConfig
from sml_jax.models.decoder import Decoder, count_params, init_params
from sml_jax.models.layout import shard_params
from sml_jax.models.lora import join_lora, split_lora
from sml_jax.sharding import AXES, make_mesh

CONFIG = DecoderConfig(
    vocab_size=12,
    embed_dim=16,
    layers=2,
    heads=4,
    kv_heads=2,
    head_dim=8,
    mlp_dim=20,
    max_length=16,
    tied_embeddings=False,
    lora=LoraConfig(rank=4, alpha=8.0),
)
MODEL = Decoder(CONFIG)
PLAIN = Decoder(dataclasses.replace(CONFIG, lora=None))
SGD = optax.sgd(1.0)  # the step is the gradient
OPTIMIZER = adamw(learning_rate=2e-2, weight_decay=0.05)
TIME = 6


def host(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: np.array(leaf), tree)


def same(one: Any, other: Any) -> bool:
    return bool(jax.tree.all(jax.tree.map(np.array_equal, one, other)))


@pytest.fixture(scope="module")
def params() -> dict:
    """Random weights and adapters that have moved already, so that every A has a gradient."""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(lambda: init_params(MODEL, jax.random.key(0)))

    def draw(path: tuple, leaf: Any) -> jax.Array:
        return jnp.asarray(rng.normal(float(path[-1].key == "scale"), 0.25, leaf.shape), jnp.float32)

    made = jax.tree_util.tree_map_with_path(draw, shapes)
    mesh = jax.make_mesh((1, 1, 1), AXES, axis_types=(jax.sharding.AxisType.Auto,) * 3, devices=jax.devices()[:1])
    return shard_params(mesh, MODEL, made)


@pytest.fixture(scope="module")
def learner() -> Learner:
    return Learner(MODEL, OPTIMIZER)


@pytest.fixture(scope="module")
def batch() -> list[MicroBatch]:
    """Eight rows in which each token says the next: t, t + 5, t + 10, ... modulo 12. All but the first are learnt."""
    tokens = (np.arange(8)[:, None] + 5 * np.arange(TIME)) % 12
    weights = np.broadcast_to(np.arange(TIME) > 0, tokens.shape) / (8 * (TIME - 1.0))
    signals = Signals(likelihood=LikelihoodSignal(weights))
    return micro_batches(tokens, np.full(8, TIME), signals, rows=8, buckets=(TIME,))


def test_the_step_is_the_adapters_gradient_and_the_base_stays(params: dict, batch: list[MicroBatch]) -> None:
    base, adapters = split_lora(params)
    before = host(params)

    def loss(adapters: dict) -> jax.Array:
        tokens = jnp.asarray(batch[0].tokens)
        return -jnp.sum(
            token_logprobs(MODEL.apply(join_lora(base, adapters), tokens), tokens) * batch[0].likelihood.weights
        )

    gradients = jax.jit(jax.grad(loss))(adapters)
    state = init_state(params, SGD)
    kept = split_lora(state.params)[1]
    after, metrics = Learner(MODEL, SGD).update(state, batch)
    base_after, adapters_after = split_lora(after.params)
    gradients = host(gradients)
    expected = jax.tree.map(lambda a, g: a - g, host(adapters), gradients)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), adapters_after, expected)
    norm = np.sqrt(sum(np.square(leaf).sum() for leaf in jax.tree.leaves(gradients)))
    assert metrics["gradient_norm"] == pytest.approx(float(norm), rel=1e-5)
    assert all(np.abs(leaf).max() > 1e-4 for leaf in jax.tree.leaves(gradients))
    # The base is the caller's own arrays; of the state, only the adapters were given away.
    assert all(a is b for a, b in zip(jax.tree.leaves(base_after), jax.tree.leaves(base), strict=True))
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(kept))
    assert same(host(params), before)


def products(jaxpr: Any) -> Iterator[tuple[int, ...]]:
    """Shapes of the results of all matrix products in a jaxpr and in those within it."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            yield tuple(sorted(size for size in equation.outvars[0].aval.shape))
        for value in jax.tree.leaves(equation.params, is_leaf=lambda v: hasattr(v, "eqns") or hasattr(v, "jaxpr")):
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                yield from products(inner)


@pytest.mark.parametrize("remat", [False, True])
def test_no_gradient_of_a_weights_size_is_computed(params: dict, batch: list[MicroBatch], remat: bool) -> None:
    def shapes(model: Decoder, trainable: dict, frozen: dict) -> set[tuple[int, ...]]:
        model = Decoder(dataclasses.replace(model.config, remat=remat))
        part = jax.tree.map(jnp.asarray, batch[0])
        total = (trainable, jnp.zeros(()))
        traced = jax.make_jaxpr(lambda t: add_gradients(model, model, None, total, t, frozen, None, part))(trainable)
        return set(products(traced.jaxpr))

    base, adapters = split_lora(params)
    kernels = {tuple(sorted(leaf.shape[1:])) for leaf in jax.tree.leaves(base["params"]["layers"]) if leaf.ndim > 2}
    assert kernels == {(4, 8, 16), (2, 8, 16), (16, 20)}
    assert kernels <= shapes(PLAIN, base, {})
    assert not kernels & shapes(MODEL, adapters, base)


def test_optimiser_state_is_the_adapters_alone(params: dict, batch: list[MicroBatch]) -> None:
    state = init_state(params, OPTIMIZER)
    sizes = [leaf.size for leaf in jax.tree.leaves(state.opt_state) if leaf.ndim > 0]
    assert sum(sizes) == 2 * count_params(split_lora(params)[1]) < count_params(params)
    trained = state.trainable()
    assert same(trained.params, split_lora(params)[1]) and same(trained.with_base(params), state)
    # A plain model is trainable as a whole.
    base = split_lora(params)[0]
    plain = init_state(base, SGD)
    assert same(plain.trainable(), plain) and same(plain.with_base(base), plain)
    assert not any(a is b for a, b in zip(jax.tree.leaves(plain.params), jax.tree.leaves(base), strict=True))


@pytest.mark.extra
def test_weight_decay_sees_adapters_alone(params: dict, batch: list[MicroBatch], learner: Learner) -> None:
    """Where nothing has a gradient, decay shrinks each adapter by its share and leaves the base."""
    nothing = [part.replace(likelihood=jax.tree.map(np.zeros_like, part.likelihood)) for part in batch]
    after, metrics = learner.update(init_state(params, OPTIMIZER), nothing)
    (base, adapters), (base_after, adapters_after) = split_lora(params), split_lora(after.params)
    assert metrics["gradient_norm"] == 0 and same(base_after, base)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(b, a * 0.999, rtol=2e-6), adapters, adapters_after)
    assert metrics["update_norm"] == pytest.approx(0.001 * float(optax.tree.norm(adapters)), rel=1e-4)


def test_adapters_alone_learn_a_task(params: dict, batch: list[MicroBatch], learner: Learner) -> None:
    base, adapters = split_lora(params)
    fresh = jax.tree_util.tree_map_with_path(lambda path, x: x * (path[-1].key == "a"), adapters)
    state = init_state(join_lora(base, fresh), OPTIMIZER)
    losses = []
    for step in range(100):
        state, metrics = learner.update(state, batch)
        losses.append(metrics["nll"])
        if step == 0:
            compiled = learner.executable_count()
    assert learner.executable_count() == compiled, "something was compiled after the first update"
    assert losses[0] > 2.0 and losses[-1] < 0.5
    assert same(split_lora(state.params)[0], base)


@pytest.mark.slow
def test_the_kl_reference_may_come_with_adapters_or_without(params: dict, batch: list[MicroBatch]) -> None:
    """Without them it is the base, which fresh adapters are too."""
    base, adapters = split_lora(params)
    zero = join_lora(base, jax.tree.map(jnp.zeros_like, adapters))
    weights = batch[0].likelihood.weights
    policy = PolicySignal(np.ones_like(weights), weights, np.zeros_like(weights))
    reinforced = batch[0].replace(policy=policy, likelihood=None)

    def update(reference: dict) -> tuple[Any, dict[str, float]]:
        learner = Learner(MODEL, SGD, PolicyLoss(kl_coef=0.3), reference)
        state, metrics = learner.update(init_state(params, SGD), [reinforced])
        return host(split_lora(state.params)[1]), metrics

    (one, metrics), (other, others) = update(base), update(zero)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), one, other)
    assert metrics["kl"] > 1e-4 and metrics["kl"] == pytest.approx(others["kl"], rel=1e-4)


@pytest.mark.extra
def test_eight_devices_train_what_one_does(params: dict, batch: list[MicroBatch], learner: Learner) -> None:
    mesh = make_mesh(2, 2, 2)
    laid = shard_params(mesh, MODEL, params)
    spread = Learner(MODEL, OPTIMIZER, mesh=mesh)
    one, other = init_state(params, OPTIMIZER), init_state(laid, OPTIMIZER)
    lies = jax.tree.map(lambda leaf: leaf.sharding, other)
    for _ in range(3):
        one, metrics = learner.update(one, batch)
        other, others = spread.update(other, batch)
        assert others["nll"] == pytest.approx(metrics["nll"], rel=1e-4)
        assert spread.executable_count() == 2
    assert jax.tree.all(jax.tree.map(lambda leaf, at: leaf.sharding == at, other, lies))
    assert other.params["params"]["layers"]["mlp"]["up_lora"]["b"].sharding.spec[-1] == "tensor"
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), host(one.params), host(other.params))


@pytest.mark.parametrize("model", [PLAIN, MODEL])
def test_adapters_that_would_be_missed_or_ignored(params: dict, batch: list[MicroBatch], model: Decoder) -> None:
    wrong = params if model is PLAIN else split_lora(params)[0]
    with pytest.raises(UserError, match=r"lora: the (parameters|model) ha(ve|s) adapters, but the"):
        Learner(model, SGD).update(init_state(wrong, SGD), batch)
