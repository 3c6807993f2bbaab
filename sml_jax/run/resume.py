"""Checks of whether a run may begin in a folder, or go on there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sml_jax.common.errors import UserError
from sml_jax.run.checkpoint_record import Record
from sml_jax.run.io.config_change import config_changes, references, settings, split_name
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


def check_found(
    folder: RunFolder, record: Record | None, config: str, resume: str, lengths: Sequence[str] = ()
) -> None:
    """Refuses to continue without a checkpoint if one is required, or under another configuration than the run's own.

    Two things may be asked for later as if they had been asked for at once: another evaluation, since it comes after
    the training, and more steps of a stage that the run has not left behind.

    Args:
      folder: the run's.
      record: of the newest checkpoint; None if there is none.
      config: the configuration asked for.
      resume: one of `RESUME`.
      lengths: for each stage of the run, the name of the setting that says how long it is; "" for none.

    Raises:
      UserError: the configurations differ (the error lists the settings), or `resume` is "must" and there is no
        checkpoint.
    """
    if resume == "must" and record is None:
        raise UserError(
            f"{folder.path} holds no checkpoint and --resume=must: give the --workdir of the run, or --resume=auto"
        )
    stored = None if record is None else record.config
    # A run that was stopped before its first checkpoint has left its configuration in the folder.
    if stored is None and folder.config_path.exists():
        stored = folder.config_path.read_text()
    if stored is None:
        return
    changes = config_changes(stored, config)
    longer_names = _longer_stages(folder, changes, config, record.position.stage if record else 0, lengths)
    lines = [f"{name}: {old} -> {new}" for name, (old, new) in changes.items() if name not in longer_names]
    if lines:
        shown_changes = "; ".join(lines[:_CHANGES_SHOWN])
        more_text = f"; and {len(lines) - _CHANGES_SHOWN} more" if len(lines) > _CHANGES_SHOWN else ""
        # The likeliest reason is a schedule that follows the number of steps: then another run is the only way.
        steps_text = (
            " (more steps are allowed where all else stays: a schedule that ends at a certain step, such as "
            "adamw.decay_steps, would have gone another way from the first step on)"
            if longer_names
            else ""
        )
        raise UserError(
            f"the run in {folder.path} began with another configuration ({shown_changes}{more_text}): give "
            f"another --workdir, or the configuration that it began with{steps_text}"
        )


def _longer_stages(
    folder: RunFolder, changes: Mapping[str, tuple[str, str]], config: str, stage: int, lengths: Sequence[str]
) -> set[str]:
    """Those of the changed settings that make a stage longer and change nothing that the run has done.

    Args:
      folder: the run's.
      changes: old and new values by the setting's name.
      config: the configuration asked for, whose `Experiment.stages` tells which settings are of which stage.
      stage: index of the stage that the run has come to.
      lengths: for each stage, the name of the setting that says how long it is.

    Raises:
      UserError: a stage that is over would become longer, or the stage under way shorter.
    """
    stage_lists = [value for name, value in settings(config).items() if name.endswith(".Experiment.stages")]
    stage_references = [reference for value in stage_lists for reference in references(value)]
    longer_names = set()
    for name, (old, new) in changes.items():
        scope, configurable, parameter = split_name(name)
        indices = [
            index
            for index, (reference, length) in enumerate(zip(stage_references, lengths, strict=False))
            if reference == (scope, configurable) and length == parameter
        ]
        if not indices or not (old.isdigit() and new.isdigit()):
            continue
        if indices[0] < stage:
            raise UserError(
                f"the run in {folder.path} has left stage {indices[0] + 1} behind, so {name} can no longer change from "
                f"{old} to {new}: the stages after it would have begun otherwise; give another --workdir"
            )
        if int(new) < int(old):
            raise UserError(
                f"the run in {folder.path} was begun with {name} = {old}, and {new} is less: give at least {old}, or "
                "another --workdir"
            )
        longer_names.add(name)
    return longer_names


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
            f"{problems}): give the data it was started with, or another --workdir. Problems that a suite evaluates on "
            "are left out of training, so a suite that holds some of these needs sml-jax evaluate"
        )
