"""Greedy answers of a real chat model, in one turn, through our engine and through `transformers`: pass@1 of both.

    python benchmarks/pass_at_1.py --model=qwen.gguf --task=mbpp --data=mbpp.jsonl --out=DIR --side=sml-jax
    python benchmarks/pass_at_1.py --model=qwen.gguf --task=mbpp --data=mbpp.jsonl --out=DIR --side=transformers

The first command plays dialogues of one turn as an evaluation does: our prompts, chat format, engine and verifier. The
second gives the same tokens to `transformers`, which reads the same file, and has the replies verified. It goes on
where it was stopped, and then compares: replies that are equal, and, where they part, by how much `transformers`
prefers its own token; that needs torch, transformers and accelerate, and was not run to its end yet. Both sides compute
in float32. For GSM8K give `--task=gsm8k` and its test.jsonl.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from real_model_parity import transformers_logits, transformers_model

from sml_jax.cli.main import run_program
from sml_jax.dialogue import DialogueRules, Prompts, Retry, play
from sml_jax.dialogue.framing import Framing
from sml_jax.engine import Engine, Sampling
from sml_jax.evaluate.statistics import wilson_interval
from sml_jax.models import load_model
from sml_jax.run.chats import FamilyChat
from sml_jax.tasks.datasets.gsm8k import gsm8k
from sml_jax.tasks.datasets.mbpp import mbpp
from sml_jax.tasks.problems.types import Problem, Task
from sml_jax.text import Tokenizer, load_tokenizer

LONGEST_PROMPT = 768  # tokens


@dataclass(frozen=True)
class Reply:
    """A model's reply to one problem.

    Attributes:
      id: of the problem. prompt: the student's context, as tokens. tokens: the reply, with the end of its turn.
      text: without it. correct, attempted, detail: the verdict.
    """

    id: str
    prompt: list[int]
    tokens: list[int]
    text: str
    correct: bool
    attempted: bool
    detail: str


def read_replies(path: Path) -> list[Reply]:
    """The replies in a file; none if there is no file."""
    return [Reply(**json.loads(line)) for line in path.read_text().splitlines()] if path.exists() else []


def append_replies(path: Path, replies: Sequence[Reply]) -> None:
    """Adds replies to a file, one JSON object a line."""
    with path.open("a") as file:
        file.writelines(json.dumps(vars(reply)) + "\n" for reply in replies)


def our_replies(
    model_path: Path, task: Task, problems: Sequence[Problem], framing: Framing, rows: int, new_tokens: int
) -> list[Reply]:
    """Dialogues of one turn, greedy; whatever the teacher would say, nobody would read it."""
    model, params = load_model(model_path, overrides={"max_length": LONGEST_PROMPT + new_tokens, "attention": "native"})
    engine = Engine(
        model,
        max_concurrent=rows,
        max_length=LONGEST_PROMPT + new_tokens,
        max_new_tokens=new_tokens,
        stop_ids=framing.stop_ids,
        suppressed_ids=framing.suppressed_ids(),
        sampling=Sampling(temperature=0.0),
    )
    rules = DialogueRules(max_turns=1, student_tokens=new_tokens)

    def show(done: float, total: int) -> None:
        print(f"\r{done:.0f} of {total} dialogues", end="", flush=True)

    played = play(task, problems, framing, engine, params, Retry(), rules, seed=0, progress=show)
    print()
    replies = []
    for row, dialogue in enumerate(played.dialogues):
        if dialogue.dropped:
            continue
        tokens = np.asarray(played.transcript.tokens[row])
        student = np.flatnonzero(played.transcript.student[row])
        verdict, (start, end) = dialogue.verdicts[0], (student[0], student[-1] + 1)
        replies.append(
            Reply(
                dialogue.problem_id, tokens[:start].tolist(), tokens[start:end].tolist(), dialogue.turns[1].text,
                verdict.correct, verdict.attempted, verdict.detail,
            )
        )  # fmt: skip
    return replies


def their_replies(
    model: Any, ours: Sequence[Reply], framing: Framing, decode: Callable[[Sequence[int]], str], judge: Callable,
    rows: int, new_tokens: int,
) -> Iterator[list[Reply]]:  # fmt: skip
    """Replies of `transformers` to the same tokens, in batches of problems with prompts of like length."""
    import torch

    ordered = sorted(ours, key=lambda reply: len(reply.prompt))
    for begin in range(0, len(ordered), rows):
        batch = ordered[begin : begin + rows]
        longest = max(len(reply.prompt) for reply in batch)
        # Padding on the left, masked; which token fills it makes no difference.
        ids = torch.full((len(batch), longest), framing.stop_ids[0])
        mask = torch.zeros_like(ids)
        for i, reply in enumerate(batch):
            ids[i, longest - len(reply.prompt) :] = torch.tensor(reply.prompt)
            mask[i, longest - len(reply.prompt) :] = 1
        out = model.generate(
            input_ids=ids, attention_mask=mask, max_new_tokens=new_tokens, do_sample=False,
            eos_token_id=list(framing.stop_ids), pad_token_id=framing.stop_ids[0],
            suppress_tokens=list(framing.suppressed_ids()) or None,
        )  # fmt: skip
        replies = []
        for reply, generated in zip(batch, out[:, longest:].tolist(), strict=True):
            ends = [at for at, token in enumerate(generated) if token in framing.stop_ids]
            tokens = generated[: ends[0] + 1] if ends else generated
            text = decode(tokens[:-1] if ends else tokens)
            verdict = judge(reply.id, text)
            replies.append(
                Reply(reply.id, reply.prompt, tokens, text, verdict.correct, verdict.attempted, verdict.detail)
            )
        yield replies


def compare(model: Any, ours: Sequence[Reply], theirs: Sequence[Reply]) -> None:
    """Prints pass@1 of both sides and how far replies that differ are from a tie."""
    for name, replies in (("sml-jax", ours), ("transformers", theirs)):
        passed = sum(reply.correct for reply in replies)
        low, high = wilson_interval(passed, len(replies))
        print(
            f"{name}: pass@1 {passed} of {len(replies)}, {100 * passed / len(replies):.1f} % "
            f"[{100 * low:.1f}, {100 * high:.1f}]; {sum(not reply.attempted for reply in replies)} without an attempt"
        )
    by_id, gaps, other_verdicts = {reply.id: reply for reply in theirs}, [], 0
    for reply in ours:
        other = by_id[reply.id]
        if reply.tokens == other.tokens:
            continue
        other_verdicts += reply.correct != other.correct
        same = next(i for i, (a, b) in enumerate(zip(reply.tokens, other.tokens, strict=False)) if a != b)
        logits = transformers_logits(model, np.array(reply.prompt + reply.tokens[:same]))[-1]
        gaps.append(float(logits[other.tokens[same]] - logits[reply.tokens[same]]))
    print(f"equal replies: {len(ours) - len(gaps)} of {len(ours)}; verdicts that differ: {other_verdicts}")
    if gaps:
        print(f"where replies part, transformers prefers its own token by at most {max(gaps):.1e} (logits)")


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="a GGUF file")
    parser.add_argument("--task", choices=("mbpp", "gsm8k"), required=True)
    parser.add_argument("--data", type=Path, required=True, help="mbpp.jsonl, or GSM8K's test.jsonl")
    parser.add_argument("--out", type=Path, required=True, help="a folder for the replies")
    parser.add_argument("--side", choices=("sml-jax", "transformers"), required=True)
    parser.add_argument("--problems", type=int, default=200)
    parser.add_argument("--rows", type=int, default=16, help="problems at once")
    parser.add_argument("--new_tokens", type=int, default=256, help="of a reply at most")
    args = parser.parse_args(argv)

    if args.task == "mbpp":
        task, prompts = mbpp(str(args.data)), Prompts(student="student_code", teacher="teacher_code")
    else:
        task, prompts = gsm8k(str(args.data), str(args.data)), Prompts()
    problems = task.problems("test")[: args.problems]
    framing = FamilyChat(str(args.model), prompts=prompts).framing()
    args.out.mkdir(parents=True, exist_ok=True)
    ours_path, theirs_path = (args.out / f"{args.task}_{side}.jsonl" for side in ("sml-jax", "transformers"))

    if args.side == "sml-jax":
        ours_path.unlink(missing_ok=True)
        ours = our_replies(args.model, task, problems, framing, args.rows, args.new_tokens)
        append_replies(ours_path, ours)
        print(f"pass@1: {sum(reply.correct for reply in ours)} of {len(ours)}; {ours_path}")
        return 0

    ours, theirs = read_replies(ours_path), read_replies(theirs_path)
    tokenizer: Tokenizer = load_tokenizer(args.model)
    by_id = {problem.id: problem for problem in problems}
    model = transformers_model(args.model)
    done = {reply.id for reply in theirs}

    def judge(problem_id: str, text: str) -> Any:
        return task.verify([(by_id[problem_id], text)])[0]

    left = [reply for reply in ours if reply.id not in done]
    for replies in their_replies(model, left, framing, tokenizer.decode, judge, args.rows, args.new_tokens):
        append_replies(theirs_path, replies)
        theirs += replies
        print(f"{len(theirs)} of {len(ours)}", flush=True)
    compare(model, ours, theirs)
    return 0


if __name__ == "__main__":
    sys.exit(run_program(main, sys.argv[1:]))
