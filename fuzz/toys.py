"""The toys of the tests: rows in the formats of data sets, small tokenizers, small configurations."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

_TESTS = Path(__file__).resolve().parents[1] / "tests"


def toys(name: str) -> Any:
    """A module of toys, such as "text/text_toys", by its path below tests/ as the tests themselves import it."""
    path = _TESTS / name
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    return importlib.import_module(path.name)
