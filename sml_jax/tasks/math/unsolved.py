"""Equations in an unknown that are still to be solved: "2x + 10 = 50" states no answer."""

from __future__ import annotations

import re

_TIMES = re.compile(r"(?<=[0-9)]) ?x ?(?=[0-9($])")
_UNKNOWN = re.compile(
    r"[0-9)] ?([abcdknpqrstuwxyz])(?![A-Za-z])|[-+*/^] ?([abcdknpqrstuwxyz])(?![A-Za-z])|"
    r"(?<![A-Za-z'\u2019])([abcdknpqrstuwxyz]) ?(?:[-+*/^]|\\times|\\cdot)"
)


def is_unsolved(before: str, most: int = 3) -> bool:
    """Whether the text in front of a number ends in the left side of an equation to be solved: "2x + 10 =".

    An equation in more than `most` unknowns may be what was asked for. The last part of a chain ("P = 2a + 2b = 20")
    is a value, and an unknown that was given one before ("x = 180, so x + 24 =") is none.
    """
    left = _TIMES.sub("*", re.split(r"\band\b|[,;:]", before.rstrip(" =$")[-100:])[-1])
    left = left if "=" in left else re.split(r"[A-Za-z]{2,}|['\u2019]", left)[-1]  # the calculation without its words
    unknowns = {next(filter(None, unknown.groups())) for unknown in _UNKNOWN.finditer(left)}
    known = {name for name in unknowns if re.search(rf"\b{name} ?= ?-?[$]?[0-9]", before)}
    return "=" not in left and 0 < len(unknowns - known) <= most
