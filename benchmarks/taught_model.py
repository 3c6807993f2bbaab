"""Teaches a small chat model a few gold answers by heart, so that dialogues on real data sometimes succeed.

`python benchmarks/taught_model.py --from=DIR --to=DIR --task=gsm8k|mbpp --data=FOLDER [--problems=32] [--steps=300]`

--from is a folder such as benchmarks/random_model.py writes; --data holds GSM8K's train.jsonl and test.jsonl, or
MBPP's mbpp.jsonl. The model learns nothing but these answers to the student's opening message. It is made to try stages
that need successful dialogues (offline SML, Q-priming), and says nothing about any method.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console

from sml_jax.cli.main import run_program
from sml_jax.dialogue.prompts import Prompts
from sml_jax.learn.batches import bucket_of, micro_batches
from sml_jax.learn.optimizers import adamw
from sml_jax.learn.signals import LikelihoodSignal, Signals
from sml_jax.learn.train_state import init_state
from sml_jax.learn.update import Learner
from sml_jax.models import load_model
from sml_jax.models.hf.save import save_hf
from sml_jax.models.layout import shard_params
from sml_jax.sharding import make_mesh, num_row_shards
from sml_jax.tasks.datasets.gsm8k import gsm8k
from sml_jax.tasks.datasets.mbpp import mbpp
from sml_jax.tasks.problems.types import Problem, Task
from sml_jax.text.families import family_of, message_format
from sml_jax.text.huggingface import load_tokenizer

BUCKETS = (64, 128, 192, 256, 384, 512, 768, 1024)


def boxed(problem: Problem) -> str:
    """The right answer to a problem of mathematics, as a student would write it."""
    return f"The answer is \\boxed{{{problem.answer}}}."


def fenced(problem: Problem) -> str:
    """A right program for a problem, as a student would write it."""
    return f"```python\n{problem.solution or problem.answer}\n```"


# Task -> how its problems are read, how an answer is written, and the prompts around it.
KINDS: dict[str, tuple[Callable[[Path], Task], Callable[[Problem], str], Prompts]] = {
    "gsm8k": (lambda data: gsm8k(data / "train.jsonl", data / "test.jsonl"), boxed, Prompts()),
    "mbpp": (lambda data: mbpp(data / "mbpp.jsonl"), fenced, Prompts(student="student_code", teacher="teacher_code")),
}


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from", dest="source", type=Path, required=True)
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--task", choices=sorted(KINDS), required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--learning_rate", type=float, default=3e-3)
    for name, default in (("problems", 32), ("steps", 300), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    flags = parser.parse_args(argv)
    make, answer, prompts = KINDS[flags.task]
    problems = make(flags.data).problems("train")[: flags.problems]
    exchanges = [(prompts.for_student(problem.question), answer(problem)) for problem in problems]
    teach_by_heart(flags.source, flags.to, exchanges, flags.steps, flags.learning_rate, Console().print)
    return 0


def teach_by_heart(
    source: Path,
    folder: Path,
    exchanges: Sequence[tuple[str, str]],
    steps: int,
    learning_rate: float,
    progress: Callable[[str], None] | None = None,
) -> None:
    """Fine-tunes a model on exchanges, all of them in each step, and writes it to `folder`.

    Args:
      source: the Hugging Face folder to start from.
      folder: the folder to write.
      exchanges: (message of the user, message of the model); only the latter is trained on.
      steps: updates.
      learning_rate: AdamW's.
      progress: called with a line of text every 25 steps.
    """
    tokenizer = load_tokenizer(source)
    chat, (model, params), mesh = message_format(family_of(source), tokenizer, source), load_model(source), make_mesh()
    openings = [[*chat.begin, *chat.message("user", user), *chat.open_model] for user, _ in exchanges]
    replies = [[*chat.text(reply), chat.stop_ids[0]] for _, reply in exchanges]
    length = np.array([len(opening) + len(reply) for opening, reply in zip(openings, replies, strict=True)], np.int32)
    size = bucket_of(int(length.max()), BUCKETS)
    tokens, weights = np.zeros((len(exchanges), size), np.int32), np.zeros((len(exchanges), size), np.float32)
    # Every token of the model's messages has the same weight; the weights of the batch add up to one.
    for i, (opening, reply) in enumerate(zip(openings, replies, strict=True)):
        tokens[i, : length[i]] = [*opening, *reply]
        weights[i, len(opening) : length[i]] = 1 / sum(map(len, replies))
    # As many rows as fill the mesh's row shards; the learner pads with empty ones.
    rows = -(-len(exchanges) // num_row_shards(mesh)) * num_row_shards(mesh)
    parts = micro_batches(tokens, length, Signals(likelihood=LikelihoodSignal(weights)), rows, BUCKETS)
    optimizer = adamw(learning_rate=learning_rate, warmup_steps=10)
    state = init_state(shard_params(mesh, model, params), optimizer)
    learner = Learner(model, optimizer, mesh=mesh)
    for step in range(1, steps + 1):
        state, metrics = learner.update(state, parts)
        if progress is not None and (step % 25 == 0 or step == steps):
            progress(f"step {step}: nll {metrics['nll']:.3f}")
    save_hf(folder, model.config, state.params, tokenizer_from=source)


if __name__ == "__main__":
    sys.exit(run_program(main, sys.argv[1:]))
