"""Folders of runs as the report reads them, with texts that want to be more than text; and what a page holds."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

HOSTILE = (
    "<script>document.title = 'taken'</script>",
    "</script><img src=x onerror=\"document.title = 'taken'\">",
    "<!--<script>",
    "<b>never closed <a href='javascript:void(0)'",
    "\u202eturned\u202c \u200f\u2066left",
    "\u0000\u001b[31m\u0085\u2028",
    "half a pair \ud800",
    "&lt;b&gt; \"quoted\" 'twice' `thrice` ${7 * 7} {{ 7 * 7 }} {% raw %}",
    "$\\frac{1}{2$ ]]> <svg onload=alert(1)>",
)


def record(**fields: Any) -> dict[str, Any]:
    """A line of `dialogues.jsonl`: an evaluation dialogue that is solved at its second turn."""
    return {
        "problem_id": "p1",
        "arm": "feedback",
        "policy": "base",
        "suite": "toy",
        "domain": "sums",
        "step": 4,
        "solved_turn": 2,
        "turns": [
            {"role": "teacher", "text": "2 + 2?"},
            {"role": "student", "text": "is it even?"},
            {"role": "teacher", "text": "it is"},
            {"role": "student", "text": "the answer is 4"},
        ],
        "verdicts": [
            {"correct": False, "attempted": False, "detail": "want 4"},
            {"correct": True, "attempted": True, "detail": ""},
        ],
        "private": {"static": "the answer is 4", "by_reply": ["want 4"]},
        "leak": False,
        "leaks": 0,
        "dropped": "",
        **fields,
    }


def entry(*success: float, **fields: Any) -> dict[str, Any]:
    """An arm's entry of `eval.json`."""
    intervals = [[max(0.0, value - 0.1), min(1.0, value + 0.1)] for value in success]
    return {"success_at_turn": list(success), "ci95": intervals, "n": 16, **fields}


EVALUATION = {
    "toy": {
        "base": {"feedback": entry(0.1, 0.2), "retry": entry(0.1, 0.15)},
        "trained": {"feedback": entry(0.2, 0.7), "retry": entry(0.2, 0.25)},
    }
}
METRICS = [{"step": step, "stage": "online", "success": 0.1 * step, "leak_rate": 0.0} for step in range(1, 5)]


def write_run(
    folder: Path,
    *,
    evaluation: Mapping[str, Any] | None = None,
    metrics: Sequence[Mapping[str, Any]] | None = None,
    dialogues: Sequence[Mapping[str, Any]] | None = None,
    claims: Any = None,
) -> Path:
    """Writes the files of a run that are given; returns its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in (("eval.json", evaluation), ("claims.json", claims)):
        if value is not None:
            (folder / name).write_text(json.dumps(value))
    for name, rows in (("metrics.jsonl", metrics), ("dialogues.jsonl", dialogues)):
        if rows is not None:
            (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


class Page(HTMLParser):
    """A page as a browser reads it.

    Attributes:
      elements: the name and the attributes of each element, in order.
      scripts, styles: the texts of its elements of these names, in order.
      text: all other text.
    """

    def __init__(self, html: str):
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.styles: list[str] = []
        self.text = ""
        self._within = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._within = tag
        if tag in ("script", "style"):
            (self.scripts if tag == "script" else self.styles).append("")

    def handle_endtag(self, tag):
        self._within = ""

    def handle_data(self, data):
        if self._within == "script":
            self.scripts[-1] += data
        elif self._within == "style":
            self.styles[-1] += data
        else:
            self.text += data

    def ids(self) -> set[str | None]:
        return {attributes.get("id") for _, attributes in self.elements}

    def head(self) -> Any:
        return unpacked(self.scripts[0])

    def dialogues(self) -> list[dict[str, Any]]:
        return [dialogue for block in self.scripts[1:-1] for dialogue in unpacked(block)]


def unpacked(text: str) -> Any:
    """The value of a packed script element."""
    return json.loads(gzip.decompress(base64.b64decode(text, validate=True)))
