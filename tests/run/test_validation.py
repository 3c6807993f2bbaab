"""Evaluation while training: what it logs, which model is best, and that neither it nor a stop changes anything."""

import dataclasses
import json
import os
import shutil
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from run_toys import OPTIMIZER, ToyTask, host, read_lines, same, toy_experiment
from stopped_runs import differences

from sml_jax.cli.chat import _run_config
from sml_jax.common.errors import Stopped, UserError
from sml_jax.dialogue.drops import AllDroppedError
from sml_jax.dialogue.teachers import Feedback, Retry, Scripted
from sml_jax.evaluate.statistics import success_summary
from sml_jax.evaluate.suites import Suite, validation_suite
from sml_jax.gin_config.load import load_experiment
from sml_jax.models.config import DecoderConfig, LoraConfig
from sml_jax.models.hf.checkpoint import load_model
from sml_jax.run.best_model import BestModel
from sml_jax.run.bookkeeper import Bookkeeper
from sml_jax.run.checkpoint_record import EvaluationState
from sml_jax.run.checkpointer import Checkpointer
from sml_jax.run.io import RunFolder
from sml_jax.run.io.trackers import Wandb
from sml_jax.run.score import StepScore
from sml_jax.run.stages import Online
from sml_jax.run.state import RunPosition, RunState
from sml_jax.run.teachers.person import Person
from sml_jax.run.validation import SuitePlayer, Validation, arm_metrics, score_of

ONLINE = Online(OPTIMIZER, steps=5, problems_per_step=4, group_size=4, micro_batch_size=8)
SUITE = Suite(ToyTask(), (Scripted(), Retry("b")), problems=6, max_turns=3)


def entry(solved_turns, max_turns=3, dropped=0):
    return {**success_summary(np.array(solved_turns, int), max_turns), "dropped": dropped, "rates": {}}


def test_what_a_line_says_of_an_arm():
    half = entry([1, 0, 3, 0])
    found = arm_metrics(half, 3)
    assert list(found) == [
        *("success_at_1", "success_at_1_low", "success_at_1_high"),
        *("success_at_3", "success_at_3_low", "success_at_3_high"),
        *("n", "dropped"),
    ]
    assert (found["success_at_1"], found["success_at_3"], found["n"], found["dropped"]) == (0.25, 0.5, 4, 0)
    # Wilson's interval of 2 of 4, by hand: (2 + z^2/2 +- z sqrt(2 * 2 / 4 + z^2/4)) / (4 + z^2), z = 1.96.
    assert found["success_at_3_low"] == pytest.approx(0.1500, abs=1e-4)
    assert found["success_at_3_high"] == pytest.approx(0.8500, abs=1e-4)
    assert list(arm_metrics(entry([1], max_turns=1), 1))[:3] == list(found)[:3]
    nothing = arm_metrics({"n": 0, "dropped": 4}, 3)
    assert list(nothing) == list(found) and np.isnan([nothing[name] for name in list(nothing)[:6]]).all()
    assert (nothing["n"], nothing["dropped"]) == (0, 4)


def test_a_score_counts_dropped_dialogues_as_unsolved():
    assert score_of(entry([1, 0, 3, 0])) == 0.5
    assert score_of(entry([1, 2], dropped=6)) == 0.25
    assert score_of({"n": 0, "dropped": 8}) is None


@dataclasses.dataclass(frozen=True)
class ManyProblems(ToyTask):
    count: int = 1000

    def problems(self, split):
        return [dataclasses.replace(super(ManyProblems, self).problems(split)[0], id=str(i)) for i in range(self.count)]


@pytest.mark.parametrize(
    ("available", "used", "first", "problems"),
    [(1000, 128, 128, 64), (192, 128, 128, 64), (150, 128, 86, 64), (64, 64, 0, 64), (5, 256, 0, 5)],
)
def test_the_suite_takes_other_problems_where_there_are_enough(available, used, first, problems):
    suite = Suite(ManyProblems(count=available), (Person(), Feedback(), Retry()), problems=used, seed=7)
    small = validation_suite(suite, max_turns=4)
    assert (small.first_problem, small.problems, small.max_turns, small.seed) == (first, problems, 4, 7)
    assert small.arms == (Feedback(),)  # nobody is asked at moments of the run's own
    assert [problem.id for problem in small.chosen_problems()] == [str(i) for i in range(first, first + problems)]


