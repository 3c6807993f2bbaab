"""Whole runs on the toy task: what a run's folder holds, and runs that were stopped and started again."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from run_toys import OPTIMIZER, ToyTask, host, read_lines, same, toy_experiment, write_tokenizer

from sml_jax.common.errors import UserError
from sml_jax.dialogue.rules import QuestionInjection
from sml_jax.dialogue.teachers import Feedback, Retry
from sml_jax.evaluate.suites import Suite
from sml_jax.models.hf.checkpoint import load_model
from sml_jax.run.bookkeeper import Bookkeeper
from sml_jax.run.experiment import Experiment
from sml_jax.run.health import AlertThresholds
from sml_jax.run.stages import Offline, Online

ONLINE = Online(OPTIMIZER, steps=5, problems_per_step=4, group_size=4, micro_batch_size=8)
OFFLINE = Offline(OPTIMIZER, problems=6, samples=4, epochs=4, batch=8, micro_batch_size=8, dialogues_logged=3)
QPRIMING = dataclasses.replace(OFFLINE, epochs=1, injection=QuestionInjection(1.0), name="qpriming")
SUITE = Suite(ToyTask(), (Feedback(), Retry("b")), problems=5, max_turns=2)
ARMS = [arm.name for arm in SUITE.arms]
pytestmark = pytest.mark.usefixtures("two_devices")


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return write_tokenizer(tmp_path_factory.mktemp("tokenizer") / "toy.model")


class Stopped(Exception):
    """Stands in for a crash."""


def stop_after(monkeypatch, steps):
    """The run dies after that many of its steps were logged (and saved, where a checkpoint was due)."""
    done = Bookkeeper.step_done

    def step_done(self, *args, **kwargs):
        state = done(self, *args, **kwargs)
        if self.position.total == steps:
            self._checkpointer._manager.wait_until_finished()
            raise Stopped
        return state

    monkeypatch.setattr(Bookkeeper, "step_done", step_done)


def final(workdir):
    return host(load_model(workdir)[1])


def stable(line):
    """A metrics line without what a clock or a compiler says."""
    return {k: v for k, v in line.items() if "second" not in k and k != "compiled"}


@pytest.mark.parametrize(
    ("stages", "stops"),
    [
        pytest.param([ONLINE], (3,), marks=pytest.mark.extra),
        pytest.param([OFFLINE], (5,), marks=pytest.mark.slow),
        pytest.param([QPRIMING, dataclasses.replace(ONLINE, steps=3)], (1, 5), marks=pytest.mark.slow),
    ],
    ids=["online", "offline", "qpriming"],
)
def test_a_stopped_run_ends_as_one_that_was_never_stopped(tokenizer, tmp_path, monkeypatch, stages, stops):
    """Property 6, bit for bit; and no line of the metrics or dialogues is lost or doubled.

    All three kinds of stage: `pytest -m "slow or not slow" tests/test_experiment.py -k never_stopped`.
    """
    experiment = toy_experiment(tokenizer, stages)
    experiment.train(tmp_path / "whole", "")
    for steps in stops:
        with monkeypatch.context() as patch:
            stop_after(patch, steps)
            with pytest.raises(Stopped):
                experiment.train(tmp_path / "stopped", "")
    experiment.train(tmp_path / "stopped", "")
    unstopped, stopped = tmp_path / "whole", tmp_path / "stopped"
    assert same(final(unstopped), final(stopped))
    lines, stopped_lines = (read_lines(folder / "metrics.jsonl") for folder in (unstopped, stopped))
    assert [stable(line) for line in lines] == [stable(line) for line in stopped_lines]
    assert len({(line["step"], line["stage"]) for line in lines}) == len(lines)
    assert read_lines(unstopped / "dialogues.jsonl") == read_lines(stopped / "dialogues.jsonl")


@pytest.mark.slow
def test_a_run_stopped_between_a_rollout_and_its_first_step_rolls_out_again(tokenizer, tmp_path, monkeypatch):
    """In the second stage, after the first one's last checkpoint."""
    experiment = toy_experiment(
        tokenizer, [dataclasses.replace(ONLINE, steps=2), dataclasses.replace(OFFLINE, epochs=1)]
    )
    log_rollout = Bookkeeper.log_rollout

    def logged(self, *args):
        log_rollout(self, *args)
        self._checkpointer._manager.wait_until_finished()
        raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr(Bookkeeper, "log_rollout", logged)
        with pytest.raises(Stopped):
            experiment.train(tmp_path, "")
    experiment.train(tmp_path, "")
    rollouts = [line for line in read_lines(tmp_path / "metrics.jsonl") if line["stage"] == "offline_rollout"]
    assert len(rollouts) == 1
    of_rollout = [d for d in read_lines(tmp_path / "dialogues.jsonl") if d["step"] == rollouts[0]["step"]]
    assert len(of_rollout) == OFFLINE.dialogues_logged


