"""A toy world for tests of whole runs: sixteen tokens, a task that a random model sometimes solves, a tiny model."""

import dataclasses
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
import sentencepiece

from sml_jax.dialogue.rules import DialogueRules
from sml_jax.dialogue.teachers import Scripted
from sml_jax.learn.optimizers import adamw
from sml_jax.models.config import DecoderConfig
from sml_jax.run.base_models import RandomWeights
from sml_jax.run.bookkeeper import Bookkeeper
from sml_jax.run.chats import RoleChat
from sml_jax.run.checkpointer import Checkpointer
from sml_jax.run.context import RunContext
from sml_jax.run.experiment import Experiment
from sml_jax.run.io.folder import RunFolder
from sml_jax.run.stage import Stage
from sml_jax.run.state import RunState
from sml_jax.tasks.leaks import leaks
from sml_jax.tasks.problems.types import Problem, Turn, Verdict

RULES = DialogueRules(max_turns=2, student_tokens=4, teacher_tokens=4, private_tokens=6)
OPTIMIZER = adamw(learning_rate=3e-3)


def write_tokenizer(path: Path) -> Path:
    """A SentencePiece model of eight characters and the control tokens of a dialogue."""
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["0 1 2 3 a b ?"] * 3),
        model_writer=out,
        model_type="char",
        vocab_size=16,
        hard_vocab_limit=False,
        character_coverage=1.0,
        normalization_rule_name="identity",
        add_dummy_prefix=False,
        control_symbols=["<end>", "<teacher>", "<student>", "<private>", "<ask>"],
        pad_id=0,
        unk_id=1,
        bos_id=2,
        bos_piece="<begin>",
        eos_id=-1,
        minloglevel=2,
    )
    path.write_bytes(out.getvalue())
    return path


@dataclass(frozen=True)
class ToyTask:
    """The answer is a digit; an utterance that holds it is correct, one with any digit is an attempt.

    No problem whose answer is among `impossible` can be solved; `always` makes any utterance correct.
    """

    name: str = "toy"
    impossible: str = ""
    always: bool = False

    def problems(self, split: str) -> Sequence[Problem]:
        words = "ab " if split == "train" else "ba "
        return [Problem(f"{split}{i}", words[: i % 3 + 1] + "a?"[i // 8], str(i % 4)) for i in range(12)]

    def verify(self, items: Sequence[tuple[Problem, str]]) -> list[Verdict]:
        return [
            Verdict(
                (problem.answer in utterance or self.always) and problem.answer not in self.impossible,
                any(c.isdigit() for c in utterance),
                "a",
            )
            for problem, utterance in items
        ]

    def static_knowledge(self, problem: Problem) -> str:
        return f"a {problem.answer}"

    def dynamic_knowledge(self, problem: Problem, verdict: Verdict | None) -> str:
        return ""

    def reply(self, problem: Problem, conversation: Sequence[Turn], verdict: Verdict) -> str:
        return "ba"

    def leaks(self, problem: Problem, teacher_text: str, public_text: str) -> bool:
        return leaks(problem.answer, teacher_text, public_text)


class ToyRun:
    """What one stage works with, in a folder of its own. `close` it.

    Attributes:
      context: what stays the same. state: what the last stage left.
    """

    def __init__(self, context: RunContext, checkpointer: Checkpointer):
        self.context = context
        self.state = RunState.of_params(context.initial)
        self._checkpointer = checkpointer

    @property
    def folder(self) -> RunFolder:
        return self.context.bookkeeper.folder

    def run(self, stage: Stage) -> Any:
        """Runs a stage and returns the parameters that it ends with, on the host."""
        stage.check(self.context)
        self.context.bookkeeper.enter_stage(stage.name, stage.score, self.state.position)
        self.state = stage.run(self.context, self.state)
        return host(self.state.params)

    def metrics(self) -> list[dict[str, Any]]:
        return read_lines(self.folder.metrics_path)

    def dialogues(self) -> list[dict[str, Any]]:
        return read_lines(self.folder.dialogues_path)

    def close(self) -> None:
        self._checkpointer.close()
        self.folder.close()


def toy_experiment(tokenizer: Path, stages: Sequence[Stage] = (), **settings: Any) -> Experiment:
    """A run on the toy task, from random weights."""
    config = DecoderConfig(
        vocab_size=16,
        embed_dim=16,
        layers=1,
        heads=2,
        kv_heads=1,
        head_dim=8,
        mlp_dim=16,
        max_length=128,
        tied_embeddings=False,  # so that a token does not mostly follow itself
    )
    plain: dict[str, Any] = {
        "task": ToyTask(),
        "rules": RULES,
        "teacher": Scripted(),
        "max_concurrent": 16,
        "samples_shown": 1,
        "checkpoint_every": 2,
        "evaluate_every": None,  # tests of the evaluation while training turn it on
        "base": RandomWeights(config),
        "chat": RoleChat(str(tokenizer)),
    }
    return Experiment(stages=stages, **{**plain, **settings})


def toy_run(experiment: Experiment, workdir: Path, engines: dict[Any, Any]) -> ToyRun:
    """What `experiment` gives its stages; `engines`, shared by runs of one model, saves compiling."""
    folder = RunFolder(workdir)
    checkpointer = Checkpointer(folder.checkpoints_path / "steps")
    bookkeeper = Bookkeeper(folder, checkpointer, checkpoint_every=experiment.checkpoint_every, seed=experiment.seed)
    context = dataclasses.replace(experiment._context(bookkeeper), engines=engines)
    return ToyRun(context, checkpointer)


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def host(tree: Any) -> Any:
    """Copies of a tree's arrays on the host: later donations leave them alone."""
    return jax.tree.map(lambda leaf: np.array(leaf), tree)


def same(one: Any, other: Any) -> bool:
    """Bit for bit."""
    return bool(jax.tree.all(jax.tree.map(np.array_equal, one, other)))


def sgd(learning_rate: float = 0.1) -> optax.GradientTransformation:
    """An update that shows the gradient itself."""
    return optax.sgd(learning_rate)
