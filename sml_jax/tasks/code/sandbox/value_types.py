"""The types whose values travel between the judge and the candidate as plain data. Part of the bare process.

This list is closed: a message names its types by the names below, and any other name makes it no message.
"""

from __future__ import annotations

import builtins
import sys
from typing import Any

BUILTIN_TYPES: dict[str, type] = {
    kind.__name__: kind
    for kind in (
        *(type(None), bool, int, float, complex, str, bytes, bytearray, range, slice),
        *(tuple, list, dict, set, frozenset),
    )
}
ERRORS: dict[str, type] = {
    name: kind for name, kind in vars(builtins).items() if isinstance(kind, type) and issubclass(kind, BaseException)
}
"""The builtin classes of errors, by name."""
NOT_CATCHING: dict[type, type] = {
    kind: type(kind.__name__, (kind,), {}) for kind in AssertionError.__mro__ if issubclass(kind, BaseException)
}
"""The classes that stand in the judge's process for those that catch a failed `assert`, where the code sends these.

`except Mine`, with whatever name, attribute or tuple of the code's, then catches no failure of a test.
"""
_ARRAY_CODES = "bBhHiIlLqQfd"  # the number types of `array`


def _attributes(*names: str) -> Any:
    return lambda value: tuple([getattr(value, name) for name in names])


def _text(value: Any) -> tuple[Any, ...]:
    return (str(value),)


_INT, _FLOAT, _STR = {"builtins.int"}, {"builtins.float"}, {"builtins.str"}
_DAY, _CLOCK = ("year", "month", "day"), ("hour", "minute", "second", "microsecond", "tzinfo")
_ZONE = {"datetime.timezone", "builtins.NoneType"}

# Values that do not change: (the parts of a value, the full names of the parts' types or () for any). The value is made
# by calling its type with the parts. A part may have one of several types where they stand in a set.
VALUES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "builtins.complex": (_attributes("real", "imag"), (_FLOAT, _FLOAT)),
    "builtins.range": (_attributes("start", "stop", "step"), (_INT,) * 3),
    "builtins.slice": (_attributes("start", "stop", "step"), ()),
    "decimal.Decimal": (_text, (_STR,)),
    "fractions.Fraction": (_attributes("numerator", "denominator"), (_INT, _INT)),
    "datetime.date": (_attributes(*_DAY), (_INT,) * 3),
    "datetime.time": (_attributes(*_CLOCK), (*(_INT,) * 4, _ZONE)),
    "datetime.datetime": (_attributes(*_DAY, *_CLOCK), (*(_INT,) * 7, _ZONE)),
    "datetime.timedelta": (_attributes("days", "seconds", "microseconds"), (_INT,) * 3),
    "datetime.timezone": (lambda value: (value.utcoffset(None),), ({"datetime.timedelta"},)),
    "uuid.UUID": (_text, (_STR,)),
    **{f"pathlib.{name}": (_text, (_STR,)) for name in ("PurePosixPath", "PureWindowsPath", "PosixPath")},
    **{f"ipaddress.{kind}": (_text, (_STR,)) for kind in ("IPv4Address", "IPv6Address", "IPv4Network", "IPv6Network")},
    "collections.UserString": (_text, (_STR,)),
}
UNCHANGEABLE = {*VALUES, *(f"builtins.{name}" for name in ("int", "float", "str", "bytes", "tuple", "frozenset"))}
"""The full names of types whose values do not change."""
VIEWS: dict[type, bytes] = {type({}.keys()): b"keys", type({}.values()): b"values", type({}.items()): b"items"}
"""The views of a dictionary, whose types cannot be called: `view_of` makes one."""


def view_of(name: bytes, parts: list[Any]) -> Any:
    """The view of a new dictionary with the given parts; `name` is "keys", "values" or "items"."""
    if name == b"keys":
        return dict.fromkeys(parts).keys()
    if name == b"values":
        return dict(enumerate(parts)).values()
    if name == b"items":
        return dict(zip(parts[::2], parts[1::2])).items()  # noqa: B905
    raise ValueError(name)


# Containers of the library. Each has four functions: `head` is one word that says how an empty one is made, `make`
# makes an empty one from its type and that word, `content` lists what a container holds, `fill` replaces its content.


class Container:
    """How values of one mutable type of the library travel; its attributes are the four functions."""

    __slots__ = ("content", "fill", "head", "make")

    def __init__(self, content: Any, fill: Any, head: Any = lambda value: "-", make: Any = lambda kind, head: kind()):
        self.content, self.fill, self.head, self.make = content, fill, head, make


def _pairs(mapping: Any) -> list[Any]:
    return [part for pair in mapping.items() for part in pair]


