"""JsonlTask: reading, bad rows, splits, knowledge and replies."""

import json
import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sml_jax.common.errors import UserError
from sml_jax.tasks import JsonlTask, Problem, Verdict
from sml_jax.tasks.math.task import MathTask
from sml_jax.tasks.problems.overlap import normalise_question


def write(path: Path, rows: list[object]) -> Path:
    path.write_text(
        "\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows) + "\n", encoding="utf-8"
    )
    return path


def rows(n: int, start: int = 0) -> list[object]:
    return [
        {"question": f"What is {i} + 1?", "answer": f"{i}+1={i + 1}\n#### {i + 1}"} for i in range(start, start + n)
    ]


def test_two_files(tmp_path: Path) -> None:
    task = JsonlTask(
        write(tmp_path / "a.jsonl", rows(3)), test_path=write(tmp_path / "b.jsonl", rows(2, 10)), name="sums"
    )
    assert task.name == "sums"
    assert task.problems("train")[1] == Problem(
        "sums:train:2", "What is 1 + 1?", "2", domain="sums", solution="1+1=2\n#### 2"
    )
    assert [p.answer for p in task.problems("test")] == ["11", "12"]
    assert (task.skipped, task.overlap) == (0, 0)


def test_training_questions_that_the_test_file_holds_are_left_out(tmp_path: Path) -> None:
    test = [{"question": "what IS  1 + 1?", "answer": "2"}]
    task = JsonlTask(write(tmp_path / "a.jsonl", rows(3)), test_path=write(tmp_path / "b.jsonl", test))
    assert [p.answer for p in task.problems("train")] == ["1", "3"]
    assert task.overlap == 1


def test_hash_split_is_stable_and_disjoint(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.jsonl", rows(400) + [{"question": f"WHAT is  {i} + 1?", "answer": "0"} for i in range(100)]
    )
    task, again = (JsonlTask(path, test_fraction=0.25) for _ in range(2))
    assert task.problems("train") == again.problems("train")
    train, test = ({normalise_question(p.question) for p in task.problems(s)} for s in ("train", "test"))
    assert not train & test and len(train | test) == 400
    assert 60 < len(test) < 140
    assert len(task.problems("train")) + len(task.problems("test")) == 500
    # A row's side is a matter of its own text.
    alone = JsonlTask(write(tmp_path / "b.jsonl", rows(200)), test_fraction=0.25)
    assert {normalise_question(p.question) for p in alone.problems("test")} <= test


def test_limit_and_fields(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [{"problem": f"p{i}", "solution": "so \\boxed{4}"} for i in range(100)])
    task = JsonlTask(path, question_field="problem", answer_field="solution", limit=5, test_fraction=0.5)
    assert len(task.problems("train")) == len(task.problems("test")) == 5
    assert task.problems("train")[0].answer == "4"


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ("{not json", "not JSON"),
        ("[1]", "not a JSON object"),
        ({"question": "q"}, 'no field "answer"'),
        ({"question": "q", "answer": [5]}, 'field "answer" is list, not a string'),
        ({"question": " ", "answer": "5"}, 'field "question" is empty'),
        ({"question": "q", "answer": "5 ####"}, 'field "answer" ends without an answer'),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_a_bad_row_is_reported_skipped_and_counted(tmp_path: Path, caplog, bad: object, why: str) -> None:
    path = write(tmp_path / "a.jsonl", [*rows(15), "", bad, *rows(15, 15)])
    with caplog.at_level(logging.WARNING):
        task = JsonlTask(path)
    assert task.skipped == 1
    assert len(task.problems("train")) + len(task.problems("test")) == 30
    assert f"{path}:17: {why}" in caplog.text


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    lines = [json.dumps(row).encode() for row in rows(20)]
    path.write_bytes(b"\xef\xbb\xbf" + b"\r\n".join([*lines, b'{"question": "\xff", "answer": "1"}']))
    assert JsonlTask(path).skipped == 1


