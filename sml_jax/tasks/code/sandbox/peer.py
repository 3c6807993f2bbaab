"""Calls between the judge and the candidate: one class for both ends of the wire.

An end keeps the objects that it lent to the other by number. Whichever end waits for an answer serves what the other
asks meanwhile, so a function that a test hands over can be called back. Part of the bare process.
"""

from __future__ import annotations

import _operator
import _thread
import builtins
import os
import sys
from typing import Any

from sml_jax.tasks.code.sandbox import proxies
from sml_jax.tasks.code.sandbox.wire import MOST_BYTES, Garbled, Writer, base_of
from sml_jax.tasks.code.sandbox.wire_reader import Reader

OPEN_MODULES = {
    *("math", "cmath", "collections", "collections.abc", "itertools", "functools", "operator", "string", "re"),
    *("heapq", "bisect", "typing", "datetime", "decimal", "fractions", "random", "statistics", "copy", "numpy"),
    *("_operator", "_collections", "_heapq", "_bisect", "_functools", "builtins", "json", "time", "calendar"),
}
"""Modules whose classes, functions and selves each end takes from its own side when the other names them."""
_BUILTINS = {
    "abs",
    "all",
    "any",
    "ascii",
    "bin",
    "callable",
    "chr",
    "divmod",
    "format",
    "hash",
    "hex",
    "id",
    "isinstance",
}
_BUILTINS |= {"len", "max", "min", "oct", "ord", "pow", "repr", "round", "sorted", "sum", "iter", "next", "print"}


class Gone(Exception):
    """The other end has left."""


