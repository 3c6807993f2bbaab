"""What every stage works with: the model, the task, the run's folder, and the bookkeeping of steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import optax
from jax.sharding import Mesh

from sml_jax.dialogue.framing import Framing
from sml_jax.dialogue.room import context_length
from sml_jax.dialogue.rules import DialogueRules
from sml_jax.dialogue.teachers import Teacher, teacher_for_arm
from sml_jax.dialogue.transcript import Dialogue
from sml_jax.engine.engine import Engine
from sml_jax.engine.sampling import Sampling
from sml_jax.learn.update import TrainState, init_state
from sml_jax.models.decoder import Decoder
from sml_jax.runio.dialogues import dialogue_record
from sml_jax.runio.folder import RunFolder
from sml_jax.stages.saver import Place, Saver
from sml_jax.tasks.types import Task


@runtime_checkable
class Stage(Protocol):
    """One stage of a run: takes `work.params` on from where they are."""

    @property
    def name(self) -> str: ...

    def check(self, work: Workbench) -> None:
        """Raises a UserError for what cannot work, before any work begins."""
        ...

    def run(self, work: Workbench) -> None:
        """Trains, step by step, calling `work.step_done` after each, and leaves its result in `work.params`."""
        ...


@dataclass
class Workbench:
    """The run as a stage sees it.

    Attributes:
      mesh: devices. model, framing, task, rules, seed, rows: as configured; `rows` dialogues run at once.
      initial: parameters of the initial student: the frozen teacher's. params: the student's at this moment.
      sampling: of both sides.
      teacher_arm: who teaches in training, see `teachers.ARMS`. retry_text: what the retry arm says.
      place: how far the run has come; `place.step` counts within the stage.
      checkpoint_every: steps between checkpoints.
    """

    folder: RunFolder
    saver: Saver | None
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
    sampling: Sampling = Sampling()
    teacher_arm: str = "feedback"
    place: Place = Place()
    checkpoint_every: int = 25
    resumed: bool = False
    stage_name: str = ""
    _engines: dict = field(default_factory=dict)

    def engine(self, task: Task, rules: DialogueRules, split: str, framing: Framing | None = None) -> Engine:
        """Compiled kernels with room for a whole dialogue under these rules; made once for each size.

        `framing` in place of the training dialogues' own must be of the same tokenizer and family.
        """
        length = context_length(framing or self.framing, task, list(task.problems(split)), rules)
        return self.engine_of(length, max(rules.student_tokens, rules.teacher_tokens), self.sampling)

    def engine_of(self, length: int, budget: int, sampling: Sampling) -> Engine:
        """Compiled kernels with contexts of `length` tokens and turns of `budget`; made once for each size."""
        key, vocabulary = (length, budget, sampling), self.framing.tokenizer.vocab_size
        if key not in self._engines:
            self._engines[key] = Engine(
                self.model,
                rows=self.rows,
                max_length=length,
                budget=budget,
                ends=self.framing.ends,
                forbidden=[*self.framing.unspeakable(), *range(vocabulary, self.model.config.vocab_size)],
                sampling=sampling,
                mesh=self.mesh,
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

    def note(self, metrics: Mapping[str, float], dialogues: Sequence[Dialogue] = ()) -> None:
        """Logs a rollout before the stage's first step, under that step's number.

        A run that goes on from an earlier checkpoint rolls out again and forgets these lines; one that goes on from a
        later one keeps them.
        """
        self.folder.log_metrics(self.place.total + 1, f"{self.stage_name}_rollout", metrics)
        self.folder.append_dialogues(dialogue_record(d, self.place.total + 1, "student") for d in dialogues)

    def step_done(
        self,
        state: TrainState,
        metrics: Mapping[str, float],
        dialogues: Sequence[Dialogue] = (),
        last: bool = False,
    ) -> None:
        """Counts a step, logs it, and writes a checkpoint when one is due or the step was the stage's last."""
        self.place = Place(self.place.stage, self.place.step + 1, self.place.total + 1)
        self.folder.log_metrics(self.place.total, self.stage_name, metrics)
        self.folder.append_dialogues(dialogue_record(d, self.place.total, "student") for d in dialogues)
        if last or self.place.total % self.checkpoint_every == 0:
            assert self.saver is not None
            self.saver.save(self.place, state)
