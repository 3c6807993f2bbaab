"""Reading dataclasses from JSON strictly: unknown fields, missing ones and values of another type are errors."""

from __future__ import annotations

import dataclasses
import sys
import types
import typing
from collections.abc import Mapping
from typing import Any

from sml_jax.common.errors import UserError

# How error messages name types that Python spells otherwise.
_SPELLINGS: dict[Any, str] = {type(None): "null", tuple[str, ...]: "a list of texts"}


def check_fields(value: Any, what: str, kind: type) -> dict[str, Any]:
    """Checks that a value from JSON is an object with keys that are fields of a dataclass; returns it as a dict.

    Args:
      value: a value that was read from JSON.
      what: name of the value, for errors.
      kind: the dataclass.

    Raises:
      UserError: the value is not an object, or has keys that are no fields of `kind`.
    """
    if not isinstance(value, Mapping):
        raise UserError(f"model config: {what} must be a JSON object")
    known = {field.name for field in dataclasses.fields(kind)}
    unknown = sorted(set(value) - known)
    if unknown:
        raise UserError(f"{what}: unknown fields {unknown}; known are {sorted(known)}")
    return dict(value)


def typed_values(values: Mapping[str, Any], kind: type) -> dict[str, Any]:
    """Turns values from JSON into arguments of the dataclass `kind`.

    Args:
      values: field -> value; all are fields of `kind` (see `check_fields`).
      kind: the dataclass.

    Returns:
      Field -> value, with tuples in place of lists, and floats in place of whole numbers where a field takes a float.

    Raises:
      UserError: a value is not of its field's type.
    """
    hints = typing.get_type_hints(kind)
    arguments = {}
    for name, value in values.items():
        hint = hints[name]
        # "float | None" offers two types, a plain annotation one.
        allowed_types = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
        if not any(_fits(value, choice) for choice in allowed_types):
            spelling = " or ".join(_SPELLINGS.get(choice, choice.__name__) for choice in allowed_types)
            raise UserError(f"model config: {name} is {_shown(value)}; it takes {spelling}")
        # JSON knows neither tuples nor the difference between 32 and 32.0.
        if isinstance(value, list):
            value = tuple(value)
        arguments[name] = float(value) if type(value) is int and float in allowed_types else value
    return arguments


def _fits(value: Any, kind: Any) -> bool:
    """Whether a value from JSON can be a field of that type."""
    # bool is an int in Python, hence `type` and not `isinstance`.
    if kind is float:
        return type(value) in (int, float) and abs(value) <= sys.float_info.max
    if kind == tuple[str, ...]:
        return type(value) is list and all(isinstance(item, str) for item in value)
    return type(value) is kind


def _shown(value: Any) -> str:
    """A value for an error: itself if it is short, else its type."""
    return repr(value) if value is None or isinstance(value, str | bool | int | float) else type(value).__name__
