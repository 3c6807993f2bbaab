"""A mathematics task read from plain JSON-lines files of questions and answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sml_jax.tasks.datasets.splits import Selection, select, split_by_hash
from sml_jax.tasks.math.extract import final_answer
from sml_jax.tasks.math.task import Knowledge, MathTask
from sml_jax.tasks.problems.overlap import normalise_question
from sml_jax.tasks.problems.rows import BadRow, Rows, number_or_text, read_rows, text
from sml_jax.tasks.problems.types import Problem


class JsonlTask(MathTask):
    """Question-and-answer rows, one JSON object a line, judged as mathematics.

    A row needs a question and an answer that is a string or a number; an answer may be a whole solution that ends in
    `#### n` (GSM8K, arXiv 2110.14168) or holds a `\\boxed{}`, of which the final answer alone is kept. A row without
    them is reported with file and line, left out, and counted in `skipped`. Other formats that `rows.read_rows` tells
    by their names (`.json`, `.parquet`, gzip) do as well.

    Args:
      path: the file.
      question_field: its key for the question.
      answer_field: its key for the answer.
      name: what reports call the task.
      test_path: the file of the test split. Questions of it that `path` holds too are left out of the training split
        and counted in `overlap`. Without it, a hash of the normalised question puts each row of `path` on one side,
        the same in every run.
      test_fraction: the share of test rows then; 1 for a file that is all test.
      limit: at most this many problems a split, the first ones of the file.
      max_question_characters: longer questions are left out and counted in the log.
      knowledge: see `MathTask`; the solution is what the answer field holds beside the answer.

    Raises:
      UserError: a file is missing or unreadable, has no rows, or more than a tenth of them are bad.
    """

    def __init__(
        self,
        path: str | Path,
        question_field: str = "question",
        answer_field: str = "answer",
        name: str = "jsonl",
        test_path: str | Path | None = None,
        test_fraction: float | int = 0.1,
        limit: int | None = None,
        max_question_characters: int | None = None,
        knowledge: Knowledge = "answer",
    ) -> None:
        selection = Selection(limit, max_question_characters)
        split_by_hash([], test_fraction)  # a bad fraction is named before files are read

        def read(source: str | Path, prefix: str) -> Rows[Problem]:
            """The problems of a file, with ids that begin with `prefix`."""

            def build(row: dict[str, Any], label: str) -> Problem:
                question, full_answer = text(row, question_field).strip(), number_or_text(row, answer_field)
                answer = final_answer(full_answer)
                if not answer:
                    raise BadRow(f'field "{answer_field}" ends without an answer')
                solution = "" if full_answer.strip() == answer else full_answer.strip()
                return Problem(f"{prefix}:{label}", question, answer, domain=name, solution=solution)

            return read_rows(source, build, cure="mend the file, or set question_field and answer_field")

        # Two files are two splits; one file is split by the hash of its questions.
        train = read(path, f"{name}:train" if test_path else name)
        if test_path is None:
            test: Rows[Problem] = Rows(())
            splits = split_by_hash(train.items, test_fraction)
        else:
            test = read(test_path, f"{name}:test")
            splits = {"train": train.items, "test": test.items}
        self.skipped = train.bad + test.bad
        # How many questions to train on the test split holds too; `select` leaves them out.
        test_questions = {normalise_question(problem.question) for problem in splits["test"]}
        self.overlap = sum(normalise_question(problem.question) in test_questions for problem in splits["train"])
        super().__init__(name, select(str(path), splits, selection), knowledge)
