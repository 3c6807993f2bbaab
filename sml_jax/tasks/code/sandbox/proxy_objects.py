"""Stand-ins for instances of the other end's classes, by the rules of `proxies`. Part of the bare process."""

from __future__ import annotations

import _operator
from typing import Any

from sml_jax.tasks.code.sandbox.proxies import (
    FROM_NUMBER,
    FROM_OTHER,
    Remote,
    RemoteFunction,
    as_text,
    base_name,
    content_of,
    link_of,
    number_of,
    peer_of,
    refuse_made_of,
)

_BINARY = ["add", "sub", "mul", "truediv", "floordiv", "mod", "matmul", "pow", "lshift", "rshift", "and", "or", "xor"]


class RemoteObject(Remote):
    """A stand-in for an instance. Its methods and operators run in the other process, by the rules of `proxies`."""

    __slots__ = ()

    def __eq__(self, other: Any) -> Any:
        if self is other:
            return True
        # Two objects of the other end: it compares them.
        if isinstance(other, Remote):
            return number_of(self) == number_of(other) or peer_of(self).ask("eq", self, other)
        # Plain content is compared here, where the candidate cannot say what is equal.
        return bool(base_name(self) and content_of(self) == other)

    def __ne__(self, other: Any) -> Any:
        if isinstance(other, Remote):
            return number_of(self) != number_of(other) and peer_of(self).ask("ne", self, other)
        return not self == other

    def __hash__(self) -> int:
        return hash(content_of(self)) if base_name(self) else int(peer_of(self).ask("hash", self))

    def __str__(self) -> str:
        return as_text(peer_of(self).ask("str", self))

    def __format__(self, spec: str) -> str:
        return as_text(peer_of(self).ask("format", self, spec))

    # Conversions and unary operators, which may give plain data.

    def __bool__(self) -> bool:
        return _converted(self, "bool") is True

    def __len__(self) -> int:
        # An object that was changed by `+=` has a length, unlike a number.
        if not base_name(self):
            refuse_made_of(self, FROM_OTHER)
            return int(peer_of(self).ask("len", self))
        return len(content_of(self))

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
        refuse_made_of(self, FROM_OTHER)
        return iter(peer_of(self).ask("iter", self))

    def __reversed__(self) -> Any:
        refuse_made_of(self, FROM_OTHER)
        return iter(peer_of(self).ask("reversed", self))

    def __contains__(self, item: Any) -> bool:
        if isinstance(item, Remote):
            return peer_of(self).ask("contains", self, item) is True
        # A plain item is compared here: the candidate never learns what a test looks for.
        return any(item is element or item == element for element in self)

    def __getitem__(self, key: Any) -> Any:
        refuse_made_of(self, FROM_OTHER)
        return peer_of(self).ask("getitem", self, key)

    def __setitem__(self, key: Any, value: Any) -> None:
        peer_of(self).ask("setitem", self, key, value)

    def __delitem__(self, key: Any) -> None:
        peer_of(self).ask("delitem", self, key)

    def __enter__(self) -> Any:
        return peer_of(self).ask("enter", self)

    def __exit__(self, kind: Any, error: Any, trace: Any) -> Any:
        # A failed `assert` stays one, whatever the code's context manager says.
        return bool(peer_of(self).ask("exit", self, error)) and not isinstance(error, AssertionError)


class RemoteIterator(RemoteObject):
    """A stand-in for a generator or another iterator; each item is asked for when it is needed."""

    __slots__ = ()

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> Any:
        answer = peer_of(self).ask("next", self)
        if type(answer) is not tuple or len(answer) != 2:
            raise TypeError("no item came back")
        if answer[0] == "item":
            return answer[1]
        raise StopIteration(answer[1])


class RemoteCallable(RemoteObject, RemoteFunction):
    """A stand-in for an instance that can be called."""

    __slots__ = ()


_CONVERSIONS: dict[str, Any] = {"bool": bool, "int": int, "float": float, "complex": complex}
_CONVERSIONS["round"] = round


def _converted(remote: RemoteObject, op: str, *operands: Any) -> Any:
    """An operation that may give plain data: refused for the outcome of arithmetic with plain data."""
    refuse_made_of(remote, FROM_NUMBER)
    if base_name(remote):
        return (_CONVERSIONS.get(op) or getattr(_operator, op))(content_of(remote), *operands)
    return peer_of(remote).ask(op, remote, *operands)


