"""The rollout with scripted speakers: who speaks when, when it ends, and what the transcript's arrays say of it."""

import dataclasses

import jax
import numpy as np
import pytest
from dialogue_toys import DigitTask, put_on_stage

from sml_jax.common.errors import UserError
from sml_jax.dialogue.rollout import play, rollout
from sml_jax.dialogue.rules import DialogueRules
from sml_jax.dialogue.statistics import dialogue_statistics
from sml_jax.dialogue.teachers import LanguageTeacher, Retry, Scripted
from sml_jax.tasks.problems.types import Turn


def student_turn_number(chat, heard):
    return list(heard.context).count(chat.open_student[0])


def solves_at(chat, when, words="my answer is "):
    """Says "9" until turn `when[dialogue]`, then the answer; the teacher says "no"."""

    def say(heard):
        if heard.role == "teacher":
            return "no"
        solved = student_turn_number(chat, heard) >= when.get(heard.dialogue, 99)
        return f"{words}{heard.dialogue % 8}" if solved else f"{words}9"

    return say


def expected_rows(chat, dialogue):
    """Tokens, student mask, turn numbers and teacher mask of a dialogue in which every turn ended, from its texts."""
    tokens, mask, turns, n = list(chat.begin), [False] * len(chat.begin), [0] * len(chat.begin), 0
    teacher = [False] * len(chat.begin)
    for turn in dialogue.turns:
        mine = turn.role == "student"
        n += mine
        opening, said = list(chat.open(turn.role)), [*chat.text(turn.text), *chat.close]
        tokens += opening + said
        mask += [False] * len(opening) + [mine] * len(said)
        turns += [0] * len(opening) + [n if mine else 0] * len(said)
        # The statement of the problem is no reply; a reply is marked with its end and without its opening.
        teacher += [False] * len(opening) + [not mine and n > 0] * len(said)
    return tokens, mask, turns, teacher


def test_the_order_of_speech_and_the_end(monkeypatch, chat, task, rules, engine, params):
    when = {0: 1, 1: 2, 2: 4}  # dialogue 3 is never solved
    put_on_stage(monkeypatch, chat, solves_at(chat, when))
    problems = task.problems()[:4]
    progress = []
    played = play(
        task,
        problems,
        chat,
        engine,
        params,
        LanguageTeacher(engine, params),
        rules,
        seed=0,
        arm="feedback",
        progress=lambda *done: progress.append(done),
    )
    for i, dialogue in enumerate(played.dialogues):
        solved, taken = when.get(i, 0), when.get(i, rules.max_turns)
        assert dialogue.problem_id == problems[i].id and dialogue.arm == "feedback"
        assert dialogue.turns[0] == Turn("teacher", problems[i].question)
        assert [turn.role for turn in dialogue.turns] == ["teacher", "student"] * taken
        assert dialogue.solved_turn == solved
        assert [v.correct for v in dialogue.verdicts] == [False] * (taken - 1) + [solved > 0]
        assert dialogue.teacher_turns == taken - 1
        assert (dialogue.leaks, dialogue.redactions, dialogue.truncated, dialogue.injected_turns) == (0, 0, 0, ())
    script = played.transcript
    np.testing.assert_array_equal(script.solved_turn, [1, 2, 4, 0])
    np.testing.assert_array_equal(script.reward, [1, 1, 1, 0])
    np.testing.assert_array_equal(script.turns, [1, 2, 4, 4])
    np.testing.assert_array_equal(script.group, [0, 1, 2, 3])
    # Each dialogue under way counts as the fraction of its four turns that it has taken.
    assert progress == [(1 + 3 / 4, 4), (2 + 2 * 2 / 4, 4), (2 + 2 * 3 / 4, 4), (4, 4)]
    statistics = dialogue_statistics(played.dialogues)
    assert statistics["success"] == 0.75 and statistics["first_turn_success"] == 0.25
    assert statistics["turns"] == 11 / 4 and statistics["attempt_rate"] == 1


