"""Each signal's gradient, as the update takes it, against autodiff of the plain formula on whole logits."""

import dataclasses
import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from run_toys import host

from sml_jax.common.errors import UserError
from sml_jax.dialogue.transcript import Transcript
from sml_jax.learn import (
    CritiquePrediction,
    Grpo,
    InformationGain,
    LikelihoodSignal,
    OfflineSml,
    PolicyLoss,
    SelfDistillation,
    TurnReturns,
)
from sml_jax.learn.batches import micro_batches
from sml_jax.learn.divergence import forward_kl, hidden_divergence, jensen_shannon, reverse_kl
from sml_jax.learn.optimizers import running_mean, with_ema
from sml_jax.learn.signals import signals_of
from sml_jax.learn.train_state import init_state
from sml_jax.learn.update import Learner
from sml_jax.models.config import DecoderConfig
from sml_jax.models.decoder import Decoder, init_params
from sml_jax.models.layout import shard_params
from sml_jax.sharding import AXES

# What stands in each dialogue: "." is given, a digit the student's turn, "t" the teacher's reply.
DIALOGUES = ["..11.tt.22.t.3", "..111.tt.2", "..1", "..11.ttt.22.tt.33"]
VOCABULARY = 7
DECAY = 0.75
SGD = optax.sgd(1.0)  # the step is the gradient
SGD_WITH_MEAN = with_ema(SGD, DECAY)


def make_transcript():
    rng = np.random.default_rng(0)
    length = np.array(list(map(len, DIALOGUES)), np.int32)
    marks = np.array([list(dialogue.ljust(length.max())) for dialogue in DIALOGUES])
    turn = np.where(np.char.isdigit(marks), np.char.replace(marks, ".", "0"), "0")
    turn = np.where(np.char.isdigit(turn), turn, "0").astype(np.int32)
    tokens = rng.integers(0, VOCABULARY, marks.shape).astype(np.int32) * (marks != " ")
    zeros = np.zeros(marks.shape, np.float32)
    answer = np.where(turn > 0, -4.0 + turn * rng.random((4, 1)), 0).astype(np.float32)
    return Transcript(
        tokens=tokens, length=length, student=turn > 0, injected=zeros > 0, logprob=zeros, sampling_logprob=zeros,
        turn=turn, teacher=marks == "t", reward=np.array([1, 0, 1, 0], np.float32),
        solved_turn=np.array([3, 0, 1, 0], np.int32), turns=turn.max(axis=1), group=np.array([0, 0, 1, 1], np.int32),
        dropped=np.zeros(4, bool), max_student_tokens=9, answer_logprob=answer,
    )  # fmt: skip


@pytest.fixture(scope="module")
def model():
    sizes = {"vocab_size": VOCABULARY, "embed_dim": 8, "layers": 1, "heads": 2, "kv_heads": 1, "head_dim": 4}
    return Decoder(DecoderConfig(**sizes, mlp_dim=8, max_length=32, tied_embeddings=False))


@pytest.fixture(scope="module")
def params(model):
    return init_params(model, jax.random.key(0))


@pytest.fixture(scope="module")
def script(model, params):
    """With the model's own log-probabilities as those that tokens were sampled with, so that ratios are 1."""
    script = make_transcript()
    logprob = token_logprob(model, params, jnp.asarray(script.tokens))
    return script.replace(logprob=np.where(script.student, logprob, 0))


def all_logprobs(model, params, tokens):
    """The log-probabilities of the whole vocabulary before each token, [B, T, V]; zeros before the first."""
    logprobs = jax.nn.log_softmax(model.apply(params, tokens), axis=-1)
    return jnp.pad(logprobs[:, :-1], ((0, 0), (1, 0), (0, 0)))


def token_logprob(model, params, tokens):
    return jnp.take_along_axis(all_logprobs(model, params, tokens), tokens[..., None], axis=-1)[..., 0]


def plain_policy(model, params, script, signals):
    logprob = token_logprob(model, params, jnp.asarray(script.tokens))
    ratio = jnp.exp(logprob - jax.lax.stop_gradient(logprob))
    return -jnp.sum(signals.policy.weights * signals.policy.advantage * ratio)


def plain_critique(model, params, script):
    return -jnp.sum(jnp.where(script.teacher, token_logprob(model, params, jnp.asarray(script.tokens)), 0)) / 10


