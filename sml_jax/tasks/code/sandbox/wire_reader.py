"""Reads the messages that `wire` writes: values of a fixed list of types. Part of the bare process.

Nothing that a message says is executed, and it can change no object but those that went out in what it answers.
"""

from __future__ import annotations

from typing import Any

from sml_jax.tasks.code.sandbox.wire import FACTORIES, Garbled

_MAX_NODES = 1 << 20


class Reader:
    """Reads one message that `wire.Writer` wrote.

    Args:
      decode: is called with (tag, payload, values of the earlier nodes) for a node that is no copied data, and returns
        its object; see `handles.Handles.decode`.
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
            elif tag in b"lIDdeaCOGqo":
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
        if origin >= 0:
            sent_object = self._sent[_index(origin, self._sent)]
            type_by_tag: dict[bytes, Any] = {b"l": list, b"I": list, b"D": list, b"d": dict, b"e": set, b"a": bytearray}
            if tag in type_by_tag and type(sent_object) is not type_by_tag[tag]:
                raise Garbled("another type")
            name = _TAG_NAMES.get(tag) or payload.split(b" ", 1)[0].decode()
            if tag not in type_by_tag and type(sent_object).__name__ != name:
                raise Garbled("another type")
            return sent_object
        if tag in b"lID":
            return []
        if tag == b"d":
            return {}
        if tag == b"e":
            return set()
        if tag == b"a":
            return bytearray()
        if tag == b"o":
            kind = self._classes[payload.split(b" ", 1)[0].decode()]
            return object.__new__(kind)
        import collections

        if tag == b"C":
            return collections.Counter()
        if tag == b"O":
            return collections.OrderedDict()
        first_word = payload.split(b" ", 1)[0].decode()
        if tag == b"G":
            return collections.defaultdict(None if first_word == "-" else FACTORIES[first_word])
        return collections.deque(maxlen=None if int(first_word) < 0 else int(first_word))

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
        # All others name the nodes of their parts, some after a word of their own.
        words = payload.split()
        if tag in (b"G", b"q", b"o"):
            words = words[1:]
        items = [values[_index(int(word), values)] for word in words]
        if tag == b"l":
            container[:] = items
        elif tag == b"e":
            container.clear()
            container.update(items)
        elif tag == b"q":
            container.clear()
            container.extend(items)
        elif tag == b"o":
            attributes = dict(zip(items[::2], items[1::2]))  # noqa: B905
            if hasattr(container, "__dict__"):
                container.__dict__.clear()
            for name, item in attributes.items():
                if type(name) is not str:
                    raise Garbled("attribute")
                object.__setattr__(container, name, item)
        else:
            container.clear()
            for key, item in zip(items[::2], items[1::2]):  # noqa: B905
                # An OrderedDict keeps its order in a list of its own; the other kinds are plain dicts inside.
                dict.__setitem__(container, key, item) if tag != b"O" else container.__setitem__(key, item)

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
        if tag == b"c":
            real, imaginary = payload.split()
            return complex(float(real), float(imaginary))
        if tag == b"x":
            return Ellipsis if payload == b"Ellipsis" else NotImplemented
        if tag == b"m":
            import decimal

            return decimal.Decimal(payload.decode())
        # Values that are made of earlier nodes.
        if tag in b"tzrSRw":
            words = payload.split()
            name = words.pop(0).decode() if tag == b"w" else ""
            items = [values[_index(int(word), values)] for word in words]
            if tag == b"t":
                return tuple(items)
            if tag == b"z":
                return frozenset(items)
            if tag == b"r":
                return range(*_ints(items))
            if tag == b"S":
                return slice(*items)
            if tag == b"R":
                import fractions

                return fractions.Fraction(*_ints(items))
            import datetime

            if name == "datetime.timezone":
                return datetime.timezone(*items)
            if name == "datetime.timedelta":
                return datetime.timedelta(*_ints(items))
            if name == "datetime.date":
                return datetime.date(*_ints(items))
            kind = {"datetime.time": datetime.time, "datetime.datetime": datetime.datetime}[name]
            zone = items.pop()
            if zone is not None and type(zone) is not datetime.timezone:
                raise Garbled("zone")
            return kind(*_ints(items), tzinfo=zone)
        return self._decode(tag, payload, values)

    def _array(self, payload: bytes, origin: int) -> Any:
        """An array or scalar of numpy; an array that went out gets the new content in place."""
        import numpy

        # Plain numbers and texts only: an array of objects would be unpickled.
        header, _, data = payload.partition(b"\n")
        dtype_code, shape, scalar_flag = header.decode().split(" ")
        if dtype_code[1] not in "biufcU" or not dtype_code[2:].isdecimal():
            raise Garbled("dtype")
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


# Types of mutable objects of the standard library.
_TAG_NAMES = {b"C": "Counter", b"O": "OrderedDict", b"G": "defaultdict", b"q": "deque"}


def _index(at: int, values: list[Any]) -> int:
    """Returns `at` if it is an index of `values`; raises Garbled otherwise. A negative one would count from the end."""
    if not 0 <= at < len(values):
        raise Garbled("number")
    return at


def _ints(items: list[Any]) -> list[int]:
    if any(type(item) is not int for item in items):
        raise Garbled("no whole number")
    return items
