"""What every stage works with: the model, the task, the run's folder, and the bookkeeping of steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import optax
from jax.sharding import Mesh

from sml_jax.dialogue.context_budget import TurnCosts, context_length
from sml_jax.dialogue.framing import Framing
from sml_jax.dialogue.rules import DialogueRules
from sml_jax.dialogue.teachers import Teacher, teacher_for_arm
from sml_jax.dialogue.transcript import Dialogue
from sml_jax.engine.engine import Engine
from sml_jax.engine.sampling import Sampling
from sml_jax.errors import Stopped, UserError
from sml_jax.learn.update import TrainState, init_state
from sml_jax.models.decoder import Decoder
from sml_jax.run.checkpointer import Checkpointer, Record, RunPosition
from sml_jax.run.health import AlertThresholds, HealthMonitor
from sml_jax.run.io.dialogues import dialogue_record
from sml_jax.run.io.display import printable
from sml_jax.run.io.folder import RunFolder
from sml_jax.tasks.problems.types import Task


@runtime_checkable
class Stage(Protocol):
    """One stage of a run: takes `work.params` on from where they are."""

    @property
    def name(self) -> str: ...

    def check(self, work: RunContext) -> None:
        """Raises a UserError for what cannot work, before any work begins."""
        ...

    def run(self, work: RunContext) -> None:
        """Trains, step by step, calling `work.step_done` after each, and leaves its result in `work.params`."""
        ...


@dataclass
class RunContext:
    """The run as a stage sees it.

    Attributes:
      mesh: devices. rollout_mesh: the same devices as rollouts split them, None for the same mesh.
      model, framing, task, rules, seed, rows: as configured; `rows` dialogues run at once.
      initial: parameters of the initial student: the frozen teacher's. params: the student's at this moment.
      sampling: of both sides.
      teacher_arm: who teaches in training, see `teachers.ARMS`. retry_text: what the retry arm says.
      place: how far the run has come; `place.step` counts within the stage.
      checkpoint_every: steps between checkpoints.
      config: the operative configuration. problems: fingerprint of the training problems.
      asked_to_stop: the name of the signal that asked the run to stop, "" for none.
      needs: SHA-256 of files in the run's folder that the stage works with.
      watch: what is said of a step's metrics, and when the run gives up.
      scores: of the steps since the last checkpoint that was due: success of the rollout, or minus the loss.
    """

    folder: RunFolder
    saver: Checkpointer | None
    mesh: Mesh
    model: Decoder
    framing: Framing
    task: Task
    rules: DialogueRules
    initial: dict
    params: dict
    seed: int
    rows: int
    retry_text: str
    rollout_mesh: Mesh | None = None
    sampling: Sampling = Sampling()
    teacher_arm: str = "feedback"
    place: RunPosition = RunPosition()
    checkpoint_every: int = 25
    config: str = ""
    problems: str = ""
    asked_to_stop: Callable[[], str] = str
    needs: Mapping[str, str] = field(default_factory=dict)
    watch: HealthMonitor = field(default_factory=lambda: HealthMonitor(AlertThresholds()))
    scores: list[float] = field(default_factory=list)
    resumed: bool = False
    stage_name: str = ""
    _engines: dict = field(default_factory=dict)

    def engine(self, task: Task, rules: DialogueRules, split: str, framing: Framing | None = None) -> Engine:
        """Compiled kernels with room for a whole dialogue under these rules; made once for each size.

        `framing` in place of the training dialogues' own must be of the same tokenizer and family.
        """
        length = context_length(framing or self.framing, task, list(task.problems(split)), rules)
        back = TurnCosts.under(framing or self.framing, rules).max_rewind
        return self.engine_of(length, max(rules.student_tokens, rules.teacher_tokens), self.sampling, back)

    def engine_of(self, length: int, max_new_tokens: int, sampling: Sampling, max_rewind: int = 0) -> Engine:
        """Compiled kernels with contexts of `length` tokens and turns of `max_new_tokens`; made once for each size.

        Rows may take back `max_rewind` tokens at once, see `Engine`.
        """
        key, vocabulary = (length, max_new_tokens, sampling, max_rewind), self.framing.tokenizer.vocab_size
        if key not in self._engines:
            self._engines[key] = Engine(
                self.model,
                rows=self.rows,
                max_length=length,
                max_new_tokens=max_new_tokens,
                stop_ids=self.framing.stop_ids,
                suppressed_ids=[*self.framing.suppressed_ids(), *range(vocabulary, self.model.config.vocab_size)],
                sampling=sampling,
                max_rewind=max_rewind,
                mesh=self.rollout_mesh or self.mesh,
            )
        return self._engines[key]

    def teacher(self, arm: str, engine: Engine) -> Teacher:
        """The teacher of an arm, against the student as it is now."""
        return teacher_for_arm(arm, engine, self.initial, self.params, self.retry_text)

    def begin(self, optimizer: optax.GradientTransformation) -> TrainState:
        """The stage's state: from the checkpoint if the run was stopped within this stage, else fresh."""
        fresh = init_state(self.params, optimizer)
        if not self.resumed:
            return fresh
        self.resumed = False
        assert self.saver is not None
        return self.saver.restore(fresh)

    def records(self, dialogues: Sequence[Dialogue], ahead: int = 0) -> list[dict[str, Any]]:
        """Records of the student's dialogues, under the number of the step that is `ahead` of the last one done."""
        return [dialogue_record(dialogue, self.place.total + ahead, "student") for dialogue in dialogues]

    def note(self, metrics: Mapping[str, float], records: Sequence[Mapping[str, Any]] = ()) -> None:
        """Logs a rollout before the stage's first step, under that step's number."""
        self.folder.log_metrics(self.place.total + 1, f"{self.stage_name}_rollout", metrics)
        self.folder.append_dialogues(records)

    def step_done(
        self,
        state: TrainState,
        metrics: Mapping[str, float],
        dialogues: Sequence[Dialogue] = (),
        last: bool = False,
    ) -> None:
        """Counts a step, logs it, and writes a checkpoint when one is due or the step was the stage's last.

        Raises:
          Stopped: somebody asked the run to stop; its state is saved.
          UserError: a checkpoint could not be written; or too many steps in a row were skipped.
        """
        self.place = RunPosition(self.place.stage, self.place.step + 1, self.place.total + 1)
        self.folder.log_metrics(self.place.total, self.stage_name, metrics)
        self.folder.append_dialogues(self.records(dialogues))
        for line in self.watch.step(self.place.total, metrics):
            print(printable(line), flush=True)  # a live display lets it stand above its line
        if self.watch.given_up:
            self._give_up(state)
        self.scores.append(float(metrics["success"] if "success" in metrics else -metrics["nll"]))
        if last or self.place.total % self.checkpoint_every == 0:
            self.save(state, last)
            self.scores.clear()
        self.leave_if_asked(state)

    def _give_up(self, state: TrainState) -> None:
        assert self.saver is not None
        self.save(state)
        self.saver.finish()
        raise UserError(
            f"{self.stage_name}: the loss, gradients or parameters of too many steps in a row were not finite, up to "
            f"step {self.place.total}; the checkpoint of that step holds the last good state. Lower the learning rate "
            "or clip harder, look at the data, or raise AlertThresholds.skipped_steps, in another --workdir"
        )

    def save(self, state: TrainState, stage_end: bool = False) -> None:
        """Writes a checkpoint of the run after the last step done, in the background."""
        assert self.saver is not None
        record = Record(
            self.place,
            seed=self.seed,
            config=self.config,
            problems=self.problems,
            logs=self.folder.positions(),
            files=self.needs,
            scores=tuple(self.scores),
            stage_end=stage_end,
        )
        self.saver.save(record, state)

    def leave_if_asked(self, state: TrainState | None = None) -> None:
        """Where a run can be left: if somebody asked it to stop, saves what is done and raises.

        Args:
          state: after the last step done; None where the stage has none yet.

        Raises:
          Stopped: with what to say to the user.
        """
        signal = self.asked_to_stop()
        if not signal:
            return
        if state is not None and self.place.step:
            self.save(state)
        if self.saver is not None:
            self.saver.finish()
        raise Stopped(
            f"stopped by {signal} after step {self.place.total}; the same command goes on from there "
            f"(run folder {self.folder.path})"
        )
