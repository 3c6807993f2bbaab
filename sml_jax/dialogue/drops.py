"""Dialogues that are left out: one that something failed in ends alone, with its reason, and the others go on."""

from __future__ import annotations

import logging
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sml_jax.dialogue.live import LiveDialogue
from sml_jax.dialogue.transcript import Dialogue
from sml_jax.errors import UserError

_log = logging.getLogger(__name__)
_SHOWN = 300  # characters of an error's text

VERIFIER, PROBLEM, OVERLONG = "verifier", "problem", "overlong"  # a reason opens with one of them


@contextmanager
def drop_on_error(live: LiveDialogue, doing: str) -> Iterator[None]:
    """What the body raises drops this dialogue and goes no further. For work on one dialogue's text only.

    Args:
      doing: what the body does, for the reason.
    """
    try:
        yield
    except Exception as error:
        live.drop(PROBLEM, f"{doing}: {in_one_line(error)}")


def not_dropped(lives: Sequence[LiveDialogue]) -> list[LiveDialogue]:
    """Those that have not been dropped."""
    return [live for live in lives if not live.dropped]


def in_one_line(error: BaseException) -> str:
    """An error's type, the first line of its text and where it was raised; safe to print."""
    text = next(iter(str(error).splitlines()), "")[:_SHOWN]
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {text}{where}"


def warn_of(lives: Sequence[LiveDialogue], warned: set[tuple[str, str]]) -> None:
    """A warning for each dropped dialogue, once for a problem and kind of reason; `warned` holds those given."""
    for live in lives:
        about = live.problem.id, live.dropped.partition(":")[0]
        if live.dropped and about not in warned:
            warned.add(about)
            _log.warning("problem %s: dialogue dropped: %s", live.problem.id, live.dropped)


def kept(dialogues: Sequence[Dialogue]) -> list[Dialogue]:
    """The dialogues that count."""
    return [dialogue for dialogue in dialogues if not dialogue.dropped]


def check_some_kept(dialogues: Sequence[Dialogue]) -> None:
    """Raises a UserError that names the commonest reason if every dialogue was dropped."""
    if kept(dialogues):
        return
    (reason, count), *_ = Counter(dialogue.dropped for dialogue in dialogues).most_common(1)
    raise UserError(
        f"every one of {len(dialogues)} dialogues was dropped, so nothing is left of the rollout; {count} of them for "
        f"this reason: {reason}"
    )


def worth_writing(dialogues: Sequence[Dialogue], first: int) -> list[Dialogue]:
    """What of a rollout goes to `dialogues.jsonl`: the first `first`, and one dropped dialogue of each problem."""
    chosen, named = list(dialogues[:first]), {d.problem_id for d in dialogues[:first] if d.dropped}
    for dialogue in dialogues[first:]:
        if dialogue.dropped and dialogue.problem_id not in named:
            named.add(dialogue.problem_id)
            chosen.append(dialogue)
    return chosen
