"""What a run writes down while its stages work: logs, checkpoints, warnings; and whether it was asked to stop."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import optax

from sml_jax.common.errors import Stopped, UserError
from sml_jax.dialogue.records import dialogue_record
from sml_jax.dialogue.transcript import Dialogue
from sml_jax.distributed.processes import run_on_primary
from sml_jax.learn.train_state import init_state
from sml_jax.run.checkpoint_record import EvaluationState, Record
from sml_jax.run.checkpointer import Checkpointer
from sml_jax.run.health import AlertThresholds, HealthMonitor
from sml_jax.run.io.display import printable
from sml_jax.run.io.folder import RunFolder
from sml_jax.run.io.manifest import digest
from sml_jax.run.score import StepScore
from sml_jax.run.state import RunPosition, RunState
from sml_jax.run.validation import Validation


class Bookkeeper:
    """Writes a run's logs and checkpoints as its stages report steps, warns, and ends the run when it is asked to stop.

    Args:
      folder: the run's, where logs are written.
      checkpointer: writes and restores checkpoints; None for a run that trains nothing.
      checkpoint_every: steps between checkpoints.
      seed, config, problems: the run's seed, its operative configuration, and the fingerprint of its training problems;
        all three are written into checkpoints.
      asked_to_stop: returns the name of the signal that asked the run to stop, "" for none.
      thresholds: metrics beyond these cause warnings, or end the run.
      position: how far the run has come already.

    Attributes:
      folder: the run's.
      position: how far the run has come, after the last step that was reported.
      validation: evaluates the student while it is trained; None for a run that does not.
    """

    def __init__(
        self,
        folder: RunFolder,
        checkpointer: Checkpointer | None = None,
        *,
        checkpoint_every: int = 25,
        seed: int = 0,
        config: str = "",
        problems: str = "",
        asked_to_stop: Callable[[], str] = str,
        thresholds: AlertThresholds = AlertThresholds(),
        position: RunPosition = RunPosition(),
    ):
        self.folder = folder
        self.position = position
        self.validation: Validation | None = None
        self._checkpointer = checkpointer
        self._checkpoint_every = checkpoint_every
        self._seed, self._config, self._problems = seed, config, problems
        self._asked_to_stop = asked_to_stop
        self._monitor = HealthMonitor(thresholds)
        # What is known of the stage under way: its name, how it is scored, the files that its checkpoints depend on,
        # and whether it goes on from a checkpoint.
        self._stage_name = ""
        self._score: StepScore | None = None
        self._files: dict[str, str] = {}
        self._restore = False
        # The score of a checkpoint is the mean over the steps since the one before.
        self._scores: list[float] = []

    def resume(self, record: Record | None) -> list[str]:
        """Cuts the logs back to their lengths at a checkpoint, and continues from its position.

        Args:
          record: of the checkpoint; None for a run that begins, whose logs are emptied.

        Returns:
          A sentence for each log that has become shorter than it was at the checkpoint, as when the disk lost its end;
          and one if the best model is gone.
        """
        evaluation = EvaluationState() if record is None else record.evaluation
        warnings = [] if self.validation is None else self.validation.resume(evaluation)
        # A run that was stopped before its first checkpoint has left lines in the logs, which go.
        if record is None:
            return [*self.folder.rewind({}, -1), *warnings]
        self.position = record.position
        # What was evaluated with fewer steps, or with other suites, is no result of this run any more.
        if record.config != self._config:
            self.folder.forget_evaluation()
        # A regular checkpoint's scores are complete: the next checkpoint counts from there.
        is_regular = record.position.total % self._checkpoint_every == 0
        self._scores = [] if is_regular else list(record.scores)
        return [*self.folder.rewind(record.logs, record.position.total), *warnings]

    def enter_stage(self, name: str, score: StepScore, position: RunPosition, restore: bool = False) -> None:
        """Tells which stage the next reports come from. The run calls it before each stage.

        Args:
          name: of the stage.
          score: the metric by which its steps are scored.
          position: where the stage begins, or where it continues.
          restore: whether the stage continues from the newest checkpoint, which was written in it.
        """
        self._stage_name, self._score = name, score
        self.position = position
        self._files, self._restore = {}, restore
        # Scores of another stage measure something else.
        if not restore:
            self._scores = []

    def begin(self, state: RunState, optimizer: optax.GradientTransformation) -> RunState:
        """The state that a stage trains from. A stage calls it once, before its first step.

        An evaluation that is due takes place: of the initial student, or one that the run was stopped in.

        Args:
          state: with the parameters to train; they are copied. It has `rollout_params` if the stage's rollouts lag
            behind its updates, and then checkpoints hold them too.
          optimizer: the stage's.

        Returns:
          `state` with a fresh optimiser state; or with the checkpoint's parameters and optimiser state if the run was
          stopped in this stage.

        Raises:
          UserError: the checkpoint holds arrays of other names or shapes.
          Stopped: the run was asked to stop while it evaluated; its state is saved.
        """
        # The fresh state says the structure of what is restored.
        state = state.with_update(init_state(state.params, optimizer))
        if self._restore:
            # Once: a checkpoint restores the stage that it was written in, and no later one.
            self._restore = False
            assert self._checkpointer is not None
            train_state, rollout_params = self._checkpointer.restore(state.train_state, state.rollout_params)
            state = dataclasses.replace(state, train_state=train_state, rollout_params=rollout_params)
        self._evaluate(state)
        return state

    def after_training(self) -> Bookkeeper:
        """Makes a bookkeeper for the evaluation after training: the same logs and stop requests, but no checkpoints."""
        return Bookkeeper(self.folder, asked_to_stop=self._asked_to_stop, position=self.position)

    def depend_on(self, paths: Sequence[Path]) -> None:
        """Names files in the run's folder without which the stage cannot continue from its checkpoints.

        Their SHA-256 is written into the checkpoints. A checkpoint counts as damaged if one of its files has changed.

        Args:
          paths: of the files.
        """
        self._files = run_on_primary(lambda: {str(path.relative_to(self.folder.path)): digest(path) for path in paths})

    def records(self, dialogues: Sequence[Dialogue], steps_ahead: int = 0) -> list[dict[str, Any]]:
        """The student's dialogues as lines of `dialogues.jsonl`, with the step that they belong to.

        Args:
          dialogues: finished dialogues.
          steps_ahead: how many steps after the last reported one they belong to.
        """
        return [dialogue_record(dialogue, self.position.total + steps_ahead, "student") for dialogue in dialogues]

    def log_rollout(self, metrics: Mapping[str, float], records: Sequence[Mapping[str, Any]] = ()) -> None:
        """Logs a rollout before the stage's first step, under the number of that step and the stage name NAME_rollout.

        Args:
          metrics: scalars by name.
          records: lines for `dialogues.jsonl`, from `records`.
        """
        self.folder.log_metrics(self.position.total + 1, f"{self._stage_name}_rollout", metrics)
        self.folder.append_dialogues(records)

    def step_done(
        self,
        state: RunState,
        metrics: Mapping[str, float],
        dialogues: Sequence[Dialogue] = (),
        last: bool = False,
        learning: Sequence[Mapping[str, Any]] = (),
    ) -> RunState:
        """Counts a step, logs it, and writes a checkpoint and evaluates when that is due.

        Args:
          state: after the step's update, but with its position not yet advanced.
          metrics: of the step; the metric that the stage is scored by must be among them.
          dialogues: those of the step's dialogues that are to be logged.
          last: whether this was the stage's last step, after which a checkpoint is always written.
          learning: for the first of `dialogues`, fields of their lines that say what was learnt from them; see
            `learning_record`.

        Returns:
          The state with its position advanced by the step.

        Raises:
          Stopped: the run was asked to stop; its state is saved.
          UserError: a checkpoint could not be written, the score's metric is missing, or too many steps in a row, or
            all of a stage, were skipped.
        """
        state = dataclasses.replace(state, position=state.position.after_step())
        self.position = state.position
        # Logs come first: a checkpoint holds their lengths, and a resumed run cuts them back to these.
        self.folder.log_metrics(self.position.total, self._stage_name, metrics)
        no_fields: Mapping[str, Any] = {}
        records_and_fields = zip_longest(self.records(dialogues), learning, fillvalue=no_fields)
        self.folder.append_dialogues({**record, **fields} for record, fields in records_and_fields)
        # A live display lets printed lines stand above its own.
        for warning in self._monitor.step(self.position.total, metrics):
            print(printable(warning), flush=True)
        # A short stage that learnt nothing must not pass for one that was trained.
        all_skipped = last and self._monitor.skipped_in_a_row >= self.position.step
        if self._monitor.should_give_up or all_skipped:
            self._give_up(state)
        # A stage's last step always gets a checkpoint, from which the next stage can be started again.
        assert self._score is not None
        self._scores.append(self._score.of(metrics, self._stage_name))
        # A stage's last checkpoint counts the evaluation at its end, so a finished run that is started again, for other
        # suites or more steps, need not repeat it. Any other evaluation comes after the checkpoint of its step: a run
        # that is killed while it evaluates goes on from there, and evaluates again.
        if last:
            self._evaluate(state, last)
        if last or self.position.total % self._checkpoint_every == 0:
            self._save(state, last)
            self._scores.clear()
        self._evaluate(state)
        self.stop_if_asked(state)
        return state

    def stage_done(self, state: RunState) -> None:
        """Evaluates the model that a stage ends with, where its last step did not. The run calls it after each stage.

        That is so if the run was stopped in that very evaluation, or asks for evaluations only now that the stage is
        over.

        Args:
          state: that the stage returned.

        Raises:
          Stopped: the run was asked to stop; its state is saved.
        """
        if self._evaluate(state, last=True) and self._checkpointer is not None and state.position.step:
            self._save(state, stage_end=True, replace=True)

    def _evaluate(self, state: RunState, last: bool = False) -> bool:
        """Evaluates the model after the last step done, if that is due or it is the last of a stage, and is not done.

        A stop request is obeyed between turns. What is logged is whole, so the evaluation is either in the logs that a
        checkpoint counts or takes place when the run goes on.

        Returns:
          Whether it evaluated.
        """
        if self.validation is None or not self.validation.is_due(self.position.total, last):
            return False
        self.validation.run(state.params, self.position.total, lambda: self.stop_if_asked(state, stage_end=last))
        return True

    def is_asked_to_stop(self) -> bool:
        """Whether the run was asked to stop. The next `stop_if_asked`, which `step_done` calls too, ends it."""
        return bool(self._asked_to_stop())

    def stop_if_asked(self, state: RunState | None = None, stage_end: bool = False) -> None:
        """Saves the state and ends the run if it was asked to stop. Stages call it where that is safe.

        Args:
          state: after the last reported step; None if there is nothing to save.
          stage_end: whether that was the stage's last step.

        Raises:
          Stopped: the run was asked to stop; the text is for the user.
          UserError: a checkpoint could not be written.
        """
        signal_name = self._asked_to_stop()
        if not signal_name:
            return
        # Before a stage's first step there is nothing that the last checkpoint does not hold.
        if state is not None and state.position.step:
            self._save(state, stage_end)
        if self._checkpointer is not None:
            self._checkpointer.finish()
        raise Stopped(
            f"stopped by {signal_name} after step {self.position.total}; the same command goes on from there "
            f"(run folder {self.folder.path})"
        )

    def _save(self, state: RunState, stage_end: bool = False, replace: bool = False) -> None:
        """Writes a checkpoint after the last step done, in the background; see `Checkpointer.save` for `replace`."""
        # Lengths of the logs are taken now: all that the steps so far logged is in them.
        assert self._checkpointer is not None
        record = Record(
            state.position,
            seed=self._seed,
            config=self._config,
            problems=self._problems,
            logs=self.folder.log_lengths(),
            files=self._files,
            scores=tuple(self._scores) if self.validation is None else (),
            stage_end=stage_end,
            evaluation=EvaluationState() if self.validation is None else self.validation.state,
        )
        self._checkpointer.save(record, state.train_state, replace, state.rollout_params)

    def _give_up(self, state: RunState) -> None:
        """Saves the state and raises a UserError: too many steps in a row were not finite."""
        assert self._checkpointer is not None
        self._save(state)
        self._checkpointer.finish()
        raise UserError(f"{self._stage_name}: {self._monitor.reason_to_give_up(self.position.total)}")
