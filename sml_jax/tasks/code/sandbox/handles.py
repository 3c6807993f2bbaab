"""How objects that are not plain data travel: as handles, by well-known names, or as errors. Part of the bare process.

An object that one end lends to the other goes over as a number; the other end keeps a stand-in for it (`proxies`), and
sends the number back to speak of the object.
"""

from __future__ import annotations

import builtins
import sys
from typing import Any

from sml_jax.tasks.code.sandbox.operations import plain_content
from sml_jax.tasks.code.sandbox.proxy_factory import build_error, make_proxy, remote_error_number, remote_number
from sml_jax.tasks.code.sandbox.wire import Garbled, Writer, base_of

OPEN_MODULES = {
    *("math", "cmath", "collections", "collections.abc", "itertools", "functools", "operator", "string", "re"),
    *("heapq", "bisect", "typing", "datetime", "decimal", "fractions", "random", "statistics", "copy", "numpy"),
    *("_operator", "_collections", "_heapq", "_bisect", "_functools", "builtins", "json", "time", "calendar"),
}
"""Modules whose classes, functions and selves each end takes from its own side when the other names them."""
_OPEN_BUILTINS = {
    *("abs", "all", "any", "ascii", "bin", "callable", "chr", "divmod", "format", "hash", "hex", "id", "isinstance"),
    *("iter", "len", "max", "min", "next", "oct", "ord", "pow", "print", "repr", "round", "sorted", "sum"),
}
_FUNCTION_TYPES = ("function", "builtin_function_or_method", "method", "method-wrapper", "partial")
_VIEWS = {"dict_keys": "set", "dict_items": "set"}  # these compare as sets
_NAME_CHARACTERS, _MESSAGE_CHARACTERS = 100, 2000
_ARGUMENTS_BYTES = 1 << 16  # of an error whose arguments travel

line_of: Any = lambda error: ""  # noqa: E731 - the candidate's process sets it
"""The line of the candidate's program that an error comes from, as text."""


