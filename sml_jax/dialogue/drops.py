"""Dropped dialogues: where something fails in one dialogue, it alone ends, with its reason, and the others go on."""

from __future__ import annotations

import logging
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from sml_jax.common.errors import UserError
from sml_jax.common.own_code import raise_own_mistake
from sml_jax.dialogue.live import LiveDialogue
from sml_jax.dialogue.transcript import Dialogue

_log = logging.getLogger(__name__)
AnyDialogue = TypeVar("AnyDialogue", LiveDialogue, Dialogue)
_MAX_ERROR_CHARS = 300

# Every reason opens with one of these kinds.
VERIFIER, PROBLEM, OVERLONG, TEACHER = "verifier", "problem", "overlong", "teacher"


@contextmanager
def drop_on_error(live: LiveDialogue, doing: str) -> Iterator[None]:
    """A context manager that turns an exception of its body into the end of one dialogue, which is dropped.

    Use it around work on one dialogue's text only. An exception of a model's engine concerns all dialogues, and must
    end the rollout; and so does a mistake in code of the user's own, see `sml_jax.common.own_code`.

    Args:
      live: the dialogue that is dropped if the body raises.
      doing: what the body does, such as "reading the student's turn"; the dialogue's `dropped` text names it.
    """
    # KeyboardInterrupt and SystemExit are no Exceptions, and come through.
    try:
        yield
    except Exception as error:
        raise_own_mistake(error, doing)
        live.drop(PROBLEM, f"{doing}: {in_one_line(error)}")


def not_dropped(dialogues: Sequence[AnyDialogue]) -> list[AnyDialogue]:
    """The dialogues that were not dropped, in their order. Statistics are over these alone."""
    return [dialogue for dialogue in dialogues if not dialogue.dropped]


def in_one_line(error: BaseException) -> str:
    """An error as one line without control characters: its type, the first line of its text, where it was raised."""
    first_line = next(iter(str(error).splitlines()), "")[:_MAX_ERROR_CHARS]
    # The text may quote what a model wrote, control characters included.
    first_line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in first_line)
    # The innermost frame is where a user's own code went wrong.
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {first_line}{place}"


def log_dropped(lives: Sequence[LiveDialogue], logged: set[tuple[str, str]]) -> None:
    """Logs a warning for each dropped dialogue, but only once for each pair of problem and kind of reason.

    Args:
      lives: dialogues that have ended, dropped or not.
      logged: pairs (problem id, kind of reason) that were logged before; new pairs are added to it.
    """
    for live in lives:
        problem_and_kind = live.problem.id, live.dropped.partition(":")[0]
        if live.dropped and problem_and_kind not in logged:
            logged.add(problem_and_kind)
            _log.warning("problem %s: dialogue dropped: %s", live.problem.id, live.dropped)


class AllDroppedError(UserError):
    """Every dialogue of a rollout was dropped; the text names the most common reason."""


def check_not_all_dropped(dialogues: Sequence[Dialogue]) -> None:
    """Checks that at least one dialogue was not dropped.

    Raises:
      AllDroppedError: all were dropped, or there are none.
    """
    if not_dropped(dialogues):
        return
    # The same cause mostly ends all of them, such as a verifier that cannot start.
    (commonest_reason, count), *_ = Counter(dialogue.dropped for dialogue in dialogues).most_common(1)
    raise AllDroppedError(
        f"every one of {len(dialogues)} dialogues was dropped, so nothing is left of the rollout; {count} of them for "
        f"this reason: {commonest_reason}"
    )


def dialogues_to_log(dialogues: Sequence[Dialogue], first: int) -> list[Dialogue]:
    """The dialogues to write to `dialogues.jsonl`.

    Args:
      dialogues: of a rollout.
      first: how many dialogues are written in any case, from the first.

    Returns:
      The first `first` dialogues, and then, for each problem that has a dropped dialogue not among them, one such
      dialogue.
    """
    chosen = list(dialogues[:first])
    reported_problem_ids = {dialogue.problem_id for dialogue in chosen if dialogue.dropped}
    for dialogue in dialogues[first:]:
        if dialogue.dropped and dialogue.problem_id not in reported_problem_ids:
            reported_problem_ids.add(dialogue.problem_id)
            chosen.append(dialogue)
    return chosen
