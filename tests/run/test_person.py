"""A person as the teacher: shown what a teacher should know, asked again where a reply leaks."""

import io

import pytest
from run_toys import ToyTask

from sml_jax.common.errors import UserError
from sml_jax.dialogue.rollout import play
from sml_jax.run.teachers import Person

TASK = ToyTask(impossible="0123")


@pytest.fixture
def teach(new_run, monkeypatch, capsys):
    """Plays two dialogues of two turns while these lines are typed; returns them, and what was on the screen."""

    def go(*lines, **settings):
        run = new_run(task=TASK)
        context = run.context
        monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
        engine = context.engine(TASK, context.rules, "train")
        problems = TASK.problems("train")[:2]
        person, rules = Person(**settings), context.rules
        played = play(TASK, problems, context.framing, engine, context.initial, person, rules, seed=0)
        return played.dialogues, capsys.readouterr().out

    return go


def test_a_person_is_shown_the_dialogue_and_answers(teach):
    dialogues, screen = teach("a b", "b a")
    assert [d.turns[2].text for d in dialogues] == ["a b", "b a"] and dialogues[0].arm == "person"
    for dialogue in dialogues:
        assert f"-- problem {dialogue.problem_id}, student's turn 1" in screen
        assert f"teacher: {dialogue.turns[0].text}" in screen
    assert "[for you alone: a 0]" in screen and "[for you alone: a 1]" in screen
    assert dialogues[0].turns[1].text not in ("", None) and screen.count("you> ") == 2


def test_an_empty_line_is_no_reply_and_a_leak_is_asked_for_again(teach):
    dialogues, screen = teach("", "a", "1", "b")
    assert "this gives the answer away: say something else" in screen
    assert {d.turns[2].text for d in dialogues} == {"a", "b"}
    assert sum(d.leaks for d in dialogues) == 1 and sum(d.redactions for d in dialogues) == 0


def test_the_end_of_the_input_ends_the_run_in_one_line(teach):
    with pytest.raises(UserError, match="the input has ended, and a person is the teacher"):
        teach("a")
