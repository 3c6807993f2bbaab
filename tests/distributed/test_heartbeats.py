"""Which peers count as lost: known times, no threads and no clock."""

import pytest

from sml_jax.distributed.heartbeats import PeerClock

LIMIT = 25.0


def beating(clock, start, stop, peers):
    """Looks every second while these peers count up; what is lost at the end."""
    for second in range(start, stop):
        clock.observe({peer: str(second).encode() for peer in peers}, float(second))
        lost = clock.lost_peers(float(second), LIMIT)
    return lost


def silent(clock, start, stop, **settings):
    """Looks every second while the store does not answer."""
    for second in range(start, stop):
        lost = clock.lost_peers(float(second), LIMIT, **settings)
    return lost


def test_a_peer_whose_number_stands_still_is_lost_and_no_other():
    clock = PeerClock([0, 2, 3], 0.0)
    assert beating(clock, 0, 100, [0, 2, 3]) == []
    assert beating(clock, 100, 125, [0, 3]) == []
    assert beating(clock, 125, 127, [0, 3]) == [2]


def test_a_number_that_is_told_again_is_no_sign_of_life():
    clock = PeerClock([1], 0.0)
    for second in range(40):
        clock.observe({1: b"7"}, float(second))
        lost = clock.lost_peers(float(second), LIMIT)
    assert lost == [1]


def test_a_peer_that_never_beat_is_lost():
    assert beating(PeerClock([1, 2], 0.0), 0, 27, [1]) == [2]


@pytest.mark.parametrize(("me", "expected"), [(1, [0]), (0, [])])
def test_a_store_that_does_not_answer_is_process_0_and_says_nothing_of_others(me, expected):
    clock = PeerClock([p for p in range(4) if p != me], 0.0)
    beating(clock, 0, 10, [0, 1, 2, 3])
    assert silent(clock, 10, 35) == []
    assert silent(clock, 35, 60) == expected


def test_less_patience_with_the_store_is_none_less_with_peers():
    clock = PeerClock([0, 1], 0.0)
    beating(clock, 0, 10, [0, 1])
    assert beating(clock, 10, 25, [0]) == [] and silent(clock, 25, 30, store_limit=5.0) == []
    assert silent(clock, 30, 32, store_limit=5.0) == [0]


def test_time_in_which_the_watcher_itself_stood_still_does_not_count():
    clock = PeerClock([0, 1], 0.0)
    beating(clock, 0, 10, [0, 1])
    assert clock.lost_peers(500.0, LIMIT) == []
    assert beating(clock, 501, 520, [0, 1]) == []
    assert beating(clock, 520, 550, [0]) == [1]
