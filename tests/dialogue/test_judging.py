"""Judging with a verifier that fails: the bad items are found, retried, and never turned into verdicts."""

import logging
import threading

import pytest
from dialogue_toys import DigitTask, FailingTask
from hypothesis import given
from hypothesis import strategies as st

from sml_jax.dialogue import judging
from sml_jax.dialogue.judging import Unjudged, judge, judge_in_background
from sml_jax.tasks.problems.types import Turn, Verdict

PROBLEMS = DigitTask().problems()
SAID = [(problem, f"it is {i % 3}") for i, problem in enumerate(PROBLEMS)]
ITEMS = [(problem, (Turn("teacher", problem.question), Turn("student", text))) for problem, text in SAID]
SOUND = DigitTask().verify(SAID)


@pytest.fixture(autouse=True)
def waits(monkeypatch):
    """No waiting; the list of the pauses asked for."""
    seconds = []
    monkeypatch.setattr(judging.time, "sleep", seconds.append)
    return seconds


def always(*bad):
    """Fails wherever one of these problems is among the items."""

    def fails(items, call):
        for problem, _ in items:
            if problem.id in bad:
                raise RuntimeError(f"no process for {problem.id}\nand more")

    return fails


def test_a_verifier_that_works_is_called_once(waits):
    task = FailingTask()
    assert judge(task, ITEMS) == SOUND and task.calls == [[p.id for p in PROBLEMS]]
    assert judge(task, []) == [] and len(task.calls) == 1 and waits == []


def test_one_bad_item_is_found_by_halves_and_retried_alone(waits, caplog):
    task = FailingTask(fails=always("pc"))
    with caplog.at_level(logging.WARNING):
        found = judge(task, ITEMS, retries=3)
    assert [v for i, v in enumerate(found) if i != 2] == [v for i, v in enumerate(SOUND) if i != 2]
    assert isinstance(found[2], Unjudged)
    assert found[2].error.startswith("RuntimeError: no process for pc (test_judging.py, line ")
    letters = ["".join(problem[1] for problem in call) for call in task.calls]
    assert letters == ["abcdefgh", "abcd", "ab", "cd", "c", "d", "efgh", "c", "c", "c"]
    assert waits == pytest.approx([0.2, 0.4, 0.8])
    assert "no verdict on 1 of 8 utterances" in caplog.text and "no process" in caplog.text


@pytest.mark.parametrize("works_at", [2, 3, 4])
def test_a_retry_that_works_gives_the_verdict(works_at, waits):
    def fails(items, call):
        if call < works_at:
            raise OSError("busy")

    task = FailingTask(fails=fails)
    assert judge(task, ITEMS[:1], retries=3) == SOUND[:1]
    assert len(task.calls) == works_at == len(waits) + 1


def test_no_retries():
    task = FailingTask(fails=always("pa"))
    assert isinstance(judge(task, ITEMS[:1], retries=0)[0], Unjudged) and len(task.calls) == 1


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_what_ends_the_program_comes_through(stop):
    def fails(items, call):
        raise stop

    with pytest.raises(stop):
        judge(FailingTask(fails=fails), ITEMS)
    with pytest.raises(stop), judge_in_background(FailingTask(fails=fails), ITEMS) as verdicts:
        verdicts()


def test_aside_is_another_thread_and_the_same_verdicts():
    threads = []
    task = FailingTask(fails=lambda items, call: threads.append(threading.current_thread()))
    with judge_in_background(task, ITEMS) as verdicts:
        assert verdicts() == SOUND
    assert threads and threads[0] is not threading.current_thread()
    with judge_in_background(FailingTask(fails=always("pa")), ITEMS[:2]) as verdicts:
        assert [isinstance(v, Unjudged) for v in verdicts()] == [True, False]


@given(st.sets(st.sampled_from([p.id for p in PROBLEMS])), st.integers(1, len(ITEMS)), st.integers(0, 2))
def test_every_item_but_the_bad_ones_has_the_verdict_that_it_has_alone(bad, n, retries):
    found = judge(FailingTask(fails=always(*bad)), ITEMS[:n], retries)
    assert len(found) == n
    for (problem, _), sound, verdict in zip(ITEMS, SOUND, found, strict=False):
        assert isinstance(verdict, Unjudged) if problem.id in bad else verdict == sound


def test_an_error_is_told_in_one_line_that_is_safe_to_print():
    def fails(items, call):
        raise ValueError("a\x1b[2Jb\ud800" + "c" * 1000 + "\nsecond line")

    (found,) = judge(FailingTask(fails=fails), ITEMS[:1])
    assert isinstance(found, Unjudged) and not isinstance(found, Verdict)
    assert found.error.isprintable() and len(found.error) < 450 and "second" not in found.error
    assert "a\\x1b[2Jb\\ud800ccc" in found.error
