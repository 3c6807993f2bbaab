"""A run's folder: all that a run writes, so that a run which is stopped leaves complete lines and files."""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

import numpy as np

from sml_jax.common.atomic import replacing
from sml_jax.common.errors import UserError
from sml_jax.common.paths import user_path
from sml_jax.run.io.json_lines import damaged_path, drop_torn_line, keep_records, repair_log, writing
from sml_jax.run.io.lock import LOCK_NAME, FolderLock
from sml_jax.run.io.tracker import Tracker, TrackerGroup
from sml_jax.run.io.trackers import TensorBoard


class RunFolder:
    """Writes `config.gin`, `metrics.jsonl`, `dialogues.jsonl`, `eval.json` and `tensorboard/` in a run's folder.

    Only one process should write to a folder, after `hold`. Use it as a context manager, or call `close`.

    Args:
      path: the run's folder; made, with its parents, if it does not exist. Files in it are not deleted, and logs are
        appended to.
      trackers: get the metrics too.

    Attributes:
      path: the run's folder, absolute.
      config_path, fit_path, metrics_path, dialogues_path, replies_path, eval_path: of the files in it.
      checkpoints_path, tensorboard_path: of the folders in it.

    Raises:
      UserError: the folder cannot be made or written to, or one of these names is taken by something else.
    """

    def __init__(self, path: str | os.PathLike[str], trackers: Sequence[Tracker] = (TensorBoard(),)):
        # Is there a folder, and may this process write to it? An empty file is the surest test.
        self.path = user_path(path).absolute()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.path):
                pass
        except OSError as error:
            raise UserError(
                f"cannot write to workdir {self.path} ({error.strerror}): give --workdir a folder you may write to."
            ) from error
        self.config_path = self.path / "config.gin"
        self.fit_path = self.path / "fit.json"
        self.metrics_path = self.path / "metrics.jsonl"
        self.dialogues_path = self.path / "dialogues.jsonl"
        self.replies_path = self.path / "replies.jsonl"  # see `sml_jax.run.io.replies`
        self.eval_path = self.path / "eval.json"
        self.checkpoints_path = self.path / "checkpoints"
        self.tensorboard_path = self.path / "tensorboard"
        files = (self.config_path, self.fit_path, self.metrics_path, self.dialogues_path, self.replies_path)
        _check_kinds(
            (*files, self.eval_path), (self.checkpoints_path, self.checkpoints_path / "steps", self.tensorboard_path)
        )
        # Logs are opened at their first line, and trackers at their first point.
        self._logs = (self.metrics_path, self.dialogues_path)
        self._files: dict[Path, TextIO] = {}
        self._trackers = TrackerGroup(trackers, self.path)
        self._lock: FolderLock | None = None

    def hold(self) -> None:
        """Keeps other runs out of the folder until the `with` block ends. Whatever is written then looks first.

        Raises:
          UserError: another run holds the folder. Whatever is written later raises it, too, if another run has taken
            the folder over.
        """
        lock = FolderLock(self.path / LOCK_NAME)
        lock.acquire()
        self._lock = lock

    def check_held(self) -> None:
        """Looks whether this run still holds the folder; whatever is written into it looks first.

        Raises:
          UserError: another run has taken the folder over.
        """
        if self._lock is not None:
            self._lock.check()

    def log_metrics(self, step: int, stage: str, values: Mapping[str, Any]) -> None:
        """Adds one line to `metrics.jsonl` and one point to each curve `STAGE/NAME` of the trackers.

        Args:
          step: counted over the whole run, not within a stage, so that a resumed run knows which lines to drop.
          stage: the stage's name.
          values: scalars by name (Python, NumPy or JAX). A value that is not finite becomes null in the line, and adds
            no point.

        Raises:
          ValueError: a value is not a scalar, or is named "step" or "stage".
          UserError: the file cannot be written.
        """
        if reserved_names := {"step", "stage"} & set(values):
            raise ValueError(
                f"metrics may not be named {sorted(reserved_names)}: these name the line's step and stage."
            )
        # All values are looked at before anything is written.
        scalars = {name: _scalar(name, value) for name, value in values.items()}
        self.check_held()
        self._append(self.metrics_path, {"step": int(step), "stage": stage, **scalars})
        points = {f"{stage}/{name}": value for name, value in scalars.items() if value is not None}
        self._trackers.log(int(step), points)

    def append_dialogues(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Adds a line for each record to `dialogues.jsonl`.

        Args:
          records: made by `sml_jax.dialogue.records.dialogue_record`.

        Raises:
          UserError: the file cannot be written.
        """
        self.check_held()
        for record in records:
            self._append(self.dialogues_path, record)

    def write_config(self, text: str) -> None:
        """Writes `config.gin`. A reader sees the old file or the new one, never a part.

        Args:
          text: the operative configuration.

        Raises:
          UserError: the file cannot be written.
        """
        self.check_held()
        with writing(self.config_path), replacing(self.config_path) as file:
            file.write(text.encode("utf-8"))

    def write_eval(self, results: Mapping[str, Any]) -> None:
        """Writes `eval.json`. A reader sees the old file or the new one, never a part.

        Args:
          results: nested mappings and lists; see `to_json` for the values that are allowed.

        Raises:
          UserError: the file cannot be written.
        """
        text = json.dumps(to_json(results), indent=2, allow_nan=False) + "\n"
        self.check_held()
        with writing(self.eval_path), replacing(self.eval_path) as file:
            file.write(text.encode("utf-8"))

    def log_lengths(self) -> dict[str, int]:
        """Writes the logs safely to disk and returns the length in bytes of each, by file name, for a checkpoint."""
        self.check_held()
        # A checkpoint must not count lines that a power failure can still take away.
        for file in self._files.values():
            os.fsync(file.fileno())
        return {path.name: path.stat().st_size if path.exists() else 0 for path in self._logs}

    def rewind(self, positions: Mapping[str, int], step: int) -> list[str]:
        """Removes what was logged after a checkpoint, before a run continues from it.

        Lines before it that are no JSON objects are moved to a file beside the log.

        Args:
          positions: lengths in bytes of the logs at that checkpoint, by file name; a log without one is emptied.
          step: of that checkpoint. Records of later steps are removed, and trackers may hide their points.

        Returns:
          For each log that is missing, has become shorter than it was at the checkpoint, or held damaged lines, a
          sentence that says so.
        """
        self.close()
        self.check_held()
        warnings = []
        for path in self._logs:
            warnings += _rewind_log(path, positions.get(path.name, 0), step)
        # What trackers have is not cut: they are told what is logged again.
        if step >= 0 or self.tensorboard_path.exists():
            self._trackers.go_on_from(step)
        return warnings

    def forget_evaluation(self) -> None:
        """Removes what an earlier evaluation wrote: `eval.json`, and the records with a field `suite`."""
        self.close()
        self.check_held()
        if self.dialogues_path.exists():
            keep_records(self.dialogues_path, lambda record: "suite" not in record)
        self.eval_path.unlink(missing_ok=True)

    def close(self) -> None:
        """Writes out and closes every file. A later call that logs opens them again."""
        while self._files:
            # A line that could not be written was reported then, and is still in the buffer.
            with suppress(OSError):
                self._files.popitem()[1].close()
        self._trackers.close()

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _append(self, path: Path, record: Mapping[str, Any]) -> None:
        """Adds a line of JSON to a log."""
        # The process before may have been killed within a line.
        if path not in self._files:
            drop_torn_line(path)
            self._files[path] = path.open("a", encoding="utf-8", newline="\n")
        # One write of a whole line: a crash between lines tears none.
        with writing(path):
            self._files[path].write(json.dumps(to_json(record), allow_nan=False) + "\n")
            self._files[path].flush()


def to_json(value: Any) -> Any:
    """Nested mappings, sequences, arrays and scalars (Python, NumPy, JAX) as plain Python values that JSON can hold.

    NaN and infinities become None, JSON's null. Keys become strings.

    Raises:
      TypeError: a value has no such form.
    """
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    if hasattr(value, "__array__"):
        # tolist gives Python numbers; going through the list again turns what is not finite into null.
        return to_json(np.asarray(value).tolist())
    raise TypeError(f"{type(value).__name__} has no JSON form: {value!r}")


def _scalar(name: str, value: Any) -> float | int | None:
    """A metric as a plain number; None if it is not finite. Raises ValueError for anything else."""
    number = to_json(value)
    if number is None or isinstance(number, int | float):
        return number
    raise ValueError(f"metric {name!r} is not a scalar: {number!r}")


def _rewind_log(path: Path, length: int, step: int) -> list[str]:
    """Cuts a log back to its length at the checkpoint of a step; returns what was wrong with it, in sentences."""
    if not path.exists():
        return [f"{path} is missing; it had {length} bytes at the checkpoint"] if length else []
    # The log may be shorter than it was, if the disk lost its end.
    os.truncate(path, min(path.stat().st_size, length))
    drop_torn_line(path)
    aside, sentences = damaged_path(path), []
    earlier = f" ({aside.name} beside it holds lines that were taken out of it)" if aside.exists() else ""
    repair = repair_log(path, step)
    if lost := length - path.stat().st_size - repair.damaged_bytes:
        sentences.append(f"{path} has lost {lost} bytes that it had at the checkpoint{earlier}")
    if repair.damaged_lines:
        sentences.append(
            f"lines of {path} that are no JSON objects now lie in {aside}: {repair.damaged_lines}, of "
            f"{repair.damaged_bytes} bytes together; the first was line {repair.first_number}"
        )
    return sentences


def _check_kinds(files: Iterable[Path], folders: Iterable[Path]) -> None:
    """Raises UserError if a file or folder that a run writes exists as something else, or cannot be written to."""
    for path in files:
        if path.exists() and not path.is_file():
            raise UserError(f"{path} is no file, but a run writes one there: remove it, or give another --workdir")
    for path in folders:
        if path.exists() and not path.is_dir():
            raise UserError(f"{path} is no folder, but a run makes one there: remove it, or give another --workdir")
    for path in (*files, *folders):
        if path.exists() and not os.access(path, os.W_OK):
            raise UserError(f"cannot write to {path} (no permission): give a --workdir that you may write to")
