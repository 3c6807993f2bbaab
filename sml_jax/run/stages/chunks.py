"""Dialogues of a long rollout in files, a piece at a time, so that a stopped rollout goes on where it was."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sml_jax.common.atomic import replacing
from sml_jax.run.io.folder import to_json, writing

_ARRAYS = ("tokens", "length", "student")


@dataclass(frozen=True)
class RolloutChunk:
    """Dialogues that are trained on, and what was logged of the rollout that they came from.

    Attributes:
      arrays: `tokens` int32 and `student` bool, [dialogues, time], and `length` int32 [dialogues].
      metrics: of the piece's rollout. dialogues: records of some of its dialogues (`runio.dialogue_record`).
    """

    arrays: Mapping[str, np.ndarray]
    metrics: Mapping[str, Any]
    dialogues: Sequence[Mapping[str, Any]]


def write_chunk(path: Path, piece: RolloutChunk) -> None:
    """Writes a piece; a reader sees all of it or nothing."""
    said = json.dumps({"metrics": to_json(piece.metrics), "dialogues": to_json(piece.dialogues)})
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            np.savez_compressed(file, allow_pickle=False, said=np.array(said), **piece.arrays)


def read_chunk(path: Path) -> RolloutChunk | None:
    """A piece as it was written; None if it is not there or damaged (the format has checksums)."""
    try:
        with np.load(path, allow_pickle=False) as saved:
            arrays = {name: saved[name] for name in _ARRAYS}
            said = json.loads(str(saved["said"]))
        return RolloutChunk(arrays, said["metrics"], said["dialogues"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def joined(pieces: Sequence[RolloutChunk]) -> dict[str, np.ndarray]:
    """The arrays of all pieces as one, padded to the longest."""
    time = max(piece.arrays["tokens"].shape[1] for piece in pieces)

    def wide(name: str) -> np.ndarray:
        arrays = [piece.arrays[name] for piece in pieces]
        return np.concatenate([np.pad(rows, ((0, 0), (0, time - rows.shape[1]))) for rows in arrays])

    length = np.concatenate([piece.arrays["length"] for piece in pieces])
    return {"tokens": wide("tokens"), "length": length, "student": wide("student")}
