"""Checks of settings that several stages have."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from sml_jax.common.errors import UserError


def check_name(name: str) -> None:
    """Raises UserError unless a stage's name will do in logs and in names of files."""
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise UserError(f"stage: name is {name!r}; give letters, digits, and _ . - between them")


def check_buckets(stage: str, buckets: Sequence[int] | None, longest: int = 0) -> None:
    """Raises UserError unless the padded lengths rise and the last one holds a row of `longest` tokens.

    Args:
      stage: its name, for the error.
      buckets: padded lengths; None is always right.
      longest: tokens of the longest row.
    """
    if buckets is None:
        return
    if not buckets or buckets[0] < 1 or list(buckets) != sorted(set(buckets)):
        raise UserError(f"{stage}: buckets are {buckets}; give rising lengths, such as (64, 128, 256)")
    if buckets[-1] < longest:
        raise UserError(
            f"{stage}: buckets end at {buckets[-1]}, but dialogues have up to {longest} tokens: add a larger one, or "
            "set buckets to None"
        )


def check_function(stage: str, setting: str, value: Any) -> None:
    """Raises UserError unless a setting is a function, or an object that can be called."""
    if isinstance(value, type):
        raise UserError(f"{stage}: {setting} is the class {value.__name__}: write {value.__name__}() for what it makes")
    if not callable(value):
        raise UserError(f"{stage}: {setting} is {value!r}; give a function, such as @my_module.my_{setting}")
