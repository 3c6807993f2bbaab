"""Every arm's teacher: who speaks, with whose parameters, knowing what. (What it reads is in test_rollout.)"""

from dataclasses import replace

import jax
import pytest
from dialogue_toys import DigitTask, put_on_stage

from sml_jax.common.errors import UserError
from sml_jax.dialogue import language_teacher
from sml_jax.dialogue.rollout import play
from sml_jax.dialogue.teacher import RolloutSetup, TeacherSpec
from sml_jax.dialogue.teachers import (
    Feedback,
    Function,
    LanguageTeacher,
    Retry,
    Scripted,
    Self,
    Shuffled,
    Uninformed,
    check_arms,
)

FROZEN, NOW = {"params": "the initial student's"}, {"params": "the student's at this moment"}


@pytest.mark.parametrize(
    ("arm", "name", "params", "knows"),
    [
        (Feedback(), "feedback", FROZEN, "own"),
        (Self(), "self", NOW, "none"),
        (Shuffled(), "shuffled", FROZEN, "other"),
        (Uninformed(), "uninformed", FROZEN, "none"),
    ],
)
def test_language_teachers(monkeypatch, task, chat, rules, engine, arm, name, params, knows):
    monkeypatch.setattr(language_teacher, "ContextBatch", lambda *made_of: made_of)
    key = jax.random.key(0)
    teacher = arm.make(RolloutSetup(task, chat, rules, engine, NOW, FROZEN, key))
    assert teacher._contexts == (engine, params, key)
    assert (teacher.knows, teacher.max_length, arm.name, arm.runs_model) == (knows, engine.max_length, name, True)


def test_all_are_specs_with_a_name_of_their_own(engine, params):
    own = Function(lambda task, problem, conversation, verdict: "no")
    specs = [Feedback(), Retry(), Self(), Shuffled(), Uninformed(), Scripted(), own, LanguageTeacher(engine, params)]
    assert all(isinstance(spec, TeacherSpec) for spec in specs) and len({spec.name for spec in specs}) == len(specs)
    assert Retry("again") == Retry("again") and Feedback() == Feedback() and not Scripted().runs_model
    check_arms(specs)


def test_arms_that_cannot_stand_beside_each_other_are_a_plain_error():
    with pytest.raises(UserError, match=r"suite: an arm stands twice in .*: give each once, or a name of its own"):
        check_arms((Retry(), Retry("other words")), "suite")
    check_arms((Retry(), Retry("other words", name="kind")))
    with pytest.raises(UserError, match=r"arms: no arms are given; take some, such as \(@teachers.Feedback\(\)"):
        check_arms(())


def test_retry_says_the_same_whatever_was_said(monkeypatch, chat, task, rules, engine, params):
    put_on_stage(monkeypatch, chat, lambda heard: "what?" if len(heard.context) % 2 else "9")
    rules = replace(rules, teacher_tokens=20)
    played = play(task, task.problems()[:4], chat, engine, params, Retry("once more"), rules, seed=0)
    for dialogue in played.dialogues:
        assert [t.text for t in dialogue.turns[1:] if t.role == "teacher"] == ["once more"] * 3
        assert dialogue.arm == "retry"
    assert played.forwarded["teacher"] == 0


def test_the_scripted_teacher_hears_the_conversation(monkeypatch, chat, task, rules, engine, params):
    put_on_stage(monkeypatch, chat, lambda heard: "9")
    rules = replace(rules, teacher_tokens=20)
    dialogue = play(task, task.problems()[:1], chat, engine, params, Scripted(), rules, seed=0).dialogues[0]
    assert [t.text for t in dialogue.turns[1:] if t.role == "teacher"] == ["no, 9 is wrong"] * 3


class QuestionTask(DigitTask):
    """Its script repeats the statement of the problem that it is called with."""

    def reply(self, problem, conversation, verdict):
        return problem.question


@pytest.mark.parametrize("threads", [0, 2])
def test_a_script_may_speak_about_another_problem(monkeypatch, chat, rules, engine, params, threads):
    put_on_stage(monkeypatch, chat, lambda heard: "nothing")
    task, rules = QuestionTask(), replace(rules, teacher_tokens=20, max_turns=2)
    problems = task.problems()[:3]
    for knows, told in (("own", ["find a", "find b", "find c"]), ("other", ["find b", "find c", "find a"])):
        teacher = Scripted(name=knows, threads=threads, knows=knows)
        played = play(task, problems, chat, engine, params, teacher, rules, seed=0)
        assert [dialogue.turns[2].text for dialogue in played.dialogues] == told
    with pytest.raises(UserError, match="at least 2 problems"):
        play(task, problems[:1], chat, engine, params, Scripted(knows="other"), rules, seed=0)
    with pytest.raises(UserError, match="knows is 'none'; a script speaks about its 'own' problem or an 'other'"):
        Scripted(knows="none")


def test_feedback_for_another_problem_needs_another_problem(chat, task, rules, engine, params):
    with pytest.raises(UserError, match="at least 2 problems"):
        play(task, task.problems()[:1], chat, engine, params, Shuffled(), rules, seed=0)


def test_a_given_text_longer_than_the_budget_is_cut_and_counted(monkeypatch, chat, task, rules, engine, params):
    put_on_stage(monkeypatch, chat, lambda heard: "9")
    long = "z" * (rules.teacher_tokens + 40)
    dialogue = play(task, task.problems()[:1], chat, engine, params, Retry(long), rules, seed=0).dialogues[0]
    said = [t.text for t in dialogue.turns[1:] if t.role == "teacher"]
    assert all(long.startswith(text) and len(chat.text(text)) <= rules.teacher_tokens for text in said)
    assert dialogue.truncated == len(said) == 3
