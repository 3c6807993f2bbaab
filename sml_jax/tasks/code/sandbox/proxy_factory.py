"""Makes the stand-ins of `proxies` from what a message says, and errors of the other end. Part of the bare process."""

from __future__ import annotations

from typing import Any

from sml_jax.tasks.code.sandbox import proxies


def remote_number(value: Any) -> int | None:
    """The number, in the other process, of the object that a value stands for; None if it is no stand-in."""
    if isinstance(value, proxies.Remote):
        return proxies.number_of(value)
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
      base: name of the builtin type that its class derives from; "" for none.
      lineage: for a class of errors, the numbers and names of the class and its bases, the class first, as
        `Handles.encode` writes them; "" for anything else.
    """
    if kind == "exception":
        return _error_class(peer, lineage, base)
    if kind == "coroutine":

        async def wait() -> Any:
            return peer.ask("run", remote)

        remote = proxies.RemoteObject(peer, number, name, "")
        return wait()
    class_of_kind: dict[str, type[proxies.Remote]] = {
        "function": proxies.RemoteFunction,
        "class": proxies.RemoteClass,
        "iterator": proxies.RemoteIterator,
        "callable": proxies.RemoteCallable,
    }
    proxy_class = class_of_kind.get(kind, proxies.RemoteObject)
    # Instances get a class with the name of their own, which tests may print.
    if proxy_class in (proxies.RemoteObject, proxies.RemoteCallable):
        proxy_class = type(name, (proxy_class,), {"__slots__": ()})
    return proxy_class(peer, number, name, base)


def build_error(name: Any, arguments: Any, message: Any, line: Any) -> BaseException:
    """Makes a copy of an error that the other process raised, to be raised in this one.

    None of the arguments is trusted to have the right type.

    Args:
      name: name of a builtin type of errors, or a stand-in for a class of errors.
      arguments: the tuple `args` of the error.
      message: the error's text.
      line: number, as text, of the line of the candidate's program that raised it; "" if unknown.

    Raises:
      ValueError, AttributeError: `name` is no type of errors, or `arguments` is no tuple.
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
    """The stand-in for a class of errors. Those for its bases are made first, if there are none yet."""
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
