"""How values travel between the judge and the candidate: plain data by value, anything else as a handle.

A message is a row of nodes, each `tag origin length:payload`. A payload names other nodes by their number. Containers
that can hold themselves may name later nodes, all others only earlier ones, so reading needs no recursion, and nothing
that a message says is ever executed, imported or called: `decode` builds values of a fixed list of types.

Part of the bare process: imports only what costs next to nothing.
"""

from __future__ import annotations

import sys
from typing import Any

MOST_BYTES = 1 << 24
_SMALL = 10**18
FACTORIES = {"int": int, "list": list, "set": set, "dict": dict, "str": str, "float": float, "tuple": tuple}
FACTORIES |= {"bool": bool}
_BASES: tuple[type, ...] = (bool, int, float, complex, str, bytes, tuple, list, dict, set, frozenset, bytearray)


class Garbled(Exception):
    """The bytes are no message."""


def base_of(value: Any) -> type | None:
    """The builtin type of plain data that a value's type derives from."""
    kind = type(value)
    for base in _BASES:
        if base in kind.__mro__:
            return base
    return None


class Writer:
    """Builds one message.

    Args:
      outside: gives (tag, payload) for what is not plain data; it may call `ref` for parts.
      known: by id, (origin number, object) of what came from the other side.
      changed: those of them whose content goes back.
    """

    def __init__(self, outside: Any, known: dict[int, tuple[int, Any]], changed: set[int]) -> None:
        self._outside, self._known, self._changed = outside, known, changed
        self._nodes: list[list[Any]] = []
        self._seen: dict[int, int] = {}
        self._later: list[tuple[int, Any]] = []
        self.sent: list[Any] = []  # mutable objects, by the order of their nodes
        self._alive: list[Any] = []

    def message(self, value: Any) -> bytes:
        """The bytes for a value; its node is the one named in the first line."""
        root = self.ref(value)
        while self._later:
            at, holder = self._later.pop()
            self._nodes[at][2] = self._content(holder, at)
        parts = [b"%d\n" % root]
        for tag, origin, payload in self._nodes:
            parts.append(b"%s%d %d:" % (tag, origin, len(payload)))
            parts.append(payload)
        return b"".join(parts)

    def add(self, tag: bytes, payload: bytes, origin: int = -1) -> int:
        """A finished node."""
        self._nodes.append([tag, origin, payload])
        return len(self._nodes) - 1

    def refs(self, values: Any) -> bytes:
        """A payload that names the nodes of values."""
        return b" ".join([b"%d" % self.ref(value) for value in values])

    def ref(self, value: Any) -> int:
        """The number of a value's node."""
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
        if id(value) in self._seen:
            return self._seen[id(value)]
        self._alive.append(value)
        at = self._complex(value, kind)
        self._seen[id(value)] = at
        return at

    def _mutable(self, tag: bytes, value: Any) -> int:
        origin = -1
        if id(value) in self._known:
            origin = self._known[id(value)][0]
            if id(value) not in self._changed:
                return self.add(b"=", b"", origin)
        at = self.add(tag, b"", origin)
        self._seen[id(value)] = at
        self.sent.append(value)
        self._later.append((at, value))
        return at

    def _complex(self, value: Any, kind: type) -> int:
        if kind is tuple:
            return self.add(b"t", self.refs(value))
        if kind in (list, dict, set, bytearray):
            return self._mutable({list: b"l", dict: b"d", set: b"e", bytearray: b"a"}[kind], value)
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
        place = f"{kind.__module__}.{kind.__qualname__}"
        if place in _KINDS and getattr(sys.modules.get(kind.__module__), kind.__qualname__, None) is kind:
            return self._library(value, place)
        if kind.__module__ == "numpy" and hasattr(value, "tobytes") and value.dtype.kind in "biufcU":
            return self._array(value)
        tag, payload = self._outside(self, value)
        if tag == b"o":
            return self._mutable(b"o", value)
        if tag == b"p":  # plain after all: the value of its builtin base
            return self.ref(payload)
        return self.add(tag, payload)

    def _library(self, value: Any, place: str) -> int:
        tag = _KINDS[place]
        if tag in (b"C", b"O", b"G", b"q"):
            return self._mutable(tag, value)
        if tag == b"m":
            return self.add(tag, str(value).encode())
        if tag == b"R":
            return self.add(tag, self.refs((value.numerator, value.denominator)))
        if place == "datetime.timedelta":
            return self.add(tag, place.encode() + b" " + self.refs((value.days, value.seconds, value.microseconds)))
        if place == "datetime.timezone":
            return self.add(tag, place.encode() + b" " + self.refs((value.utcoffset(None),)))
        zone = getattr(value, "tzinfo", None)
        if zone is not None and type(zone).__name__ != "timezone":
            tag, payload = self._outside(self, value)
            return self.add(tag, payload)
        fields = [getattr(value, name) for name in _FIELDS[place]]
        return self.add(tag, place.encode() + b" " + self.refs([*fields, zone] if place != "datetime.date" else fields))

    def _array(self, value: Any) -> int:
        plain = value.astype(value.dtype.newbyteorder("<"), order="C", copy=True)
        scalar = int(value.shape == () and type(value).__name__ != "ndarray")
        head = f"{plain.dtype.str} {','.join(map(str, value.shape))} {scalar}"
        payload = head.encode() + b"\n" + plain.tobytes()
        if type(value).__name__ != "ndarray":
            return self.add(b"n", payload)
        origin = self._known.get(id(value), (-1, None))[0]
        if origin >= 0 and id(value) not in self._changed:
            return self.add(b"=", b"", origin)
        self.sent.append(value)
        return self.add(b"n", payload, origin)

    def _content(self, value: Any, at: int) -> bytes:
        kind = type(value)
        if kind is list:
            return self._items(value, at)
        if kind is bytearray:
            return bytes(value)
        if kind is set:
            return self.refs(value)
        if kind is dict:
            return self.refs([part for pair in value.items() for part in pair])
        name = self._nodes[at][0]
        if name in (b"C", b"O"):
            return self.refs([part for pair in value.items() for part in pair])
        if name == b"G":
            factory = getattr(value.default_factory, "__name__", "")
            head = factory if FACTORIES.get(factory) is value.default_factory and factory else "-"
            return head.encode() + b" " + self.refs([part for pair in value.items() for part in pair])
        if name == b"q":
            return b"%d " % (-1 if value.maxlen is None else value.maxlen) + self.refs(value)
        # an instance of a class of the setup
        held = dict(getattr(value, "__dict__", {}))
        for owner in type(value).__mro__:
            slots = owner.__dict__.get("__slots__", ())
            for slot in (slots,) if isinstance(slots, str) else slots:
                if slot not in ("__dict__", "__weakref__") and hasattr(value, slot):
                    held[slot] = getattr(value, slot)
        self._alive.append(held)
        return type(value).__name__.encode() + b" " + self.refs([part for pair in held.items() for part in pair])

    def _items(self, value: list[Any], at: int) -> bytes:
        kinds = set(map(type, value)) if len(value) > 3 else ()
        if kinds == {int} and min(value) > -_SMALL and max(value) < _SMALL:
            self._nodes[at][0] = b"I"
            return " ".join(map(str, value)).encode()
        if kinds == {float}:
            self._nodes[at][0] = b"D"
            return " ".join(map(repr, value)).encode()
        return self.refs(value)


_KINDS = {"collections.Counter": b"C", "collections.OrderedDict": b"O", "collections.defaultdict": b"G"}
_KINDS |= {"collections.deque": b"q", "decimal.Decimal": b"m", "fractions.Fraction": b"R"}
_KINDS |= {f"datetime.{name}": b"w" for name in ("date", "time", "datetime", "timedelta", "timezone")}
_FIELDS: dict[str, tuple[str, ...]] = {"datetime.date": ("year", "month", "day")}
_FIELDS |= {"datetime.time": ("hour", "minute", "second", "microsecond")}
_FIELDS |= {"datetime.datetime": ("year", "month", "day", "hour", "minute", "second", "microsecond")}
