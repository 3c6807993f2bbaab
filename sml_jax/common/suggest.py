"""Near matches for a misspelt name."""

import difflib
from collections.abc import Iterable

from sml_jax.common.errors import UserError


def nearest(name: str, candidates: Iterable[str], count: int = 3, cutoff: float = 0.6) -> list[str]:
    """The candidates whose spelling is nearest to `name`, best first; equally near ones in alphabetical order.

    The last dotted parts of a candidate are compared on their own too, so that `Onlin` finds `online.Online`. Upper and
    lower case count as equal.

    Args:
      name: what was written.
      candidates: the names that exist.
      count: the largest number of candidates to return.
      cutoff: similarity from 0 to 1 below which a candidate is left out.

    Returns:
      Up to `count` candidates, none if nothing is near.
    """

    # The best likeness of any tail counts.
    def likeness(candidate: str) -> float:
        dotted_parts = candidate.split(".")
        tails = (".".join(dotted_parts[i:]).lower() for i in range(len(dotted_parts)))
        return max(difflib.SequenceMatcher(None, name.lower(), tail).ratio() for tail in tails)

    # Ties go by name, so that errors are the same every time.
    scored_candidates = sorted(
        ((likeness(candidate), candidate) for candidate in set(candidates)), key=lambda s: (-s[0], s[1])
    )
    return [candidate for score, candidate in scored_candidates[:count] if score >= cutoff]


def did_you_mean(name: str, candidates: Iterable[str]) -> str:
    """The end of an error message about a name that does not exist.

    Args:
      name: what was written.
      candidates: the names that exist.

    Returns:
      `; did you mean A or B?` if names are near; else `; there is A, B, ...` with up to 12 candidates; "" if there are
      no candidates.
    """
    candidates = sorted(set(candidates))
    near_names = nearest(name, candidates)
    if near_names:
        return f"; did you mean {' or '.join(near_names)}?"
    # Nothing is near: what there is says at least of what kind a name should be.
    ellipsis = ", ..." if len(candidates) > 12 else ""
    return f"; there is {', '.join(candidates[:12])}{ellipsis}" if candidates else ""


def unknown_name(kind: str, name: str, candidates: Iterable[str], place: str) -> UserError:
    """Makes (and does not raise) the error for a name that does not exist: `PLACE: no KIND 'NAME'; did you mean ...?`.

    Args:
      kind: what the name should have been, such as "scope".
      name: what was written.
      candidates: the names that exist, for the suggestion.
      place: where the name was written, such as `file:line`.
    """
    return UserError(f"{place}: no {kind} {name!r}{did_you_mean(name, candidates)}")
