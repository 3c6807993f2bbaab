"""Stand-ins at one end of the wire for objects of the other end. Part of the bare process.

In the judge's process they keep these rules, so that an object of the candidate cannot be all things to a test:
- It equals plain data only where its class derives from a type of plain data, and then by that type's content.
- It is not ordered against plain data, and `x in it` compares the items here.
- Arithmetic with plain data gives an object of the candidate's or fails, and such a result has no number, order, length
  or truth value: `abs(f() - 1.5) < 1e-6` needs a number that was there before the test told what it expects.

This module has what all stand-ins share, and those for functions, classes and iterators; `proxy_objects` has those for
instances.
"""

from __future__ import annotations

from typing import Any

from sml_jax.tasks.code.sandbox.value_types import UNCHANGEABLE, name_of_type

# Dunder attributes that may be read; all others belong to Python's own protocols, which the methods below implement.
_READABLE_DUNDERS = {"__name__", "__qualname__", "__doc__", "__dict__", "__annotations__", "__slots__", "__members__"}

# What plain data an object was made of by arithmetic, if any: it knows that much of what a test expects.
FROM_NUMBER, FROM_OTHER = 1, 2


class _Link:
    """What a stand-in knows of the object that it stands for."""

    __slots__ = ("base", "content", "name", "number", "origin", "peer")

    def __init__(self, peer: Any, number: int, name: str, base: str) -> None:
        self.peer = peer
        self.number = number  # of the object, at the other end
        self.name = name  # of its class, or its own for a function or class
        self.base = base  # full name of the type of plain data that its class derives from, "" for none
        self.origin = 0  # or FROM_NUMBER or FROM_OTHER
        self.content: Any = None  # of an object that derives from an unchangeable type, once it was asked for


class Remote:
    """A stand-in for an object of the other process; its attributes are read, set and deleted there.

    Args:
      peer: the end of the wire (`Peer`) that asks the other process.
      number: the object's number there.
      name: name of the object's class; of a function or class, its own name.
      base: full name of the type of plain data that its class derives from (see `value_types`); "" for none.
    """

    __slots__ = ("__weakref__", "_remote_")

    def __init__(self, peer: Any, number: int, name: str, base: str) -> None:
        object.__setattr__(self, "_remote_", _Link(peer, number, name, base))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name.endswith("__") and name not in _READABLE_DUNDERS:
            raise AttributeError(name)
        refuse_made_of(self, FROM_OTHER)
        return peer_of(self).ask("get", self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        peer_of(self).ask("set", self, name, value)

    def __delattr__(self, name: str) -> None:
        peer_of(self).ask("del", self, name)

    def __repr__(self) -> str:
        return as_text(peer_of(self).ask("repr", self))

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError("an object of the code cannot be pickled")

    def __copy__(self) -> Any:
        return peer_of(self).ask("copy", self, False)

    def __deepcopy__(self, memo: Any) -> Any:
        return peer_of(self).ask("copy", self, True)


# These are functions, not methods of `Remote`: an attribute of a stand-in is an attribute of the other end's object.


def link_of(remote: Remote) -> _Link:
    """What a stand-in knows of the object that it stands for."""
    link: _Link = object.__getattribute__(remote, "_remote_")
    return link


def peer_of(remote: Remote) -> Any:
    """The end of the wire that asks for a stand-in."""
    return link_of(remote).peer


def number_of(remote: Remote) -> int:
    """The number, in the other process, of the object that a stand-in stands for."""
    return link_of(remote).number


def base_name(value: Any) -> str:
    """The full name of the type of plain data from which the class of a stand-in's object derives; "" for none."""
    return link_of(value).base if isinstance(value, Remote) else ""


def refuse_made_of(remote: Remote, origin: int) -> None:
    """Raises a TypeError, in the judge's process, if arithmetic with `origin` or anything larger made the object."""
    link = link_of(remote)
    if link.peer.strict and link.origin >= origin:
        raise TypeError(f"this cannot be asked of what {link.name} made of a plain value: compare plain values")


def as_text(value: Any) -> str:
    """The value; raises a TypeError if it is no text."""
    if type(value) is not str:
        raise TypeError("no text came back")
    return value


def content_of(value: Any) -> Any:
    """The plain content of an object whose class derives from a type of plain data; anything else as it is."""
    if not base_name(value):
        return value
    refuse_made_of(value, FROM_NUMBER)
    link = link_of(value)
    if link.content is not None:
        return link.content
    content = link.peer.ask("plain", value)
    if name_of_type(type(content)) != link.base:
        raise TypeError("no plain value came back")
    # A number that changed between two looks would pass `4 < f(x) < 6` whatever it is.
    if link.base in UNCHANGEABLE:
        link.content = content
    return content


class RemoteFunction(Remote):
    """A stand-in for a function or method; calling it calls that one in the other process."""

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        if name in ("__name__", "__qualname__"):
            return link_of(self).name
        return Remote.__getattr__(self, name)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return peer_of(self).ask("call", self, arguments, named)

    def __get__(self, holder: Any, owner: Any = None) -> Any:
        return self


class RemoteClass(RemoteFunction):
    """A stand-in for a class: it can be called, and used in `isinstance`; one for an enumeration can be iterated."""

    __slots__ = ()

    def __instancecheck__(self, value: Any) -> bool:
        return peer_of(self).ask("isinstance", self, value) is True

    def __subclasscheck__(self, value: Any) -> bool:
        return peer_of(self).ask("issubclass", self, value) is True

    # An enumeration can be iterated over, measured and indexed.

    def __iter__(self) -> Any:
        return iter(peer_of(self).ask("iter", self))

    def __len__(self) -> int:
        return int(peer_of(self).ask("len", self))

    def __getitem__(self, key: Any) -> Any:
        return peer_of(self).ask("getitem", self, key)


# A function has the documentation of its own, not that of the stand-in's class.
RemoteFunction.__doc__ = RemoteClass.__doc__ = property(lambda self: peer_of(self).ask("get", self, "__doc__"))  # type: ignore[assignment]
