"""Protocols whose `isinstance` looks at what a value answers to, not at how its class is written."""

from __future__ import annotations

import inspect
from typing import Any, Protocol


class AttributeCheck(type(Protocol)):  # type: ignore[misc]
    """Metaclass of a runtime-checkable protocol, whose `isinstance` asks `hasattr` for every public member.

    From Python 3.12 on, `isinstance` on an ordinary runtime protocol looks members up without calling `__getattr__`, so
    that a wrapper which delegates by `__getattr__` no longer passes. With this metaclass it passes on every version.
    A class that derives from the protocol without being a protocol itself has the ordinary `isinstance`.
    """

    def __instancecheck__(cls, value: Any) -> bool:
        if not cls.__dict__.get("_is_protocol", False):
            return bool(super().__instancecheck__(value))
        return all(hasattr(value, member) for member in protocol_members(cls))


def protocol_members(protocol: type) -> set[str]:
    """The names of the public methods, properties and annotated attributes of a protocol and of its bases."""
    members: set[str] = set()
    for base in protocol.__mro__:
        if base.__dict__.get("_is_protocol", False):
            members.update(base.__dict__, inspect.get_annotations(base))
    return {member for member in members if not member.startswith("_")}
