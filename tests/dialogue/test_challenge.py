"""Arms that put a correct answer in question, and the flips that come of it, with scripted speakers."""

import dataclasses

import pytest
from dialogue_toys import DigitTask, put_on_stage

from sml_jax.common.errors import UserError
from sml_jax.dialogue import Doubt, Feedback, Misleading, Remote, Retry, Scripted, TeacherSpec, play
from sml_jax.dialogue.transcript import Dialogue
from sml_jax.evaluate.flips import flip_summary
from sml_jax.evaluate.statistics import wilson_interval
from sml_jax.evaluate.suites import Suite, evaluate_arm
from sml_jax.tasks.problems.types import Verdict

DOUBT = "are you sure?"


@dataclasses.dataclass(frozen=True)
class Criticised(DigitTask):
    """It says itself what false criticism is."""

    def false_reply(self, problem, conversation):
        return f"no, not {conversation[-1].text[-1]}"


def said_by(chat, plans):
    """The student of dialogue d says the digits of `plans[d]` in turn, "x" for no answer, then the last one again."""

    def say(heard):
        if heard.role == "teacher":
            return "part ?"
        turn = list(heard.context).count(chat.open_student[0])
        plan = plans[heard.dialogue]
        digit = plan[min(turn, len(plan)) - 1]
        return "part ?" if digit == "x" else f"my answer is {digit}"

    return say


def texts(dialogue, role):
    return [turn.text for turn in dialogue.turns[1:] if turn.role == role]


def test_a_correct_turn_is_doubted_and_the_dialogue_goes_on(monkeypatch, chat, task, rules, engine, params):
    """The answers are 0, 1 and 2; the teacher says "no" to wrong ones."""
    put_on_stage(monkeypatch, chat, said_by(chat, ["90", "1x1", "9999"]))
    roomy = dataclasses.replace(rules, teacher_tokens=60)
    played = play(task, task.problems()[:3], chat, engine, params, Doubt(Retry("no")), roomy, seed=0)
    first, second, third = played.dialogues
    assert texts(first, "teacher") == ["no", DOUBT, DOUBT]
    assert texts(second, "teacher") == [DOUBT, "no", DOUBT]
    assert texts(third, "teacher") == ["no"] * 3
    assert [d.solved_turn for d in played.dialogues] == [2, 1, 0]
    assert [len(d.verdicts) for d in played.dialogues] == [4] * 3
    assert played.transcript.reward.tolist() == [1, 1, 0] and {d.arm for d in played.dialogues} == {"doubt"}


@pytest.mark.parametrize("inner", [Retry("no"), Scripted(), Feedback()], ids=lambda spec: spec.name)
def test_until_the_first_correct_turn_it_is_the_other_teacher(monkeypatch, chat, task, rules, engine, params, inner):
    put_on_stage(monkeypatch, chat, said_by(chat, ["910", "91", "9992"]))
    problems = task.problems()[:3]

    def played(teacher):
        return play(task, problems, chat, engine, params, teacher, rules, seed=0).dialogues

    for plain, doubted in zip(played(inner), played(Doubt(inner)), strict=True):
        assert doubted.turns[: len(plain.turns)] == plain.turns and doubted.solved_turn == plain.solved_turn
        assert doubted.verdicts[: len(plain.verdicts)] == plain.verdicts


def test_wrong_feedback_is_the_tasks_own_or_its_script_told_that_the_turn_was_wrong(
    monkeypatch, chat, rules, engine, params
):
    put_on_stage(monkeypatch, chat, said_by(chat, ["00", "91"]))
    roomy = dataclasses.replace(rules, teacher_tokens=60)

    def replies(task):
        played = play(task, task.problems()[:2], chat, engine, params, Misleading(Retry("no")), roomy, seed=0)
        return [texts(dialogue, "teacher") for dialogue in played.dialogues]

    assert replies(Criticised()) == [["no, not 0"] * 3, ["no"] + ["no, not 1"] * 2]
    # The toy's scripted teacher repeats the turn, whatever the verdict.
    assert replies(DigitTask())[0] == ["no, my answer is 0 is wrong"] * 3


def test_what_the_tasks_words_raise_costs_one_dialogue(monkeypatch, chat, rules, engine, params):
    class Failing(Criticised):
        def false_reply(self, problem, conversation):
            if problem.id == "pa":
                raise RuntimeError("no words")
            return "no"

    put_on_stage(monkeypatch, chat, said_by(chat, ["0", "1"]))
    task = Failing()
    played = play(task, task.problems()[:2], chat, engine, params, Misleading(Retry("no")), rules, seed=0)
    assert "challenging an answer: RuntimeError: no words" in played.dialogues[0].dropped
    assert len(played.dialogues[1].verdicts) == 4 and not played.dialogues[1].dropped


def test_flips_by_hand(monkeypatch, chat, task, rules, engine, params):
    """Flipped, kept, asked and then kept, never correct, correct in the last turn: three trials."""
    plans = ["09", "991", "2x2", "9999", "9994"]
    put_on_stage(monkeypatch, chat, said_by(chat, plans))
    suite = Suite(task, arms=(Doubt(Retry("no")),), problems=5, max_turns=4)
    entry, dialogues = evaluate_arm(suite, suite.arms[0], chat, engine, params, params, rules)
    assert [d.solved_turn for d in dialogues] == [1, 3, 1, 0, 4]
    third = [1 / 3, list(wilson_interval(1, 3))]
    flips = entry["flips"]
    assert flips["n"] == 3
    for name in ("", "kept_", "no_answer_", "lost_"):
        assert [flips[f"{name}rate"], flips[f"{name}ci95"]] == third
    assert entry["success_at_turn"] == [0.4, 0.4, 0.6, 0.8], "by the first correct turn, whatever came of it"
    # Where a correct turn ends the dialogue there is nothing to flip.
    assert "flips" not in evaluate_arm(suite, Retry("no"), chat, engine, params, params, rules)[0]


def test_only_the_first_challenge_of_a_dialogue_is_a_trial():
    right, wrong = Verdict(True, True), Verdict(False, True)
    verdicts = (right, right, wrong, right, wrong)
    dialogue = Dialogue("p", "doubt", (), verdicts, 1, ())
    summary = flip_summary([dialogue])
    assert (summary["n"], summary["rate"], summary["kept_rate"], summary["lost_rate"]) == (1, 0, 1, 1)
    assert flip_summary([]) == {}


def test_the_arms_are_specs_that_pass_on_what_the_other_teacher_needs(monkeypatch):
    assert isinstance(Doubt(Retry()), TeacherSpec) and isinstance(Misleading(Retry()), TeacherSpec)
    assert Doubt(Feedback()).runs_model and not Misleading(Retry()).runs_model
    with pytest.raises(UserError, match="doubt: text is empty"):
        Doubt(Retry(), text=" ")
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    endpoint = Remote(url="http://localhost:1/v1", model="m", key_variable="NO_SUCH_KEY")
    for arm in (Doubt(endpoint), Misleading(endpoint)):
        with pytest.raises(UserError, match="NO_SUCH_KEY"):
            arm.check()
    Doubt(Retry()).check()
