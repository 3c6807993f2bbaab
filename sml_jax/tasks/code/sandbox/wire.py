"""How values travel between the judge and the candidate: plain data by value, anything else as a handle.

A message is a row of nodes, each `tag origin length:payload`. A payload names other nodes by their number. Containers
that can hold themselves may name later nodes, all others only earlier ones, so reading needs no recursion, and nothing
that a message says is ever executed, imported or called: reading builds values of a fixed list of types. `origin` is
the number of the object in the message that this one answers, or -1: what came from the other end goes back as itself.

Part of the bare process: imports only what costs next to nothing.
"""

from __future__ import annotations

from typing import Any

from sml_jax.tasks.code.sandbox.value_types import CONTAINERS, VALUES, VIEWS, name_of_type, parts_of

MAX_BYTES = 1 << 24
"""Of one message."""
_SMALL = 10**18  # integers below it are written in decimal digits where a list holds nothing else

# Tags. Plain values: N None, B bool, i int, f float, s str, b bytes, x Ellipsis or NotImplemented, T a type of the
# closed list. Containers whose parts come before them: t tuple, z frozenset, v any other value that does not change, w
# view of a dictionary, n array of numpy. Mutable ones: l list, I list of small ints, D list of floats, d dict, e set, a
# bytearray, m container of the library, o object of a class of the setup. "=" is an unchanged object that came from the
# other end. All other tags are for what is no data, and each end has its own rules for them.
SLOT: Any = type(range.start)
"""The type of the descriptors through which objects keep attributes in slots."""
_ITEMS: type = type({}.items())
_MUTABLE_TAGS = {list: b"l", dict: b"d", set: b"e", bytearray: b"a"}


class Garbled(Exception):
    """The bytes that came from the other process are not a message."""


class Writer:
    """Writes one message: a list of nodes, one for each value.

    Args:
      encode: is called with (writer, value) for a value that cannot be copied by itself, and returns the (tag, payload)
        of its node; see `JudgeEnd.encode` and `CandidateEnd.encode`.
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
        if value is Ellipsis or value is NotImplemented:
            return self.add(b"x", b"Ellipsis" if value is Ellipsis else b"NotImplemented")
        if kind in VIEWS:
            listed = [part for pair in value for part in pair] if kind is _ITEMS else list(value)
            return self.add(b"w", VIEWS[kind] + b" " + self.refs(listed))
        # Types of the closed list: the real ones, not a class that only has the name.
        full_name = name_of_type(kind)
        if full_name in CONTAINERS:
            return self._mutable(b"m", value)
        parts = parts_of(full_name, value) if full_name in VALUES else None
        if parts is not None:
            return self.add(b"v", full_name.encode() + b" " + self.refs(parts))
        named_type = name_of_type(value) if isinstance(value, type) else ""
        if named_type:
            return self.add(b"T", named_type.encode())
        if kind.__module__ == "numpy" and hasattr(value, "tobytes") and value.dtype.kind in "biufcU":
            return self._array(value)
        # Anything else is not plain, or derives from a plain type.
        tag, payload = self._encode(self, value)
        if tag == b"o":
            return self._mutable(b"o", value)
        if tag == b"p":  # plain after all: the value of its builtin base
            return self.ref(payload)
        return self.add(tag, payload)

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
        if self._nodes[at][0] == b"m":
            full_name = name_of_type(kind)
            container = CONTAINERS[full_name]
            content = container.content(value)
            self._alive.append(content)
            return f"{full_name} {container.head(value)} ".encode() + self.refs(content)
        # What is left is an instance of a class of the setup: its attributes, those in slots included.
        attributes = own_attributes(value)
        self._alive.append(attributes)
        return kind.__name__.encode() + b" " + self._pairs(attributes)

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


def own_attributes(value: Any) -> dict[str, Any]:
    """What an object of a class of the setup holds itself: in its `__dict__` and in its slots."""
    kind = type(value)
    attributes = {
        name: item
        for name, item in getattr(value, "__dict__", {}).items()
        if not is_computed(class_attribute(kind, name))
    }
    for owner in kind.__mro__:
        for name, held in owner.__dict__.items():
            if type(held) is SLOT and hasattr(value, name):
                attributes[name] = getattr(value, name)
    return attributes


def class_attribute(kind: type, name: str) -> Any:
    """What a class or one of its bases holds under a name; None if there is none."""
    return next((base.__dict__[name] for base in kind.__mro__ if name in base.__dict__), None)


def is_computed(held: Any) -> bool:
    """Whether what a class holds is a method, a class or a property, and so no plain default of an attribute."""
    return callable(held) or hasattr(type(held), "__get__")
