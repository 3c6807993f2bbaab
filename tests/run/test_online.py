"""The online stage on a tiny model: what it logs, what it leaves alone, and that it compiles once."""

import dataclasses

import jax
import numpy as np
import pytest
from run_toys import OPTIMIZER, RULES, ToyTask, host, same, toy_experiment

from sml_jax.common.errors import UserError
from sml_jax.dialogue.language_teacher import ModelTeacher
from sml_jax.dialogue.teachers import Feedback
from sml_jax.learn import Grpo, PolicyLoss
from sml_jax.learn.signals import Signals
from sml_jax.learn.update import Learner
from sml_jax.run.base_models import RandomWeights
from sml_jax.run.stages import Online
from sml_jax.sharding import MeshShape

ONLINE = Online(OPTIMIZER, steps=4, problems_per_step=5, group_size=4, micro_batch_size=8, dialogues_logged=2)

KEYS = {
    "step", "stage", "success", "first_turn_success", "turns", "attempt_rate", "leak_rate", "redaction_rate",
    "truncated_rate", "return", "groups", "zero_variance", "zero_variance_fraction", "dialogues_trained",
    "loss", "student_tokens", "logprob_mismatch", "logprob_mismatch_max", "clip_fraction_low", "clip_fraction_high",
    "ratio_max", "gradient_norm", "update_norm", "rollout_seconds", "update_seconds", "dialogues_per_second",
    "compiled",
}  # fmt: skip


def test_a_line_and_dialogues_for_every_step_and_nothing_compiled_after_the_first(new_run):
    run = new_run()
    before = host(run.context.initial)
    after = run.run(ONLINE)
    lines = run.metrics()
    assert [(line["step"], line["stage"]) for line in lines] == [(i, "online") for i in range(1, 5)]
    trained = [line for line in lines if line["dialogues_trained"]]
    assert trained and not same(before, after) and same(before, run.context.initial)
    for line in trained:
        assert set(line) >= KEYS, KEYS - set(line)
        assert all(value is not None for value in line.values())
        assert line["groups"] == 5 and 0 < line["success"] <= 1 and 1 <= line["turns"] <= RULES.max_turns
        # The trainer gives the sampled tokens the log-probs that the sampler gave them.
        assert line["logprob_mismatch_max"] < 1e-4
        # On-policy, so the ratio is 1 and nothing is clipped.
        assert line["clip_fraction_low"] == line["clip_fraction_high"] == 0 and line["ratio_max"] == pytest.approx(
            1, abs=1e-4
        )
        assert 4 * (line["groups"] - line["zero_variance"]) == line["dialogues_trained"]
    assert len({line["compiled"] for line in lines}) == 1
    written = run.dialogues()
    assert [d["step"] for d in written] == [1, 1, 2, 2, 3, 3, 4, 4]
    assert all(d["policy"] == "student" for d in written)


@pytest.mark.slow  # two meshes of eight devices: `pytest -m slow tests/run/test_online.py`
def test_rollouts_on_a_mesh_of_their_own_say_and_train_the_same(new_run, tokenizer):
    """The update over `fsdp`; rollouts on the same mesh, then with rows over `data` and heads over `tensor`."""
    plain = toy_experiment(tokenizer)
    base = RandomWeights(dataclasses.replace(plain.base.config, kv_heads=2))
    end_params, dialogues = [], []
    for shape in (None, MeshShape(data=4, fsdp=1, tensor=2)):
        run = new_run(base=base, data=2, fsdp=4, rollout_mesh=shape, teacher=Feedback())
        run.context = dataclasses.replace(run.context, engines={})
        end_params.append(run.run(dataclasses.replace(ONLINE, steps=2, dialogues_logged=100)))
        assert {dict(engine.mesh.shape)["tensor"] for engine in run.context.engines.values()} == {2 if shape else 1}
        assert {leaf.sharding.mesh.shape["fsdp"] for leaf in jax.tree.leaves(run.state.params)} == {4}
        dialogues.append(run.dialogues())
        lines = run.metrics()
        assert sum(line["dialogues_trained"] for line in lines) and len({line["compiled"] for line in lines}) == 1
        assert all(line["logprob_mismatch_max"] < 1e-4 for line in lines if line["dialogues_trained"])
    assert dialogues[0] == dialogues[1] and len(dialogues[0]) == 40
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), *end_params)


