"""Which checkpoint a run goes on from: the newest one that is complete."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sml_jax.common.errors import UserError
from sml_jax.run.checkpoint_record import read_record
from sml_jax.run.io.manifest import find_change, find_damage

# How Orbax names a checkpoint that is still being written.
TEMPORARY_MARK = ".orbax-checkpoint-tmp"


def newest_checkpoint(folder: Path) -> tuple[dict[str, Any] | None, list[str]]:
    """Finds the newest complete checkpoint, and moves newer ones, which are damaged, to `checkpoints/damaged`.

    Args:
      folder: `checkpoints/steps` of a run.

    Returns:
      The checkpoint's record as plain JSON values, None if there is no checkpoint; and a sentence for each damaged one.

    Raises:
      UserError: there are checkpoints and none is complete (they are left where they are), or a damaged one cannot be
        moved.
    """
    # Orbax would clear these too, but only beside the first write.
    for leftover in folder.glob(f"*{TEMPORARY_MARK}*"):
        shutil.rmtree(leftover)
    damage_of_step: dict[int, str] = {}
    steps = [int(path.name) for path in folder.glob("*") if re.fullmatch(r"\d+", path.name)]
    for step in sorted(steps, reverse=True):
        path = folder / str(step)
        record = read_record(path)
        # First the checkpoint's own files, then those of the run's folder that its stage needs.
        trouble = find_damage(path) or ("" if record else "position/metadata cannot be read")
        if record is not None and not trouble:
            trouble = find_change(folder.parent.parent, record.files)
        if record is not None and not trouble:
            return asdict(record), [
                _set_aside(folder / str(damaged_step), reason) for damaged_step, reason in damage_of_step.items()
            ]
        damage_of_step[step] = trouble
    # There are checkpoints, and not one of them is complete.
    if damage_of_step:
        listing = "; ".join(f"step {step}: {reason}" for step, reason in damage_of_step.items())
        raise UserError(
            f"every checkpoint in {folder} is damaged ({listing}): start again with another --workdir, or put whole "
            "ones in their place"
        )
    return None, []


def _set_aside(path: Path, trouble: str) -> str:
    """Moves a damaged checkpoint to `checkpoints/damaged`, so that its step can be saved again; returns a sentence."""
    new_path = _free_path(path.parent.parent / "damaged", path.name)
    try:
        os.rename(path, new_path)
    except OSError as error:
        raise UserError(
            f"the checkpoint {path} is damaged ({trouble}) and cannot be moved aside ({error.strerror}): remove it"
        ) from error
    return f"the checkpoint of step {path.name} is damaged ({trouble}); it now lies in {new_path}"


def _free_path(folder: Path, name: str) -> Path:
    """A path in `folder` that does not exist yet: `name`, or `name` with a number after it."""
    # The same step may have been damaged before.
    folder.mkdir(parents=True, exist_ok=True)
    taken_count = sum(path.name.partition("-")[0] == name for path in folder.iterdir())
    return folder / (f"{name}-{taken_count}" if taken_count else name)
