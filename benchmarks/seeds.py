"""Prints tables of success over seeds from finished runs: `python benchmarks/seeds.py SUITE RUN_FOLDER...`."""

import sys
from pathlib import Path

from sml_jax.cli.main import run_program
from sml_jax.common.errors import UserError
from sml_jax.evaluate.seeds import effects_markdown, load_results, seeds_markdown


def main(argv: list[str]) -> int:
    if len(argv) < 3:
        raise UserError("usage: python benchmarks/seeds.py SUITE RUN_FOLDER RUN_FOLDER ... (at least two runs)")
    # One run for each seed; the intervals are over runs.
    results = load_results([Path(folder) for folder in argv[1:]])
    print(effects_markdown(results, argv[0]), seeds_markdown(results), sep="\n\n")
    return 0


if __name__ == "__main__":
    sys.exit(run_program(main, sys.argv[1:]))
