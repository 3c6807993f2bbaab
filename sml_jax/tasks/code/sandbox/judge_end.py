"""The judge's end of the wire: what a message of the candidate can make the judge do. Part of the bare process.

A message reads or calls what a test itself handed over, and does nothing else. `REQUESTS` and `OPERATORS` are the whole
list of what it may ask for, each of an object that it names by the number under which a test handed it over. Classes,
functions and modules of Python go to the candidate as names, and the candidate uses its own: none of the judge's is
ever lent, and no name that a message holds is looked up.
"""

from __future__ import annotations

import sys
from typing import Any

from sml_jax.tasks.code.sandbox.lending import NAME_CHARACTERS
from sml_jax.tasks.code.sandbox.peer import Peer
from sml_jax.tasks.code.sandbox.plain import adds_nothing, plain_content
from sml_jax.tasks.code.sandbox.proxy_factory import remote_error_number, remote_number, without_stop
from sml_jax.tasks.code.sandbox.requests import OPERATORS, REQUESTS, SETUP, TESTS, is_class, is_of_tests, is_open
from sml_jax.tasks.code.sandbox.value_types import NOT_CATCHING, base_of
from sml_jax.tasks.code.sandbox.wire import Writer

# Kinds of objects that Python finds under a name in a module: functions, and what classes and extensions have for them.
_NAMED_KINDS = {
    *("function", "builtin_function_or_method", "method", "method_descriptor", "wrapper_descriptor", "ufunc"),
    *("classmethod_descriptor", "getset_descriptor", "member_descriptor", "_ArrayFunctionDispatcher"),
}


class JudgeEnd(Peer):
    """The judge's end of the wire.

    Args:
      reading, writing: open files.
    """

    def __init__(self, reading: int, writing: int) -> None:
        super().__init__(reading, writing, {}, True)

    def ask(self, *request: Any) -> Any:
        """As `Peer.ask`; an error of the code that would end an iteration of the judge's comes as another one."""
        try:
            return super().ask(*request)
        except (StopIteration, StopAsyncIteration, GeneratorExit) as error:
            stopped = without_stop(error)
        raise stopped

    # What a test hands over

    def encode(self, writer: Writer, value: Any) -> tuple[bytes, Any]:
        """As `Lender.encode`, for what a test hands over."""
        number = remote_number(value)
        if number is not None:
            return b"y", b"%d" % number
        name = self.shared_name(value)
        if name:
            return b"T", name.encode()
        kind = type(value)
        if self.classes.get(kind.__name__) is kind:
            return b"o", None
        if is_class(value) and value in NOT_CATCHING.values():
            return b"T", f"builtins.{value.__name__}".encode()
        own_name: str = value.__name__ if is_class(value) else ""
        if own_name and self.classes.get(own_name) is value:
            return b"T", f"{SETUP}.{own_name}".encode()
        if isinstance(value, BaseException):
            error_class = (
                kind if remote_error_number(kind) is not None or self.is_shared(kind) else _builtin_error(kind)
            )
            return b"E", self.encode_error(writer, value, error_class, "")
        # Python's own goes as a name.
        name = _importable_name(value)
        if name:
            return b"k", name.encode()
        # An object of a test's class that derives from plain data and adds nothing is that data.
        base = base_of(kind)
        if base and adds_nothing(value, base):
            return b"p", plain_content(value, base)
        return self._lend(value, kind, base)

    def encode_cause(self, writer: Writer, error: BaseException) -> bytes:
        """As `Lender.encode_cause`."""
        return self.encode_error(writer, error, _builtin_error(type(error)), "", True)

    def decode(self, tag: bytes, payload: bytes, values: list[Any]) -> Any:
        """As `Lender.decode`; a class that would catch a failed `assert` comes as the one of `NOT_CATCHING`."""
        value = super().decode(tag, payload, values)
        return NOT_CATCHING.get(value, value) if tag == b"T" else value

    def _lend(self, value: Any, kind: type, base: str) -> tuple[bytes, bytes]:
        """The node of what a test made: a class, function, iterator or object, which the candidate may use in part."""
        is_module = issubclass(kind, type(sys))
        if is_module or (is_class(value) and not self.may_lend_class(value)):
            raise TypeError(f"{value.__name__} has no name under which the code could find it")
        if is_class(value):
            if issubclass(value, BaseException):
                return self.lend_error_class(value)
            return self.lend(value, "class", value.__name__)
        if hasattr(kind, "__next__"):
            return self.lend(value, "iterator", kind.__name__)
        if kind.__name__ in _NAMED_KINDS:
            return self.lend(value, "function", getattr(value, "__name__", kind.__name__))
        return self.lend(value, "callable" if callable(value) else "object", kind.__name__, base)

    def error_attributes(self, error: BaseException) -> tuple[Any, ...]:
        """As `Lender.error_attributes`: those of an error of the setup."""
        attributes = error.__dict__ if self.is_shared(type(error)) else {}
        return tuple(part for pair in attributes.items() for part in pair if not pair[0].startswith("_"))

    def may_lend_class(self, kind: type) -> bool:
        """As `Lender.may_lend_class`: a class that a test wrote."""
        return is_of_tests(kind)

    # What a message asks for

    def perform(self, op: str, operands: tuple[Any, ...]) -> Any:
        """Does what `REQUESTS` or `OPERATORS` say of an operation, for an object that a test handed over.

        Args:
          op: name of the operation.
          operands: what the message holds: plain data, stand-ins, and what a test handed over.

        Raises:
          TypeError, AttributeError: this may not be asked for.
          Exception: what the tests' own code raises.
        """
        if op in OPERATORS:
            *methods, function = OPERATORS[op]
            # An operand must have the operator from its own class, which a test wrote.
            pairs = zip(operands, methods)  # noqa: B905
            if any(self.is_lent(operand) and (names is None or is_open(operand, names)) for operand, names in pairs):
                return function(*operands)
        elif op in REQUESTS and operands and self.is_lent(operands[0]):
            return REQUESTS[op](*operands)
        raise TypeError(f"{op[:NAME_CHARACTERS]} of an object of the tests")


def _builtin_error(kind: type) -> type:
    """The first builtin class from which a class of errors derives."""
    return next(base for base in kind.__mro__ if base.__module__ == "builtins")


def _importable_name(value: Any) -> str:
    """ "MODULE NAME" by which the candidate's process finds a class, function or method of Python; "" for others.

    A module is "MODULE ". Methods of a class are among them (`str.upper`), and of a module's own hidden object
    (`random.random`).
    """
    if issubclass(type(value), type(sys)):
        module_name = value.__name__
        return f"{module_name} " if sys.modules.get(module_name) is value else ""
    if not is_class(value) and type(value).__name__ not in _NAMED_KINDS:
        return ""
    owner: Any = getattr(value, "__objclass__", getattr(value, "__self__", None))
    module: Any
    name: Any = getattr(value, "__name__", "")
    if is_class(owner):
        module, name = owner.__module__, f"{owner.__qualname__}.{name}"
    elif issubclass(type(owner), type(sys)) or owner is None:
        module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", name)
    else:
        module = type(owner).__module__
    if module is None:
        module = type(value).__module__
    if type(module) is not str or type(name) is not str or module in (TESTS, SETUP):
        return ""
    # Only what stands there under that name: anybody may write `__module__`.
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return f"{module} {name}" if found is not None and (found is value or found == value) else ""