def _arithmetic(op: str, left: Any, right: Any) -> Any:
    """The outcome of a binary operator of which at least one side is a `RemoteObject`."""
    remote, other_operand = (left, right) if isinstance(left, RemoteObject) else (right, left)
    # Plain content and a plain value: computed here.
    if base_name(remote) and not isinstance(other_operand, Remote):
        return getattr(_operator, op)(content_of(left), content_of(right))
    return _outcome(op, remote, other_operand, peer_of(remote).ask(op, left, right))


def _outcome(op: str, remote: RemoteObject, other_operand: Any, result: Any) -> Any:
    """The result of an operator, if it may be one, with what it was made of.

    Args:
      op: name of the operator. remote: one of its operands. other_operand: the other one.
      result: what the other end gave.

    Raises:
      TypeError: in the judge's process, for a result that is plain data made of plain data.
    """
    if not peer_of(remote).strict:
        return result
    # The outcome takes over what either side was made of, and what this operation adds.
    origin = max([link_of(side).origin for side in (remote, other_operand) if isinstance(side, Remote)])
    if not isinstance(other_operand, Remote):
        origin = max(origin, FROM_NUMBER if type(other_operand) in (int, float, complex, bool) else FROM_OTHER)
    if origin and not isinstance(result, RemoteObject):
        name = link_of(remote).name
        raise TypeError(f"{op} of {name} and a plain value gave no {name}")
    if origin:
        link = link_of(result)
        link.origin = max(link.origin, origin)
    return result


def _changed_in_place(op: str, left: RemoteObject, right: Any) -> Any:
    """The outcome of an operator such as `+=`, whose left side is a `RemoteObject`.

    The object itself is changed, by its own class. Its attributes, items and length may be read afterwards; a number,
    an order or a truth value is refused as after `+`, because `difference -= expected` would prove nothing. Where the
    class derives from plain data, the judge does the same with the content, and trusts the object if both agree.
    """
    peer, can_compute = peer_of(left), bool(base_name(left)) and not isinstance(right, Remote)
    if not peer.strict:
        return peer.ask(op, left, right)
    expected: Any = None
    if can_compute:
        content = content_of(left)
        expected = getattr(_operator, op)(content, right)
        if expected is not content:  # the content of a number or text cannot change
            return expected
    result = peer.ask(op, left, right)
    if result is not left:
        return _outcome(op, left, right, result)
    if not (isinstance(right, Remote) and not link_of(right).origin) and not (
        can_compute and expected == content_of(left)
    ):
        link = link_of(left)
        link.origin = max(link.origin, FROM_NUMBER)
    return result


def _compared(op: str, left: Any, right: Any) -> Any:
    """The outcome of `<`, `<=`, `>` or `>=`, whose left side is a `RemoteObject`."""
    if base_name(left) and not isinstance(right, Remote):
        return getattr(_operator, op)(content_of(left), right)
    made_of_plain = any(link_of(side).origin for side in (left, right) if isinstance(side, Remote))
    if not isinstance(right, Remote) or (made_of_plain and peer_of(left).strict):
        raise TypeError(f"'{op}' between {link_of(left).name} and a plain value")
    return peer_of(left).ask(op, left, right)


def _add_operators() -> None:
    """Gives `RemoteObject` its binary operators, in both directions and in place, and its comparisons."""

    def binary(op: str, reflected: bool) -> Any:
        def method(self: Any, other: Any) -> Any:
            if not reflected:
                return _arithmetic(op, self, other)
            try:
                return _arithmetic(op, other, self)
            except TypeError:
                if type(other) not in (list, bytearray):
                    raise
                return NotImplemented  # `items += object` takes the object's items

        return method

    def order(op: str) -> Any:
        return lambda self, other: _compared(op, self, other)

    def in_place(op: str) -> Any:
        return lambda self, other: _changed_in_place(op, self, other)

    for name in _BINARY:
        op = {"and": "and_", "or": "or_"}.get(name, name)  # as `_operator` calls them
        setattr(RemoteObject, f"__{name}__", binary(op, False))
        setattr(RemoteObject, f"__r{name}__", binary(op, True))
        setattr(RemoteObject, f"__i{name}__", in_place(f"i{name}"))
    for name in ("lt", "le", "gt", "ge"):
        setattr(RemoteObject, f"__{name}__", order(name))


_add_operators()
