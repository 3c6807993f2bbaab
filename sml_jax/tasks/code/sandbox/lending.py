"""Lends objects that do not travel by value: the other end has stand-ins for them. Part of the bare process.

Each end has rules of its own for what it lends and as what: `judge_end` and `candidate_end`.
"""

from __future__ import annotations

from typing import Any

from sml_jax.tasks.code.sandbox.proxy_factory import build_error, make_proxy
from sml_jax.tasks.code.sandbox.wire import Garbled, Writer
from sml_jax.tasks.code.sandbox.wire_reader import SETUP, known_type

NAME_CHARACTERS = 100
"""Of the name of a class or function that travels."""
_MESSAGE_CHARACTERS = 2000  # of an error's text
_ARGUMENTS_BYTES = 1 << 16  # of an error whose arguments travel


class Lender:
    """Encodes and decodes what cannot be copied between the judge's process and the candidate's.

    Such an object goes over as a number, by which both ends speak of it from then on. The end that has the object keeps
    it alive; the other one makes a stand-in for it (see `proxies`).

    Args:
      classes: the setup's classes by name; their objects are copied, attribute by attribute.
      strict: whether this end trusts nothing that comes from the other; True in the judge's process.

    Attributes:
      classes, strict: as above.
      shared: the setup's classes of errors and enumerations by name; the other end has them too.
      proxies: the stand-ins by the numbers of the other end's objects.
      lent: this end's objects that the other end has stand-ins for, by number.
    """

    def __init__(self, classes: dict[str, type], strict: bool) -> None:
        self.classes, self.strict = classes, strict
        self.shared: dict[str, type] = {}
        self.proxies: dict[int, Any] = {}
        self.lent: list[Any] = []
        self._lent_numbers: dict[int, int] = {}  # by `id`

    def lend(self, value: Any, kind: str, name: Any, base: str = "", lineage: str = "") -> tuple[bytes, bytes]:
        """The (tag, payload) of a node from which the other end makes a stand-in for `value`.

        Args:
          value: an object of this process.
          kind, name, base, lineage: see `proxy_factory.make_proxy`.
        """
        name = str(name)[:NAME_CHARACTERS].replace("\0", "")
        words = (str(self.lend_number(value)), kind, name, base, lineage)
        return b"h", "\0".join(words).encode("utf-8", "surrogatepass")

    def lend_number(self, value: Any) -> int:
        """The number by which both ends speak of an object of this process, which is kept alive from now on."""
        number = self._lent_numbers.setdefault(id(value), len(self.lent))
        if number == len(self.lent):
            self.lent.append(value)
        return number

    def lend_error_class(self, value: type) -> tuple[bytes, bytes]:
        """As `lend`, for a class of errors: those of its bases that may be lent go along, for `except`."""
        root_at = next(i for i, b in enumerate(value.__mro__) if b.__module__ == "builtins" or self.is_shared(b))
        derived = [base for base in value.__mro__[:root_at] if self.may_lend_class(base)]
        root = value.__mro__[root_at]
        root_name = f"{SETUP}{root.__name__}" if self.is_shared(root) else root.__name__
        names = [str(base.__name__)[:NAME_CHARACTERS].translate({0: "", 1: "", 2: ""}) for base in derived]
        numbers = [self.lend_number(base) for base in derived]
        lineage = "\1".join(f"{number}\2{name}" for number, name in zip(numbers, names))  # noqa: B905
        return self.lend(value, "exception", names[0], root_name, lineage)

    def is_shared(self, kind: type) -> bool:
        """Whether a class is one of `shared`."""
        return self.shared.get(kind.__name__) is kind

    def shared_name(self, value: Any) -> str:
        """The name under which the other end has a class of `shared`, or a member of an enumeration; "" for others."""
        if isinstance(value, type):
            return f"{SETUP}{value.__name__}" if self.is_shared(value) else ""
        kind = type(value)
        if not self.is_shared(kind) or issubclass(kind, BaseException):
            return ""
        member = str(value._name_)
        return f"{SETUP}{kind.__name__}.{member}" if kind._member_map_.get(member) is value else ""

    def may_lend_class(self, kind: type) -> bool:
        """Whether the other end may have a stand-in for a class."""
        return kind.__module__ != "builtins"

    def encode_error(
        self, writer: Writer, error: BaseException, kind: type, line: str, is_cause: bool = False
    ) -> bytes:
        """The payload of the node of an error, see `proxy_factory.build_error`.

        Args:
          writer: of the message; the error's parts get nodes of their own in it.
          error: what is sent.
          kind: the class as which it is sent.
          line: number of the line of the candidate's program that raised it; "" if unknown.
          is_cause: whether it is sent as the cause of another error, and so without its own cause.
        """
        try:
            message = str(error)[:_MESSAGE_CHARACTERS]
        except BaseException:
            message = ""
        # Arguments and attributes that cannot travel, or are long, are replaced by the message or left out.
        arguments = error.args if type(error.args) is tuple else ()
        if not self._is_small(arguments):
            arguments = (message,)
        attributes = self.error_attributes(error)
        if not self._is_small(attributes):
            attributes = ()
        is_builtin = kind.__module__ == "builtins"
        numbers = [
            writer.ref(part) for part in (kind.__name__ if is_builtin else kind, arguments, message, line, attributes)
        ]
        # The error itself, for what its class computes, and its cause.
        if is_builtin or self.strict:
            numbers.append(writer.ref(None))
        else:
            numbers.append(writer.add(*self.lend(error, "object", kind.__name__)))
        cause = None if is_cause else error.__cause__
        numbers.append(writer.ref(None) if cause is None else writer.add(b"E", self.encode_cause(writer, cause)))
        return b" ".join([b"%d" % number for number in numbers])

    def encode_cause(self, writer: Writer, error: BaseException) -> bytes:
        """The payload of the node of an error that caused another."""
        raise NotImplementedError

    def error_attributes(self, error: BaseException) -> tuple[Any, ...]:
        """The attributes of an error that travel with it: names and values in turn."""
        return ()

    def _is_small(self, value: Any) -> bool:
        """Whether a value can travel, and is no larger than the parts of an error may be."""
        try:
            return len(Writer(self.encode, {}, set()).message(value)) <= _ARGUMENTS_BYTES
        except BaseException:
            return False

    def encode(self, writer: Writer, value: Any) -> tuple[bytes, Any]:
        """The (tag, payload) of the node for a value that `Writer` cannot copy by itself.

        The tags: "y" for a stand-in, which becomes the other end's object again; "k" for what the candidate's process
        has under a name; "T" for classes of the closed list and of the setup, "o" for objects of the setup's classes;
        "E" for an error; "p" for an object that is written as plain data (the payload is that data); "h" for anything
        else, which gets a stand-in.
        """
        raise NotImplementedError

    def decode(self, tag: bytes, payload: bytes, values: list[Any]) -> Any:
        """The object that a node stands for, which `encode` made at the other end.

        Args:
          tag, payload: the node.
          values: the values of the message's earlier nodes, by number, which the payload may refer to.

        Raises:
          Exception: the node is malformed; `wire_reader.Reader` takes any error for Garbled.
        """
        if tag == b"y":
            number = int(payload)
            if number < 0:
                raise Garbled("number")
            return self.lent[number]
        if tag == b"T":
            name = payload.decode()
            if not name.startswith(SETUP):
                return known_type(name)
            name, _, member = name[len(SETUP) :].partition(".")
            found: Any = self.shared[name]
            return found._member_map_[member] if member else found
        if tag == b"E":
            numbers = [int(word) for word in payload.split()]
            if min(numbers) < 0:
                raise Garbled("number")
            return build_error([values[number] for number in numbers])
        if tag == b"h":
            number_text, kind, name, base, lineage = payload.decode("utf-8", "surrogatepass").split("\0")
            key = int(number_text)
            if key not in self.proxies:
                self.proxies[key] = make_proxy(self, key, kind, name, base, lineage)
            return self.proxies[key]
        raise Garbled("tag")

    def is_lent(self, value: Any) -> bool:
        """Whether the other end has a stand-in for an object of this end."""
        number = self._lent_numbers.get(id(value), -1)
        return number >= 0 and self.lent[number] is value
