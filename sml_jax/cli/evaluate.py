"""`sml-jax evaluate`: measures a trained model beside its base, with a recipe's suites."""

from __future__ import annotations

from collections.abc import Sequence

from sml_jax.cli.flags import PROCESS_FLAGS, ProgramFlag, parse_program_flags, process_group_of

DESCRIPTION = """Evaluates a checkpoint with a recipe's suites: success by turn, arm beside arm, base beside trained.

--checkpoint is a finished run's folder, or a folder that holds model.json and params/, such as RUN/checkpoints/best.
The folder --workdir gets config.gin, eval.json and dialogues.jsonl."""


def main(argv: Sequence[str]) -> int:
    """`sml-jax evaluate`: plays a recipe's suites with a checkpoint and with the base model, and writes the results.

    Args:
      argv: the arguments, without the program's name.

    Returns:
      The exit code 0.

    Raises:
      UserError: a flag, the recipe or the checkpoint is wrong.
    """
    checkpoint = ProgramFlag("checkpoint", "the model: a finished run's folder or a model folder", required=True)
    flags = parse_program_flags("sml-jax evaluate", DESCRIPTION, argv, [checkpoint, *PROCESS_FLAGS])
    # After the flags, so that --help and a misspelt flag need not wait for JAX.
    from sml_jax.common.compilation_cache import keep_executables
    from sml_jax.distributed.membership import join_group

    keep_executables()
    # The processes join before anything uses JAX, which importing a run may do.
    with join_group(process_group_of(flags)):
        from sml_jax.gin_config.load import load_experiment

        experiment, config = load_experiment(flags.gin_files, flags.gin_bindings)
        experiment.evaluate(flags.checkpoint, flags.workdir, config)
    return 0
