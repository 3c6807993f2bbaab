"""The offline stage: one rollout, then passes of training over the dialogues that have a learning signal.

With the signals of `learn.methods.OfflineSml` it is offline SML, and with questions put in besides it is Q-priming.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import optax

from sml_jax.common.errors import UserError, at_least
from sml_jax.common.lengths import powers_of_two_up_to
from sml_jax.dialogue.drops import dialogues_to_log
from sml_jax.dialogue.rollout import play
from sml_jax.dialogue.rules import DialogueRules, QuestionInjection
from sml_jax.dialogue.statistics import dialogue_statistics
from sml_jax.dialogue.transcript import Transcript, dialogues_at, joined
from sml_jax.distributed.processes import any_process, is_primary
from sml_jax.engine.engine import Engine
from sml_jax.learn.batches import micro_batches
from sml_jax.learn.losses import PolicyLoss, TokenLoss
from sml_jax.learn.methods import OfflineSml
from sml_jax.learn.signals import Method, signals_of
from sml_jax.learn.update import Learner
from sml_jax.run.answer_logprob import check_answer_format, transcript_for
from sml_jax.run.context import RunContext
from sml_jax.run.io.display import Progress
from sml_jax.run.io.warm_up import warm_up
from sml_jax.run.problem_order import problems_at
from sml_jax.run.score import StepScore
from sml_jax.run.stages.checks import check_buckets, check_function, check_name
from sml_jax.run.stages.chunks import RolloutChunk, read_chunk, write_chunk
from sml_jax.run.state import RunState
from sml_jax.run.workload import MICRO_BATCH_SIZE, RolloutWork, StageWork, UpdateWork
from sml_jax.sharding import padded_row_count


@dataclass(frozen=True)
class Offline:
    """A stage that rolls out once with its first parameters, and then trains on the dialogues that the method selects.

    Attributes:
      length_setting: the attribute that may grow when the run is over, see `sml_jax.run.stage.Stage`.
      optimizer: from optax.
      method: a function from a Transcript to the learning signals of its tokens, see `learn.methods`. It is called on
        the rollout, where dialogues without any weight are left out, and again on each step's batch of the others.
      loss: the loss of each token in the policy stream, if the method has one (offline SML has none).
      problems: number of problems that the rollout's dialogues are about.
      samples: dialogues about each problem.
      epochs: passes over the selected dialogues.
      batch: dialogues of an optimiser step.
      injection: Q-priming's questions; None for plain offline SML.
      max_turns: the largest number of student turns of a dialogue; None for that of the run's rules.
      micro_batch_size: dialogues of one micro-batch, rounded up to a multiple of the mesh's row shards; None for 64, or
        for what fits the devices' memory where 64 do not (see `sml_jax.run.memory_fit`).
      buckets: padded lengths, rising; None for powers of two.
      dialogues_logged: how many dialogues of the rollout are written to `dialogues.jsonl`.
      problems_per_chunk: problems whose dialogues are written to disk together; a rollout that is stopped loses less
        than a chunk.
      score: the metric of a step that picks the best checkpoint; a method without a likelihood stream reports no `nll`.
      name: of the stage, in logs and names of files.
    """

    length_setting: ClassVar[str] = "epochs"
    optimizer: optax.GradientTransformation
    method: Method = field(default_factory=OfflineSml)
    loss: PolicyLoss | TokenLoss = field(default_factory=PolicyLoss)
    problems: int = 2000
    samples: int = 4
    epochs: int = 2
    batch: int = 128
    injection: QuestionInjection | None = None
    max_turns: int | None = None
    micro_batch_size: int | None = None
    buckets: tuple[int, ...] | None = None
    dialogues_logged: int = 64
    problems_per_chunk: int = 512
    score: StepScore = StepScore("nll", higher_is_better=False)
    name: str = "offline"

    def __post_init__(self) -> None:
        check_name(self.name)
        at_least(
            self,
            problems=1,
            samples=1,
            epochs=0,
            batch=1,
            max_turns=1,
            micro_batch_size=1,
            dialogues_logged=0,
            problems_per_chunk=1,
        )
        check_function(self.name, "method", self.method)
        check_function(self.name, "loss", self.loss)
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
        """The rollout, and the updates of all epochs if every dialogue is selected. See `Stage.workload`."""
        dialogues = self.problems * self.samples
        longest_row = self.buckets[-1] if self.buckets else None
        steps = self.epochs * -(-dialogues // self.batch)
        rows_trained = dialogues * self.epochs
        micro_batch_size = self.micro_batch_size or MICRO_BATCH_SIZE
        update = UpdateWork(self.optimizer, None, micro_batch_size, longest_row, rows_trained, steps)
        return StageWork(RolloutWork(self._rules(rules), dialogues), update)

    def _rules(self, rules: DialogueRules) -> DialogueRules:
        """The run's rules with this stage's question injection and number of turns."""
        max_turns = rules.max_turns if self.max_turns is None else self.max_turns
        return dataclasses.replace(rules, injection=self.injection, max_turns=max_turns)

    def run(self, context: RunContext, state: RunState) -> RunState:
        """Rolls out once, then trains for some epochs; see `Stage.run`."""
        rules, bookkeeper = self._rules(context.rules), context.bookkeeper
        engine = context.engine(context.task, rules, "train")
        buckets = self.buckets or powers_of_two_up_to(engine.max_length)
        micro_batch_size = padded_row_count(context.mesh, self.micro_batch_size or MICRO_BATCH_SIZE)
        # The data. The rollout is played by the student that the stage begins with, so it comes before `begin`.
        selected_dialogues = self._selected_dialogues(context, state, rules, engine)
        # A checkpoint of this stage was written after the rollout, and so counts its problems and ids already.
        if not state.position.step:
            state = state.after_rollout(self.problems, self.problems * self.samples)
        selected_count = len(selected_dialogues.length)
        steps_per_epoch = -(-selected_count // self.batch)
        steps = self.epochs * steps_per_epoch
        learner = Learner(context.model, self.optimizer, self.loss, context.initial, context.mesh)
        state = bookkeeper.begin(state, self.optimizer)
        with Progress(f"{self.name}: fine-tuning on {selected_count} dialogues", steps) as progress:
            while state.position.step < steps:
                # Each epoch shuffles anew, by seed, epoch and stage alone, so that a resumed run keeps the order.
                epoch, step_in_epoch = divmod(state.position.step, steps_per_epoch)
                order = np.random.default_rng([context.seed, epoch, 1, state.position.stage]).permutation(
                    selected_count
                )
                chosen_indices = np.sort(order[step_in_epoch * self.batch : (step_in_epoch + 1) * self.batch])
                batch = dialogues_at(selected_dialogues, chosen_indices)
                # Weights are shares of a step's loss, so the method is asked anew for each batch.
                signals = signals_of(self.method, batch)
                batch_parts = micro_batches(batch.tokens, batch.length, signals, micro_batch_size, buckets)
                train_state, loss_metrics = learner.update(state.train_state, batch_parts)
                metrics = {**signals.metrics, **loss_metrics}
                is_last = state.position.step + 1 == steps
                state = bookkeeper.step_done(state.with_update(train_state), metrics, last=is_last)
                progress.step(state.position.step, {self.score.metric: metrics[self.score.metric]})
        return state

    def _selected_dialogues(
        self, context: RunContext, state: RunState, rules: DialogueRules, engine: Engine
    ) -> Transcript:
        """The dialogues that are trained on.

        Chunks that are in the run's folder already are not rolled out again: a chunk is a function of the
        configuration and of the parameters that the stage began with, so a complete one is the one that would be made.

        Raises:
          UserError: there is no dialogue to train on.
        """
        bookkeeper = context.bookkeeper
        folder = bookkeeper.folder.path / f"stage{state.position.stage}_{self.name}"
        # One file for each chunk, named after its first problem.
        first_problems = range(0, self.problems, self.problems_per_chunk)
        paths = [folder / f"{first_problem:08d}.npz" for first_problem in first_problems]
        chunks: list[RolloutChunk] = []
        with Progress(f"{self.name}: dialogues", self.problems * self.samples) as progress:
            for first_problem, path in zip(first_problems, paths, strict=True):
                # All processes play a chunk together or none does.
                chunk = read_chunk(path)
                if any_process(chunk is None):
                    chunk = self._roll_out(context, state, rules, engine, first_problem, progress)
                    if is_primary():
                        write_chunk(path, chunk)
                assert chunk is not None
                # In a run that goes on after a step of this stage the lines are in the logs already.
                if not state.position.step:
                    bookkeeper.log_rollout(chunk.metrics, chunk.dialogues)
                chunks.append(chunk)
        # A checkpoint is of no use with other dialogues than those that it was trained on.
        bookkeeper.depend_on(paths)
        selected_dialogues = joined([chunk.transcript for chunk in chunks])
        if not len(selected_dialogues.length):
            dropped_count = sum(chunk.metrics["dropped"] for chunk in chunks)
            raise UserError(
                f"{self.name}: none of {self.problems * self.samples} dialogues succeeded ({dropped_count} were "
                "dropped), so there is nothing to learn from: more problems or turns, or an easier task"
            )
        return selected_dialogues

    def _roll_out(
        self,
        context: RunContext,
        state: RunState,
        rules: DialogueRules,
        engine: Engine,
        start: int,
        progress: Progress,
    ) -> RolloutChunk:
        """Plays one chunk: the dialogues about the stage's problems from index `start` on."""
        # Where the rollout began: a checkpoint of this stage counts the whole rollout already.
        position = state.position
        if position.step:
            position = position.after_rollout(-self.problems, -self.problems * self.samples)
        problem_count = min(self.problems_per_chunk, self.problems - start)
        dialogues_before = start * self.samples
        warm_up(engine, state.params, progress)
        train_problems = context.task.problems("train")
        problems = problems_at(train_problems, context.seed, position.problems + start, problem_count)
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
            first_id=position.dialogues + dialogues_before,
            group_size=self.samples,
            store=context.store,
            progress=lambda done, total: progress.step(dialogues_before + done),
            between_turns=context.bookkeeper.stop_if_asked,
        )
        # The rollout counts its problems from 0, and the stage counts on from one chunk to the next.
        transcript = transcript_for(self.method, played, context.task, problems, context.framing, engine, state.params)
        transcript = transcript.replace(group=transcript.group + start)  # type: ignore[attr-defined]
        # What the method gives no weight is not trained on, and so not kept.
        selected_indices = np.flatnonzero(signals_of(self.method, transcript).trained_rows())
        counts = {
            "dialogues": len(transcript.reward),
            "kept": len(selected_indices),
            "dropped": int(transcript.dropped.sum()),
        }
        logged_dialogues = dialogues_to_log(played.dialogues, max(self.dialogues_logged - dialogues_before, 0))
        return RolloutChunk(
            dialogues_at(transcript, selected_indices),
            dialogue_statistics(played.dialogues) | counts,
            context.bookkeeper.records(logged_dialogues, steps_ahead=1),
        )
