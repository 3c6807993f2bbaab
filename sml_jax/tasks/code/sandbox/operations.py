"""What one end of the wire may ask of the other's objects, done with those objects. Part of the bare process."""

from __future__ import annotations

import _operator
from typing import Any

from sml_jax.tasks.code.sandbox.wire import base_of

# Operations that are builtin functions; those named in neither table are functions of `_operator`.
_BUILTIN_OPERATIONS: dict[str, Any] = {"len": len, "str": str, "repr": repr, "hash": hash, "bool": bool, "int": int}
_BUILTIN_OPERATIONS |= {"float": float, "complex": complex, "round": round, "iter": iter, "reversed": reversed}
_BUILTIN_OPERATIONS |= {"divmod": divmod, "pow": pow, "format": format, "dir": dir}
_BUILTIN_OPERATIONS |= {"isinstance": isinstance, "issubclass": issubclass}


def perform(op: str, operands: tuple[Any, ...]) -> Any:
    """Performs in this process an operation that the other process asked for, and returns its result.

    Args:
      op: name of the operation, such as "call", "get" (an attribute) or "add".
      operands: objects of this process, stand-ins for the other's objects, and plain data.

    Raises:
      BaseException: whatever the operation raises.
    """
    if op == "call":
        function, arguments, named = operands
        return function(*arguments, **named)
    if op == "get":
        return getattr(*operands)
    if op == "set":
        return setattr(*operands)
    if op == "del":
        return delattr(*operands)
    if op == "next":
        # The end of an iterator is an ordinary answer: StopIteration would end whatever generator hears of it.
        try:
            return ("item", next(operands[0]))
        except StopIteration as end:
            return ("end", end.value)
    # The content of an object whose class derives from a builtin type; dict views count as sets.
    if op == "plain":
        base = base_of(operands[0])
        return set(operands[0]) if base is None else plain_content(operands[0], base)
    if op == "run":
        import asyncio

        return asyncio.run(operands[0])
    if op == "copy":
        import copy

        return (copy.deepcopy if operands[1] else copy.copy)(operands[0])
    if op == "enter":
        return type(operands[0]).__enter__(operands[0])
    if op == "exit":
        return type(operands[0]).__exit__(*operands)
    if op in _BUILTIN_OPERATIONS:
        return _BUILTIN_OPERATIONS[op](*operands)
    return getattr(_operator, op)(*operands)


def plain_content(value: Any, base: type) -> Any:
    """A copy of an object as a plain builtin one: a `dict` for a subclass of `dict`, and so on.

    Methods that the object's class overrides are not called.

    Args:
      value: an object whose class is or derives from `base`.
      base: a builtin type, see `wire.base_of`.
    """
    if base is dict:
        return {key: dict.__getitem__(value, key) for key in dict.__iter__(value)}
    if base in (list, tuple, set, frozenset):
        return base(base.__iter__(value))
    if base is bool or base is int:
        return int.__add__(value, 0)
    if base is float:
        return float.__add__(value, 0.0) if value == value else float("nan")
    if base is str:
        return str.__str__(value) if type(value) is str else str.__add__("", value)
    return base(value)
