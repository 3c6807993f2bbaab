"""Rollouts that lag one update behind: who samples what, what runs beside what, and that a restart changes nothing."""

import dataclasses
import threading

import jax
import numpy as np
import pytest
from run_toys import OPTIMIZER, host, read_lines, same, toy_experiment

from sml_jax.common.errors import Stopped, UserError
from sml_jax.dialogue.teachers import Scripted
from sml_jax.learn.signals import signals_of
from sml_jax.learn.update import Learner
from sml_jax.models.hf.checkpoint import load_model
from sml_jax.run.bookkeeper import Bookkeeper
from sml_jax.run.stages import Online
from sml_jax.run.stages.ahead import Ahead

STALE = Online(
    OPTIMIZER, steps=4, staleness=1, problems_per_step=4, group_size=4, micro_batch_size=8, dialogues_logged=100
)


def one_after_the_other(run, stage):
    """The plain twin, without threads: a step samples with the parameters before the last update.

    Returns:
      The parameters at the end, and each step's utterances.
    """
    context = run.context
    engine = context.engine(context.task, context.rules, "train")
    train_problems = context.task.problems("train")
    learner = Learner(context.model, stage.optimizer, stage.loss, context.initial, context.mesh)
    context.bookkeeper.enter_stage(stage.name, stage.score, run.state.position)
    state = context.bookkeeper.begin(run.state, stage.optimizer)
    before, said = jax.tree.map(jax.numpy.copy, state.params), []
    for _ in range(stage.steps):
        played = stage._roll_out(
            context, engine, context.rules, train_problems, state.position, before, lambda: None
        ).played
        state = state.after_rollout(stage.problems_per_step, len(played.dialogues))
        said.append([[turn.text for turn in dialogue.turns] for dialogue in played.dialogues])
        before = jax.tree.map(jax.numpy.copy, state.params)
        parts, _ = stage._batch(played, signals_of(stage.method, played.transcript), 8, engine.capacities)
        if parts:
            state = state.with_update(learner.update(state.train_state, parts)[0])
    return host(state.params), said


def test_each_rollout_samples_with_the_parameters_before_the_last_update(new_run):
    stale, twin, present = new_run(), new_run(), new_run()
    params, (twin_params, twin_said) = stale.run(STALE), one_after_the_other(twin, STALE)
    assert same(params, twin_params)
    by_step = {step: [] for step in range(1, 5)}
    for dialogue in stale.dialogues():
        by_step[dialogue["step"]].append([turn["text"] for turn in dialogue["turns"]])
    assert list(by_step.values()) == twin_said
    lines = stale.metrics()
    assert [line["staleness"] for line in lines] == [0, 1, 1, 1]
    # The first two rollouts have the same student, so only then the ratio of trainer and sampler leaves 1.
    ratios = [line["ratio_max"] for line in lines if line["dialogues_trained"]]
    assert ratios[0] == pytest.approx(1, abs=1e-4) and max(ratios[1:]) > 1.001
    # Without the lag it is another run, and its lines do not speak of one.
    assert not same(params, present.run(dataclasses.replace(STALE, staleness=0)))
    assert all("staleness" not in line for line in present.metrics())


@dataclasses.dataclass(frozen=True)
class Telling(Scripted):
    """A scripted teacher that tells when it is asked, and in which thread."""

    asked: list = dataclasses.field(default_factory=list, compare=False)
    of_next_step: threading.Event = dataclasses.field(default_factory=threading.Event, compare=False)

    def make(self, setup):
        self.asked.append(threading.current_thread().name)
        if len(self.asked) > 1:
            self.of_next_step.set()
        return super().make(setup)


def test_the_next_rollout_is_played_beside_the_update(new_run, monkeypatch):
    teacher, update, waited = Telling(), Learner.update, []
    run = new_run(teacher=teacher)

    def update_later(learner, state, parts):
        # The second rollout begins while the first update is under way. Without overlap nobody would set the event.
        waited.append(teacher.of_next_step.wait(60))
        return update(learner, state, parts)

    monkeypatch.setattr(Learner, "update", update_later)
    run.run(dataclasses.replace(STALE, steps=2))
    assert waited and all(waited)
    first, *later = teacher.asked
    assert first == "MainThread" and len(later) == 1 and later[0].startswith("rollout")


class Crash(Exception):
    """What a run dies of in these tests."""


def crash_after(monkeypatch, steps: int) -> None:
    """The run dies after its step number `steps`, whose checkpoint is written."""
    step_done = Bookkeeper.step_done

    def done(self, *args, **settings):
        state = step_done(self, *args, **settings)
        if self.position.total == steps:
            self._checkpointer.finish()
            raise Crash
        return state

    monkeypatch.setattr(Bookkeeper, "step_done", done)


