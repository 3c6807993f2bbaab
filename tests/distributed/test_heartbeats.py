"""Which peers count as lost: known times, no threads and no clock."""

import pytest

from sml_jax.distributed.heartbeats import Ages

LIMIT = 25.0


def beating(ages, start, stop, peers):
    """Looks every second while these peers count up; what is lost at the end."""
    for second in range(start, stop):
        ages.saw({peer: str(second).encode() for peer in peers}, float(second))
        lost = ages.lost(float(second), LIMIT)
    return lost


def silent(ages, start, stop, **settings):
    """Looks every second while the store does not answer."""
    for second in range(start, stop):
        lost = ages.lost(float(second), LIMIT, **settings)
    return lost


def test_a_peer_whose_number_stands_still_is_lost_and_no_other():
    ages = Ages([0, 2, 3], 0.0)
    assert beating(ages, 0, 100, [0, 2, 3]) == []
    assert beating(ages, 100, 125, [0, 3]) == []
    assert beating(ages, 125, 127, [0, 3]) == [2]


def test_a_number_that_is_told_again_is_no_sign_of_life():
    ages = Ages([1], 0.0)
    for second in range(40):
        ages.saw({1: b"7"}, float(second))
        lost = ages.lost(float(second), LIMIT)
    assert lost == [1]


def test_a_peer_that_never_beat_is_lost():
    assert beating(Ages([1, 2], 0.0), 0, 27, [1]) == [2]


@pytest.mark.parametrize(("me", "expected"), [(1, [0]), (0, [])])
def test_a_store_that_does_not_answer_is_process_0_and_says_nothing_of_others(me, expected):
    ages = Ages([p for p in range(4) if p != me], 0.0)
    beating(ages, 0, 10, [0, 1, 2, 3])
    assert silent(ages, 10, 35) == []
    assert silent(ages, 35, 60) == expected


def test_less_patience_with_the_store_is_none_less_with_peers():
    ages = Ages([0, 1], 0.0)
    beating(ages, 0, 10, [0, 1])
    assert beating(ages, 10, 25, [0]) == [] and silent(ages, 25, 30, silence=5.0) == []
    assert silent(ages, 30, 32, silence=5.0) == [0]


def test_time_in_which_the_watcher_itself_stood_still_does_not_count():
    ages = Ages([0, 1], 0.0)
    beating(ages, 0, 10, [0, 1])
    assert ages.lost(500.0, LIMIT) == []
    assert beating(ages, 501, 520, [0, 1]) == []
    assert beating(ages, 520, 550, [0]) == [1]
