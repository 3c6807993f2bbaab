"""Reading JSON text that comes from outside."""

from __future__ import annotations

import json
from typing import Any


def parse_json(text: str) -> Any:
    """Parses JSON text into Python values, as `json.loads` does.

    Raises:
      ValueError: the text is not JSON, or is nested too deeply (where `json.loads` raises RecursionError).
    """
    try:
        return json.loads(text)
    except RecursionError:
        # A line of a data file can be made to nest so; it is an error of the file, not of the program.
        raise ValueError("nested too deeply") from None