def ask_to_stop_at(monkeypatch, call: int) -> list:
    """The run is asked to stop at the look number `call` for a stop request; the list holds these looks."""
    looks: list[None] = []

    def asked(self) -> bool:
        looks.append(None)
        if len(looks) >= call:
            self._asked_to_stop = lambda: "SIGTERM"
        return bool(self._asked_to_stop())

    monkeypatch.setattr(Bookkeeper, "is_asked_to_stop", asked)
    return looks


@pytest.mark.extra
@pytest.mark.parametrize("way", ["killed", "asked to stop while a rollout is under way"])
def test_a_run_that_goes_on_ends_as_one_that_was_never_stopped(tokenizer, tmp_path, monkeypatch, way):
    """Bit for bit: the checkpoint holds what the rollout under way sampled with, and it is played again."""
    experiment = toy_experiment(tokenizer, [STALE], checkpoint_every=1)
    experiment.train(tmp_path / "whole", "")
    with monkeypatch.context() as patch:
        if way == "killed":
            crash_after(patch, 2)
        else:
            # A rollout that takes its time, so that the run looks for a request while it waits.
            looks = ask_to_stop_at(patch, 1)
            patch.setattr("sml_jax.run.stages.ahead._PATIENCE", 1e-4)
        with pytest.raises(Crash if way == "killed" else Stopped):
            experiment.train(tmp_path / "stopped", "")
        assert way == "killed" or looks
    done = read_lines(tmp_path / "stopped" / "metrics.jsonl")
    assert 0 < len(done) < 4
    experiment.train(tmp_path / "stopped", "")
    assert same(*(host(load_model(tmp_path / name)[1]) for name in ("whole", "stopped")))
    assert read_lines(tmp_path / "whole" / "dialogues.jsonl") == read_lines(tmp_path / "stopped" / "dialogues.jsonl")
    successes = [
        [line["success"] for line in read_lines(tmp_path / name / "metrics.jsonl")] for name in ("whole", "stopped")
    ]
    assert successes[0] == successes[1] and len(successes[0]) == 4


@pytest.mark.extra
def test_rollouts_on_devices_of_their_own_say_and_train_the_same(new_run):
    run = new_run(rollout_devices=4)
    run.context = dataclasses.replace(run.context, engines={})
    meshes = run.context.mesh, run.context.rollout_mesh
    assert [list(mesh.devices.flat) for mesh in meshes] == [jax.devices()[:4], jax.devices()[4:]]
    stage = dataclasses.replace(STALE, steps=2)
    params = run.run(stage)
    assert {leaf.sharding.mesh for leaf in jax.tree.leaves(run.state.params)} == {run.context.mesh}
    assert {engine.mesh for engine in run.context.engines.values()} == {run.context.rollout_mesh}
    other = new_run()
    expected = other.run(stage)
    assert run.dialogues() == other.dialogues()
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), params, expected)


def test_what_cannot_lag_or_has_no_devices_says_so(new_run, tokenizer, monkeypatch):
    with pytest.raises(UserError, match="staleness is 2; it must be from 0 to 1"):
        dataclasses.replace(STALE, staleness=2)
    with pytest.raises(UserError, match="rollout_devices is 8, and there are 8 devices: leave at least one"):
        toy_experiment(tokenizer, rollout_devices=8)._meshes()
    run = new_run()
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(UserError, match="staleness is 1, and the run has 2 processes"):
        STALE.check(run.context)
    with pytest.raises(UserError, match="rollout_devices is 1, and the run has 2 processes"):
        toy_experiment(tokenizer, rollout_devices=1)._meshes()


def test_work_in_a_thread_gives_its_result_or_its_error():
    with Ahead[int]() as ahead:
        assert ahead.take() is None
        ahead.wait(lambda: False)  # there is nothing to wait for
        ahead.start(lambda go_on: 5)
        ahead.wait(lambda: False)
        assert ahead.take() == 5 and ahead.take() is None
        for error in (UserError("a verifier failed"), TimeoutError("too late")):

            def fail(go_on, error=error):
                raise error

            ahead.start(fail)
            with pytest.raises(type(error)) as raised:
                ahead.wait(lambda: False)
            assert raised.value is error
            with pytest.raises(type(error)):
                ahead.take()


def test_work_in_a_thread_is_cancelled_by_a_request_and_at_the_end():
    ended = threading.Event()

    def endless(go_on):
        try:
            while True:
                go_on()
        finally:
            ended.set()

    with Ahead[int]() as ahead:
        ahead.start(endless)
        ahead.wait(lambda: True)
        assert ended.is_set() and ahead.take() is None
        ended.clear()
        ahead.start(endless)
    assert ended.is_set()
