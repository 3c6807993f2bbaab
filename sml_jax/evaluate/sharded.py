"""Sharded suites: the same instructions told at once, shard by shard, and with reminders, each many times."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from sml_jax.common.errors import SEEDS, UserError, at_least, within
from sml_jax.dialogue.drops import check_some_kept, kept
from sml_jax.dialogue.framing import Framing
from sml_jax.dialogue.prompts import Prompts
from sml_jax.dialogue.rollout import play
from sml_jax.dialogue.rules import DialogueRules
from sml_jax.dialogue.sharded import (
    ONE_TURN,
    SETTINGS,
    LanguageUser,
    ShardedTask,
    ShardUser,
    marked_shard,
    note,
    replies,
    revealed_by_turn,
)
from sml_jax.dialogue.statistics import dialogue_statistics
from sml_jax.dialogue.teacher import TeacherSpec
from sml_jax.dialogue.transcript import Dialogue
from sml_jax.engine.engine import Engine
from sml_jax.evaluate.labels import Labeller, behaviour_summary, student_labels
from sml_jax.evaluate.sharded_statistics import aptitude_summary, premature_summary
from sml_jax.tasks.problems.types import Task

USERS = ("scripted", "language")
SHARDED_KEY = "sharded_suites"  # in eval.json, beside the names of the suites


@dataclass(frozen=True)
class ShardedSuite:
    """What to evaluate. Simulations are drawn at the run's sampling, which should be of temperature 1.

    Attributes:
      task: whose problems with shards in `split` are the instructions.
      settings: of "full" (the whole statement in one turn), "concat" (all shards in one turn), "sharded" (a shard a
        turn), "recap" (then all of them once more), "snowball" (each turn restates the earlier shards).
      users: who tells the shards in "sharded": "scripted" (the next one, verbatim), "language" (a frozen base model
        chooses one and says it in its own words; chat models only). The other settings are always scripted.
      problems: instructions at most, from the first. simulations: of each.
      max_turns: student turns at most; the shards end most dialogues earlier.
      seed: of the dialogues; the same for every policy and setting.
      prompts: of the student's side; None for those of training.
      user_prompts: of the language-model user's side; the student's side is that of `prompts`.
    """

    task: Task
    settings: tuple[str, ...] = SETTINGS
    users: tuple[str, ...] = ("scripted",)
    problems: int = 100
    simulations: int = 10
    max_turns: int = 12
    split: str = "test"
    seed: int = 12_345
    prompts: Prompts | None = None
    user_prompts: Prompts = Prompts(
        teacher="user_math", says="user_hears", verifier="user_reads", feedback_tag="message"
    )

    def __post_init__(self) -> None:
        at_least(self, problems=1, simulations=1, max_turns=1)
        within(self, seed=SEEDS)
        for name, given, known in (("settings", self.settings, SETTINGS), ("users", self.users, USERS)):
            if not given or len(set(given)) < len(given) or any(one not in known for one in given):
                raise UserError(f"sharded suite: {name} are {given}; take some of {', '.join(known)}, each once")
        if not self.user_prompts.feedback_tag:
            raise UserError("sharded suite: user_prompts need a feedback_tag, within which the user's message stands")

    def arms(self) -> list[tuple[str, str]]:
        """(setting, user) of each rollout; the user of a setting of one turn is "none"."""
        users = {"sharded": self.users, **dict.fromkeys(ONE_TURN, ("none",))}
        return [(setting, user) for setting in self.settings for user in users.get(setting, ("scripted",))]

    def view(self, *settings: str) -> ShardedTask:
        """The task as its user tells it in these settings, or in all of the suite's."""
        return ShardedTask(self.task, settings or self.settings, self.problems)

    def rules(self, rules: DialogueRules, user: str, framing: Framing) -> DialogueRules:
        """The run's rules with this suite's turns, nobody putting questions in, and room for every user turn."""
        problems = self.view("sharded").problems(self.split)

        def longest(texts: Iterable[str]) -> int:
            return max((tokens(text) for text in texts), default=0)

        def tokens(text: str) -> int:
            try:
                return len(framing.text(text))
            except Exception:  # the text's problem will be dropped when it is played
                return 0

        said, private = longest(reply for p in problems for s in self.settings for reply in replies(p, s)), 0
        if user == "language":
            tag = self.user_prompts.feedback_tag
            marked = longest(marked_shard(tag, 2 + i, shard) for p in problems for i, shard in enumerate(p.shards))
            said = max(rules.teacher_tokens, said, marked)
            private = longest(note(p, ()) for p in problems)
        return dataclasses.replace(
            rules,
            max_turns=min(self.max_turns, max(ShardUser(s).turns(p) for s in self.settings for p in problems)),
            teacher_tokens=max(said, 1),
            private_tokens=private,
            injection=None,
        )

    def teacher(self, setting: str, user: str, engine: Engine, params: dict) -> TeacherSpec:
        """Who tells the shards; `engine` and `params` are of the frozen model that a language-model user is."""
        if user == "language":
            return LanguageUser(engine, params, tag=self.user_prompts.feedback_tag)
        return ShardUser(setting)

    def prompts_with(self, student: Prompts) -> Prompts:
        """The user's prompts, with the student's side from others."""
        return dataclasses.replace(self.user_prompts, student=student.student, student_system=student.student_system)


