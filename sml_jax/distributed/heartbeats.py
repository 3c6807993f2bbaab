"""Which peers are alive: each process counts up a number in the shared store and watches those of the others.

JAX's own watch ends a process without a word that names the peer, and takes minutes for one that hangs.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from sml_jax.distributed import coordination

INTERVAL = 2.0  # seconds between beats
LOST_AFTER = 25.0  # seconds without a beat; a process that compiles or writes goes on beating
_OWN_PAUSE = 5.0  # a watcher that itself was held up this long has nothing to say about the others
_BEATS, _LEFT = "sml_jax/beats", "sml_jax/left"


class Ages:
    """How long ago each peer's number last moved; the arithmetic of the watch, without threads or clocks.

    Args:
      peers: numbers of the other processes. now: seconds.
    """

    def __init__(self, peers: list[int], now: float):
        self._moved = dict.fromkeys(peers, now)
        self._counts: dict[int, bytes] = {}
        self._heard = self._looked = now

    def saw(self, counts: Mapping[int, bytes], now: float) -> None:
        """Takes in what the store holds."""
        self._heard = now
        for peer in self._moved:
            if peer in counts and counts[peer] != self._counts.get(peer):
                self._counts[peer], self._moved[peer] = counts[peer], now

    def lost(self, now: float, limit: float, silence: float | None = None) -> list[int]:
        """Peers that have not moved for `limit` seconds. Without the store, all one knows is that process 0 is gone.

        To be called often: time in which this process itself stood still does not count.

        Args:
          silence: seconds without the store after which process 0 is gone; None for `limit`.
        """
        pause, self._looked = now - self._looked, now
        if pause > _OWN_PAUSE:
            self._heard += pause
            self._moved = {peer: moved + pause for peer, moved in self._moved.items()}
        if now - self._heard > (limit if silence is None else silence):
            return [0] if 0 in self._moved else []
        # The store's silence is no fault of the peers.
        return [peer for peer, moved in self._moved.items() if self._heard - moved > limit]


class Heartbeats:
    """Beats for this process and watches the others, in two threads: the store's answer may never come.

    Args:
      on_lost: called with the numbers of lost peers. on_left: with a peer's number and its parting word. Each is called
        in the watching thread, and at most once.
      lost_after: seconds.
    """

    def __init__(
        self,
        on_lost: Callable[[list[int]], None],
        on_left: Callable[[int, bytes], None],
        lost_after: float = LOST_AFTER,
    ):
        self._me = coordination.process_id()
        self._peers = [p for p in range(coordination.process_count()) if p != self._me]
        self._on_lost, self._on_left = on_lost, on_left
        self._lost_after = lost_after
        self._silence: float | None = None
        self._ages = Ages(self._peers, time.monotonic())
        self._left: dict[int, bytes] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()

    def start(self) -> None:
        for work in (self._beat, self._watch):
            threading.Thread(target=work, name=f"heartbeats{work.__name__}", daemon=True).start()

    def stop(self) -> None:
        self._stop.set()

    def hurry(self, silence: float) -> None:
        """From now on, process 0 is lost after that many seconds without an answer of its store."""
        self._silence = silence

    @property
    def left(self) -> dict[int, bytes]:
        """The parting words that have been seen, by process."""
        with self._lock:
            return dict(self._left)

    def say(self, word: bytes, patience: float = 3.0) -> None:
        """Leaves this process's parting word, if the store takes it within `patience` seconds."""

        def put() -> None:
            with contextlib.suppress(Exception):
                coordination.put(f"{_LEFT}/{self._me}", word)

        putting = threading.Thread(target=put, daemon=True)
        putting.start()
        putting.join(patience)

    def _beat(self) -> None:
        count = 0
        while not self._stop.is_set():
            count += 1
            try:
                coordination.put(f"{_BEATS}/{self._me}", str(count).encode())
                beats, left = coordination.below(_BEATS), coordination.below(_LEFT)
            except Exception:
                pass  # the store does not answer: `_watch` counts the seconds
            else:
                with self._lock:
                    self._ages.saw(_by_process(beats), time.monotonic())
                    self._left = {p: word for p, word in _by_process(left).items() if p != self._me}
            self._stop.wait(INTERVAL if not self._left else INTERVAL / 10)

    def _watch(self) -> None:
        while not self._stop.wait(0.25):
            with self._lock:
                lost = self._ages.lost(time.monotonic(), self._lost_after, self._silence)
                left = dict(self._left)
            lost = [peer for peer in lost if peer not in left]
            if left:
                return self._on_left(*next(iter(sorted(left.items()))))
            if lost:
                return self._on_lost(lost)
        return None


def _by_process(found: Mapping[str, bytes]) -> dict[int, Any]:
    return {int(name): value for name, value in found.items()}
