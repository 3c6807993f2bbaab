"""Checks values in gin files against the annotations of what they are given to, since gin itself takes anything."""

from __future__ import annotations

import dataclasses
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sml_jax.common.errors import UserError
from sml_jax.common.protocols import protocol_members
from sml_jax.gin_config.names import Names
from sml_jax.gin_config.reader import Binding, Macro, Ref, Unit
from sml_jax.gin_config.renamed import OBJECTS

_PLAIN = (bool, int, float, str)
_SEQUENCES = (tuple, list, Sequence)


@dataclasses.dataclass(frozen=True)
class ReferencedValue:
    """Stands for a reference's value while types are checked, before gin has made anything.

    Attributes:
      written: the reference.
      type: if the reference is a call, the class of what it returns; None if that is not annotated.
      thing: if the reference is no call, the class or function itself.
    """

    written: Ref
    type: Any = None
    thing: Any = None

    def __repr__(self) -> str:
        return repr(self.written)


def check_types(names: Names) -> None:
    """Checks the value of every binding in force against its parameter's annotation.

    Args:
      names: after all files and overrides were added.

    Raises:
      UserError: a value is of another type than its parameter's annotation.
    """
    for (_, full_name, parameter), binding in names.bound.items():
        value, place = _resolved(names, binding)
        target = names.targets[full_name]
        hint = _hints(target.obj).get(parameter, Any)
        if not fits(value, hint):
            complaint = f"{target.written}.{parameter} is {value!r}, but it takes {_spelling(hint)}"
            cure = OBJECTS.get(f"{target.written.rpartition('.')[2]}.{parameter}")
            raise UserError(f"{place}: {complaint}{f': {cure}' if cure else _cure(value, hint)}")


def fits(value: Any, hint: Any) -> bool:
    """Whether a value may be given where `hint` is annotated.

    Args:
      value: a value of a binding, with `ReferencedValue` in place of references.
      hint: a type annotation.

    Returns:
      False only if the value certainly does not fit; True also where it cannot be told.
    """
    # An unresolved macro is a constant of gin's, whose value is not known here.
    if hint is Any or isinstance(value, Macro):
        return True
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, choice) for choice in arguments)
    # A reference: only what it returns or is can be compared.
    if isinstance(value, ReferencedValue):
        return _made_fits(value, origin or hint)
    if origin is typing.Literal:
        return value in arguments
    # Gin has no way to write a Sequence but a list or a tuple; tuples of mixed types are not looked into.
    if origin in _SEQUENCES:
        item_types = arguments[:1] if origin is not tuple or arguments[-1:] == (...,) else ()
        return isinstance(value, list | tuple) and (not item_types or all(fits(item, item_types[0]) for item in value))
    if origin is Mapping:
        return isinstance(value, dict)
    if hint in (None, type(None)):
        return value is None
    # As type checkers do: an int is a float, but a bool is neither.
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint is Path:
        return isinstance(value, str | Path)
    if not isinstance(hint, type):
        return True
    if hint in _PLAIN or value is None or isinstance(value, (*_PLAIN, list, tuple)):
        return _is_a(type(value), hint)
    return True


def _made_fits(value: ReferencedValue, hint: Any) -> bool:
    """Whether a reference may be given where `hint`, without its type arguments, is annotated."""
    if value.thing is not None:
        return hint in (object, type, Callable) or not isinstance(hint, type)
    made = typing.get_origin(value.type) or value.type
    if not isinstance(made, type) or not isinstance(hint, type):
        return True
    return _is_a(made, hint) or (hint is float and issubclass(made, int))


def _is_a(kind: type, hint: type) -> bool:
    """Whether `kind` is a subclass of `hint`, or has every member that a protocol names."""
    # A dataclass's fields are attributes of its instances alone, so the class does not show them.
    if not getattr(hint, "_is_protocol", False):
        return issubclass(kind, hint)
    fields = {field.name for field in dataclasses.fields(kind)} if dataclasses.is_dataclass(kind) else set()
    wanted_members = protocol_members(hint)
    return all(name in fields or hasattr(kind, name) for name in wanted_members)


def _resolved(names: Names, binding: Binding) -> tuple[Any, str]:
    """Follows macros; returns the value with `ReferencedValue` for its references, and where it is written."""
    value, place, unit = binding.value, binding.place, binding.unit
    while isinstance(value, Macro) and value.name in names.macros:
        macro = names.macros[value.name]
        value, place, unit = macro.value, macro.place, macro.unit
    return _inside(names, value, unit, place), place


def _inside(names: Names, value: Any, unit: Unit, place: str) -> Any:
    """Replaces the references inside a value by `ReferencedValue`, and its macros by their values."""
    if isinstance(value, Macro) and value.name in names.macros:
        macro = names.macros[value.name]
        return _inside(names, macro.value, macro.unit, macro.place)
    if isinstance(value, list | tuple):
        return type(value)(_inside(names, item, unit, place) for item in value)
    if not isinstance(value, Ref):
        return value
    thing = names.resolve(value.selector, unit, place).obj
    if getattr(thing, "__module__", "").split(".")[0] == "gin":
        return ReferencedValue(value)  # gin.singleton returns whatever its constructor makes
    if not value.called:
        return ReferencedValue(value, thing=thing)
    return ReferencedValue(value, type=thing if isinstance(thing, type) else _hints(thing).get("return"))


def _cure(value: Any, hint: Any) -> str:
    """How to write the value, as the tail of the error, where one slip explains it."""
    # One item where a sequence of such items is wanted.
    type_choices = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    for type_choice in type_choices:
        item_types = typing.get_args(type_choice)[:1] if typing.get_origin(type_choice) in _SEQUENCES else ()
        if item_types and fits(value, item_types[0]) and not isinstance(value, list | tuple):
            return f": write [{value!r}]" if typing.get_origin(type_choice) is not tuple else f": write ({value!r},)"
    # A class where an instance is wanted: the parentheses after the reference are missing.
    not_called = [
        item
        for item in (value if isinstance(value, list | tuple) else [value])
        if isinstance(item, ReferencedValue) and item.thing is not None
    ]
    return f": write {not_called[0]!r}() for what it makes" if not_called else ""


def _hints(thing: Any) -> dict[str, Any]:
    """The annotations of a function's or constructor's parameters; empty if they cannot be read."""
    function = thing.__init__ if isinstance(thing, type) else thing  # type: ignore[misc]
    try:
        return typing.get_type_hints(function)
    except Exception:  # an annotation that cannot be read says nothing
        return {}


def _spelling(hint: Any) -> str:
    """A type as an error shows it: without modules."""
    type_text = hint.__name__ if isinstance(hint, type) and not typing.get_args(hint) else str(hint)
    return re.sub(r"\b(?:\w+\.)+(?=\w)", "", type_text)
