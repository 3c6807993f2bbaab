"""Files of JSON lines after a crash: half-written lines go, damaged ones are set aside, what is sound stays."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sml_jax.common.atomic import replacing
from sml_jax.common.errors import UserError
from sml_jax.common.json_text import parse_json


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """A context manager that turns an OSError of its body, such as a full disk, into a UserError that names the file.

    Args:
      path: the file that the body writes.
    """
    try:
        yield
    except OSError as error:
        raise UserError(
            f"cannot write {path} ({error.strerror or error}): make room, or see that it can be written to, and start "
            "again with the same --workdir, which goes on from the last checkpoint"
        ) from error


def damaged_path(path: Path) -> Path:
    """Where the damaged lines of a log are put."""
    return path.with_name(path.name + ".damaged")


def drop_torn_line(path: Path) -> None:
    """Removes what follows the last newline: a line that a crash left half written."""
    if not path.exists():
        return
    with path.open("rb+") as file:
        # From the end backwards, block by block: the last newline is near in all but odd cases.
        end = file.seek(0, os.SEEK_END)
        while end > 0:
            start = max(0, end - 65536)
            file.seek(start)
            newline_index = file.read(end - start).rfind(b"\n")
            if newline_index >= 0:
                end = start + newline_index + 1
                break
            end = start
        file.truncate(end)


def keep_records(path: Path, wanted: Callable[[dict[str, Any]], bool]) -> None:
    """Rewrites a file of JSON lines with those alone whose record is `wanted`.

    Raises:
      UserError: a line is no JSON object. The file stays as it is, apart from a half-written last line.
    """
    drop_torn_line(path)
    # Bytes, since only "\n" ends a line; text would end one at other characters too.
    with path.open("rb") as lines, replacing(path) as kept_lines:
        for number, line in enumerate(lines, start=1):
            try:
                is_wanted = wanted(_record(line))
            except ValueError as error:
                raise UserError(
                    f"{path} line {number} is no record of a dialogue: remove that line and start again"
                ) from error
            if is_wanted:
                kept_lines.write(line)


@dataclass(frozen=True)
class LogRepair:
    """What `repair_log` found.

    Attributes:
      damaged_lines: how many lines were no JSON objects, and were set aside.
      damaged_bytes: their length.
      first_number: of the first of them, counted from 1; 0 if there is none.
    """

    damaged_lines: int = 0
    damaged_bytes: int = 0
    first_number: int = 0


def repair_log(path: Path, last_step: int) -> LogRepair:
    """Moves damaged lines of a log to `damaged_path(path)`, and drops lines at the end that belong to later steps.

    A log that has lost lines is shorter than older checkpoints say, so that their byte offsets would leave lines behind
    that the run is about to write again. The steps in the records tell them.

    Args:
      path: a log of whole lines; it must exist.
      last_step: records at the end of the log with a larger `step` are dropped.

    Raises:
      UserError: the log or the file beside it cannot be written.
    """
    # First the log is only looked at: nearly always nothing is wrong with it.
    damaged: set[int] = set()
    end = position = damaged_byte_count = number = 0
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            position += len(line)
            try:
                step = _record(line).get("step")
            except ValueError:
                damaged.add(number)
                damaged_byte_count += len(line)
                continue
            if not isinstance(step, int) or step <= last_step:
                end = position
    with writing(path):
        if damaged:
            _set_aside(path, damaged, end)
        elif end < position:
            os.truncate(path, end)
    return LogRepair(len(damaged), damaged_byte_count, min(damaged, default=0))


def _set_aside(path: Path, damaged: set[int], end: int) -> None:
    """Moves the lines with these numbers to the file beside the log, and drops the others from byte `end` on."""
    position = 0
    with path.open("rb") as lines, damaged_path(path).open("ab") as aside, replacing(path) as kept_lines:
        for number, line in enumerate(lines, start=1):
            position += len(line)
            if number in damaged:
                aside.write(line)
            elif position <= end:
                kept_lines.write(line)
        # The damaged lines are safe before the log without them takes the log's name.
        aside.flush()
        os.fsync(aside.fileno())


def _record(line: bytes) -> dict[str, Any]:
    """The JSON object on a line. Raises ValueError where there is none."""
    record = parse_json(line.decode("utf-8"))
    if not isinstance(record, dict):
        raise ValueError("no JSON object")
    return record