def test_no_suite_where_people_alone_play_or_nothing_is_held_out():
    assert validation_suite(Suite(ToyTask(), (Person(),)), 4) is None
    assert validation_suite(Suite(ManyProblems(count=0)), 4) is None


class Kept(BestModel):
    """A best model that only counts."""

    path = Path("best")

    def __init__(self, present_step=None):
        self.present_step, self.written = present_step, []

    def settle(self):
        return self.present_step

    def write(self, params, evaluation):
        self.written.append((evaluation["step"], evaluation["score"]))


class Results(SuitePlayer):
    """A suite that comes out as given: for each model an arm's entry, or an exception to be raised."""

    def __init__(self, *results, **settings):
        object.__setattr__(self, "suite", dataclasses.replace(SUITE, arms=(Scripted(),), **settings))
        object.__setattr__(self, "results", results)

    def warm_up(self, params):
        pass

    def play(self, arm, params, between):
        result = self.results[params["model"]]
        if isinstance(result, Exception):
            raise result
        return result


def test_the_best_model_by_hand(tmp_path, capsys):
    """A tie keeps the earlier one; dropped dialogues do not help, and a suite that was dropped whole has no score."""
    results = [
        AllDroppedError("every one of 6 dialogues was dropped"),
        entry([0, 0, 0, 0, 0, 0]),  # 0 is better than nothing
        entry([0, 0, 1, 3, 0, 0]),
        entry([3, 3, 0, 0, 0, 0]),  # a tie
        entry([3], dropped=5),
        AllDroppedError("every one of 6 dialogues was dropped"),
        entry([1, 1, 1, 0, 0, 0]),
    ]
    best = Kept()
    watched = Validation(Results(*results), 1, RunFolder(tmp_path, ()), best)
    for step in range(len(results)):
        watched.run({"model": step}, step, lambda: None)
    assert best.written == [(1, 0.0), (2, pytest.approx(1 / 3)), (6, 0.5)]
    assert watched.state == EvaluationState(6, 6, 0.5, Results().fingerprint)
    lines = read_lines(tmp_path / "metrics.jsonl")
    assert [(line["step"], line["stage"]) for line in lines] == [(step, "evaluation") for step in range(7)]
    assert lines[5]["scripted_success_at_3"] is None and lines[5]["scripted_dropped"] == 6
    assert lines[4]["scripted_success_at_3"] == 1 and lines[4]["scripted_dropped"] == 5
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "warning: evaluation, scripted: every one of 6 dialogues was dropped"
    assert out[1] == "evaluation after step 0: toy, scripted: every dialogue was dropped"
    shown = "evaluation after step 6: toy, scripted: turn 1 50 % [18-82], turn 3 50 % [18-82] of 6"
    assert out[out.index(shown) + 1] == "the best model so far, now in best"
    assert sum("best model so far" in line for line in out) == 3


def test_when_it_is_due(tmp_path):
    watched = Validation(Results(), 4, RunFolder(tmp_path, ()), Kept())
    assert [step for step in range(9) if watched.is_due(step)] == [0, 4, 8]
    watched.resume(EvaluationState(last_step=4))
    assert [step for step in range(9) if watched.is_due(step)] == [0, 8]
    assert watched.is_due(5, stage_end=True) and not watched.is_due(4, stage_end=True)


@pytest.mark.parametrize(
    ("present_step", "found"), [(None, "missing"), (8, "the model after step 8, which comes again")]
)
def test_a_best_model_that_is_gone_is_said_and_chosen_anew(tmp_path, present_step, found):
    """Somebody removed it; or a better one of steps that the checkpoint does not count has taken its place."""
    best = Kept(present_step)
    watched = Validation(Results(entry([0, 0, 1])), 2, RunFolder(tmp_path, ()), best)
    assert watched.resume(EvaluationState()) == []
    assert watched.resume(EvaluationState(4, 2, 0.9)) == [
        f"best is {found}: the best model is chosen anew from here on"
    ]
    watched.run({"model": 0}, 6, lambda: None)
    assert [step for step, _ in best.written] == [6] and watched.state.last_step == 6


def test_the_best_model_of_the_checkpoint_stays(tmp_path, capsys):
    best = Kept(present_step=2)
    watched = Validation(Results(entry([0, 0, 1])), 2, RunFolder(tmp_path, ()), best)
    before = EvaluationState(4, 2, 0.9, Results().fingerprint)
    assert watched.resume(before) == []
    watched.run({"model": 0}, 6, lambda: None)
    assert best.written == [] and watched.state == dataclasses.replace(before, last_step=6)
    assert "another one" not in capsys.readouterr().out


