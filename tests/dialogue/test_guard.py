"""The leak guard at work: sampled again, then redacted; counted once; the leak stays out of every context."""

import dataclasses

import pytest
from dialogue_toys import DigitTask, put_on_stage

from sml_jax.dialogue.rollout import play
from sml_jax.dialogue.rules import LeakGuard
from sml_jax.dialogue.statistics import dialogue_statistics
from sml_jax.dialogue.teachers import LanguageTeacher, Scripted

REDACTION = LeakGuard().redaction


def played_with(monkeypatch, chat, rules, engine, params, teacher_says, guard, task=None, problems=None):
    def say(heard):
        return teacher_says(heard) if heard.role == "teacher" else "9"

    stage = put_on_stage(monkeypatch, chat, say)
    task = task or DigitTask()
    played = play(
        task,
        problems or task.problems()[:2],
        chat,
        engine,
        params,
        LanguageTeacher(engine, params),
        dataclasses.replace(rules, guard=guard),
        seed=0,
    )
    return stage, played


def replies(dialogue):
    return [turn.text for turn in dialogue.turns[1:] if turn.role == "teacher"]


@pytest.mark.parametrize("regenerations", [0, 1, 3])
def test_a_teacher_that_always_leaks_is_redacted(monkeypatch, chat, rules, engine, params, regenerations):
    guard = LeakGuard(regenerations=regenerations)
    stage, played = played_with(monkeypatch, chat, rules, engine, params, lambda h: f"it is {h.dialogue}", guard)
    for i, dialogue in enumerate(played.dialogues):
        assert (dialogue.leaks, dialogue.redactions) == (3, 3), "once a turn, however often it was drawn"
        assert replies(dialogue) == [REDACTION] * 3
        assert [h.salt for h in stage.of("teacher", i)] == list(range(regenerations + 1)) * 3
        leak = chat.turn("teacher", f"it is {i}")
        redacted = chat.turn("teacher", REDACTION)
        for turn, heard in enumerate(stage.of("teacher", i)[:: regenerations + 1]):
            assert occurrences(heard.context, redacted) == turn
        for heard in stage.heard:
            assert heard.dialogue != i or not occurrences(heard.context, leak)
        assert occurrences(dialogue.tokens, redacted) == 3 and not occurrences(dialogue.tokens, leak)
    statistics = dialogue_statistics(played.dialogues)
    assert statistics["leak_rate"] == statistics["redaction_rate"] == 1
    # The fixed words are not the teacher's, so critique prediction does not learn them.
    assert not played.transcript.teacher.any()


def occurrences(tokens, part):
    tokens, part = list(tokens), list(part)
    return sum(tokens[i : i + len(part)] == part for i in range(len(tokens)))


def test_a_leak_in_the_first_draw_alone_is_counted_and_not_redacted(monkeypatch, chat, rules, engine, params):
    stage, played = played_with(
        monkeypatch,
        chat,
        rules,
        engine,
        params,
        lambda h: f"it is {h.dialogue}" if h.salt == 0 and h.dialogue == 1 else f"no {h.salt + 5}",
        LeakGuard(regenerations=2),
    )
    clean, leaky = played.dialogues
    assert (clean.leaks, clean.redactions, leaky.leaks, leaky.redactions) == (0, 0, 3, 0)
    assert replies(clean) == ["no 5"] * 3 and replies(leaky) == ["no 6"] * 3
    assert [h.salt for h in stage.of("teacher", 0)] == [0] * 3, "who did not leak is not asked again"
    assert [h.salt for h in stage.of("teacher", 1)] == [0, 1] * 3
    first, again = stage.of("teacher", 1)[:2]
    assert first.context == again.context, "the second draw starts from the same place"
    assert dialogue_statistics(played.dialogues)["leak_rate"] == 0.5


def test_what_the_problem_itself_says_is_no_leak(monkeypatch, chat, task, rules, engine, params):
    problems = [dataclasses.replace(task.problems()[3], question="find 3 c")]
    _, played = played_with(monkeypatch, chat, rules, engine, params, lambda h: "not 3", LeakGuard(), problems=problems)
    assert played.dialogues[0].leaks == 0 and replies(played.dialogues[0]) == ["not 3"] * 3


@dataclasses.dataclass(frozen=True)
class TellTale(DigitTask):
    def reply(self, problem, conversation, verdict):
        return f"it is {problem.answer}" if len(conversation) == 2 else "no"


def test_a_scripted_teachers_leak_is_redacted(chat, rules, engine, params, monkeypatch):
    task = TellTale()
    put_on_stage(monkeypatch, chat, lambda heard: "9")
    dialogue = play(task, task.problems()[:1], chat, engine, params, Scripted(), rules, seed=0).dialogues[0]
    assert replies(dialogue) == [REDACTION, "no", "no"] and (dialogue.leaks, dialogue.redactions) == (1, 1)


class OneStepTask(DigitTask):
    """Its answer is one step away where the teacher says "step"."""

    def one_step(self, problem, teacher_text, conversation):
        assert conversation[0].text == problem.question and conversation[-1].role == "student"
        return "step" in teacher_text


def test_a_one_step_turn_is_counted_and_said(monkeypatch, chat, rules, engine, params):
    say = lambda h: "no step" if h.dialogue == 1 else "no"  # noqa: E731
    stage, played = played_with(monkeypatch, chat, rules, engine, params, say, LeakGuard(), task=OneStepTask())
    plain, stepped = played.dialogues
    assert (plain.one_steps, stepped.one_steps) == (0, 3) and (stepped.leaks, stepped.redactions) == (0, 0)
    assert replies(stepped) == ["no step"] * 3 and [h.salt for h in stage.of("teacher", 1)] == [0] * 3
    statistics = dialogue_statistics(played.dialogues)
    assert (statistics["one_step_rate"], statistics["leak_rate"]) == (0.5, 0.0)


def test_a_one_step_turn_is_drawn_again_where_the_rule_says_so(monkeypatch, chat, rules, engine, params):
    def say(heard):
        return "no step" if heard.dialogue == 0 or heard.salt == 0 else "no"

    guard = LeakGuard(regenerations=2, refuse_one_step=True)
    stage, played = played_with(monkeypatch, chat, rules, engine, params, say, guard, task=OneStepTask())
    always, once = played.dialogues
    assert (always.one_steps, always.redactions, replies(always)) == (3, 3, [REDACTION] * 3)
    assert (once.one_steps, once.redactions, replies(once)) == (3, 0, ["no"] * 3)
    assert [h.salt for h in stage.of("teacher", 0)] == [0, 1, 2] * 3
    assert [h.salt for h in stage.of("teacher", 1)] == [0, 1] * 3
    step = chat.turn("teacher", "no step")
    assert not any(occurrences(heard.context, step) for heard in stage.heard), "a refused turn is in no context"


def test_a_turn_that_leaks_is_not_counted_as_one_step_too(monkeypatch, chat, rules, engine, params):
    say = lambda h: f"step {h.dialogue + 5 * (h.salt > 0)}" if h.salt == 0 else "no step"  # noqa: E731
    _, played = played_with(monkeypatch, chat, rules, engine, params, say, LeakGuard(), task=OneStepTask())
    for dialogue in played.dialogues:
        assert dialogue.leaks + dialogue.one_steps == 3 and dialogue.redactions == 0
