"""How values travel between the judge and the candidate: plain data by value, anything else as a handle.

A message is a row of nodes, each `tag origin length:payload`. A payload names other nodes by their number. Containers
that can hold themselves may name later nodes, all others only earlier ones, so reading needs no recursion, and nothing
that a message says is ever executed, imported or called: reading builds values of a fixed list of types. `origin` is
the number of the object in the message that this one answers, or -1: what came from the other end goes back as itself.

Part of the bare process: imports only what costs next to nothing.
"""

from __future__ import annotations

import sys
from typing import Any

MAX_BYTES = 1 << 24
"""Of one message."""
_SMALL = 10**18  # integers below it are written in decimal digits where a list holds nothing else
FACTORIES = {"int": int, "list": list, "set": set, "dict": dict, "str": str, "float": float, "tuple": tuple}
FACTORIES |= {"bool": bool}
"""The default factories of `defaultdict` that travel, by name."""
_BASES: tuple[type, ...] = (bool, int, float, complex, str, bytes, tuple, list, dict, set, frozenset, bytearray)

# Tags. Plain values: N None, B bool, i int, f float, s str, b bytes, c complex, x Ellipsis or NotImplemented.
# Containers whose parts come before them: t tuple, z frozenset, r range, S slice, R Fraction, m Decimal, w of datetime,
# n array of numpy. Mutable ones: l list, I list of small ints, D list of floats, d dict, e set, a bytearray, C Counter,
# O OrderedDict, G defaultdict, q deque, o object of a class of the setup. "=" is an unchanged object that came from the
# other end. All other tags are `handles`' own.
_MUTABLE_TAGS = {list: b"l", dict: b"d", set: b"e", bytearray: b"a"}
_LIBRARY_TAGS = {"collections.Counter": b"C", "collections.OrderedDict": b"O", "collections.defaultdict": b"G"}
_LIBRARY_TAGS |= {"collections.deque": b"q", "decimal.Decimal": b"m", "fractions.Fraction": b"R"}
_LIBRARY_TAGS |= {f"datetime.{name}": b"w" for name in ("date", "time", "datetime", "timedelta", "timezone")}
_DATETIME_FIELDS: dict[str, tuple[str, ...]] = {"datetime.date": ("year", "month", "day")}
_DATETIME_FIELDS |= {"datetime.time": ("hour", "minute", "second", "microsecond")}
_DATETIME_FIELDS |= {"datetime.datetime": ("year", "month", "day", "hour", "minute", "second", "microsecond")}


class Garbled(Exception):
    """The bytes that came from the other process are not a message."""


def base_of(value: Any) -> type | None:
    """The builtin type (`bool`, `int`, ..., `bytearray`) that the type of `value` is or derives from; None for none."""
    kind = type(value)
    for base in _BASES:
        if base in kind.__mro__:
            return base
    return None


