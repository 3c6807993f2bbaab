"""The student in the teacher's seat, in its own context: what it reads, what it says, and that no secret is in it."""

import dataclasses

import numpy as np
from dialogue_toys import DigitTask, put_on_stage
from test_rollout import expected_rows

from sml_jax.dialogue.rollout import play
from sml_jax.dialogue.teacher import TeacherSpec
from sml_jax.dialogue.teachers import SelfCritique


def test_it_reads_what_the_student_reads_and_writes_where_the_teacher_would(
    monkeypatch, chat, task, rules, engine, params
):
    stage = put_on_stage(monkeypatch, chat, lambda h: "9" if h.role == "student" else f"it is {h.dialogue}")
    problems = task.problems()[:2]
    played = play(task, problems, chat, engine, params, SelfCritique(), rules, seed=0)
    for i, dialogue in enumerate(played.dialogues):
        assert dialogue.arm == "self_critique"
        # It is free to guess the answer, which no guard takes back.
        assert [turn.text for turn in dialogue.turns[2::2]] == [f"it is {i}"] * 3
        assert (dialogue.leaks, dialogue.redactions, dialogue.unmarked) == (0, 0, 0)
        asked = stage.of("teacher", i)
        assert len(asked) == 3
        for turn, heard in enumerate(asked, 1):
            so_far = dataclasses.replace(dialogue, turns=dialogue.turns[: 2 * turn])
            assert list(heard.context) == [*expected_rows(chat, so_far)[0], *chat.open_teacher]
        assert list(dialogue.tokens) == expected_rows(chat, dialogue)[0]
    for heard in stage.heard:
        assert chat.open_private[0] not in heard.context


def test_its_replies_are_the_models_in_that_context(chat, rules, engine, params):
    """A sampled critique continues the student's own tokens: the student's side scores it with no other context."""
    assert isinstance(SelfCritique(), TeacherSpec) and SelfCritique().runs_model
    task = DigitTask(easy=True)
    played = play(task, task.problems()[:4], chat, engine, params, SelfCritique(), rules, seed=1)
    script = played.transcript
    assert script.teacher.any() and all(
        d.tokens.count(chat.open_teacher[0]) == len(d.verdicts) for d in played.dialogues
    )
    # A critique and the student's next turn come from one conversation, whoever is read first.
    again = play(task, task.problems()[:4], chat, engine, params, SelfCritique(), rules, seed=1, group_size=1)
    np.testing.assert_array_equal(script.tokens, again.transcript.tokens)
    # Each token went through each side once: the second side has the student's tokens and none of a teacher's prompt.
    read = sum(np.flatnonzero(row)[-1] for row in script.teacher if row.any())
    assert played.forwarded["teacher"] + played.copied["teacher"] <= read + len(script.teacher)
