"""A talk with a model whose words are given: what each typed line does to the dialogue and to the screen."""

import builtins
import json
from dataclasses import replace

import pytest
from dialogue_toys import put_on_stage

from sml_jax.cli.chat_terminal import Terminal
from sml_jax.dialogue.rules import LeakGuard
from sml_jax.dialogue.student_side import StudentSide
from sml_jax.run.chat_dialogue import ChatModel
from sml_jax.run.typed_problems import TypedProblems


@pytest.fixture
def talk(monkeypatch, chat, engine, task, rules, params, tmp_path, capsys):
    """Runs a talk in which these lines are typed; returns the screen, what was saved, and what the model was shown."""

    def go(person, *lines, says=lambda heard: f"try {heard.dialogue}", problem=None):
        stage = put_on_stage(monkeypatch, chat, says)
        typed = iter(lines)

        def read(prompt):
            line = next(typed, None)
            print(prompt, end="")
            if line is None:
                raise EOFError
            return line

        monkeypatch.setattr(builtins, "input", read)
        roomy = replace(rules, student_tokens=20, teacher_tokens=20)
        model = ChatModel(TypedProblems(task), chat, engine, params, roomy)
        Terminal(model, task.problems()[:2], person, tmp_path / "saved" / "chat.jsonl", "toy").run(problem)
        saved = tmp_path / "saved" / "chat.jsonl"
        records = [json.loads(line) for line in saved.read_text().splitlines()] if saved.exists() else []
        return capsys.readouterr().out, records, stage

    return go


def test_the_student_goes_on_from_what_the_person_says(talk, chat):
    screen, (record,), stage = talk("teacher", "less than that", "/save", problem="why = 7")
    assert [turn["text"] for turn in record["turns"]] == ["why", "try 0", "less than that", "try 0"]
    assert (record["arm"], record["policy"], record["problem_id"]) == ("person", "toy", "typed-1")
    assert [verdict["correct"] for verdict in record["verdicts"]] == [False, False]
    # The tokens are those of training: the student's second turn was asked for after them.
    said = chat.text("try 0")
    assert stage.of("student")[1].context == (
        *chat.student_opening("why"), *said, *chat.stop_ids[:1], *chat.student_hears(chat.text("less than that"))
    )  # fmt: skip
    assert "[for you alone: the final answer is 7]" in screen and "[turn 2 of 4: " in screen


def test_retry_is_another_sample_of_the_same_turn(talk):
    _, (record,), stage = talk("teacher", "no", "/retry", "/save", problem="why = 7")
    assert [turn["text"] for turn in record["turns"]] == ["why", "try 0", "no", "try 1"]
    assert [heard.dialogue for heard in stage.of("student")] == [0, 0, 1]
    assert stage.of("student")[1].context == stage.of("student")[2].context


def test_a_correct_turn_ends_the_dialogue_and_problem_begins_the_next(talk, task):
    screen, records, _ = talk(
        "teacher", "more", "/problem", "/problem", "/problem", says=lambda heard: "0", problem=None
    )
    assert "[turn 1 of 4: correct]\n[the dialogue is over: /save, /retry, /problem or /quit]" in screen
    assert "[this dialogue is over: /problem begins a new one]" in screen
    assert f"problem {task.problems()[1].id}: " in screen and screen.count("[no problem is left: ") == 2
    assert records == []


def test_a_reply_that_gives_the_answer_away_is_said_and_counted(talk):
    screen, (record,), _ = talk("teacher", "it is 7", "/save", problem="why = 7")
    assert "[this gives the answer away, and is saved as a leak]" in screen
    assert record["leak"] and record["turns"][2]["text"] == "it is 7"


def test_the_person_is_the_student_and_the_leak_guard_holds(talk):
    def says(heard):
        return "it is 7" if heard.dialogue == 0 else "look again"

    lines = ("is it 5?", "/save", "/retry", "is it 6?", "/save", "x" * 60, "7", "more")
    screen, (leaky, fine), stage = talk("student", *lines, says=says, problem="why = 7")
    assert "for you alone" not in screen and "it is 7" not in screen
    assert [turn["text"] for turn in leaky["turns"]] == ["why", "is it 5?", LeakGuard().redaction]
    assert (leaky["leaks"], leaky["redactions"], leaky["policy"], leaky["arm"]) == (1, 1, "person", "feedback")
    assert [turn["text"] for turn in fine["turns"]] == ["why", "is it 6?", "look again"] and not fine["leak"]
    assert len(stage.of("teacher", 0)) == 3 and not stage.of("student")
    assert "and a student's turn at most 20]" in screen.replace("\n", " ") and "[turn 2 of 4: correct]" in screen


def test_ctrl_c_stops_a_reply_and_the_talk_goes_on(talk, monkeypatch):
    dispatch, calls = StudentSide.dispatch, []

    def interrupted(self, stop_fraction):
        calls.append(stop_fraction)
        if len(calls) == 2:
            raise KeyboardInterrupt
        dispatch(self, stop_fraction)

    monkeypatch.setattr(StudentSide, "dispatch", interrupted)
    screen, (record,), _ = talk("teacher", "no", "more", "/retry", "/save", problem="why = 7")
    assert "[stopped: /retry lets the model speak again]" in screen and "[the model's turn: /retry]" in screen
    assert [turn["text"] for turn in record["turns"]] == ["why", "try 0", "no", "try 1"]


def test_what_is_no_command_or_has_no_sense_is_said(talk):
    screen, _, _ = talk("student", "/oops", "/retry", "", "/quit", problem="why")
    assert "[no command /oops: there are /retry, " in screen and "[there is no turn to take back]" in screen
    assert talk("teacher", problem="why")[0].count("[turn 1 of 4: not judged]") == 1
