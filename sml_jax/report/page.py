"""Puts the page together: one HTML file that holds plots, tables, dialogues, style and script, and loads nothing."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from sml_jax.common.atomic import replacing
from sml_jax.evaluate.labels import LABELS
from sml_jax.report import sections, tables
from sml_jax.report.run_files import RunFiles, read_runs
from sml_jax.report.svg import visible

_ASSETS = Path(__file__).parent / "assets"
# The script's parts, in the order in which they need one another.
_SCRIPTS = ("text.js", "data.js", "filters.js", "list.js", "tokens.js", "dialogue.js", "reader.js")
_DIALOGUES_PER_BLOCK = 2000  # a block is unpacked at once, and the page stays responsive between blocks


def write_report(
    folders: Sequence[Path], target: Path, max_dialogues: int, progress: Callable[[int, int], None] | None = None
) -> list[str]:
    """Writes the report of one or more runs.

    Args:
      folders: of the runs.
      target: the HTML file; it appears whole or not at all.
      max_dialogues: the largest number of dialogues of one run that the page holds.
      progress: called with (dialogues read, all) of one run after the other.

    Returns:
      A sentence for each thing that is missing, damaged or not shown whole; the page says the same.

    Raises:
      UserError: a folder is no run's, or matplotlib is not installed.
      OSError: the file cannot be written.
    """
    runs = read_runs(folders, max_dialogues, progress)
    page = render(runs)
    with replacing(target) as file:
        file.write(page.encode("utf-8"))
    return [f"{run.name}: {note}" for run in runs for note in run.notes]


def render(runs: Sequence[RunFiles]) -> str:
    """The page's text.

    Args:
      runs: what the page shows.
    """
    style = (_ASSETS / "page.css").read_text(encoding="utf-8")
    # One function around all parts keeps their names to themselves.
    script_parts = "\n".join((_ASSETS / name).read_text(encoding="utf-8") for name in _SCRIPTS)
    script = f'(() => {{\n"use strict";\n{script_parts}\n}})();\n'
    # Names in the runs' files are escaped by autoescape; only our own style, script and plots go in as they are.
    environment = jinja2.Environment(
        autoescape=True, finalize=_shown, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string((_ASSETS / "page.html").read_text(encoding="utf-8"))
    return template.render(
        # Nothing may be loaded, and no script or style runs but these two, whatever text finds its way into the page.
        policy=(
            f"default-src 'none'; script-src {_source_hash(script)}; style-src {_source_hash(style)}; "
            "base-uri 'none'; form-action 'none'"
        ),
        style=Markup(style),
        script=Markup(script),
        markup=Markup,
        title=", ".join(run.name for run in runs),
        runs=runs,
        parts=_parts(runs),
        head=pack(
            {"runs": [run.name for run in runs], "labels": LABELS, "total": sum(len(run.dialogues) for run in runs)}
        ),
        blocks=[pack(block) for block in _blocks(runs)],
    )


def _shown(value: Any) -> Any:
    """What the template writes for a value: names with what cannot be seen in them escaped."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _parts(runs: Sequence[RunFiles]) -> list[dict[str, Any]]:
    """The page's parts before the dialogues: each with an id, a title and blocks, and those without any left out."""
    by_run = {
        "success": ("Success by turn", sections.success_blocks),
        "sharded": ("Told shard by shard", tables.sharded_tables),
        "likelihood": ("Likelihood of the answer by turn", sections.likelihood_blocks),
        "behaviour": ("Behaviour by turn", sections.behaviour_blocks),
        "claims": ("Claims", tables.claims_tables),
    }
    parts = [{"id": "runs", "title": "Runs side by side", "runs": [("", sections.runs_block(runs))]}]
    for name, (title, make_blocks) in by_run.items():
        parts.append({"id": name, "title": title, "runs": [(run.name, make_blocks(run)) for run in runs]})
    parts.append({"id": "training", "title": "Training", "runs": [("", sections.training_block(runs))]})
    for part in parts:
        part["runs"] = [(name, blocks) for name, blocks in part["runs"] if blocks]
    return [part for part in parts if part["runs"]]


def _blocks(runs: Sequence[RunFiles]) -> Iterator[list[dict[str, Any]]]:
    """The dialogues of all runs, each with the number of its run, in blocks."""
    dialogues = [{"run": number, **dialogue} for number, run in enumerate(runs) for dialogue in run.dialogues]
    for start in range(0, len(dialogues), _DIALOGUES_PER_BLOCK):
        yield dialogues[start : start + _DIALOGUES_PER_BLOCK]


def pack(value: Any) -> str:
    """A JSON value as compressed text of letters, digits, "+", "/" and "=", in which no HTML can begin or end.

    Lone surrogates, which a file of JSON can hold, come through: JSON writes them as escapes.
    """
    # The time of day is left out, so that the same runs give the same page.
    compressed = gzip.compress(json.dumps(value, separators=(",", ":")).encode("ascii"), mtime=0)
    return base64.b64encode(compressed).decode("ascii")


def _source_hash(text: str) -> str:
    """How a content security policy names a script or style by its text."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode('utf-8')).digest()).decode('ascii')}'"
