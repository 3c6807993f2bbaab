"""Stages with a verifier that fails on one problem: its dialogues are in no number, no gradient, and in the log."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import jax
import numpy as np
import pytest
from run_toys import OPTIMIZER, RULES, ToyTask

from sml_jax.dialogue import judging
from sml_jax.dialogue.rollout import play
from sml_jax.learn import Grpo, PolicyLoss
from sml_jax.learn.signals import signals_of
from sml_jax.run.stages import Offline, Online
from sml_jax.tasks.problems.types import Problem, Verdict

ONLINE = Online(OPTIMIZER, steps=3, problems_per_step=4, group_size=4, micro_batch_size=8)


@dataclass(frozen=True)
class FailingToys(ToyTask):
    """The verifier fails on one problem."""

    bad: str = "train3"

    def verify(self, items: Sequence[tuple[Problem, str]]) -> list[Verdict]:
        if any(problem.id == self.bad for problem, _ in items):
            raise RuntimeError("no process")
        return super().verify(items)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(judging.time, "sleep", lambda seconds: None)


@pytest.mark.parametrize(("aggregation", "kl_coef"), [("sequence", 0.0), ("token", 0.1), ("constant", 0.0)])
def test_a_batch_with_dropped_dialogues_is_the_batch_without_them(new_run, aggregation, kl_coef):
    run = new_run()
    context, params = run.context, run.state.params
    method, loss = Grpo(aggregation=aggregation), PolicyLoss(kl_coef=kl_coef)
    task, stage = FailingToys(), dataclasses.replace(ONLINE, method=method, loss=loss)
    engine = context.engine(task, RULES, "train")
    problems = [problem for problem in task.problems("train") if problem.id != task.bad][:5]
    bad = next(problem for problem in task.problems("train") if problem.id == task.bad)

    def batch(problems):
        played = play(task, problems, context.framing, engine, params, context.teacher, RULES, seed=3, group_size=4)
        signals = signals_of(stage.method, played.transcript)
        return stage._batch(played, signals, stage.micro_batch_size, engine.capacities)

    parts, metrics = batch([*problems, bad])
    wanted, wanted_metrics = batch(problems)
    assert wanted and len(parts) == len(wanted)
    # Other numbers of rows may be worked on by other kernels, whose sums differ in the last bit.
    for one, other in zip(parts, wanted, strict=True):
        jax.tree.map(partial(np.testing.assert_allclose, rtol=0, atol=1e-6), one, other)
    assert (metrics.pop("dropped_rate"), metrics.pop("verifier_errors")) == (pytest.approx(1 / 6), 4)
    assert (wanted_metrics.pop("dropped_rate"), wanted_metrics.pop("verifier_errors")) == (0, 0)
    assert metrics == pytest.approx(wanted_metrics)


def test_an_online_run_goes_on_and_says_so(new_run, caplog):
    run = new_run(task=FailingToys())
    run.run(ONLINE)
    lines, dialogues = run.metrics(), run.dialogues()
    assert [line["dropped_rate"] for line in lines].count(0.25) == 1, "three steps go once through twelve problems"
    assert sum(line["verifier_errors"] for line in lines) == 4 and sum(line["groups"] for line in lines) == 11
    dropped = [d for d in dialogues if d["dropped"]]
    assert {d["problem_id"] for d in dropped} == {"train3"} and len(dropped) <= ONLINE.dialogues_logged
    assert all(d["dropped"].startswith("verifier: RuntimeError: no process") for d in dropped)
    assert all(
        len(d["verdicts"]) == sum(t["role"] == "student" for t in d["turns"]) - bool(d["dropped"]) for d in dialogues
    )
    assert sum("problem train3: dialogue dropped" in record.message for record in caplog.records) == 1


def test_an_offline_rollout_neither_keeps_nor_counts_them(new_run):
    """And under a small `max_context`: contexts have the room that was asked for, and some have no second turn."""
    run = new_run(task=FailingToys(), rules=dataclasses.replace(RULES, max_context=22))
    run.run(Offline(OPTIMIZER, problems=12, samples=4, epochs=0, dialogues_logged=100))
    assert run.context.engine(run.context.task, run.context.rules, "train").max_length == 22
    (note,), dialogues = run.metrics(), run.dialogues()
    assert (note["dialogues"], note["dropped"], note["dropped_rate"]) == (48, 4, pytest.approx(4 / 48))
    solved = sum(d["solved_turn"] > 0 for d in dialogues)
    assert note["kept"] == solved and note["success"] == pytest.approx(solved / 44)
    overlong = [d for d in dialogues if d["overlong"]]
    assert overlong and note["overlong_rate"] == pytest.approx(len(overlong) / 44)
    assert {(len(d["verdicts"]), d["solved_turn"], d["dropped"]) for d in overlong} == {(1, 0, "")}
    assert max(len(d["tokens"]) for d in dialogues) <= 22
