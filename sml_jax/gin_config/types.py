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
from sml_jax.gin_config.names import Names
from sml_jax.gin_config.reader import Binding, Macro, Ref, Unit
from sml_jax.gin_config.renamed import OBJECTS

_PLAIN = (bool, int, float, str)
_SEQUENCES = (tuple, list, Sequence)


@dataclasses.dataclass(frozen=True)
class Made:
    """What a reference stands for, as far as it can be told before anything is made.

    Attributes:
      written: the reference.
      type: the class of what a call makes; None if the function does not say.
      thing: without a call, the class or function itself.
    """

    written: Ref
    type: Any = None
    thing: Any = None

    def __repr__(self) -> str:
        return repr(self.written)


def check_types(names: Names) -> None:
    """Checks every binding in force.

    Raises:
      UserError: a value is of another type than its parameter's annotation.
    """
    for (_, full, parameter), binding in names.bound.items():
        value, place = _resolved(names, binding)
        target = names.targets[full]
        hint = _hints(target.obj).get(parameter, Any)
        if not fits(value, hint):
            what = f"{target.written}.{parameter} is {value!r}, but it takes {_spelling(hint)}"
            cure = OBJECTS.get(f"{target.written.rpartition('.')[2]}.{parameter}")
            raise UserError(f"{place}: {what}{f': {cure}' if cure else _cure(value, hint)}")


def fits(value: Any, hint: Any) -> bool:
    """Whether a value may stand where `hint` is annotated; True where the two say too little to tell."""
    if hint is Any or isinstance(value, Macro):
        return True
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, choice) for choice in arguments)
    if isinstance(value, Made):
        return _made_fits(value, origin or hint)
    if origin is typing.Literal:
        return value in arguments
    if origin in _SEQUENCES:
        items = arguments[:1] if origin is not tuple or arguments[-1:] == (...,) else ()
        return isinstance(value, list | tuple) and (not items or all(fits(item, items[0]) for item in value))
    if origin is Mapping:
        return isinstance(value, dict)
    if hint in (None, type(None)):
        return value is None
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


def _made_fits(value: Made, hint: Any) -> bool:
    if value.thing is not None:
        return hint in (object, type, Callable) or not isinstance(hint, type)
    made = typing.get_origin(value.type) or value.type
    if not isinstance(made, type) or not isinstance(hint, type):
        return True
    return _is_a(made, hint) or (hint is float and issubclass(made, int))


def _is_a(kind: type, hint: type) -> bool:
    """Whether a class is another, or has all that a protocol names."""
    if not getattr(hint, "_is_protocol", False):
        return issubclass(kind, hint)
    fields = {field.name for field in dataclasses.fields(kind)} if dataclasses.is_dataclass(kind) else set()
    wanted = {name for base in hint.__mro__ if getattr(base, "_is_protocol", False) for name in _members(base)}
    return all(name in fields or hasattr(kind, name) for name in wanted)


def _members(protocol: type) -> set[str]:
    named = {*vars(protocol), *vars(protocol).get("__annotations__", ())}
    return {name for name in named if not name.startswith("_")}


def _resolved(names: Names, binding: Binding) -> tuple[Any, str]:
    """A binding's value, macros followed to what they stand for, and the place where that is written."""
    value, place, unit = binding.value, binding.place, binding.unit
    while isinstance(value, Macro) and value.name in names.macros:
        macro = names.macros[value.name]
        value, place, unit = macro.value, macro.place, macro.unit
    return _inside(names, value, unit, place), place


def _inside(names: Names, value: Any, unit: Unit, place: str) -> Any:
    """A value with `Made` for the references in it, and macros followed."""
    if isinstance(value, Macro) and value.name in names.macros:
        macro = names.macros[value.name]
        return _inside(names, macro.value, macro.unit, macro.place)
    if isinstance(value, list | tuple):
        return type(value)(_inside(names, item, unit, place) for item in value)
    if not isinstance(value, Ref):
        return value
    thing = names.resolve(value.selector, unit, place).obj
    if getattr(thing, "__module__", "").split(".")[0] == "gin":
        return Made(value)  # a singleton is whatever its constructor makes
    if not value.called:
        return Made(value, thing=thing)
    return Made(value, type=thing if isinstance(thing, type) else _hints(thing).get("return"))


def _cure(value: Any, hint: Any) -> str:
    """How the value would be right, where that is plain."""
    choices = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    for choice in choices:
        items = typing.get_args(choice)[:1] if typing.get_origin(choice) in _SEQUENCES else ()
        if items and fits(value, items[0]) and not isinstance(value, list | tuple):
            return f": write [{value!r}]" if typing.get_origin(choice) is not tuple else f": write ({value!r},)"
    stray = [item for item in (value if isinstance(value, list | tuple) else [value]) if isinstance(item, Made)]
    loose = [item for item in stray if item.thing is not None]
    return f": write {loose[0]!r}() for what it makes" if loose else ""


def _hints(thing: Any) -> dict[str, Any]:
    function = thing.__init__ if isinstance(thing, type) else thing  # type: ignore[misc]
    try:
        return typing.get_type_hints(function)
    except Exception:  # an annotation that cannot be read says nothing
        return {}


def _spelling(hint: Any) -> str:
    whole = hint.__name__ if isinstance(hint, type) and not typing.get_args(hint) else str(hint)
    return re.sub(r"\b(?:\w+\.)+(?=\w)", "", whole)
