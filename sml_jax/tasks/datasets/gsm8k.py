"""GSM8K, grade-school word problems (arXiv 2110.14168, MIT).

Upstream: `grade_school_math/data/train.jsonl` (7,473 rows) and `test.jsonl` (1,319) of
github.com/openai/grade-school-math; fields `question` and `answer`, a solution that ends in `#### n`. The Parquet
files of `openai/gsm8k` on the Hugging Face Hub do as well. TFDS has it as `gsm8k`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sml_jax.common.errors import UserError
from sml_jax.tasks.datasets.prepared import load_tfds, open_folder, prepared
from sml_jax.tasks.datasets.splits import ALL, Selection, select
from sml_jax.tasks.math.extract import final_answer
from sml_jax.tasks.math.task import Knowledge, MathTask, check_knowledge
from sml_jax.tasks.problems.rows import BadRow, read_rows, text
from sml_jax.tasks.problems.types import Problem

# Notes for a calculator within a solution.
_CALCULATOR = re.compile(r"<<[^<>]*>>")


def gsm8k(
    train_path: str | Path,
    test_path: str | Path,
    knowledge: Knowledge = "answer",
    selection: Selection = ALL,
    data_dir: str | Path | None = None,
    unmarked: bool = True,
) -> MathTask:
    """GSM8K, read from the upstream files, with the splits "train" and "test".

    Args:
      train_path: path of `train.jsonl`.
      test_path: path of `test.jsonl`.
      knowledge: what the teacher knows, the final "answer" or the whole "solution"; see `MathTask`.
      selection: limits on the number and length of problems.
      data_dir: folder in which to store the parsed problems for later runs; None to parse the files in each run.
      unmarked: whether a value counts that the student does not mark as its answer; see `MathTask`.

    Raises:
      UserError: a file cannot be read, or too many rows are bad.
    """
    check_knowledge(knowledge)

    def read() -> dict[str, tuple[Problem, ...]]:
        def rows(split: str, path: str | Path) -> tuple[Problem, ...]:
            return read_rows(path, lambda row, label: problem_from_row(row, f"gsm8k:{split}:{label}")).items

        return select("gsm8k", {"train": rows("train", train_path), "test": rows("test", test_path)}, selection)

    options = {"selection": selection}
    splits = prepared("gsm8k", Problem, (train_path, test_path), options, read, data_dir)
    return MathTask("gsm8k", splits, knowledge, unmarked)


def gsm8k_tfds(
    data_dir: str | Path, knowledge: Knowledge = "answer", selection: Selection = ALL, unmarked: bool = True
) -> MathTask:
    """GSM8K, read from array records that TFDS has prepared; nothing is downloaded.

    Args:
      data_dir: TFDS's folder, in which `gsm8k/1.0.0` must be.
      knowledge: what the teacher knows, the final "answer" or the whole "solution"; see `MathTask`.
      selection: limits on the number and length of problems.
      unmarked: whether a value counts that the student does not mark as its answer; see `MathTask`.

    Raises:
      UserError: TFDS is not installed, or GSM8K has not been prepared there. The error says which command to run.
    """
    check_knowledge(knowledge)
    # TFDS would download what is missing, so that is told here.
    load_tfds()
    folder = Path(data_dir) / "gsm8k" / "1.0.0"
    if not (folder / "dataset_info.json").is_file():
        raise UserError(
            f'{folder} holds no prepared gsm8k: python -c "from tensorflow_datasets.text.gsm8k import Gsm8k; '
            f"Gsm8k(data_dir='{data_dir}', file_format='array_record').download_and_prepare()\""
        )
    stored_splits = open_folder(folder, _from_tfds)
    # Ids as for the upstream files: their line numbers.
    splits = {
        split: tuple(
            Problem(f"gsm8k:{split}:{row_number}", p.question, p.answer, domain="gsm8k", solution=p.solution)
            for row_number, p in enumerate(stored_splits[split], 1)
        )
        for split in ("train", "test")
    }
    return MathTask("gsm8k", select("gsm8k", splits, selection), knowledge, unmarked)


def _from_tfds(example: Mapping[str, Any]) -> Problem:
    return problem_from_row({name: example[name].decode("utf-8") for name in ("question", "answer")}, "")


def problem_from_row(row: Mapping[str, Any], id: str) -> Problem:
    """Makes a problem of a row of GSM8K.

    Args:
      row: has the texts `question` and `answer`.
      id: the problem's id.

    Returns:
      The problem. Its `answer` is the final number, its `solution` the text before it (see `worked_solution`).

    Raises:
      BadRow: question or answer is missing or empty.
    """
    question, full_answer = text(row, "question").strip(), text(row, "answer")
    answer = final_answer(full_answer)
    if not answer:
        raise BadRow('field "answer" ends without an answer')
    return Problem(id, question, answer, domain="gsm8k", solution=worked_solution(full_answer))


def worked_solution(answer: str) -> str:
    """The worked solution in an answer of GSM8K: the text without the notes `<<2*3=6>>` and the line `#### 6`."""
    return _CALCULATOR.sub("", answer.rpartition("####")[0] if "####" in answer else answer).strip()