def test_the_arrays_agree_with_the_texts(monkeypatch, chat, task, rules, engine, params):
    put_on_stage(monkeypatch, chat, solves_at(chat, {0: 1, 1: 2, 2: 3}))
    played = play(task, task.problems()[:4], chat, engine, params, LanguageTeacher(engine, params), rules, seed=0)
    script = played.transcript
    assert script.tokens.shape == (4, max(len(d.tokens) for d in played.dialogues))
    for i, dialogue in enumerate(played.dialogues):
        tokens, mask, turns, teacher = expected_rows(chat, dialogue)
        n = len(tokens)
        assert script.teacher[i, :n].tolist() == teacher
        assert script.length[i] == n and list(dialogue.tokens) == tokens
        assert script.tokens[i, :n].tolist() == tokens
        assert script.student[i, :n].tolist() == mask
        assert script.turn[i, :n].tolist() == turns
        assert not script.injected[i].any()
        for array in (
            script.tokens, script.student, script.turn, script.teacher, script.logprob, script.sampling_logprob
        ):  # fmt: skip
            assert not array[i, n:].any(), "nothing stands past the length"
        # The stand-in's n-th token of a turn has log-probs -n and -2n.
        numbers = np.concatenate(
            [-np.arange(1, (script.turn[i] == t).sum() + 1) for t in range(1, script.turns[i] + 1)]
        )
        np.testing.assert_array_equal(script.logprob[i][script.student[i]], numbers)
        np.testing.assert_array_equal(script.sampling_logprob[i][script.student[i]], 2 * numbers)
        assert not script.logprob[i][~script.student[i]].any()


def test_the_sampled_end_of_each_turn_is_trained_on(monkeypatch, chat, task, rules, engine, params):
    put_on_stage(monkeypatch, chat, solves_at(chat, {}))
    script = rollout(task, task.problems()[:2], chat, engine, params, Retry(), rules, seed=0)
    for i in range(2):
        ends = (script.tokens[i] == chat.close[0]) & (np.arange(script.tokens.shape[1]) < script.length[i])
        assert (ends & script.student[i]).sum() == rules.max_turns
        for turn in range(1, rules.max_turns + 1):
            last = np.flatnonzero(script.turn[i] == turn)[-1]
            assert script.tokens[i, last] == chat.close[0] and script.student[i, last] and script.logprob[i, last] < 0


def test_a_turn_out_of_budget_is_closed_by_a_given_end(monkeypatch, chat, task, rules, engine, params):
    """Nine tokens of a long turn, then an end that nobody sampled: context, and not trained on."""
    put_on_stage(monkeypatch, chat, lambda heard: "99999999999999" if heard.role == "student" else "no " * 20)
    teacher = LanguageTeacher(engine, params)
    played = play(task, task.problems()[:1], chat, engine, params, teacher, rules, seed=0)
    script, dialogue = played.transcript, played.dialogues[0]
    assert dialogue.truncated == 4 + 3
    digits = [turn.text for turn in dialogue.turns if turn.role == "student"]
    assert digits == ["9" * (rules.student_tokens - 1)] * 4  # the mark of a space is a token of its own
    assert script.student.sum() == 4 * rules.student_tokens
    for turn in range(1, 5):
        at = np.flatnonzero(script.turn[0] == turn)
        assert len(at) == rules.student_tokens and chat.close[0] not in script.tokens[0, at]
        after = at[-1] + 1
        assert script.tokens[0, after] == chat.close[0]
        assert not script.student[0, after] and script.logprob[0, after] == 0 and script.turn[0, after] == 0
    assert script.length[0] == len(dialogue.tokens) and dialogue.tokens[-1] == chat.close[0]
    replies = "".join(str(t) + "," for t in dialogue.tokens).count(f",{chat.open_teacher[0]},")
    assert replies == 4
    # The teacher's words are marked, and the ends that nobody sampled are not.
    after_reply = np.flatnonzero(script.tokens[0] == chat.open_student[0])[1:] - 1
    assert (script.tokens[0, after_reply] == chat.close[0]).all() and not script.teacher[0, after_reply].any()
    assert script.teacher[0].sum() == 3 * rules.teacher_tokens


def test_the_group_of_a_problem_stands_side_by_side(monkeypatch, chat, task, rules, engine, params):
    put_on_stage(monkeypatch, chat, solves_at(chat, {}))
    played = play(task, task.problems()[:3], chat, engine, params, Retry(), rules, seed=0, group_size=5)
    assert played.transcript.group.tolist() == [0] * 5 + [1] * 5 + [2] * 5
    assert [d.problem_id for d in played.dialogues] == ["pa"] * 5 + ["pb"] * 5 + ["pc"] * 5


