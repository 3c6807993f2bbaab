"""The online stage: roll out, turn dialogues into learning signals, update; step after step.

With GRPO's signals over whole conversations it is online SML (arXiv 2602.16488).
"""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar

import numpy as np
import optax

from sml_jax.common.errors import UserError, at_least
from sml_jax.dialogue.drops import dialogues_to_log
from sml_jax.dialogue.rollout import Played, play
from sml_jax.dialogue.rules import DialogueRules
from sml_jax.dialogue.statistics import dialogue_statistics
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
from sml_jax.run.stages.checks import check_buckets, check_function, check_name
from sml_jax.run.state import RunState
from sml_jax.run.workload import RolloutWork, StageWork, UpdateWork
from sml_jax.sharding import padded_row_count


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
      max_turns: the largest number of student turns of a dialogue; None for that of the run's rules.
      micro_batch_size: dialogues of one micro-batch, rounded up to a multiple of the mesh's row shards.
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
    max_turns: int | None = None
    micro_batch_size: int = 64
    rows_per_prefix: int = 4
    buckets: tuple[int, ...] | None = None
    dialogues_logged: int = 2
    signals_logged: int = 0
    score: StepScore = StepScore("success")
    name: str = "online"

    def __post_init__(self) -> None:
        check_name(self.name)
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
        """Checks that the dialogues fit the model and the buckets.

        Raises:
          UserError: they do not.
        """
        engine = context.engine(context.task, self._rules(context.rules), "train")
        check_buckets(self.name, self.buckets, engine.max_length)
        check_answer_format(self.name, self.method, context.task)

    def workload(self, rules: DialogueRules) -> StageWork:
        """One step: a rollout and its update. See `Stage.workload`."""
        dialogues = self.problems_per_step * self.group_size
        longest_row = self.buckets[-1] if self.buckets else None
        update = UpdateWork(self.optimizer, self.loss, self.micro_batch_size, longest_row, dialogues, steps=1)
        return StageWork(RolloutWork(self._rules(rules), dialogues), update)

    def _rules(self, rules: DialogueRules) -> DialogueRules:
        """The run's rules with this stage's number of turns."""
        return rules if self.max_turns is None else dataclasses.replace(rules, max_turns=self.max_turns)

    def run(self, context: RunContext, state: RunState) -> RunState:
        """Rolls out and updates, step by step; see `Stage.run`."""
        rules, bookkeeper = self._rules(context.rules), context.bookkeeper
        engine = context.engine(context.task, rules, "train")
        buckets = self.buckets or engine.capacities
        # The initial student is the reference policy of a KL term.
        learner = Learner(context.model, self.optimizer, self.loss, context.initial, context.mesh)
        state = bookkeeper.begin(state, self.optimizer)
        train_problems = context.task.problems("train")
        micro_batch_size = padded_row_count(context.mesh, self.micro_batch_size)
        with Progress(self.name, self.steps) as progress:
            # Compiled before the first step, so that no step's time holds it.
            warm_up(engine, state.params, progress)
            while state.position.step < self.steps:
                started = time.monotonic()
                step = state.position.step
                # The rollout. It is a function of the seed, the step and the parameters, so a run that is stopped in
                # the middle of it plays the same dialogues again.
                problems = problems_at(train_problems, context.seed, state.position.problems, self.problems_per_step)
                played = play(
                    context.task,
                    problems,
                    context.framing,
                    engine,
                    state.params,
                    context.teacher,
                    rules,
                    seed=context.seed,
                    initial_params=context.initial,
                    first_id=state.position.dialogues,
                    group_size=self.group_size,
                    store=context.store,
                    between_turns=partial(bookkeeper.stop_if_asked, state),
                )
                # Some methods learn from the gold answer's likelihood, which is measured once the dialogues are over.
                measuring = context.task, problems, context.framing, engine, state.params
                played = dataclasses.replace(played, transcript=transcript_for(self.method, played, *measuring))
                state = state.after_rollout(self.problems_per_step, len(played.dialogues))
                rollout_ended = time.monotonic()
                # The update. Where no dialogue has a signal, as in groups without variance, there is nothing to learn,
                # and the step is counted all the same.
                signals = signals_of(self.method, played.transcript)
                batch_parts, metrics = self._batch(played, signals, micro_batch_size, buckets)
                if batch_parts:
                    train_state, loss_metrics = learner.update(state.train_state, batch_parts)
                    state = state.with_update(train_state)
                    metrics |= loss_metrics
                # The report.
                seconds = time.monotonic() - started
                metrics |= {
                    "rollout_seconds": rollout_ended - started,
                    "update_seconds": seconds - (rollout_ended - started),
                    "dialogues_per_second": len(played.dialogues) / seconds,
                    "compiled": float(engine.executable_count() + learner.executable_count()),
                }
                logged_dialogues = dialogues_to_log(played.dialogues, self.dialogues_logged)
                tokenizer = context.framing.tokenizer
                learning = learning_fields(
                    played.transcript, signals, tokenizer, self.dialogues_logged, self.signals_logged
                )
                last = step + 1 == self.steps
                state = bookkeeper.step_done(state, metrics, logged_dialogues, last, learning)
                shown_values = {"success": metrics["success"], "dialogues/s": metrics["dialogues_per_second"]}
                progress.step(state.position.step, shown_values)
        return state

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