def plain_distillation(model, params, script, reference_params, reads_feedback, divergence):
    """Each turn that was answered, where it stands and behind the reply: rows of their own for either policy."""
    heads, agains, spans = [], [], []
    for row, dialogue in enumerate(DIALOGUES):
        for number in range(1, script.turns[row]):
            start, end = dialogue.index(str(number)), dialogue.rindex(str(number)) + 1
            resumed = dialogue.index(str(number + 1)) if reads_feedback else start
            tokens = script.tokens[row].tolist()
            heads.append((tokens[:end] + [0] * 20)[:20])
            agains.append((tokens[:resumed] + tokens[start:end] + [0] * 20)[:20])
            spans.append((start, resumed, end - start))
    p = all_logprobs(model, params, jnp.asarray(heads))
    q = jax.lax.stop_gradient(all_logprobs(model, reference_params, jnp.asarray(agains)))
    apart = [
        divergence(of_p[start : start + size], of_q[resumed : resumed + size]).sum()
        for of_p, of_q, (start, resumed, size) in zip(p, q, spans, strict=True)
    ]
    return sum(apart) / sum(size for _, _, size in spans)


PLAIN_DIVERGENCES = {
    reverse_kl: lambda p, q: (jnp.exp(p) * (p - q)).sum(-1),
    forward_kl: lambda p, q: (jnp.exp(q) * (q - p)).sum(-1),
    jensen_shannon: lambda p, q: sum(
        (jnp.exp(x) * (x - jnp.log((jnp.exp(p) + jnp.exp(q)) / 2))).sum(-1) / 2 for x in (p, q)
    ),
}


def gradient_of(model, params, script, method, optimizer=None, rows=3, mesh=None, state=None):
    """The gradient that one update steps along, and its metrics; micro-batches of 3 of the 4 dialogues, then of 1."""
    optimizer = optimizer or SGD
    signals = signals_of(method, script)
    parts = micro_batches(script.tokens, script.length, signals, rows, (16, 20), group=script.group, rows_per_prefix=2)
    before = host(params) if state is None else host(state.params)
    learner = Learner(model, optimizer, PolicyLoss(), mesh=mesh, max_logits=4 * VOCABULARY)
    after, metrics = learner.update(init_state(params, optimizer) if state is None else state, parts)
    return jax.tree.map(lambda old, new: old - new, before, host(after.params)), metrics, after


def assert_same(actual, expected):
    for (path, leaf), wanted in zip(
        jax.tree_util.tree_leaves_with_path(actual), jax.tree.leaves(host(expected)), strict=True
    ):
        np.testing.assert_allclose(leaf, wanted, atol=2e-6, rtol=1e-4, err_msg=jax.tree_util.keystr(path))


@pytest.mark.parametrize(
    "method",
    [
        TurnReturns(),
        InformationGain(weight=0.5, decay=0.5),
        pytest.param(InformationGain(TurnReturns()), marks=pytest.mark.extra),
    ],
    ids=str,
)
def test_credit_by_turn(model, params, script, method):
    signals = signals_of(method, script)
    gradient, metrics, _ = gradient_of(model, params, script, method)
    assert_same(gradient, jax.jit(jax.grad(lambda p: plain_policy(model, p, script, signals)))(params))
    assert metrics["student_tokens"] == script.student[script.turn > 0].sum()


@pytest.mark.extra
def test_critique_prediction_beside_grpo_in_one_pass(model, params, script):
    method = CritiquePrediction(weight=0.3)
    grpo = signals_of(Grpo(), script)
    wanted = jax.jit(jax.grad(lambda p: plain_policy(model, p, script, grpo) + 0.3 * plain_critique(model, p, script)))
    gradient, metrics, _ = gradient_of(model, params, script, method)
    assert_same(gradient, wanted(params))
    assert metrics["likelihood_tokens"] == script.teacher.sum() == 10
    assert metrics["likelihood_loss"] == pytest.approx(0.3 * metrics["nll"])
    alone, metrics, _ = gradient_of(model, params, script, CritiquePrediction(None, 1.0))
    assert_same(alone, jax.jit(jax.grad(lambda p: plain_critique(model, p, script)))(params))
    assert metrics["nll"] == pytest.approx(float(plain_critique(model, params, script)), rel=1e-5)


