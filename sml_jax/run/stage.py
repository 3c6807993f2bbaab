"""What a stage of a run is: the protocol that the run, its bookkeeper and `sml-jax plan` rely on."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from sml_jax.common.errors import UserError
from sml_jax.dialogue.rules import DialogueRules
from sml_jax.run.context import RunContext
from sml_jax.run.score import StepScore
from sml_jax.run.state import RunState
from sml_jax.run.workload import StageWork


@runtime_checkable
class Stage(Protocol):
    """One stage of a run: takes the run's state and returns a new one.

    A stage whose steps do not depend on how many there are may name the setting that says how many, in a class
    attribute `length_setting` such as "steps". A run that is over can then be given more of them.

    Attributes:
      name: of the stage, in logs and names of files.
      score: the metric by which its steps are scored. Every step that the stage reports must have it.
    """

    @property
    def name(self) -> str:
        """The stage's name, in logs and names of files."""
        ...

    @property
    def score(self) -> StepScore:
        """The metric by which the stage's steps are scored."""
        ...

    def check(self, context: RunContext) -> None:
        """Checks, before any work begins, that the stage can run in this context.

        Raises:
          UserError: it cannot, such as for dialogues that do not fit the model.
        """
        ...

    def workload(self, rules: DialogueRules) -> StageWork:
        """The rollout and the updates that the stage runs (None for one that it lacks), for `sml-jax plan` to compile.

        Args:
          rules: of the run's training dialogues.
        """
        ...

    def run(self, context: RunContext, state: RunState) -> RunState:
        """Trains step by step.

        A stage calls `context.bookkeeper.begin` first, and then reports each step to `context.bookkeeper.step_done`,
        which counts it. It must continue after `state.position.step` steps, since a run that was stopped comes back
        with steps done.

        Args:
          context: what stays the same over the whole run.
          state: what the previous stage returned, or what was restored from a checkpoint of this stage.

        Returns:
          The state after the last step.
        """
        ...


# By member of the protocol: whether it is a method.
_MEMBERS = {"name": False, "score": False, "check": True, "workload": True, "run": True}


def check_stage(stage: Any) -> None:
    """Checks that `stage` has all members of the protocol `Stage`.

    Raises:
      UserError: a member is missing, or `score` is no StepScore; the error names it.
    """
    # A protocol's own isinstance would say that something is missing, and not what.
    missing_members = [
        f"{member}()" if is_method else member
        for member, is_method in _MEMBERS.items()
        if not hasattr(stage, member) or (is_method and not callable(getattr(stage, member)))
    ]
    if missing_members:
        raise UserError(
            f"experiment: the stage {type(stage).__name__} has no {', no '.join(missing_members)}: a stage has "
            "all members of sml_jax.run.stage.Stage"
        )
    # A score of another kind would be found out after the first step.
    if not isinstance(stage.score, StepScore):
        raise UserError(
            f"experiment: the score of the stage {type(stage).__name__} is {stage.score!r}: give a "
            "sml_jax.run.score.StepScore, which names the metric that its steps are scored by"
        )
