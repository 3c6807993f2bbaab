"""What goes wrong with one dialogue is that dialogue's end, and leaves every other as it would have been."""

import dataclasses
import logging
import math
import sys
from dataclasses import dataclass

import numpy as np
import pytest
from dialogue_toys import DigitTask, FailingTask

from sml_jax.common.errors import UserError
from sml_jax.dialogue import judging
from sml_jax.dialogue.context_budget import required_length
from sml_jax.dialogue.drops import dialogues_to_log
from sml_jax.dialogue.rollout import play
from sml_jax.dialogue.rules import LeakGuard, QuestionInjection
from sml_jax.dialogue.statistics import dialogue_statistics
from sml_jax.dialogue.teachers import LanguageTeacher, Retry, Scripted
from sml_jax.dialogue.transcript import Dialogue
from sml_jax.tasks.problems.types import Turn, Verdict
from sml_jax.text.chat import ChatFormat

BAD = 2  # the place of the bad problem among the task's
PROBLEMS = DigitTask().problems()
GROUP = 2  # dialogues of each, 16 in all: twice the engine's rows


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(judging.time, "sleep", lambda seconds: None)


@pytest.fixture(scope="module")
def run(chat, rules, engine, params):
    """`run(teacher, ...)` plays the toy task's problems with the tiny model; clean runs are kept."""
    clean = {}
    teachers = {
        "own": LanguageTeacher(engine, params),
        "other": LanguageTeacher(engine, params, "other"),
        "scripted": Scripted(),
        "retry": Retry(),
    }

    def go(teacher, task=None, problems=PROBLEMS, framing=chat, **changes):
        plain = isinstance(teacher, str) and task is None and problems is PROBLEMS
        key = (teacher, *sorted(changes.items())) if plain else None
        if key in clean:
            return clean[key]
        played = play(
            task or DigitTask(easy=True),
            problems,
            framing,
            engine,
            params,
            teachers[teacher] if isinstance(teacher, str) else teacher,
            dataclasses.replace(rules, **changes),
            seed=1,
            group_size=GROUP,
        )
        if key is not None:
            clean[key] = played
        return played

    return go


def assert_only_dropped(clean, played, dropped):
    """`dropped` are the numbers of the dialogues that are out; the others are those of `clean`, token for token."""
    one, other = clean.transcript, played.transcript
    assert not one.dropped.any() and np.flatnonzero(other.dropped).tolist() == list(dropped)
    for i in range(len(one.length)):
        n = other.length[i]
        if i in dropped:
            assert played.dialogues[i].dropped and played.dialogues[i].solved_turn == 0
            assert not other.student[i].any() and not other.turn[i].any() and not other.injected[i].any()
            assert not other.logprob[i].any() and not other.sampling_logprob[i].any()
            assert other.reward[i] == other.solved_turn[i] == 0
            assert other.tokens[i, :n].tolist() == one.tokens[i, :n].tolist(), "as far as it came"
            continue
        assert played.dialogues[i] == clean.dialogues[i]
        for name in ("length", "reward", "solved_turn", "turns", "group"):
            assert getattr(one, name)[i] == getattr(other, name)[i]
        for name in ("tokens", "student", "injected", "turn"):
            np.testing.assert_array_equal(getattr(one, name)[i, :n], getattr(other, name)[i, :n], name)
        for name in ("logprob", "sampling_logprob"):  # their last digits depend on who is in a row's call
            np.testing.assert_allclose(getattr(one, name)[i, :n], getattr(other, name)[i, :n], rtol=1e-5)


def fails_on(*said, problem=PROBLEMS[BAD].id):
    """Fails on what is said about a problem; on everything if nothing is named."""

    def fails(items, call):
        for about, text in items:
            if about.id == problem and (not said or text in said):
                raise RuntimeError("no process")

    return FailingTask(easy=True, fails=fails)


CASES = [
    ("own", {}),
    pytest.param("own", {"overlap_verification": True}, marks=pytest.mark.extra),
    ("own", {"injection": QuestionInjection(1.0)}),
    ("scripted", {"overlap_verification": True}),
]
IDS = ["plain", "overlapped", "primed", "scripted"]


@pytest.mark.parametrize(("teacher", "changes"), CASES, ids=IDS)
def test_a_verifier_that_fails_drops_its_dialogues_alone(run, teacher, changes):
    clean, played = run(teacher, **changes), run(teacher, fails_on(), **changes)
    assert_only_dropped(clean, played, [4, 5])
    for dialogue in played.dialogues[4:6]:
        assert dialogue.dropped.startswith("verifier: RuntimeError: no process (test_dropped.py, line ")
        assert dialogue.verdicts == () and [turn.role for turn in dialogue.turns] == ["teacher", "student"]
    statistics = dialogue_statistics(played.dialogues)
    assert statistics["dropped_rate"] == 2 / 16 and statistics["verifier_errors"] == 2


