"""Suites and sharded suites with a problem that the verifier fails on: left out of every number, and counted."""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass

import jax
import numpy as np
import pytest
from run_toys import ToyTask, read_lines, toy_experiment, write_tokenizer

from sml_jax.dialogue import Scripted, judging
from sml_jax.evaluate.sharded import SHARDED_KEY, ShardedSuite
from sml_jax.evaluate.suites import Suite
from sml_jax.sharding import AXES
from sml_jax.tasks.problems.types import Problem, Verdict


@dataclass(frozen=True)
class FailingShards(ToyTask):
    """The verifier fails on the second problem; each has a second shard."""

    name: str = "failing"

    def problems(self, split: str) -> Sequence[Problem]:
        return [dataclasses.replace(p, shards=("b1",)) for p in ToyTask.problems(self, split)]

    def verify(self, items: Sequence[tuple[Problem, str]]) -> list[Verdict]:
        if any(problem.id == "test1" for problem, _ in items):
            raise RuntimeError("no process")
        return super().verify(items)


@pytest.mark.slow
def test_a_run_evaluates_on_what_is_left(tmp_path, monkeypatch):
    """`pytest -m slow tests/evaluate/test_dropped_in_suites.py`; its parts: tests/dialogue/test_kept_in_suites.py."""
    monkeypatch.setattr(judging.time, "sleep", lambda seconds: None)
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:1]).reshape(1, 1, 1), AXES)
    monkeypatch.setattr("sml_jax.run.experiment.make_mesh", lambda *sizes: mesh)
    suites = [Suite(FailingShards(), arms=(Scripted(),), problems=4, max_turns=2)]
    sharded = [ShardedSuite(FailingShards(), settings=("sharded",), problems=3, simulations=3)]
    experiment = toy_experiment(write_tokenizer(tmp_path / "toy.model"), suites=suites, sharded_suites=sharded)
    experiment.train(tmp_path / "run", "")
    results = json.loads((tmp_path / "run" / "eval.json").read_text())
    lines = read_lines(tmp_path / "run" / "dialogues.jsonl")
    for policy in ("base", "trained"):
        mine = [d for d in lines if d["policy"] == policy]
        entry = results["failing"][policy]["scripted"]
        counted = [d for d in mine if d["arm"] == "scripted" and not d["dropped"]]
        assert (entry["n"], entry["dropped"], entry["rates"]["dropped_rate"]) == (3, 1, 0.25)
        assert entry["success_at_turn"][-1] == pytest.approx(sum(d["solved_turn"] > 0 for d in counted) / 3)
        assert entry["behaviour"]["first_turns"]["n"] == 3
        entry = results[SHARDED_KEY]["failing"][policy]["sharded"]["scripted"]
        counted = [d for d in mine if d["arm"] == "sharded" and not d["dropped"]]
        assert (entry["n"], entry["dropped"], entry["simulations"], len(counted)) == (2, 3, 3, 6)
        assert entry["P"] == pytest.approx(100 * sum(d["solved_turn"] > 0 for d in counted) / 6)
        assert entry["turns"] == pytest.approx(sum(len(d["verdicts"]) for d in counted) / 6)
