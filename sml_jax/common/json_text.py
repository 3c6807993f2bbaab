"""Reading JSON text that comes from outside."""

from __future__ import annotations

import json
from typing import Any


def parse_json(text: str, *, unique_names: bool = False) -> Any:
    """Parses JSON text into Python values, as `json.loads` does.

    Args:
      text: the JSON text.
      unique_names: whether an object that gives a name two different values is an error. Programs differ in which of
        the two they take.

    Raises:
      ValueError: the text is not JSON, is nested too deeply (where `json.loads` raises RecursionError), or gives a name
        two values.
    """
    try:
        return json.loads(text, object_pairs_hook=_unique_names if unique_names else None)
    except RecursionError:
        # A line of a data file can be made to nest so; it is an error of the file, not of the program.
        raise ValueError("nested too deeply") from None


def _unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object from its names and values; a ValueError if a name has two values."""
    values = dict(pairs)
    # Nearly always all names differ, and then nothing is compared.
    if len(values) < len(pairs):
        for name, value in pairs:
            if values[name] != value:
                shown_name = name if len(name) < 200 else f"{name[:200]}..."
                raise ValueError(f"{shown_name!r} stands there twice, with different values")
    return values
