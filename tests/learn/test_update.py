"""The update: parts add up to the whole, padding is told by length, and what has no weight changes nothing."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from learn_toys import parts_of
from run_toys import host, same

from sml_jax.learn.logprobs import token_logprobs
from sml_jax.learn.losses import PolicyLoss
from sml_jax.learn.train_state import init_state
from sml_jax.learn.update import Learner, _jit_gradients
from sml_jax.learn.weights import token_weights
from sml_jax.models.config import DecoderConfig
from sml_jax.models.decoder import Decoder, init_params

SGD = optax.sgd(1.0)  # the step is the gradient
ADAMW = optax.adamw(1e-2)
LENGTHS = np.array([7, 3, 8, 5, 2, 6])
TIME = 8


@pytest.fixture(scope="module")
def model():
    sizes = {"vocab_size": 12, "embed_dim": 16, "layers": 1, "heads": 2, "kv_heads": 1, "head_dim": 8, "mlp_dim": 16}
    return Decoder(DecoderConfig(**sizes, max_length=32, tied_embeddings=False))


@pytest.fixture(scope="module")
def params(model):
    return init_params(model, jax.random.key(3))


@pytest.fixture(scope="module")
def sft(model):
    return Learner(model, SGD)


@pytest.fixture(scope="module")
def policy(model):
    return Learner(model, SGD, PolicyLoss())


@pytest.fixture(scope="module")
def kl(model, params):
    return Learner(model, SGD, PolicyLoss(kl_coef=0.3), reference=jax.tree.map(lambda leaf: leaf * 1.1, params))


@pytest.fixture(scope="module")
def batch(model, params):
    """Six rows of random tokens whose odd positions are the student's, off-policy by a little."""
    rng = np.random.default_rng(0)
    unpadded = np.arange(TIME) < LENGTHS[:, None]
    tokens = np.where(unpadded, rng.integers(1, 12, (6, TIME)), 0)
    student = unpadded & (np.arange(TIME) % 2 == 1)
    logits = jax.jit(model.apply)(params, jnp.asarray(tokens))
    old = np.asarray(jax.jit(token_logprobs)(logits, jnp.asarray(tokens)))
    return {
        "tokens": tokens,
        "length": LENGTHS,
        "weights": np.asarray(token_weights(jnp.asarray(student), "sequence")),
        "old_logprob": np.where(student, old + rng.normal(0, 0.05, old.shape), 0.0),
        "advantage": np.array([1.0, -1.0, 0.0, 2.0, 0.0, -0.5]),
    }


def step(learner, params, batch, rows, buckets=(TIME,)):
    """Parameters and metrics after one update of the batch, `rows` rows at a time."""
    stream = "likelihood" if learner._token_loss is None else "policy"
    state, metrics = learner.update(init_state(params, SGD), parts_of(batch, stream, rows=rows, buckets=buckets))
    assert int(state.step) == 1
    return host(state.params), metrics


def assert_close(one, other, atol=1e-6):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=atol), one, other)


@pytest.mark.extra
@pytest.mark.parametrize(
    "name", [pytest.param("sft", marks=pytest.mark.slow), pytest.param("policy", marks=pytest.mark.slow), "kl"]
)
def test_micro_batches_add_up_to_the_whole(params, batch, name, request):
    learner = request.getfixturevalue(name)
    whole, metrics = step(learner, params, batch, 6)
    assert metrics["gradient_norm"] > 1e-3 and not same(whole, params)
    # Four rows and two, of one length each.
    parts, sums = step(learner, params, batch, 4, (6, TIME))
    assert_close(whole, parts)
    assert sums == pytest.approx(metrics, rel=1e-4, abs=1e-6)


def test_known_gradient(model, params, batch, sft):
    """The update is that of the plain formula: minus the gradient of the weighted negative log-likelihood."""

    @jax.jit
    def loss(p):
        logprobs = token_logprobs(model.apply(p, jnp.asarray(batch["tokens"])), jnp.asarray(batch["tokens"]))
        return -jnp.sum(logprobs * batch["weights"])

    expected = jax.tree.map(lambda p, g: p - g, params, jax.jit(jax.grad(loss))(params))
    after, metrics = step(sft, params, batch, 3)
    assert_close(after, expected)
    assert metrics["loss"] == pytest.approx(float(loss(params)), rel=1e-5)
    assert metrics["update_norm"] == pytest.approx(metrics["gradient_norm"])


