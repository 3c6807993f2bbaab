"""What stands at one end of the wire for an object of the other end. Part of the bare process.

Rules of the judge, so that an object of the candidate cannot be all things to a test:
- It equals plain data only where its class derives from a builtin type, and then by that type's content.
- It is not ordered against plain data, and `x in it` compares the items here.
- Arithmetic with plain data gives an object of the candidate's or fails, and such a result has no number, order, length
  or truth: `abs(f() - 1.5) < 1e-6` needs a number that was there before the test told what it expects.
"""

from __future__ import annotations

import _operator
from typing import Any

_DUNDERS = {"__name__", "__qualname__", "__doc__", "__dict__", "__annotations__", "__slots__", "__members__"}
_BINARY = ["add", "sub", "mul", "truediv", "floordiv", "mod", "matmul", "pow", "lshift", "rshift", "and", "or", "xor"]


def number_of(value: Any, peer: Any) -> int | None:
    """The number of the other end's object that `value` stands for; None where it is none."""
    if isinstance(value, Far):
        return _number(value)
    if isinstance(value, type):
        return far_class(value, peer)
    return None


def far_class(kind: type, peer: Any) -> int | None:
    """The same for a class of errors."""
    number = kind.__dict__.get("_far_number_")
    return number if type(number) is int else None


def make(peer: Any, number: int, kind: str, name: str, base: str, chain: str) -> Any:
    """A stand-in for the other end's object with this number."""
    if kind == "exception":
        return _error_class(peer, chain, base)
    if kind == "coroutine":

        async def wait() -> Any:
            return peer.ask("run", hold)

        hold = FarObject(peer, number, name, "")
        return wait()
    shape: type[Far] = {"function": FarFunction, "class": FarClass, "iterator": FarIterator}.get(kind, FarObject)
    if kind == "callable":
        shape = FarCallable
    if shape in (FarObject, FarCallable):
        shape = type(name, (shape,), {"__slots__": ()})
    return shape(peer, number, name, base)


def build_error(name: Any, arguments: Any, message: Any, line: Any) -> BaseException:
    """An error of the other end, of the same builtin type or of a stand-in for its own."""
    import builtins

    kind = getattr(builtins, name) if type(name) is str else name
    if not (isinstance(kind, type) and issubclass(kind, BaseException) and type(arguments) is tuple):
        raise ValueError(name)
    try:
        error = kind(*arguments)
    except Exception:
        error = kind.__new__(kind)
        error.args = (message,)
    error._far_line_ = line if type(line) is str else ""  # type: ignore[attr-defined]
    error._far_message_ = message if type(message) is str else ""  # type: ignore[attr-defined]
    return error


def _error_class(peer: Any, chain: str, base: str) -> type:
    import builtins

    parent = getattr(builtins, base)
    if not (isinstance(parent, type) and issubclass(parent, BaseException)):
        raise ValueError(base)
    for part in reversed(chain.split("\1")):
        number, name = part.split("\2")
        known = peer._far.get(int(number))
        if not (isinstance(known, type) and issubclass(known, BaseException)):
            known = type(name, (parent,), {"_far_number_": int(number), "__str__": _message, "__init__": _init})
            peer._far[int(number)] = known
        parent = known
    return parent


def _init(self: BaseException, *arguments: Any, **named: Any) -> None:
    self.args = arguments


def _message(self: BaseException) -> str:
    own = getattr(self, "_far_message_", None)
    return own if type(own) is str else str(self.args[0]) if len(self.args) == 1 else str(self.args)


class Far:
    """Stands for an object of the other end."""

    __slots__ = ("__weakref__", "_far_")

    def __init__(self, peer: Any, number: int, name: str, base: str) -> None:
        object.__setattr__(self, "_far_", [peer, number, name, base, 0])

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name.endswith("__") and name not in _DUNDERS:
            raise AttributeError(name)
        _free(self, 2)
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


def _peer(far: Far) -> Any:
    return object.__getattribute__(far, "_far_")[0]


def _number(far: Far) -> int:
    number: int = object.__getattribute__(far, "_far_")[1]
    return number


def _name(far: Far) -> str:
    return str(object.__getattribute__(far, "_far_")[2])


def _base(far: Any) -> str:
    return str(object.__getattribute__(far, "_far_")[3]) if isinstance(far, Far) else ""


def _free(far: Far, most: int) -> None:
    """Refuses what arithmetic with plain data made: 1 with a number, 2 with anything larger."""
    peer, _, name, _, made = object.__getattribute__(far, "_far_")
    if peer.strict and made >= most:
        raise TypeError(f"this cannot be asked of what {name} made of a plain value: compare plain values")


def _text(value: Any) -> str:
    if type(value) is not str:
        raise TypeError("no text came back")
    return value


def _local(value: Any) -> Any:
    """The plain content of an object whose class derives from a builtin type."""
    if not _base(value):
        return value
    _free(value, 1)
    plain = _peer(value).ask("plain", value)
    if isinstance(plain, Far) or (type(plain).__name__ != _base(value) and type(plain) is not int):
        raise TypeError("no plain value came back")
    return plain


class FarFunction(Far):
    """A function or method."""

    __slots__ = ()

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return _peer(self).ask("call", self, arguments, named)

    def __get__(self, holder: Any, owner: Any = None) -> Any:
        return self


class FarClass(FarFunction):
    """A class."""

    __slots__ = ()

    def __instancecheck__(self, value: Any) -> bool:
        return isinstance(value, Far) and _peer(self).ask("isinstance", value, self) is True

    def __subclasscheck__(self, value: Any) -> bool:
        return isinstance(value, Far) and _peer(self).ask("issubclass", value, self) is True

    def __iter__(self) -> Any:
        return iter(_peer(self).ask("iter", self))

    def __len__(self) -> int:
        return int(_peer(self).ask("len", self))

    def __getitem__(self, key: Any) -> Any:
        return _peer(self).ask("getitem", self, key)


