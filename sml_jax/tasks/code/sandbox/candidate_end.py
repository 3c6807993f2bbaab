"""The candidate's end of the wire: it does what the judge asks for with the code's objects. Part of the bare process.

Nothing here protects anything: the code that is judged can change this process as it likes.
"""

from __future__ import annotations

import _operator
from typing import Any

from sml_jax.tasks.code.sandbox.peer import Peer
from sml_jax.tasks.code.sandbox.plain import adds_nothing, plain_content
from sml_jax.tasks.code.sandbox.proxy_factory import remote_number
from sml_jax.tasks.code.sandbox.requests import SETUP
from sml_jax.tasks.code.sandbox.value_types import base_of
from sml_jax.tasks.code.sandbox.wire import Writer

_FUNCTION_TYPES = ("function", "builtin_function_or_method", "method", "method-wrapper", "partial")
# Attributes of builtin errors that C code keeps, which an error's `__dict__` does not show.
_ERROR_ATTRIBUTES = ("errno", "strerror", "filename", "code", "value", "name", "path", "msg", "lineno")

# Operations that are builtin functions; those named in no table are functions of `_operator`.
_BUILTIN_OPERATIONS: dict[str, Any] = {
    f.__name__: f for f in (len, str, repr, hash, bool, int, float, complex, round, iter, reversed, format)
}


class CandidateEnd(Peer):
    """The candidate's end of the wire.

    Args:
      reading, writing: open files.
      setup_classes: by name.
      namespace: of the setup and the candidate. after_setup: the same before the candidate ran.
      line_of: returns, as text, the line of the candidate's program that an error comes from.
    """

    def __init__(
        self,
        reading: int,
        writing: int,
        setup_classes: dict[str, type],
        namespace: dict[str, Any],
        after_setup: dict[str, Any],
        line_of: Any,
    ) -> None:
        super().__init__(reading, writing, setup_classes, False)
        self._namespace, self._line_of = namespace, line_of
        self._names = {n for n, v in namespace.items() if n not in after_setup or after_setup[n] is not v}
        # An object of a class that the code wrote again after the setup travels as the setup's own.
        self._twins = {n for n in setup_classes if n in self._names and isinstance(namespace[n], type)}

    def encode(self, writer: Writer, value: Any) -> tuple[bytes, Any]:
        """As `Lender.encode`, for what the code returns."""
        number = remote_number(value)
        if number is not None:
            return b"y", b"%d" % number
        name = self.shared_name(value)
        if name:
            return b"T", name.encode()
        kind = type(value)
        type_name = str(getattr(kind, "__name__", "object"))
        if self.classes.get(type_name) is kind or type_name in self._twins:
            return b"o", None
        if isinstance(value, BaseException):
            return b"E", self.encode_error(writer, value, kind, self._line_of(value))
        if isinstance(value, type):
            return self._lend_class(value)
        # A subclass of a type of plain data that adds nothing a test might use is that type's value.
        base = base_of(kind)
        if base and adds_nothing(value, base):
            return b"p", plain_content(value, base)
        if type_name == "coroutine":
            return self.lend(value, "coroutine", type_name)
        if hasattr(kind, "__next__"):
            return self.lend(value, "iterator", type_name)
        if type_name in _FUNCTION_TYPES:
            return self.lend(value, "function", getattr(value, "__name__", type_name))
        return self.lend(value, "callable" if callable(value) else "object", type_name, base)

    def is_shared(self, kind: type) -> bool:
        """As `Lender.is_shared`; a class that the code wrote again after the setup counts as the setup's."""
        name = kind.__name__
        return super().is_shared(kind) or (name in self.shared and self._namespace.get(name) is kind)

    def _lend_class(self, value: type) -> tuple[bytes, bytes]:
        name = str(value.__name__)
        if self.classes.get(name) is value or (name in self._twins and self._namespace[name] is value):
            return b"T", f"{SETUP}.{name}".encode()
        return self.lend_error_class(value) if issubclass(value, BaseException) else self.lend(value, "class", name)

    def encode_cause(self, writer: Writer, error: BaseException) -> bytes:
        """As `Lender.encode_cause`."""
        return self.encode_error(writer, error, type(error), self._line_of(error), True)

    def error_attributes(self, error: BaseException) -> tuple[Any, ...]:
        """As `Lender.error_attributes`: what the error holds, without what its class computes."""
        attributes = dict(error.__dict__)
        for name in _ERROR_ATTRIBUTES:
            if getattr(error, name, None) is not None and not callable(getattr(error, name)):
                attributes.setdefault(name, getattr(error, name))
        return tuple(part for pair in attributes.items() for part in pair if not str(pair[0]).startswith("_"))

    def decode(self, tag: bytes, payload: bytes, values: list[Any]) -> Any:
        """As `Lender.decode`. What a test took from Python's modules is this process's own."""
        if tag != b"k":
            return super().decode(tag, payload, values)
        module_name, _, name = payload.decode().partition(" ")
        found: Any = __import__(module_name, fromlist=["*"])
        for part in name.split(".") if name else ():
            found = getattr(found, part)
        return found

    def perform(self, op: str, operands: tuple[Any, ...]) -> Any:
        """Does what the judge asks for, and returns the result or raises what the code raises.

        Args:
          op: name of the operation, such as "call", "get" (an attribute) or "add".
          operands: the code's objects, stand-ins for the tests' objects, and plain data.
        """
        if op == "names":
            return [name for name in self._namespace if name in self._names]
        if op == "global":
            return self._namespace[operands[0]]
        if op in _OPERATIONS:
            return _OPERATIONS[op](*operands)
        if op in _BUILTIN_OPERATIONS:
            return _BUILTIN_OPERATIONS[op](*operands)
        return getattr(_operator, op)(*operands)


def _next(iterator: Any) -> tuple[str, Any]:
    # The end of an iterator is an ordinary answer: StopIteration would end whatever generator hears of it.
    try:
        return ("item", next(iterator))
    except StopIteration as end:
        return ("end", end.value)


def _plain(value: Any) -> Any:
    return plain_content(value, base_of(type(value)))


def _run(coroutine: Any) -> Any:
    import asyncio

    return asyncio.run(coroutine)


def _copy(value: Any, is_deep: bool) -> Any:
    import copy

    return (copy.deepcopy if is_deep else copy.copy)(value)


def _exit(manager: Any, error: Any) -> Any:
    return type(manager).__exit__(manager, type(error) if error is not None else None, error, None)


_OPERATIONS: dict[str, Any] = {
    "call": lambda function, arguments, named: function(*arguments, **named),
    "get": getattr,
    "set": setattr,
    "del": delattr,
    "next": _next,
    "plain": _plain,
    "run": _run,
    "copy": _copy,
    "enter": lambda manager: type(manager).__enter__(manager),
    "exit": _exit,
    "isinstance": lambda kind, value: isinstance(value, kind),
    "issubclass": lambda kind, value: issubclass(value, kind),
}
