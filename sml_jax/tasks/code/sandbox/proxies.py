"""Stand-ins at one end of the wire for objects of the other end. Part of the bare process.

In the judge's process they keep these rules, so that an object of the candidate cannot be all things to a test:
- It equals plain data only where its class derives from a builtin type, and then by that type's content.
- It is not ordered against plain data, and `x in it` compares the items here.
- Arithmetic with plain data gives an object of the candidate's or fails, and such a result has no number, order, length
  or truth: `abs(f() - 1.5) < 1e-6` needs a number that was there before the test told what it expects.
"""

from __future__ import annotations

import _operator
from typing import Any

# Dunder attributes that may be read; all others belong to Python's own protocols, which the methods below implement.
_READABLE_DUNDERS = {"__name__", "__qualname__", "__doc__", "__dict__", "__annotations__", "__slots__", "__members__"}
_BINARY = ["add", "sub", "mul", "truediv", "floordiv", "mod", "matmul", "pow", "lshift", "rshift", "and", "or", "xor"]

# What plain data an object was made of by arithmetic, if any: it knows that much of what a test expects.
_FROM_NUMBER, _FROM_OTHER = 1, 2


class _Link:
    """What a stand-in knows of the object that it stands for."""

    __slots__ = ("base", "name", "number", "origin", "peer")

    def __init__(self, peer: Any, number: int, name: str, base: str) -> None:
        self.peer = peer
        self.number = number  # of the object, at the other end
        self.name = name  # of its class, or its own for a function or class
        self.base = base  # the builtin type that its class derives from, "" for none
        self.origin = 0  # or _FROM_NUMBER or _FROM_OTHER


