"""Which recurrent states a row has, and what it can go back to: the host's part of taking back a turn.

Keys and values of dropped tokens are simply not read any more. A recurrent state (of a gated delta net) is one array
for all of a row's tokens, from which none can be removed. So each row has places for two states. While a turn is
sampled, the state at the turn's start is read and the new one is written to the other place: the old one stays, without
a copy, until the next turn begins. A turn that is taken back goes on from there.
"""

from __future__ import annotations

from collections.abc import Container, Mapping

import numpy as np

_NONE = -1  # there is no such state


class TurnStates:
    """For each row, which of its two places holds its present state, and how many tokens either state has read.

    For a model without recurrent layers (`used` is false) it has nothing to say, and grants every wish.

    Args:
      rows: number of rows.
      used: whether the model has recurrent layers.
    """

    def __init__(self, rows: int, used: bool):
        self.used = used
        self._place = np.zeros(rows, np.int32)
        self._present = np.zeros(rows, np.int32)  # tokens that the present state has read
        self._earlier = np.full(rows, _NONE, np.int32)  # the same of the other one
        self._wished = np.full(rows, _NONE, np.int32)  # where to keep a state, if not at the start of each turn

    def wish(self, row: int, length: int | None) -> None:
        """Says that a row will be taken back to its first `length` tokens; None for the start of its latest turn."""
        self._wished[row] = _NONE if length is None else length

    def resume(self, row: int, length: int) -> int:
        """How many of a row's first `length` tokens it can go on from. The state that has read them becomes present.

        0 where neither state has read so few: the row then starts from nothing.
        """
        if not self.used:
            return length
        if self._present[row] > length:
            # Some of what the present state has read was dropped, so it is lost. So is the earlier one if it read more.
            usable = 0 <= self._earlier[row] <= length
            self._place[row] ^= int(usable)
            self._present[row] = self._earlier[row] if usable else 0
            self._earlier[row] = _NONE
        return int(self._present[row])

    def pause(self, row: int, end: int) -> int:
        """Where a call that reads a row's tokens up to `end` must stop, so that the wished state can be kept."""
        return int(self._wished[row]) if self.used and self._present[row] < self._wished[row] < end else end

    def keeps(self, row: int, turn_starts: bool = False) -> bool:
        """Whether the next call for a row must keep the state that it reads."""
        return bool(self._present[row] == self._wished[row] if self._wished[row] >= 0 else turn_starts)

    def places(self, batch_rows: np.ndarray, keeping: Container[int] = ()) -> np.ndarray | None:
        """For each place of a call's batch, which state of its row is read and which is written: int32 [batch, 2].

        Args:
          batch_rows: the row at each place; -1 for none.
          keeping: rows that keep the state that they read.

        Returns:
          None where the model has no recurrent layers.
        """
        if not self.used:
            return None
        read = self._place[batch_rows]
        kept = np.array([row in keeping for row in batch_rows.tolist()], np.int32)
        return np.stack([read, read ^ kept], axis=1)

    def advance(self, row: int, count: int, kept: bool) -> None:
        """Notes that a call has read `count` more tokens of a row, and kept the state before them if `kept`."""
        if kept and count:
            self._earlier[row] = self._present[row]
            self._place[row] ^= 1
        self._present[row] += count

    def longest(self, row: int, limit: int) -> int:
        """How many of a row's tokens, `limit` at most, another row with the same beginning can copy."""
        if not self.used:
            return limit
        return max([0, *(int(read) for read in (self._present[row], self._earlier[row]) if read <= limit)])

    def copy_places(
        self, batch_rows: np.ndarray, donor_of: Mapping[int, int], lengths: Mapping[int, int]
    ) -> np.ndarray | None:
        """For each place of a copy's batch, which state of the donor is read and which of the row's own is written.

        Args:
          batch_rows: the row at each place; -1 for none.
          donor_of: the row that each copying row copies from. lengths: how many tokens it copies, see `longest`.

        Returns:
          int32 [batch, 2]; None where the model has no recurrent layers.
        """
        if not self.used:
            return None
        places = np.zeros((len(batch_rows), 2), np.int32)
        for index, row in enumerate(batch_rows.tolist()):
            if row in donor_of:
                donor = donor_of[row]
                is_present = self._present[donor] == lengths[row]
                places[index] = self._place[donor] ^ int(not is_present), self._place[row]
        return places

    def copied(self, row: int, length: int) -> None:
        """Notes that a row's present state was replaced by one that has read `length` tokens, from another row."""
        self._present[row], self._earlier[row] = length, _NONE
