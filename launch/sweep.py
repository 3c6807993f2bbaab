"""The points of a sweep: every combination of seeds and values of gin bindings."""

import ast
import hashlib
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

from sml_jax.common.errors import UserError

_NAME = re.compile(r"[A-Za-z_]\w*([./][A-Za-z_]\w*)*")
_LONGEST = 120  # characters of a folder's name


@dataclass(frozen=True)
class Axis:
    """A gin name that is swept.

    Attributes:
      name: a gin name, as in `--gin.NAME=VALUE`.
      values: the values in gin's spelling.
    """

    name: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class Point:
    """One value from every axis.

    Attributes:
      folder: a name for it, fit for a folder; empty where nothing varies.
      bindings: `NAME=VALUE` each.
    """

    folder: str
    bindings: tuple[str, ...]


def parse_seeds(text: str) -> Axis:
    """Reads `--seeds=0,1,2`.

    Args:
      text: whole numbers with commas between.

    Returns:
      An axis of the macro `SEED`.

    Raises:
      UserError: a part is not a whole number, or stands there twice.
    """
    try:
        seeds = [str(int(part)) for part in text.split(",")]
    except ValueError as error:
        raise UserError(f"--seeds={text}: write whole numbers with commas between, e.g. --seeds=0,1,2") from error
    return _axis("SEED", seeds, f"--seeds={text}")


def parse_sweep(text: str) -> Axis:
    """Reads `--sweep='online/adamw.learning_rate=[1e-4,3e-4]'`.

    Args:
      text: `NAME=LIST`, the list in Python's spelling. A text in it that starts with @ or % is a gin reference.

    Returns:
      The axis, each value spelt as it was written.

    Raises:
      UserError: the name or the list is missing, the list is empty, or a value stands there twice.
    """
    name, equals, values = text.partition("=")
    place = f"--sweep={text}"
    if not equals or not _NAME.fullmatch(name):
        raise UserError(f"{place}: write --sweep='NAME=[VALUE, VALUE]', NAME as in --gin.NAME=VALUE")
    try:
        tree = ast.parse(values.strip(), mode="eval").body
        literals = ast.literal_eval(tree)
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise UserError(f"{place}: {values or 'nothing'} is no Python list of plain values") from error
    if not isinstance(tree, ast.List | ast.Tuple) or not tree.elts:
        raise UserError(f"{place}: give a list of values, e.g. --sweep='{name}=[1, 2]'")
    # Values keep their spelling, so that 1e-4 names its folder 1e-4, not 0.0001.
    spelt = [
        value if isinstance(value, str) and value.startswith(("@", "%")) else _source(values.strip(), element)
        for element, value in zip(tree.elts, literals, strict=True)
    ]
    return _axis(name, spelt, place)


def points(axes: Sequence[Axis]) -> list[Point]:
    """Every combination of the axes' values, the last axis fastest.

    Args:
      axes: what varies; none for a single run.

    Returns:
      The points in order, their folders all different.

    Raises:
      UserError: two axes have the same name.
    """
    names = [axis.name for axis in axes]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"{name} is swept twice: put its values into one list")
    # Folders are named by the last part of each name, as long as that tells the axes apart.
    last_parts = [name.replace("/", ".").rpartition(".")[2] for name in names]
    labels = [
        "seed" if name == "SEED" else last if last_parts.count(last) == 1 else name
        for name, last in zip(names, last_parts, strict=True)
    ]
    combinations = []
    for values in itertools.product(*(axis.values for axis in axes)):
        bindings = tuple(f"{name}={value}" for name, value in zip(names, values, strict=True))
        combinations.append(
            Point(",".join(f"{label}={value}" for label, value in zip(labels, values, strict=True)), bindings)
        )
    # Values may hold characters that no folder's name should.
    folders = [re.sub(r"[^A-Za-z0-9._=,+-]", "_", point.folder) for point in combinations]
    return [
        Point(_distinct(folder, point.bindings, folders.count(folder) > 1), point.bindings)
        for folder, point in zip(folders, combinations, strict=True)
    ]


def _axis(name: str, values: Sequence[str], place: str) -> Axis:
    """Makes an axis; raises UserError for a value given twice, since two runs would share a folder."""
    for value in values:
        if values.count(value) > 1:
            raise UserError(f"{place}: {value} stands there twice")
    return Axis(name, tuple(values))


def _source(text: str, node: ast.expr) -> str:
    """How a value is spelt in `text`, on one line."""
    segment = ast.get_source_segment(text, node)
    return ast.unparse(node) if segment is None or "\n" in segment else segment


def _distinct(folder: str, bindings: Sequence[str], shared: bool) -> str:
    """A folder's name, with a digest of its bindings if it is too long or `shared` by another point."""
    if not shared and len(folder) <= _LONGEST:
        return folder
    digest = hashlib.sha256("\n".join(bindings).encode()).hexdigest()[:8]
    return f"{folder[: _LONGEST - 9]}-{digest}"
