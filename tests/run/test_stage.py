"""What a stage must have, said before any work begins, and how its steps are scored."""

from dataclasses import dataclass
from typing import Any

import optax
import pytest
from run_toys import toy_experiment

from sml_jax.common.errors import UserError
from sml_jax.dialogue.rules import DialogueRules
from sml_jax.run.context import RunContext
from sml_jax.run.score import StepScore
from sml_jax.run.stage import Stage, check_stage
from sml_jax.run.state import RunState
from sml_jax.run.workload import StageWork


@dataclass(frozen=True)
class Counting:
    """A stage of a user's own: its steps leave the parameters as they are and report their number."""

    steps: int = 3
    reported: str = "count"
    score: Any = StepScore("count", higher_is_better=False)
    name: str = "counting"

    def check(self, context: RunContext) -> None:
        pass

    def workload(self, rules: DialogueRules) -> StageWork:
        return StageWork()

    def run(self, context: RunContext, state: RunState) -> RunState:
        state = context.bookkeeper.begin(state, optax.sgd(0.1))
        while (step := state.position.step) < self.steps:
            metrics = {self.reported: float(step)}
            state = context.bookkeeper.step_done(state, metrics, last=step + 1 == self.steps)
        return state


def test_a_stage_of_ones_own_in_a_run(tokenizer, tmp_path):
    assert isinstance(Counting(), Stage)
    check_stage(Counting())
    experiment = toy_experiment(tokenizer, [Counting(), Counting(steps=2, name="again")])
    experiment.train(tmp_path, "")
    lines = [line.split('"stage": ')[1] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines == [f'"counting", "count": {i}.0}}' for i in range(3)] + [f'"again", "count": {i}.0}}' for i in (0, 1)]


@pytest.mark.parametrize(
    ("member", "shown"), [("name", "name"), ("score", "score"), ("workload", r"workload\(\)"), ("run", r"run\(\)")]
)
def test_what_a_stage_lacks_is_named(member, shown):
    members = {name: value for name, value in vars(Counting).items() if not name.startswith("__") and name != member}
    with pytest.raises(UserError, match=rf"the stage Partial has no {shown}: a stage has all members of"):
        check_stage(type("Partial", (), members)())


def test_a_score_that_names_no_metric():
    with pytest.raises(UserError, match=r"the score of the stage Counting is 'count': give a .*StepScore"):
        check_stage(Counting(score="count"))


def test_a_step_that_does_not_report_the_metric_it_is_scored_by(tokenizer, tmp_path):
    stage = Counting(reported="loss")
    with pytest.raises(UserError, match=r"counting: the step reported no metric 'count', .* it reported loss"):
        toy_experiment(tokenizer, [stage]).train(tmp_path, "")


def test_a_score_is_higher_where_the_student_is_better():
    assert StepScore("success").of({"success": 0.25, "nll": 3.0}, "online") == 0.25
    assert StepScore("nll", higher_is_better=False).of({"nll": 3.0}, "offline") == -3.0
