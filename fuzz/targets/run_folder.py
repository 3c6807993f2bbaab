"""A run's folder after a crash: what is kept of its lines, whatever bytes they are."""

from __future__ import annotations

import json
import tempfile
from typing import Any

from fuzz.campaign import Target, allowed
from fuzz.source import Source, broken, changed, dumps
from sml_jax.common.errors import UserError
from sml_jax.run.io.folder import RunFolder


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
        # Going back to a size cuts after the last complete line.
        at = source.integer(0, 2 * len(content))
        short = folder.rewind({folder.metrics_path.name: at}, 3)
        complete = content[:at].rpartition(b"\n")
        assert folder.metrics_path.read_bytes() == complete[0] + complete[1]
        assert folder.dialogues_path.read_bytes() == b""
        assert len(short) == (at > len(complete[0] + complete[1]))
        folder.append_dialogues([{"step": None, "reward": float("nan")}])
        assert folder.dialogues_path.read_bytes() == b'{"step": null, "reward": null}\n'


def _without_suites(content: bytes) -> bytes | None:
    """What must be left of a file; None where a complete line is no record."""
    lines = []
    for line in content.split(b"\n")[:-1]:
        try:
            record = json.loads(line.decode("utf-8"))
        except (ValueError, RecursionError):
            return None
        if not isinstance(record, dict):
            return None
        if "suite" not in record:
            lines.append(line + b"\n")
    return b"".join(lines)


def target() -> Target:
    """A run's folder."""
    return Target("run_folder", check)
