"""The imitation stage: what is trained on, learning, resuming, and a task without dialogues."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from run_toys import OPTIMIZER, ToyTask, host, same

from sml_jax.common.errors import UserError
from sml_jax.run.stages import Imitation
from sml_jax.run.stages.imitation import HasDemonstrations, _student_row
from sml_jax.tasks import Turn


@dataclass(frozen=True)
class Shown(ToyTask):
    """The student says the wrong digit, hears "ba", and says the right one."""

    def demonstration(self, problem):
        wrong = str((int(problem.answer) + 1) % 4)
        return (
            Turn("teacher", problem.question),
            Turn("student", wrong),
            Turn("teacher", "ba"),
            Turn("student", problem.answer),
        )


STAGE = Imitation(OPTIMIZER, steps=8, problems_per_step=4, buckets=(16, 32))


def test_the_student_s_turns_and_their_ends_are_trained_on_and_nothing_else(new_run):
    framing, task = new_run().context.framing, Shown()
    problem = task.problems("train")[0]
    tokens, weights = _student_row(framing, task.demonstration(problem))
    # By hand: the opening, a turn with its end, what the student hears, and a turn with its end.
    end, opening = framing.stop_ids[0], list(framing.student_opening(problem.question))
    heard = framing.student_hears(framing.text("ba"))
    assert tokens == [*opening, *framing.text("1"), end, *heard, *framing.text("0"), end]
    assert [t for t, w in zip(tokens, weights, strict=True) if w] == [*framing.text("1"), end, *framing.text("0"), end]
    assert set(weights) == {0.0, 1.0} and not any(weights[: len(opening)])
    batch = STAGE._batch([(tokens, weights)] * 3)
    assert batch.tokens.shape == (3, 16) and batch.likelihood.weights.sum() == pytest.approx(1)
    assert not batch.likelihood.weights[:, len(tokens) :].any() and (batch.length == len(tokens)).all()


@pytest.mark.extra
def test_it_learns_what_is_shown_and_uses_each_problem_once(new_run):
    run = new_run(task=Shown())
    before = host(run.state.params)
    after = run.run(STAGE)
    lines = run.metrics()
    assert [line["step"] for line in lines] == list(range(1, 9)) and not same(before, after)
    assert np.mean([line["nll"] for line in lines[-2:]]) < np.mean([line["nll"] for line in lines[:2]])
    assert run.state.position.problems == 8 * 4 and run.state.position.dialogues == 0


def test_a_task_without_dialogues_and_one_that_is_too_long_are_one_line(new_run):
    assert isinstance(Shown(), HasDemonstrations) and not isinstance(ToyTask(), HasDemonstrations)
    with pytest.raises(UserError, match=r"imitation: the task toy has no dialogues to imitate: give it a method"):
        new_run().run(STAGE)
    with pytest.raises(UserError, match="longer than the largest bucket, 4"):
        new_run(task=Shown()).run(replace(STAGE, buckets=(4,)))