def test_user_errors(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.jsonl.*give the path"):
        JsonlTask(tmp_path / "nowhere.jsonl")
    with pytest.raises(UserError, match="cannot read"):
        JsonlTask(tmp_path)
    with pytest.raises(UserError, match=r"2 of 12 rows.*a\.jsonl:11: not JSON.*question_field"):
        JsonlTask(write(tmp_path / "a.jsonl", [*rows(10), "x", "y"]))
    with pytest.raises(UserError, match="no rows"):
        JsonlTask(write(tmp_path / "b.jsonl", [""]))
    with pytest.raises(UserError, match="test_fraction"):
        JsonlTask(tmp_path / "a.jsonl", test_fraction=1.5)
    with pytest.raises(UserError, match="limit"):
        JsonlTask(tmp_path / "a.jsonl", limit=0)
    task = JsonlTask(write(tmp_path / "c.jsonl", rows(1)))
    with pytest.raises(UserError, match='no split "dev"'):
        task.problems("dev")
    with pytest.raises(UserError, match=r"split of .* is empty"):
        [task.problems(split) for split in ("train", "test")]


def test_an_answer_may_be_a_number(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [{"question": "q", "answer": 27.0}, {"question": "r", "answer": "27"}])
    problems = JsonlTask(path, test_fraction=1).problems("test")
    assert [(p.id, p.answer, p.solution) for p in problems] == [("jsonl:1", "27", ""), ("jsonl:2", "27", "")]


def test_all_of_a_file_on_one_side(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", rows(50))
    assert len(JsonlTask(path, test_fraction=1.0).problems("test")) == 50
    assert len(JsonlTask(path, test_fraction=0.0).problems("train")) == 50


def test_long_questions_are_left_out_and_counted(tmp_path: Path, caplog) -> None:
    path = write(tmp_path / "a.jsonl", [*rows(20), {"question": "long " * 20, "answer": "1"}])
    with caplog.at_level(logging.WARNING):
        task = JsonlTask(path, test_fraction=0.0, max_question_characters=50)
    assert len(task.problems("train")) == 20
    assert "left out 1 of 21 problems longer than 50 characters of question" in caplog.text


def test_the_teacher_may_know_the_whole_solution(tmp_path: Path) -> None:
    task = JsonlTask(write(tmp_path / "a.jsonl", rows(1)), test_fraction=0.0, knowledge="solution")
    (problem,) = task.problems("train")
    assert task.static_knowledge(problem) == "a solution:\n0+1=1\n#### 1\nthe answer is 1"


@given(st.integers(2, 9999), st.text(max_size=30))
def test_replies_keep_the_gold_answer(answer: int, utterance: str) -> None:
    problem = Problem(id="1", question="q", answer=str(answer))
    task = MathTask("sums", {"train": (problem,)})
    assert task.static_knowledge(problem) == f"the answer is {answer}"
    (verdict,) = task.verify([(problem, utterance)])
    assert task.dynamic_knowledge(problem, verdict) == ""
    for verdict in (Verdict(False, True, "attempt 1; wrong"), Verdict(False, False), Verdict(True, True)):
        assert str(answer) not in task.reply(problem, (), verdict)


def test_gsm8k(real_data: Path) -> None:
    task = JsonlTask(real_data / "gsm8k" / "train.jsonl", test_path=real_data / "gsm8k" / "test.jsonl", limit=256)
    problems = task.problems("test")
    assert len(problems) == 256 and task.skipped == 0
    assert all(v.correct for v in task.verify([(p, f"The answer is {p.answer}") for p in problems]))
    assert not any(v.attempted for v in task.verify([(p, p.question) for p in problems if p.question.endswith("?")]))


@pytest.mark.parametrize(("name", "size"), [("college_math", 2818), ("aime24", 30), ("amc23", 40)])
def test_real_evaluation_files(real_data: Path, name: str, size: int) -> None:
    task = JsonlTask(real_data / "math_eval" / f"{name}.jsonl", name=name, test_fraction=1.0)
    assert len(task.problems("test")) == size and task.skipped == 0
