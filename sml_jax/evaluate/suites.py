"""Suites: a task's held-out problems, the arms that are compared on them, and how to measure a policy there."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sml_jax.common.errors import SEEDS, UserError, at_least, within
from sml_jax.dialogue.drops import check_not_all_dropped, not_dropped
from sml_jax.dialogue.framing import Framing
from sml_jax.dialogue.prompts import Prompts
from sml_jax.dialogue.rollout import play
from sml_jax.dialogue.rules import DialogueRules
from sml_jax.dialogue.statistics import dialogue_statistics
from sml_jax.dialogue.teacher import TeacherSpec
from sml_jax.dialogue.teacher_store import TeacherStore
from sml_jax.dialogue.teachers import Feedback, Retry, check_arms
from sml_jax.dialogue.transcript import Dialogue
from sml_jax.engine.engine import Engine
from sml_jax.evaluate.answer_loglik import answer_loglik_summary, answer_logliks
from sml_jax.evaluate.flips import flip_summary
from sml_jax.evaluate.labels import Labeller, behaviour_summary
from sml_jax.evaluate.statistics import success_summary
from sml_jax.tasks.problems.types import HasAnswerFormat, Problem, Task

_log = logging.getLogger(__name__)
VALIDATION_PROBLEMS = 64  # few enough that evaluating while training takes little of its time


@dataclass(frozen=True)
class Suite:
    """A task's problems, and the teachers that a policy is evaluated with.

    Attributes:
      task: the problems of its `split` are used.
      arms: the teachers, each with a different name; a policy is played with each of them. See `dialogue.teachers`.
      problems: the largest number of problems.
      first_problem: the number of the first one, from 0.
      max_turns: the largest number of student turns (10 in the paper, which is longer than in training).
      split: "train" or "test".
      seed: of the dialogues; the same for every policy and arm.
      prompts: of this suite's dialogues; None for those of training.
      answer_loglik: whether the gold answer's likelihood after each teacher turn is measured, see `answer_loglik`. A
        task that cannot write its gold answers as utterances (such as code) is left out.

    Raises:
      UserError: a value is not allowed.
    """

    task: Task
    arms: tuple[TeacherSpec, ...] = (Feedback(), Retry())
    problems: int = 256
    first_problem: int = 0
    max_turns: int = 10
    split: str = "test"
    seed: int = 12_345
    prompts: Prompts | None = None
    answer_loglik: bool = True

    def __post_init__(self) -> None:
        at_least(self, problems=1, first_problem=0, max_turns=1)
        within(self, seed=SEEDS)
        check_arms(self.arms, "suite: arms")

    def chosen_problems(self) -> Sequence[Problem]:
        """The problems that the dialogues are about; fewer than `problems` if the split has no more."""
        return self.task.problems(self.split)[self.first_problem : self.first_problem + self.problems]

    def rules(self, rules: DialogueRules) -> DialogueRules:
        """The run's rules with this suite's turn limit and question injection off."""
        # Q-priming makes training data: in evaluation the student has to ask by itself.
        return dataclasses.replace(rules, max_turns=self.max_turns, injection=None)


def validation_suite(suite: Suite, max_turns: int) -> Suite | None:
    """A small suite to evaluate with while a model is trained, made of one that is evaluated after training.

    Its problems come after those of `suite`, so that the best model is not chosen by the problems that it is measured
    on. If the split has too few for that, they are its last ones.

    Args:
      suite: its task, prompts, seed, and first arm that is not a person are taken.
      max_turns: of the dialogues.

    Returns:
      The suite; None if only people play in `suite`.
    """
    arms = [arm for arm in suite.arms if not getattr(arm, "asks_person", False)]
    available_count = len(suite.task.problems(suite.split))
    problems = min(VALIDATION_PROBLEMS, available_count)
    if not arms or not problems:
        return None
    first_problem = min(suite.first_problem + suite.problems, available_count - problems)
    return dataclasses.replace(
        suite, arms=(arms[0],), problems=problems, first_problem=first_problem, max_turns=max_turns
    )


def check_suites(suites: Sequence[Suite]) -> None:
    """Checks suites that are evaluated together, and logs a warning for one with fewer problems than it asks for.

    Args:
      suites: of one evaluation.

    Raises:
      UserError: two suites have tasks of the same name, which names their results; or a suite has no problems.
    """
    names = [suite.task.name for suite in suites]
    for suite, name in zip(suites, names, strict=True):
        if names.count(name) > 1:
            raise UserError(f"two suites are of the task {name}, and eval.json has room for one: give each its own")
        check_problems(suite)


def check_problems(suite: Suite) -> None:
    """Checks that a suite has problems, and logs a warning if it has fewer than it asks for.

    Raises:
      UserError: it has none.
    """
    name, available_count = suite.task.name, len(suite.chosen_problems())
    if not available_count:
        after = f" after the first {suite.first_problem}" if suite.first_problem else ""
        raise UserError(f"{name} has no {suite.split} problems{after} to evaluate on: give it some, or another split")
    if available_count < suite.problems:
        _log.warning("suite %s: %d problems are asked for, but there are %d", name, suite.problems, available_count)


def evaluate_arm(
    suite: Suite,
    arm: TeacherSpec,
    framing: Framing,
    engine: Engine,
    params: dict,
    initial_params: dict,
    rules: DialogueRules,
    progress: Callable[[float, int], None] | None = None,
    labeller: Labeller | None = None,
    store: TeacherStore | None = None,
) -> tuple[dict[str, Any], tuple[Dialogue, ...]]:
    """Plays one dialogue about each of the suite's problems, with one teacher.

    Args:
      suite: the problems.
      arm: who answers the student.
      framing: writes contexts as tokens.
      engine: the student's compiled kernels. params: parameters of the policy, which plays the student. initial_params:
        parameters of the frozen initial student, which some teachers use.
      rules: the run's; the suite changes what it needs to.
      progress: called in each round with (number of dialogues that are done, number of all), see `play`.
      labeller: labels the student's turns; None for the rules of `label_turn`.
      store: what the run keeps for its teachers; None for nothing.

    Returns:
      An entry of `eval.json`, and the dialogues with dropped ones among them. The entry holds success by turn with 95 %
      Wilson intervals, gains, `rates` and `behaviour`, all over the `n` dialogues that were not dropped, and the number
      of those that were, `dropped`. Where dialogues went on after a
      correct answer, `flips` says what became of it (`flip_summary`); the gold answer's likelihood is in the fields of
      `answer_loglik_summary`.

    Raises:
      UserError: the suite has no problems.
      AllDroppedError: every dialogue was dropped.
    """
    problems = list(suite.chosen_problems())
    if not problems:
        raise UserError(f"{suite.task.name} has no {suite.split} problems to evaluate on")
    played = play(
        suite.task,
        problems,
        framing,
        engine,
        params,
        arm,
        suite.rules(rules),
        seed=suite.seed,
        initial_params=initial_params,
        store=store,
        progress=progress,
    )
    # With a single problem the rollout itself accepts that nothing is left, but an entry needs a dialogue.
    check_not_all_dropped(played.dialogues)
    counted_dialogues = not_dropped(played.dialogues)
    entry = {
        **success_summary([dialogue.solved_turn for dialogue in counted_dialogues], suite.max_turns),
        "dropped": len(played.dialogues) - len(counted_dialogues),
        "rates": dialogue_statistics(played.dialogues),
        "behaviour": behaviour_summary(counted_dialogues, labeller),
    }
    flips = flip_summary(counted_dialogues)
    if flips:
        entry["flips"] = flips
    if suite.answer_loglik and isinstance(suite.task, HasAnswerFormat):
        pairs = zip(problems, played.dialogues, strict=True)
        counted_problems = [problem for problem, dialogue in pairs if not dialogue.dropped]
        logliks = answer_logliks(
            suite.task, counted_problems, counted_dialogues, framing, engine, params, suite.max_turns
        )
        entry |= answer_loglik_summary(logliks)
        return entry, _with_logliks(played.dialogues, logliks)
    return entry, played.dialogues


def _with_logliks(dialogues: Sequence[Dialogue], logliks: np.ndarray) -> tuple[Dialogue, ...]:
    """The dialogues with the likelihoods that were measured in them: a row for each that was not dropped, in order."""
    rows = iter(logliks)
    return tuple(
        dialogue if dialogue.dropped else dataclasses.replace(dialogue, answer_loglik=_measured(dialogue, next(rows)))
        for dialogue in dialogues
    )


def _measured(dialogue: Dialogue, by_turn: np.ndarray) -> tuple[float, ...]:
    """The numbers of one dialogue, without the turns that it does not have."""
    return tuple(by_turn[: len(dialogue.turn_starts)].tolist())
