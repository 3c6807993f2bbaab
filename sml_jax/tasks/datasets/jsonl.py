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
    """A mathematics task read from rows of questions and answers, one JSON object a line.

    A row needs a question, and an answer that is a text or a number. The answer may be a whole solution that ends in
    `#### n` (GSM8K, arXiv 2110.14168) or has a `\\boxed{}`; then only the final answer is compared. Rows without
    question or answer are reported in the log with file and line and left out. Files in the other formats of
    `rows.read_rows` (`.json`, `.parquet`, gzip) can be read too.

    Args:
      path: the file with the problems, or with those to train on if there is a `test_path`.
      question_field: name of the field with the question.
      answer_field: name of the field with the answer.
      name: what reports call the task.
      test_path: the file of the test split. If None, a hash of each question decides which split of `path` it belongs
        to, the same in every run.
      test_fraction: about this share of `path` becomes the test split if there is no `test_path`; 1 for all of it.
      limit: the most problems of each split, from the start of the file; None for all.
      max_question_characters: problems with longer questions are left out and counted in the log; None for no limit.
      knowledge: what the teacher knows, the final "answer" or the whole "solution" (the text of the answer field); see
        `MathTask`.
      unmarked: whether a value counts that the student does not mark as its answer; see `MathTask`.

    Attributes:
      skipped: number of rows without question or answer, which were left out.
      overlap: number of training problems whose question the test split has too, which were left out.

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
        unmarked: bool = True,
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
        super().__init__(name, select(str(path), splits, selection), knowledge, unmarked)
