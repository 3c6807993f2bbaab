"""What a message of the candidate may ask of an object that a test handed over: the whole list.

`REQUESTS` holds a small function for each kind of request, and `OPERATORS` the operators that a class of the tests may
define. Everything here gets objects that a test handed over, which `JudgeEnd.perform` sees to, plain data and
stand-ins. Part of the bare process.
"""

from __future__ import annotations

import _operator
from typing import Any

from sml_jax.tasks.code.sandbox.plain import plain_content
from sml_jax.tasks.code.sandbox.value_types import base_of, name_of_type
from sml_jax.tasks.code.sandbox.wire import is_computed

TESTS, SETUP = "tests", "solution"
"""Names of the modules in which the tests and the setup run."""
# Modules of base classes whose attributes a test's class has like its own.
_OPEN_MODULES = ("enum", "collections.abc", "_collections_abc")
_BINARY = ["add", "sub", "mul", "truediv", "floordiv", "mod", "matmul", "pow", "lshift", "rshift", "and", "or", "xor"]


def is_of_tests(kind: Any) -> bool:
    """Whether a class was written in a test or in the setup."""
    return getattr(kind, "__module__", None) in (TESTS, SETUP)


def is_class(value: Any) -> bool:
    """Whether a value is a class; unlike `isinstance`, this reads no `__class__` that the value may have."""
    return issubclass(type(value), type)


def is_open(value: Any, names: tuple[str, ...]) -> bool:
    """Whether an object that a test's class made, or such a class, has one of these attributes from an open class.

    Open are the tests' own classes, types of plain data, enumerations, and `object`.
    """
    if not is_of_tests(value if is_class(value) else type(value)):
        return False
    return any(_is_open_class(_owner(type(value), name)) for name in names)


def _owner(kind: type, name: str) -> Any:
    """The class among a class and its bases that holds an attribute; None if none does."""
    return next((base for base in kind.__mro__ if name in base.__dict__), None)


def _is_open_class(kind: Any) -> bool:
    if kind is None or issubclass(kind, BaseException):
        return False
    return kind is object or is_of_tests(kind) or bool(name_of_type(kind)) or kind.__module__ in _OPEN_MODULES


def _is_public(name: Any) -> bool:
    return type(name) is str and name.isidentifier() and not name.startswith("_")


def _has_from_tests(target: Any, method: str) -> bool:
    """Whether an object has a special method, and, if a test's class made it, has it from an open class."""
    kind = type(target)
    return hasattr(kind, method) and (not is_of_tests(kind) or is_open(target, (method,)))


# Requests


def _call(target: Any, arguments: Any, named: Any) -> Any:
    """Calls a function, class or callable object that a test handed over."""
    if type(arguments) is not tuple or type(named) is not dict or not _has_from_tests(target, "__call__"):
        raise TypeError("a call of an object of the tests")
    return target(*arguments, **named)


def _next(target: Any) -> Any:
    """Takes the next item of an iterator that a test handed over."""
    if not _has_from_tests(target, "__next__"):
        raise TypeError("next of an object of the tests")
    # The end of an iterator is an ordinary answer: StopIteration would end whatever generator hears of it.
    try:
        return ("item", next(target))
    except StopIteration as end:
        return ("end", end.value)


def _get(target: Any, name: Any) -> Any:
    """Reads a public attribute of an object of a test's class, or of such a class."""
    kind = target if is_class(target) else type(target)
    if not _is_public(name) or not is_of_tests(kind):
        raise AttributeError("this attribute of an object of the tests")
    owner = _owner(kind, name)
    own = {} if is_class(target) else getattr(target, "__dict__", {})
    # What no class holds, the object itself may hold, or a method of a test's class computes.
    is_held = _is_open_class(owner) if owner else name in own or is_of_tests(_owner(type(target), "__getattr__"))
    if not is_held:
        raise AttributeError(f"{name} of an object of the tests")
    return getattr(target, name)


def _set(target: Any, name: Any, value: Any) -> None:
    """Sets a public attribute of an object of a test's class; a method, which a test may rely on, stays."""
    kind = type(target)
    if not _is_public(name) or not is_of_tests(kind):
        raise AttributeError("this attribute of an object of the tests")
    owner = _owner(kind, name)
    held = owner.__dict__[name] if owner else None
    is_method = is_computed(held) and not hasattr(type(held), "__set__")
    if is_method or not (owner is None or _is_open_class(owner)):
        raise AttributeError(f"{name} of an object of the tests")
    setattr(target, name, value)


def _plain(target: Any) -> Any:
    """Reads the content of an object of a test's class that derives from plain data."""
    base = base_of(type(target)) if is_of_tests(type(target)) else ""
    if not base:
        raise TypeError("content of an object of the tests")
    return plain_content(target, base)


def _isinstance(target: Any, value: Any) -> Any:
    """Whether a value is an object of a test's class."""
    if not is_class(target) or not is_of_tests(target):
        raise TypeError("isinstance of an object of the tests")
    return isinstance(value, target)


def _exit(target: Any, error: Any) -> Any:
    return type(target).__exit__(target, type(error) if error is not None else None, error, None)


REQUESTS: dict[str, Any] = {
    "call": _call,
    "next": _next,
    "get": _get,
    "set": _set,
    "plain": _plain,
    "isinstance": _isinstance,
}
"""What may be asked for: a function for each kind of request."""

# Name of the operator -> (special methods, one of which the first operand must have from an open class; the same of the
# second operand; function). None allows any object that a test handed over.
OPERATORS: dict[str, tuple[Any, Any, Any]] = {
    # What tells objects apart and writes them down.
    **{function.__name__: (None, (), function) for function in (str, repr, hash, bool)},
    "eq": (None, None, _operator.eq),
    "ne": (None, None, _operator.ne),
    # Conversions, items and context managers.
    "int": (("__int__", "__index__"), (), int),
    "float": (("__float__", "__index__"), (), float),
    "iter": (("__iter__", "__getitem__"), (), iter),
    "enter": (("__enter__",), (), lambda target: type(target).__enter__(target)),
    "exit": (("__exit__",), (), _exit),
    **{f.__name__: ((f"__{f.__name__}__",), (), f) for f in (len, complex, round, reversed, format)},
    **{
        name: ((f"__{name}__",), (), getattr(_operator, name))
        for name in ("index", "abs", "neg", "pos", "invert", "getitem", "setitem", "delitem", "contains")
    },
    # Comparisons and arithmetic, which either operand may define.
    **{
        name: ((f"__{name}__",), (f"__{reflected}__",), getattr(_operator, name))
        for name, reflected in (("lt", "gt"), ("gt", "lt"), ("le", "ge"), ("ge", "le"))
    },
}
for _name in _BINARY:
    _op = {"and": "and_", "or": "or_"}.get(_name, _name)  # as `_operator` calls them
    OPERATORS[_op] = ((f"__{_name}__",), (f"__r{_name}__",), getattr(_operator, _op))
    OPERATORS[f"i{_name}"] = ((f"__i{_name}__", f"__{_name}__"), (), getattr(_operator, f"i{_name}"))
"""The operators that may be asked for."""
