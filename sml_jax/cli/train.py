"""`sml-jax train`: runs a recipe's stages and evaluates what came of them."""

from __future__ import annotations

from collections.abc import Sequence

from sml_jax.cli.flags import PROCESS_FLAGS, ProgramFlag, parse_program_flags, process_group_of
from sml_jax.common.errors import UserError

DESCRIPTION = """Runs the training stages of a recipe, then evaluates base and trained model side by side.

The folder --workdir holds config.gin, metrics.jsonl, dialogues.jsonl, eval.json, checkpoints/ and tensorboard/.
A run that was stopped goes on from its last checkpoint when it is started again with the same command.

Exit codes: 0 done; 2 something for you to mend; 75 stopped by SIGTERM or SIGINT with its state saved; 76 another
process of the run was lost. After 75 and 76, start it again."""
RESUME = ProgramFlag(
    "resume", "auto: go on if a run is there; must: else it is an error; never: a run there is an error", default="auto"
)


def main(argv: Sequence[str]) -> int:
    """`sml-jax train`: runs a recipe's stages and evaluates the trained model beside the base model.

    Args:
      argv: the arguments, without the program's name.

    Returns:
      The exit code 0.

    Raises:
      UserError: a flag or the recipe is wrong, or the recipe has no stages.
      Stopped: a signal asked the run to stop; its state is saved.
    """
    flags = parse_program_flags("sml-jax train", DESCRIPTION, argv, [RESUME, *PROCESS_FLAGS])
    # After the flags, so that --help and a misspelt flag need not wait for JAX.
    from sml_jax.common.compilation_cache import keep_executables
    from sml_jax.distributed.membership import join_group

    keep_executables()
    # The processes join before anything uses JAX, which importing a run may do.
    with join_group(process_group_of(flags)):
        from sml_jax.gin_config.load import load_experiment

        experiment, config = load_experiment(flags.gin_files, flags.gin_bindings)
        if not experiment.stages:
            raise UserError(
                "the recipe has no stages to train: bind experiment.Experiment.stages (gin/stages), or measure a "
                "model with sml-jax evaluate"
            )
        experiment.train(flags.workdir, config, flags.resume)
    return 0
