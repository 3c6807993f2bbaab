"""The online stage: roll out, turn dialogues into learning signals, update; step after step.

With GRPO's signals over whole conversations it is online SML (arXiv 2602.16488).
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar

import jax
import numpy as np
import optax

from sml_jax.common.errors import UserError, at_least, within
from sml_jax.common.lengths import powers_of_two_up_to
from sml_jax.dialogue.drops import dialogues_to_log
from sml_jax.dialogue.rollout import Played, play
from sml_jax.dialogue.rules import DialogueRules
from sml_jax.dialogue.statistics import dialogue_statistics
from sml_jax.engine.engine import Engine
from sml_jax.learn.batches import MicroBatch, micro_batches
from sml_jax.learn.losses import PolicyLoss, TokenLoss
from sml_jax.learn.methods import Grpo
from sml_jax.learn.signals import Method, Signals, min_group_size_of, signals_of
from sml_jax.learn.update import Learner
from sml_jax.run.answer_logprob import check_answer_format, transcript_for
from sml_jax.run.context import RunContext
from sml_jax.run.io.display import Progress
from sml_jax.run.io.warm_up import warm_up
from sml_jax.run.learning_record import learning_fields
from sml_jax.run.problem_order import problems_at
from sml_jax.run.score import StepScore
from sml_jax.run.stages.ahead import Ahead
from sml_jax.run.stages.checks import check_buckets, check_function, check_name, tell_of_unlimited_mismatch
from sml_jax.run.state import RunPosition, RunState
from sml_jax.run.workload import MICRO_BATCH_SIZE, RolloutWork, StageWork, UpdateWork
from sml_jax.sharding import padded_row_count
from sml_jax.tasks.problems.types import Problem


@dataclass(frozen=True)
class _Rollout:
    """The dialogues of a step, and how long they took in seconds."""

    played: Played
    seconds: float


@dataclass(frozen=True)
class Online:
    """A stage whose steps each roll out groups of dialogues with the present student and train on them once.

    Attributes:
      length_setting: the attribute that may grow when the run is over, see `sml_jax.run.stage.Stage`.
      optimizer: from optax.
      steps: number of rollouts, each with one update.
      problems_per_step: number of problems that a step's dialogues are about.
      group_size: dialogues about each problem (8 in the paper; 32 for single-turn RL).
      method: a function from a Transcript to the learning signals of its tokens, see `learn.methods`.
      loss: the loss of each token in the policy stream: clips and KL, or a function of your own (see
        `learn.losses.TokenLoss`).
      staleness: how many updates a rollout may lag behind. 0: each step's dialogues are sampled with the parameters
        that the step updates. 1: while the learner updates on a step's dialogues, the next step's are played with the
        parameters before the update. The loss compares with the log-probabilities of the parameters that sampled, so
        its clip holds what the lag moves. It takes a second copy of the trained parameters, and gains time where the
        two do not compete for the same devices: with `Experiment.rollout_devices`, or with a teacher to wait for. The
        run must have one process.
      max_turns: the largest number of student turns of a dialogue; None for that of the run's rules.
      micro_batch_size: dialogues of one micro-batch, rounded up to a multiple of the mesh's row shards; None for 64, or
        for what fits the devices' memory where 64 do not (see `sml_jax.run.memory_fit`).
      buckets: padded lengths, rising; None for powers of two.
      rows_per_prefix: the largest number of dialogues about one problem that share one copy of their common prefix in
        the update; it is reduced until it divides a device's rows of a micro-batch. 1 for no sharing. A larger number
        leaves more padding where lengths differ.
      dialogues_logged: how many dialogues of each step are written to `dialogues.jsonl`; `group_size` for a whole
        group.
      signals_logged: how many of these are written with the text, the log-probability, the advantage and the weights of
        each token, which takes some forty bytes a token.
      score: the metric of a step that picks the best checkpoint.
      name: of the stage, in logs and names of files.
    """

    length_setting: ClassVar[str] = "steps"
    optimizer: optax.GradientTransformation
    steps: int = 100
    problems_per_step: int = 32
    group_size: int = 8
    method: Method = field(default_factory=Grpo)
    loss: PolicyLoss | TokenLoss = field(default_factory=PolicyLoss)
    staleness: int = 0
    max_turns: int | None = None
    micro_batch_size: int | None = None
    rows_per_prefix: int = 4
    buckets: tuple[int, ...] | None = None
    dialogues_logged: int = 2
    signals_logged: int = 0
    score: StepScore = StepScore("success")
    name: str = "online"

    def __post_init__(self) -> None:
        check_name(self.name)
        within(self, staleness=(0, 1))
        at_least(self, steps=0, problems_per_step=1, group_size=1, max_turns=1)
        at_least(self, micro_batch_size=1, rows_per_prefix=1, dialogues_logged=0, signals_logged=0)
        check_function(self.name, "method", self.method)
        check_function(self.name, "loss", self.loss)
        # A method that compares the dialogues of a problem says how many it needs.
        needed_size = min_group_size_of(self.method)
        if self.group_size < needed_size:
            raise UserError(
                f"{self.name}: group_size is {self.group_size}, but {type(self.method).__name__} needs {needed_size} "
                "or more dialogues of a problem to compare"
            )
        check_buckets(self.name, self.buckets)

    def check(self, context: RunContext) -> None:
        """Checks that the dialogues fit the model and the buckets, and that rollouts may lag behind.

        Raises:
          UserError: they do not.
        """
        if self.staleness and jax.process_count() > 1:
            raise UserError(
                f"{self.name}: staleness is {self.staleness}, and the run has {jax.process_count()} processes, whose "
                "rollouts and updates would wait for each other in different orders: set staleness 0"
            )
        engine = context.engine(context.task, self._rules(context.rules), "train")
        check_buckets(self.name, self.buckets, engine.max_length)
        check_answer_format(self.name, self.method, context.task)
        tell_of_unlimited_mismatch(self.name, context.model.config.rollout_weights, self.loss)

    def workload(self, rules: DialogueRules) -> StageWork:
        """One step: a rollout and its update. See `Stage.workload`."""
        dialogues = self.problems_per_step * self.group_size
        longest_row = self.buckets[-1] if self.buckets else None
        micro_batch_size = self.micro_batch_size or MICRO_BATCH_SIZE
        update = UpdateWork(self.optimizer, self.loss, micro_batch_size, longest_row, dialogues, steps=1)
        return StageWork(RolloutWork(self._rules(rules), dialogues), update)

    def _rules(self, rules: DialogueRules) -> DialogueRules:
        """The run's rules with this stage's number of turns."""
        return rules if self.max_turns is None else dataclasses.replace(rules, max_turns=self.max_turns)

    def run(self, context: RunContext, state: RunState) -> RunState:
        """Rolls out and updates, step by step; see `Stage.run`."""
        rules, bookkeeper = self._rules(context.rules), context.bookkeeper
        engine = context.engine(context.task, rules, "train")
        buckets = self.buckets or powers_of_two_up_to(engine.max_length)
        # The initial student is the reference policy of a KL term.
        learner = Learner(context.model, self.optimizer, self.loss, context.initial, context.mesh)
        state = bookkeeper.begin(state.sampling_with_present_params() if self.staleness else state, self.optimizer)
        roll_out = partial(self._roll_out, context, engine, rules, context.task.problems("train"))
        micro_batch_size = padded_row_count(context.mesh, self.micro_batch_size or MICRO_BATCH_SIZE)
        with Progress(self.name, self.steps) as progress, Ahead[_Rollout]() as ahead:
            # Compiled before the first step, so that no step's time holds it.
            warm_up(engine, state.params, progress)
            while state.position.step < self.steps:
                started = time.monotonic()
                step = state.position.step
                last = step + 1 == self.steps
                # The rollout: played beside the last update, or now. It is a function of the seed, the step and the
                # parameters, so a run that is stopped in the middle of it plays the same dialogues again.
                rollout = ahead.take()
                if rollout is None:
                    rollout = roll_out(state.position, state.sampling_params, partial(bookkeeper.stop_if_asked, state))
                played = rollout.played
                state = state.after_rollout(self.problems_per_step, len(played.dialogues))
                if self.staleness:
                    # The next rollout samples with the parameters before this step's update, whether it is played
                    # beside the update or after a restart.
                    state = state.sampling_with_present_params()
                    if not last:
                        ahead.start(partial(roll_out, state.position, state.sampling_params))
                update_started = time.monotonic()
                # The update. Where no dialogue has a signal, as in groups without variance, there is nothing to learn,
                # and the step is counted all the same.
                signals = signals_of(self.method, played.transcript)
                batch_parts, metrics = self._batch(played, signals, micro_batch_size, buckets)
                if batch_parts:
                    train_state, loss_metrics = learner.update(state.train_state, batch_parts)
                    state = state.with_update(train_state)
                    metrics |= loss_metrics
                update_seconds = time.monotonic() - update_started
                # Nothing is written while a rollout is under way, so a checkpoint always counts the same replies.
                ahead.wait(bookkeeper.is_asked_to_stop)
                # The report.
                seconds = time.monotonic() - started
                metrics |= {
                    "rollout_seconds": rollout.seconds,
                    "update_seconds": update_seconds,
                    "dialogues_per_second": len(played.dialogues) / seconds,
                    "compiled": float(engine.executable_count() + learner.executable_count()),
                }
                if self.staleness:
                    # The first rollout samples with the parameters that the first update changes.
                    metrics["staleness"] = float(min(step, self.staleness))
                logged_dialogues = dialogues_to_log(played.dialogues, self.dialogues_logged)
                tokenizer = context.framing.tokenizer
                learning = learning_fields(
                    played.transcript, signals, tokenizer, self.dialogues_logged, self.signals_logged
                )
                state = bookkeeper.step_done(state, metrics, logged_dialogues, last, learning)
                shown_values = {"success": metrics["success"], "dialogues/s": metrics["dialogues_per_second"]}
                progress.step(state.position.step, shown_values)
        return state

    def _roll_out(
        self,
        context: RunContext,
        engine: Engine,
        rules: DialogueRules,
        train_problems: Sequence[Problem],
        position: RunPosition,
        params: dict,
        between_turns: Callable[[], None],
    ) -> _Rollout:
        """Plays the dialogues of the step at `position` with a student that has `params`."""
        started = time.monotonic()
        problems = problems_at(train_problems, context.seed, position.problems, self.problems_per_step)
        played = play(
            context.task,
            problems,
            context.framing,
            engine,
            params,
            context.teacher,
            rules,
            seed=context.seed,
            initial_params=context.initial,
            first_id=position.dialogues,
            group_size=self.group_size,
            store=context.store,
            between_turns=between_turns,
        )
        # Some methods learn from the gold answer's likelihood, which is measured once the dialogues are over.
        measuring = context.task, problems, context.framing, engine, params
        played = dataclasses.replace(played, transcript=transcript_for(self.method, played, *measuring))
        return _Rollout(played, time.monotonic() - started)

    def _batch(
        self, played: Played, signals: Signals, rows: int, buckets: tuple[int, ...]
    ) -> tuple[list[MicroBatch], dict[str, float]]:
        """Micro-batches of `rows` of the dialogues that have a gradient, and the rollout's metrics.

        Dialogues without a signal have a gradient of exactly 0. They were counted when the weights were made, and need
        not be computed.
        """
        transcript = played.transcript
        metrics = {**dialogue_statistics(played.dialogues), **signals.metrics}
        # A loss says whether a dialogue without advantage can have a gradient, as under a KL term.
        skip_zero_advantage = getattr(self.loss, "zero_without_advantage", False)
        chosen_indices = np.flatnonzero(signals.trained_rows(skip_zero_advantage=skip_zero_advantage))
        metrics["dialogues_trained"] = float(len(chosen_indices))
        if not len(chosen_indices):
            return [], metrics
        batch_parts = micro_batches(
            transcript.tokens[chosen_indices],
            transcript.length[chosen_indices],
            signals.select_rows(chosen_indices),
            rows,
            buckets,
            group=transcript.group[chosen_indices],
            rows_per_prefix=self.rows_per_prefix,
        )
        return batch_parts, metrics