def test_what_lies_past_the_length_changes_nothing(params, batch, sft):
    padding = np.arange(TIME) >= LENGTHS[:, None]
    junk = {
        **batch,
        "tokens": np.where(padding, 7, batch["tokens"]),
        "old_logprob": batch["old_logprob"] - 5.0 * padding,
    }
    assert same(step(sft, params, batch, 6)[0], step(sft, params, junk, 6)[0])


def test_padding_rows_change_nothing(params, batch, sft):
    assert_close(step(sft, params, batch, 6)[0], step(sft, params, batch, 16)[0])


def test_a_student_token_whose_id_is_the_padding_is_trained_on(params, sft):
    """Token 0 within the length has a gradient, the same token past it has none."""
    tokens = np.array([[5, 3, 0, 0]])
    old, advantage = np.zeros((1, 4)), np.ones(1)

    def change(length, student):
        weights = np.array([[0.0, 0.0, 1.0 if student else 0.0, 0.0]])
        whole = {"tokens": tokens, "length": np.array([length]), "weights": weights}
        after, metrics = step(sft, params, {**whole, "old_logprob": old, "advantage": advantage}, 1, (4,))
        return same(after, host(params)), metrics

    unchanged, metrics = change(3, student=True)
    assert not unchanged and metrics["student_tokens"] == 1 and metrics["nll"] > 0
    unchanged, metrics = change(2, student=False)
    assert unchanged and metrics["student_tokens"] == 0 and metrics["gradient_norm"] == 0


@pytest.mark.extra
def test_rows_without_advantage_need_not_be_computed(params, batch, policy, kl):
    """Without a KL term they may be left out, for their weights were made with them there; with one they may not."""
    chosen = np.flatnonzero(batch["advantage"])
    fewer = {name: value[chosen] for name, value in batch.items()}
    assert_close(step(policy, params, batch, 3)[0], step(policy, params, fewer, 3)[0])
    with pytest.raises(AssertionError):
        assert_close(step(kl, params, batch, 3)[0], step(kl, params, fewer, 3)[0], atol=1e-5)


def test_no_advantage_no_change(params, batch, policy):
    after, metrics = step(policy, params, {**batch, "advantage": np.zeros(6)}, 3)
    assert same(after, host(params)) and metrics["gradient_norm"] == 0


def test_the_callers_parameters_survive(params, batch, sft):
    before = host(params)
    step(sft, params, batch, 6)
    assert same(before, host(params))


@pytest.fixture
def nothing_compiled():
    """Learners of one model and loss share what was compiled, also by the tests before."""
    _jit_gradients.cache_clear()


@pytest.mark.extra
def test_learners_of_one_loss_share_what_was_compiled(model, params, batch, nothing_compiled):
    first, second = Learner(model, SGD, PolicyLoss()), Learner(model, optax.sgd(0.5), PolicyLoss())
    step(first, params, batch, 6)
    assert first.executable_count() == 2  # the gradients, and the optimiser's step
    learned = [step(learner, params, batch, 6)[1]["gradient_norm"] for learner in (first, second)]
    assert learned[0] == learned[1] and second.executable_count() == 2
    assert second._gradients is first._gradients

    # A loss that may have changed since it was traced is traced again.
    @dataclasses.dataclass
    class Scaled:
        scale: float

        def __hash__(self):
            return 0

        def __call__(self, *arguments):
            token_loss, metrics = PolicyLoss()(*arguments)
            return self.scale * token_loss, metrics

    loss = Scaled(1.0)
    norms = [step(Learner(model, SGD, loss), params, batch, 6)[1]["gradient_norm"]]
    loss.scale = 2.0
    norms.append(step(Learner(model, SGD, loss), params, batch, 6)[1]["gradient_norm"])
    np.testing.assert_allclose(norms[1], 2 * norms[0], rtol=1e-5)