class Handles:
    """Encodes and decodes the objects that cannot be copied between the judge's process and the candidate's.

    Each process (an "end" of the wire) keeps such an object and sends its number; the other end makes a stand-in for
    it.

    Args:
      classes: the setup's classes by name; their objects are copied, attribute by attribute.
      strict: whether this end trusts nothing that comes from the other; True in the judge's process.

    Attributes:
      twins: names of the setup's classes that the candidate's code defines again.
      proxies: the stand-ins by the numbers of the other end's objects.
    """

    def __init__(self, classes: dict[str, type], strict: bool) -> None:
        self.classes, self.strict = classes, strict
        self.twins: set[str] = set()  # names of the setup's classes that the code defines again
        self.proxies: dict[int, Any] = {}  # stand-ins by the other end's numbers
        self._lent: dict[int, Any] = {}

    def lend(self, value: Any, kind: str, name: str, base: str = "", lineage: str = "") -> tuple[bytes, bytes]:
        """Makes a node from which the other end makes a stand-in for `value`; this end keeps `value` alive.

        Args:
          value: an object of this process; its number is its `id`.
          kind, name, base, lineage: see `proxy_factory.make_proxy`.

        Returns:
          (tag, payload) of the node.
        """
        self._lent[id(value)] = value
        words = (str(id(value)), kind, name, base, lineage)
        return b"h", "\0".join(word.replace("\0", "") for word in words).encode("utf-8", "surrogatepass")

    def encode(self, writer: Writer, value: Any) -> tuple[bytes, Any]:
        """(tag, payload) of the node for a value that `Writer` cannot copy by itself.

        The tags: "y" for a stand-in, which becomes the other end's object again; "k" for something that both ends have
        under a well-known name; "o" for an object of the setup's classes; "E" for an error; "p" for an object that is
        to be written as plain data (the payload is that data); "h" for anything else, which gets a stand-in.

        Args:
          writer: of the message; parts of an error get nodes of their own in it.
          value: what is sent.
        """
        number = remote_number(value)
        if number is not None:
            return b"y", b"%d" % number
        well_known_name = _well_known_name(value)
        if well_known_name:
            return b"k", well_known_name.encode()
        kind = type(value)
        type_name = str(getattr(kind, "__name__", "object"))[:_NAME_CHARACTERS]
        if self.classes.get(type_name) is kind or type_name in self.twins:
            return b"o", None
        if isinstance(value, BaseException):
            return b"E", self._encode_error(writer, value)
        # A subclass of a builtin type that adds nothing a test might use is that type's value.
        base = base_of(value)
        if base is not None and not _adds_public_names(kind, base):
            return b"p", plain_content(value, base)
        if isinstance(value, type):
            return self._lend_class(value)
        if type_name == "coroutine":
            return self.lend(value, "coroutine", type_name)
        if hasattr(kind, "__next__"):
            return self.lend(value, "iterator", type_name)
        if type_name in _FUNCTION_TYPES:
            return self.lend(value, "function", str(getattr(value, "__name__", type_name))[:_NAME_CHARACTERS])
        base_name = _VIEWS.get(type_name, base.__name__ if base else "")
        return self.lend(value, "callable" if callable(value) else "object", type_name, base_name)

    def _lend_class(self, value: type) -> tuple[bytes, bytes]:
        name = str(value.__name__)[:_NAME_CHARACTERS]
        if not issubclass(value, BaseException):
            return self.lend(value, "class", name)
        # A class of errors goes with its bases up to the first builtin one, so that `except` works at the other end.
        derived = [base for base in value.__mro__ if base.__module__ != "builtins"]
        for base in derived:
            self._lent[id(base)] = base
        root = next(base for base in value.__mro__ if base.__module__ == "builtins")
        lineage = "\1".join(f"{id(base)}\2{str(base.__name__)[:_NAME_CHARACTERS]}" for base in derived)
        return self.lend(value, "exception", name, root.__name__, lineage)

    def _encode_error(self, writer: Writer, error: BaseException) -> bytes:
        kind = type(error)
        # The judge does not lend the tests' own classes of errors: the candidate gets their builtin base.
        if self.strict and not remote_error_number(kind):
            kind = next(base for base in kind.__mro__ if base.__module__ == "builtins")
        try:
            message = str(error)[:_MESSAGE_CHARACTERS]
        except BaseException:
            message = ""
        # Arguments that cannot travel, or are long, are replaced by the message.
        arguments = error.args if type(error.args) is tuple else ()
        try:
            trial_writer = Writer(self.encode, {}, set())
            if len(trial_writer.message(arguments)) > _ARGUMENTS_BYTES:
                arguments = (message,)
        except BaseException:
            arguments = (message,)
        name = kind.__name__ if kind.__module__ == "builtins" else kind
        return writer.refs((name, arguments, message, "" if self.strict else line_of(error)))

    def decode(self, tag: bytes, payload: bytes, values: list[Any]) -> Any:
        """The object that a node stands for, which `encode` made at the other end.

        Args:
          tag, payload: the node.
          values: the values of the message's earlier nodes, by number, which the payload may refer to.

        Raises:
          Exception: the node is malformed; `wire_reader.Reader` takes any error for Garbled.
        """
        if tag == b"y":
            return self._lent[int(payload)]
        if tag == b"k":
            return _by_name(payload.decode())
        if tag == b"E":
            name, arguments, message, line = [values[int(word)] for word in payload.split()]
            return build_error(name, arguments, message, line)
        if tag == b"h":
            number, kind, name, base, lineage = payload.decode("utf-8", "surrogatepass").split("\0")
            key = int(number)
            if key not in self.proxies:
                self.proxies[key] = make_proxy(self, key, kind, name, base, lineage)
            return self.proxies[key]
        raise Garbled("tag")


def _adds_public_names(kind: type, base: type) -> bool:
    """Whether a class that derives from a builtin one has names of its own that a test might use."""
    derived = kind.__mro__[: kind.__mro__.index(base)]
    return any(not name.startswith("_") for subclass in derived for name in vars(subclass))


def _well_known_name(value: Any) -> str:
    """ "MODULE NAME" of a class or function, or "MODULE " of a module, that both ends have; "" for anything else."""
    if type(value) is type(sys):
        return f"{value.__name__} " if value.__name__ in OPEN_MODULES else ""
    if type(value) not in (type, type(len), type(_well_known_name)) and not isinstance(value, type):
        return ""
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if type(module) is not str or type(name) is not str or module not in OPEN_MODULES:
        return ""
    if module == "builtins" and not isinstance(value, type) and name not in _OPEN_BUILTINS:
        return ""
    # Only what stands there under its own name: anybody may write `__module__`.
    return f"{module} {name}" if getattr(sys.modules.get(module), name, None) is value else ""


def _by_name(text: str) -> Any:
    """This end's own object of a well-known name.

    Raises:
      Garbled: the name is not open.
    """
    module, _, name = text.partition(" ")
    if module not in OPEN_MODULES or "." in name or name.startswith("_"):
        raise Garbled("name")
    if module == "builtins":
        value = getattr(builtins, name)
        if not isinstance(value, type) and name not in _OPEN_BUILTINS:
            raise Garbled("name")
        return value
    imported = __import__(module, fromlist=["*"])
    return getattr(imported, name) if name else imported
