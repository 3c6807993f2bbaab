"""CodeTask: verdicts in order and side by side, totality, what its teacher knows and says, and what it refuses."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sml_jax.common.errors import UserError
from sml_jax.tasks.code import task as code_task
from sml_jax.tasks.code.problem import CallCase, CodeProblem, IoCase
from sml_jax.tasks.code.sandbox import Limits
from sml_jax.tasks.code.task import CodeTask, verify_program
from sml_jax.tasks.problems.types import Problem, Task, Turn, Verdict

ADD = CodeProblem(
    id="add",
    question="Write add(a, b).",
    answer="def add(a, b):\n    return a + b",
    tests=("assert add(1, 2) == 3", "assert add(-1, 1) == 0"),
    entry="add",
)
TWICE = CodeProblem(
    id="twice", question="Print twice the number.", answer="print(2 * int(input()))", cases=(IoCase("2", "4"),)
)
BEGUN = CodeProblem(
    id="begun",
    question="Complete half.",
    answer="    return x / 2",
    tests=("def check(candidate):\n    assert candidate(3) == 1.5\n", "check(half)"),
    cases=(CallCase("[5]", "2.5"),),
    setup="import math",
    entry="half",
    prefix='def half(x: float) -> float:\n    """Half of x."""\n',
)
GOOD = {"add": "```python\ndef add(a, b):\n    return a + b\n```", "twice": TWICE.answer, "begun": BEGUN.answer}
BAD = "```python\ndef add(a, b):\n    return a - b\n```"
BAD_DETAIL = "test 1 (assert add(1, 2) == 3) failed: expected 3, got -1"


@pytest.fixture
def task() -> CodeTask:
    return CodeTask("code", {"train": [ADD, TWICE, BEGUN], "test": [ADD]}, workers=2)


def test_is_a_task(task: CodeTask) -> None:
    assert isinstance(task, Task) and task.name == "code"
    assert [p.id for p in task.problems("train")] == ["add", "twice", "begun"]


def test_verdicts_come_in_order(task: CodeTask) -> None:
    items = [
        (ADD, GOOD["add"]),
        (ADD, "Must it take strings?"),
        (TWICE, GOOD["twice"]),
        (ADD, BAD),
        (BEGUN, GOOD["begun"]),
        (BEGUN, "```python\n    return x\n```"),
        (TWICE, "```python\nprint(3)\n```"),
        (ADD, "```python\ndef plus(a, b):\n    return a + b\n```"),
    ]
    assert [(v.correct, v.attempted) for v in task.verify(items)] == [
        *[(True, True), (False, False), (True, True), (False, True), (True, True), (False, True), (False, True)],
        (False, True),
    ]
    assert task.verify([]) == []
    details = [v.detail for v in task.verify(items)]
    assert details[3] == BAD_DETAIL
    assert details[1] == code_task.NO_CODE
    assert details[5] == "test 2 (assert candidate(3) == 1.5) failed: expected 1.5, got 3"
    assert details[6] == "case 1 (input '2') failed: expected '4', got '3'"
    assert details[7].startswith("test 1 (assert add(1, 2) == 3) failed: NameError: name 'add' is not defined")


def test_cases_count_after_the_tests() -> None:
    only_three = verify_program(BEGUN, "def half(x):\n    return 1.5")
    assert not only_three.correct and only_three.detail == "case 1 (half(5)) failed: expected 2.5, got 1.5"
    with pytest.raises(UserError, match="x has neither tests nor cases"):
        verify_program(CodeProblem(id="x", question="", answer=""), "x = 1")


def test_two_at_once_and_never_more_than_workers(task: CodeTask, monkeypatch: pytest.MonkeyPatch) -> None:
    pair, active, most, lock = threading.Barrier(2, timeout=60), [0], [0], threading.Lock()

    def slow(program: str, *_: object) -> Verdict:
        with lock:
            active[0] += 1
            most[0] = max(most[0], active[0])
        pair.wait()  # breaks unless two wait together
        with lock:
            active[0] -= 1
        return Verdict(correct=True, attempted=True, detail=program)

    monkeypatch.setattr(code_task, "run_tests", slow)
    items = [(ADD, f"```python\ndef add(a, b):\n    return {n}\n```") for n in range(12)]
    results: list[list[Verdict]] = []
    callers = [threading.Thread(target=lambda: results.append(task.verify(items))) for _ in range(2)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert most[0] == 2 and len(results) == 2
    for verdicts in results:
        assert [int(v.detail.rpartition(" ")[2]) for v in verdicts] == list(range(12))


def test_the_same_program_is_run_once(task: CodeTask, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[str] = []

    def count(program: str, *_: object) -> Verdict:
        runs.append(program)
        return Verdict(correct=True, attempted=True)

    monkeypatch.setattr(code_task, "run_tests", count)
    assert len(task.verify([(ADD, GOOD["add"])] * 5 + [(ADD, BAD)])) == 6
    assert len(runs) == 2


def test_a_harness_that_fails_is_never_a_wrong_answer(task: CodeTask, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> Verdict:
        raise RuntimeError("no process could be started")

    monkeypatch.setattr(code_task, "run_tests", broken)
    with pytest.raises(RuntimeError, match="no process"):
        task.verify([(ADD, GOOD["add"]), (ADD, BAD)])


@settings(max_examples=25)
@given(st.text() | st.text(alphabet="def add(a, b):\n return `x'\"\\#\0").map(lambda s: f"```python\n{s}\n```"))
def test_any_text_gets_a_verdict(text: str) -> None:
    task = CodeTask("code", {"test": [ADD, BEGUN]}, Limits(wall_s=60.0, cpu_s=2), workers=1)
    for verdict in task.verify([(ADD, text), (BEGUN, text)]):
        assert not verdict.correct and len(verdict.detail) <= 400


def test_what_the_teacher_knows(task: CodeTask) -> None:
    verdict = task.verify([(ADD, BAD)])[0]
    assert task.static_knowledge(ADD) == "" and task.dynamic_knowledge(ADD, None) == ""
    assert task.dynamic_knowledge(ADD, verdict) == BAD_DETAIL


@pytest.mark.parametrize(
    ("utterance", "reply"),
    [
        (GOOD["add"], "That is correct. All tests pass."),
        ("Must it take strings?", "I found no program in that. Write the whole of it in one ```python block."),
        (BAD, "That is not correct. It runs, but one result is wrong: I got -1. Go through your steps again."),
        (
            "def add(a, b):\n    return a + c",
            "That is not correct. It stops with an error: NameError: name 'c' is not defined (line 2: return a + c).",
        ),
        (
            "def add(a, b):\n    while True: pass",
            "That is not correct. It does not end in time, at line 2: while True: pass. "
            "Look for a loop that never stops.",
        ),
    ],
)
def test_the_scripted_teacher_tells_the_failure_and_not_the_answer(utterance: str, reply: str) -> None:
    task = CodeTask("code", {"test": [ADD]}, Limits(wall_s=60.0, cpu_s=1))
    verdict = task.verify([(ADD, utterance)])[0]
    assert task.reply(ADD, [Turn("teacher", ADD.question), Turn("student", utterance)], verdict) == reply


def test_problems_may_stay_on_disk() -> None:
    class Stored(Sequence[CodeProblem]):
        """Makes its problems when asked."""

        def __len__(self) -> int:
            return 10**9

        def __getitem__(self, index: Any) -> Any:
            return replace(ADD, id=str(index))

    task = CodeTask("code", {"train": Stored()})
    assert task.problems("train")[7].id == "7"
    assert task.verify([(task.problems("train")[3], GOOD["add"])])[0].correct


def test_what_it_refuses(task: CodeTask) -> None:
    call = CodeProblem(id="c", question="q", answer="a", cases=(CallCase("[]", "1"),))
    bare = CodeProblem(id="b", question="q", answer="a")
    for problems, words in (
        ([bare], "b has neither"),
        ([ADD, ADD], '"add" is there twice'),
        ([call], "name it in entry"),
    ):
        with pytest.raises(UserError, match=words):
            CodeTask("code", {"train": problems})
    with pytest.raises(UserError, match="workers is 0"):
        CodeTask("code", {}, workers=0)
    with pytest.raises(UserError, match="split"):
        task.problems("validation")
    with pytest.raises(UserError, match="is not a CodeProblem"):
        task.verify([(Problem(id="p", question="q", answer="a"), "x")])
