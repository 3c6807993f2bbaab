"""Makes the stand-ins of `proxies` from what a message says, and errors of the other end. Part of the bare process."""

from __future__ import annotations

from typing import Any

from sml_jax.tasks.code.sandbox import proxies


def remote_number(value: Any) -> int | None:
    """The number of the other end's object that a value stands for; None for an object of this end."""
    if isinstance(value, proxies.Remote):
        return proxies.number_of(value)
    return remote_error_number(value) if isinstance(value, type) else None


def remote_error_number(kind: type) -> int | None:
    """The number of the other end's class of errors that a class stands for; None for a class of this end."""
    number = kind.__dict__.get("_remote_number_")
    return number if type(number) is int else None


def make_proxy(peer: Any, number: int, kind: str, name: str, base: str, lineage: str) -> Any:
    """A stand-in for the other end's object.

    Args:
      peer: this end of the wire.
      number: of the object, at the other end.
      kind: "function", "class", "iterator", "callable", "object", "exception" (a class of errors) or "coroutine".
      name: of the object's class, or its own for a function or class.
      base: the builtin type that its class derives from; "" for none.
      lineage: for a class of errors, it and its bases, as `handles.lineage` writes them.
    """
    if kind == "exception":
        return _error_class(peer, lineage, base)
    if kind == "coroutine":

        async def wait() -> Any:
            return peer.ask("run", remote)

        remote = proxies.RemoteObject(peer, number, name, "")
        return wait()
    shapes: dict[str, type[proxies.Remote]] = {
        "function": proxies.RemoteFunction,
        "class": proxies.RemoteClass,
        "iterator": proxies.RemoteIterator,
        "callable": proxies.RemoteCallable,
    }
    shape = shapes.get(kind, proxies.RemoteObject)
    # Instances get a class with the name of their own, which tests may print.
    if shape in (proxies.RemoteObject, proxies.RemoteCallable):
        shape = type(name, (shape,), {"__slots__": ()})
    return shape(peer, number, name, base)


def build_error(name: Any, arguments: Any, message: Any, line: Any) -> BaseException:
    """An error of the other end, of the same builtin type or of a stand-in for its own.

    Args:
      name: of a builtin type, or a stand-in's class. Not trusted, nor are the others.
      arguments: `args` of the error.
      message: its text.
      line: of the candidate's program where it was raised, as text; "" where unknown.

    Raises:
      ValueError: these describe no error.
    """
    import builtins

    kind = getattr(builtins, name) if type(name) is str else name
    if not (isinstance(kind, type) and issubclass(kind, BaseException) and type(arguments) is tuple):
        raise ValueError(name)
    try:
        error = kind(*arguments)
    except Exception:  # such as UnicodeDecodeError, which wants arguments of certain types
        error = kind.__new__(kind)
        error.args = (message,)
    error._remote_line_ = line if type(line) is str else ""  # type: ignore[attr-defined]
    error._remote_message_ = message if type(message) is str else ""  # type: ignore[attr-defined]
    return error


def _error_class(peer: Any, lineage: str, base: str) -> type:
    """The stand-in for a class of errors, made with its bases, the most general first, where they are not known yet."""
    import builtins

    parent = getattr(builtins, base)
    if not (isinstance(parent, type) and issubclass(parent, BaseException)):
        raise ValueError(base)
    for part in reversed(lineage.split("\1")):
        number, name = part.split("\2")
        known = peer.proxies.get(int(number))
        if not (isinstance(known, type) and issubclass(known, BaseException)):
            members = {"_remote_number_": int(number), "__str__": _message, "__init__": _keep_arguments}
            known = type(name, (parent,), members)
            peer.proxies[int(number)] = known
        parent = known
    return parent


def _keep_arguments(self: BaseException, *arguments: Any, **named: Any) -> None:
    """The `__init__` of a stand-in: the other end's has run already, and may take other arguments."""
    self.args = arguments


def _message(self: BaseException) -> str:
    message = getattr(self, "_remote_message_", None)
    return message if type(message) is str else str(self.args[0]) if len(self.args) == 1 else str(self.args)
