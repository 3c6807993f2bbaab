"""Evaluation while a model is trained: a small suite every so many steps, by which the best model is chosen."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sml_jax.dialogue.drops import AllDroppedError
from sml_jax.dialogue.framing import Framing
from sml_jax.dialogue.rules import DialogueRules
from sml_jax.dialogue.teacher import TeacherSpec
from sml_jax.dialogue.teacher_store import TeacherStore
from sml_jax.engine.engine import Engine
from sml_jax.evaluate.suites import Suite, evaluate_arm
from sml_jax.evaluate.tables import success_and_interval
from sml_jax.run.best_model import BestModel
from sml_jax.run.checkpoint_record import EvaluationState
from sml_jax.run.health import AlertThresholds
from sml_jax.run.io.display import printable
from sml_jax.run.io.folder import RunFolder
from sml_jax.run.io.warm_up import warm_up
from sml_jax.run.problem_order import fingerprint

# The stage of its lines in metrics.jsonl, whichever stage trains: the suite is the same over the whole run.
EVALUATION = "evaluation"


@dataclass(frozen=True)
class SuitePlayer:
    """A suite and what it takes to play it.

    Attributes:
      suite: what is played.
      rules: of the run's dialogues; the suite changes what it needs to.
      framing: writes the dialogues' contexts. engine: has room for them.
      initial_params: parameters of the initial student, which some teachers use.
      store: what the run keeps for its teachers.
    """

    suite: Suite
    rules: DialogueRules
    framing: Framing
    engine: Engine
    initial_params: dict
    store: TeacherStore

    @property
    def fingerprint(self) -> str:
        """Tells what the score of a model depends on: the task, the first arm, the number of turns, the problems."""
        suite = self.suite
        problems = fingerprint(suite.chosen_problems())
        return f"{suite.task.name}, {suite.arms[0].name}, {suite.max_turns} turns, {problems}"

    def warm_up(self, params: dict) -> None:
        """Compiles what is not compiled yet; a run that begins does so for its own rollouts, too."""
        # The stage's line may be on the terminal already, so this prints lines of its own.
        warm_up(self.engine, params)

    def play(self, arm: TeacherSpec, params: dict, between: Callable[[], None]) -> dict[str, Any]:
        """Plays the suite with one teacher.

        Args:
          arm: the teacher.
          params: the student's.
          between: called as dialogues end.

        Returns:
          An entry of the form of `eval.json`.

        Raises:
          AllDroppedError: every dialogue was dropped.
        """
        entry, _ = evaluate_arm(
            self.suite,
            arm,
            self.framing,
            self.engine,
            params,
            self.initial_params,
            self.rules,
            lambda ended, total: between(),
            store=self.store,
        )
        return entry


class Validation:
    """Plays a suite with the student as it is, logs the result, and keeps the best model.

    Its dialogues draw from the suite's seed, and number themselves: nothing of the training depends on whether they are
    played. The score of a model is the share of problems that it has solved at the suite's last turn with the first
    arm. Dialogues that were dropped count as not solved there, so that no model is best because its hard problems were
    dropped. Of two models with the same score the earlier one stays.

    Args:
      player: plays the suite.
      every: steps between evaluations.
      folder: the run's, for the log.
      best_model: where the best model is kept.
      alerts: thresholds on the rates of each arm, of which a line warns.

    Attributes:
      state: how far it has come, for checkpoints.
    """

    def __init__(
        self,
        player: SuitePlayer,
        every: int,
        folder: RunFolder,
        best_model: BestModel,
        alerts: AlertThresholds = AlertThresholds(),
    ):
        self.state = EvaluationState()
        self._player, self._suite, self._every = player, player.suite, every
        self._folder, self._best_model, self._alerts = folder, best_model, alerts

    def resume(self, state: EvaluationState) -> list[str]:
        """Continues from a checkpoint.

        Args:
          state: at the checkpoint; a fresh one for a run that begins.

        Returns:
          A sentence for the user if the best model of the checkpoint is gone.
        """
        self.state = state
        present_step = self._best_model.settle()
        if state.best_step is None or state.best_step == present_step:
            return []
        # The next model that is evaluated becomes the best one: there is no other to be had. A model of later steps has
        # taken the place of the old one. If the run comes to that step again it is found to be better again.
        self.state = dataclasses.replace(state, best_step=None, best_score=None)
        found = "missing" if present_step is None else f"the model after step {present_step}, which comes again"
        return [f"{self._best_model.path} is {found}: the best model is chosen anew from here on"]

    def is_due(self, step: int, stage_end: bool = False) -> bool:
        """Whether an evaluation falls on a step of the run, or on the end of a stage, and has not taken place."""
        return (stage_end or step % self._every == 0) and self.state.last_step != step

    def run(self, params: dict, step: int, between: Callable[[], None]) -> None:
        """Evaluates the model after a step: writes a line of `metrics.jsonl`, prints one, and keeps the best model.

        Args:
          params: the student's present parameters.
          step: of the whole run.
          between: called between turns; an exception that it raises ends the evaluation, of which nothing is written
            then.

        Raises:
          UserError: the line or the model cannot be written.
        """
        self._compare_with_same_suite()
        # So that the time below is that of the dialogues.
        self._player.warm_up(params)
        started = time.monotonic()
        entries = {arm.name: self._play(arm, params, between) for arm in self._suite.arms}
        seconds = time.monotonic() - started

        metrics: dict[str, Any] = {}
        for name, entry in entries.items():
            metrics |= {f"{name}_{key}": value for key, value in arm_metrics(entry, self._suite.max_turns).items()}
        self._folder.log_metrics(step, EVALUATION, {**metrics, "evaluation_seconds": seconds})
        self.state = dataclasses.replace(self.state, last_step=step)
        score = score_of(next(iter(entries.values())))
        is_best = score is not None and (self.state.best_score is None or score > self.state.best_score)
        if is_best:
            evaluation = {"step": step, "score": score, "suite": self._suite.task.name, "arms": entries}
            self._best_model.write(params, evaluation)
            self.state = dataclasses.replace(self.state, best_step=step, best_score=score)
        self._print(step, entries, is_best)

    def _compare_with_same_suite(self) -> None:
        """Forgets the best score, and says so, if it is of another suite, as when a run is given other final suites."""
        if self.state.best_step is not None and self.state.suite != self._player.fingerprint:
            print(
                f"the suite that is played while training is now another one ({self._player.fingerprint}; it was "
                f"{self.state.suite}): the best model is chosen anew from here on",
                flush=True,
            )
            self.state = dataclasses.replace(self.state, best_step=None, best_score=None)
        self.state = dataclasses.replace(self.state, suite=self._player.fingerprint)

    def _play(self, arm: TeacherSpec, params: dict, between: Callable[[], None]) -> dict[str, Any]:
        """Plays the suite with one teacher, and warns; an entry without successes where every dialogue was dropped."""
        try:
            entry = self._player.play(arm, params, between)
        except AllDroppedError as error:
            # Training goes on: it has dialogues of its own, and says itself if these fail.
            print(printable(f"warning: evaluation, {arm.name}: {error}"), flush=True)
            return {"n": 0, "dropped": len(self._suite.chosen_problems())}
        for warning in self._alerts.warnings(entry["rates"]).values():
            print(printable(f"warning: evaluation, {arm.name}: {warning}"), flush=True)
        return entry

    def _print(self, step: int, entries: Mapping[str, Mapping[str, Any]], is_best: bool) -> None:
        """Prints what came out, in a line for each arm."""
        for name, entry in entries.items():
            result = "every dialogue was dropped"
            if entry["n"]:
                turns = _shown_turns(self._suite.max_turns)
                shown = [f"turn {turn} {success_and_interval(entry, turn)}" for turn in turns]
                result = f"{', '.join(shown)} of {entry['n']}"
            print(printable(f"evaluation after step {step}: {self._suite.task.name}, {name}: {result}"), flush=True)
        if is_best:
            print(f"the best model so far, now in {self._best_model.path}", flush=True)


def _shown_turns(max_turns: int) -> list[int]:
    """The turns that are logged: without feedback, and with all of it."""
    return sorted({1, max_turns})


def arm_metrics(entry: Mapping[str, Any], max_turns: int) -> dict[str, float | int]:
    """What a line of `metrics.jsonl` says of an arm.

    Args:
      entry: of the arm, in the form of `eval.json`.
      max_turns: of its dialogues.

    Returns:
      `success_at_K` for the first and the last turn K with the ends of its 95 % interval, `success_at_K_low` and
      `success_at_K_high`, all not a number where every dialogue was dropped; `n`; and `dropped`.
    """
    metrics: dict[str, float | int] = {}
    for turn in _shown_turns(max_turns):
        success, low, high = math.nan, math.nan, math.nan
        if entry["n"]:
            success, (low, high) = entry["success_at_turn"][turn - 1], entry["ci95"][turn - 1]
        name = f"success_at_{turn}"
        metrics |= {name: success, f"{name}_low": low, f"{name}_high": high}
    return {**metrics, "n": entry["n"], "dropped": entry["dropped"]}


def score_of(entry: Mapping[str, Any]) -> float | None:
    """The share of all problems that were solved at the last turn, dropped ones being unsolved; None if all were.

    Args:
      entry: of the first arm, in the form of `eval.json`.
    """
    if not entry["n"]:
        return None
    return float(entry["success_at_turn"][-1] * entry["n"] / (entry["n"] + entry["dropped"]))
