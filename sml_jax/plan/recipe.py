"""From gin files to a job: what `sml-jax train` would run, told without weights and, where need be, without data."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import gin

from sml_jax.common.errors import UserError
from sml_jax.dialogue.context_budget import TurnCosts, context_length
from sml_jax.dialogue.framing import Framing
from sml_jax.dialogue.rules import DialogueRules
from sml_jax.dialogue.teacher import HasOwnEngine, TeacherSpec
from sml_jax.engine.sampling import Sampling
from sml_jax.evaluate.suites import Suite
from sml_jax.gin_config.load import configured, load_experiment, parse_gin
from sml_jax.models.config import DecoderConfig
from sml_jax.plan.assumed import UTTERANCE_MARGIN, AssumedFraming, AssumedTask
from sml_jax.plan.job import Dialogues, Job, Update
from sml_jax.run.base_models import BaseModel
from sml_jax.run.experiment import Experiment
from sml_jax.run.stage import Stage
from sml_jax.run.workload import MAX_CONCURRENT
from sml_jax.tasks.problems.types import Task

_EXPERIMENT = f"{Experiment.__module__}.{Experiment.__qualname__}"
_PROBLEMS_MEASURED = 256  # openings of this many problems tell how long they are
NOT_GIVEN = "not given: sml-jax plan assumes its size"


def read_job(files: Sequence[str], bindings: Sequence[str], prompt_tokens: int | None = None) -> Job:
    """Reads a recipe as `sml-jax train` does, and returns the sizes of what it would run.

    Args:
      files: paths of gin files.
      bindings: gin bindings as text ("Experiment.data = 4"), which override the files. A required value that is a path
        (of the model, of data) may be missing. Then the model's shape must be bound, no problem is read, and every
        context is assumed to open with `prompt_tokens` tokens.
      prompt_tokens: number of tokens that open each side's context, instead of reading problems. None measures the
        recipe's problems, or assumes 1,024 where a required value is missing.

    Raises:
      UserError: the recipe has a mistake, has nothing to plan, or does not give the model's shape.
    """
    # Required values that are not bound get a stand-in, so that a recipe can be planned before its data is there.
    missing_values = parse_gin(files, bindings, stand_in=NOT_GIVEN)
    if not missing_values and prompt_tokens is None:
        experiment, _ = load_experiment(files, bindings)
        suites = [(experiment.chat.framing(suite.prompts), suite) for suite in experiment.suites]
        return _job(experiment, experiment.chat.framing(), suites, ())
    opening_tokens = 1024 if prompt_tokens is None else prompt_tokens
    experiment, assumptions = _without_data(missing_values, opening_tokens)
    framing = AssumedFraming(opening_tokens)
    return _job(experiment, framing, [(framing, suite) for suite in experiment.suites], assumptions)


def _without_data(missing: Sequence[str], opening: int) -> tuple[Experiment, tuple[str, ...]]:
    """(the experiment with a stand-in for its tasks, so that none reads data; the assumptions made, one sentence each).

    Args:
      missing: required values that the recipe does not bind.
      opening: assumed tokens that open a context.
    """
    left_out = _bind_tasks(AssumedTask())
    try:
        experiment = configured(Experiment)()
    except TypeError as error:
        raise UserError(f"gin: {str(error).splitlines()[0]}") from error
    not_given = f" ({', '.join(missing)} not given)" if missing else ""
    assumptions = (
        f"each side's context opens with {opening:,} tokens (--prompt_tokens), with {UTTERANCE_MARGIN} around each "
        f"utterance: no problem was read{not_given}",
        *left_out,
    )
    return experiment, assumptions


def _bind_tasks(task: Task) -> tuple[str, ...]:
    """Binds `task` in gin in the place of every task that would read data; returns what is left out of the plan."""
    left_out = []
    with gin.unlock_config():
        _bind("", _EXPERIMENT, "task", task)
        suites = _bound("suites")
        if isinstance(suites, list | tuple) and all(hasattr(suite, "scopes") for suite in suites):
            # A list of references to configured suites: each gets the task in its own scope.
            for suite in suites:
                _bind("/".join(suite.scopes), suite.selector, "task", task)
        elif suites:
            left_out.append("evaluation is left out: Experiment.suites is not written as a list of suites")
            _bind("", _EXPERIMENT, "suites", ())
        # The stand-in has no problem with shards, and sharded suites are about these alone.
        if _bound("sharded"):
            left_out.append("sharded suites are left out")
            _bind("", _EXPERIMENT, "sharded", ())
    return tuple(left_out)


def _bind(scope: str, selector: str, parameter: str, value: Any) -> None:
    """Binds a parameter in gin, over what the recipe binds."""
    gin.bind_parameter((scope, selector, parameter), value)


def _bound(parameter: str) -> Any:
    """What gin binds to a parameter of the experiment, unresolved; an empty tuple if nothing."""
    try:
        return gin.query_parameter(f"{_EXPERIMENT}.{parameter}")
    except ValueError:  # gin raises it where nothing is bound
        return ()


def _job(
    experiment: Experiment,
    framing: Framing,
    suites: Sequence[tuple[Framing, Suite]],
    assumptions: tuple[str, ...],
) -> Job:
    """The job of an experiment.

    Args:
      framing: of the training dialogues.
      suites: each with its dialogues' framing.
      assumptions: made so far.

    Raises:
      UserError: there is nothing to plan, or contexts are longer than the model's.
    """
    config = _model_config(experiment.base)
    stages = [_stage_work(experiment, framing, stage) for stage in experiment.stages]
    evaluations = [
        _dialogues(
            f"evaluation, {suite.max_turns} turns",
            suite_framing,
            suite.task,
            suite.split,
            suite.rules(experiment.rules),
            suite.problems,
            # An arm with a model as the teacher needs the most memory.
            suite.arms,
            experiment.sampling,
        )
        for suite_framing, suite in suites
    ]
    if not stages and not evaluations:
        raise UserError("plan: the recipe has neither stages nor suites")
    # A context longer than the model's would be an error of the run's, so it is one here.
    lengths = [dialogues.length for dialogues in [*evaluations, *(rollout for rollout, _ in stages if rollout)]]
    longest_context = max(lengths, default=0)
    if longest_context > config.max_length:
        raise UserError(
            f"plan: contexts of {longest_context} tokens, but the model's max_length is {config.max_length}: fewer or "
            "shorter turns, a DialogueRules.max_context, a smaller --prompt_tokens, or a model made for more"
        )
    return Job(
        model=config,
        max_concurrent=experiment.max_concurrent or MAX_CONCURRENT,
        data=experiment.data,
        fsdp=experiment.fsdp,
        tensor=experiment.tensor,
        sampling=experiment.sampling,
        stages=tuple(stages),
        evaluation=max(evaluations, key=lambda dialogues: dialogues.length, default=None),
        assumptions=(*assumptions, "every dialogue takes all its turns and is trained on"),
        rollout_mesh=experiment.rollout_mesh,
    )


def _stage_work(experiment: Experiment, framing: Framing, stage: Stage) -> tuple[Dialogues | None, Update | None]:
    """(rollout, update) of a stage from its `Stage.workload`; None for one that the stage lacks."""
    work = stage.workload(experiment.rules)
    rollout, update = None, None
    if work.rollout is not None:
        rollout = _dialogues(
            stage.name,
            framing,
            experiment.task,
            "train",
            work.rollout.rules,
            work.rollout.dialogues,
            [experiment.teacher],
            experiment.sampling,
        )
    if work.update is not None:
        length = work.update.longest_row
        if length is None:
            if rollout is None:
                raise UserError(
                    f"plan: {stage.name}.workload() gives an update without longest_row and no rollout whose contexts "
                    "could tell it: give one of them"
                )
            length = rollout.length
        update = Update(
            stage.name,
            work.update.optimizer,
            work.update.loss,
            work.update.micro_batch_size,
            length,
            work.update.dialogues,
            work.update.steps,
        )
    return rollout, update


def _dialogues(
    name: str,
    framing: Framing,
    task: Task,
    split: str,
    rules: DialogueRules,
    number: int,
    teachers: Sequence[TeacherSpec],
    sampling: Sampling,
) -> Dialogues:
    """`number` dialogues under these rules, each as long as the longest problem makes it.

    Args:
      teachers: one of them teaches; whatever any of them needs is counted.
      sampling: how tokens are sampled.
    """
    problems = list(task.problems(split))
    costs = TurnCosts.under(framing, rules)
    openings = [
        (
            len(framing.student_opening(problem.question)),
            len(framing.teacher_opening(problem.question, task.static_knowledge(problem))),
        )
        for problem in problems[:_PROBLEMS_MEASURED]
    ]
    return Dialogues(
        name=name,
        length=context_length(framing, task, problems, rules),  # of all problems
        number=number,
        turns=rules.max_turns,
        student_tokens=rules.student_tokens,
        teacher_tokens=rules.teacher_tokens,
        student_opening=max(student for student, _ in openings),
        teacher_opening=max(teacher for _, teacher in openings),
        student_reply=costs.student_reply,
        # The teacher's own reply is sampled, not given.
        teacher_turn=costs.teacher_turn + costs.teacher_reply - rules.teacher_tokens,
        teacher=any(teacher.runs_model for teacher in teachers),
        writer=rules.injection is not None,
        max_rewind=costs.max_rewind,
        own_engines={
            teacher.name: partial(teacher.own_engine, rules, sampling)
            for teacher in teachers
            if isinstance(teacher, HasOwnEngine)
        },
    )


def _model_config(base: BaseModel) -> DecoderConfig:
    """The shape of the base model with its adapters. Raises a UserError if neither it nor the model is given."""
    if base.config is None and base.path == NOT_GIVEN:
        raise UserError("plan: the model's shape is not known: give a gin/models file before the recipe, or the model")
    return base.model_config()