@pytest.mark.extra
def test_every_device_of_a_mesh_has_rows_of_an_update(new_run, monkeypatch):
    """Two rows to a micro-batch, and eight row shards: eight rows, and not two beside six empty ones."""
    run, rows, update = new_run(data=2, fsdp=4), [], Learner.update

    def seen(learner, state, parts):
        rows.append([int((part.policy.weights > 0).any(axis=1).sum()) for part in parts])
        return update(learner, state, parts)

    monkeypatch.setattr(Learner, "update", seen)
    run.run(dataclasses.replace(ONLINE, steps=2, micro_batch_size=2))
    trained = [line["dialogues_trained"] for line in run.metrics() if line["dialogues_trained"]]
    assert rows and [sum(parts) for parts in rows] == trained
    assert all(len(parts) == -(-sum(parts) // 8) for parts in rows)


@pytest.mark.extra
def test_an_engine_with_one_length_of_caches_does_not_pad_updates_to_it(new_run, tokenizer, monkeypatch):
    """Attention in C++ reads only what a row holds, so its caches have one length; rows of the update have several."""
    config = dataclasses.replace(toy_experiment(tokenizer).base.config, head_dim=16, attention="native")
    rules = dataclasses.replace(RULES, student_tokens=40, teacher_tokens=20)
    run, lengths, update = new_run(base=RandomWeights(config), rules=rules), [], Learner.update
    run.context = dataclasses.replace(run.context, engines={})

    def seen(learner, state, parts):
        lengths.extend(part.tokens.shape[1] for part in parts)
        return update(learner, state, parts)

    monkeypatch.setattr(Learner, "update", seen)
    run.run(dataclasses.replace(ONLINE, steps=2))
    (engine,) = run.context.engines.values()
    assert engine.capacities == (engine.max_length,) and engine.max_length > 64
    assert 64 in lengths and set(lengths) <= {64, engine.max_length}


def test_steps_take_their_own_problems(new_run):
    run = new_run()
    run.run(dataclasses.replace(ONLINE, steps=3, problems_per_step=4, dialogues_logged=100))
    seen = [d["problem_id"] for d in run.dialogues()][:: ONLINE.group_size]
    assert sorted(seen) == sorted(p.id for p in ToyTask().problems("train"))


@pytest.mark.parametrize(
    ("task", "solved"),
    [(ToyTask(impossible="0123"), 0), pytest.param(ToyTask(always=True), 3, marks=pytest.mark.extra)],
)
def test_groups_without_variance_change_nothing_and_are_counted(new_run, task, solved):
    run = new_run(task=task)
    before = host(run.state.params)
    after = run.run(dataclasses.replace(ONLINE, steps=2, problems_per_step=3))
    assert same(before, after)
    for line in run.metrics():
        assert line["zero_variance"] == line["groups"] == 3 and line["zero_variance_fraction"] == 1
        assert line["zero_variance_solved"] == solved and line["zero_variance_unsolved"] == 3 - solved
        assert line["dialogues_trained"] == 0


@pytest.mark.extra
def test_a_kl_term_trains_on_groups_without_variance_too(new_run):
    run = new_run(task=ToyTask(impossible="0123"))
    run.run(dataclasses.replace(ONLINE, steps=2, problems_per_step=3, loss=PolicyLoss(kl_coef=0.1)))
    assert [line["dialogues_trained"] for line in run.metrics()] == [12, 12]


@pytest.mark.extra
def test_dialogues_without_advantage_left_out_of_the_computation_change_nothing(new_run, monkeypatch):
    """The same step with every row computed: the gradient, and so the parameters, are the same."""
    run, all_rows_run = (new_run(task=ToyTask(impossible="01")) for _ in range(2))
    stage = dataclasses.replace(ONLINE, steps=2)
    after = run.run(stage)
    assert any(0 < line["dialogues_trained"] < 20 for line in run.metrics())
    monkeypatch.setattr(Signals, "trained_rows", lambda signals, **_: np.ones(len(signals.policy.weights), bool))
    assert_close(after, all_rows_run.run(stage))
    assert all(line["dialogues_trained"] == 20 for line in all_rows_run.metrics())


def assert_close(one, other):
    import jax

    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=2e-5), one, other)