@pytest.mark.extra
def test_self_distillation_from_feedback(model, params, script):
    method = SelfDistillation(weight=0.3)
    grpo, plain = signals_of(Grpo(), script), PLAIN_DIVERGENCES[reverse_kl]

    def wanted(p):
        distilled = plain_distillation(model, p, script, params, True, plain)
        return plain_policy(model, p, script, grpo) + 0.3 * distilled, distilled

    gradient, metrics, _ = gradient_of(model, params, script, method)
    plain_gradient, distilled = jax.jit(jax.grad(wanted, has_aux=True))(params)
    assert_same(gradient, plain_gradient)
    # The turns that were answered: the first two of three, the first of two, none of one, the first two of three.
    assert metrics["distill_tokens"] == 4 + 3 + 0 + 4
    assert metrics["divergence"] == pytest.approx(float(distilled), rel=1e-4) and distilled > 0
    assert metrics["distill_loss"] == pytest.approx(0.3 * float(distilled), rel=1e-4)


@pytest.mark.extra
def test_the_control_has_the_running_mean_alone(model, params, script):
    """Without a mean its gradient is 0; with one it is that of the distance to the mean, in the same context."""
    control = SelfDistillation(None, 1.0, reads_feedback=False)
    gradient, metrics, _ = gradient_of(model, params, script, control)
    assert metrics["divergence"] == pytest.approx(0, abs=1e-6) and metrics["gradient_norm"] < 1e-5
    optimizer = SGD_WITH_MEAN
    # A first step leaves the mean behind the parameters.
    first, _, state = gradient_of(model, params, script, Grpo(), optimizer)
    mean = jax.tree.map(lambda old, step: old - (1 - DECAY) * step, host(params), first)
    assert_same(host(running_mean(state.opt_state, state.params)), mean)
    moved = host(state.params)
    gradient, _, _ = gradient_of(model, None, script, control, optimizer, state=state)
    wanted = partial(plain_distillation, model, script=script, reference_params=mean, reads_feedback=False)
    assert_same(gradient, jax.jit(jax.grad(partial(wanted, divergence=PLAIN_DIVERGENCES[reverse_kl])))(moved))


@pytest.mark.extra
@pytest.mark.parametrize(
    ("method", "data", "fsdp"),
    [
        (SelfDistillation(None), 2, 1),
        # `pytest -m slow tests/learn/test_signal_gradients.py`
        pytest.param(SelfDistillation(CritiquePrediction(InformationGain()), 0.3), 2, 2, marks=pytest.mark.slow),
    ],
)
def test_several_devices_distil_what_one_does(model, params, script, method, data, fsdp):
    mesh = jax.sharding.Mesh(np.array(jax.devices()[: data * fsdp]).reshape(data, fsdp, 1), AXES)
    alone, metrics, _ = gradient_of(model, params, script, method)
    spread, spread_metrics, _ = gradient_of(model, shard_params(mesh, model, params), script, method, mesh=mesh)
    assert_same(spread, alone)
    assert spread_metrics == pytest.approx(metrics, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("method", [CritiquePrediction, SelfDistillation, InformationGain])
def test_a_weight_of_zero_is_grpo_bit_for_bit(model, params, script, method):
    plain, _, _ = gradient_of(model, params, script, Grpo())
    gradient, _, _ = gradient_of(model, params, script, method(weight=0.0))
    jax.tree.map(np.testing.assert_array_equal, gradient, plain)
    if method is not InformationGain:
        with pytest.raises(UserError, match="weight is 0 and beside is None"):
            method(None, 0.0)
        assert method(None).min_group_size == 1 and method(InformationGain()).needs_answer_logprob
    with pytest.raises(UserError, match="weight is nan"):
        method(weight=math.nan)


def test_critiques_beside_imitation_are_one_stream(script):
    weights = [signals_of(method, script).likelihood.weights for method in (OfflineSml(), CritiquePrediction(None))]
    both = signals_of(CritiquePrediction(OfflineSml()), script)
    np.testing.assert_allclose(both.likelihood.weights, weights[0] + weights[1])
    assert both.policy is None


def test_the_reference_reads_the_reply_and_takes_the_turn_again(script):
    reference = signals_of(SelfDistillation(None), script).distill.reference
    assert reference.dialogue.tolist() == [0, 0, 1, 3, 3]
    # The first turn of the first dialogue, behind the reply and the opening of the second turn.
    tokens, positions = reference.tokens[0, : reference.length[0]], reference.position[0, : reference.length[0]]
    assert tokens.tolist() == [*script.tokens[0, :8], *script.tokens[0, 2:4]]
    assert positions.tolist() == [-1] * 8 + [2, 3] and (reference.position[0, reference.length[0] :] == -1).all()
    chosen = dataclasses.replace(signals_of(SelfDistillation(None), script)).select_rows(np.array([3, 1]))
    assert chosen.distill.reference.dialogue.tolist() == [1, 0, 0] and chosen.distill.weights.shape[0] == 2
    # A question that the writer put in was not the student's to say.
    injected = script.replace(injected=script.turn == 1)
    assert signals_of(SelfDistillation(None), injected).distill.reference.dialogue.tolist() == [0, 3]


def test_a_reference_that_does_not_fit_is_a_plain_error(script):
    right = signals_of(SelfDistillation(None), script)

    def wrong(change):
        reference = dataclasses.replace(right.distill.reference, **change(right.distill.reference))
        return lambda _: dataclasses.replace(right, distill=dataclasses.replace(right.distill, reference=reference))

    for change in (
        lambda r: {"position": np.where(r.position == 2, -1, r.position)},  # a token is not seen again
        lambda r: {"tokens": (r.tokens + 1) % VOCABULARY},  # another token is
        lambda r: {"dialogue": r.dialogue * 0},  # it is seen for another dialogue
    ):
        with pytest.raises(UserError, match=r"distill.reference does not hold each token with a weight once"):
            signals_of(wrong(change), script)
    with pytest.raises(UserError, match=r"distill.weights has shape \[4, 2\]"):
        short = dataclasses.replace(right.distill, weights=right.distill.weights[:, :2])
        signals_of(lambda _: dataclasses.replace(right, distill=short), script)


def test_divergences_by_hand():
    """A fair coin against one that falls on heads three times in four."""
    p, q = jnp.log(jnp.array([0.5, 0.5])), jnp.log(jnp.array([0.75, 0.25]))
    assert reverse_kl(p, q) == pytest.approx(0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(2), rel=1e-5)
    assert forward_kl(p, q) == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5), rel=1e-5)
    middle = [0.625, 0.375]
    halves = [sum(x * math.log(x / m) for x, m in zip(of, middle, strict=True)) for of in ([0.5, 0.5], [0.75, 0.25])]
    assert jensen_shannon(p, q) == pytest.approx(sum(halves) / 2, rel=1e-5)
    assert reverse_kl(p, p) == forward_kl(p, p) == 0 and jensen_shannon(p, p) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("divergence", PLAIN_DIVERGENCES, ids=lambda divergence: divergence.__name__)