def test_a_verifier_that_fails_in_the_middle_of_a_dialogue(run):
    clean = run("own")
    number = next(i for i, d in enumerate(clean.dialogues) if len(d.verdicts) > 2)
    dialogue = clean.dialogues[number]
    said = [turn.text for turn in dialogue.turns if turn.role == "student"]
    assert said[1] not in said[:1]
    played = run("own", fails_on(said[1], problem=dialogue.problem_id))
    dropped = [i for i, d in enumerate(played.dialogues) if d.dropped]
    assert number in dropped and {played.dialogues[i].problem_id for i in dropped} == {dialogue.problem_id}
    assert_only_dropped(clean, played, dropped)
    assert played.dialogues[number].verdicts == dialogue.verdicts[:1]
    assert played.dialogues[number].turns == dialogue.turns[:4]


def test_a_verifier_that_works_when_asked_again_changes_nothing(run):
    def fails(items, call):
        if call % 2:
            raise RuntimeError("busy")

    assert_only_dropped(run("own"), run("own", FailingTask(easy=True, fails=fails)), [])


def test_a_problem_that_a_teacher_wrongly_knows_drops_the_dialogue_that_it_is_read_in(run):
    """The teacher of problem 1 knows problem 2, which nothing can be judged by."""
    clean, played = run("other"), run("other", fails_on())
    neighbours = [i for i in (2, 3) if clean.dialogues[i].solved_turn != 1]
    assert neighbours, "one of them goes on long enough to be read about"
    assert_only_dropped(clean, played, [*neighbours, 4, 5])
    assert "on problem pc, which the teacher knows" in played.dialogues[neighbours[0]].dropped


def test_a_question_that_cannot_be_judged_drops_its_dialogue(run):
    changes = {"injection": QuestionInjection(1.0)}
    clean = run("own", **changes)
    number, dialogue = next((i, d) for i, d in enumerate(clean.dialogues) if d.injected_turns == (1,))
    question = dialogue.turns[1].text
    played = run("own", fails_on(question, problem=dialogue.problem_id), **changes)
    assert played.dialogues[number].dropped.startswith("verifier: on a question: RuntimeError")
    assert_only_dropped(clean, played, np.flatnonzero(played.transcript.dropped).tolist())


@dataclass(frozen=True)
class Breaking(DigitTask):
    """One method raises for the bad problem."""

    method: str = ""

    def _maybe(self, method, problem):
        if method == self.method and problem.id == PROBLEMS[BAD].id:
            raise ValueError("no number")

    def static_knowledge(self, problem):
        self._maybe("static_knowledge", problem)
        return super().static_knowledge(problem)

    def dynamic_knowledge(self, problem, verdict):
        self._maybe("dynamic_knowledge", problem)
        return super().dynamic_knowledge(problem, verdict)

    def reply(self, problem, conversation, verdict):
        self._maybe("reply", problem)
        return super().reply(problem, conversation, verdict)


@pytest.mark.parametrize(
    ("teacher", "method", "doing"),
    [
        ("own", "static_knowledge", "opening the dialogue"),
        ("own", "dynamic_knowledge", "writing what the teacher learns"),
        ("scripted", "reply", "the scripted reply"),
    ],
)
def test_what_a_task_raises_about_one_problem_drops_its_dialogues_alone(run, caplog, teacher, method, doing):
    with caplog.at_level(logging.WARNING):
        played = run(teacher, Breaking(easy=True, method=method))
    assert_only_dropped(run(teacher), played, [i for i in (4, 5) if run(teacher).dialogues[i].solved_turn != 1])
    reasons = {d.dropped for d in played.dialogues if d.dropped}
    (reason,) = reasons
    assert reason.startswith(f"problem: {doing}: ValueError: no number (test_dropped.py, line ")
    assert [record.message for record in caplog.records] == [f"problem pc: dialogue dropped: {reason}"], "once"
    assert dialogue_statistics(played.dialogues)["verifier_errors"] == 0


@dataclass(frozen=True)
class BreakingTeacher(LanguageTeacher):
    method: str = ""

    def turns(self, problem):
        return self._maybe("turns", problem, super().turns(problem))

    def reads(self, task, problem, verdict, revealed):
        return self._maybe("reads", problem, super().reads(task, problem, verdict, revealed))

    def message(self, problem, marked, revealed):
        return self._maybe("message", problem, super().message(problem, marked, revealed))

    def replacement(self, problem, revealed, redaction):
        return self._maybe("replacement", problem, super().replacement(problem, revealed, redaction))

    def _maybe(self, method, problem, value):
        if method == self.method and problem.id == PROBLEMS[BAD].id:
            raise UnicodeError("half a character")
        return value


@pytest.mark.parametrize("method", ["turns", "reads", "message", "replacement"])
def test_what_a_teacher_raises_about_one_problem_drops_its_dialogues_alone(run, monkeypatch, engine, params, method):
    changes = {"guard": LeakGuard(regenerations=1)}
    monkeypatch.setattr(DigitTask, "leaks", lambda *_: True)  # all are replaced
    clean = run("own", DigitTask(easy=True), **changes)
    played = run(BreakingTeacher(engine, params, method=method), **changes)
    assert_only_dropped(clean, played, [i for i in (4, 5) if clean.dialogues[i].solved_turn != 1])
    assert "UnicodeError: half a character" in played.dialogues[4].dropped + played.dialogues[5].dropped


