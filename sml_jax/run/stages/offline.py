"""Offline SML and Q-priming: dialogues of the student as it is, the successful ones kept, supervised fine-tuning."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
import optax

from sml_jax.dialogue.drops import worth_writing
from sml_jax.dialogue.rollout import play
from sml_jax.dialogue.rules import DialogueRules, QuestionInjection
from sml_jax.dialogue.statistics import dialogue_statistics
from sml_jax.distributed.processes import any_process, is_primary, run_on_primary
from sml_jax.engine.engine import Engine
from sml_jax.errors import UserError, at_least
from sml_jax.learn.batches import micro_batches
from sml_jax.learn.update import Learner
from sml_jax.learn.weights import check_aggregation, token_weights
from sml_jax.run.context import RunContext
from sml_jax.run.io.display import Progress
from sml_jax.run.io.manifest import digest
from sml_jax.run.problem_order import problems_at
from sml_jax.run.stages.checks import check_buckets, check_name
from sml_jax.run.stages.chunks import RolloutChunk, joined, read_chunk, write_chunk
from sml_jax.sharding import padded_row_count

# Dialogue ids of this stage lie apart from those of online stages, so that no two share random keys.
FIRST_ID = 1 << 30


@dataclass(frozen=True)
class Offline:
    """Rolls out once with the student as it is, keeps what succeeded, and fine-tunes on the student's turns.

    Attributes:
      optimizer: from optax.
      problems: problems rolled out. samples: dialogues of each.
      epochs: passes over the kept dialogues. batch: dialogues of an optimiser step.
      injection: Q-priming's questions; None for plain offline SML.
      max_turns: student turns of a dialogue; None for the run's rules.
      aggregation: see `weights.token_weights`.
      micro_batch_size: dialogues of one micro-batch; on a mesh as many more as fill its row shards.
      buckets: padded lengths, rising; None for powers of two.
      dialogues_kept: dialogues of the rollout that are written to `dialogues.jsonl`.
      piece: problems whose dialogues are written to disk together: a stopped rollout loses less than a piece.
    """

    optimizer: optax.GradientTransformation
    problems: int = 2000
    samples: int = 4
    epochs: int = 2
    batch: int = 128
    injection: QuestionInjection | None = None
    max_turns: int | None = None
    aggregation: str = "token"
    micro_batch_size: int = 64
    buckets: tuple[int, ...] | None = None
    dialogues_kept: int = 64
    piece: int = 512
    name: str = "offline"

    def __post_init__(self) -> None:
        check_name(self.name)
        at_least(
            self, problems=1, samples=1, epochs=0, batch=1, max_turns=1, micro_batch_size=1, dialogues_kept=0, piece=1
        )
        check_aggregation(self.aggregation, f"{self.name}: ")
        check_buckets(self.name, self.buckets)

    def check(self, work: RunContext) -> None:
        engine = work.engine(work.task, self._rules(work), "train")
        check_buckets(self.name, self.buckets, engine.max_length)

    def _rules(self, work: RunContext) -> DialogueRules:
        max_turns = work.rules.max_turns if self.max_turns is None else self.max_turns
        return dataclasses.replace(work.rules, injection=self.injection, max_turns=max_turns)

    def run(self, work: RunContext) -> None:
        rules = self._rules(work)
        engine = work.engine(work.task, rules, "train")
        buckets = self.buckets or engine.capacities
        data = self._data(work, rules, engine)
        max_tokens = rules.max_turns * rules.student_tokens
        kept = len(data["length"])
        batches = -(-kept // self.batch)
        steps = self.epochs * batches
        learner = Learner(work.model, self.optimizer, mesh=work.mesh)
        state = work.begin(self.optimizer)
        with Progress(f"{self.name}: fine-tuning on {kept} dialogues", steps) as progress:
            while work.place.step < steps:
                epoch, index = divmod(work.place.step, batches)
                order = np.random.default_rng([work.seed, epoch, 1]).permutation(kept)
                chosen = np.sort(order[index * self.batch : (index + 1) * self.batch])
                student = data["student"][chosen]
                weights = np.asarray(token_weights(jnp.asarray(student), self.aggregation, max_tokens))
                parts = micro_batches(
                    data["tokens"][chosen],
                    data["length"][chosen],
                    weights,
                    np.zeros_like(weights),
                    np.ones(len(chosen), np.float32),
                    padded_row_count(work.mesh, self.micro_batch_size),
                    buckets,
                )
                state, metrics = learner.update(state, parts)
                work.step_done(state, metrics, last=work.place.step + 1 == steps)
                progress.step(work.place.step, {"nll": metrics["nll"]})
        work.params = state.params

    def _data(self, work: RunContext, rules: DialogueRules, engine: Engine) -> dict[str, np.ndarray]:
        """The kept dialogues' arrays. Pieces that lie in the run's folder already are not rolled out again.

        They are a function of the configuration and the parameters that the stage began with, so one that is there
        and whole is the one that would be made.
        """
        folder = work.folder.path / f"stage{work.place.stage}_{self.name}"
        starts = range(0, self.problems, self.piece)
        paths = [folder / f"{start:08d}.npz" for start in starts]
        pieces: list[RolloutChunk] = []
        with Progress(f"{self.name}: dialogues", self.problems * self.samples) as progress:
            for start, path in zip(starts, paths, strict=True):
                piece = read_chunk(path)
                if any_process(piece is None):
                    piece = self._roll_out(work, rules, engine, start, progress)
                    if is_primary():
                        write_chunk(path, piece)
                assert piece is not None
                if not work.place.step:  # else the lines are in the logs already
                    work.note(piece.metrics, piece.dialogues)
                pieces.append(piece)
        work.needs = run_on_primary(lambda: {str(path.relative_to(work.folder.path)): digest(path) for path in paths})
        data = joined(pieces)
        if not len(data["length"]):
            dropped = sum(piece.metrics["dropped"] for piece in pieces)
            raise UserError(
                f"{self.name}: none of {self.problems * self.samples} dialogues succeeded ({dropped} were dropped), so "
                "there is nothing to learn from: more problems or turns, or an easier task"
            )
        return data

    def _roll_out(
        self, work: RunContext, rules: DialogueRules, engine: Engine, start: int, progress: Progress
    ) -> RolloutChunk:
        """One piece: the dialogues of problems `start` and on."""
        problems = problems_at(work.task.problems("train"), work.seed, start, min(self.piece, self.problems - start))
        before = start * self.samples
        if not engine.compiled():
            progress.note("compiling...")
            engine.warm_up(work.params)
        played = play(
            work.task,
            problems,
            work.framing,
            engine,
            work.params,
            work.teacher(work.teacher_arm, engine),
            rules,
            seed=work.seed,
            first_id=FIRST_ID + (work.place.stage << 24) + before,
            group_size=self.samples,
            progress=lambda done, total: progress.step(before + done),
            between_turns=work.leave_if_asked,
        )
        script = played.transcript
        kept = np.flatnonzero(script.reward > 0)
        return RolloutChunk(
            {name: getattr(script, name)[kept] for name in ("tokens", "length", "student")},
            dialogue_statistics(played.dialogues)
            | {"dialogues": len(script.reward), "kept": len(kept), "dropped": int(script.dropped.sum())},
            work.records(worth_writing(played.dialogues, max(self.dialogues_kept - before, 0)), ahead=1),
        )