@pytest.mark.parametrize("change", [{"problems": 5}, {"first_problem": 3}, {"max_turns": 2}])
def test_scores_of_different_suites_are_not_compared(tmp_path, capsys, change):
    """As when more final problems move those that are played while training."""
    best, other = Kept(present_step=2), Results(entry([0, 0, 1], change.get("max_turns", 3)), **change)
    watched = Validation(other, 2, RunFolder(tmp_path, ()), best)
    before = Results().fingerprint
    assert other.fingerprint != before and Results(problems=6).fingerprint == before
    watched.resume(EvaluationState(4, 2, 0.9, before))
    for step in (6, 8):
        watched.run({"model": 0}, step, lambda: None)
    assert [step for step, _ in best.written] == [6]
    said = [line for line in capsys.readouterr().out.splitlines() if "is now another one" in line]
    assert len(said) == 1 and before in said[0] and other.fingerprint in said[0]


class Checkpoints(Checkpointer):
    """Stands in for a checkpointer: what was saved."""

    def __init__(self):
        self.saved = []

    def save(self, record, state, replace=False, rollout_params=None):
        self.saved.append((record.position.total, record.stage_end, record.evaluation.last_step, replace))

    def finish(self):
        pass


def bookkept(folder, checkpoints, stop_at=None):
    """Of a run that evaluates every second step and, in the evaluation after step `stop_at`, is stopped."""

    class Watched(Validation):
        def run(self, params, step, between):
            stops.append("SIGTERM" if step == stop_at else "")
            between()
            super().run({"model": 0}, step, between)

    stops = [""]
    keeper = Bookkeeper(RunFolder(folder, ()), checkpoints, checkpoint_every=3, asked_to_stop=lambda: stops[-1])
    keeper.validation = Watched(Results(entry([1])), 2, keeper.folder, Kept())
    keeper.enter_stage("toy", StepScore("x"), RunPosition())
    return keeper


def test_a_stage_s_last_checkpoint_counts_the_evaluation_at_its_end(tmp_path):
    """Step, whether it was the stage's last, and the last evaluation that each checkpoint counts."""
    checkpoints = Checkpoints()
    keeper, state = bookkept(tmp_path, checkpoints), RunState.of_params({})
    for step in range(5):
        state = keeper.step_done(state, {"x": 0.0}, last=step == 4)
    keeper.stage_done(state)
    assert checkpoints.saved == [(3, False, 2, False), (5, True, 5, False)]


def test_a_run_that_is_stopped_in_that_evaluation_makes_up_for_it(tmp_path):
    checkpoints = Checkpoints()
    keeper, state = bookkept(tmp_path / "stopped", checkpoints, stop_at=1), RunState.of_params({})
    with pytest.raises(Stopped):
        keeper.step_done(state, {"x": 0.0}, last=True)
    assert checkpoints.saved == [(1, True, None, False)]
    # The stage finds nothing left to do, and the run evaluates once.
    keeper = bookkept(tmp_path / "goes_on", checkpoints)
    state = dataclasses.replace(state, position=RunPosition(total=1, step=1))
    keeper.enter_stage("toy", StepScore("x"), state.position)
    keeper.stage_done(state)
    keeper.stage_done(state)
    assert checkpoints.saved[1:] == [(1, True, 1, True)]


CONFIG = DecoderConfig(vocab_size=8, embed_dim=8, layers=1, heads=1, kv_heads=1, head_dim=8, mlp_dim=8, max_length=8)


