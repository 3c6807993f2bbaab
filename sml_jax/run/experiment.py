"""A whole run: base, stages, evaluation, results. The root of every recipe."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console

from sml_jax.dialogue.rules import DialogueRules
from sml_jax.dialogue.teachers import check_arms
from sml_jax.distributed.processes import all_gather, assert_equal, run_on_primary
from sml_jax.engine.sampling import Sampling
from sml_jax.errors import SEEDS, UserError, at_least, within
from sml_jax.evaluate.sharded import ShardedSuite
from sml_jax.evaluate.suites import Suite
from sml_jax.models.decoder import count_params
from sml_jax.models.families import run_settings
from sml_jax.models.hf.checkpoint import load_model, save_model
from sml_jax.models.layout import place_params
from sml_jax.models.lora import merge_lora, save_adapters, split_trainable
from sml_jax.run.base_models import Base, Pretrained
from sml_jax.run.chats import Chat, RoleChat
from sml_jax.run.checkpointer import Checkpointer, RunPosition
from sml_jax.run.context import RunContext, Stage
from sml_jax.run.evaluation import Evaluation
from sml_jax.run.health import AlertThresholds, HealthMonitor
from sml_jax.run.io.folder import RunFolder
from sml_jax.run.io.resume import check_found, check_new
from sml_jax.run.io.shared import open_folder
from sml_jax.run.io.stop import stop_request
from sml_jax.run.problem_order import fingerprint
from sml_jax.sharding import MeshShape, make_mesh
from sml_jax.tasks.problems.overlap import check_overlap
from sml_jax.tasks.problems.types import RunsPrograms, Task


@dataclass(frozen=True)
class Experiment:
    """Everything that a recipe says.

    Attributes:
      task: of the training dialogues.
      stages: in order; each takes on from the one before.
      suites: evaluated at the end, base beside trained.
      sharded: the same for sharded suites.
      base: the initial model; frozen, it is the teacher.
      chat: the tokenizer, and what stands around utterances.
      rules: of dialogues in training; suites have their own number of turns.
      sampling: temperature, top-k and top-p of both sides, in training and evaluation.
      teacher_arm: who teaches in training: "feedback" (a language model that knows the answer), "scripted", ...
      retry_text: what the `retry` arm says.
      seed: of everything random.
      rows: dialogues that run at once.
      data, fsdp, tensor: sizes of the device mesh; -1 for what the others leave.
      rollout_mesh: another shape of the mesh for rollouts and evaluation, `MeshShape(data, fsdp, tensor)`: parameters
        are laid out anew before each. None for the same.
      checkpoint_every: steps between checkpoints. checkpoints_kept: of the last ones; the best and each stage's last
        are kept besides.
      guards: what the run warns of, and when it gives up.
      model_labels: the initial model sorts the student's turns in evaluation (chat models); the rules if False.
      samples_shown: problems whose dialogues are printed at the end, base beside trained.
    """

    task: Task
    stages: Sequence[Stage] = ()
    suites: Sequence[Suite] = ()
    sharded: Sequence[ShardedSuite] = ()
    base: Base = Pretrained()
    chat: Chat = RoleChat()
    rules: DialogueRules = DialogueRules()
    sampling: Sampling = Sampling()
    teacher_arm: str = "feedback"
    retry_text: str = "that is not right, try again"
    seed: int = 0
    rows: int = 128
    data: int = -1
    fsdp: int = 1
    tensor: int = 1
    rollout_mesh: MeshShape | None = None
    checkpoint_every: int = 25
    checkpoints_kept: int = 2
    guards: AlertThresholds = AlertThresholds()
    model_labels: bool = False
    samples_shown: int = 3

    def __post_init__(self) -> None:
        at_least(self, rows=1, checkpoint_every=1, checkpoints_kept=1, samples_shown=0)
        within(self, seed=SEEDS)
        check_arms([self.teacher_arm], "experiment: teacher_arm")
        if not self.retry_text.strip():
            raise UserError("experiment: retry_text is empty: give what the arm retry says")

    def train(self, workdir: Path, config_text: str, resume: str = "auto") -> None:
        """Runs all stages, saves the model, evaluates, prints. A run found in `workdir` goes on where it was.

        Args:
          workdir: the run's folder. config_text: the operative configuration.
          resume: what to do with a run found there, see `runio.resume.RESUME`.

        Raises:
          UserError: something that the recipe or its files have wrong, before work begins where that can be known.
          Stopped: SIGTERM or SIGINT asked the run to stop; its state is saved.
        """
        assert_equal("the recipe", config_text)
        with open_folder(workdir) as folder, stop_request() as request:
            run_on_primary(partial(check_new, folder, resume))
            saver = Checkpointer(folder.checkpoints_path / "steps", self.checkpoints_kept)
            try:
                stored = saver.found.config if saver.found else None
                run_on_primary(partial(check_found, folder, stored, config_text, resume))
                self._say_protection()
                work = self._workbench(folder, saver, self._training_task())
                work.config, work.asked_to_stop = config_text, lambda: next(filter(None, all_gather(request.name)), "")
                if work.model.config.lora is None:
                    saver.config = work.model.config
                self._evaluation().check(work)
                for stage in self.stages:
                    stage.check(work)
                folder.write_config(config_text)
                self._run_stages(work)
                saver.finish()
                save_model(folder.checkpoints_path / "final", work.model.config, work.params)
                if work.model.config.lora is not None:
                    save_adapters(folder.checkpoints_path / "adapters", work.model, work.params)
            finally:
                saver.close()
            work.saver = None
            if self.suites or self.sharded:
                self._evaluation().run(work, {"base": work.initial, "trained": work.params})

    def evaluate(self, checkpoint: str, workdir: Path, config_text: str) -> None:
        """Evaluates a model folder (or a finished run's) beside the base, without training."""
        if not self.suites and not self.sharded:
            raise UserError(
                "the recipe has no suites to evaluate: bind experiment.Experiment.suites, or .sharded for sharded ones"
            )
        assert_equal("the recipe", config_text)
        self._say_protection()
        with open_folder(workdir) as folder:
            # Adapters are merged: what is evaluated is a plain model, and so is the base beside it.
            work = dataclasses.replace(self, base=dataclasses.replace(self.base, lora=None))._workbench(folder, None)
            model, params = merge_lora(*load_model(checkpoint, work.mesh, run_settings(work.model.config)))
            if model.config != work.model.config:
                raise UserError(f"the model at {checkpoint} is not of the base's shape: give the recipe it came from")
            self._evaluation().check(work)
            folder.write_config(config_text)
            work.params = params = place_params(work.mesh, work.model, params)
            self._evaluation().run(work, {"base": work.initial, "trained": params})

    def _say_protection(self) -> None:
        """Prints what keeps programs in that a model wrote; raises a UserError where they would run unguarded."""
        tasks = [self.task, *(suite.task for suite in self.suites), *(suite.task for suite in self.sharded)]
        for line in dict.fromkeys(task.protection() for task in tasks if isinstance(task, RunsPrograms)):
            print(line, flush=True)

    def _training_task(self) -> Task:
        """The task without the training problems that are evaluated on."""
        evaluated = [(suite.task, suite.split) for suite in self.suites]
        evaluated += [(suite.task, suite.split) for suite in self.sharded]
        task = self.task
        for split in dict.fromkeys(split for _, split in evaluated):
            task = check_overlap(task, [other for other, of in evaluated if of == split], split)
        return task

    def _workbench(self, folder: RunFolder, saver: Checkpointer | None, task: Task | None = None) -> RunContext:
        framing = self.chat.framing()
        mesh = make_mesh(self.data, self.fsdp, self.tensor)
        model, initial = self.base.load(framing.tokenizer, self.seed, mesh, self.chat.padding)
        return RunContext(
            folder=folder,
            saver=saver,
            mesh=mesh,
            rollout_mesh=make_mesh(**dataclasses.asdict(self.rollout_mesh)) if self.rollout_mesh else None,
            model=model,
            framing=framing,
            task=task or self.task,
            rules=self.rules,
            initial=initial,
            params=initial,
            seed=self.seed,
            rows=self.rows,
            retry_text=self.retry_text,
            sampling=self.sampling,
            teacher_arm=self.teacher_arm,
            checkpoint_every=self.checkpoint_every,
            watch=HealthMonitor(self.guards),
        )

    def _evaluation(self) -> Evaluation:
        return Evaluation(
            self.suites, self.sharded, self.chat, self.rules, self.model_labels, samples_shown=self.samples_shown
        )

    def _run_stages(self, work: RunContext) -> None:
        assert work.saver is not None
        console = Console()
        found = self._go_on(work, console)
        trained, all_of_them = count_params(split_trainable(work.params)[1]), count_params(work.params)
        adapters = f", {trained:,} of them in adapters, which alone are trained" if trained < all_of_them else ""
        console.print(f"{all_of_them:,} parameters{adapters}; run folder {work.folder.path}", soft_wrap=True)
        if found:
            console.print(f"going on after step {found.step} of stage {found.stage + 1}")
        for index, stage in enumerate(self.stages):
            if index < work.place.stage:
                continue
            if index > work.place.stage:
                work.place = RunPosition(index, 0, work.place.total)
            work.stage_name, work.needs = stage.name, {}
            work.resumed = found is not None and index == found.stage
            stage.run(work)

    def _go_on(self, work: RunContext, console: Console) -> RunPosition | None:
        """Puts the workbench and the logs where the newest whole checkpoint was; its place, None for a fresh start."""
        assert work.saver is not None
        record = work.saver.found
        work.problems = fingerprint(work.task.problems("train")) if self.stages else ""
        assert_equal("the training data", work.problems)
        if record is not None and record.place.stage >= len(self.stages):
            raise UserError(
                f"the run in {work.folder.path} stopped in stage {record.place.stage + 1}, but this recipe has "
                f"{len(self.stages)}: use another --workdir, or the recipe that it was started with"
            )
        if record is not None and record.problems != work.problems:
            raise UserError(
                f"the training problems are not those that the run in {work.folder.path} began with "
                f"({record.problems}; now {work.problems}): give the data it was started with, or another --workdir"
            )
        for trouble in work.saver.damaged:
            console.print(f"warning: {trouble}", soft_wrap=True)
        if record is None:
            work.folder.rewind({}, -1)
            return None
        work.place, work.scores = record.place, list(record.scores)
        for trouble in work.folder.rewind(record.logs, record.place.total):
            console.print(f"warning: {trouble}", soft_wrap=True)
        return record.place
