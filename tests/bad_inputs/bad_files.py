"""Sound files of every kind that a program reads, small, for tables of bad inputs to damage."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from family_toys import write_family_model

# A whole recipe without a base on disk: random weights of the pocket world's vocabulary.
PLAIN = """
from __gin__ import dynamic_registration
from sml_jax.run import experiment
from sml_jax.dialogue import rules
from sml_jax.dialogue import teachers
from sml_jax.engine import sampling
from sml_jax.evaluate import suites
from sml_jax.learn import losses
from sml_jax.learn import methods
from sml_jax.models import config
from sml_jax.pocket import world
from sml_jax.run import base_models
from sml_jax.run import chats
from sml_jax.run.stages import online
include 'gin/stages/online.gin'
experiment.Experiment.task = @world.PocketMath()
experiment.Experiment.suites = [@suites.Suite()]
experiment.Experiment.base = @base_models.RandomWeights()
experiment.Experiment.chat = @chats.RoleChat()
experiment.Experiment.rules = @rules.DialogueRules()
experiment.Experiment.sampling = @sampling.Sampling()
experiment.Experiment.max_concurrent = 16
suites.Suite.task = @world.PocketMath()
suites.Suite.arms = (@teachers.Feedback(), @teachers.Retry())
suites.Suite.problems = 4
suites.Suite.max_turns = 2
base_models.RandomWeights.config = @config.DecoderConfig()
config.DecoderConfig.vocab_size = 388
config.DecoderConfig.embed_dim = 16
config.DecoderConfig.layers = 1
config.DecoderConfig.heads = 2
config.DecoderConfig.kv_heads = 1
config.DecoderConfig.head_dim = 8
config.DecoderConfig.mlp_dim = 16
config.DecoderConfig.max_length = 256
config.DecoderConfig.lora = None
world.PocketMath.train_size = 40
world.PocketMath.test_size = 10
online.Online.problems_per_step = 2
online.Online.group_size = 2
"""

# What makes a recipe of a chat model on the rows of GSM8K, all of it from the shipped files.
CHAT = ("gin/models/chat_model.gin", "gin/tasks/gsm8k.gin", "gin/stages/online.gin", "gin/stages/paper.gin")


Change = Callable[[bytes], bytes | None]  # a file's content made another, or None for no file


@dataclass(frozen=True)
class Bad:
    """A bad input.

    Attributes:
      argv: makes it below an empty folder; returns the command line that is given it.
      names: a pattern that the error must hold: the thing that is wrong.
      cure: another: what to do about it.
    """

    argv: Callable[[Files], Sequence[str]]
    names: str
    cure: str


class Files:
    """Makes files below a folder. Sound ones that are dear are made once, in `shared`, and copied."""

    def __init__(self, folder: Path, shared: Path):
        self.folder, self.shared = folder, shared

    def __getitem__(self, name: str) -> Path:
        return self.folder / name

    def write(self, name: str, content: str | bytes | Sequence[Any]) -> Path:
        """A file of this text, of these bytes, or of these rows as JSON lines."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif isinstance(content, str):
            path.write_text(content, encoding="utf-8")
        else:
            path.write_text("".join(json.dumps(row) + "\n" for row in content), encoding="utf-8")
        return path

    def train(self, *bindings: str, recipe: str | None = None, gin: str = "") -> list[str]:
        """Trains by a recipe, by default `PLAIN`; `gin` is a second file's text after the usual first line."""
        files = [f"--gin_file={recipe or self.write('plain.gin', PLAIN)}"]
        if gin:
            files.append(f"--gin_file={self.gin(gin)}")
        return ["train", *files, f"--workdir={self['run']}", *(f"--gin.{text}" for text in bindings)]

    def gin(self, text: str, name: str = "mine.gin") -> Path:
        """A gin file that may import."""
        return self.write(name, f"from __gin__ import dynamic_registration\n{text}\n")

    def chat(self, *bindings: str, model: Path | None = None, rows: Sequence[Any] | None = None) -> list[str]:
        """Trains a chat model on rows of question and answer."""
        data = self.write("rows.jsonl", ROWS if rows is None else rows)
        test = self.write("held_out.jsonl", HELD_OUT)
        given = [f"MODEL={model or self.hugging_face}", f"GSM8K_TRAIN={data}", f"GSM8K_TEST={test}"]
        small = [
            "Pretrained.config=None",
            "MAX_CONCURRENT=8",
            "STUDENT_TOKENS=8",
            "TEACHER_TOKENS=8",
            "EVAL_PROBLEMS=2",
        ]
        files = [f"--gin_file={name}" for name in CHAT]
        texts = [f"--gin.{text}" for text in (*given, *small, *bindings)]
        return ["train", *files, f"--workdir={self['run']}", *texts]

    def base(self) -> tuple[str, str]:
        """Bindings that read `PLAIN`'s model in place of making it, which takes longer."""
        return "Experiment.base=@base_models.Pretrained()", f"Pretrained.path={self.run}"

    def jsonl(self, train: object, test: object = None, *bindings: str) -> list[str]:
        """Trains on plain rows: a path, or rows to write."""
        paths = []
        for name, given in (("train.jsonl", train), ("test.jsonl", HELD_OUT if test is None else test)):
            paths.append(given if isinstance(given, str | Path) else self.write(name, given))
        given = [f"TRAIN_PATH={paths[0]}", f"TEST_PATH={paths[1]}", *bindings]
        return self.train(*given, recipe="gin/recipes/jsonl_online.gin")

    def evaluate(self, checkpoint: object, *bindings: str) -> list[str]:
        """Evaluates a checkpoint by `PLAIN`."""
        return ["evaluate", *self.train(*self.base(), *bindings)[1:], f"--checkpoint={checkpoint}"]

    def convert(self, source: object, *flags: str) -> list[str]:
        """Converts a model."""
        return ["convert", f"--from={source}", f"--to={self['to']}", *flags]

    @cached_property
    def hugging_face(self) -> Path:
        """A sound Hugging Face folder of Qwen 3's kind, tokenizer and all; not to be written to."""
        folder = self.shared / "hugging_face"
        if not folder.exists():
            write_family_model(folder)
        return folder

    @cached_property
    def run(self) -> Path:
        """A sound run folder with the final model of `PLAIN`; not to be written to."""
        import jax

        from sml_jax.models import Decoder, DecoderConfig, init_params, save_model

        folder = self.shared / "finished"
        if not folder.exists():
            config = DecoderConfig(
                vocab_size=388, embed_dim=16, layers=1, heads=2, kv_heads=1, head_dim=8, mlp_dim=16, max_length=256
            )
            params = init_params(Decoder(config), jax.random.key(0))
            save_model(folder / "checkpoints" / "final", config, params)
        return folder

    def damaged(self, whole: Path, **files: Change) -> Path:
        """A copy of a folder in which files, by name (`__` for a dot), are other bytes, or gone where that is None."""
        copy = self.folder / "damaged"
        shutil.copytree(whole, copy)
        for name, change in files.items():
            (path,) = copy.rglob(name.replace("__", "."))
            content = change(path.read_bytes())
            path.unlink()
            if content is not None:
                path.write_bytes(content)
        return copy


def changed(**values: Any) -> Callable[[bytes], bytes]:
    """Of a file with a JSON object: some values other, or away where they are `...`."""

    def change(content: bytes) -> bytes:
        whole = {**json.loads(content), **values}
        return json.dumps({name: value for name, value in whole.items() if value is not ...}).encode()

    return change


def cut(content: bytes) -> bytes:
    """The first half of a file."""
    return content[: len(content) // 2]


def gone(content: bytes) -> None:
    """No file at all."""


def row(i: int, **changes: Any) -> dict[str, Any]:
    """A row of question and answer."""
    return {"question": f"Ann has {i} pears and buys 2. How many has she?", "answer": f"#### {i + 2}", **changes}


ROWS = [row(i) for i in range(12)]
HELD_OUT = [row(i) for i in range(100, 104)]