@pytest.mark.parametrize(
    ("there", "left"),
    [
        ([], None),
        (["best"], "best"),
        (["best.new"], None),  # killed while the first one was written
        (["best", "best.new"], "best"),  # ... or a later one
        (["best.old", "best.new"], "best.new"),  # between the two renames
        (["best.old"], "best.old"),
        (["best", "best.old"], "best"),  # before the old one was removed
    ],
)
def test_a_run_that_was_killed_leaves_a_whole_model(tmp_path, there, left):
    folder = RunFolder(tmp_path, ())
    for name in there:
        (folder.checkpoints_path / name).mkdir(parents=True)
        (folder.checkpoints_path / name / "was").write_text(name)
        (folder.checkpoints_path / name / "evaluation.json").write_text(json.dumps({"step": len(name)}))
    assert BestModel(folder, CONFIG, lambda path: None).settle() == (len(left) if left else None)
    kept = {path.name: (path / "was").read_text() for path in folder.checkpoints_path.glob("*")}
    assert kept == ({} if left is None else {"best": left})


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"step": "2"}', "\xff"])
def test_a_best_model_that_does_not_say_its_step_counts_as_none(tmp_path, text):
    folder = RunFolder(tmp_path, ())
    best = BestModel(folder, CONFIG, lambda path: None)
    best.path.mkdir(parents=True)
    (best.path / "evaluation.json").write_text(text)
    assert best.settle() is None


def test_a_model_that_cannot_be_written_leaves_the_one_before(tmp_path):
    folder = RunFolder(tmp_path, ())
    wrong = {"params": {"x": np.zeros(3, np.float32)}}

    def refuse(path):
        raise OSError(28, "No space left on device")

    BestModel(folder, CONFIG, lambda path: None).write(wrong, {"step": 1})
    with pytest.raises(UserError, match=r"cannot write .*best \(No space left on device\): make room"):
        BestModel(folder, CONFIG, refuse).write(wrong, {"step": 2})
    assert json.loads((tmp_path / "checkpoints" / "best" / "evaluation.json").read_text()) == {"step": 1}
    BestModel(folder, CONFIG, lambda path: None).write(wrong, {"step": 3})
    assert json.loads((tmp_path / "checkpoints" / "best" / "evaluation.json").read_text()) == {"step": 3}
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["best"]


# As many turns as in training, so that it needs no executables of its own.
PLAYED = dataclasses.replace(SUITE, max_turns=2)
OTHER = dataclasses.replace(PLAYED, problems=4, arms=(Scripted(),))


def experiment(tokenizer, **settings):
    plain = {"evaluate_every": 2, "checkpoint_every": 3, "validation": PLAYED}
    return toy_experiment(tokenizer, [ONLINE], **{**plain, **settings})


