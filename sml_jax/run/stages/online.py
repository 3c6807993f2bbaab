"""Online SML: GRPO over whole conversations (arXiv 2602.16488)."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from functools import partial

import jax.numpy as jnp
import numpy as np
import optax

from sml_jax.common.errors import UserError, at_least
from sml_jax.dialogue.drops import worth_writing
from sml_jax.dialogue.rollout import Played, play
from sml_jax.dialogue.rules import DialogueRules
from sml_jax.dialogue.statistics import dialogue_statistics
from sml_jax.learn.advantages import group_advantages, group_statistics
from sml_jax.learn.batches import MicroBatch, micro_batches
from sml_jax.learn.returns import discounted_returns
from sml_jax.learn.update import Learner, PolicyLoss
from sml_jax.learn.weights import check_aggregation, token_weights
from sml_jax.run.context import RunContext
from sml_jax.run.io.display import Progress
from sml_jax.run.problem_order import problems_at
from sml_jax.run.score import StepScore
from sml_jax.run.stages.checks import check_buckets, check_name
from sml_jax.run.state import RunState
from sml_jax.run.workload import RolloutWork, StageWork, UpdateWork
from sml_jax.sharding import padded_row_count


@dataclass(frozen=True)
class Online:
    """Rolls out groups of dialogues with the student as it is and takes one GRPO step on them.

    Attributes:
      optimizer: from optax.
      steps: rollouts, each with one update.
      problems_per_step: problems that a step's dialogues are about.
      group_size: dialogues of each (8 in the paper; 32 for single-turn RL).
      discount: of the return over student turns (0.7 in the paper; how it enters is our reading, see `returns`).
      normalize: advantages divided by the group's standard deviation.
      aggregation: see `weights.token_weights`.
      loss: clips and KL.
      max_turns: student turns of a dialogue; None for the run's rules.
      micro_batch_size: dialogues of one micro-batch; on a mesh as many more as fill its row shards.
      buckets: padded lengths, rising; None for powers of two.
      share: dialogues of a problem that go through the update behind one copy of what they begin with alike, as far as
        it divides the micro-rows of a device; 1 for none. More of them leave more padding where lengths differ.
      dialogues_logged: dialogues of each step that are written to `dialogues.jsonl`.
    """

    optimizer: optax.GradientTransformation
    steps: int = 100
    problems_per_step: int = 32
    group_size: int = 8
    discount: float = 0.7
    normalize: bool = True
    aggregation: str = "sequence"
    loss: PolicyLoss = PolicyLoss()
    max_turns: int | None = None
    micro_batch_size: int = 64
    share: int = 4
    buckets: tuple[int, ...] | None = None
    dialogues_logged: int = 2
    name: str = "online"

    def __post_init__(self) -> None:
        check_name(self.name)
        if self.group_size < 2:
            raise UserError(f"{self.name}: group_size is {self.group_size}; a group needs 2 dialogues to compare")
        if not 0 <= self.discount <= 1:
            raise UserError(f"{self.name}: discount is {self.discount}; give a number from 0 to 1 (0.7 in the paper)")
        at_least(self, steps=0, problems_per_step=1, max_turns=1, micro_batch_size=1, share=1, dialogues_logged=0)
        check_aggregation(self.aggregation, f"{self.name}: ")
        check_buckets(self.name, self.buckets)

    @property
    def score(self) -> StepScore:
        return StepScore("success")

    def check(self, context: RunContext) -> None:
        engine = context.engine(context.task, self._rules(context.rules), "train")
        check_buckets(self.name, self.buckets, engine.max_length)

    def workload(self, rules: DialogueRules) -> StageWork:
        dialogues = self.problems_per_step * self.group_size
        longest = self.buckets[-1] if self.buckets else None
        update = UpdateWork(self.optimizer, self.loss, self.micro_batch_size, longest, dialogues, steps=1)
        return StageWork(RolloutWork(self._rules(rules), dialogues), update)

    def _rules(self, rules: DialogueRules) -> DialogueRules:
        return rules if self.max_turns is None else dataclasses.replace(rules, max_turns=self.max_turns)

    def run(self, context: RunContext, state: RunState) -> RunState:
        rules, bookkeeper = self._rules(context.rules), context.bookkeeper
        engine = context.engine(context.task, rules, "train")
        buckets = self.buckets or engine.capacities
        learner = Learner(context.model, self.optimizer, self.loss, context.initial, context.mesh)
        state = bookkeeper.begin(state, self.optimizer)
        train_problems = context.task.problems("train")
        micro_batch_size = padded_row_count(context.mesh, self.micro_batch_size)
        with Progress(self.name, self.steps) as progress:
            progress.note("compiling...")
            engine.warm_up(state.params)
            while state.position.step < self.steps:
                started = time.monotonic()
                step = state.position.step
                # The rollout. It is a function of the seed, the step and the parameters, so a run that is stopped in
                # the middle of it plays the same dialogues again.
                played = play(
                    context.task,
                    problems_at(train_problems, context.seed, step * self.problems_per_step, self.problems_per_step),
                    context.framing,
                    engine,
                    state.params,
                    context.teacher,
                    rules,
                    seed=context.seed,
                    initial_params=context.initial,
                    first_id=step * self.problems_per_step * self.group_size,
                    group_size=self.group_size,
                    between_turns=partial(bookkeeper.stop_if_asked, state),
                )
                rolled_out = time.monotonic()
                # The update. Where no group has variance there is nothing to learn, and the step is counted all the
                # same.
                parts, metrics = self._batch(played, micro_batch_size, buckets, rules.max_turns * rules.student_tokens)
                if parts:
                    train_state, loss_metrics = learner.update(state.train_state, parts)
                    state = state.with_update(train_state)
                    metrics |= loss_metrics
                # The report.
                seconds = time.monotonic() - started
                metrics |= {
                    "rollout_seconds": rolled_out - started,
                    "update_seconds": seconds - (rolled_out - started),
                    "dialogues_per_second": len(played.dialogues) / seconds,
                    "compiled": float(engine.executable_count() + learner.executable_count()),
                }
                logged = worth_writing(played.dialogues, self.dialogues_logged)
                state = bookkeeper.step_done(state, metrics, logged, last=step + 1 == self.steps)
                shown = {"success": metrics["success"], "dialogues/s": metrics["dialogues_per_second"]}
                progress.step(state.position.step, shown)
        return state

    def _batch(
        self, played: Played, rows: int, buckets: tuple[int, ...], max_tokens: int
    ) -> tuple[list[MicroBatch], dict[str, float]]:
        """Micro-batches of `rows` of the dialogues that have a gradient, and the rollout's metrics.

        `max_tokens` is the most that a student can say in a dialogue, the divisor of aggregation "constant".

        Dialogues of a group without variance have advantage 0: without a KL term their gradient is exactly 0, and they
        are counted, weighed in the denominators, and not computed. Dropped dialogues are in no denominator.
        """
        script = played.transcript
        returns = discounted_returns(jnp.asarray(script.solved_turn), self.discount)
        valid = jnp.asarray(~script.dropped)
        advantage = np.asarray(group_advantages(returns, self.group_size, normalize=self.normalize, valid=valid))
        share = valid.astype(jnp.float32)
        weights = np.asarray(
            token_weights(jnp.asarray(script.student), self.aggregation, max_tokens, dialogue_weight=share)
        )
        groups = {k: float(v) for k, v in group_statistics(returns, self.group_size, valid=valid).items()}
        mean_return = float(jnp.mean(returns, where=valid))
        metrics = {**dialogue_statistics(played.dialogues), **groups, "return": mean_return}
        chosen = np.flatnonzero(advantage if self.loss.kl_coef == 0 else valid)
        metrics["dialogues_trained"] = float(len(chosen))
        if not len(chosen):
            return [], metrics
        parts = micro_batches(
            script.tokens[chosen],
            script.length[chosen],
            weights[chosen],
            script.logprob[chosen],
            advantage[chosen],
            rows,
            buckets,
            group=script.group[chosen],
            share=self.share,
        )
        return parts, metrics
