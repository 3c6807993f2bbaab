"""The replies that a run's teachers cannot give again, in `replies.jsonl` of the run's folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sml_jax.common.json_text import parse_json
from sml_jax.run.io.folder import RunFolder
from sml_jax.run.io.json_lines import drop_torn_line, writing


class RecordedReplies:
    """Finds and adds replies by key: a `sml_jax.dialogue.teacher_store.ReplyRecord` on disk.

    Each reply is one line, a JSON object with its key. Lines are never taken back, not even those after the checkpoint
    from which a run goes on: these are what it will ask for. What a crash has left half written, or a disk has damaged,
    counts as missing.

    Args:
      folder: the run's. Its file of replies is opened when the first one is looked for or added.
    """

    def __init__(self, folder: RunFolder):
        self._folder, self._path = folder, folder.replies_path
        self._places: dict[bytes, int] | None = None  # by key, where its line begins; texts stay on disk
        self._repaired = False

    def find(self, key: str) -> Mapping[str, Any] | None:
        """The fields that were added under a key; None if there are none."""
        place = self._index().get(bytes.fromhex(key))
        if place is None:
            return None
        with self._path.open("rb") as lines:
            lines.seek(place)
            return _fields(lines.readline())

    def add(self, key: str, fields: Mapping[str, Any]) -> None:
        """Appends a reply's line.

        Args:
          key: hexadecimal digits, as of a hash.
          fields: of the reply, as JSON.

        Raises:
          UserError: the file cannot be written, or another run has taken the folder over.
        """
        self._folder.check_held()
        places = self._index()
        line = (json.dumps({"key": key, **fields}, allow_nan=False) + "\n").encode()
        with writing(self._path):
            if not self._repaired:
                # The process before may have been killed within a line.
                drop_torn_line(self._path)
                self._repaired = True
            # One write of a whole line, so that only a crash within it can tear it.
            with self._path.open("ab") as file:
                place = file.tell()
                file.write(line)
        places[bytes.fromhex(key)] = place

    def _index(self) -> dict[bytes, int]:
        """Where each reply's line begins, read from the file once."""
        if self._places is None:
            self._places = {}
            place = 0
            if self._path.exists():
                with self._path.open("rb") as lines:
                    for line in lines:
                        fields = _fields(line)
                        if fields is not None:
                            self._places[bytes.fromhex(fields["key"])] = place
                        place += len(line)
        return self._places


def _fields(line: bytes) -> dict[str, Any] | None:
    """The reply on a line; None where the line is damaged, or has no end yet."""
    if not line.endswith(b"\n"):
        return None
    try:
        fields = parse_json(line.decode("utf-8"))
        bytes.fromhex(fields["key"])
        text, truncated = fields["text"], fields["truncated"]
    except (ValueError, KeyError, TypeError):
        return None
    return fields if isinstance(text, str) and isinstance(truncated, bool) else None
