"""Which problems a step takes."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sml_jax.common.errors import UserError
from sml_jax.run.problem_order import problems_at
from sml_jax.tasks.problems.types import Problem


def make(size: int) -> list[Problem]:
    return [Problem(str(i), "", "") for i in range(size)]


# Grain's shuffle takes a position of a tiny data set as long as 65,536 / size positions of a large one.
FEW = settings(max_examples=15)
SIZES = st.sampled_from([29, 64, 100, 257])


@FEW
@given(size=SIZES, seed=st.integers(0, 5), passes=st.integers(1, 3))
def test_each_pass_visits_every_problem_once(size, seed, passes):
    stream = problems_at(make(size), seed, 0, size * passes)
    for start in range(0, size * passes, size):
        assert sorted(int(p.id) for p in stream[start : start + size]) == list(range(size))


def test_the_smallest_data_sets():
    for size in (1, 2, 3):
        assert sorted(int(p.id) for p in problems_at(make(size), 0, size, size)) == list(range(size))


@FEW
@given(size=SIZES, start=st.integers(0, 400), count=st.integers(0, 30), seed=st.integers(0, 5))
def test_position_alone_decides(size, start, count, seed):
    problems = make(size)
    longer = problems_at(problems, seed, max(0, start - 9), min(9, start) + count)
    assert problems_at(problems, seed, start, count) == longer[min(9, start) :]


def test_passes_and_seeds_differ():
    problems = make(50)
    first, second = problems_at(problems, 0, 0, 50), problems_at(problems, 0, 50, 50)
    assert first != problems and first != second and first != problems_at(problems, 1, 0, 50)
    assert Counter(first) == Counter(second)


@FEW
@given(size=SIZES, seed=st.integers(0, 2**40), steps=st.lists(st.integers(0, 9), max_size=8))
def test_a_run_stopped_anywhere_goes_on_where_it_was(size, seed, steps):
    """The position, a sum of the steps' sizes, is all that a resumed run needs."""
    problems = make(size)
    position, taken = 0, []
    for count in steps:
        taken += problems_at(problems, seed, position, count)
        position += count
    assert taken == problems_at(problems, seed, 0, position)


class Million(Sequence):
    """A million problems on disk, as it were: counts how many are read."""

    def __init__(self):
        self.read = 0

    def __len__(self):
        return 1_000_000

    def __getitem__(self, index):
        self.read += 1
        return Problem(str(range(1_000_000)[index]), "", "")


def test_a_step_reads_only_what_it_takes():
    problems = Million()
    assert len({p.id for p in problems_at(problems, 0, 999_990, 10)}) == 10
    assert problems.read <= 12  # the type check of the tests reads one more


def test_the_order_is_no_rotation_and_neighbouring_seeds_share_no_pass():
    problems = make(64)
    passes = {seed: [problems_at(problems, seed, e * 64, 64) for e in range(4)] for seed in range(4)}
    orders = {tuple(int(p.id) for p in order) for seed in passes for order in passes[seed]}
    assert len(orders) == 16
    for order in orders:
        steps = np.diff(np.asarray(order)) % 64
        assert Counter(steps.tolist()).most_common(1)[0][1] < 16


def test_no_problems_is_an_error_that_names_it():
    with pytest.raises(UserError, match="no problems"):
        problems_at([], 0, 0, 1)
