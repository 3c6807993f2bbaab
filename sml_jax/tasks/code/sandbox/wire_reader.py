"""Reads the messages that `wire` writes: values of a fixed list of types. Part of the bare process.

Nothing that a message says is executed, nothing that it names is looked up outside the closed list of types, and it can
change no object but those that went out in what it answers.
"""

from __future__ import annotations

from typing import Any

from sml_jax.tasks.code.sandbox.value_types import CONTAINERS, VALUES, are_of_types, type_named, view_of
from sml_jax.tasks.code.sandbox.wire import SLOT, Garbled, class_attribute, is_computed

_MAX_NODES = 1 << 20


class Reader:
    """Reads one message that `wire.Writer` wrote.

    Args:
      decode: is called with (tag, payload, values of the earlier nodes) for a node that is no copied data, and returns
        its object; see `JudgeEnd.decode` and `CandidateEnd.decode`.
      sent: `Writer.sent` of the request that this message answers; the message may change these objects and no others.
        [] for a request.
      classes: the setup's classes by name; the message may hold their objects.

    Attributes:
      mutables: the mutable objects of the message, in the order of their nodes.
      before: for each of these, a copy of its content if it is a list or bytearray, to tell later whether it was
        changed; None for all others.
    """

    def __init__(self, decode: Any, sent: list[Any], classes: dict[str, type]) -> None:
        self._decode, self._sent, self._classes = decode, sent, classes
        self.mutables: list[Any] = []
        self.before: list[Any] = []

    def value(self, data: bytes) -> Any:
        """Reads a message: changes the content of `sent` objects as it says, and returns the value that it carries.

        Raises:
          Garbled: the bytes are not a message.
        """
        try:
            return self._read(data)
        except Garbled:
            raise
        except MemoryError:
            raise
        except Exception as error:  # whatever goes wrong, the bytes were not a message of an honest `Writer`
            raise Garbled(type(error).__name__) from None

    def _read(self, data: bytes) -> Any:
        header_end = data.index(b"\n")
        root, offset = int(data[:header_end]), header_end + 1
        values: list[Any] = []
        unfilled: list[tuple[bytes, Any, bytes]] = []
        # First pass: all nodes in order. Mutable containers are made empty, as they may name nodes that come later.
        while offset < len(data):
            colon = data.index(b":", offset, offset + 40)
            tag = data[offset : offset + 1]
            origin, size = map(int, data[offset + 1 : colon].split())
            offset = colon + 1 + size
            if size < 0 or offset > len(data) or len(values) >= _MAX_NODES:
                raise Garbled("size")
            payload = data[colon + 1 : offset]
            if tag == b"=":
                values.append(self._sent[_index(origin, self._sent)])
            elif tag in b"lIDdeamo":
                values.append(self._container(tag, origin, payload))
                unfilled.append((tag, values[-1], payload))
                self.mutables.append(values[-1])
            elif tag == b"n":
                values.append(self._array(payload, origin))
            else:
                values.append(self._leaf(tag, payload, values))
        if not 0 <= root < len(values):
            raise Garbled("root")
        # Second pass: their content. Instances come first: sets and dicts may need their hashes.
        for tag, container, payload in unfilled:
            if tag == b"o":
                self._fill(tag, container, payload, values)
        for tag, container, payload in unfilled:
            if tag != b"o":
                self._fill(tag, container, payload, values)
        for mutable in self.mutables:
            kind = type(mutable)
            self.before.append(list(mutable) if kind is list else bytes(mutable) if kind is bytearray else None)
        return values[root]

    def _container(self, tag: bytes, origin: int, payload: bytes) -> Any:
        """The object of a mutable node: the one that was sent, which must have the same type, or a new empty one."""
        words = payload.split(b" ", 2)
        # The type of the node, and a function that makes an empty object of it.
        kind: Any
        make: Any
        if tag in _BUILTIN_TAGS:
            kind = make = _BUILTIN_TAGS[tag]
        elif tag == b"o":
            kind = self._classes[words[0].decode()]
            make = lambda: object.__new__(kind)  # noqa: E731
        else:
            full_name = words[0].decode()
            container = CONTAINERS[full_name]
            kind = type_named(full_name, True)
            make = lambda: container.make(kind, words[1].decode())  # noqa: E731
        if origin < 0:
            return make()
        sent_object = self._sent[_index(origin, self._sent)]
        if type(sent_object) is not kind:
            raise Garbled("another type")
        return sent_object

    def _fill(self, tag: bytes, container: Any, payload: bytes, values: list[Any]) -> None:
        """Replaces the content of a mutable object by that of a node."""
        # Payloads that hold the content itself.
        if tag == b"I":
            container[:] = map(int, payload.split())
            return
        if tag == b"D":
            container[:] = map(float, payload.split())
            return
        if tag == b"a":
            container[:] = payload
            return
        # All others name the nodes of their parts, some after words of their own.
        words = payload.split()
        first_part = {b"o": 1, b"m": 2}.get(tag, 0)
        items = [values[_index(int(word), values)] for word in words[first_part:]]
        if tag == b"l":
            container[:] = items
        elif tag == b"e":
            container.clear()
            container.update(items)
        elif tag == b"d":
            container.clear()
            container.update(zip(items[::2], items[1::2]))  # noqa: B905
        elif tag == b"m":
            CONTAINERS[words[0].decode()].fill(container, items)
        else:
            _set_attributes(container, items[::2], items[1::2])

    def _leaf(self, tag: bytes, payload: bytes, values: list[Any]) -> Any:
        """The value of a node that is neither mutable nor an array."""
        if tag == b"N":
            return None
        if tag == b"B":
            return payload == b"1"
        if tag == b"i":
            return int(payload, 16)
        if tag == b"f":
            return float(payload)
        if tag == b"s":
            return payload.decode("utf-8", "surrogatepass")
        if tag == b"b":
            return payload
        if tag == b"T":
            type_name = payload.decode()
            if type_name.startswith(SETUP) and type_name[len(SETUP) :] in self._classes:
                return self._classes[type_name[len(SETUP) :]]
        if tag == b"x":
            return Ellipsis if payload == b"Ellipsis" else NotImplemented
        # Values that are made of earlier nodes.
        if tag in b"tzvw":
            words = payload.split()
            name = words.pop(0) if tag in b"vw" else b""
            items = [values[_index(int(word), values)] for word in words]
            if tag == b"t":
                return tuple(items)
            if tag == b"z":
                return frozenset(items)
            if tag == b"w":
                return view_of(name, items)
            if not are_of_types(items, VALUES[name.decode()][1]):
                raise Garbled("parts")
            return known_type(name.decode())(*items)
        return self._decode(tag, payload, values)

    def _array(self, payload: bytes, origin: int) -> Any:
        """An array or scalar of numpy; an array that went out gets the new content in place."""
        # Plain numbers and texts only: an array of objects would be unpickled.
        header, _, data = payload.partition(b"\n")
        dtype_code, shape, scalar_flag = header.decode().split(" ")
        if dtype_code[1] not in "biufcU" or not dtype_code[2:].isdecimal():
            raise Garbled("dtype")
        if dtype_code[1] == "b" and data.translate(None, b"\0\1"):
            raise Garbled("neither true nor false")
        import numpy

        array = numpy.frombuffer(data, numpy.dtype(dtype_code))
        array = array.reshape([int(n) for n in shape.split(",")] if shape else ()).copy()
        if scalar_flag == "1":
            return array[()]
        if origin >= 0:
            sent_array = self._sent[_index(origin, self._sent)]
            if type(sent_array) is not numpy.ndarray or sent_array.shape != array.shape:
                raise Garbled("shape")
            sent_array[...] = array
            array = sent_array
        self.mutables.append(array)
        return array


