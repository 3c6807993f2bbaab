"""Reads rows of data files: good ones are built, bad ones named by file and line, others left out and counted."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from sml_jax.common.errors import UserError
from sml_jax.common.paths import user_path
from sml_jax.tasks.problems.row_files import BadRow, located_rows

__all__ = ["BadRow", "LeftOut", "Rows", "check_unicode", "number_or_text", "read_rows", "text", "texts"]

_log = logging.getLogger(__name__)
MAX_BAD_FRACTION = 0.1
_MAX_REPORTED = 10  # bad rows that are named one by one
T = TypeVar("T")


class LeftOut(Exception):
    """Raised by `build` in `read_rows` for a good row that is not wanted. Its text is the reason, for counting."""


@dataclass(frozen=True)
class Rows(Generic[T]):
    """What `read_rows` read.

    Attributes:
      items: what was built of the rows, in order.
      bad: number of rows that could not be used.
      left_out: number of good rows that were not wanted, by reason.
    """

    items: tuple[T, ...]
    bad: int = 0
    left_out: Mapping[str, int] = field(default_factory=dict)


def read_rows(
    path: str | Path,
    build: Callable[[dict[str, Any], str], T],
    *,
    max_bad_fraction: float = MAX_BAD_FRACTION,
    max_rows: int | None = None,
    cure: str = "mend the file, or give the one that docs/data.md names",
) -> Rows[T]:
    """Builds an item from each row of a file, or of every data file below a folder.

    The end of a file's name tells its format: `.jsonl` has one JSON object a line; `.json` an array, a single object,
    or one object a line; `.parquet` is a table. All but the last may be compressed with gzip. Bad rows are named in the
    log, and rows that are left out are counted there.

    Args:
      path: of the file or folder.
      build: is called with a row and its label (see `row_files.Row`) and returns an item. It raises BadRow if the row
        cannot be used, or LeftOut if it is not wanted.
      max_bad_fraction: the largest share of bad rows, from 0 to 1, that is no error.
      max_rows: number of rows to read from the start; None for all.
      cure: what the user can do about too many bad rows; it ends the error's text.

    Raises:
      UserError: a file is missing, unreadable or empty, `max_rows` is below 1, or too many rows are bad.
    """
    if max_rows is not None and max_rows < 1:
        raise UserError(f"max_rows is {max_rows}: give at least 1, or None for all rows")
    items: list[T] = []
    bad_rows: list[str] = []
    left_out_counts: Counter[str] = Counter()
    total_rows = 0
    # Rows are read one by one; each is built, reported as bad, or left out for a reason that is counted.
    for row in located_rows(user_path(path)):
        if max_rows is not None and total_rows == max_rows:
            break
        total_rows += 1
        try:
            items.append(build(_object(row.value), row.label))
        except BadRow as why:
            bad_rows.append(f"{row.file}:{row.number}: {why}")
            if len(bad_rows) <= _MAX_REPORTED:
                _log.warning("%s; row left out", bad_rows[-1])
        except LeftOut as why:
            left_out_counts[str(why)] += 1
    # Then a word on all that was not built, and an error where it is too much.
    if len(bad_rows) > _MAX_REPORTED:
        _log.warning("%s: %d rows left out in all", path, len(bad_rows))
    for reason, count in left_out_counts.items():
        _log.warning("%s: left out %d of %d rows: %s", path, count, total_rows, reason)
    if len(bad_rows) > max_bad_fraction * total_rows:
        raise UserError(f"{len(bad_rows)} of {total_rows} rows cannot be used, the first is {bad_rows[0]}: {cure}")
    if not total_rows:
        raise UserError(f"{path} has no rows: give a file with one JSON object a line")
    return Rows(tuple(items), len(bad_rows), dict(left_out_counts))


def _object(value: object) -> dict[str, Any]:
    """The row as a JSON object; raises BadRow for anything else."""
    if isinstance(value, BadRow):
        raise value
    if not isinstance(value, dict):
        raise BadRow("not a JSON object")
    return value


def text(row: Mapping[str, Any], name: str) -> str:
    """The value of a row's field `name`, which must be a text that is not blank.

    Raises:
      BadRow: the field is missing, no text, blank, or not valid Unicode.
    """
    if name not in row:
        raise BadRow(f'no field "{name}" among {sorted(row)[:8]}')
    value = row[name]
    if not isinstance(value, str):
        raise BadRow(f'field "{name}" is {type(value).__name__}, not a string')
    if not value.strip():
        raise BadRow(f'field "{name}" is empty')
    return check_unicode(value, name)


def number_or_text(row: Mapping[str, Any], name: str) -> str:
    """The value of a row's field `name` as text; a number is written out, 27.0 as "27".

    Raises:
      BadRow: the field is neither a text as `text` wants it nor a finite number.
    """
    value = row.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return text(row, name)
    if isinstance(value, float) and not math.isfinite(value):
        raise BadRow(f'field "{name}" is {value}')
    return str(int(value)) if value == int(value) else repr(value)


def texts(row: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """The value of a row's field `name`, a list of texts, as a tuple; () if the row has no such field.

    Raises:
      BadRow: the field is not a list of texts, or one of them is blank or not valid Unicode.
    """
    value = row.get(name, [])
    if not isinstance(value, list) or not all(isinstance(item, str) and item.strip() for item in value):
        raise BadRow(f'field "{name}" is not a list of strings')
    return tuple(check_unicode(item, name) for item in value)


def check_unicode(value: str, name: str) -> str:
    """Returns `value` if it is valid Unicode.

    Half of a surrogate pair is not: no tokenizer and no file can hold it.

    Args:
      value: a text.
      name: of its field, for the error.

    Raises:
      BadRow: the text has half of a surrogate pair.
    """
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise BadRow(f'field "{name}" holds half of a surrogate pair') from None
    return value
