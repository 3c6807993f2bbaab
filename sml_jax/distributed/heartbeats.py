"""Which peers are alive: each process counts up a number in the shared store and watches the numbers of the others.

JAX has a watch of its own, but it ends a process without naming the peer that is gone, and takes minutes to notice one
that hangs.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from sml_jax.distributed import store

INTERVAL = 2.0  # seconds between beats
LOST_AFTER = 25.0  # seconds without a beat; a process that compiles or writes files goes on beating
_WATCH_INTERVAL = 0.25
_OWN_PAUSE = 5.0  # a watcher that was itself held up for this long cannot say anything about the others
_BEATS, _FAREWELLS = "sml_jax/beats", "sml_jax/left"


class PeerClock:
    """Computes which peers are lost from the numbers that they count up, without threads or a real clock.

    Args:
      peers: ids of the other processes.
      now: the current time in seconds.
    """

    def __init__(self, peers: list[int], now: float):
        self._last_change = dict.fromkeys(peers, now)
        self._counts: dict[int, bytes] = {}
        self._last_answer = self._last_check = now

    def observe(self, counts: Mapping[int, bytes], now: float) -> None:
        """Notes whose number has changed.

        Args:
          counts: the numbers in the store, as bytes, by process id.
          now: the current time in seconds.
        """
        self._last_answer = now
        for peer in self._last_change:
            if peer in counts and counts[peer] != self._counts.get(peer):
                self._counts[peer], self._last_change[peer] = counts[peer], now

    def lost_peers(self, now: float, limit: float, store_limit: float | None = None) -> list[int]:
        """The ids of the peers whose number has not changed for more than `limit` seconds.

        If the store itself does not answer, all that is known is that process 0, which holds it, is gone: the result is
        then [0]. The method must be called often, since a long time between two calls is taken for a pause of this
        process, and does not count.

        Args:
          now: the current time in seconds.
          limit: seconds without a change after which a peer is lost.
          store_limit: seconds without an answer of the store after which process 0 is lost; None for `limit`.
        """
        since_last_check, self._last_check = now - self._last_check, now
        if since_last_check > _OWN_PAUSE:
            self._last_answer += since_last_check
            self._last_change = {peer: changed_at + since_last_check for peer, changed_at in self._last_change.items()}
        if now - self._last_answer > (limit if store_limit is None else store_limit):
            return [0] if 0 in self._last_change else []
        # Ages are measured up to the store's last answer: its silence is not the peers' fault.
        return [peer for peer, changed_at in self._last_change.items() if self._last_answer - changed_at > limit]


class Heartbeats:
    """Shows the other processes that this one is alive, and watches them. Nothing happens before `start`.

    One thread talks to the store, which may never answer: it counts up this process's number and reads those of the
    others. A second thread judges how old these are, and ends at the first loss or farewell of a peer. A farewell is a
    few bytes that a process which ends on purpose leaves in the store, and that say why.

    Args:
      on_lost: called with the ids of lost peers.
      on_farewell: called with a peer's id and its farewell. Only one of the two is called, at most once, in the
        watching thread.
      lost_after: seconds without a change of its number after which a peer is lost.
    """

    def __init__(
        self,
        on_lost: Callable[[list[int]], None],
        on_farewell: Callable[[int, bytes], None],
        lost_after: float = LOST_AFTER,
    ):
        self._me = store.process_id()
        peers = [p for p in range(store.process_count()) if p != self._me]
        self._on_lost, self._on_farewell = on_lost, on_farewell
        self._lost_after = lost_after
        self._store_limit: float | None = None
        self._clock = PeerClock(peers, time.monotonic())
        self._farewells: dict[int, bytes] = {}
        self._lock = threading.Lock()  # over the clock and the farewells
        self._stop = threading.Event()

    def start(self) -> None:
        """Starts the beating and the watching thread."""
        for thread_body in (self._beat, self._watch):
            threading.Thread(target=thread_body, name=f"heartbeats{thread_body.__name__}", daemon=True).start()

    def stop(self) -> None:
        """Asks both threads to end; does not wait for them."""
        self._stop.set()

    def limit_store_silence(self, seconds: float) -> None:
        """From now on, process 0 counts as lost if its store has not answered for this many seconds."""
        self._store_limit = seconds

    @property
    def farewells(self) -> dict[int, bytes]:
        """The farewells of other processes seen so far, by process id."""
        with self._lock:
            return dict(self._farewells)

    def leave_farewell(self, text: bytes, patience: float = 3.0) -> None:
        """Puts this process's farewell into the store.

        Args:
          text: the farewell.
          patience: seconds to wait for the store; after that, or after an error of the store, the call returns all the
            same.
        """

        def put() -> None:
            with contextlib.suppress(Exception):
                store.put(f"{_FAREWELLS}/{self._me}", text)

        thread = threading.Thread(target=put, daemon=True)
        thread.start()
        thread.join(patience)

    def _beat(self) -> None:
        """The beating thread: counts up, and reads what the others have put into the store."""
        count = 0
        while not self._stop.is_set():
            count += 1
            try:
                store.put(f"{_BEATS}/{self._me}", str(count).encode())
                beats, farewells = store.read_folder(_BEATS), store.read_folder(_FAREWELLS)
            except Exception:
                pass  # the store does not answer, and `_watch` counts the seconds
            else:
                with self._lock:
                    self._clock.observe(_by_process(beats), time.monotonic())
                    self._farewells = {p: text for p, text in _by_process(farewells).items() if p != self._me}
            # Once one peer has left, the others follow soon: their farewells must be seen before the store is gone.
            self._stop.wait(INTERVAL if not self._farewells else INTERVAL / 10)

    def _watch(self) -> None:
        """The watching thread: ends with the first farewell or loss of a peer."""
        while not self._stop.wait(_WATCH_INTERVAL):
            with self._lock:
                lost = self._clock.lost_peers(time.monotonic(), self._lost_after, self._store_limit)
                farewells = dict(self._farewells)
            lost = [peer for peer in lost if peer not in farewells]
            # A farewell comes first: it says why the run ends, which silence does not.
            if farewells:
                return self._on_farewell(*next(iter(sorted(farewells.items()))))
            if lost:
                return self._on_lost(lost)
        return None


def _by_process(entries: Mapping[str, bytes]) -> dict[int, Any]:
    """Entries of the store whose names are process ids, by process id."""
    return {int(name): value for name, value in entries.items()}
