"""Sharded suites: the same instructions are told at once, shard by shard, and with reminders, each many times."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from sml_jax.common.errors import SEEDS, UserError, at_least, within
from sml_jax.dialogue.drops import check_not_all_dropped, not_dropped
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
    replies,
    revealed_by_turn,
    unrevealed_text,
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
    """A task's problems with shards, and the ways in which a user tells them to the student.

    Simulations are sampled with the run's `Sampling`, whose temperature should be 1.

    Attributes:
      task: its problems with shards in `split` are the instructions.
      settings: some of "full" (the whole statement in one turn), "concat" (all shards in one turn), "sharded" (one
        shard in each turn), "recap" (the same, and then all of them once more), "snowball" (each turn restates the
        earlier shards).
      users: who tells the shards in "sharded": "scripted" (the next one, verbatim), "language" (a frozen base model
        chooses one and says it in its own words; chat models only). The other settings are always scripted.
      problems: the largest number of instructions, from the first. simulations: dialogues about each of them.
      max_turns: the largest number of student turns; most dialogues end earlier, when all shards are told.
      split: "train" or "test".
      seed: of the dialogues; the same for every policy and setting.
      prompts: of the student's side; None for those of training.
      user_prompts: of the language-model user; their student's side is not used, see `prompts`.

    Raises:
      UserError: a value is not allowed.
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
        for name, given_values, known_values in (("settings", self.settings, SETTINGS), ("users", self.users, USERS)):
            if (
                not given_values
                or len(set(given_values)) < len(given_values)
                or not set(given_values) <= set(known_values)
            ):
                raise UserError(
                    f"sharded suite: {name} are {given_values}; take some of {', '.join(known_values)}, each once"
                )
        if not self.user_prompts.feedback_tag:
            raise UserError("sharded suite: user_prompts need a feedback_tag, within which the user's message stands")

    def arms(self) -> list[tuple[str, str]]:
        """The pairs (setting, user) to roll out. In settings of a single turn the user is "none"."""
        users = {"sharded": self.users, **dict.fromkeys(ONE_TURN, ("none",))}
        return [(setting, user) for setting in self.settings for user in users.get(setting, ("scripted",))]

    def view(self, *settings: str) -> ShardedTask:
        """The suite's task with its problems told in shards.

        Args:
          settings: the settings in which each problem is told; the suite's own if none is given.
        """
        return ShardedTask(self.task, settings or self.settings, self.problems)

    def rules(self, rules: DialogueRules, user: str, framing: Framing) -> DialogueRules:
        """The run's rules with this suite's turn limit, question injection off, and budgets that fit every user turn.

        Args:
          rules: the run's.
          user: "none", "scripted" or "language".
          framing: writes the user's turns as tokens.

        Returns:
          Rules for all of the suite's settings with this user.
        """
        problems = self.view("sharded").problems(self.split)

        def longest(texts: Iterable[str]) -> int:
            return max((tokens(text) for text in texts), default=0)

        def tokens(text: str) -> int:
            try:
                return len(framing.text(text))
            except Exception:  # the text's problem will be dropped when it is played
                return 0

        # One engine serves all settings, so the budgets are those of the longest turn in any of them.
        teacher_tokens = longest(reply for p in problems for s in self.settings for reply in replies(p, s))
        private_tokens = 0
        if user == "language":
            tag = self.user_prompts.feedback_tag
            longest_marked = longest(
                marked_shard(tag, 2 + i, shard) for p in problems for i, shard in enumerate(p.shards)
            )
            teacher_tokens = max(rules.teacher_tokens, teacher_tokens, longest_marked)
            private_tokens = longest(unrevealed_text(p, ()) for p in problems)
        return dataclasses.replace(
            rules,
            max_turns=min(self.max_turns, max(ShardUser(s).turns(p) for s in self.settings for p in problems)),
            teacher_tokens=max(teacher_tokens, 1),
            private_tokens=private_tokens,
            injection=None,
        )

    def teacher(self, setting: str, user: str, engine: Engine, params: dict) -> TeacherSpec:
        """Who tells the shards, in the teacher's place.

        Args:
          setting, user: one of `arms()`.
          engine, params: the model of a language-model user; a scripted user does not use them.
        """
        if user == "language":
            return LanguageUser(engine, params, tag=self.user_prompts.feedback_tag)
        return ShardUser(setting)

    def prompts_with(self, student: Prompts) -> Prompts:
        """The language-model user's prompts, with the student's prompt and system text taken from `student`."""
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
    progress: Callable[[float, int], None] | None = None,
    labeller: Labeller | None = None,
) -> tuple[dict[str, Any], tuple[Dialogue, ...], list[list[int]]]:
    """Plays `simulations` dialogues about each of the suite's instructions in one setting.

    Args:
      suite: the instructions, and how many simulations of each.
      setting, user: one of `suite.arms()`.
      framing: writes contexts as tokens.
      engine: the student's compiled kernels. params: parameters of the policy, which plays the student.
      teacher: what `suite.teacher` returns. rules: what `suite.rules` returns.
      progress: called in each round with (number of dialogues that are done, number of all), see `play`.
      labeller: labels the student's turns; None for the rules of `label_turn`.

    Returns:
      An entry of `eval.json` (its fields are in docs/sharded.md); the dialogues, ordered by instruction; and for each
      dialogue how many shards had been revealed when each student turn was taken.

    Raises:
      UserError: the suite has no instructions, or every dialogue was dropped.
    """
    sharded_task = suite.view(setting)
    problems = sharded_task.problems(suite.split)
    played = play(
        sharded_task,
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
    check_not_all_dropped(played.dialogues)
    counted_dialogues = not_dropped(played.dialogues)
    transcript = played.transcript
    # A dialogue's score is 100 or 0; NaN leaves a dropped one out of the means.
    scores = np.where(transcript.dropped, np.nan, 100.0 * (transcript.solved_turn > 0))
    problem_of = [problem for problem in problems for _ in range(suite.simulations)]
    revealed_by_dialogue = [
        revealed_by_turn(problem, setting, len(dialogue.verdicts))
        for problem, dialogue in zip(problem_of, played.dialogues, strict=True)
    ]
    labels = student_labels(counted_dialogues, labeller)
    entry = {
        **aptitude_summary(scores.reshape(len(problems), suite.simulations)),
        "dropped": len(played.dialogues) - len(counted_dialogues),
        "temperature": engine.sampling.temperature,
        "turns": float(transcript.turns[~transcript.dropped].mean()),
        # Instructions that have more shards than the turn limit lets the user tell.
        "cut_short": sum(ShardUser(setting).turns(problem) > rules.max_turns for problem in problems),
        **premature_summary(
            labels,
            [
                by_turn
                for by_turn, is_dropped in zip(revealed_by_dialogue, transcript.dropped, strict=True)
                if not is_dropped
            ],
            [
                1 + len(problem.shards)
                for problem, is_dropped in zip(problem_of, transcript.dropped, strict=True)
                if not is_dropped
            ],
        ),
        "rates": dialogue_statistics(played.dialogues),
        # The turns are labelled already, and a labeller may be a language model.
        "behaviour": behaviour_summary(counted_dialogues, lambda _: [label for by_turn in labels for label in by_turn]),
    }
    return entry, played.dialogues, revealed_by_dialogue