class FarIterator(Far):
    """A generator or another iterator: pulled item by item."""

    __slots__ = ()

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> Any:
        got = _peer(self).ask("next", self)
        if type(got) is not tuple or len(got) != 2:
            raise TypeError("no item came back")
        if got[0] == "item":
            return got[1]
        raise StopIteration(got[1])


class FarObject(Far):
    """An instance: its attributes, methods and operators are the other end's, within the rules above."""

    __slots__ = ()

    def __eq__(self, other: Any) -> bool:
        if self is other:
            return True
        if isinstance(other, Far) and not (_base(self) or _base(other)):
            return _number(self) == _number(other) or _peer(self).ask("eq", self, other) is True
        if _base(self) and not (isinstance(other, Far) and not _base(other)):
            return bool(_local(self) == _local(other))
        return False

    def __ne__(self, other: Any) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(_local(self)) if _base(self) else int(_peer(self).ask("hash", self))

    def __str__(self) -> str:
        return _text(_peer(self).ask("str", self))

    def __format__(self, how: str) -> str:
        return _text(_peer(self).ask("format", self, how))

    def __bool__(self) -> bool:
        return _plainly(self, "bool") is True

    def __len__(self) -> int:
        return int(_plainly(self, "len"))

    def __int__(self) -> int:
        return int(_plainly(self, "int"))

    def __index__(self) -> int:
        return int(_plainly(self, "index"))

    def __float__(self) -> float:
        return float(_plainly(self, "float"))

    def __complex__(self) -> complex:
        return complex(_plainly(self, "complex"))

    def __round__(self, digits: Any = None) -> Any:
        return _plainly(self, "round", *(() if digits is None else (digits,)))

    def __abs__(self) -> Any:
        return _plainly(self, "abs")

    def __neg__(self) -> Any:
        return _plainly(self, "neg")

    def __pos__(self) -> Any:
        return _plainly(self, "pos")

    def __invert__(self) -> Any:
        return _plainly(self, "invert")

    def __iter__(self) -> Any:
        _free(self, 2)
        return iter(_peer(self).ask("iter", self))

    def __reversed__(self) -> Any:
        return iter(_peer(self).ask("reversed", self))

    def __contains__(self, item: Any) -> bool:
        if isinstance(item, Far):
            return _peer(self).ask("contains", self, item) is True
        return any(item is one or item == one for one in self)

    def __getitem__(self, key: Any) -> Any:
        _free(self, 2)
        return _peer(self).ask("getitem", self, key)

    def __setitem__(self, key: Any, value: Any) -> None:
        _peer(self).ask("setitem", self, key, value)

    def __delitem__(self, key: Any) -> None:
        _peer(self).ask("delitem", self, key)

    def __enter__(self) -> Any:
        return _peer(self).ask("enter", self)

    def __exit__(self, kind: Any, error: Any, trace: Any) -> Any:
        return bool(_peer(self).ask("exit", self, None, error, None))


class FarCallable(FarObject, FarFunction):
    """An instance that can be called."""

    __slots__ = ()


_CONVERSIONS: dict[str, Any] = {"bool": bool, "len": len, "int": int, "float": float, "complex": complex}
_CONVERSIONS["round"] = round


def _plainly(far: FarObject, op: str, *rest: Any) -> Any:
    """An operation that may give plain data: refused for the outcome of arithmetic with plain data."""
    _free(far, 1)
    if _base(far):
        return (_CONVERSIONS.get(op) or getattr(_operator, op))(_local(far), *rest)
    return _peer(far).ask(op, far, *rest)


def _arithmetic(op: str, left: Any, right: Any) -> Any:
    far = left if isinstance(left, FarObject) else right
    peer, other = _peer(far), right if far is left else left
    if _base(far) and not (isinstance(other, Far) and not _base(other)):
        return getattr(_operator, op)(_local(left), _local(right))
    got = peer.ask(op, left, right)
    if not peer.strict:
        return got
    made = max([object.__getattribute__(one, "_far_")[4] for one in (left, right) if isinstance(one, Far)])
    if not isinstance(other, Far):
        made = max(made, 1 if type(other) in (int, float, complex, bool) else 2)
    if made and not isinstance(got, FarObject):
        raise TypeError(f"{op} of {_name(far)} and a plain value gave no {_name(far)}")
    if made:
        state = object.__getattribute__(got, "_far_")
        state[4] = max(state[4], made)
    return got


def _operators() -> None:
    def binary(op: str, turned: bool) -> Any:
        def method(self: Any, other: Any) -> Any:
            return _arithmetic(op, other, self) if turned else _arithmetic(op, self, other)

        return method

    def order(op: str) -> Any:
        def method(self: Any, other: Any) -> Any:
            if _base(self) and not (isinstance(other, Far) and not _base(other)):
                return getattr(_operator, op)(_local(self), _local(other))
            tainted = any(object.__getattribute__(one, "_far_")[4] for one in (self, other) if isinstance(one, Far))
            if not isinstance(other, Far) or (tainted and _peer(self).strict):
                raise TypeError(f"'{op}' between {_name(self)} and a plain value")
            return _peer(self).ask(op, self, other) is True

        return method

    for name in _BINARY:
        op = {"and": "and_", "or": "or_"}.get(name, name)
        setattr(FarObject, f"__{name}__", binary(op, False))
        setattr(FarObject, f"__r{name}__", binary(op, True))
    for name in ("lt", "le", "gt", "ge"):
        setattr(FarObject, f"__{name}__", order(name))


_operators()
