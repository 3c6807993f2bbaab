"""Measures verdicts a second of the mathematics verifier, beside math-verify alone on the same answers.

    python benchmarks/verify_math.py --data=FOLDER [--n=2000] [--algebra=200]

FOLDER holds gsm8k/test.jsonl and math_eval/college_math.jsonl. Half the attempts are right, half are the answer of
another problem. A figure is the best of three runs over new texts; no text is judged twice. Other work on the machine
lowers the figures.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import re
import time
from collections.abc import Callable
from pathlib import Path

from math_verify import parse, verify

from sml_jax.tasks import verify_math
from sml_jax.tasks.math.equivalence import shared_pool
from sml_jax.tasks.math.verify import verify_math_many

Pairs = list[tuple[str, str]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--n", type=int, default=2000, help="attempts at GSM8K's problems")
    parser.add_argument("--algebra", type=int, default=200, help="attempts at college_math's problems")
    flags = parser.parse_args()
    logging.disable(logging.CRITICAL)

    solutions = [json.loads(line)["answer"] for line in (flags.data / "gsm8k/test.jsonl").read_text().splitlines()]
    algebra = [
        json.loads(line)["answer"] for line in (flags.data / "math_eval/college_math.jsonl").read_text().splitlines()
    ]
    algebra = [answer for answer in algebra if re.fullmatch(r"\$[^$]{1,80}\$", answer)]
    # One pair that needs algebra, so that the processes run before anything is timed.
    verify_math(r"\sqrt{4}", r"\boxed{2 \sqrt{1}}")
    for name, golds, count in (("GSM8K", solutions, flags.n), ("college_math", algebra, flags.algebra)):
        ours, alone = [], []
        for turn in range(3):
            pairs = _pairs(golds, count, turn)
            ours.append(_rate(pairs, verify_math_many))
            sample = pairs[: max(50, count // 10)]
            alone.append(_rate(sample, lambda sample: [_alone(*pair) for pair in sample]))
        print(
            f"{name}: {max(ours):.0f} verdicts/s ({shared_pool().workers} processes), math-verify alone "
            f"{max(alone):.0f}/s in one, ratio {max(ours) / max(alone):.1f}"
        )


def _pairs(golds: list[str], count: int, seed: int) -> Pairs:
    """Pairs of gold answer and utterance, every other one right."""
    draw = random.Random(seed)
    pairs = []
    for number in range(count):
        gold, other = draw.sample(golds, 2)
        answer = (gold if number % 2 else other).rpartition("#### ")[2]
        # The random number makes each text new to every cache.
        pairs.append((gold.rpartition("#### ")[2], f"Step {draw.random()}: we add.\nThe answer is {_respelt(answer)}."))
    return pairs


def _respelt(answer: str) -> str:
    """The same value in another spelling, so that comparing texts is not enough."""
    return answer.replace(r"\frac", r"\dfrac").replace("$ ", "$").replace(" ", "  ").replace("(", "( ")


def _rate(pairs: Pairs, judge: Callable[[Pairs], object]) -> float:
    """Verdicts a second."""
    start = time.perf_counter()
    judge(pairs)
    return len(pairs) / (time.perf_counter() - start)


def _alone(gold: str, utterance: str) -> bool:
    """The verdict of math-verify by itself."""
    return bool(verify(parse(gold), parse(utterance.rpartition("The answer is ")[2])))


if __name__ == "__main__":
    main()
