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
    """The user's first message: the whole problem in the settings "full" and "concat", else the first shard.

    Args:
      problem: its question is shard 1, its `shards` are the others, `full` is the whole statement.
      setting: one of `SETTINGS`.

    Raises:
      UserError: the setting is "full" and the problem has no full statement.
    """
    if setting == "full":
        if not problem.full:
            raise UserError(f"problem {problem.id} has no full statement: leave out the setting 'full'")
        return problem.full
    return bullets([problem.question, *problem.shards]) if setting == "concat" else problem.question


def replies(problem: Problem, setting: str) -> tuple[str, ...]:
    """The messages of a scripted user after the first one; message i comes after student turn i, counted from 1.

    Args:
      problem: its question is shard 1, its `shards` are the others.
      setting: "full" and "concat": there are none; "sharded": one shard a message, verbatim; "recap": the same, and at
        the end one message with all shards; "snowball": each message repeats all earlier shards and adds the next one.
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
    """The shards as one text, with a line "- SHARD" for each."""
    return "\n".join(f"- {shard}" for shard in shards)


def revealed_by_turn(problem: Problem, setting: str, turns: int) -> list[int]:
    """How many shards the user has revealed by the time the student takes each turn.

    A language-model user also reveals one shard in each message, so its counts are those of the setting "sharded".

    Args:
      problem: its question is shard 1, its `shards` are the others.
      setting: one of `SETTINGS`.
      turns: how many turns the student took.

    Returns:
      For each of `turns` turns the number of shards, the first included.
    """
    shard_count = 1 + len(problem.shards)
    revealed_at_first = shard_count if setting in ONE_TURN else 1
    return [min(revealed_at_first + turn, shard_count) for turn in range(turns)]


@dataclass(frozen=True)
class ShardUser(Script):
    """A scripted user in place of the teacher, who tells the problem's shards and never whether an attempt is right.

    After each student turn but the last it says the next one of the messages that this module's function `replies`
    makes of the shards, whatever the student said.

    Attributes:
      setting: one of `SETTINGS`; it says how the shards are laid out in messages, see `replies`.
      name: the arm's name.
    """

    setting: str
    name: str = "scripted"
    threads = 0
    guarded = False  # all that it says is the problem's own statement

    def reply(self, task: Task, problem: Problem, conversation: Sequence[Turn], verdict: Verdict) -> str:
        """The next message of `replies`, whatever the student said."""
        # After the first student turn comes the first reply, and so on.
        return replies(problem, self.setting)[sum(turn.role == "student" for turn in conversation) - 1]

    def turns(self, problem: Problem) -> int:
        """The number of student turns: one after each of the user's messages, the first included."""
        return 1 + len(replies(problem, self.setting))


@dataclass(frozen=True)
class LanguageUser(LanguageTeacher):
    """A language model as a user, who reveals one shard in each turn, in an order and in words of its choice.

    It knows the shards by their numbers (from 2; shard 1 is the question) and not the answer, and reads which of them
    are not revealed yet. It marks the message to the student, which begins with the number of its shard:
    `<message>3: ...</message>`. A message is refused if it names no unrevealed shard, omits a number that the shard
    contains, or contains the text of another unrevealed shard or a number of one. A refused message is sampled again,
    and in the end replaced by the next unrevealed shard verbatim.

    Attributes:
      tag: the name of the marked block; it must be the `feedback_tag` of the prompts in use.
    """

    tag: str = "message"

    def turns(self, problem: Problem) -> int:
        """The number of student turns: one for each shard."""
        return 1 + len(problem.shards)

    def reads(self, task: Task, problem: Problem, verdict: Verdict | None, revealed: Sequence[int]) -> str:
        """The numbers of the shards not revealed yet, such as "2, 4"; "" if none is left.

        The question is shard 1, so they start at 2.
        """
        return unrevealed_text(problem, revealed)

    def message(self, problem: Problem, marked: str, revealed: Sequence[int]) -> Message | None:
        """The message without its number, and the number as its fact; None if it must be refused."""
        match = _MESSAGE.fullmatch(marked.strip())
        if match is None:
            return None
        number, words, numbers_left = int(match[1]), match[2].strip(), unrevealed(problem, revealed)
        if number not in numbers_left:
            return None
        # What stands in the question or was told before may be said again; the rest may not be told in advance.
        withheld_shards = [problem.shards[other - 2] for other in numbers_left if other != number]
        public_texts = [problem.question, *(problem.shards[other - 2] for other in revealed)]
        return (
            Message(words, number)
            if _faithful(words, problem.shards[number - 2], withheld_shards, public_texts)
            else None
        )

    def replacement(self, problem: Problem, revealed: Sequence[int], redaction: str) -> Message:
        """The first unrevealed shard, verbatim."""
        # A dialogue has a turn for each shard, so one is always left.
        number = unrevealed(problem, revealed)[0]
        shard = problem.shards[number - 2]
        return Message(shard, number, marked_shard(self.tag, number, shard))


