"""From gin files to a job: what `sml-jax train` would run, told without weights, and without data if need be."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import gin

from sml_jax.dialogue.context_budget import TurnCosts, context_length
from sml_jax.dialogue.framing import Framing
from sml_jax.dialogue.rules import DialogueRules
from sml_jax.errors import UserError
from sml_jax.evaluate.suites import Suite
from sml_jax.gin_config.load import configured, load_experiment, parse_gin
from sml_jax.models.config import DecoderConfig
from sml_jax.models.hf.checkpoint import find_model, with_overrides
from sml_jax.models.hf.config import config_from_hf
from sml_jax.models.hf.load import read_hf_config
from sml_jax.plan.assumed import AROUND, AssumedFraming, AssumedTask
from sml_jax.plan.job import Dialogues, Job, Update
from sml_jax.run.base_models import Base, RandomWeights
from sml_jax.run.experiment import Experiment
from sml_jax.run.stages.corpus import Corpus
from sml_jax.run.stages.offline import Offline
from sml_jax.run.stages.online import Online
from sml_jax.tasks.problems.types import Task

_EXPERIMENT = f"{Experiment.__module__}.{Experiment.__qualname__}"
_SCRIPTED = ("retry", "scripted")
NOT_GIVEN = "not given: sml-jax plan assumes its size"


def read_job(files: Sequence[str], bindings: Sequence[str], prompt_tokens: int | None = None) -> Job:
    """Reads a recipe as `sml-jax train` does, and tells its work.

    Args:
      files, bindings: gin files and overrides. What they require may be left out (the model's folder, data): then the
        model's shape must be bound, and contexts are measured by `prompt_tokens`.
      prompt_tokens: tokens that open each side's context; None to measure the problems.

    Raises:
      UserError: anything wrong with the recipe, or too little to tell the shapes by.
    """
    missing = parse_gin(files, bindings, stand_in=NOT_GIVEN)
    if missing or prompt_tokens is not None:
        opening = 1024 if prompt_tokens is None else prompt_tokens
        experiment, framings, assumed = _without_data(missing, opening)
    else:
        experiment, _ = load_experiment(files, bindings)
        framing = experiment.chat.framing()
        framings = [(framing, suite) for suite in experiment.suites]
        return _job(experiment, framing, [(experiment.chat.framing(s.prompts), s) for s in experiment.suites], ())
    return _job(experiment, AssumedFraming(opening), framings, assumed)


def _without_data(
    missing: Sequence[str], opening: int
) -> tuple[Experiment, list[tuple[Framing, Suite]], tuple[str, ...]]:
    """The experiment with a stand-in for its tasks, which gin then does not make."""
    assumed = _stand_in(AssumedTask())
    try:
        experiment = configured(Experiment)()
    except TypeError as error:
        raise UserError(f"gin: {str(error).splitlines()[0]}") from error
    not_given = f" ({', '.join(missing)} not given)" if missing else ""
    told = (
        f"each side's context opens with {opening:,} tokens (--prompt_tokens), with {AROUND} around each utterance: no "
        f"problem was read{not_given}",
        *assumed,
    )
    return experiment, [(AssumedFraming(opening), suite) for suite in experiment.suites], told


def _stand_in(task: Task) -> tuple[str, ...]:
    """Binds `task` in the place of every task that would read data; returns what is left out of the plan."""
    left_out = []
    with gin.unlock_config():
        _bind("", _EXPERIMENT, "task", task)
        suites = _bound("suites")
        if isinstance(suites, list | tuple) and all(hasattr(suite, "scopes") for suite in suites):
            for suite in suites:
                _bind("/".join(suite.scopes), suite.selector, "task", task)
        elif suites:
            left_out.append("evaluation is left out: Experiment.suites is not written as a list of suites")
            _bind("", _EXPERIMENT, "suites", ())
        if _bound("sharded_suites"):
            left_out.append("sharded suites are left out")
            _bind("", _EXPERIMENT, "sharded_suites", ())
    return tuple(left_out)


def _bind(scope: str, selector: str, parameter: str, value: Any) -> None:
    gin.bind_parameter((scope, selector, parameter), value)


def _bound(parameter: str) -> Any:
    try:
        return gin.query_parameter(f"{_EXPERIMENT}.{parameter}")
    except ValueError:  # nothing binds it
        return ()


def _job(
    experiment: Experiment,
    framing: Framing,
    suites: Sequence[tuple[Framing, Suite]],
    assumed: tuple[str, ...],
) -> Job:
    run = experiment
    config = _shape(run.base)
    stages: list[tuple[Dialogues | None, Update | None]] = []
    for stage in run.stages:
        if isinstance(stage, Corpus):
            text = Update(stage.name, stage.optimizer, None, stage.tokens // stage.buckets[-1], stage.buckets[-1], 1, 1)
            stages.append((None, dataclasses.replace(text, dialogues=text.micro_batch_size)))
        elif isinstance(stage, Online | Offline):
            rules = run.rules if stage.max_turns is None else dataclasses.replace(run.rules, max_turns=stage.max_turns)
            if isinstance(stage, Offline):
                rules = dataclasses.replace(rules, injection=stage.injection)
                number = stage.problems * stage.samples
                trained, steps, loss = number * stage.epochs, stage.epochs * -(-number // stage.batch), None
            else:
                number = trained = stage.problems_per_step * stage.group_size
                steps, loss = 1, stage.loss
            rolled = _dialogues(stage.name, framing, run.task, "train", rules, number, run.teacher_arm)
            longest = stage.buckets[-1] if stage.buckets else rolled.length
            update = Update(stage.name, stage.optimizer, loss, stage.micro_batch_size, longest, trained, steps)
            stages.append((rolled, update))
        else:
            raise UserError(f"plan: a stage of kind {type(stage).__name__} is not known to it: leave it out")
    evaluated = [
        _dialogues(
            f"evaluation, {suite.max_turns} turns",
            own,
            suite.task,
            suite.split,
            suite.rules(run.rules),
            suite.problems,
            next((arm for arm in suite.arms if arm not in _SCRIPTED), suite.arms[0]),
        )
        for own, suite in suites
    ]
    if not stages and not evaluated:
        raise UserError("plan: the recipe has neither stages nor suites")
    longest_of_all = max((d.length for d in [*evaluated, *(d for d, _ in stages if d)]), default=0)
    if longest_of_all > config.max_length:
        raise UserError(
            f"plan: contexts of {longest_of_all} tokens, but the model's max_length is {config.max_length}: fewer or "
            "shorter turns, a DialogueRules.max_context, a smaller --prompt_tokens, or a model made for more"
        )
    return Job(
        model=config,
        max_concurrent=run.max_concurrent,
        data=run.data,
        fsdp=run.fsdp,
        tensor=run.tensor,
        sampling=run.sampling,
        stages=tuple(stages),
        evaluation=max(evaluated, key=lambda d: d.length, default=None),
        assumptions=(*assumed, "every dialogue takes all its turns and is trained on"),
        rollout_mesh=run.rollout_mesh,
    )


def _dialogues(
    name: str, framing: Framing, task: Task, split: str, rules: DialogueRules, number: int, arm: str
) -> Dialogues:
    """Dialogues under these rules, as long as the longest problem makes them."""
    problems = list(task.problems(split))
    steps = TurnCosts.under(framing, rules)
    openings = [
        (
            len(framing.student_opening(problem.question)),
            len(framing.teacher_opening(problem.question, task.static_knowledge(problem))),
        )
        for problem in problems[:256]  # enough for how long they are; the context's length is of all of them
    ]
    return Dialogues(
        name=name,
        length=context_length(framing, task, problems, rules),
        number=number,
        turns=rules.max_turns,
        student_tokens=rules.student_tokens,
        teacher_tokens=rules.teacher_tokens,
        student_opening=max(student for student, _ in openings),
        teacher_opening=max(teacher for _, teacher in openings),
        student_reply=steps.student_reply,
        teacher_turn=steps.teacher_turn + steps.teacher_reply - rules.teacher_tokens,
        teacher=arm not in _SCRIPTED,
        writer=rules.injection is not None,
        max_rewind=steps.max_rewind,
    )


def _shape(base: Base) -> DecoderConfig:
    """The shape of the base with its adapters, read without its weights."""
    if isinstance(base, RandomWeights):
        return dataclasses.replace(base.config, lora=base.lora)
    if base.config is not None:
        config = with_overrides(base.config, base.overrides)
    elif base.path == NOT_GIVEN:
        raise UserError("plan: the model's shape is not known: give a gin/models file before the recipe, or the model")
    else:
        folder, form = find_model(base.path)
        if form == "hugging-face":
            found = config_from_hf(read_hf_config(folder))
        else:
            found = DecoderConfig.from_json((folder / "model.json").read_text(encoding="utf-8"))
        config = with_overrides(found, base.overrides)
    return dataclasses.replace(config, lora=base.lora)
