"""Sharded problems: a user tells the problem shard by shard, verbatim or in a language model's own words.

A shard here is a piece of a problem's statement, as in the paper; everywhere else the word is for parts of a mesh.

References:
  "LLMs Get Lost in Multi-Turn Conversation", arXiv 2505.06120: the settings, and the metrics in
  `sml_jax.evaluate.sharded_statistics`.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass

from sml_jax.common.errors import UserError
from sml_jax.dialogue.language_teacher import LanguageTeacher, Message
from sml_jax.dialogue.script_teacher import Script
from sml_jax.tasks.problems.types import Problem, Task, Turn, Verdict

SETTINGS = ("full", "concat", "sharded", "recap", "snowball")
ONE_TURN = ("full", "concat")

RECAP = "To sum up, this is all of it:"
SO_FAR, NOW = "So far:", "And now:"

# A message's number and words, such as "3: it costs 5" or "shard 3) it costs 5".
_MESSAGE = re.compile(r"(?:shard\s*)?(\d{1,3})\s*[:.)]\s*(.+)", re.DOTALL | re.IGNORECASE)
# A number, with commas between thousands.
_NUMBER = re.compile(r"\d(?:[\d,]*\d)?(?:\.\d+)?")


def statement(problem: Problem, setting: str) -> str:
    """What the user says first: the whole problem in "full" and "concat", else the first shard.

    Raises:
      UserError: "full" of a problem without a full statement.
    """
    if setting == "full":
        if not problem.full:
            raise UserError(f"problem {problem.id} has no full statement: leave out the setting 'full'")
        return problem.full
    return bullets([problem.question, *problem.shards]) if setting == "concat" else problem.question


def replies(problem: Problem, setting: str) -> tuple[str, ...]:
    """What a scripted user says after each student turn but the last.

    Args:
      problem: its question is shard 1, its `shards` are the others.
      setting: "full", "concat": nothing; "sharded": the next shard, verbatim; "recap": the same, and in the end all
        shards once more; "snowball": all earlier shards once more, and the next one.
    """
    shards = [problem.question, *problem.shards]
    if setting == "sharded":
        return problem.shards
    if setting == "recap":
        return (*problem.shards, f"{RECAP}\n{bullets(shards)}")
    if setting == "snowball":
        return tuple(
            f"{SO_FAR}\n{bullets(shards[:i])}\n{NOW}\n{bullets(shards[i : i + 1])}" for i in range(1, len(shards))
        )
    return ()


def bullets(shards: Sequence[str]) -> str:
    """A line for each shard."""
    return "\n".join(f"- {shard}" for shard in shards)


def revealed_by_turn(problem: Problem, setting: str, turns: int) -> list[int]:
    """How many shards, the first included, have been revealed when each student turn is taken.

    A language-model user reveals one in each turn as the script of "sharded" does, in an order of its own.

    Returns:
      A number for each of `turns` turns.
    """
    all_shards = 1 + len(problem.shards)
    at_first = all_shards if setting in ONE_TURN else 1
    return [min(at_first + turn, all_shards) for turn in range(turns)]


@dataclass(frozen=True)
class ShardUser(Script):
    """A scripted user in the teacher's seat, which says `replies` one by one. It never judges an attempt."""

    setting: str
    name: str = "scripted"
    threads = 0
    guarded = False  # all that it says is the problem's own statement

    def reply(self, task: Task, problem: Problem, conversation: Sequence[Turn], verdict: Verdict) -> str:
        # After the first student turn comes the first reply, and so on.
        return replies(problem, self.setting)[sum(turn.role == "student" for turn in conversation) - 1]

    def turns(self, problem: Problem) -> int:
        return 1 + len(replies(problem, self.setting))


