"""Measures what share of a run's time the evaluation while training takes.

    python benchmarks/evaluation_share.py

It trains a recipe once in a temporary folder, gin/recipes/pocket_math_online.gin if no other is given, which takes some
minutes. The evaluation before the first step compiles the executables that the rollouts need as well, so compiling is
no part of its time here.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any

from sml_jax.cli.main import run_program

RECIPE = "gin/recipes/pocket_math_online.gin"


def timed(owner: type, name: str) -> list[float]:
    """Replaces a method by one that adds the seconds of each of its calls to the list that is returned."""
    method: Callable[..., Any] = getattr(owner, name)
    seconds: list[float] = []

    @wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        started = time.monotonic()
        try:
            return method(*args, **kwargs)
        finally:
            seconds.append(time.monotonic() - started)

    setattr(owner, name, call)
    return seconds


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gin_file", default=RECIPE)
    parser.add_argument("--gin", action="append", default=[], metavar="NAME=VALUE", help="bindings of the recipe")
    flags = parser.parse_args(argv)
    # Imported here, so that --help need not load JAX.
    from sml_jax.gin_config.load import load_experiment
    from sml_jax.run.best_model import BestModel
    from sml_jax.run.evaluation import Evaluation
    from sml_jax.run.experiment import Experiment
    from sml_jax.run.validation import SuitePlayer, Validation

    # Seconds of each call: an evaluation, its two parts, the final evaluation, and the run.
    whole = timed(Validation, "run")
    compiling, writing = timed(SuitePlayer, "warm_up"), timed(BestModel, "write")
    final, run = timed(Evaluation, "run"), timed(Experiment, "train")
    experiment, config = load_experiment([flags.gin_file], flags.gin)
    with tempfile.TemporaryDirectory() as folder:
        experiment.train(Path(folder) / "run", config, "never")
    spent = sum(whole) - sum(compiling)
    print(
        f"{len(whole)} evaluations took {spent:.1f} s, {sum(writing):.1f} s of it to write {len(writing)} best models"
    )
    print(f"the run took {sum(run):.0f} s, {sum(final):.0f} s of it the final evaluation")
    print(f"share of the run: {100 * spent / sum(run):.1f} %, without the final evaluation ", end="")
    print(f"{100 * spent / (sum(run) - sum(final)):.1f} %")
    return 0


if __name__ == "__main__":
    sys.exit(run_program(main, sys.argv[1:]))
