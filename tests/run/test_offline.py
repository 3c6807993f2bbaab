"""The offline stage: one rollout, what it keeps, Q-priming's questions, and the fine-tuning."""

import dataclasses

import numpy as np
import pytest
from run_toys import OPTIMIZER, ToyTask, host, same

from sml_jax.common.errors import UserError
from sml_jax.dialogue.rules import QuestionInjection
from sml_jax.dialogue.transcript import joined
from sml_jax.learn import OfflineSml
from sml_jax.run.stages import Offline
from sml_jax.run.stages.chunks import read_chunk

OFFLINE = Offline(OPTIMIZER, problems=8, samples=4, epochs=2, batch=8, micro_batch_size=8, dialogues_logged=100)


def saved(run, name="offline"):
    paths = sorted((run.folder.path / f"stage0_{name}").iterdir())
    return joined([read_chunk(path).transcript for path in paths])


def test_keeps_the_successful_dialogues_and_fits_the_student_in_them(new_run):
    run = new_run()
    before = host(run.state.params)
    after = run.run(dataclasses.replace(OFFLINE, epochs=4))
    note, *lines = run.metrics()
    dialogues, kept = run.dialogues(), saved(run)
    solved = [d for d in dialogues if d["solved_turn"]]
    assert 0 < len(solved) < len(dialogues) == note["dialogues"] == 32
    assert note["injected_rate"] == 0 and note["stage"] == "offline_rollout" and note["kept"] == len(solved)
    assert note["success"] == pytest.approx(len(solved) / 32)
    # The rows are the solved dialogues' own tokens, in their order.
    assert [list(t[:n]) for t, n in zip(kept.tokens, kept.length, strict=True)] == [d["tokens"] for d in solved]
    assert not kept.student[np.arange(kept.student.shape[1]) >= kept.length[:, None]].any()
    per_epoch = -(-len(solved) // 8)
    assert [line["step"] for line in lines] == list(range(1, 4 * per_epoch + 1))
    assert all({"stage", "loss", "nll", "student_tokens", "gradient_norm", "update_norm"} <= set(x) for x in lines)
    # Every epoch trains on every student token once.
    tokens = np.reshape([line["student_tokens"] for line in lines], (4, per_epoch)).sum(axis=1)
    assert set(tokens) == {kept.student.sum()}
    nll = np.reshape([line["nll"] for line in lines], (4, per_epoch)).mean(axis=1)
    assert nll[-1] < nll[0] and not same(before, after)


@pytest.mark.extra
def test_question_injection(new_run):
    """Incorrect turns became questions, which are no answers."""
    run = new_run()
    stage = dataclasses.replace(OFFLINE, injection=QuestionInjection(decay=1.0), name="qpriming", problems=12)
    run.run(stage)
    note = run.metrics()[0]
    injected = [d for d in run.dialogues() if d["injected_turns"]]
    assert note["stage"] == "qpriming_rollout" and note["injected_rate"] > 0 and injected
    assert not any(d["verdicts"][turn - 1]["attempted"] for d in injected for turn in d["injected_turns"])
    assert run.metrics()[1:]


@pytest.mark.extra
def test_single_turn_form(new_run):
    run = new_run()
    run.run(dataclasses.replace(OFFLINE, max_turns=1, samples=6, name="single_sft"))
    note, *lines = run.metrics()
    assert note["turns"] == 1 and note["success"] == note["first_turn_success"] and lines
    assert {len(d["turns"]) for d in run.dialogues()} == {2}


@pytest.mark.extra
@pytest.mark.parametrize("aggregation", ["sequence", "constant"])
def test_every_aggregation(new_run, aggregation):
    run = new_run()
    run.run(dataclasses.replace(OFFLINE, epochs=1, batch=64, micro_batch_size=64, method=OfflineSml(aggregation)))
    assert len(run.metrics()) == 2 and run.metrics()[1]["loss"] > 0


@pytest.mark.extra
def test_nothing_solved_says_so(new_run):
    with pytest.raises(UserError, match="offline: none of 32 dialogues succeeded"):
        new_run(task=ToyTask(impossible="0123")).run(OFFLINE)


@pytest.mark.parametrize(
    ("setting", "value"),
    [("problems", 0), ("samples", 0), ("epochs", -1), ("batch", 0), ("micro_batch_size", 0)],
)
def test_settings_that_cannot_work(setting, value):
    with pytest.raises(UserError, match=f"offline: {setting} is {value!r}"):
        dataclasses.replace(OFFLINE, **{setting: value})
