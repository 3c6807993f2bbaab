"""Runs that go on where they were, or are refused with the reason; runs that are asked to stop."""

import dataclasses
import json
import os
import shutil
import signal

import pytest
from run_toys import OPTIMIZER, ToyTask, read_lines, toy_experiment, write_tokenizer
from stopped_runs import differences

from sml_jax.common.errors import Stopped, UserError
from sml_jax.evaluate.suites import Suite
from sml_jax.run.bookkeeper import Bookkeeper
from sml_jax.run.io.display import Progress
from sml_jax.run.stages import Offline, Online
from sml_jax.run.stages.chunks import read_chunk

ONLINE = Online(OPTIMIZER, steps=3, problems_per_step=4, group_size=4, micro_batch_size=8)
OFFLINE = Offline(OPTIMIZER, problems=4, samples=4, epochs=2, batch=8, micro_batch_size=8, problems_per_chunk=1)
CONFIG = """
experiment.Experiment.stages = [@offline.Offline(), @online.Online()]
experiment.Experiment.max_concurrent = 16
offline.Offline.epochs = 2
online.Online.steps = 3
online.Online.group_size = 4
"""


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return write_tokenizer(tmp_path_factory.mktemp("tokenizer") / "toy.model")


@pytest.fixture(scope="module")
def finished_run(tokenizer, tmp_path_factory):
    """A finished run, and the experiment that made it."""
    folder = tmp_path_factory.mktemp("whole")
    experiment = toy_experiment(tokenizer, [OFFLINE, ONLINE], checkpoint_every=1)
    experiment.train(folder, CONFIG)
    return experiment, folder


def test_what_a_folder_allows(finished_run, tmp_path):
    experiment, folder = finished_run
    with pytest.raises(UserError, match="holds a run already and --resume=never: give another --workdir"):
        experiment.train(folder, CONFIG, "never")
    with pytest.raises(UserError, match="holds no checkpoint and --resume=must: give the --workdir"):
        experiment.train(tmp_path / "new", CONFIG, "must")
    with pytest.raises(UserError, match="resume is 'maybe': give one of auto, must, never"):
        experiment.train(tmp_path / "new", CONFIG, "maybe")
    assert not list((tmp_path / "new").glob("config.gin"))


def test_another_configuration_is_refused_with_the_difference(finished_run, monkeypatch):
    experiment, folder = finished_run
    before = (folder / "metrics.jsonl").read_bytes()
    other = CONFIG.replace("group_size = 4", "group_size = 8")
    with pytest.raises(UserError, match=r"another configuration \(online.Online.group_size: 4 -> 8\): give another"):
        experiment.train(folder, other)
    os.rename(folder / "config.gin", folder / "lost.gin")  # the checkpoint knows it too
    with pytest.raises(UserError, match=r"online.Online.group_size: 4 -> 8"):
        experiment.train(folder, other)
    assert (folder / "metrics.jsonl").read_bytes() == before
    monkeypatch.setattr(Bookkeeper, "step_done", None)  # a step would fail
    experiment.train(folder, CONFIG.replace("= 16", "= 32"), "must")  # how it is carried out may change
    assert (folder / "metrics.jsonl").read_bytes() == before


@pytest.mark.extra
def test_a_finished_run_is_given_more_steps_and_another_evaluation(finished_run, tokenizer, tmp_path):
    """Three steps and then two more, checkpoints every second step: the folder of a run of five that nobody stopped."""
    stages = [dataclasses.replace(ONLINE, steps=steps) for steps in (3, 5)]
    suite = Suite(ToyTask(), problems=4, max_turns=2)
    texts = [CONFIG.replace("@offline.Offline(), ", "").replace("steps = 3", f"steps = {n}") for n in (3, 5)]
    short, whole = (toy_experiment(tokenizer, [stage], checkpoint_every=2) for stage in stages)
    evaluated = texts[1] + "experiment.Experiment.suites = [@suites.Suite()]\nsuites.Suite.problems = 4\n"

    short.train(tmp_path / "longer", texts[0])
    assert len(read_lines(tmp_path / "longer" / "metrics.jsonl")) == 3
    whole.train(tmp_path / "longer", texts[1])
    dataclasses.replace(whole, suites=[suite]).train(tmp_path / "longer", evaluated)

    dataclasses.replace(whole, suites=[suite]).train(tmp_path / "at_once", evaluated)
    differing = differences(tmp_path / "at_once", tmp_path / "longer")
    # The last checkpoint was written before the suites were asked for, and says so.
    assert differing == ["the last checkpoint's record"]
    for name in ("eval.json", "config.gin"):
        assert (tmp_path / "longer" / name).read_bytes() == (tmp_path / "at_once" / name).read_bytes()


