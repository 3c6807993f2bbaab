"""The pocket world's games: known answers, plain references, and what must hold of every maze, word and goal."""

import itertools
from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sml_jax.common.errors import UserError
from sml_jax.pocket import evolving, language, maze, word_puzzle
from sml_jax.pocket.games import read_answer, write_answer
from sml_jax.pocket.world import PocketCode, PocketMath
from sml_jax.tasks import Task, Turn, Verdict
from sml_jax.tasks.problems.environment import Environment, game_after, verify_turns
from sml_jax.tasks.problems.types import HasAnswerFormat, HasFalseReply

MATH = PocketMath(train_size=40, test_size=20)
TASKS = [maze.PocketMaze(20, 20), word_puzzle.PocketWords(20, 20), evolving.Evolving(MATH)]
DIGITS = st.integers(0, 9)
PARTS = st.tuples(DIGITS, DIGITS)
SAID = st.lists(
    st.one_of(PARTS.map(write_answer), st.sampled_from(["what is part 1?", "", "my answer is 123"])), max_size=8
)


def conversation(problem, said):
    """The turns of a dialogue in which the student said this and the teacher nothing of note."""
    turns = [Turn("teacher", problem.question)]
    for text in said:
        turns += [Turn("student", text), Turn("teacher", "part 1 is right")]
    return turns[:-1] if said else turns


# What all games share.


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_each_is_a_task_and_an_environment_with_disjoint_splits(task):
    for protocol in (Task, Environment, HasAnswerFormat):
        assert isinstance(task, protocol)
    train, test = task.problems("train"), task.problems("test")
    assert train == task.problems("train") and not {p.id for p in train} & {p.id for p in test}
    assert len({p.id for p in (*train, *test)}) == len(train) + len(test)
    with pytest.raises(UserError, match="split"):
        task.problems("validation")


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_every_text_is_of_phrases_and_digits_that_the_world_can_speak(task, chat):
    """No piece spells a word: every piece is a phrase of the world, a digit, or a sign between them."""
    texts = [problem.question for problem in task.problems("test")]
    for problem in task.problems("test")[:5]:
        for said in (["my answer is 00"], ["my answer is 99", "my answer is 99"], ["what is part 1?"]):
            game, _ = game_after(task, problem, conversation(problem, said))
            texts += [game.reply(), game.reply(informed=False)]
    for text in texts:
        pieces = [chat.tokenizer.decode([token]) for token in chat.text(text)]
        assert chat.utterance(chat.text(text)) == text and len(pieces) <= 14
        assert not any(len(piece) == 1 and piece.isalpha() for piece in pieces), pieces


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_the_leak_test_knows_the_answer_and_the_games_replies_pass_it(task):
    for problem in task.problems("test"):
        told = f"the answer is {problem.answer}"
        assert task.leaks(problem, told, problem.question)
        # A student that has said the answer may hear it.
        assert not task.leaks(problem, f"got {problem.answer}", f"{problem.question}\nmy answer is {problem.answer}")
        if read_answer(write_answer((9, 9))) != tuple(map(int, problem.answer)):
            said = conversation(problem, ["my answer is 99"])
            assert not task.leaks(problem, task.reply(problem, said, Verdict(False, True)), "my answer is 99")


@pytest.mark.parametrize("task", TASKS[:2], ids=lambda task: task.name)
def test_gold_knowledge_and_false_criticism_are_of_the_answer(task):
    problem = task.problems("test")[0]
    assert isinstance(task, HasFalseReply)
    assert task.gold_utterance(problem, 3) == ("my answer is ", problem.answer)
    assert task.static_knowledge(problem) == f"the answer is {problem.answer}"
    assert (
        task.dynamic_knowledge(problem, None) == ""
        and task.dynamic_knowledge(problem, Verdict(False, True, "x")) == "x"
    )
    turns = conversation(problem, [f"my answer is {problem.answer}"])
    said = task.false_reply(problem, turns)
    truths = [f"part {i} is right" for i in (1, 2)]
    assert sum(truth in said for truth in truths) == 1 and said == task.false_reply(problem, turns)
    with pytest.raises(UserError, match="test_size is 0"):
        type(task)(test_size=0)


# The maze.

CORRIDOR = maze.Maze(frozenset(), frozenset({(0, 2)}), (0, 0), (0, 4))