@pytest.fixture(scope="module")
def whole_run(tokenizer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "run"
    experiment(tokenizer).train(folder, "# toy\n")
    return folder


def stable(lines):
    return [{k: v for k, v in line.items() if "second" not in k and k != "compiled"} for line in lines]


def test_a_run_is_the_same_with_and_without(whole_run, tokenizer, tmp_path):
    lines = read_lines(whole_run / "metrics.jsonl")
    assert [line["step"] for line in lines if line["stage"] == "evaluation"] == [0, 2, 4, 5]
    experiment(tokenizer, evaluate_every=None).train(tmp_path, "# toy\n")
    assert same(*(host(load_model(run)[1]) for run in (whole_run, tmp_path)))
    training = [line for line in lines if line["stage"] != "evaluation"]
    assert stable(training) == stable(read_lines(tmp_path / "metrics.jsonl"))
    assert (whole_run / "dialogues.jsonl").read_bytes() == (tmp_path / "dialogues.jsonl").read_bytes()
    assert not (tmp_path / "checkpoints" / "best").exists()


def test_the_best_is_what_the_log_says(whole_run, tmp_path):
    lines = [line for line in read_lines(whole_run / "metrics.jsonl") if line["stage"] == "evaluation"]
    best = json.loads((whole_run / "checkpoints" / "best" / "evaluation.json").read_text())
    scores = [line["scripted_success_at_2"] for line in lines]
    assert best["score"] == max(scores) and best["step"] == lines[scores.index(max(scores))]["step"]
    assert best["suite"] == "toy" and best["arms"]["scripted"]["n"] == 6
    assert set(best["arms"]) == {"scripted", "retry"}
    # Rotation leaves it where it is, and `sml-jax chat` finds the run's configuration beside it.
    assert sorted(path.name for path in (whole_run / "checkpoints" / "steps").iterdir()) == ["3", "5"]
    for checkpoint in (".", "checkpoints/best", "checkpoints/final", "checkpoints/steps/5"):
        assert _run_config(whole_run / checkpoint).read_text() == "# toy\n"
    assert _run_config(tmp_path / "elsewhere") is None


@pytest.mark.slow
def test_the_best_is_a_model_like_any_other(whole_run, tokenizer, tmp_path):
    """Measured again by itself it gives the same. `pytest -m slow tests/run/test_validation.py`."""
    best = whole_run / "checkpoints" / "best"
    again = experiment(tokenizer, suites=[dataclasses.replace(PLAYED, arms=(Scripted(),))])
    again.evaluate(str(best), tmp_path, "# toy\n")
    measured = json.loads((best / "evaluation.json").read_text())["arms"]["scripted"]
    assert json.loads((tmp_path / "eval.json").read_text())["toy"]["trained"]["scripted"] == measured


class Struck(Exception):
    """Stands in for a crash."""


def strike(patch, at, act):
    """Does `act` in the evaluation number `at`, from 1, while its second arm is played."""
    play, arms_played = SuitePlayer.play, []

    def struck_play(self, arm, params, between):
        def struck():
            if len(arms_played) == at * len(self.suite.arms):
                act()
            between()

        arms_played.append(arm)
        return play(self, arm, params, struck)

    patch.setattr(SuitePlayer, "play", struck_play)


def crash_after(patch, step):
    """The run dies after a step was logged, saved where that was due, and evaluated."""
    step_done = Bookkeeper.step_done

    def done(self, *args, **kwargs):
        state = step_done(self, *args, **kwargs)
        if self.position.total == step:
            self._checkpointer._manager.wait_until_finished()
            raise Struck
        return state

    patch.setattr(Bookkeeper, "step_done", done)


def crash():
    raise Struck


def ask_to_stop():
    os.kill(os.getpid(), signal.SIGTERM)


FEW_STOPS = [
    (strike, 2, ask_to_stop, Stopped),  # in the evaluation after step 2: the step is saved, its evaluation is not
    (crash_after, 4, None, Struck),  # after an evaluation that no checkpoint counts
    (strike, 2, ask_to_stop, Stopped),  # in the last evaluation: the step is saved as the stage's last
]
MORE_STOPS = [
    (strike, 1, crash, Struck),  # in the evaluation before the first step
    (strike, 1, ask_to_stop, Stopped),
    (crash_after, 2, None, Struck),  # after an evaluation, before the first checkpoint
    *FEW_STOPS[:2],
    (strike, 1, ask_to_stop, Stopped),  # in the evaluation after step 4
    (strike, 2, crash, Struck),  # in the last evaluation, before the last checkpoint
    *FEW_STOPS[2:],
    (strike, 1, crash, Struck),  # when that is made up for
    (strike, 1, ask_to_stop, Stopped),
]


@pytest.mark.slow
@pytest.mark.parametrize("stops", [FEW_STOPS, MORE_STOPS], ids=["few", "more"])
def test_a_stopped_run_ends_as_one_that_was_never_stopped(whole_run, tokenizer, tmp_path, monkeypatch, stops):
    """Killed and asked to stop, in and after evaluations, with and without a checkpoint of that very step.

    `pytest -m slow tests/run/test_validation.py`.
    """
    run = tmp_path / "run"
    for stop, at, act, ending in stops:
        with monkeypatch.context() as patch:
            stop(patch, at, act) if act else stop(patch, at)
            with pytest.raises(ending):
                experiment(tokenizer).train(run, "# toy\n")
    experiment(tokenizer).train(run, "# toy\n")
    assert differences(whole_run, run) == []


@pytest.mark.extra
def test_a_finished_run_is_given_another_evaluation(whole_run, tokenizer, tmp_path, monkeypatch):
    """Nothing is trained, so nothing is evaluated on the way, whatever the suites are now."""
    run = shutil.copytree(whole_run, tmp_path / "run")
    watched = [run / "metrics.jsonl", run / "checkpoints" / "best" / "evaluation.json"]
    before = [path.read_bytes() for path in watched]
    monkeypatch.setattr(SuitePlayer, "play", None)  # an evaluation would fail
    experiment(tokenizer, validation=None, suites=[OTHER]).train(run, "# toy\n")
    assert json.loads((run / "eval.json").read_text())["toy"]["trained"]["scripted"]["n"] == 4
    assert [path.read_bytes() for path in watched] == before
    assert differences(whole_run, run) == ["dialogues.jsonl"]  # those of the evaluation


@pytest.mark.slow
@pytest.mark.parametrize("suite", [PLAYED, OTHER], ids=["the same suite", "another"])
def test_a_finished_run_is_given_more_steps(whole_run, tokenizer, tmp_path, capsys, suite):
    """It keeps the evaluation of its former end; all else is as in a run that was given them at once.

    `pytest -m slow tests/run/test_validation.py`.
    """
    longer, at_once = shutil.copytree(whole_run, tmp_path / "longer"), tmp_path / "at_once"
    stage = dataclasses.replace(ONLINE, steps=7)
    for run, played in ((longer, suite), (at_once, PLAYED)):
        toy_experiment(tokenizer, [stage], evaluate_every=2, checkpoint_every=3, validation=played).train(
            run, "# toy\n"
        )
    lines = [stable(read_lines(run / "metrics.jsonl")) for run in (longer, at_once)]
    former_end = [line for line in lines[0] if (line["step"], line["stage"]) == (5, "evaluation")]
    assert len(former_end) == 1
    lines[0].remove(former_end[0])
    evaluations = [[line for line in run if line["stage"] == "evaluation"] for run in lines]
    assert [line["step"] for line in evaluations[0]] == [0, 2, 4, 6, 7] == [line["step"] for line in evaluations[1]]
    assert [line for line in lines[0] if line["stage"] != "evaluation"] == [
        line for line in lines[1] if line["stage"] != "evaluation"
    ]
    assert same(*(host(load_model(run)[1]) for run in (longer, at_once)))
    assert (longer / "dialogues.jsonl").read_bytes() == (at_once / "dialogues.jsonl").read_bytes()
    best = json.loads((longer / "checkpoints" / "best" / "evaluation.json").read_text())
    if suite is PLAYED:
        assert evaluations[0] == evaluations[1]
        assert best["score"] == max(line["scripted_success_at_2"] for line in (*evaluations[0], *former_end))
    else:
        assert best["score"] == max(line["scripted_success_at_2"] for line in evaluations[0][-2:])
        assert capsys.readouterr().out.count("is now another one") == 1


@pytest.mark.slow
def test_adapters_are_kept_with_their_base(tokenizer, tmp_path, capsys):
    """`pytest -m slow tests/run/test_validation.py`."""
    plain = experiment(tokenizer).base
    base = dataclasses.replace(plain, lora=LoraConfig(rank=2))
    one_step = dataclasses.replace(ONLINE, steps=1)
    lora = toy_experiment(tokenizer, [one_step], base=base, evaluate_every=5, suites=[PLAYED], trackers=())
    lora.train(tmp_path, "# toy\n")
    assert [line["step"] for line in read_lines(tmp_path / "metrics.jsonl")] == [0, 1, 1]
    model, _ = load_model(tmp_path / "checkpoints" / "best")
    assert model.config.lora == base.lora and load_model(tmp_path)[0].config == model.config
    # Without a suite of its own it takes the first one's first arm, with the run's two turns.
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("evaluation after step 1: toy, scripted: turn 1 ") for line in lines)
    assert not (tmp_path / "tensorboard").exists()


