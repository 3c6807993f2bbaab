"""Makes the stand-ins of `proxies` from what a message says, and errors of the other end. Part of the bare process."""

from __future__ import annotations

from typing import Any

from sml_jax.tasks.code.sandbox import proxies, proxy_objects
from sml_jax.tasks.code.sandbox.value_types import ERRORS, type_named


def remote_number(value: Any) -> int | None:
    """The number, in the other process, of the object that a value stands for; None if it is no stand-in."""
    if isinstance(value, proxies.Remote):
        return proxies.number_of(value)
    if isinstance(value, BaseException):  # a copy of an error that the other process keeps
        remote = value.__dict__.get("_remote_error_")
        return proxies.number_of(remote) if isinstance(remote, proxies.Remote) else None
    return remote_error_number(value) if isinstance(value, type) else None


def remote_error_number(kind: type) -> int | None:
    """The number, in the other process, of the class of errors that `kind` stands for; None if it is no stand-in."""
    number = kind.__dict__.get("_remote_number_")
    return number if type(number) is int else None


def make_proxy(peer: Any, number: int, kind: str, name: str, base: str, lineage: str) -> Any:
    """Makes a stand-in for an object of the other process.

    Args:
      peer: the end of the wire (`Peer`) through which the stand-in asks the other process.
      number: the object's number there.
      kind: "function", "class", "iterator", "callable", "object", "exception" (a class of errors) or "coroutine".
      name: name of the object's class; of a function or class, its own name.
      base: full name of the type of plain data that its class derives from, and for a class of errors the name of the
        class of Python's or of the setup that it derives from; "" for none.
      lineage: for a class of errors, the numbers and names of the class and its bases, the class first, as
        `lend_class` writes them; "" for anything else.

    Raises:
      ValueError, KeyError: `base` is no such type.
    """
    if kind == "exception":
        return _error_class(peer, lineage, base)
    if kind == "coroutine":

        async def wait() -> Any:
            return peer.ask("run", remote)

        remote = proxy_objects.RemoteObject(peer, number, name, "")
        return wait()
    class_of_kind: dict[str, type[proxies.Remote]] = {
        "function": proxies.RemoteFunction,
        "class": proxies.RemoteClass,
        "iterator": proxy_objects.RemoteIterator,
        "callable": proxy_objects.RemoteCallable,
    }
    proxy_class = class_of_kind.get(kind, proxy_objects.RemoteObject)
    # Instances get a class with the name of their own, which tests may print. To `isinstance`, an object whose class
    # derives from plain data is an object of a class that does.
    if issubclass(proxy_class, proxy_objects.RemoteObject):
        members: dict[str, Any] = {"__slots__": ()}
        if base:
            base_type = type_named(base, True)
            if base_type is None or issubclass(base_type, BaseException):
                raise ValueError(base)
            derived = type(name, (base_type,), {})
            members["__class__"] = property(lambda self: derived)
        proxy_class = type(name, (proxy_class,), members)
    return proxy_class(peer, number, name, base)


# Errors.

_STOPS = (StopIteration, StopAsyncIteration, GeneratorExit)
# What the code raises does not end an iteration of the judge's own, such as `map`, so it comes as another error.
STOPPED: dict[str, type[BaseException]] = {
    kind.__name__: type(kind.__name__, (RuntimeError,), {"value": property(lambda self: (*self.args, None)[0])})
    for kind in _STOPS
}
"""The errors as which StopIteration, StopAsyncIteration and GeneratorExit of the code reach a test, by their names."""


def without_stop(error: BaseException) -> BaseException:
    """The error, or the one of `STOPPED` in the place of an error that ends iterations."""
    for kind in _STOPS:
        if isinstance(error, kind):
            stopped = STOPPED[kind.__name__](*error.args)
            stopped.__dict__.update(error.__dict__)
            return stopped
    return error


def build_error(parts: list[Any]) -> BaseException:
    """Makes a copy of an error that the other process raised.

    Args:
      parts: what `Lender.encode_error` wrote; nothing is trusted to have the right type. These are the class of the
        error (its name if it is a builtin one, else a class that stands for the other end's or that this end handed
        over), the tuple `args`, the error's text, the number, as text, of the line of the candidate's program that
        raised it ("" if unknown), the error's public attributes (a tuple of names and values in turn), a stand-in for
        the error itself or None, and the error that caused it or None.

    Raises:
      ValueError, KeyError, AttributeError: the parts are not those of an error.
    """
    kind, arguments, message, line, attributes, remote, cause = parts
    kind = ERRORS[kind] if type(kind) is str else kind
    if not (isinstance(kind, type) and issubclass(kind, BaseException) and type(arguments) is tuple):
        raise ValueError(kind)
    is_of_setup = kind.__module__ == "solution"
    try:
        # The `__init__` of the setup's class has run at the other end, and may take other arguments.
        error = kind.__new__(kind, *arguments) if is_of_setup else kind(*arguments)
    except Exception:  # such as UnicodeDecodeError, which wants arguments of certain types
        error = kind.__new__(kind)
        error.args = (message,)
    # Attributes: data of an error that was made here; those that Python computes take no such value.
    if kind in ERRORS.values() or remote_error_number(kind) is not None or is_of_setup:
        for name, value in zip(attributes[::2], attributes[1::2]):  # noqa: B905
            if type(name) is str and not name.startswith("_") and not callable(getattr(kind, name, None)):
                try:  # noqa: SIM105 - contextlib costs milliseconds
                    object.__setattr__(error, name, value)
                except (AttributeError, TypeError, ValueError):
                    pass
        error._remote_error_ = remote if isinstance(remote, proxies.Remote) else None  # type: ignore[attr-defined]
    error._remote_line_ = line if type(line) is str else ""  # type: ignore[attr-defined]
    error._remote_message_ = message if type(message) is str else ""  # type: ignore[attr-defined]
    error.__cause__ = cause if isinstance(cause, BaseException) else None
    return error


def _error_class(peer: Any, lineage: str, base: str) -> type:
    """The stand-in for a class of errors. Those for its bases are made first, if there are none yet."""
    setup_name = base.removeprefix("solution.")
    parent = peer.shared[setup_name] if setup_name != base else ERRORS[base]
    if not issubclass(parent, BaseException):
        raise ValueError(base)
    for part in reversed(lineage.split("\1")):
        number, name = part.split("\2")
        known = peer.proxies.get(int(number))
        if not (isinstance(known, type) and issubclass(known, BaseException)):
            members = {
                "_remote_number_": int(number),
                "__str__": _message,
                "__init__": _keep_arguments,
                "__getattr__": _attribute,
            }
            known = type(name, (parent,), members)
            peer.proxies[int(number)] = known
        parent = known
    return parent


def _keep_arguments(self: BaseException, *arguments: Any, **named: Any) -> None:
    """The `__init__` of a stand-in: the other end's has run already, and may take other arguments."""
    self.args = arguments


def _message(self: BaseException) -> str:
    message = self.__dict__.get("_remote_message_")
    return message if type(message) is str else str(self.args[0]) if len(self.args) == 1 else str(self.args)


def _attribute(self: BaseException, name: str) -> Any:
    """What the error does not hold here, such as a method or property, is asked of the other end's own."""
    remote = self.__dict__.get("_remote_error_")
    if remote is None or name.startswith("_"):
        raise AttributeError(name)
    return getattr(remote, name)
