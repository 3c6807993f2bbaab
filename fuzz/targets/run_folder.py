"""A run's folder after a crash: what is kept of its lines, whatever bytes they are."""

from __future__ import annotations

import json
import tempfile
from typing import Any

from fuzz.campaign import Target, allowed
from fuzz.source import Source, broken, changed, dumps
from sml_jax.common.errors import UserError
from sml_jax.run.io.folder import RunFolder
from sml_jax.run.io.json_lines import damaged_path


def _line(source: Source) -> bytes:
    record: dict[str, Any] = {"step": source.integer(0, 20), "stage": "online", "loss": 0.5}
    if source.flag(3):
        record = {"step": source.pick((None, 3)), "suite": "math", "turns": [{"text": source.text((), 4, 40)}]}
    value: object = changed(source, record) if source.flag(6) else record
    return dumps(value).encode()


def check(source: Source) -> None:
    """One case."""
    lines = [_line(source) for _ in range(source.integer(0, 8))]
    content = b"\n".join(lines) + (b"\n" if source.flag() else b"")
    if source.flag(3):
        content = broken(source, content)
    with tempfile.TemporaryDirectory() as place, RunFolder(place) as folder:
        folder.metrics_path.write_bytes(content)
        folder.dialogues_path.write_bytes(content)
        outcome = allowed(folder.forget_evaluation)
        # Records of an evaluation go, all others stay; a line that is no record is an error.
        expected = _without_suites(content)
        remaining = folder.dialogues_path.read_bytes()
        if expected is None:
            assert isinstance(outcome, UserError), "a line that is no record went by"
            # A torn line may be gone.
            assert content.startswith(remaining) and b"\n" not in content[len(remaining) :], (
                "the file changed all the same"
            )
        else:
            assert outcome is None, outcome
            assert remaining == expected, f"{remaining!r} is left of {content!r}, not {expected!r}"
        # Going back to a size cuts after the last complete line, sets damaged lines aside, and drops later steps.
        at = source.integer(0, 2 * len(content))
        warnings = folder.rewind({folder.metrics_path.name: at}, 3)
        whole_lines = content[:at].rpartition(b"\n")
        sound, damaged = _after_rewind(whole_lines[0] + whole_lines[1], 3)
        assert folder.metrics_path.read_bytes() == sound
        assert folder.dialogues_path.read_bytes() == b""
        aside = damaged_path(folder.metrics_path)
        assert (aside.read_bytes() if aside.exists() else b"") == damaged
        assert len(warnings) == (at > len(sound) + len(damaged)) + bool(damaged)
        folder.append_dialogues([{"step": None, "reward": float("nan")}])
        assert folder.dialogues_path.read_bytes() == b'{"step": null, "reward": null}\n'


def _without_suites(content: bytes) -> bytes | None:
    """What must be left of a file; None where a complete line is no record."""
    lines = []
    for line in content.split(b"\n")[:-1]:
        record = _record(line)
        if record is None:
            return None
        if "suite" not in record:
            lines.append(line + b"\n")
    return b"".join(lines)


def _after_rewind(content: bytes, step: int) -> tuple[bytes, bytes]:
    """What must be left of a log of whole lines when a run goes on after a step, and what must lie beside it."""
    sound, damaged = [], []
    for line in content.split(b"\n")[:-1]:
        record = _record(line)
        if record is None:
            damaged.append(line + b"\n")
        else:
            sound.append((record.get("step"), line + b"\n"))
    while sound and isinstance(sound[-1][0], int) and sound[-1][0] > step:
        sound.pop()
    return b"".join(line for _, line in sound), b"".join(damaged)


def _record(line: bytes) -> dict[str, Any] | None:
    """The JSON object on a line; None if there is none."""
    try:
        record = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def target() -> Target:
    """A run's folder."""
    return Target("run_folder", check)
