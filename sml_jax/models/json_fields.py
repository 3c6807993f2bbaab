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
    """A JSON object as a dict, all of whose keys are fields of the dataclass `kind`.

    Args:
      value: what was read from JSON.
      what: the object's name, for errors.
      kind: the dataclass.

    Raises:
      UserError: it is not an object, or has fields that `kind` does not know.
    """
    if not isinstance(value, Mapping):
        raise UserError(f"model config: {what} must be a JSON object")
    known = {field.name for field in dataclasses.fields(kind)}
    unknown = sorted(set(value) - known)
    if unknown:
        raise UserError(f"{what}: unknown fields {unknown}; known are {sorted(known)}")
    return dict(value)


def typed_values(values: Mapping[str, Any], kind: type) -> dict[str, Any]:
    """The values as arguments of the dataclass `kind`: lists become tuples, and a whole number may stand for a float.

    Raises:
      UserError: a value is not of its field's type.
    """
    hints = typing.get_type_hints(kind)
    arguments = {}
    for name, value in values.items():
        hint = hints[name]
        # "float | None" offers two types, a plain annotation one.
        choices = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
        if not any(_fits(value, choice) for choice in choices):
            spelling = " or ".join(_SPELLINGS.get(choice, choice.__name__) for choice in choices)
            raise UserError(f"model config: {name} is {_shown(value)}; it takes {spelling}")
        # JSON knows neither tuples nor the difference between 32 and 32.0.
        if isinstance(value, list):
            value = tuple(value)
        arguments[name] = float(value) if type(value) is int and float in choices else value
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