@pytest.mark.extra
def test_scores_of_a_run_that_goes_on_are_those_of_a_run_that_was_not_stopped(tokenizer, tmp_path):
    """Its last checkpoint's record too, whether the one before was a regular one or not."""
    text = CONFIG.replace("@offline.Offline(), ", "")
    for steps in (2, 3, 4):
        stage = dataclasses.replace(ONLINE, steps=steps)
        experiment = toy_experiment(tokenizer, [stage], checkpoint_every=2)
        experiment.train(tmp_path / "by_parts", text.replace("steps = 3", f"steps = {steps}"))
    experiment.train(tmp_path / "at_once", text.replace("steps = 3", "steps = 4"))
    assert differences(tmp_path / "at_once", tmp_path / "by_parts") == []


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"steps = 3": "steps = 2"}, r"begun with online.Online.steps = 3, and 2 is less: give at least 3"),
        (
            {"epochs = 2": "epochs = 3"},
            r"left stage 1 behind, so offline.Offline.epochs can no longer change from 2 to 3",
        ),
        (
            {"steps = 3": "steps = 4", "group_size = 4": "group_size = 8"},
            r"\(online.Online.group_size: 4 -> 8\): give another .* a schedule that ends at a certain step, such as",
        ),
    ],
)
def test_what_would_have_changed_the_past_is_refused_with_the_cure(finished_run, changes, error):
    experiment, folder = finished_run
    before = {name: (folder / name).read_bytes() for name in ("metrics.jsonl", "config.gin")}
    text = CONFIG
    for old, new in changes.items():
        text = text.replace(old, new)
    with pytest.raises(UserError, match=error):
        experiment.train(folder, text)
    assert before == {name: (folder / name).read_bytes() for name in before}


def test_a_suite_that_takes_problems_out_of_training_is_refused_and_nothing_is_lost(finished_run, tmp_path):
    experiment, folder = finished_run
    shutil.copytree(folder, tmp_path / "run")
    (tmp_path / "run" / "eval.json").write_text("{}\n")
    before = (tmp_path / "run" / "config.gin").read_text()

    @dataclasses.dataclass(frozen=True)
    class Seen(ToyTask):
        def problems(self, split):
            return super().problems("train")[:2]

    suite = Suite(Seen(name="seen"), problems=2, max_turns=2)
    with pytest.raises(UserError, match="a suite that holds some of these needs sml-jax evaluate"):
        dataclasses.replace(experiment, suites=[suite]).train(tmp_path / "run", CONFIG + "suites.Suite.problems = 4\n")
    assert (tmp_path / "run" / "eval.json").read_text() == "{}\n"
    assert (tmp_path / "run" / "config.gin").read_text() == before


def test_other_problems_are_refused(finished_run):
    experiment, folder = finished_run

    @dataclasses.dataclass(frozen=True)
    class Other(ToyTask):
        def problems(self, split):
            return super().problems(split)[:-1]

    with pytest.raises(UserError, match=r"not those that the run in .* began with \(12 problems, .*; now 11 problems"):
        dataclasses.replace(experiment, task=Other()).train(folder, CONFIG)


