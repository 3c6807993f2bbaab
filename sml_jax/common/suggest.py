"""Near matches for a misspelt name."""

import difflib
from collections.abc import Iterable

from sml_jax.common.errors import UserError


def nearest(name: str, candidates: Iterable[str], count: int = 3, cutoff: float = 0.6) -> list[str]:
    """The candidates that are most like `name`, best first.

    A candidate's last dotted parts are compared too, so that `Onlin` finds `online.Online`.

    Args:
      name: what was written.
      candidates: what exists.
      count: how many to return at most.
      cutoff: likeness from 0 to 1 below which a candidate is left out.

    Returns:
      Up to `count` candidates.
    """

    # The best likeness of any tail counts.
    def likeness(candidate: str) -> float:
        parts = candidate.split(".")
        tails = (".".join(parts[i:]).lower() for i in range(len(parts)))
        return max(difflib.SequenceMatcher(None, name.lower(), tail).ratio() for tail in tails)

    # Ties go by name, so that errors are the same every time.
    scored = sorted(((likeness(candidate), candidate) for candidate in set(candidates)), key=lambda s: (-s[0], s[1]))
    return [candidate for score, candidate in scored[:count] if score >= cutoff]


def did_you_mean(name: str, candidates: Iterable[str]) -> str:
    """The tail of an error message: `; did you mean A or B?`, else `; there is A, B, ...`, else nothing."""
    candidates = sorted(set(candidates))
    near = nearest(name, candidates)
    if near:
        return f"; did you mean {' or '.join(near)}?"
    # Nothing is near: what there is says at least of what kind a name should be.
    more = ", ..." if len(candidates) > 12 else ""
    return f"; there is {', '.join(candidates[:12])}{more}" if candidates else ""


def unknown(kind: str, name: str, candidates: Iterable[str], place: str) -> UserError:
    """The error for a name that is not there: `PLACE: no KIND 'NAME'; did you mean ...?`."""
    return UserError(f"{place}: no {kind} {name!r}{did_you_mean(name, candidates)}")