def test_chunks_change_no_divergence(divergence):
    rng = np.random.default_rng(0)
    hidden, reference = (jnp.asarray(rng.normal(size=(3, 10, 4)), jnp.float32) for _ in range(2))
    kernels = [jnp.asarray(rng.normal(size=(4, 5)), jnp.float32) for _ in range(2)]
    mask = jnp.asarray(rng.random((3, 10)) < 0.4)

    @partial(jax.jit, static_argnums=2)
    @partial(jax.grad, argnums=(0, 1), has_aux=True)
    def gradients_of(kernel, states, max_logits):
        apart = hidden_divergence(
            divergence, lambda p, x: x @ p, kernel, states, kernels[1], reference, mask, max_logits=max_logits
        )
        return apart.sum(), apart

    @jax.jit
    @partial(jax.grad, argnums=(0, 1))
    def plain(kernel, states):
        p, q = (jax.nn.log_softmax(x, axis=-1) for x in (states @ kernel, reference @ kernels[1]))
        return jnp.where(mask[:, 1:], PLAIN_DIVERGENCES[divergence](p, q)[:, :-1], 0).sum()

    wanted = plain(kernels[0], hidden)
    for max_logits in (15, None):
        gradients, apart = gradients_of(kernels[0], hidden, max_logits)
        assert not np.asarray(apart)[~np.asarray(mask)].any() and not np.asarray(apart)[:, 0].any()
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), gradients, wanted)


def test_the_running_mean_waits_with_a_step_that_is_skipped(model, params, script):
    optimizer = SGD_WITH_MEAN
    signals = signals_of(CritiquePrediction(None), script)
    broken = np.where(signals.likelihood.weights > 0, np.inf, 0).astype(np.float32)
    parts = micro_batches(
        script.tokens, script.length, dataclasses.replace(signals, likelihood=LikelihoodSignal(broken)), 4, (20,)
    )
    learner = Learner(model, optimizer)
    state, metrics = learner.update(init_state(params, optimizer), parts)
    assert metrics["skipped"] == 1
    assert_same(host(running_mean(state.opt_state, state.params)), params)
    with pytest.raises(UserError, match="with_ema: decay"):
        with_ema(optimizer, 1.5)
