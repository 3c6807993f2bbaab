"""Environments: a game that keeps state, judged in the light of the turns before, and answered by its own program."""

import dataclasses

import pytest
from dialogue_toys import DigitTask, put_on_stage

from sml_jax.common.errors import UserError
from sml_jax.dialogue import Doubt, Play, Shuffled, TeacherSpec, play
from sml_jax.dialogue.judging import judge
from sml_jax.tasks.problems.environment import Environment, Game, game_after
from sml_jax.tasks.problems.overlap import TrimmedTask
from sml_jax.tasks.problems.types import Turn, Verdict


class Counter:
    """The digits that were said add up; the sum has to be the answer."""

    def __init__(self, target):
        self.target, self.total = target, 0

    def move(self, utterance):
        if not utterance[-1].isdigit():
            return Verdict(False, False, f"{self.total}")
        self.total += int(utterance[-1])
        return Verdict(self.total == self.target, True, f"{self.total}")

    def reply(self, informed=True):
        return f"got {self.total}" if informed else "no"


@dataclasses.dataclass(frozen=True)
class Sums(DigitTask):
    def begin(self, problem):
        return Counter(int(problem.answer))


def say_ones(chat):
    return lambda heard: "part ?" if heard.role == "teacher" else "my answer is 1"


def test_the_game_answers_from_its_state_and_judges_by_it(monkeypatch, chat, rules, engine, params):
    put_on_stage(monkeypatch, chat, say_ones(chat))
    task = Sums()
    assert isinstance(task, Environment) and isinstance(task.begin(task.problems()[0]), Game)
    played = play(task, task.problems()[1:4], chat, engine, params, Play(), rules, seed=0)
    assert [d.solved_turn for d in played.dialogues] == [1, 2, 3] and {d.arm for d in played.dialogues} == {"game"}
    replies = [turn.text for turn in played.dialogues[2].turns[2::2]]
    assert replies == ["got 1", "got 2"]
    assert [v.detail for v in played.dialogues[2].verdicts] == ["1", "2", "3"]
    # The live game and one that is played again from the conversation are in the same state.
    for dialogue, problem in zip(played.dialogues, task.problems()[1:4], strict=True):
        for end in range(2, len(dialogue.turns) - 1, 2):
            game, verdict = game_after(task, problem, dialogue.turns[:end])
            assert game.reply() == dialogue.turns[end].text and verdict == dialogue.verdicts[end // 2 - 1]


def test_the_control_arm_says_what_must_be_heard_alone(monkeypatch, chat, rules, engine, params):
    put_on_stage(monkeypatch, chat, say_ones(chat))
    arm = Play(informed=False, name="game_retry")
    played = play(Sums(), Sums().problems()[3:4], chat, engine, params, arm, rules, seed=0)
    assert [turn.text for turn in played.dialogues[0].turns[2::2]] == ["no", "no"]


def test_a_game_whose_turns_another_teacher_answers_misses_none(monkeypatch, chat, rules, engine, params):
    """The sum is right at turn 1, which is doubted; the next replies are the game's and know of all turns."""
    put_on_stage(monkeypatch, chat, say_ones(chat))
    played = play(Sums(), Sums().problems()[1:2], chat, engine, params, Doubt(Play(), text="?"), rules, seed=0)
    assert [turn.text for turn in played.dialogues[0].turns[2::2]] == ["?", "got 2", "got 3"]


def test_a_teacher_of_another_problem_judges_by_that_problems_game(monkeypatch, chat, rules, engine, params):
    """What the shuffled arm reads of the second turn is the other problem's state after both."""
    task = dataclasses.replace(Sums(), report="got ")
    stage = put_on_stage(monkeypatch, chat, say_ones(chat))
    play(task, task.problems()[3:5], chat, engine, params, Shuffled(), rules, seed=0)
    last = stage.of("teacher", 0)[-1].context
    assert chat.utterance(last).count("got e 2") == 1 and "got d" not in chat.utterance(last)


def test_a_game_that_fails_costs_its_own_dialogue(monkeypatch, chat, rules, engine, params):
    class Failing(Counter):
        def reply(self, informed=True):
            if self.target == 3:
                raise RuntimeError("no board")
            return super().reply(informed)

    class FailingSums(Sums):
        def begin(self, problem):
            return Failing(int(problem.answer))

    put_on_stage(monkeypatch, chat, say_ones(chat))
    task = FailingSums()
    played = play(task, task.problems()[2:4], chat, engine, params, Play(), rules, seed=0)
    assert [bool(d.dropped) for d in played.dialogues] == [False, True]
    assert "the game's reply: RuntimeError: no board" in played.dialogues[1].dropped


def test_verdicts_of_an_environment_are_of_whole_conversations_also_behind_a_wrapper():
    task = Sums()
    problem = task.problems()[3]
    said = [Turn("student", "1"), Turn("teacher", "no 5"), Turn("student", "x"), Turn("student", "2")]
    items = [(problem, said[:1]), (problem, said[:3]), (problem, said)]
    wanted = [Verdict(False, True, "1"), Verdict(False, False, "1"), Verdict(True, True, "3")]
    for environment in (task, TrimmedTask(task, "train", ())):
        assert judge(environment, items) == wanted
    assert game_after(task, problem, [])[1] is None
    # A task that is no environment judges the last turn alone, also behind the wrapper.
    assert judge(TrimmedTask(DigitTask(), "train", ()), items)[2] == DigitTask().verify([(problem, "2")])[0]


def test_a_task_without_a_game_is_a_plain_error(chat, task, rules, engine, params):
    assert isinstance(Play(), TeacherSpec)
    with pytest.raises(UserError, match="game: digits has no game to play: give the suite an environment"):
        play(task, task.problems()[:2], chat, engine, params, Play(), rules, seed=0)