@pytest.mark.extra
def test_single_turn_form(new_run):
    run = new_run()
    run.run(dataclasses.replace(ONLINE, steps=1, max_turns=1, group_size=8, name="single_rl"))
    (line,) = run.metrics()
    assert line["stage"] == "single_rl" and line["turns"] == 1
    assert line["success"] == line["first_turn_success"] == pytest.approx(line["return"])
    assert all(len(d["turns"]) == 2 for d in run.dialogues())


def test_the_return_is_discounted_by_the_turn(new_run):
    run = new_run()
    run.run(dataclasses.replace(ONLINE, steps=1, method=Grpo(discount=0.5), dialogues_logged=100))
    (line,) = run.metrics()
    worth = [0.5 ** (d["solved_turn"] - 1) if d["solved_turn"] else 0.0 for d in run.dialogues()]
    assert line["return"] == pytest.approx(np.mean(worth))


@pytest.mark.extra
def test_a_frozen_teacher(new_run, monkeypatch):
    """The language-model teacher keeps the initial weights while the student moves."""
    seen = []

    class Spy(ModelTeacher):
        def __init__(self, role, setup):
            seen.append((host(role.params), host(setup.student_params)))
            super().__init__(role, setup)

    monkeypatch.setattr("sml_jax.dialogue.language_teacher.ModelTeacher", Spy)
    run = new_run(teacher=Feedback())
    run.run(dataclasses.replace(ONLINE, steps=3))
    assert all(same(frozen, run.context.initial) for frozen, _ in seen)
    assert not same(seen[-1][1], run.context.initial)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("group_size", 1), ("steps", -1), ("problems_per_step", 0), ("micro_batch_size", 0),
        ("max_turns", 0), ("dialogues_logged", -1),
    ],
)  # fmt: skip
def test_settings_that_cannot_work(setting, value):
    with pytest.raises(UserError, match=f"online: {setting} is {value!r}"):
        dataclasses.replace(ONLINE, **{setting: value})


@pytest.mark.parametrize(("setting", "value"), [("discount", 1.5), ("aggregation", "mean")])
def test_settings_of_grpo_that_cannot_work(setting, value):
    with pytest.raises(UserError, match=f"grpo: {setting} is {value!r}"):
        Grpo(**{setting: value})


def test_a_method_that_was_not_made():
    with pytest.raises(UserError, match=r"online: method is the class Grpo: write Grpo\(\)"):
        dataclasses.replace(ONLINE, method=Grpo)


def test_rounded_weights_without_a_limit_on_the_mismatch_are_told_of(new_run, tokenizer, capsys):
    plain = toy_experiment(tokenizer).base.config
    run = new_run(base=RandomWeights(dataclasses.replace(plain, rollout_weights="int8")))
    run.context = dataclasses.replace(run.context, engines={})
    for loss, told in ((PolicyLoss(), True), (PolicyLoss(mismatch_cap=2.0), False), (lambda *_: None, False)):
        dataclasses.replace(ONLINE, loss=loss).check(run.context)
        said = capsys.readouterr().out
        assert (said.count("--gin.PolicyLoss.mismatch_cap=2.0") == 1) == told and said.count("\n") == told
    new_run().run(dataclasses.replace(ONLINE, steps=0))
    assert "mismatch_cap" not in capsys.readouterr().out


@pytest.mark.slow  # other kernels than the other tests': `pytest -m slow tests/run/test_online.py`
def test_a_student_that_samples_with_rounded_weights_learns_with_a_measured_mismatch(new_run, tokenizer):
    plain = toy_experiment(tokenizer).base.config
    run = new_run(base=RandomWeights(dataclasses.replace(plain, rollout_weights="int8")))
    run.context = dataclasses.replace(run.context, engines={})
    before = host(run.context.initial)
    after = run.run(dataclasses.replace(ONLINE, loss=PolicyLoss(mismatch_cap=2.0)))
    lines = [line for line in run.metrics() if line["dialogues_trained"]]
    assert lines and not same(before, after) and len({line["compiled"] for line in lines}) == 1
    for line in lines:
        assert 1e-5 < line["logprob_mismatch"] < 0.05 and line["mismatch_capped"] == 0