def _fill_mapping(container: Any, items: list[Any]) -> None:
    # An OrderedDict keeps its order in a list of its own; the other kinds are plain dicts inside.
    put = dict.__setitem__ if type(container).__name__ != "OrderedDict" else type(container).__setitem__
    container.clear()
    for key, item in zip(items[::2], items[1::2]):  # noqa: B905
        put(container, key, item)


def _fill_defaultdict(container: Any, items: list[Any]) -> None:
    if container.default_factory is None and callable(items[0]):
        container.default_factory = items[0]
    _fill_mapping(container, items[1:])


def _fill_deque(container: Any, items: list[Any]) -> None:
    container.clear()
    container.extend(items)


def _make_array(kind: Any, head: str) -> Any:
    if len(head) != 1 or head not in _ARRAY_CODES:
        raise ValueError(head)
    return kind(head)


def _fill_array(container: Any, items: list[Any]) -> None:
    (data,) = items
    del container[:]
    container.frombytes(data)


def _fill_user_list(container: Any, items: list[Any]) -> None:
    container.data[:] = items


def _fill_user_dict(container: Any, items: list[Any]) -> None:
    container.data.clear()
    container.data.update(zip(items[::2], items[1::2]))  # noqa: B905


def _fill_namespace(container: Any, items: list[Any]) -> None:
    vars(container).clear()
    for name, item in zip(items[::2], items[1::2]):  # noqa: B905
        if type(name) is not str:
            raise TypeError(name)
        vars(container)[name] = item


def _fill_stream(container: Any, items: list[Any]) -> None:
    text, position = items
    container.seek(0)
    container.truncate(0)
    container.write(text)
    container.seek(position)


CONTAINERS: dict[str, Container] = {
    "collections.Counter": Container(_pairs, _fill_mapping),
    "collections.OrderedDict": Container(_pairs, _fill_mapping),
    "collections.defaultdict": Container(lambda value: [value.default_factory, *_pairs(value)], _fill_defaultdict),
    "collections.deque": Container(
        list,
        _fill_deque,
        lambda value: "-" if value.maxlen is None else str(value.maxlen),
        lambda kind, head: kind(maxlen=None if head == "-" else int(head)),
    ),
    "array.array": Container(lambda value: [value.tobytes()], _fill_array, lambda value: value.typecode, _make_array),
    "collections.UserList": Container(lambda value: list(value.data), _fill_user_list),
    "collections.UserDict": Container(lambda value: _pairs(value.data), _fill_user_dict),
    "types.SimpleNamespace": Container(lambda value: _pairs(vars(value)), _fill_namespace),
    "io.StringIO": Container(lambda value: [value.getvalue(), value.tell()], _fill_stream),
    "io.BytesIO": Container(lambda value: [value.getvalue(), value.tell()], _fill_stream),
}

# Every type that a message may name, by full name.
_TYPE_NAMES = {*VALUES, *CONTAINERS, *(f"builtins.{name}" for name in (*BUILTIN_TYPES, *ERRORS))}
_FULL_NAMES = {full_name.rpartition(".")[2]: full_name for full_name in _TYPE_NAMES}


def type_named(full_name: str, load: bool) -> type | None:
    """The type of a full name of the closed list, such as "decimal.Decimal".

    Args:
      full_name: any text.
      load: whether the type's module is imported if it is not there yet.

    Returns:
      The type; None if the name is not on the list, or its module is not loaded.
    """
    if full_name not in _TYPE_NAMES:
        return None
    module_name, _, name = full_name.rpartition(".")
    if module_name == "builtins":
        return BUILTIN_TYPES.get(name) or ERRORS[name]
    module = __import__(module_name) if load else sys.modules.get(module_name)
    return getattr(module, name, None)


def name_of_type(kind: type) -> str:
    """The full name of a type of the closed list; "" for any other type, whatever it calls itself."""
    full_name = _FULL_NAMES.get(kind.__name__, "")
    return full_name if full_name and type_named(full_name, False) is kind else ""


def base_of(kind: type) -> str:
    """The full name of the first type of the closed list, errors apart, from which a type derives; "" for none."""
    for base in kind.__mro__:
        if base is not object and not issubclass(base, BaseException):
            full_name = name_of_type(base)
            if full_name:
                return full_name
    return ""


def parts_of(full_name: str, value: Any) -> tuple[Any, ...] | None:
    """The parts of a value whose type is in `VALUES`; None if they are not of the types that may travel."""
    take_apart, part_types = VALUES[full_name]
    parts: tuple[Any, ...] = take_apart(value)
    return parts if are_of_types(parts, part_types) else None


def are_of_types(parts: Any, part_types: tuple[Any, ...]) -> bool:
    """Whether each part has one of the types that `VALUES` allows for it; () allows any parts."""
    if not part_types:
        return True
    pairs = zip(parts, part_types)  # noqa: B905
    return len(parts) == len(part_types) and all(name_of_type(type(part)) in names for part, names in pairs)
