"""A run's folder among several processes: all see it, one writes."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sml_jax.common.errors import UserError
from sml_jax.distributed.processes import all_gather, broadcast, is_primary, process_count
from sml_jax.run.io.folder import RunFolder
from sml_jax.run.io.tracker import Tracker


class SilentFolder(RunFolder):
    """A `RunFolder` with the same paths that writes no file. All processes but the first have one.

    The folder is made and checked all the same, since Orbax writes each process's part of a checkpoint there.
    """

    def hold(self) -> None:
        """Takes no lock: process 0 holds the folder for all."""

    def log_metrics(self, step: int, stage: str, values: Mapping[str, Any]) -> None:
        """Writes nothing."""

    def append_dialogues(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Writes nothing."""

    def write_config(self, text: str) -> None:
        """Writes nothing."""

    def write_eval(self, results: Mapping[str, Any]) -> None:
        """Writes nothing."""

    def log_lengths(self) -> dict[str, int]:
        """No lengths: {}."""
        return {}

    def rewind(self, positions: Mapping[str, int], step: int) -> list[str]:
        """Removes nothing, and returns no sentence."""
        return []

    def forget_evaluation(self) -> None:
        """Removes nothing."""


def open_folder(path: str | os.PathLike[str], trackers: Sequence[Tracker] = ()) -> RunFolder:
    """Opens the run's folder in this process: in process 0 one that writes, in the others one that does not.

    Args:
      path: the folder, as the user gave it.
      trackers: get the metrics that are logged.

    Raises:
      UserError: see `RunFolder` and `RunFolder.hold`; or the processes do not see the same folder, and so could write
        no checkpoint.
    """
    folder = RunFolder(path, trackers) if is_primary() else SilentFolder(path)
    # Process 0 holds it for all of them. Where it may not, the others learn from its end that they must end too.
    folder.hold()
    # On a disk that each process has to itself, checkpoints would fall apart.
    try:
        _check_shared(folder)
    except BaseException:
        folder.__exit__(None, None, None)
        raise
    return folder


def _check_shared(folder: RunFolder) -> None:
    """Raises UserError, in every process, if one does not see the files that process 0 writes."""
    if process_count() == 1:
        return
    # Process 0 puts down a file under a name that nobody else uses, and every process looks for it.
    marker_name, primary_path = broadcast([f".shared-{os.getpid()}-{secrets.token_hex(4)}", str(folder.path)])
    marker = folder.path / marker_name
    if is_primary():
        marker.touch()
    # A barrier: nobody looks before the file is there.
    all_gather(None)
    seen_by_process = all_gather(marker.exists())
    if is_primary():
        marker.unlink()
    if not all(seen_by_process):
        raise UserError(
            f"process {seen_by_process.index(False)} does not see the files that process 0 writes to "
            f"{primary_path}: give a --workdir on a disk that all processes share"
        )
