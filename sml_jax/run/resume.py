"""Checks of whether a run may begin in a folder, or go on there."""

from __future__ import annotations

from sml_jax.common.errors import UserError
from sml_jax.run.checkpoint_record import Record
from sml_jax.run.io.config_change import config_changes
from sml_jax.run.io.folder import RunFolder

# auto: go on if there is a checkpoint, else begin. must: go on, or it is an error. never: a run there is an error.
RESUME = ("auto", "must", "never")
# How many changed settings an error lists.
_CHANGES_SHOWN = 8


def check_new(folder: RunFolder, resume: str) -> None:
    """Checks `resume`, and refuses to begin in a folder that holds a run if the user forbade that.

    Args:
      folder: the run's.
      resume: one of `RESUME`.

    Raises:
      UserError: `resume` is "never" and the folder holds a run, or `resume` is not one of `RESUME`.
    """
    if resume not in RESUME:
        raise UserError(f"resume is {resume!r}: give one of {', '.join(RESUME)}")
    if resume == "never" and (folder.config_path.exists() or any(folder.checkpoints_path.glob("steps/*"))):
        raise UserError(
            f"{folder.path} holds a run already and --resume=never: give another --workdir, or --resume=auto to go on"
        )


def check_found(folder: RunFolder, stored: str | None, config: str, resume: str) -> None:
    """Refuses to continue without a checkpoint if one is required, or under another configuration than the run's own.

    Args:
      folder: the run's.
      stored: the configuration in the newest checkpoint; None if there is no checkpoint.
      config: the configuration asked for.
      resume: one of `RESUME`.

    Raises:
      UserError: the configurations differ (the error lists the settings), or `resume` is "must" and there is no
        checkpoint.
    """
    if resume == "must" and stored is None:
        raise UserError(
            f"{folder.path} holds no checkpoint and --resume=must: give the --workdir of the run, or --resume=auto"
        )
    # A run that was stopped before its first checkpoint has left its configuration in the folder.
    if stored is None and folder.config_path.exists():
        stored = folder.config_path.read_text()
    if stored is None:
        return
    changes = config_changes(stored, config)
    if changes:
        shown_changes = "; ".join(changes[:_CHANGES_SHOWN])
        more_text = f"; and {len(changes) - _CHANGES_SHOWN} more" if len(changes) > _CHANGES_SHOWN else ""
        raise UserError(
            f"the run in {folder.path} began with another configuration ({shown_changes}{more_text}): give "
            "another --workdir, or the configuration that it began with"
        )


def check_record(folder: RunFolder, record: Record, stages: int, problems: str) -> None:
    """Refuses to continue from a checkpoint that does not go with this recipe or these problems.

    Args:
      folder: the run's.
      record: of the checkpoint.
      stages: the number of the recipe's stages.
      problems: fingerprint of the training problems.

    Raises:
      UserError: the checkpoint is of a stage that the recipe does not have, or was made with other problems.
    """
    if record.position.stage >= stages:
        raise UserError(
            f"the run in {folder.path} stopped in stage {record.position.stage + 1}, but this recipe has {stages}: use "
            "another --workdir, or the recipe that it was started with"
        )
    # The order of problems is a function of the seed, so other problems would be another run.
    if record.problems != problems:
        raise UserError(
            f"the training problems are not those that the run in {folder.path} began with ({record.problems}; now "
            f"{problems}): give the data it was started with, or another --workdir"
        )