@dataclass(frozen=True)
class LanguageUser(LanguageTeacher):
    """A language model in the user's seat. It reveals a shard in each turn, of its own choice and in its own words.

    It knows the shards by their numbers (from 2; shard 1 is the question), not the answer, and reads which of them are
    not revealed yet. A message to the student is marked and opens with the number of its shard,
    `<message>3: ...</message>`. A message is refused that names no unrevealed shard, omits a number that the shard
    holds, or holds another unrevealed shard or a number of one; it is sampled again, and then replaced by the next
    unrevealed shard verbatim.

    Attributes:
      tag: the name of the marked block, which is the `feedback_tag` of the prompts in use.
    """

    tag: str = "message"

    def turns(self, problem: Problem) -> int:
        return 1 + len(problem.shards)

    def reads(self, task: Task, problem: Problem, verdict: Verdict | None, revealed: Sequence[int]) -> str:
        return note(problem, revealed)

    def message(self, problem: Problem, marked: str, revealed: Sequence[int]) -> Message | None:
        match = _MESSAGE.fullmatch(marked.strip())
        if match is None:
            return None
        number, words, numbers_left = int(match[1]), match[2].strip(), unrevealed(problem, revealed)
        if number not in numbers_left:
            return None
        # What stands in the question or was told before may be said again; the rest may not be told in advance.
        withheld = [problem.shards[other - 2] for other in numbers_left if other != number]
        public = [problem.question, *(problem.shards[other - 2] for other in revealed)]
        return Message(words, number) if _faithful(words, problem.shards[number - 2], withheld, public) else None

    def instead(self, problem: Problem, revealed: Sequence[int], redaction: str) -> Message:
        # A dialogue has a turn for each shard, so one is always left.
        number = unrevealed(problem, revealed)[0]
        shard = problem.shards[number - 2]
        return Message(shard, number, marked_shard(self.tag, number, shard))


def marked_shard(tag: str, number: int, words: str) -> str:
    """A message as a language-model user is to write it."""
    return f"<{tag}>{number}: {words}</{tag}>"


def note(problem: Problem, revealed: Sequence[int]) -> str:
    """The numbers of the shards that are not revealed yet, as text for a language-model user to read."""
    return ", ".join(str(number) for number in unrevealed(problem, revealed))


def unrevealed(problem: Problem, revealed: Sequence[int]) -> list[int]:
    """The numbers of the shards that are not revealed yet, rising; shard 1 is the question."""
    return [number for number in range(2, 2 + len(problem.shards)) if number not in revealed]


def _faithful(words: str, shard: str, withheld: Sequence[str], public: Sequence[str]) -> bool:
    """Whether words may be told in a shard's place: they hold all its numbers, and nothing that is withheld."""
    if not _numbers(shard) <= _numbers(words) or any(_plain(other) in _plain(words) for other in withheld):
        return False
    # A number may be told if this shard or something public holds it, though a withheld shard holds it too.
    known = _numbers(" ".join([shard, *public]))
    return not (_numbers(words) & _numbers(" ".join(withheld))) - known


def _numbers(text: str) -> set[str]:
    return {number.replace(",", "") for number in _NUMBER.findall(text)}


def _plain(text: str) -> str:
    return " ".join(text.casefold().split()).rstrip(".")


@dataclass(frozen=True)
class ShardedTask:
    """A task's problems as a user tells them in shards, which only the user knows at first.

    Attributes:
      task: judges. Only its problems with shards are used.
      settings: see `statement`. `problems` returns the problems in the first setting, then in the second, and so on.
      limit: problems at most, from the first that has shards; None for all.
    """

    task: Task
    settings: tuple[str, ...]
    limit: int | None = None

    @property
    def name(self) -> str:
        return self.task.name

    def problems(self, split: str) -> list[Problem]:
        """The problems with shards, each with its setting's statement as the question.

        Raises:
          UserError: no problem of the split has shards, or one lacks a full statement that a setting needs.
        """
        # The limit is on instructions, and each of them is told in every setting.
        sharded = [problem for problem in self.task.problems(split) if problem.shards][: self.limit]
        if not sharded:
            raise UserError(
                f"{self.name} has no {split} problems with shards: sharded evaluation needs a sharded data set or an "
                "underspecified task"
            )
        return [dataclasses.replace(p, question=statement(p, setting)) for setting in self.settings for p in sharded]

    def verify(self, items: Sequence[tuple[Problem, str]]) -> list[Verdict]:
        return self.task.verify(items)

    def static_knowledge(self, problem: Problem) -> str:
        """The shards after the first, each in a numbered line."""
        return "\n".join(f"{number}: {shard}" for number, shard in enumerate(problem.shards, start=2))

    def dynamic_knowledge(self, problem: Problem, verdict: Verdict | None) -> str:
        """Nothing: a user is no verifier."""
        return ""

    def reply(self, problem: Problem, conversation: Sequence[Turn], verdict: Verdict) -> str:
        return self.task.reply(problem, conversation, verdict)

    def leaks(self, problem: Problem, teacher_text: str, public_text: str) -> bool:
        return self.task.leaks(problem, teacher_text, public_text)