def test_a_run_and_its_folder(tokenizer, tmp_path, capsys, monkeypatch):
    """Every file that is promised; a finished run started again neither trains nor doubles anything."""
    experiment = toy_experiment(tokenizer, [dataclasses.replace(ONLINE, steps=2)], suites=[SUITE])
    experiment.train(tmp_path, "# the configuration\n")
    assert (tmp_path / "config.gin").read_text() == "# the configuration\n"
    assert {"metrics.jsonl", "dialogues.jsonl", "eval.json", "checkpoints", "tensorboard"} <= {
        p.name for p in tmp_path.iterdir()
    }
    results = json.loads((tmp_path / "eval.json").read_text())
    for policy in ("base", "trained"):
        for arm in ARMS:
            entry = results["toy"][policy][arm]
            assert entry["n"] == 5 and len(entry["success_at_turn"]) == len(entry["ci95"]) == 2
            assert sorted(entry["success_at_turn"]) == entry["success_at_turn"]
            assert all(
                low <= at <= high for at, (low, high) in zip(entry["success_at_turn"], entry["ci95"], strict=True)
            )
    evaluated = [d for d in read_lines(tmp_path / "dialogues.jsonl") if "suite" in d]
    assert len(evaluated) == 2 * 2 * 5 and {(d["policy"], d["arm"]) for d in evaluated} == {
        (policy, arm) for policy in ("base", "trained") for arm in ARMS
    }
    # The same seed for every policy and arm: the base's first turns do not depend on who teaches.
    first = {arm: [d["turns"][1] for d in evaluated if (d["policy"], d["arm"]) == ("base", arm)] for arm in ARMS}
    assert first["feedback"] == first["retry"]
    shown = capsys.readouterr().out
    assert "toy" in shown and "feedback" in shown and str(tmp_path / "eval.json") in shown

    params, metrics, dialogues = final(tmp_path), read_lines(tmp_path / "metrics.jsonl"), sorted_lines(tmp_path)
    monkeypatch.setattr(Bookkeeper, "step_done", None)  # a step would fail
    experiment.train(tmp_path, "# the configuration\n")
    assert same(params, final(tmp_path)) and metrics == read_lines(tmp_path / "metrics.jsonl")
    assert dialogues == sorted_lines(tmp_path) and results == json.loads((tmp_path / "eval.json").read_text())

    experiment.evaluate(str(tmp_path), tmp_path / "again", "")
    experiment.evaluate(str(tmp_path), tmp_path / "again", "")
    again = read_lines(tmp_path / "again" / "dialogues.jsonl")
    assert json.loads((tmp_path / "again" / "eval.json").read_text()) == results
    assert [d["tokens"] for d in again] == [d["tokens"] for d in evaluated]


def sorted_lines(workdir):
    return sorted((workdir / "dialogues.jsonl").read_text().splitlines())


@pytest.mark.extra
def test_the_steps_that_a_checkpoint_keeps_and_a_shorter_recipe(tokenizer, tmp_path):
    experiment = toy_experiment(
        tokenizer, [dataclasses.replace(OFFLINE, epochs=1), dataclasses.replace(ONLINE, steps=1)]
    )
    experiment.train(tmp_path, "")
    with pytest.raises(UserError, match="stopped in stage 2, but this recipe has 1"):
        dataclasses.replace(experiment, stages=experiment.stages[:1]).train(tmp_path, "")


def test_another_shape_in_the_same_folder(tokenizer, tmp_path):
    experiment = toy_experiment(tokenizer, [dataclasses.replace(ONLINE, steps=1)])
    experiment.train(tmp_path, "")
    wider = dataclasses.replace(experiment.base.config, embed_dim=32)
    with pytest.raises(UserError, match=r"does not fit this configuration.*another --workdir"):
        dataclasses.replace(experiment, base=dataclasses.replace(experiment.base, config=wider)).train(tmp_path, "")


def test_a_run_whose_steps_are_not_finite_stops_with_its_last_good_state(tokenizer, tmp_path, monkeypatch, capsys):
    experiment = toy_experiment(tokenizer, [ONLINE], alerts=AlertThresholds(skipped_steps=2), checkpoint_every=100)
    make_batch, calls = Online._batch, []

    def poisoned(self, *args):
        parts, metrics = make_batch(self, *args)
        calls.append(1)
        if len(calls) > 2:
            signals = [part.policy.replace(advantage=part.policy.advantage * np.nan) for part in parts]
            parts = [part.replace(policy=signal) for part, signal in zip(parts, signals, strict=True)]
        return parts, metrics

    with monkeypatch.context() as patch:
        patch.setattr(Online, "_batch", poisoned)
        with pytest.raises(UserError, match=r"not finite, up to step 4; .*last good state"):
            experiment.train(tmp_path / "run", "")
    lines = read_lines(tmp_path / "run" / "metrics.jsonl")
    assert [line["skipped"] for line in lines] == [0, 0, 1, 1] and lines[-1]["gradient_norm"] is None
    assert "warning: step 3: the step was skipped" in capsys.readouterr().out
    params = host(load_model(tmp_path / "run" / "checkpoints" / "steps" / "4")[1])
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params))


@pytest.mark.parametrize(("setting", "value"), [("max_concurrent", 0), ("checkpoint_every", 0), ("samples_shown", -1)])
def test_settings_that_cannot_work(setting, value):
    with pytest.raises(UserError, match=f"experiment: {setting} is {value}"):
        Experiment(ToyTask(), **{setting: value})


def test_host_copies_compare_bits():
    assert same({"a": np.ones(2)}, {"a": np.ones(2)}) and not same({"a": np.ones(2)}, {"a": np.array([1, 1.0000001])})
