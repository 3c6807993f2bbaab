"""Dialogues that outgrow `max_context`: they end after a student's turn, and no turn is cut for want of room."""

import dataclasses
import hashlib
import sys

import pytest
from dialogue_toys import STUDENT_MODULES, TEACHER_MODULES, DigitTask, put_on_stage
from hypothesis import given, settings
from hypothesis import strategies as st

from sml_jax.common.errors import UserError
from sml_jax.dialogue.context_budget import TurnCosts, context_length, required_length
from sml_jax.dialogue.rollout import play
from sml_jax.dialogue.rules import DialogueRules, LeakGuard, QuestionInjection
from sml_jax.dialogue.statistics import dialogue_statistics
from sml_jax.dialogue.teachers import LanguageTeacher, Retry, Scripted
from sml_jax.tasks.problems.types import Verdict

PROBLEMS = DigitTask().problems()


@pytest.fixture
def played(monkeypatch, chat, task, rules, engine, params):
    """Plays with stand-ins: the student says "9", or the answer from turn `solves` on; the teacher says "no"."""

    def go(teacher=None, problems=PROBLEMS[:2], solves=99, **changes):
        def say(heard):
            turn = list(heard.context).count(chat.open_student[0])
            return "no" if heard.role == "teacher" else str(heard.dialogue) if turn >= solves else "9"

        put_on_stage(monkeypatch, chat, say)
        return play(
            task,
            problems,
            chat,
            engine,
            params,
            teacher or Retry(),
            dataclasses.replace(rules, **changes),
            seed=0,
        )

    return go


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_the_last_exchange_is_the_last_that_fits_whole(played, chat, rules, turns):
    """The student's side by hand: what stands after turn `turns`, the longest reply, and another turn with its end."""
    whole = played().dialogues[0].tokens
    ends = [i + 1 for i, token in enumerate(whole) if token == chat.close[0]]
    after_turn = ends[1::2][turns - 1]  # the statement's end, a turn's, a reply's, a turn's, ...
    reply = max(rules.teacher_tokens, len(chat.text(rules.guard.redaction))) + 3
    enough = after_turn + reply + rules.student_tokens + 1
    for room, taken in ((enough, turns + 1), (enough - 1, turns)):
        found = played(max_context=room)
        for dialogue in found.dialogues:
            assert len(dialogue.verdicts) == taken and dialogue.overlong == (taken < rules.max_turns)
            assert dialogue.turns[-1].role == "student" and dialogue.tokens[-1] == chat.close[0]
        assert found.dialogues[0].tokens == whole[: len(found.dialogues[0].tokens)]
        script, statistics = found.transcript, dialogue_statistics(found.dialogues)
        assert not script.dropped.any() and script.student.sum() == sum(len(d.verdicts) for d in found.dialogues) * 3
        assert statistics["overlong_rate"] == (taken < rules.max_turns) and statistics["success"] == 0
        assert statistics["turns"] == taken and statistics["dropped_rate"] == 0


def test_the_teachers_side_counts_where_the_teacher_has_one(played, chat, task, rules, engine, params):
    steps = TurnCosts.under(chat, rules)
    opening = len(chat.teacher_opening(PROBLEMS[0].question, task.static_knowledge(PROBLEMS[0])))
    enough = opening + len(chat.teacher_hears(chat.text("9"))) + steps.teacher_reply + steps.teacher_turn
    language, alone = LanguageTeacher(engine, params), PROBLEMS[:1]
    for room, taken in ((enough, 2), (enough - 1, 1)):
        assert len(played(language, alone, max_context=room).dialogues[0].verdicts) == taken
        assert len(played(Scripted(), alone, max_context=room).dialogues[0].verdicts) >= 2
    with_question = enough + TurnCosts.under(chat, dataclasses.replace(rules, injection=QuestionInjection())).question
    for room, taken in ((with_question, 2), (with_question - 1, 1)):
        found = played(language, alone, max_context=room, injection=QuestionInjection(0.0))
        assert len(found.dialogues[0].verdicts) == taken


def test_a_dialogue_that_is_solved_or_out_of_turns_is_not_overlong(played, chat, rules):
    least = len(chat.student_opening(PROBLEMS[0].question)) + rules.student_tokens + 1
    solved = played(solves=1, max_context=least)
    assert [(d.solved_turn, d.overlong) for d in solved.dialogues] == [(1, False)] * 2
    single = played(max_turns=1, max_context=least)
    assert [(d.solved_turn, d.overlong) for d in single.dialogues] == [(0, False)] * 2
    assert all(d.overlong for d in played(max_context=least).dialogues)


def test_room_for_everything_changes_nothing(played, chat, task, rules, engine, params):
    teacher = LanguageTeacher(engine, params)
    room = required_length(chat, task, PROBLEMS[:2], rules)
    assert played(teacher).dialogues == played(teacher, max_context=room).dialogues


