"""`sml-jax evaluate`: measures a trained model beside its base, with a recipe's suites."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from sml_jax.cli.main import run_program
from sml_jax.cli.process_flags import PROCESS_FLAGS, group_of
from sml_jax.cli.program_flags import ProgramFlag, parse_program_flags

DESCRIPTION = """Evaluates a checkpoint with a recipe's suites: success by turn, arm beside arm, base beside trained.

--checkpoint is a finished run's folder, or a folder that holds model.json and params/. The folder --workdir gets
config.gin, eval.json and dialogues.jsonl."""


def main(argv: Sequence[str]) -> int:
    """Runs the program; returns its exit code."""
    checkpoint = ProgramFlag("checkpoint", "the model: a finished run's folder or a model folder", required=True)
    flags = parse_program_flags("sml-jax evaluate", DESCRIPTION, argv, [checkpoint, *PROCESS_FLAGS])
    from sml_jax.distributed.joining import joined

    with joined(group_of(flags)):
        from sml_jax.gin_config.load import load_experiment

        experiment, config = load_experiment(flags.gin_files, flags.gin_bindings)
        experiment.evaluate(flags.checkpoint, flags.workdir, config)
    return 0


if __name__ == "__main__":
    sys.exit(run_program(main, sys.argv[1:]))