class Peer:
    """One end.

    Args:
      reading, writing: open files.
      classes: the setup's classes by name, which travel by value.
      strict: this end trusts nothing of the other's (the judge).
    """

    def __init__(self, reading: int, writing: int, classes: dict[str, type], strict: bool) -> None:
        self._reading, self._writing, self.classes, self.strict = reading, writing, classes, strict
        self._lent: dict[int, Any] = {}
        self._far: dict[int, Any] = {}
        self._lock = _thread.RLock()
        self.twins: set[str] = set()  # names of the setup's classes that the code defines again

    # the wire

    def _send(self, kind: bytes, data: bytes) -> None:
        frame = memoryview((len(data) + 1).to_bytes(8, "little") + kind + data)
        try:
            while frame:
                frame = frame[os.write(self._writing, frame) :]
        except OSError as error:
            raise Gone from error

    def _receive(self) -> tuple[bytes, bytes]:
        size = int.from_bytes(self._exactly(8), "little")
        if not 0 < size <= MOST_BYTES + 64:
            raise Garbled("length")
        data = self._exactly(size)
        return data[:1], data[1:]

    def _exactly(self, size: int) -> bytes:
        parts = []
        while size:
            try:
                part = os.read(self._reading, min(size, 1 << 20))
            except OSError as error:
                raise Gone from error
            if not part:
                raise Gone
            parts.append(part)
            size -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    # asking and answering

    def ask(self, *request: Any) -> Any:
        """What the other end answers.

        Raises:
          Gone, Garbled: no answer will come.
          Exception: what the other end raised.
        """
        with self._lock:
            writer = Writer(self._outside, {}, set())
            message = self._bounded(writer.message(request))
            try:  # noqa: SIM105 - contextlib costs milliseconds
                self._send(b"?", message)
            except Gone:
                pass  # what it sent before it left is read all the same, whichever of the two was faster
            while True:
                kind, data = self._receive()
                if kind == b"?":
                    self._answer(data)
                    continue
                reply = Reader(self._inside, writer.sent, self.classes).value(data)
                if type(reply) is not tuple or len(reply) != 3:
                    raise Garbled("reply")
                if reply[0] == "ok":
                    return reply[1]
                if not isinstance(reply[1], BaseException):
                    raise Garbled("error")
                raise reply[1]

    def serve(self) -> None:
        """Answers until the other end leaves."""
        self._lock.acquire()
        while True:
            kind, data = self._receive()
            if kind == b"?":
                self._answer(data)

    def _answer(self, data: bytes) -> None:
        reader = Reader(self._inside, [], self.classes)
        request = reader.value(data)
        if type(request) is not tuple or not request or type(request[0]) is not str:
            raise Garbled("request")
        self._unlock()
        try:
            result = ("ok", self._perform(request[0], request[1:]))
        except (Gone, Garbled):
            raise
        except BaseException as error:
            if self.strict and not isinstance(error, Exception):
                raise
            result = ("no", error)
        finally:
            self._relock()
        known = {id(one): (at, one) for at, one in enumerate(reader.mutables)}
        changed = [one for one, was in zip(reader.mutables, reader.before) if _changed(one, was)]  # noqa: B905
        self._send(b"!", self._reply(result, known, changed))

    def _reply(self, result: tuple[str, Any], known: dict[int, tuple[int, Any]], changed: list[Any]) -> bytes:
        """The bytes of an answer; where it cannot be written, those of the error."""
        tries: list[tuple[str, Any, Any]] = [(*result, tuple(changed))]
        while True:
            try:
                writer = Writer(self._outside, known, set(map(id, changed)))
                return self._bounded(writer.message(tries[-1]))
            except (Gone, Garbled):
                raise
            except BaseException as error:
                if len(tries) > 2:
                    raise
                tries.append(("no", error if len(tries) == 1 else ValueError("a value that cannot be sent"), ()))

    def _unlock(self) -> None:
        if not self.strict:
            self._lock.release()

    def _relock(self) -> None:
        if not self.strict:
            self._lock.acquire()

    def _bounded(self, data: bytes) -> bytes:
        if len(data) > MOST_BYTES:
            raise ValueError(f"a value of more than {MOST_BYTES >> 20} MB as text")
        return data

    def _perform(self, op: str, rest: tuple[Any, ...]) -> Any:
        return perform(self, op, rest)

    # things that are no plain data

    def lend(self, value: Any, kind: str, name: str, base: str = "", chain: str = "") -> tuple[bytes, bytes]:
        """A handle node for an object of this end."""
        self._lent[id(value)] = value
        words = (str(id(value)), kind, name, base, chain)
        return b"h", "\0".join(word.replace("\0", "") for word in words).encode("utf-8", "surrogatepass")

    def _outside(self, writer: Writer, value: Any) -> tuple[bytes, Any]:
        far = proxies.number_of(value, self)
        if far is not None:
            return b"y", b"%d" % far
        known = _known_name(value)
        if known:
            return b"k", known.encode()
        kind = type(value)
        name = str(getattr(kind, "__name__", "object"))[:100]
        if self.classes.get(name) is kind or name in self.twins:
            return b"o", None
        if isinstance(value, BaseException):
            return b"E", self._error(writer, value)
        base = base_of(value)
        if base is not None and not _has_more(kind, base):
            return b"p", _plain(value, base)
        if isinstance(value, type):
            own = str(value.__name__)[:100]
            if issubclass(value, BaseException):
                own_line = [one for one in value.__mro__ if one.__module__ != "builtins"]
                for one in own_line:
                    self._lent[id(one)] = one
                root = next(one for one in value.__mro__ if one.__module__ == "builtins")
                chain = "\1".join(f"{id(one)}\2{str(one.__name__)[:100]}" for one in own_line)
                return self.lend(value, "exception", own, root.__name__, chain)
            return self.lend(value, "class", own)
        if name == "coroutine":
            return self.lend(value, "coroutine", name)
        if hasattr(kind, "__next__"):
            return self.lend(value, "iterator", name)
        if name in ("function", "builtin_function_or_method", "method", "method-wrapper", "partial"):
            return self.lend(value, "function", str(getattr(value, "__name__", name))[:100])
        views = {"dict_keys": "set", "dict_items": "set"}
        base_name = views.get(name, base.__name__ if base else "")
        return self.lend(value, "callable" if callable(value) else "object", name, base_name)

    def _error(self, writer: Writer, error: BaseException) -> bytes:
        kind = type(error)
        if self.strict and not proxies.far_class(kind, self):
            kind = next(one for one in kind.__mro__ if one.__module__ == "builtins")
        try:
            message = str(error)[:2000]
        except BaseException:
            message = ""
        arguments = error.args if type(error.args) is tuple else ()
        try:
            safe = Writer(self._outside, {}, set())
            if len(safe.message(arguments)) > 1 << 16:
                arguments = (message,)
        except BaseException:
            arguments = (message,)
        name = kind.__name__ if kind.__module__ == "builtins" else kind
        return writer.refs((name, arguments, message, "" if self.strict else line_of(error)))

    def _inside(self, tag: bytes, payload: bytes, values: list[Any]) -> Any:
        if tag == b"y":
            return self._lent[int(payload)]
        if tag == b"k":
            return _by_name(payload.decode())
        if tag == b"E":
            name, arguments, message, line = [values[int(word)] for word in payload.split()]
            return proxies.build_error(name, arguments, message, line)
        if tag == b"h":
            number, kind, name, base, chain = payload.decode("utf-8", "surrogatepass").split("\0")
            key = int(number)
            if key not in self._far:
                self._far[key] = proxies.make(self, key, kind, name, base, chain)
            return self._far[key]
        raise Garbled("tag")


