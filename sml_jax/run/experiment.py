"""A whole run: base model, stages, evaluation, results. The root of every recipe."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import jax
from jax.sharding import Mesh
from rich.console import Console

from sml_jax.common.errors import SEEDS, UserError, at_least, within
from sml_jax.dialogue.rules import DialogueRules
from sml_jax.dialogue.teacher import TeacherSpec
from sml_jax.dialogue.teacher_store import TeacherStore
from sml_jax.dialogue.teachers import Feedback, check_arms
from sml_jax.distributed.processes import all_gather, assert_equal, run_on_primary
from sml_jax.engine.sampling import Sampling
from sml_jax.evaluate.sharded import ShardedSuite
from sml_jax.evaluate.suites import Suite
from sml_jax.models.config import run_settings
from sml_jax.models.decoder import count_params
from sml_jax.models.hf.checkpoint import load_model, save_model
from sml_jax.models.layout import place_params
from sml_jax.models.lora import merge_lora, save_adapters, split_trainable
from sml_jax.run.base_models import BaseModel, Pretrained
from sml_jax.run.beforehand import check_teachers, check_trackers, print_protection, without_evaluated_problems
from sml_jax.run.bookkeeper import Bookkeeper
from sml_jax.run.chats import Chat, RoleChat
from sml_jax.run.checkpointer import Checkpointer, failed_writes_reported_once
from sml_jax.run.context import RunContext
from sml_jax.run.evaluation import Evaluation
from sml_jax.run.health import AlertThresholds
from sml_jax.run.io.replies import RecordedReplies
from sml_jax.run.io.shared import open_folder
from sml_jax.run.io.stop import stop_request
from sml_jax.run.io.tracker import Tracker
from sml_jax.run.io.trackers import TensorBoard
from sml_jax.run.memory_fit import fitted
from sml_jax.run.memory_limit import device_limit
from sml_jax.run.problem_order import fingerprint
from sml_jax.run.resume import check_found, check_new, check_record
from sml_jax.run.stage import Stage, check_stage
from sml_jax.run.state import RunState
from sml_jax.run.workload import MAX_CONCURRENT
from sml_jax.sharding import MeshShape, make_mesh
from sml_jax.tasks.problems.types import Task


@dataclass(frozen=True)
class Experiment:
    """Everything that a recipe says.

    Attributes:
      task: of the training dialogues.
      stages: run in order; each begins with the parameters that the one before it returned.
      suites: evaluated at the end, the trained model beside the base model.
      sharded_suites: the same for sharded suites.
      evaluate_every: steps between evaluations while a model is trained, by which `checkpoints/best` is chosen; there
        is one before the first step and one at the end of each stage besides. None for no evaluation but the final one.
      validation: the suite that these play; None for one of at most 64 problems and the training's number of turns,
        made of the first of `suites` (see `evaluate.suites.validation_suite`).
      base: the initial model; with its parameters frozen it is the teacher too.
      chat: the tokenizer, and the format in which utterances are written into contexts.
      rules: of dialogues in training; suites have their own number of turns.
      sampling: temperature, top-k and top-p of both sides, in training and evaluation.
      teacher: who answers the student in training; see `sml_jax.dialogue.teachers`.
      seed: of everything random.
      max_concurrent: the largest number of dialogues that run at the same time; None for 128, or for what fits the
        devices' memory where 128 do not (see `sml_jax.run.memory_fit`).
      memory_gb: GB of each device that the run may use; None for what the devices tell, less a reserve.
      data, fsdp, tensor: sizes of the device mesh's axes; one of them may be -1, for all devices that the others leave.
      rollout_mesh: another shape of the mesh for rollouts and evaluation, `MeshShape(data, fsdp, tensor)`: parameters
        are laid out anew before each. None for the same.
      rollout_devices: how many of the devices, the last ones, are for rollouts and evaluation alone; the others are for
        updates. With `Online.staleness = 1` both work at the same time. 0: all devices do both, by turns. The run must
        have one process.
      checkpoint_every: steps between checkpoints.
      checkpoints_kept: how many of the newest checkpoints are kept, besides each stage's last one and, in a run that
        does not evaluate while it trains, the best one.
      alerts: thresholds of metrics, beyond which the run warns or gives up.
      model_labels: whether the initial model labels the student's turns in evaluation, for chat models; fixed rules do
        if False.
      trackers: get the metrics besides `metrics.jsonl`; see `sml_jax.run.io.trackers`.
      samples_shown: for how many problems the dialogues of base and trained model are printed side by side at the end.
      evaluates_base: whether suites are played by the base model too, beside the trained one.

    Raises:
      UserError: a setting is not allowed, or a stage lacks a member of the protocol `Stage`.
    """

    task: Task
    stages: Sequence[Stage] = ()
    suites: Sequence[Suite] = ()
    sharded_suites: Sequence[ShardedSuite] = ()
    evaluate_every: int | None = 25
    validation: Suite | None = None
    base: BaseModel = Pretrained()
    chat: Chat = RoleChat()
    rules: DialogueRules = DialogueRules()
    sampling: Sampling = Sampling()
    teacher: TeacherSpec = Feedback()
    seed: int = 0
    max_concurrent: int | None = None
    memory_gb: float | None = None
    data: int = -1
    fsdp: int = 1
    tensor: int = 1
    rollout_mesh: MeshShape | None = None
    rollout_devices: int = 0
    checkpoint_every: int = 25
    checkpoints_kept: int = 2
    alerts: AlertThresholds = AlertThresholds()
    model_labels: bool = False
    trackers: Sequence[Tracker] = (TensorBoard(),)
    samples_shown: int = 3
    evaluates_base: bool = True

    def __post_init__(self) -> None:
        # A recipe that cannot work is an error when it is read, before a model is loaded.
        at_least(
            self,
            rollout_devices=0,
            max_concurrent=1,
            checkpoint_every=1,
            checkpoints_kept=1,
            samples_shown=0,
            evaluate_every=1,
            memory_gb=0,
        )
        within(self, seed=SEEDS)
        check_arms([self.teacher], "experiment: teacher")
        for stage in self.stages:
            check_stage(stage)

    def train(self, workdir: Path, config_text: str, resume: str = "auto") -> None:
        """Runs all stages, saves the model, evaluates it and prints tables.

        A run that is found in `workdir` continues from its newest checkpoint. More steps of its last stage, or another
        evaluation, give what they would have given if they had been asked for at once.

        Args:
          workdir: the run's folder.
          config_text: the operative configuration as gin text.
          resume: what to do with a run found in `workdir`: one of `sml_jax.run.resume.RESUME`.

        Raises:
          UserError: something is wrong with the recipe or its files. Whatever can be checked early is, before the first
            step.
          Stopped: SIGTERM or SIGINT asked the run to stop; its state is saved.
        """
        assert_equal("the recipe", config_text)
        with open_folder(workdir, self.trackers) as folder, stop_request() as stop, failed_writes_reported_once():
            run_on_primary(partial(check_new, folder, resume))
            with closing(Checkpointer(folder.checkpoints_path / "steps", self.checkpoints_kept)) as checkpointer:
                # Does what is found in the folder go with this recipe?
                record = checkpointer.newest_record
                lengths = [getattr(stage, "length_setting", "") for stage in self.stages]
                run_on_primary(partial(check_found, folder, record, config_text, resume, lengths))
                check_trackers(self.trackers)
                validations = [] if self.validation is None else [self.validation]
                suites = [*self._all_suites(), *validations]
                print_protection([self.task, *(suite.task for suite in suites)])
                check_teachers([self.teacher] if self.stages else [], [*self.suites, *validations])
                task = without_evaluated_problems(self.task, suites)
                problems_fingerprint = fingerprint(task.problems("train")) if self.stages else ""
                assert_equal("the training data", problems_fingerprint)
                if record is not None:
                    check_record(folder, record, len(self.stages), problems_fingerprint)

                # The model is loaded, and everything that could stop the run later is tried out.
                bookkeeper = Bookkeeper(
                    folder,
                    checkpointer,
                    checkpoint_every=self.checkpoint_every,
                    seed=self.seed,
                    config=config_text,
                    problems=problems_fingerprint,
                    # A process that is asked to stop takes the others with it, so all learn of every request.
                    asked_to_stop=lambda: next(filter(None, all_gather(stop.name)), ""),
                    thresholds=self.alerts,
                )
                limit = device_limit(self.memory_gb)
                context = self._context(bookkeeper, task)
                self._evaluation().check(context)
                for stage in self.stages:
                    stage.check(context)
                # What cannot fit is refused now, and what the recipe leaves open is chosen so that it does.
                context, stages = fitted(context, self.stages, self.max_concurrent, self._taught(), limit)
                if context.model.config.lora is None:
                    checkpointer.config = context.model.config
                bookkeeper.validation = self._evaluation().while_training(context, self.validation, self.evaluate_every)
                folder.write_config(config_text)

                # The work. Stages end when their last checkpoint is on its way, so the run waits for it.
                params = self._run_stages(context, stages, checkpointer)
                checkpointer.finish()
                save_model(folder.checkpoints_path / "final", context.model.config, params)
                # The tokenizer and the chat template go with the model, so that it can be handed on.
                run_on_primary(partial(self.chat.write_texts, folder.checkpoints_path / "final"))
                if context.model.config.lora is not None:
                    save_adapters(folder.checkpoints_path / "adapters", context.model, params)
            # The checkpointer is closed by now: an evaluation that is stopped begins anew.
            if self.suites or self.sharded_suites:
                context = dataclasses.replace(context, bookkeeper=bookkeeper.after_training())
                self._evaluation().run(context, self._policies(context, params))

    def evaluate(self, checkpoint: str, workdir: Path, config_text: str) -> None:
        """Evaluates a model, beside the base model if `evaluates_base`, without training.

        Args:
          checkpoint: a model folder, or a finished run's folder.
          workdir: the folder for the results.
          config_text: the operative configuration as gin text.

        Raises:
          UserError: something is wrong with the recipe, or the model does not have the base model's shape.
        """
        if not self.suites and not self.sharded_suites:
            raise UserError(
                "the recipe has no suites to evaluate: bind experiment.Experiment.suites, or .sharded_suites for "
                "sharded ones"
            )
        assert_equal("the recipe", config_text)
        print_protection([self.task, *(suite.task for suite in self._all_suites())])
        check_teachers([], self.suites)
        with open_folder(workdir) as folder:
            # Adapters are merged: what is evaluated is a plain model, and so is the base beside it.
            plain_experiment = dataclasses.replace(self, base=dataclasses.replace(self.base, lora=None))
            limit = device_limit(self.memory_gb)
            context = plain_experiment._context(Bookkeeper(folder))
            model, params = merge_lora(*load_model(checkpoint, context.mesh, run_settings(context.model.config)))
            if model.config != context.model.config:
                raise UserError(f"the model at {checkpoint} is not of the base's shape: give the recipe it came from")
            self._evaluation().check(context)
            context, _ = fitted(context, (), self.max_concurrent, self._taught(), limit)
            folder.write_config(config_text)
            trained_params = place_params(context.mesh, context.model, params)
            self._evaluation().run(context, self._policies(context, trained_params))

    def _policies(self, context: RunContext, trained: dict) -> dict[str, dict]:
        """Parameters of the policies that are evaluated, by the names that they have in `eval.json`."""
        base = {"base": context.initial} if self.evaluates_base else {}
        return {**base, "trained": trained}

    def _context(self, bookkeeper: Bookkeeper, task: Task | None = None) -> RunContext:
        """Loads the model onto the mesh and makes the run's context, with `task` or else the experiment's own."""
        framing = self.chat.framing()
        mesh, rollout_mesh = self._meshes()
        model, initial_params = self.base.load(framing.tokenizer, self.seed, mesh, self.chat.padding)
        return RunContext(
            bookkeeper=bookkeeper,
            mesh=mesh,
            rollout_mesh=rollout_mesh,
            model=model,
            framing=framing,
            task=task or self.task,
            rules=self.rules,
            initial=initial_params,
            seed=self.seed,
            max_concurrent=self.max_concurrent or MAX_CONCURRENT,
            sampling=self.sampling,
            teacher=self.teacher,
            store=TeacherStore(RecordedReplies(bookkeeper.folder)),
        )

    def _meshes(self) -> tuple[Mesh, Mesh | None]:
        """The mesh of updates, and that of rollouts where it is another one."""
        rollout_shape = self.rollout_mesh or MeshShape()
        if not self.rollout_devices:
            mesh = make_mesh(self.data, self.fsdp, self.tensor)
            return mesh, make_mesh(**dataclasses.asdict(rollout_shape)) if self.rollout_mesh else None
        if jax.process_count() > 1:
            raise UserError(
                f"experiment: rollout_devices is {self.rollout_devices}, and the run has {jax.process_count()} "
                "processes, each of which would need devices of both kinds: set it to 0"
            )
        devices = jax.devices()
        if self.rollout_devices >= len(devices):
            raise UserError(
                f"experiment: rollout_devices is {self.rollout_devices}, and there are {len(devices)} devices: leave "
                "at least one for updates"
            )
        update_devices, own_devices = devices[: -self.rollout_devices], devices[-self.rollout_devices :]
        return (
            make_mesh(self.data, self.fsdp, self.tensor, over=update_devices),
            make_mesh(**dataclasses.asdict(rollout_shape), over=own_devices),
        )

    def _all_suites(self) -> list[Suite | ShardedSuite]:
        """The suites and the sharded suites."""
        return [*self.suites, *self.sharded_suites]

    def _evaluation(self) -> Evaluation:
        """The evaluation of this experiment's suites."""
        return Evaluation(
            self.suites,
            self.sharded_suites,
            self.chat,
            self.rules,
            self.model_labels,
            samples_shown=self.samples_shown,
            alerts=self.alerts,
        )

    def _taught(self) -> bool:
        """Whether a suite has a teacher that runs the model, and so caches of its own."""
        arms = [arm for suite in self.suites for arm in suite.arms]
        return any(arm.runs_model for arm in arms) or any("language" in suite.users for suite in self.sharded_suites)

    def _run_stages(self, context: RunContext, stages: Sequence[Stage], checkpointer: Checkpointer) -> dict:
        """Runs the stages in order, from the newest checkpoint if there is one.

        Args:
          context: of the run. stages: of the run, as they fit its devices.
          checkpointer: whose `newest_record` says where to go on.

        Returns:
          The parameters that the last stage ends with.
        """
        # Where the run goes on: at the newest checkpoint, or at the beginning.
        console, bookkeeper = Console(), context.bookkeeper
        record = checkpointer.newest_record
        for warning in (*checkpointer.damaged, *bookkeeper.resume(record)):
            console.print(f"warning: {warning}", soft_wrap=True)

        # What the user sees before the first step.
        all_params = count_params(context.initial)
        trained_params = count_params(split_trainable(context.initial)[1])
        adapters_text = ""
        if trained_params < all_params:
            adapters_text = f", {trained_params:,} of them in adapters, which alone are trained"
        console.print(f"{all_params:,} parameters{adapters_text}; run folder {bookkeeper.folder.path}", soft_wrap=True)
        if record is not None:
            console.print(f"going on after step {record.position.step} of stage {record.position.stage + 1}")

        # The list gives each state away to the stage that takes it on: held here too, the parameters before the stage
        # would stay on the devices as long as it runs.
        states = [RunState.of_params(context.initial, bookkeeper.position)]
        first_stage = bookkeeper.position.stage
        for index, stage in enumerate(stages[first_stage:], start=first_stage):
            position = states[0].position.at_stage(index)
            restore = record is not None and index == first_stage
            bookkeeper.enter_stage(stage.name, stage.score, position, restore)
            # Each stage has an optimiser of its own, so the one before hands on parameters alone.
            states = [RunState.of_params(states[0].params, position)]
            states.append(stage.run(context, states.pop()))
            bookkeeper.stage_done(states[0])
        return states[0].params
