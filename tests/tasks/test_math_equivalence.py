"""The processes that ask math-verify: what they say, and that they come back."""

import os
import signal

import pytest

from sml_jax.tasks.math.equivalence import EquivalencePool


@pytest.fixture(scope="module")
def pool():
    new_pool = EquivalencePool(workers=1)
    yield new_pool
    new_pool.close()


def test_equal_and_unequal(pool) -> None:
    assert pool.ask("(x-1)(x+1)", "x^{2}-1", 60.0)
    assert not pool.ask("(x-1)(x+1)", "x^{2}+1", 60.0)
    assert pool.ask("y=x+1", "y-1=x", 60.0) and not pool.ask("y=x+1", "y+1=x", 60.0)
    assert pool.ask("3+4i", "4i+3", 60.0) and not pool.ask("3+4i", "3-4i", 60.0)


def test_a_late_pair_is_given_up_and_the_process_lives(pool) -> None:
    worker = pool._idle[0]
    pool.ask("1+x", "x+1", 60.0)
    before = worker.pid
    with pytest.raises(TimeoutError):
        pool.ask("\\sqrt{2}", "(" * 900, 60.0)
    assert pool.ask("1+2x", "2x+1", 60.0)
    assert worker.pid == before


def test_a_killed_process_comes_back_and_a_time_out_is_not_remembered(pool) -> None:
    pool.ask("1+x", "x+1", 60.0)
    os.kill(pool._idle[0].pid, signal.SIGKILL)
    try:
        equal = pool.ask("1+3x", "3x+1", 60.0)  # started again, or seen dying
    except TimeoutError:
        equal = pool.ask("1+3x", "3x+1", 60.0)
    assert equal


def test_a_process_is_killed_that_does_not_give_up_itself() -> None:
    pool = EquivalencePool(workers=1, hard_s=60.0)
    try:
        pool.ask("1+x", "x+1", 60.0)
        before = pool._idle[0].pid
        with pytest.raises(TimeoutError):
            pool.ask("\\sqrt{2}", "(" * 900, 0.2)
        assert pool.ask("1+2x", "2x+1", 60.0) and pool._idle[0].pid != before
    finally:
        pool.close()
