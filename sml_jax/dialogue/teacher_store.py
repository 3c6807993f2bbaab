"""What a run keeps for its teachers between rollouts: replies that could not be had again, and what is slow to make."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class ReplyRecord(Protocol):
    """Replies that a run has had, by key, for teachers that could not give the same ones again."""

    def find(self, key: str) -> Mapping[str, Any] | None:
        """The fields that were added under a key; None if there are none."""
        ...

    def add(self, key: str, fields: Mapping[str, Any]) -> None:
        """Writes a reply down before anything depends on it.

        Args:
          key: tells this reply from all others of the run.
          fields: of the reply, as JSON.
        """
        ...


class RepliesInMemory:
    """The record of replies where there is no run's folder to keep it in. The methods are those of `ReplyRecord`."""

    def __init__(self) -> None:
        self._fields: dict[str, Mapping[str, Any]] = {}

    def find(self, key: str) -> Mapping[str, Any] | None:
        """The fields that were added under a key; None if there are none."""
        return self._fields.get(key)

    def add(self, key: str, fields: Mapping[str, Any]) -> None:
        """Keeps a reply."""
        self._fields[key] = fields


@dataclass(frozen=True)
class TeacherStore:
    """What a run keeps for its teachers, which are made anew for each rollout.

    Attributes:
      replies: what teachers have replied. In a run it is the file `replies.jsonl` of the run's folder.
      loaded: what takes long to make, such as another model and its compiled kernels, by any key of the teacher's own.
    """

    replies: ReplyRecord = field(default_factory=RepliesInMemory)
    loaded: dict[Any, Any] = field(default_factory=dict)
