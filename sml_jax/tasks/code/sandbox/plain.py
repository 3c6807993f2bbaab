"""Objects whose classes derive from types of plain data. Part of the bare process."""

from __future__ import annotations

from typing import Any

from sml_jax.tasks.code.sandbox.value_types import CONTAINERS, VALUES, type_named

# What a class may define and still be the same to a test as the type that it derives from.
_SILENT = {
    *("__module__", "__qualname__", "__doc__", "__dict__", "__weakref__", "__slots__", "__annotations__", "__init__"),
    *("__new__", "__orig_bases__", "__parameters__", "__firstlineno__", "__static_attributes__"),
}


def adds_nothing(value: Any, base: str) -> bool:
    """Whether an object is the same to a test as the plain data that it holds.

    Its class, which derives from plain data, must define neither a public name nor a special method, and the object
    must have no public attribute.

    Args:
      value: the object.
      base: `value_types.base_of` its class.
    """
    kind = type(value)
    if any(not name.startswith("_") for name in getattr(value, "__dict__", ())):
        return False
    derived = kind.__mro__[: kind.__mro__.index(type_named(base, False))]
    return all(name in _SILENT or _is_private(name) for subclass in derived for name in vars(subclass))


def _is_private(name: str) -> bool:
    return name.startswith("_") and not (name.startswith("__") and name.endswith("__"))


def plain_content(value: Any, base: str) -> Any:
    """A copy of an object as plain data: a `dict` for a subclass of `dict`, and so on.

    Methods that the object's class overrides are not called for builtin types.

    Args:
      value: an object whose class derives from `base`.
      base: full name of a type of plain data, see `value_types.base_of`.
    """
    kind: Any = type_named(base, False)
    if kind is dict:
        return {key: dict.__getitem__(value, key) for key in dict.__iter__(value)}
    if kind in (list, tuple, set, frozenset):
        return kind(kind.__iter__(value))
    if kind is int:
        return int.__add__(value, 0)
    if kind is float:
        return float.__add__(value, 0.0) if value == value else float("nan")
    if kind is str:
        return str.__add__("", value)
    # Types of the library are taken apart and put together again.
    if base in CONTAINERS:
        container = CONTAINERS[base]
        copy = container.make(kind, container.head(value))
        container.fill(copy, container.content(value))
        return copy
    if base in VALUES:
        return kind(*VALUES[base][0](value))
    return kind(value)
