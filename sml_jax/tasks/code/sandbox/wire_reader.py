"""Reads the messages that `wire` writes: values of a fixed list of types. Part of the bare process.

Nothing that a message says is executed, and it can change no object but those that went out in what it answers.
"""

from __future__ import annotations

from typing import Any

from sml_jax.tasks.code.sandbox.wire import FACTORIES, Garbled

_MOST_NODES = 1 << 20


class Reader:
    """Reads one message.

    Args:
      inside: builds what is not plain data from (tag, payload, values by number).
      sent: the mutable objects that went out in the message which this one answers; it may change them and no others.
      classes: the setup's classes by name.
    """

    def __init__(self, inside: Any, sent: list[Any], classes: dict[str, type]) -> None:
        self._inside, self._sent, self._classes = inside, sent, classes
        self.mutables: list[Any] = []  # by the order of their nodes
        self.before: list[Any] = []  # what each held, to tell whether it changed

    def value(self, data: bytes) -> Any:
        """The value of a message.

        Raises:
          Garbled: it is none.
        """
        try:
            return self._read(data)
        except Garbled:
            raise
        except MemoryError:
            raise
        except Exception as error:
            raise Garbled(type(error).__name__) from None

    def _read(self, data: bytes) -> Any:
        head, at = data.index(b"\n"), 0
        root, at = int(data[:head]), head + 1
        values: list[Any] = []
        fill: list[tuple[bytes, Any, bytes]] = []
        while at < len(data):
            colon = data.index(b":", at, at + 40)
            tag = data[at : at + 1]
            origin, size = map(int, data[at + 1 : colon].split())
            at = colon + 1 + size
            if size < 0 or at > len(data) or len(values) >= _MOST_NODES:
                raise Garbled("size")
            payload = data[colon + 1 : at]
            if tag == b"=":
                values.append(self._sent[_index(origin, self._sent)])
            elif tag in b"lIDdeaCOGqo":
                values.append(self._shell(tag, origin, payload))
                fill.append((tag, values[-1], payload))
                self.mutables.append(values[-1])
            elif tag == b"n":
                values.append(self._array(payload, origin))
            else:
                values.append(self._leaf(tag, payload, values))
        if not 0 <= root < len(values):
            raise Garbled("root")
        for tag, shell, payload in fill:  # instances first: others may need their hashes
            if tag == b"o":
                self._fill(tag, shell, payload, values)
        for tag, shell, payload in fill:
            if tag != b"o":
                self._fill(tag, shell, payload, values)
        for shell in self.mutables:
            kind = type(shell)
            self.before.append(list(shell) if kind is list else bytes(shell) if kind is bytearray else None)
        return values[root]

    def _shell(self, tag: bytes, origin: int, payload: bytes) -> Any:
        if origin >= 0:
            known = self._sent[_index(origin, self._sent)]
            fits: dict[bytes, Any] = {b"l": list, b"I": list, b"D": list, b"d": dict, b"e": set, b"a": bytearray}
            if tag in fits and type(known) is not fits[tag]:
                raise Garbled("another type")
            name = _TAG_NAMES.get(tag) or payload.split(b" ", 1)[0].decode()
            if tag not in fits and type(known).__name__ != name:
                raise Garbled("another type")
            return known
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
        first = payload.split(b" ", 1)[0].decode()
        if tag == b"G":
            return collections.defaultdict(None if first == "-" else FACTORIES[first])
        return collections.deque(maxlen=None if int(first) < 0 else int(first))

    def _fill(self, tag: bytes, shell: Any, payload: bytes, values: list[Any]) -> None:
        if tag == b"I":
            shell[:] = map(int, payload.split())
            return
        if tag == b"D":
            shell[:] = map(float, payload.split())
            return
        if tag == b"a":
            shell[:] = payload
            return
        words = payload.split()
        if tag in (b"G", b"q", b"o"):
            words = words[1:]
        items = [values[_index(int(word), values)] for word in words]
        if tag == b"l":
            shell[:] = items
        elif tag == b"e":
            shell.clear()
            shell.update(items)
        elif tag == b"q":
            shell.clear()
            shell.extend(items)
        elif tag == b"o":
            held = dict(zip(items[::2], items[1::2]))  # noqa: B905
            if hasattr(shell, "__dict__"):
                shell.__dict__.clear()
            for name, item in held.items():
                if type(name) is not str:
                    raise Garbled("attribute")
                object.__setattr__(shell, name, item)
        else:
            shell.clear()
            for key, item in zip(items[::2], items[1::2]):  # noqa: B905
                dict.__setitem__(shell, key, item) if tag != b"O" else shell.__setitem__(key, item)

    def _leaf(self, tag: bytes, payload: bytes, values: list[Any]) -> Any:
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
        return self._inside(tag, payload, values)

    def _array(self, payload: bytes, origin: int) -> Any:
        import numpy

        head, _, data = payload.partition(b"\n")
        code, shape, scalar = head.decode().split(" ")
        if code[1] not in "biufcU" or not code[2:].isdecimal():
            raise Garbled("dtype")
        array = numpy.frombuffer(data, numpy.dtype(code))
        array = array.reshape([int(n) for n in shape.split(",")] if shape else ()).copy()
        if scalar == "1":
            return array[()]
        if origin >= 0:
            known = self._sent[_index(origin, self._sent)]
            if type(known) is not numpy.ndarray or known.shape != array.shape:
                raise Garbled("shape")
            known[...] = array
            array = known
        self.mutables.append(array)
        return array


_TAG_NAMES = {b"C": "Counter", b"O": "OrderedDict", b"G": "defaultdict", b"q": "deque"}


def _index(at: int, values: list[Any]) -> int:
    if not 0 <= at < len(values):
        raise Garbled("number")
    return at


def _ints(items: list[Any]) -> list[int]:
    if any(type(item) is not int for item in items):
        raise Garbled("no whole number")
    return items
