"""JSON text that somebody else wrote."""

from __future__ import annotations

import json
from typing import Any


def parse_json(text: str) -> Any:
    """As `json.loads`, and whatever is wrong with the text is a ValueError: one nested too deeply too.

    Raises:
      ValueError: it is no JSON.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