_BUILTIN_TAGS: dict[bytes, type] = {b"l": list, b"I": list, b"D": list, b"d": dict, b"e": set, b"a": bytearray}
SETUP = "solution."
"""What the names of the setup's classes begin with in a message."""


def known_type(full_name: str) -> Any:
    """The type of a full name of the closed list; raises Garbled for any other text."""
    kind = type_named(full_name, True)
    if kind is None:
        raise Garbled("type")
    return kind


def _set_attributes(instance: Any, names: list[Any], items: list[Any]) -> None:
    """Replaces what an object of a class of the setup holds itself, and runs no code of that class.

    Raises:
      Garbled: a name is no text, or belongs to a method, a property or to Python.
    """
    has_dictionary = type(instance).__dictoffset__ != 0
    own = object.__getattribute__(instance, "__dict__") if has_dictionary else {}
    own.clear()
    for name, item in zip(names, items):  # noqa: B905
        if type(name) is not str:
            raise Garbled("attribute")
        held = class_attribute(type(instance), name)
        if type(held) is SLOT:
            held.__set__(instance, item)
        elif not has_dictionary or is_computed(held):
            raise Garbled("attribute")
        else:
            own[name] = item


def _index(at: int, values: list[Any]) -> int:
    """Returns `at` if it is an index of `values`; raises Garbled otherwise. A negative one would count from the end."""
    if not 0 <= at < len(values):
        raise Garbled("number")
    return at