class Writer:
    """Writes one message: a list of nodes, one for each value.

    Args:
      encode: is called with (writer, value) for a value that cannot be copied by itself, and returns the (tag, payload)
        of its node; see `handles.Handles.encode`.
      known: the mutable objects of the request that this message answers: (their position in it, object) by the
        object's `id`. Empty for a request.
      changed: the ids of those among them whose content has changed and is sent back.

    Attributes:
      sent: the mutable objects of the message in the order of their nodes. The answer to it refers to them by their
        position here.
    """

    def __init__(self, encode: Any, known: dict[int, tuple[int, Any]], changed: set[int]) -> None:
        self._encode, self._known, self._changed = encode, known, changed
        self._nodes: list[list[Any]] = []  # [tag, origin, payload]
        self._numbers: dict[int, int] = {}  # node by id of the value
        self._unfilled: list[tuple[int, Any]] = []  # (node, mutable value) whose content is yet to be written
        self.sent: list[Any] = []
        self._alive: list[Any] = []  # keeps values alive, so that no two have one id

    def message(self, value: Any) -> bytes:
        """The message that carries a value. Its first line is the number of the value's node."""
        root = self.ref(value)
        # Writing the content of one container may add others: a loop, so that no depth is too much.
        while self._unfilled:
            container_number, container = self._unfilled.pop()
            self._nodes[container_number][2] = self._content(container, container_number)
        parts = [b"%d\n" % root]
        for tag, origin, payload in self._nodes:
            parts.append(b"%s%d %d:" % (tag, origin, len(payload)))
            parts.append(payload)
        return b"".join(parts)

    def add(self, tag: bytes, payload: bytes, origin: int = -1) -> int:
        """Adds a finished node and returns its number.

        Args:
          tag: one byte that tells the type.
          payload: the node's content.
          origin: position of the object in the message that this one answers; -1 for a new object.
        """
        self._nodes.append([tag, origin, payload])
        return len(self._nodes) - 1

    def refs(self, values: Any) -> bytes:
        """A payload that lists the numbers of the nodes of `values`, separated by spaces; missing nodes are added."""
        return b" ".join([b"%d" % self.ref(value) for value in values])

    def ref(self, value: Any) -> int:
        """The number of the node of `value`, which is added if there is none yet."""
        kind = type(value)
        if value is None:
            return self.add(b"N", b"")
        if kind is bool:
            return self.add(b"B", b"1" if value else b"0")
        if kind is int:
            return self.add(b"i", b"%x" % value)
        if kind is float:
            return self.add(b"f", repr(value).encode())
        if kind is str:
            return self.add(b"s", value.encode("utf-8", "surrogatepass"))
        # All others keep their identity: a value that stands in two places is one node.
        if id(value) in self._numbers:
            return self._numbers[id(value)]
        self._alive.append(value)
        number = self._compound(value, kind)
        self._numbers[id(value)] = number
        return number

    def _mutable(self, tag: bytes, value: Any) -> int:
        """The node of a mutable object. Its content is written later, as it may contain the object itself."""
        origin = -1
        if id(value) in self._known:
            origin = self._known[id(value)][0]
            if id(value) not in self._changed:
                return self.add(b"=", b"", origin)
        number = self.add(tag, b"", origin)
        self._numbers[id(value)] = number
        self.sent.append(value)
        self._unfilled.append((number, value))
        return number

    def _compound(self, value: Any, kind: type) -> int:
        """The node of a value that is not a number, text or None."""
        if kind is tuple:
            return self.add(b"t", self.refs(value))
        if kind in _MUTABLE_TAGS:
            return self._mutable(_MUTABLE_TAGS[kind], value)
        if kind is frozenset:
            return self.add(b"z", self.refs(value))
        if kind is bytes:
            return self.add(b"b", value)
        if kind is complex:
            return self.add(b"c", f"{value.real!r} {value.imag!r}".encode())
        if kind is range:
            return self.add(b"r", self.refs((value.start, value.stop, value.step)))
        if kind is slice:
            return self.add(b"S", self.refs((value.start, value.stop, value.step)))
        if value is Ellipsis or value is NotImplemented:
            return self.add(b"x", b"Ellipsis" if value is Ellipsis else b"NotImplemented")
        # Types of the standard library and arrays: the real ones, not a class that only has the name.
        full_name = f"{kind.__module__}.{kind.__qualname__}"
        if full_name in _LIBRARY_TAGS and getattr(sys.modules.get(kind.__module__), kind.__qualname__, None) is kind:
            return self._library(value, full_name)
        if kind.__module__ == "numpy" and hasattr(value, "tobytes") and value.dtype.kind in "biufcU":
            return self._array(value)
        # Anything else is not plain, or derives from a plain type.
        tag, payload = self._encode(self, value)
        if tag == b"o":
            return self._mutable(b"o", value)
        if tag == b"p":  # plain after all: the value of its builtin base
            return self.ref(payload)
        return self.add(tag, payload)

    def _library(self, value: Any, full_name: str) -> int:
        """The node of a value of `collections`, `decimal`, `fractions` or `datetime`."""
        tag = _LIBRARY_TAGS[full_name]
        if tag in (b"C", b"O", b"G", b"q"):
            return self._mutable(tag, value)
        if tag == b"m":
            return self.add(tag, str(value).encode())
        if tag == b"R":
            return self.add(tag, self.refs((value.numerator, value.denominator)))
        type_prefix = full_name.encode() + b" "
        if full_name == "datetime.timedelta":
            return self.add(tag, type_prefix + self.refs((value.days, value.seconds, value.microseconds)))
        if full_name == "datetime.timezone":
            return self.add(tag, type_prefix + self.refs((value.utcoffset(None),)))
        # A time in a zone of a class of its own does not travel by value.
        zone = getattr(value, "tzinfo", None)
        if zone is not None and type(zone).__name__ != "timezone":
            tag, payload = self._encode(self, value)
            return self.add(tag, payload)
        fields = [getattr(value, name) for name in _DATETIME_FIELDS[full_name]]
        return self.add(tag, type_prefix + self.refs(fields if full_name == "datetime.date" else [*fields, zone]))

    def _array(self, value: Any) -> int:
        """The node of an array or scalar of numpy: type, shape, whether it is a scalar, and its little-endian bytes."""
        contiguous = value.astype(value.dtype.newbyteorder("<"), order="C", copy=True)
        is_scalar = int(value.shape == () and type(value).__name__ != "ndarray")
        header = f"{contiguous.dtype.str} {','.join(map(str, value.shape))} {is_scalar}"
        payload = header.encode() + b"\n" + contiguous.tobytes()
        if type(value).__name__ != "ndarray":
            return self.add(b"n", payload)
        origin = self._known.get(id(value), (-1, None))[0]
        if origin >= 0 and id(value) not in self._changed:
            return self.add(b"=", b"", origin)
        self.sent.append(value)
        return self.add(b"n", payload, origin)

    def _content(self, value: Any, at: int) -> bytes:
        """The payload of a mutable object's node."""
        kind = type(value)
        if kind is list:
            return self._items(value, at)
        if kind is bytearray:
            return bytes(value)
        if kind is set:
            return self.refs(value)
        if kind is dict:
            return self._pairs(value)
        tag = self._nodes[at][0]
        if tag in (b"C", b"O"):
            return self._pairs(value)
        if tag == b"G":
            factory = getattr(value.default_factory, "__name__", "")
            head = factory if FACTORIES.get(factory) is value.default_factory and factory else "-"
            return head.encode() + b" " + self._pairs(value)
        if tag == b"q":
            return b"%d " % (-1 if value.maxlen is None else value.maxlen) + self.refs(value)
        # What is left is an instance of a class of the setup: its attributes, those in slots included.
        attributes = dict(getattr(value, "__dict__", {}))
        for owner in type(value).__mro__:
            slots = owner.__dict__.get("__slots__", ())
            for slot in (slots,) if isinstance(slots, str) else slots:
                if slot not in ("__dict__", "__weakref__") and hasattr(value, slot):
                    attributes[slot] = getattr(value, slot)
        self._alive.append(attributes)
        return type(value).__name__.encode() + b" " + self._pairs(attributes)

    def _pairs(self, mapping: Any) -> bytes:
        return self.refs([part for pair in mapping.items() for part in pair])

    def _items(self, value: list[Any], at: int) -> bytes:
        """The payload of a list; a list of many numbers is written at once, without a node for each."""
        kinds = set(map(type, value)) if len(value) > 3 else ()
        if kinds == {int} and min(value) > -_SMALL and max(value) < _SMALL:
            self._nodes[at][0] = b"I"
            return " ".join(map(str, value)).encode()
        if kinds == {float}:
            self._nodes[at][0] = b"D"
            return " ".join(map(repr, value)).encode()
        return self.refs(value)