line_of: Any = lambda error: ""  # noqa: E731 - the candidate's process sets it


def _changed(value: Any, was: Any) -> bool:
    if type(value) is list and was is not None:
        return len(value) != len(was) or any(one is not other for one, other in zip(value, was))  # noqa: B905
    return type(value) is not bytearray or bytes(value) != was


def _has_more(kind: type, base: type) -> bool:
    """Whether a class that derives from a builtin one has names of its own that a test might use."""
    line = kind.__mro__[: kind.__mro__.index(base)]
    return any(not name.startswith("_") for one in line for name in vars(one))


def _plain(value: Any, base: type) -> Any:
    """The content as the builtin type itself, whatever methods the class replaced."""
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


def _known_name(value: Any) -> str:
    if type(value) is type(sys):
        return f"{value.__name__} " if value.__name__ in OPEN_MODULES else ""
    if type(value) not in (type, type(len), type(_known_name)) and not isinstance(value, type):
        return ""
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if type(module) is not str or type(name) is not str or module not in OPEN_MODULES:
        return ""
    if module == "builtins" and not isinstance(value, type) and name not in _BUILTINS:
        return ""
    return f"{module} {name}" if getattr(sys.modules.get(module), name, None) is value else ""


def _by_name(text: str) -> Any:
    module, _, name = text.partition(" ")
    if module not in OPEN_MODULES or "." in name or name.startswith("_"):
        raise Garbled("name")
    if module == "builtins":
        value = getattr(builtins, name)
        if not isinstance(value, type) and name not in _BUILTINS:
            raise Garbled("name")
        return value
    found = __import__(module, fromlist=["*"])
    return getattr(found, name) if name else found


_ITSELF: dict[str, Any] = {"len": len, "str": str, "repr": repr, "hash": hash, "bool": bool, "int": int}
_ITSELF |= {"float": float, "complex": complex, "round": round, "iter": iter, "reversed": reversed, "divmod": divmod}
_ITSELF |= {"pow": pow, "format": format, "isinstance": isinstance, "issubclass": issubclass, "dir": dir}


def perform(peer: Peer, op: str, rest: tuple[Any, ...]) -> Any:
    """What the other end asked for, done with the objects of this one."""
    if op == "call":
        target, arguments, named = rest
        return target(*arguments, **named)
    if op == "get":
        return getattr(*rest)
    if op == "set":
        return setattr(*rest)
    if op == "del":
        return delattr(*rest)
    if op == "next":
        try:
            return ("item", next(rest[0]))
        except StopIteration as end:
            return ("end", end.value)
    if op == "plain":
        base = base_of(rest[0])
        return set(rest[0]) if base is None else _plain(rest[0], base)
    if op == "run":
        import asyncio

        return asyncio.run(rest[0])
    if op == "copy":
        import copy

        return (copy.deepcopy if rest[1] else copy.copy)(rest[0])
    if op == "enter":
        return type(rest[0]).__enter__(rest[0])
    if op == "exit":
        return type(rest[0]).__exit__(*rest)
    if op in _ITSELF:
        return _ITSELF[op](*rest)
    return getattr(_operator, op)(*rest)