def test_what_the_logs_have_lost_is_said_and_what_is_sound_stays(finished_run, tmp_path, capsys):
    experiment, folder = finished_run
    run = tmp_path / "run"
    shutil.copytree(folder, run)
    lines = (run / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    zeros = b"\0" * (len(lines[1]) - 1) + b"\n"
    (run / "metrics.jsonl").write_bytes(b"".join([lines[0], zeros, *lines[2:]]))
    (run / "dialogues.jsonl").unlink()
    experiment.train(run, CONFIG)
    warnings = [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning: ")]
    assert warnings == [
        f"warning: lines of {run}/metrics.jsonl that are no JSON objects now lie in {run}/metrics.jsonl.damaged: 1, of "
        f"{len(zeros)} bytes together; the first was line 2",
        f"warning: {run}/dialogues.jsonl is missing; it had {(folder / 'dialogues.jsonl').stat().st_size} bytes at the "
        "checkpoint",
    ]
    assert (run / "metrics.jsonl").read_bytes() == b"".join([lines[0], *lines[2:]])
    assert (run / "metrics.jsonl.damaged").read_bytes() == zeros


def test_sigterm_is_obeyed_in_the_evaluation(finished_run, tmp_path, monkeypatch):
    experiment, folder = finished_run
    experiment = dataclasses.replace(experiment, suites=[Suite(ToyTask(), problems=5, max_turns=2)])
    shutil.copytree(folder, tmp_path / "run")
    last = json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])["step"]
    step = Progress.step

    def asked(self, done, values=None):
        signal.raise_signal(signal.SIGTERM)
        step(self, done, values)

    with monkeypatch.context() as patch:
        patch.setattr(Progress, "step", asked)
        with pytest.raises(Stopped, match=f"stopped by SIGTERM after step {last}"):
            experiment.train(tmp_path / "run", CONFIG)
    assert not (tmp_path / "run" / "eval.json").exists()
    experiment.train(tmp_path / "run", CONFIG)
    assert (tmp_path / "run" / "eval.json").exists()


class Struck(Exception):
    """Stands in for a crash."""


@pytest.mark.parametrize("turn", [pytest.param(3, marks=pytest.mark.slow), pytest.param(14, marks=pytest.mark.extra)])
def test_sigterm_is_obeyed_between_turns_with_the_state_saved(finished_run, tmp_path, monkeypatch, turn):
    """In the offline stage's rollout, between its steps, and in online rollouts."""
    experiment, folder = finished_run
    stop_if_asked, turns = Bookkeeper.stop_if_asked, []

    def asked(self, state=None):
        turns.append(self.position)
        if len(turns) == turn + 1:
            signal.raise_signal(signal.SIGTERM)
        stop_if_asked(self, state)

    with monkeypatch.context() as patch:
        patch.setattr(Bookkeeper, "stop_if_asked", asked)
        with pytest.raises(Stopped, match=rf"stopped by SIGTERM after step {turns[-1].total if turns else ''}"):
            experiment.train(tmp_path / "run", CONFIG)
    assert len(turns) == turn + 1 and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    experiment.train(tmp_path / "run", CONFIG)
    assert differences(folder, tmp_path / "run") == []


@pytest.mark.extra
def test_chunks_of_a_rollout_are_played_once_and_a_damaged_one_again(finished_run, tmp_path, monkeypatch):
    experiment, folder = finished_run
    rolled, crash = [], [2]
    roll_out = Offline._roll_out

    def counted(self, context, state, rules, engine, start, progress):
        rolled.append(start)
        if len(rolled) == crash[0] + 1:
            raise Struck
        return roll_out(self, context, state, rules, engine, start, progress)

    monkeypatch.setattr(Offline, "_roll_out", counted)
    run = tmp_path / "run"
    with pytest.raises(Struck):
        experiment.train(run, CONFIG)
    chunks = sorted((run / "stage0_offline").iterdir())
    assert [path.name for path in chunks] == ["00000000.npz", "00000001.npz"]
    data = bytearray(chunks[0].read_bytes())
    data[len(data) // 2] ^= 255
    chunks[0].write_bytes(data)
    assert read_chunk(chunks[0]) is None and read_chunk(chunks[1]) is not None
    crash[0] = 100
    experiment.train(run, CONFIG)
    assert rolled == [0, 1, 2, 0, 2, 3]
    assert differences(folder, run) == []
    assert [line["stage"] for line in read_lines(run / "metrics.jsonl")].count("offline_rollout") == 4
