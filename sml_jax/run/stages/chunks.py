"""Chunks of a long rollout in files, so that a rollout that is stopped goes on where it was."""

from __future__ import annotations

import dataclasses
import json
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sml_jax.common.atomic import replacing
from sml_jax.dialogue.transcript import Transcript
from sml_jax.run.io.folder import to_json
from sml_jax.run.io.json_lines import writing

# What is no array is written as JSON in one more member, `texts`.
_ARRAYS = tuple(field.name for field in dataclasses.fields(Transcript) if field.name != "max_student_tokens")


@dataclass(frozen=True)
class RolloutChunk:
    """Those dialogues of a part of a long rollout that are trained on, and what was logged about the part.

    Attributes:
      transcript: the dialogues that are trained on, as NumPy arrays.
      metrics: of all dialogues of the part, trained on or not.
      dialogues: records of some of the part's dialogues, as lines of `dialogues.jsonl` have them.
    """

    transcript: Transcript
    metrics: Mapping[str, Any]
    dialogues: Sequence[Mapping[str, Any]]


def write_chunk(path: Path, chunk: RolloutChunk) -> None:
    """Writes a chunk to a file; a reader sees all of it or nothing. The file's folder is made if it does not exist.

    Raises:
      UserError: the file cannot be written.
    """
    arrays = {name: getattr(chunk.transcript, name) for name in _ARRAYS}
    arrays = {name: array for name, array in arrays.items() if array is not None}
    json_values = {
        "metrics": to_json(chunk.metrics),
        "dialogues": to_json(chunk.dialogues),
        "max_student_tokens": chunk.transcript.max_student_tokens,
    }
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            np.savez_compressed(file, allow_pickle=False, texts=np.array(json.dumps(json_values)), **arrays)


def read_chunk(path: Path) -> RolloutChunk | None:
    """Reads a chunk that `write_chunk` wrote; None if the file is missing or damaged (the format has checksums)."""
    try:
        with np.load(path, allow_pickle=False) as members:
            # Every array but one that is only measured for some methods must be there.
            arrays = {name: members[name] for name in _ARRAYS if name in members or name != "answer_logprob"}
            json_values = json.loads(str(members["texts"]))
        transcript = Transcript(**arrays, max_student_tokens=json_values["max_student_tokens"])
        return RolloutChunk(transcript, json_values["metrics"], json_values["dialogues"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        return None
