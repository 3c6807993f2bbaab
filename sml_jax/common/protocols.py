"""Protocols whose `isinstance` looks at what a value answers to, not at how its class is written."""

from __future__ import annotations

import inspect
from typing import Any, Protocol


class AttributeCheck(type(Protocol)):  # type: ignore[misc]
    """Metaclass of a runtime protocol: a value conforms if `hasattr` finds every public member of the protocol.

    From Python 3.12 on, `isinstance` on a plain runtime protocol looks members up without calling `__getattr__`, so a
    wrapper that delegates by `__getattr__` no longer passes. With this metaclass it does, on every version. Classes
    that derive from the protocol and are no protocols themselves keep the ordinary `isinstance`.
    """

    def __instancecheck__(cls, value: Any) -> bool:
        if not cls.__dict__.get("_is_protocol", False):
            return bool(super().__instancecheck__(value))
        return all(hasattr(value, member) for member in protocol_members(cls))


def protocol_members(protocol: type) -> set[str]:
    """The names of a protocol's public methods, properties and annotated attributes, those of its bases included."""
    members: set[str] = set()
    for base in protocol.__mro__:
        if base.__dict__.get("_is_protocol", False):
            members.update(base.__dict__, inspect.get_annotations(base))
    return {member for member in members if not member.startswith("_")}