@pytest.mark.parametrize("max_turns", [1, 2])
def test_the_turn_limit(monkeypatch, chat, task, rules, engine, params, max_turns):
    stage = put_on_stage(monkeypatch, chat, solves_at(chat, {}))
    few = dataclasses.replace(rules, max_turns=max_turns)
    played = play(task, task.problems()[:2], chat, engine, params, LanguageTeacher(engine, params), few, seed=0)
    assert [d.turns[-1].role for d in played.dialogues] == ["student"] * 2, "no reply after the last turn"
    assert len(stage.of("student")) == 2 * max_turns and len(stage.of("teacher")) == 2 * (max_turns - 1)


def test_the_students_context_is_the_public_conversation(monkeypatch, chat, task, rules, engine, params):
    """For each kind of teacher; the teacher's own context holds the private blocks where they belong."""
    problems = task.problems()[:2]
    for teacher in (
        Retry(),
        Scripted(),
        *(LanguageTeacher(engine, params, knows) for knows in ("own", "other", "none")),
    ):
        stage = put_on_stage(monkeypatch, chat, solves_at(chat, {}))
        roomy = dataclasses.replace(rules, private_tokens=40)
        played = play(task, problems, chat, engine, params, teacher, roomy, seed=0)
        for i, dialogue in enumerate(played.dialogues):
            for turn, heard in enumerate(stage.of("student", i), 1):
                so_far = dataclasses.replace(dialogue, turns=dialogue.turns[: 2 * turn - 1])
                assert list(heard.context) == [*expected_rows(chat, so_far)[0], *chat.open_student]
            if not isinstance(teacher, LanguageTeacher):
                assert not stage.of("teacher")
                continue
            known = {"own": problems[i], "other": problems[1 - i], "none": None}[teacher.knows]
            for turn, heard in enumerate(stage.of("teacher", i), 1):
                wanted = [*chat.begin, *(chat.private(task.static_knowledge(known)) if known else [])]
                for j, said in enumerate(dialogue.turns[: 2 * turn]):
                    if known and j and said.role == "teacher":
                        wanted += private_report(chat, task, known, dialogue.turns[j - 1].text)
                    wanted += chat.turn(said.role, said.text)
                if known:
                    wanted += private_report(chat, task, known, dialogue.turns[2 * turn - 1].text)
                assert list(heard.context) == [*wanted, *chat.open_teacher]


def private_report(chat, task, problem, said):
    """The verifier's words about `said` as an attempt at `problem`."""
    return chat.private(task.dynamic_knowledge(problem, task.verify([(problem, said)])[0]))


def test_private_words_are_cut_to_their_budget(monkeypatch, chat, task, rules, engine, params):
    stage = put_on_stage(monkeypatch, chat, solves_at(chat, {}))
    short = dataclasses.replace(rules, private_tokens=5)
    play(
        DigitTask(secret=""), task.problems()[:1], chat, engine, params, LanguageTeacher(engine, params), short, seed=0
    )
    context = list(stage.of("teacher")[0].context)
    at = context.index(chat.open_private[0])
    assert context[at + 1 : at + 6] == chat.text("got a a: my answer is 9")[:5] and context[at + 6] == chat.close[0]


def test_no_problems_is_a_plain_error(chat, task, rules, engine, params):
    with pytest.raises(UserError, match="no problems"):
        play(task, [], chat, engine, params, Retry(), rules, seed=0)


def test_a_context_without_room_is_a_plain_error(monkeypatch, chat, task, rules, engine, params):
    put_on_stage(monkeypatch, chat, solves_at(chat, {}, words="my answer is " * 3))
    endless = DialogueRules(max_turns=500, student_tokens=9)
    with pytest.raises(UserError, match="max_length"):
        play(task, task.problems()[:1], chat, engine, params, Retry(), endless, seed=0)


def test_the_transcript_is_a_pytree(monkeypatch, chat, task, rules, engine, params):
    put_on_stage(monkeypatch, chat, solves_at(chat, {}))
    script = rollout(task, task.problems()[:2], chat, engine, params, Retry(), rules, seed=0)
    halves = jax.tree.map(lambda a: a[:1], script)
    assert halves.tokens.shape[0] == halves.reward.shape[0] == 1
