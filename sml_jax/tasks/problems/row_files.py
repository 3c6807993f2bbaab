"""Reads files of rows, in the format that their name says; each row comes with the place where it stands."""

from __future__ import annotations

import gzip
import io
import json
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sml_jax.common.errors import UserError
from sml_jax.tasks.problems.parquet import parquet_rows

_BOM = b"\xef\xbb\xbf"
_SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".json.gz", ".parquet")


class BadRow(ValueError):
    """A row of a data file cannot be used. The error's text says why."""


@dataclass(frozen=True)
class Row:
    """A row of a data file, and its place there.

    Attributes:
      file: path of the file.
      number: number of the row's line, from 1; of the row itself in a format without lines (Parquet).
      value: what was read, usually a dictionary; a BadRow object if the row could not be read.
      label: unique text for the row among all that are read: its `number`, or "3.2" for the second row of line 3. If a
        folder is read, the file's path in it comes before that: "algebra/12:3".
    """

    file: str
    number: int
    value: Any
    label: str


def located_rows(path: Path) -> Iterator[Row]:
    """Yields the rows of a file, or of all data files below a folder, in the order of the files' paths.

    Args:
      path: of the file or folder. The name of a file tells its format, see `rows.read_rows`.

    Raises:
      UserError: a file is missing or damaged, or the folder has no data files.
    """
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.name.endswith(_SUFFIXES))
        if not files:
            raise UserError(f"cannot read {path}: the folder holds no file that ends in {', '.join(_SUFFIXES)}")
        for file in files:
            name = file.relative_to(path).as_posix().partition(".")[0]
            for number, label, value in _labelled(file):
                yield Row(str(file), number, value, f"{name}:{label}")
    else:
        for number, label, value in _labelled(path):
            yield Row(str(path), number, value, label)


def _labelled(path: Path) -> Iterator[tuple[int, str, object]]:
    """Number, label and value of each row: an array may hold all its elements in one line."""
    previous_number, row_in_line = 0, 0
    for number, value in _numbered(path):
        row_in_line = row_in_line + 1 if number == previous_number else 1
        previous_number = number
        yield number, str(number) if row_in_line == 1 else f"{number}.{row_in_line}", value


def _numbered(path: Path) -> Iterator[tuple[int, object]]:
    """Number and value of each row of a file; lines are streamed, a JSON array is read as a whole."""
    if path.name.endswith(".parquet"):
        yield from enumerate(parquet_rows(path), 1)
        return
    # gzip is told by its first bytes, as names do not always say it.
    try:
        with path.open("rb") as raw, _unzipped(raw) as file:
            if path.name.endswith((".json", ".json.gz")):
                yield from _json(str(path), file.read())
            else:
                yield from _lines(file)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"cannot read {path} ({error}): the file is damaged; get it again") from None
    except OSError as error:
        raise UserError(
            f"cannot read {path} ({error.strerror}): give the path of a file with one JSON object a line"
        ) from None


def _unzipped(raw: io.BufferedReader) -> io.BufferedIOBase:
    return gzip.GzipFile(fileobj=raw) if raw.peek(2)[:2] == b"\x1f\x8b" else raw


def _lines(lines: Iterable[bytes]) -> Iterator[tuple[int, object]]:
    for number, line in enumerate(lines, 1):
        line = line.removeprefix(_BOM) if number == 1 else line
        if line.strip():
            yield number, _parse(line)


def _json(file: str, content: bytes) -> Iterator[tuple[int, object]]:
    """The elements of an array, each at the line where it starts; the one object; or an object a line."""
    content = content.removeprefix(_BOM)
    start = content.lstrip()[:1]
    if start == b"[":
        yield from _array(file, content)
        return
    value = _parse(content)
    if isinstance(value, dict):
        yield 1, value
    else:
        yield from _lines(content.split(b"\n"))


def _array(file: str, content: bytes) -> Iterator[tuple[int, object]]:
    """The elements of a JSON array, decoded one by one so that each has its line."""
    decoder, line, counted_to = json.JSONDecoder(), 1, 0  # lines are counted up to the place `counted`
    try:
        text = content.decode("utf-8")
        offset = text.index("[") + 1
        while True:
            offset = _after_spaces(text, offset)
            if text[offset] == "]":
                return
            # An element starts here.
            line, counted_to = line + text.count("\n", counted_to, offset), offset
            value, offset = decoder.raw_decode(text, offset)
            yield line, value
            offset = _after_spaces(text, offset)
            if text[offset] == ",":
                offset += 1
            elif text[offset] != "]":
                raise ValueError
    except (ValueError, RecursionError, IndexError):
        raise UserError(f"{file}:{line}: the JSON array breaks off or is damaged here: mend the file") from None


def _after_spaces(text: str, at: int) -> int:
    """The first place from `at` on that is not white space."""
    while text[at] in " \t\r\n":
        at += 1
    return at


def _parse(data: bytes) -> object:
    try:
        return json.loads(data.decode("utf-8"))
    except UnicodeDecodeError:
        return BadRow("not UTF-8 text")
    except (ValueError, RecursionError):
        return BadRow("not JSON")