def test_the_suite_of_the_docs(tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "watching.md").read_text()
    (tmp_path / "watched.gin").write_text(page.partition("```gin\n")[2].partition("```")[0])
    suite = load_experiment([str(tmp_path / "watched.gin")], [])[0].validation
    assert [arm.name for arm in suite.arms] == ["feedback", "retry"]
    assert (suite.first_problem, suite.problems, suite.max_turns) == (128, 64, 4)


def test_a_run_without_suites_says_that_it_is_not_evaluated(tokenizer, tmp_path, capsys):
    toy_experiment(tokenizer, evaluate_every=1).train(tmp_path, "")
    assert "the run is not evaluated while it trains, since it has no suites: Experiment.validation" in (
        capsys.readouterr().out
    )


def test_what_cannot_work_is_said_before_the_first_step(tokenizer, tmp_path, monkeypatch):
    with pytest.raises(UserError, match="experiment: evaluate_every is 0; it must be at least 1"):
        experiment(tokenizer, evaluate_every=0)
    with pytest.raises(UserError, match="toy has no test problems after the first 99 to evaluate on"):
        experiment(tokenizer, validation=dataclasses.replace(PLAYED, first_problem=99)).train(tmp_path / "a", "")
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UserError, match=r'the tracker wandb needs its package: pip install "sml-jax\[wandb\]"'):
        experiment(tokenizer, trackers=(Wandb(),)).train(tmp_path / "b", "")
    assert not list(tmp_path.glob("*/metrics.jsonl"))