@pytest.mark.extra
def test_compiles_once_a_shape(model, params, batch, nothing_compiled):
    learner = Learner(model, SGD)
    step(learner, params, batch, 2, (4, TIME))
    compiled = learner.executable_count()
    step(learner, params, batch, 2, (4, TIME))
    assert compiled == learner.executable_count() == 3  # two lengths, and the optimiser's step


@pytest.mark.parametrize("loss", [pytest.param(None, marks=pytest.mark.slow), PolicyLoss(mismatch_cap=2.0)])
def test_nothing_is_compiled_after_the_warm_up(model, params, batch, loss, nothing_compiled):
    """Whatever the lengths, the number of rows left over and how many tokens are trained; and it changes nothing."""
    optimizer = ADAMW
    learner, stream = Learner(model, optimizer, loss), "policy" if loss else "likelihood"
    state = learner.warm_up(init_state(params, optimizer), 4, (4, TIME), (stream,))
    assert same(host(state), host(init_state(params, optimizer)))
    assert learner.executable_count() == 3
    for rows in (1, 3, 6):
        few = {name: value[:rows] for name, value in batch.items()}
        few["weights"] = few["weights"] * (np.arange(TIME) < 2 * rows)
        state, metrics = learner.update(state, parts_of(few, stream, rows=4, buckets=(4, TIME)))
        assert metrics["skipped"] == 0
    assert learner.executable_count() == 3 and int(state.step) == 3


def test_state_and_gradients_are_updated_in_place(model, params, batch):
    """The compiled programs write parameters, moments and summed gradients where the old ones lay."""
    optimizer = ADAMW
    learner = Learner(model, optimizer)
    state = init_state(params, optimizer)
    learner.update(jax.tree.map(jnp.copy, state), parts_of(batch, "likelihood", rows=6, buckets=(TIME,)))
    held = lambda tree: sum(leaf.nbytes for leaf in jax.tree.leaves(tree))  # noqa: E731
    part = jax.tree.map(jnp.asarray, parts_of(batch, "likelihood", rows=6, buckets=(TIME,))[0])
    total = (params, jnp.zeros(()))
    add = learner._gradients.lower(total, params, {}, None, part).compile().memory_analysis()
    assert add.alias_size_in_bytes >= held(params)
    apply = learner._apply.lower(state, params, jnp.zeros(())).compile().memory_analysis()
    assert apply.alias_size_in_bytes >= held(state) - 16  # but for the counters


def test_a_step_that_overflows_the_parameters_alone_changes_nothing(model, params, batch):
    bad = Learner(model, optax.sgd(3e38), PolicyLoss())
    state, metrics = bad.update(init_state(params, optax.sgd(3e38)), parts_of(batch, "policy", rows=3, buckets=(TIME,)))
    assert metrics["skipped"] == 1 and math.isfinite(metrics["gradient_norm"])
    assert same(host(state.params), host(params)) and int(state.step) == 0


@pytest.fixture(scope="module")
def adam(model):
    return ADAMW, Learner(model, ADAMW, PolicyLoss())


@pytest.mark.parametrize("broken", ["weights", "advantage"])
def test_a_step_that_is_not_finite_changes_nothing(params, batch, adam, broken):
    """Neither parameters nor the optimiser's state; the next good step is as if it had never been."""
    optimizer, learner = adam
    good, metrics = learner.update(init_state(params, optimizer), parts_of(batch, "policy", rows=3, buckets=(TIME,)))
    assert metrics["skipped"] == 0
    kept = host(good)
    poisoned = batch[broken].copy()
    poisoned.flat[np.flatnonzero(poisoned)[0]] = np.inf
    state, metrics = learner.update(good, parts_of({**batch, broken: poisoned}, "policy", rows=3, buckets=(TIME,)))
    assert metrics["skipped"] == 1 and same(host(state), kept) and int(state.step) == 1
    after, metrics = learner.update(state, parts_of(batch, "policy", rows=3, buckets=(TIME,)))
    assert metrics["skipped"] == 0 and int(after.step) == 2 and not same(host(after.params), kept.params)