def test_a_walk_by_hand():
    """A wall between (0, 2) and (0, 3): the walker stops before it, and goes round by the row below."""
    game = maze.MazeGame(CORRIDOR)
    assert game.move("my answer is 04") == Verdict(False, True, "got 02")
    assert game.reply() == "got 02, part 1 is right, part 2 is too low"
    assert game.move("what is part 2?") == Verdict(False, False, "got 02")
    assert game.reply() == "part 2 is from 3 to 6", "a range that holds the exit's column"
    assert game.move("well") == Verdict(False, False, "got 02") and game.reply() == language.NO_ANSWER
    # The column comes first, so that row 1 is walked along.
    assert game.move("my answer is 14") == Verdict(False, True, "got 14")
    assert game.reply() == "got 14, part 1 is too high, part 2 is right"
    assert game.move("my answer is 04") == Verdict(True, True, "got 04")
    assert game.reply(informed=False) == language.RETRY
    assert CORRIDOR.walk((3, 3), (0, 2)) == (0, 3), "the same wall from the other side"
    assert CORRIDOR.moves_needed(3) == 2 and CORRIDOR.moves_needed(1) is None


def plain_walk(found, room, target):
    """One door at a time, told by the pair of rooms that it joins."""
    walls = {(r, (r[0] + 1, r[1])) for r in found.below} | {(r, (r[0], r[1] + 1)) for r in found.right}
    for axis in (0, 1):
        while room[axis] != target[axis]:
            ahead = list(room)
            ahead[axis] += 1 if target[axis] > room[axis] else -1
            if (room, tuple(ahead)) in walls or (tuple(ahead), room) in walls:
                return room
            room = tuple(ahead)
    return room


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 10**6))
def test_every_maze_is_solvable_in_at_most_three_moves(number):
    """A plain breadth-first search over all hundred moves from every room, through the game itself."""
    found = maze.draw_maze(number)
    moves, waiting = {found.start: 0}, deque([found.start])
    while waiting:
        room = waiting.popleft()
        for target in itertools.product(range(10), repeat=2):
            halt = found.walk(room, target)
            if halt not in moves:
                moves[halt] = moves[room] + 1
                waiting.append(halt)
    assert 1 <= moves[found.exit] <= 3 and moves[found.exit] == found.moves_needed(3)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 19), SAID)
def test_the_mazes_words_are_true_whatever_was_said(index, said):
    """Where the walker stands is what a plain walk says, and the comparison is that of its room with the exit."""
    task = TASKS[0]
    problem = task.problems("test")[index]
    found = maze.draw_maze(int(problem.id.split("-")[-1]))
    room = found.start
    for text in said:
        room = plain_walk(found, room, target) if (target := read_answer(text)) else room
    game, verdict = game_after(task, problem, conversation(problem, said))
    goal = int(problem.answer[0]), int(problem.answer[1])
    assert game.room == room and goal == found.exit
    if said:
        assert verdict.attempted == (read_answer(said[-1]) is not None)
        assert verdict.correct == (verdict.attempted and room == found.exit)
        words = ["right" if r == e else "too low" if r < e else "too high" for r, e in zip(room, goal, strict=True)]
        wanted = f"got {room[0]}{room[1]}, part 1 is {words[0]}, part 2 is {words[1]}"
        if (part := language.asked_part(said[-1])) is not None:
            low, high = (int(game.reply()[i]) for i in (15, 20))
            assert low <= goal[part - 1] <= high and game.reply() == f"part {part} is from {low} to {high}"
        else:
            assert game.reply() == (wanted if verdict.attempted else language.NO_ANSWER)


# The word puzzle.


def plain_marks(guess, word):
    """Wordle as people score it: cross off the right letters, then look for the others among what is left."""
    left, found = list(word), [None] * len(guess)
    for place, letter in enumerate(guess):
        if word[place] == letter:
            found[place] = "right"
            left.remove(letter)
    for place, letter in enumerate(guess):
        if found[place] is None:
            found[place] = "elsewhere" if letter in left else "absent"
            if letter in left:
                left.remove(letter)
    return found


LETTERS = st.lists(DIGITS, min_size=5, max_size=5)


@given(LETTERS, LETTERS)
def test_marks_are_wordles_for_words_of_any_length(guess, word):
    assert word_puzzle.marks(guess, word) == plain_marks(guess, word)
    assert word_puzzle.marks(guess[:2], word[:2]) == plain_marks(guess[:2], word[:2])


