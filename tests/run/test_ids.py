"""Dialogue ids, random keys and problems of a run with several stages: no two of its rollouts share any."""

import dataclasses
import itertools

import pytest
from run_toys import OPTIMIZER, read_lines, sgd, toy_experiment

from sml_jax.run.bookkeeper import Bookkeeper
from sml_jax.run.stages import Offline, Online, offline, online

ONLINE = Online(OPTIMIZER, steps=2, problems_per_step=3, group_size=2, micro_batch_size=8)
STAGES = (
    ONLINE,
    Offline(OPTIMIZER, problems=4, samples=3, epochs=1, batch=4, micro_batch_size=8, problems_per_chunk=3),
    dataclasses.replace(ONLINE, problems_per_step=2, name="again"),
)
PROBLEMS, DIALOGUES = 2 * 3 + 4 + 2 * 2, 2 * 3 * 2 + 4 * 3 + 2 * 2 * 2


class Crash(Exception):
    """Stands in for a crash."""


@pytest.fixture
def taken(monkeypatch):
    """Positions of the problem stream and dialogue ids that the stages take, in order."""
    problems, ids = [], []
    for module in (online, offline):
        problems_at, play = module.problems_at, module.play

        def noted_problems_at(all_problems, seed, start, count, *, problems_at=problems_at):
            problems.extend(range(start, start + count))
            return problems_at(all_problems, seed, start, count)

        def noted_play(task, chosen, *args, first_id, group_size, play=play, **settings):
            ids.extend(range(first_id, first_id + len(chosen) * group_size))
            return play(task, chosen, *args, first_id=first_id, group_size=group_size, **settings)

        monkeypatch.setattr(module, "problems_at", noted_problems_at)
        monkeypatch.setattr(module, "play", noted_play)
    return problems, ids


@pytest.mark.slow  # a run that was stopped shows the same below: `pytest -m slow tests/run/test_ids.py`
def test_stages_take_problems_and_ids_one_after_the_other(tokenizer, tmp_path, taken):
    toy_experiment(tokenizer, STAGES).train(tmp_path, "")
    problems, ids = taken
    assert problems == list(range(PROBLEMS)) and ids == list(range(DIALOGUES))


@pytest.mark.extra
@pytest.mark.parametrize("crash_after", [*(pytest.param(step, marks=pytest.mark.slow) for step in (1, 2, 3)), 5])
def test_a_run_that_goes_on_takes_the_same_ones(tokenizer, tmp_path, taken, monkeypatch, crash_after):
    """In each kind of stage and at a stage's end; what is played again is what was lost."""
    experiment = toy_experiment(tokenizer, STAGES, checkpoint_every=1)
    problems, ids = taken
    step_done = Bookkeeper.step_done

    def crash(self, *args, **settings):
        state = step_done(self, *args, **settings)
        if self.position.total == crash_after:
            self._checkpointer.finish()
            raise Crash
        return state

    with monkeypatch.context() as patch:
        patch.setattr(Bookkeeper, "step_done", crash)
        with pytest.raises(Crash):
            experiment.train(tmp_path, "")
    experiment.train(tmp_path, "")
    assert problems == list(range(PROBLEMS)) and ids == list(range(DIALOGUES))


def test_stages_alike_say_other_things_and_draw_from_other_keys(tokenizer, tmp_path, monkeypatch):
    """With updates that change nothing, two stages of the same settings differ in their draws alone."""
    still = dataclasses.replace(ONLINE, optimizer=sgd(0.0), problems_per_step=12, dialogues_logged=100)
    toy_experiment(tokenizer, [still, dataclasses.replace(still, name="again")]).train(tmp_path, "")
    lines = read_lines(tmp_path / "dialogues.jsonl")
    spoken = {step: {} for step in (1, 2, 3, 4)}
    for line in lines:
        spoken[line["step"]].setdefault(line["problem_id"], []).append(line["tokens"])
    # Every step goes once through the twelve problems.
    for one, other in itertools.combinations(spoken.values(), 2):
        assert one.keys() == other.keys() and one != other
