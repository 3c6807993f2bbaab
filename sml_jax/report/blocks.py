"""What a part of the page is made of: blocks of panels and tables, with legends, and helpers for reading results."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeGuard

# Policies keep their colours all over the page; others take those that follow.
_POLICY_COLOURS = {"base": 0, "trained": 1}


@dataclass(frozen=True)
class Key:
    """An entry of a legend: what it names, the number of its colour, and whether its line is dashed."""

    label: str
    colour: int
    dashed: bool = False


@dataclass(frozen=True)
class Table:
    """A table of texts.

    Attributes:
      header: a name for each column.
      rows: a text for each cell.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Block:
    """Panels that belong together.

    Attributes:
      title: what they show, "" where the part says so. note: how to read them, "" for nothing to say.
      panels: `<svg>` elements.
      legend: what their colours mean.
      tables: their numbers.
    """

    title: str
    note: str = ""
    panels: Sequence[str] = ()
    legend: Sequence[Key] = ()
    tables: Sequence[Table] = field(default_factory=list)


def policy_keys(policies: Iterable[str]) -> list[Key]:
    """The legend of a suite's policies; the base model's lines are dashed."""
    others = iter(range(2, 100))
    return [
        Key(policy, _POLICY_COLOURS[policy] if policy in _POLICY_COLOURS else next(others), policy == "base")
        for policy in policies
    ]


def names_of(mappings: Iterable[Iterable[str]]) -> list[str]:
    """The names of several mappings, each once, in the order in which they first come up."""
    return list(dict.fromkeys(name for mapping in mappings for name in mapping))


def items_of(value: Any) -> list[tuple[str, Any]]:
    """Names and values of a JSON object; none for any other value."""
    return list(value.items()) if isinstance(value, dict) else []


def is_finite(value: Any) -> TypeGuard[float]:
    """Whether a JSON value is a number that can be drawn."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300
