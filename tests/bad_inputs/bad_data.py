"""Bad data, and what may stand in the way in a run's folder."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from typing import Any

from bad_files import ROWS, Bad, Files, row

Argv = Callable[[Files], list[str]]


def rows(*content: Any) -> Argv:
    return lambda f: f.jsonl(list(content))


def text(content: str | bytes, name: str = "train.jsonl") -> Argv:
    return lambda f: f.jsonl(f.write(name, content))


def task(macro: str, recipe: str, *content: Any) -> Argv:
    """Rows for one of the tasks of gin/tasks."""
    return lambda f: f.train(f"{macro}={f.write('m.jsonl', list(content) or ROWS)}", recipe=f"gin/tasks/{recipe}.gin")


def kept(path: str, content: str = "") -> Argv:
    """A run whose folder holds this file already; what is below a name makes a folder of it."""

    def make(f: Files) -> list[str]:
        f.write(f"run/{path}", content)
        return f.train()

    return make


def evaluated(content: bytes) -> Argv:
    """An evaluation whose folder holds these dialogues already."""

    def make(f: Files) -> list[str]:
        f.write("run/dialogues.jsonl", content)
        return f.evaluate(f.run)

    return make


LINES = "".join(json.dumps(r) + "\n" for r in ROWS)
FIRST = "train.jsonl:1: "
FIELDS = "mend the file, or set question_field and answer_field"
WHICH = "mend the file, or give the one that docs/data.md names"
DATA = {
    "no data file": Bad(lambda f: f.jsonl("nowhere.jsonl"), "cannot read nowhere.jsonl", "give the path of a file"),
    "no test file": Bad(lambda f: f.jsonl(ROWS, "nowhere.jsonl"), "cannot read nowhere.jsonl", "give the path"),
    "a name too long": Bad(lambda f: f.jsonl("x" * 300 + ".jsonl"), "cannot use the path 'xxx", "give another one"),
    "a folder without data": Bad(
        lambda f: f.jsonl(f.write("data/readme.txt", "x").parent), "data: the folder holds no file", "ends in .jsonl"
    ),
    "an empty data file": Bad(text(""), "train.jsonl has no rows", "give a file with one JSON object a line"),
    "blank lines": Bad(text("\n\n\n"), "train.jsonl has no rows", "give a file with one JSON object a line"),
    "no rows in the test file": Bad(lambda f: f.jsonl(ROWS, []), "test.jsonl has no rows", "give a file"),
    "a CSV file": Bad(text("question,answer\n1+1,2\n", "rows.csv"), "rows.csv:1: not JSON", FIELDS),
    "a row cut off": Bad(text(LINES[:40]), FIRST + "not JSON", FIELDS),
    "an array for a row": Bad(rows([1, 2]), FIRST + "not a JSON object", FIELDS),
    "another column": Bad(rows({"question": "1?", "reply": "2"}), FIRST + 'no field "answer" among', FIELDS),
    "an answer that is a list": Bad(rows(row(1, answer=["3"])), FIRST + 'field "answer" is list', FIELDS),
    "an answer that is NaN": Bad(text('{"question": "1?", "answer": NaN}\n'), 'field "answer" is nan', FIELDS),
    "an answer without an end": Bad(rows(row(1, answer="####")), "ends without an answer", FIELDS),
    "a blank question": Bad(rows(row(1, question="  ")), 'field "question" is empty', FIELDS),
    "a question that is a number": Bad(rows(row(1, question=5)), 'field "question" is int', FIELDS),
    "half a character": Bad(text('{"question": "\\ud83d?", "answer": "1"}\n'), "half of a surrogate pair", FIELDS),
    "latin-1": Bad(text('{"question": "caf\xe9?", "answer": "1"}\n'.encode("latin-1")), FIRST + "not UTF-8", FIELDS),
    "utf-16": Bad(text(LINES.encode("utf-16")), "train.jsonl:1: not UTF-8", FIELDS),
    "a deep line": Bad(text("[" * 100_000 + "\n"), FIRST + "not JSON", FIELDS),
    "a huge number": Bad(text('{"question": "1?", "answer": 1' + "0" * 5000 + "}\n"), FIRST, FIELDS),
    "gzip cut off": Bad(text(gzip.compress(LINES.encode())[:40], "rows.jsonl.gz"), "rows.jsonl.gz", "get it again"),
    "no Parquet": Bad(
        text(b"PAR1xxxxPAR1", "rows.parquet"), "cannot read .*rows.parquet", "give the path of a Parquet"
    ),
    "an array cut off": Bad(text(json.dumps(ROWS)[:-40], "rows.json"), "rows.json:1: .* breaks off", "mend the file"),
    "the same rows twice": Bad(lambda f: f.jsonl(ROWS, ROWS), "train split of jsonl is empty", "give it a file whose"),
    "a limit of nothing": Bad(lambda f: f.jsonl(ROWS, None, "LIMIT=0"), "limit is 0", "at least 1"),
    "questions all too long": Bad(
        lambda f: f.jsonl(ROWS, None, "JsonlTask.max_question_characters=3"), "split of jsonl is empty", "the limits"
    ),
    "another field": Bad(
        lambda f: f.jsonl(ROWS, None, "JsonlTask.question_field=prompt"), 'no field "prompt"', "set question_field"
    ),
    "a share of two": Bad(lambda f: f.jsonl(ROWS, None, "JsonlTask.test_fraction=2.0"), "is 2.0", "from 0 to 1"),
    "knowledge of all": Bad(
        lambda f: f.jsonl(ROWS, None, "JsonlTask.knowledge=all"), "knowledge is 'all'", "'answer', 'solution'"
    ),
    "GSM8K without answers": Bad(lambda f: f.chat(rows=[row(1, answer="")]), 'rows.jsonl:1: field "answer"', WHICH),
    "MBPP of other rows": Bad(task("MBPP", "mbpp"), 'm.jsonl:1: field "task_id"', WHICH),
    "HumanEval of other rows": Bad(task("HUMANEVAL", "humaneval"), 'm.jsonl:1: no field "prompt"', WHICH),
    "LiveCodeBench of other rows": Bad(task("LIVE_CODE_BENCH", "live_code_bench"), 'm.jsonl:1: no field "con', WHICH),
    "Omni-MATH of other rows": Bad(task("OMNI_MATH", "omni_math"), 'm.jsonl:1: no field "problem"', WHICH),
    "code without tests": Bad(
        task("MBPP", "mbpp", {"task_id": 700, "text": "x", "code": "y", "test_list": []}), '"test_list" is empty', WHICH
    ),
    "shards that are none": Bad(
        task("SHARDED", "sharded_math", {**row(1), "task": "math", "task_id": "1", "shards": []}), "two or more", WHICH
    ),
}
ANOTHER = "remove it, or give another --workdir"
RUNS = {
    "a workdir that is a file": Bad(
        lambda f: [*f.train()[:2], f"--workdir={f.write('x', '')}"],
        "cannot write to workdir .*x",
        "give --workdir a folder",
    ),
    "a workdir below a file": Bad(
        lambda f: [*f.train()[:2], f"--workdir={f.write('x', '')}/run"], "workdir .*x/run", "give --workdir a folder"
    ),
    "a workdir where none can be": Bad(
        lambda f: [*f.train()[:2], "--workdir=/proc/run"], "workdir /proc/run", "give --workdir a folder"
    ),
    "checkpoints that is a file": Bad(kept("checkpoints"), "run/checkpoints is no folder", ANOTHER),
    "steps that is a file": Bad(kept("checkpoints/steps"), "checkpoints/steps is no folder", ANOTHER),
    "tensorboard that is a file": Bad(kept("tensorboard"), "run/tensorboard is no folder", ANOTHER),
    "metrics that is a folder": Bad(kept("metrics.jsonl/x"), "run/metrics.jsonl is no file", ANOTHER),
    "config that is a folder": Bad(kept("config.gin/x"), "run/config.gin is no file", ANOTHER),
    "damaged dialogues": Bad(evaluated(b"{oops\n{}\n"), "dialogues.jsonl line 1 is no record", "remove that line"),
    "binary dialogues": Bad(evaluated(b"\xff\xfe{}\n"), "dialogues.jsonl line 1 is no record", "remove that line"),
}
TABLE = {**DATA, **RUNS}
