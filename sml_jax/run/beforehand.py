"""What a run looks at before it loads a model: how code is confined, what teachers need, and problems held twice."""

from __future__ import annotations

from collections.abc import Sequence

from sml_jax.dialogue.teacher import ChecksBeforehand, TeacherSpec
from sml_jax.distributed.processes import run_on_primary
from sml_jax.evaluate.sharded import ShardedSuite
from sml_jax.evaluate.suites import Suite
from sml_jax.run.io.tracker import Tracker
from sml_jax.tasks.problems.overlap import check_overlap
from sml_jax.tasks.problems.types import RunsPrograms, Task


def print_protection(tasks: Sequence[Task]) -> None:
    """Prints how programs that a model wrote are confined.

    Args:
      tasks: of the run; those that run no programs are passed over.

    Raises:
      UserError: they would run without protection.
    """
    # Tasks that are confined alike say so once.
    for line in dict.fromkeys(task.protection() for task in tasks if isinstance(task, RunsPrograms)):
        print(line, flush=True)


def check_teachers(teachers: Sequence[TeacherSpec], suites: Sequence[Suite]) -> None:
    """Lets teachers, and those of suites, check what they need.

    Raises:
      UserError: something is missing.
    """
    for teacher in (*teachers, *(arm for suite in suites for arm in suite.arms)):
        if isinstance(teacher, ChecksBeforehand):
            # A key need only be where requests are sent from.
            run_on_primary(teacher.check)


def check_trackers(trackers: Sequence[Tracker]) -> None:
    """Lets trackers check what they need.

    Raises:
      UserError: something is missing.
    """
    for tracker in trackers:
        # Metrics are handed on by one process alone.
        run_on_primary(tracker.check)


def without_evaluated_problems(task: Task, suites: Sequence[Suite | ShardedSuite]) -> Task:
    """The task without those training problems that a suite evaluates on.

    Raises:
      UserError: nothing would be left to train on.
    """
    for split in dict.fromkeys(suite.split for suite in suites):
        task = check_overlap(task, [suite.task for suite in suites if suite.split == split], split)
    return task
