"""Another manner of speech for the pocket world's teacher: the same things said in other words and another order.

Where the scripted teacher says "part 1 is too low, part 2 is right", this one names what is left of each digit, and the
second one first: "part 2 is right, part 1 is from 4 to 9". No student met it in training; see docs/measures.md.

References:
  arXiv 2605.09808: students trained against one prompted speaker may not carry over to others.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from sml_jax.pocket import language
from sml_jax.pocket.language import Parts
from sml_jax.pocket.world import PocketTask
from sml_jax.tasks import Problem, Turn, Verdict

_CRITICISM = re.compile(r"part 1 is (right|too low|too high), part 2 is (right|too low|too high)")
_FACT = re.compile(r"the secret number is \d+")


def in_ranges(reply: str, guess: Parts | None) -> str:
    """A reply of the scripted teacher with ranges in the place of comparisons, the second part first.

    What a student can conclude about either digit is the same. A missing fact is told by itself, without criticism, and
    an utterance without an answer is met with a question. All else is said as the scripted teacher says it.

    Args:
      reply: of `PocketTask.reply`.
      guess: the two digits of the attempt that it answers; None for no attempt.
    """
    if reply == language.NO_ANSWER:
        return language.part_question(1)
    fact = _FACT.search(reply)
    if fact is not None:
        return fact[0]
    criticism = _CRITICISM.fullmatch(reply)
    if criticism is None or guess is None:
        return reply
    return ", ".join(_span(part, guess[part - 1], criticism[part]) for part in (2, 1))


def reply_in_ranges(task: PocketTask, problem: Problem, conversation: Sequence[Turn], verdict: Verdict) -> str:
    """What a teacher of this manner says next, as the function of `teachers.Function`; see `Task.reply`."""
    return in_ranges(task.reply(problem, conversation, verdict), task.read_attempt(conversation[-1].text))


def _span(part: int, digit: int, word: str) -> str:
    """What is left of a digit after its comparison with the true one."""
    if word == "right":
        return f"part {part} is right"
    low, high = (digit + 1, 9) if word == "too low" else (0, digit - 1)
    return f"part {part} is from {low} to {high}"