def evaluate_sharded(
    suite: ShardedSuite,
    setting: str,
    user: str,
    framing: Framing,
    engine: Engine,
    params: dict,
    teacher: TeacherSpec,
    rules: DialogueRules,
    progress: Callable[[int, int], None] | None = None,
    labeller: Labeller | None = None,
) -> tuple[dict[str, Any], tuple[Dialogue, ...], list[list[int]]]:
    """Plays `simulations` dialogues about each of the suite's instructions in one setting.

    Args:
      setting, user: of `suite.arms()`. teacher: `suite.teacher(...)`. framing: how contexts are written. engine: the
        student's. params: the policy's. rules: `suite.rules(...)`. labeller: sorts the student's turns; None for the
        rules.

    Returns:
      An entry of `eval.json` (docs/sharded.md), the dialogues (instruction by instruction), and for each of them how
      many shards stood revealed when each student turn was taken.
    """
    view = suite.view(setting)
    problems = view.problems(suite.split)
    played = play(
        view,
        problems,
        framing,
        engine,
        params,
        teacher,
        rules,
        seed=suite.seed,
        group_size=suite.simulations,
        arm=setting,
        progress=progress,
    )
    check_some_kept(played.dialogues)
    counted = kept(played.dialogues)
    script = played.transcript
    scores = np.where(script.dropped, np.nan, 100.0 * (script.solved_turn > 0))
    told = [problem for problem in problems for _ in range(suite.simulations)]
    revealed = [
        revealed_by_turn(problem, setting, len(dialogue.verdicts))
        for problem, dialogue in zip(told, played.dialogues, strict=True)
    ]
    labels = student_labels(counted, labeller)
    entry = {
        **aptitude_summary(scores.reshape(len(problems), suite.simulations)),
        "dropped": len(played.dialogues) - len(counted),
        "temperature": engine.sampling.temperature,
        "turns": float(script.turns[~script.dropped].mean()),
        "cut_short": sum(ShardUser(setting).turns(problem) > rules.max_turns for problem in problems),
        **premature_summary(
            labels,
            [by_turn for by_turn, out in zip(revealed, script.dropped, strict=True) if not out],
            [1 + len(problem.shards) for problem, out in zip(told, script.dropped, strict=True) if not out],
        ),
        "rates": dialogue_statistics(played.dialogues),
        "behaviour": behaviour_summary(counted, lambda _: [label for each in labels for label in each]),
    }
    return entry, played.dialogues, revealed