@pytest.mark.parametrize("module", ["teacher_side", "student_side"])
def test_a_leak_guard_that_raises_drops_the_dialogue(run, monkeypatch, module):
    changes = {"injection": QuestionInjection(1.0)}
    clean = run("own", **changes)
    leaks = DigitTask.leaks

    def breaks(task, problem, said, public):
        caller = sys._getframe(1).f_globals["__name__"]
        if problem.answer == PROBLEMS[BAD].answer and caller == f"sml_jax.dialogue.{module}":
            raise RecursionError("too deep")
        return leaks(task, problem, said, public)

    monkeypatch.setattr(DigitTask, "leaks", breaks)
    played = run("own", DigitTask(easy=True), **changes)
    dropped = np.flatnonzero(played.transcript.dropped).tolist()
    assert dropped and set(dropped) <= {4, 5}
    assert_only_dropped(clean, played, dropped)
    assert "RecursionError: too deep" in played.dialogues[dropped[0]].dropped


@dataclass(frozen=True)
class Picky(ChatFormat):
    """A framing that fails on half a surrogate pair."""

    def text(self, text):
        text.encode()
        return super().text(text)


def test_a_problem_that_cannot_be_written_down(run, chat, task, rules):
    """It is left out of the room that is asked for, and dropped when it is played."""
    picky = Picky(**vars(chat))
    bad = dataclasses.replace(PROBLEMS[BAD], question="\ud800")
    problems = [bad if i == BAD else problem for i, problem in enumerate(PROBLEMS)]
    played = run("own", problems=problems, framing=picky)
    assert_only_dropped(run("own"), played, [4, 5])
    assert "Unicode" in played.dialogues[4].dropped and played.dialogues[4].tokens == ()
    without = [problem for problem in PROBLEMS if problem is not PROBLEMS[BAD]]
    assert required_length(picky, task, problems, rules) == required_length(chat, task, without, rules)
    with pytest.raises(UserError, match="digits: none of 1 problems can be written down for a model: problem pc: Unic"):
        required_length(picky, task, [bad], rules)


def test_a_rollout_of_which_nothing_is_left_names_the_error(run):
    def fails(items, call):
        raise RuntimeError("the tests are not there")

    task = FailingTask(easy=True, fails=fails)
    with pytest.raises(UserError, match=r"every one of 16 dialogues was dropped.*16 .*: verifier: .*tests are not the"):
        run("own", task)
    alone = run("own", task, PROBLEMS[:1])
    assert alone.transcript.dropped.all(), "one bad problem alone ends nothing"
    statistics = dialogue_statistics(alone.dialogues)
    assert statistics["dropped_rate"] == 1 and math.isnan(statistics["success"]) and math.isnan(statistics["turns"])


def test_engine_errors_are_nobodys_and_end_the_run(run, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("out of memory")

    monkeypatch.setattr("sml_jax.engine.engine.Engine.decode", broken)
    with pytest.raises(RuntimeError, match="out of memory"):
        run("own", DigitTask(easy=True))


def dialogue(problem, solved=0, turns=2, dropped="", **more):
    said = (Turn("teacher", "q"), *(Turn("student", "a"), Turn("teacher", "no")) * (turns - 1), Turn("student", "a"))
    verdicts = tuple(Verdict(turn == solved, True) for turn in range(1, turns + 1))
    return Dialogue(problem, "feedback", said, verdicts, solved, (), dropped=dropped, **more)


def test_statistics_are_of_those_that_count():
    """By hand: of five dialogues three count, with 2 + 1 + 2 student turns and 1 + 0 + 1 replies."""
    dialogues = [
        dialogue("a", solved=2, leaks=1, one_steps=1),
        dialogue("a", solved=1, turns=1),
        dialogue("b", overlong=True, truncated=1),
        dialogue("b", dropped="verifier: x", turns=4, leaks=3, one_steps=2, truncated=4),
        dialogue("c", dropped="problem: x", turns=4, redactions=3),
    ]
    found = dialogue_statistics(dialogues)
    assert found == {
        "success": 2 / 3, "first_turn_success": 1 / 3, "turns": 5 / 3, "attempt_rate": 1.0, "leak_rate": 1 / 2,
        "one_step_rate": 1 / 2, "unmarked_rate": 0.0, "redaction_rate": 0.0, "truncated_rate": 1 / 7,
        "injected_rate": 0.0, "overlong_rate": 1 / 3, "dropped_rate": 2 / 5, "verifier_errors": 1.0,
        "teacher_errors": 0.0,
    }  # fmt: skip


def test_one_dropped_dialogue_of_each_problem_is_worth_writing():
    bad = [dialogue("p", dropped="verifier: 1"), dialogue("q", dropped="verifier: 2"), dialogue("q", dropped="x: 3")]
    dialogues = [dialogue("a"), bad[0], dialogue("a"), bad[0], bad[1], dialogue("b"), bad[2]]
    assert dialogues_to_log(dialogues, 2) == [*dialogues[:2], bad[1]]
    assert dialogues_to_log(dialogues, 0) == bad[:2]
    assert dialogues_to_log(dialogues, 7) == dialogues