class Remote:
    """A stand-in for an object of the other process; its attributes are read, set and deleted there.

    Args:
      peer: the end of the wire (`Peer`) that asks the other process.
      number: the object's number there.
      name: name of the object's class; of a function or class, its own name.
      base: name of the builtin type that its class derives from; "" for none.
    """

    __slots__ = ("__weakref__", "_remote_")

    def __init__(self, peer: Any, number: int, name: str, base: str) -> None:
        object.__setattr__(self, "_remote_", _Link(peer, number, name, base))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name.endswith("__") and name not in _READABLE_DUNDERS:
            raise AttributeError(name)
        _refuse_made_of(self, _FROM_OTHER)
        return _peer(self).ask("get", self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        _peer(self).ask("set", self, name, value)

    def __delattr__(self, name: str) -> None:
        _peer(self).ask("del", self, name)

    def __repr__(self) -> str:
        return _text(_peer(self).ask("repr", self))

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError("an object of the code cannot be pickled")

    def __copy__(self) -> Any:
        return _peer(self).ask("copy", self, False)

    def __deepcopy__(self, memo: Any) -> Any:
        return _peer(self).ask("copy", self, True)


# These are functions, not methods of `Remote`: an attribute of a stand-in is an attribute of the other end's object.


def _link(remote: Remote) -> _Link:
    link: _Link = object.__getattribute__(remote, "_remote_")
    return link


def _peer(remote: Remote) -> Any:
    return _link(remote).peer


def number_of(remote: Remote) -> int:
    """The number, in the other process, of the object that a stand-in stands for."""
    return _link(remote).number


def _base(value: Any) -> str:
    """The name of the builtin type that the class of the other end's object derives from; "" for none."""
    return _link(value).base if isinstance(value, Remote) else ""


def _refuse_made_of(remote: Remote, origin: int) -> None:
    """Raises a TypeError, in the judge's process, if arithmetic with `origin` or anything larger made the object."""
    link = _link(remote)
    if link.peer.strict and link.origin >= origin:
        raise TypeError(f"this cannot be asked of what {link.name} made of a plain value: compare plain values")


def _text(value: Any) -> str:
    if type(value) is not str:
        raise TypeError("no text came back")
    return value


def _local(value: Any) -> Any:
    """The plain content of an object whose class derives from a builtin type; anything else as it is."""
    if not _base(value):
        return value
    _refuse_made_of(value, _FROM_NUMBER)
    content = _peer(value).ask("plain", value)
    if isinstance(content, Remote) or (type(content).__name__ != _base(value) and type(content) is not int):
        raise TypeError("no plain value came back")
    return content


def _is_opaque(value: Any) -> bool:
    """Whether a value is an object of the other end that has no plain content."""
    return isinstance(value, Remote) and not _base(value)


class RemoteFunction(Remote):
    """A stand-in for a function or method; calling it calls that one in the other process."""

    __slots__ = ()

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return _peer(self).ask("call", self, arguments, named)

    def __get__(self, holder: Any, owner: Any = None) -> Any:
        return self


class RemoteClass(RemoteFunction):
    """A stand-in for a class: it can be called, and used in `isinstance`; one for an enumeration can be iterated."""

    __slots__ = ()

    def __instancecheck__(self, value: Any) -> bool:
        return isinstance(value, Remote) and _peer(self).ask("isinstance", value, self) is True

    def __subclasscheck__(self, value: Any) -> bool:
        return isinstance(value, Remote) and _peer(self).ask("issubclass", value, self) is True

    # An enumeration can be iterated over, measured and indexed.

    def __iter__(self) -> Any:
        return iter(_peer(self).ask("iter", self))

    def __len__(self) -> int:
        return int(_peer(self).ask("len", self))

    def __getitem__(self, key: Any) -> Any:
        return _peer(self).ask("getitem", self, key)


class RemoteIterator(Remote):
    """A stand-in for a generator or another iterator; each item is asked for when it is needed."""

    __slots__ = ()

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> Any:
        answer = _peer(self).ask("next", self)
        if type(answer) is not tuple or len(answer) != 2:
            raise TypeError("no item came back")
        if answer[0] == "item":
            return answer[1]
        raise StopIteration(answer[1])


class RemoteObject(Remote):
    """A stand-in for an instance. Its methods and operators run in the other process, by the rules of this module."""

    __slots__ = ()

    def __eq__(self, other: Any) -> bool:
        if self is other:
            return True
        # Two opaque objects: the other end compares them.
        if isinstance(other, Remote) and not (_base(self) or _base(other)):
            return number_of(self) == number_of(other) or _peer(self).ask("eq", self, other) is True
        # Plain content is compared here, where the candidate cannot say what is equal.
        if _base(self) and not _is_opaque(other):
            return bool(_local(self) == _local(other))
        return False

    def __ne__(self, other: Any) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(_local(self)) if _base(self) else int(_peer(self).ask("hash", self))

    def __str__(self) -> str:
        return _text(_peer(self).ask("str", self))

    def __format__(self, spec: str) -> str:
        return _text(_peer(self).ask("format", self, spec))

    # Conversions and unary operators, which may give plain data.

    def __bool__(self) -> bool:
        return _converted(self, "bool") is True

    def __len__(self) -> int:
        return int(_converted(self, "len"))

    def __int__(self) -> int:
        return int(_converted(self, "int"))

    def __index__(self) -> int:
        return int(_converted(self, "index"))

    def __float__(self) -> float:
        return float(_converted(self, "float"))

    def __complex__(self) -> complex:
        return complex(_converted(self, "complex"))

    def __round__(self, digits: Any = None) -> Any:
        return _converted(self, "round", *(() if digits is None else (digits,)))

    def __abs__(self) -> Any:
        return _converted(self, "abs")

    def __neg__(self) -> Any:
        return _converted(self, "neg")

    def __pos__(self) -> Any:
        return _converted(self, "pos")

    def __invert__(self) -> Any:
        return _converted(self, "invert")

    # Containers and context managers.

    def __iter__(self) -> Any:
        _refuse_made_of(self, _FROM_OTHER)
        return iter(_peer(self).ask("iter", self))

    def __reversed__(self) -> Any:
        return iter(_peer(self).ask("reversed", self))

    def __contains__(self, item: Any) -> bool:
        if isinstance(item, Remote):
            return _peer(self).ask("contains", self, item) is True
        # A plain item is compared here: the candidate never learns what a test looks for.
        return any(item is element or item == element for element in self)

    def __getitem__(self, key: Any) -> Any:
        _refuse_made_of(self, _FROM_OTHER)
        return _peer(self).ask("getitem", self, key)

    def __setitem__(self, key: Any, value: Any) -> None:
        _peer(self).ask("setitem", self, key, value)

    def __delitem__(self, key: Any) -> None:
        _peer(self).ask("delitem", self, key)

    def __enter__(self) -> Any:
        return _peer(self).ask("enter", self)

    def __exit__(self, kind: Any, error: Any, trace: Any) -> Any:
        return bool(_peer(self).ask("exit", self, None, error, None))


class RemoteCallable(RemoteObject, RemoteFunction):
    """A stand-in for an instance that can be called."""

    __slots__ = ()


_CONVERSIONS: dict[str, Any] = {"bool": bool, "len": len, "int": int, "float": float, "complex": complex}
_CONVERSIONS["round"] = round


def _converted(remote: RemoteObject, op: str, *operands: Any) -> Any:
    """An operation that may give plain data: refused for the outcome of arithmetic with plain data."""
    _refuse_made_of(remote, _FROM_NUMBER)
    if _base(remote):
        return (_CONVERSIONS.get(op) or getattr(_operator, op))(_local(remote), *operands)
    return _peer(remote).ask(op, remote, *operands)


def _arithmetic(op: str, left: Any, right: Any) -> Any:
    """The outcome of a binary operator of which at least one side is a `RemoteObject`."""
    remote = left if isinstance(left, RemoteObject) else right
    peer, other_operand = _peer(remote), right if remote is left else left
    # Plain content on both sides: computed here.
    if _base(remote) and not _is_opaque(other_operand):
        return getattr(_operator, op)(_local(left), _local(right))
    result = peer.ask(op, left, right)
    if not peer.strict:
        return result
    # The outcome takes over what either side was made of, and what this operation adds.
    origin = max([_link(side).origin for side in (left, right) if isinstance(side, Remote)])
    if not isinstance(other_operand, Remote):
        origin = max(origin, _FROM_NUMBER if type(other_operand) in (int, float, complex, bool) else _FROM_OTHER)
    if origin and not isinstance(result, RemoteObject):
        name = _link(remote).name
        raise TypeError(f"{op} of {name} and a plain value gave no {name}")
    if origin:
        link = _link(result)
        link.origin = max(link.origin, origin)
    return result


def _compared(op: str, left: Any, right: Any) -> Any:
    """The outcome of `<`, `<=`, `>` or `>=`, whose left side is a `RemoteObject`."""
    if _base(left) and not _is_opaque(right):
        return getattr(_operator, op)(_local(left), _local(right))
    made_of_plain = any(_link(side).origin for side in (left, right) if isinstance(side, Remote))
    if not isinstance(right, Remote) or (made_of_plain and _peer(left).strict):
        raise TypeError(f"'{op}' between {_link(left).name} and a plain value")
    return _peer(left).ask(op, left, right) is True


def _add_operators() -> None:
    """Gives `RemoteObject` its binary operators, in both directions, and its comparisons."""

    def binary(op: str, reflected: bool) -> Any:
        def method(self: Any, other: Any) -> Any:
            return _arithmetic(op, other, self) if reflected else _arithmetic(op, self, other)

        return method

    def order(op: str) -> Any:
        return lambda self, other: _compared(op, self, other)

    for name in _BINARY:
        op = {"and": "and_", "or": "or_"}.get(name, name)  # as `_operator` calls them
        setattr(RemoteObject, f"__{name}__", binary(op, False))
        setattr(RemoteObject, f"__r{name}__", binary(op, True))
    for name in ("lt", "le", "gt", "ge"):
        setattr(RemoteObject, f"__{name}__", order(name))


_add_operators()