def test_a_word_game_by_hand():
    game = word_puzzle.WordGame((4, 3), (3, 7))
    assert game.reply() == language.NO_ANSWER
    assert game.move("my answer is 35") == Verdict(False, True)
    assert game.reply() == "part 2 is from 3 to 3, part 2 got an error"
    assert game.possible == [{4, 5, 6, 7}, {3}]
    # A guess for the second time: the letters that are left.
    game.move("my answer is 35")
    assert game.reply() == "part 1 is from 4 to 7, part 2 is from 3 to 3"
    assert game.move("hello") == Verdict(False, False) and game.reply() == language.NO_ANSWER
    assert game.move("what is part 1?") == Verdict(False, False) and game.reply() == "part 1 is from 4 to 7"
    game.move("my code is 10*7+(x//7+3)%10")
    assert game.reply() == "part 1 got an error, part 2 is right" and game.possible[0] == {4, 5, 6}
    assert game.move("my answer is 43") == Verdict(True, True)
    assert game.reply() == "part 1 is right, part 2 is right" and game.reply(informed=False) == language.RETRY


@given(st.integers(0, 19), SAID)
def test_the_word_games_words_are_those_of_the_plain_reference_and_true(index, said):
    task = TASKS[1]
    problem = task.problems("test")[index]
    word = tuple(map(int, problem.answer))
    game, tried = task.begin(problem), set()
    for text in said:
        verdict, guess = game.move(text), read_answer(text)
        assert verdict == Verdict(guess == word, guess is not None)
        assert all(letter in possible for letter, possible in zip(word, game.possible, strict=True)), "never ruled out"
        if guess is not None and guess not in tried:
            tried.add(guess)
            remarks = []
            for place, mark in enumerate(plain_marks(guess, word)):
                here, there, letter = place + 1, 2 - place, guess[place]
                remarks.append(
                    {
                        "right": f"part {here} is right",
                        "elsewhere": f"part {there} is from {letter} to {letter}",
                        "absent": f"part {here} got an error",
                    }[mark]
                )
            assert game.reply() == ", ".join(remarks)
        elif guess is not None:
            spans = [(min(letters), max(letters)) for letters in game.possible]
            assert game.reply() == ", ".join(f"part {i} is from {a} to {b}" for i, (a, b) in enumerate(spans, 1))


# Evolving goals.


@pytest.mark.parametrize("inner", [MATH, PocketCode(train_size=20, test_size=6)], ids=lambda task: task.name)
def test_the_second_problem_counts_after_the_change_and_not_before(inner):
    task = evolving.Evolving(inner, change_turn=2)
    first, second = inner.problems("test")[:2]
    problem = task.problems("test")[0]
    assert (problem.question, problem.answer) == (first.question, second.answer)
    old, new = (inner.write_attempt(inner.truth(p)) for p in (first, second))
    said = [old, new, old, new]
    verdicts = [verify_turns(task, [(problem, conversation(problem, said[:n]))])[0] for n in (1, 2, 3, 4)]
    assert [v.correct for v in verdicts] == [False, False, False, True] and all(v.attempted for v in verdicts)
    assert [v.detail == evolving.FIRST_GOAL for v in verdicts] == [True, False, False, False]
    replies = [game_after(task, problem, conversation(problem, said[:n]))[0] for n in (1, 2, 3)]
    # By the first goal, then the new statement, then by the second goal.
    assert replies[0].reply() == "part 1 is right, part 2 is right"
    assert replies[1].reply() == replies[1].reply(informed=False) == second.question
    assert replies[2].reply() == language.part_feedback(inner.truth(first), inner.truth(second))
    assert replies[2].reply(informed=False) == replies[0].reply(informed=False) == language.RETRY
    gold = ["".join(task.gold_utterance(problem, turn)) for turn in (1, 2, 3, 4)]
    assert gold == [old, old, new, new]
    # Neither goal's answer may be told.
    for goal in (first, second):
        assert task.leaks(problem, f"the answer is {goal.answer}", problem.question)
    assert task.static_knowledge(problem) == inner.static_knowledge(first)


def test_goals_that_follow_each_other_have_different_answers():
    for problem in TASKS[2].problems("test"):
        first, second = TASKS[2]._goals[problem.id]
        assert first.answer != second.answer and problem.id == f"{first.id}-then-{second.id}"


def test_settings_that_cannot_work_are_plain_errors():
    with pytest.raises(UserError, match="evolving: the problems of pocket_math_underspecified lack a fact"):
        evolving.Evolving(PocketMath(underspecified=True))
    with pytest.raises(UserError, match="evolving: change_turn is 0; give at least 1"):
        evolving.Evolving(MATH, change_turn=0)
    with pytest.raises(UserError, match="all test problems have the same answer"):
        evolving.Evolving(PocketMath(test_size=1)).problems("test")