def test_a_problem_without_room_for_a_turn_is_dropped(played, chat, rules):
    long = dataclasses.replace(PROBLEMS[2], question="find c " * 20)
    room = len(chat.student_opening(long.question)) + rules.student_tokens
    found = played(problems=[PROBLEMS[0], long, PROBLEMS[1]], max_context=room)
    assert found.transcript.dropped.tolist() == [False, True, False]
    assert found.dialogues[1].dropped.startswith("overlong: its statement takes ") and not found.dialogues[1].overlong
    assert "raise max_context" in found.dialogues[1].dropped
    assert not played(problems=[long], max_context=room + 1).transcript.dropped.any()
    with pytest.raises(UserError, match=r"every one of 2 dialogues was dropped.*overlong"):
        played(max_context=12)


def test_the_room_that_is_asked_for(chat, task, rules):
    required = required_length(chat, task, PROBLEMS, rules)

    def asked(room):
        return context_length(chat, task, PROBLEMS, dataclasses.replace(rules, max_context=room))

    assert (asked(None), asked(required), asked(required + 9), asked(required - 1)) == (
        required, required, required, required - 1
    )  # fmt: skip
    least = len(chat.student_opening(PROBLEMS[0].question)) + rules.student_tokens + 1
    assert asked(least) == least
    with pytest.raises(UserError, match=f"max_context is {least - 1}, but the shortest problem .* {least} tok"):
        asked(least - 1)
    with pytest.raises(UserError, match="max_context is 0; it must be at least 1"):
        asked(0)


def test_a_teacher_that_knows_a_longer_problem_than_any_ends_early(played, engine, params):
    """Without max_context: statement and knowledge of two problems may be longer together than any problem's own."""
    found = played(LanguageTeacher(engine, params, "other"), max_turns=500)
    assert all(d.overlong and not d.dropped for d in found.dialogues)


class Secretive(DigitTask):
    def verify(self, items):
        return [Verdict(p.answer in said, "9" in said or p.answer in said, said) for p, said in items]


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_any_room_at_all(data, chat, engine, params):
    """Nothing raises; every context stays within it; each dialogue is the beginning of the one with all the room."""
    rules = DialogueRules(
        max_turns=data.draw(st.integers(1, 4)),
        student_tokens=data.draw(st.integers(1, 9)),
        teacher_tokens=data.draw(st.integers(1, 9)),
        private_tokens=data.draw(st.integers(0, 14)),
        guard=LeakGuard(data.draw(st.integers(0, 2)), "no " * data.draw(st.integers(1, 8))),
        injection=data.draw(st.sampled_from([None, QuestionInjection(0.75)])),
        overlap_verification=data.draw(st.booleans()),
    )
    knows = data.draw(st.sampled_from(["own", "other", "none", None]))
    teacher = LanguageTeacher(engine, params, knows) if knows else Scripted()
    task, problems = Secretive(), PROBLEMS[:3]
    widest = required_length(chat, task, problems, rules)
    room = data.draw(st.integers(1, widest))

    def say(heard):
        draw = hashlib.sha256(repr((heard.dialogue, heard.context, heard.salt)).encode()).digest()
        words = ("9 ", "no ", "why ", "is it ", f"{heard.dialogue} ")
        return "".join(words[b % 5] for b in draw[1 : 1 + draw[0] % 6])

    def go(rules, most):
        with pytest.MonkeyPatch.context() as patch:
            stage = put_on_stage(patch, chat, say)
            for module in (*STUDENT_MODULES, *TEACHER_MODULES):
                within(patch, module, most)
            try:
                return play(task, problems, chat, engine, params, teacher, rules, seed=1), stage
            except UserError as error:
                assert "every one of 3 dialogues was dropped" in str(error) and "overlong" in str(error)
                return None, stage

    whole, _ = go(rules, widest if knows != "other" else engine.max_length)
    cut, stage = go(dataclasses.replace(rules, max_context=room), room)
    assert all(len(heard.context) + heard.limit <= room for heard in stage.heard), "a turn begins where all of it fits"
    if cut is None:
        return
    for i, (one, other) in enumerate(zip(cut.dialogues, whole.dialogues, strict=True)):
        if one.dropped:
            assert one.dropped.startswith("overlong: ") and cut.transcript.dropped[i]
            continue
        n = len(one.tokens)
        assert n <= room and one.tokens == other.tokens[:n] and one.turns == other.turns[: len(one.turns)]
        assert one.tokens[-1] == chat.close[0] and one.turns[-1].role == "student"
        assert other.overlong or one.overlong == (len(one.verdicts) < len(other.verdicts))
        for name in ("tokens", "student", "injected", "logprob", "sampling_logprob", "turn"):
            mine, all_ = getattr(cut.transcript, name)[i], getattr(whole.transcript, name)[i]
            assert mine[:n].tolist() == all_[:n].tolist() and not mine[n:].any()


def within(patch, module, most):
    """No row of the stand-ins' contexts is ever longer than `most`."""
    rows = sys.modules[module].ContextBatch

    class Within(rows):
        def append(self, row, tokens):
            super().append(row, tokens)
            assert len(self.context(row)) <= most

    patch.setattr(f"{module}.ContextBatch", Within)