def marked_shard(tag: str, number: int, words: str) -> str:
    """A message in the form that a language-model user must write: `<TAG>NUMBER: WORDS</TAG>`.

    Args:
      tag: the name of the marked block.
      number: of the shard.
      words: what the student is told.
    """
    return f"<{tag}>{number}: {words}</{tag}>"


def unrevealed_text(problem: Problem, revealed: Sequence[int]) -> str:
    """The numbers of the unrevealed shards as a text such as "2, 4", for a language-model user to read.

    Args:
      problem: its `shards` have the numbers from 2 on.
      revealed: numbers of the shards revealed so far.
    """
    return ", ".join(str(number) for number in unrevealed(problem, revealed))


def unrevealed(problem: Problem, revealed: Sequence[int]) -> list[int]:
    """The numbers of the shards that are not revealed yet, rising.

    Args:
      problem: its question is shard 1, its `shards` have the numbers from 2 on.
      revealed: numbers of the shards revealed so far; shard 1 need not be among them.
    """
    return [number for number in range(2, 2 + len(problem.shards)) if number not in revealed]


def _faithful(words: str, shard: str, withheld: Sequence[str], public: Sequence[str]) -> bool:
    """Whether a user may tell a shard in these words: they hold all its numbers, and nothing that is withheld.

    Args:
      words: what the user would say.
      shard: the shard that the words stand for.
      withheld: the other unrevealed shards.
      public: the question and the shards that were told before.
    """
    if not _numbers(shard) <= _numbers(words) or any(
        _plain(withheld_text) in _plain(words) for withheld_text in withheld
    ):
        return False
    # A number may be told if this shard or something public holds it, though a withheld shard holds it too.
    known_numbers = _numbers(" ".join([shard, *public]))
    return not (_numbers(words) & _numbers(" ".join(withheld))) - known_numbers


def _numbers(text: str) -> set[str]:
    """The numbers in a text, without commas."""
    return {number.replace(",", "") for number in _NUMBER.findall(text)}


def _plain(text: str) -> str:
    """A text in lower case, with single spaces and no full stop at its end."""
    return " ".join(text.casefold().split()).rstrip(".")


@dataclass(frozen=True)
class ShardedTask:
    """A task whose problems a user tells in shards. At first only the user knows all of them.

    Attributes:
      task: the wrapped task, which verifies answers. Only its problems with shards are used.
      settings: some of `SETTINGS`. `problems` returns the problems in the first setting, then in the second, and so on.
      limit: largest number of problems with shards, counted from the first; None for all.
    """

    task: Task
    settings: tuple[str, ...]
    limit: int | None = None

    @property
    def name(self) -> str:
        """The wrapped task's name."""
        return self.task.name

    def problems(self, split: str) -> list[Problem]:
        """The problems with shards, in each of the settings, with the user's first message as the question.

        Args:
          split: "train" or "test".

        Raises:
          UserError: no problem of the split has shards, or one lacks the full statement that the setting "full" needs.
        """
        # The limit is on instructions, and each of them is told in every setting.
        problems_with_shards = [problem for problem in self.task.problems(split) if problem.shards][: self.limit]
        if not problems_with_shards:
            raise UserError(
                f"{self.name} has no {split} problems with shards: sharded evaluation needs a sharded data set or an "
                "underspecified task"
            )
        return [
            dataclasses.replace(p, question=statement(p, setting))
            for setting in self.settings
            for p in problems_with_shards
        ]

    def verify(self, items: Sequence[tuple[Problem, str]]) -> list[Verdict]:
        """The wrapped task's verdicts on (problem, utterance) pairs, in order."""
        return self.task.verify(items)

    def static_knowledge(self, problem: Problem) -> str:
        """The shards after the first as a text with a line "NUMBER: SHARD" for each, from number 2 on."""
        return "\n".join(f"{number}: {shard}" for number, shard in enumerate(problem.shards, start=2))

    def dynamic_knowledge(self, problem: Problem, verdict: Verdict | None) -> str:
        """Always "": a user does not learn the verifier's words."""
        return ""

    def reply(self, problem: Problem, conversation: Sequence[Turn], verdict: Verdict) -> str:
        """What the wrapped task's scripted teacher says to the verdict; it reveals no shard."""
        return self.task.reply(problem, conversation, verdict)

    def leaks(self, problem: Problem, teacher_text: str, public_text: str) -> bool:
        """Whether the wrapped task finds that the teacher's text gives the answer away."""
        return self.task.leaks(problem, teacher_text, public_text)
