"""The base model's text: dialogues as weighted token rows, from the student's, teacher's and writer's view."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sml_jax.pocket import language
from sml_jax.pocket.students import Habits, ScriptedStudent
from sml_jax.pocket.world import PocketTask, pocket_task
from sml_jax.tasks.problems.types import Problem, Turn, Verdict
from sml_jax.text.chat import ChatFormat


@dataclass(frozen=True)
class Example:
    """A row of text to learn: tokens, and the weight of predicting each."""

    tokens: tuple[int, ...]
    weights: tuple[float, ...]


@dataclass(frozen=True)
class ScriptedDialogue:
    """A dialogue between a scripted student and the scripted teacher.

    Attributes:
      turns: teacher first; the verdicts are the student's turns', in order.
      knows: the teacher had its private knowledge; without, it only says that an attempt is wrong.
    """

    problem: Problem
    turns: tuple[Turn, ...]
    verdicts: tuple[Verdict, ...]
    knows: bool


def scripted_dialogue(
    task: PocketTask, problem: Problem, habits: Habits, max_turns: int, knows: bool, rng: random.Random
) -> ScriptedDialogue:
    """Plays one dialogue of at most `max_turns` student turns; it ends at the first correct answer."""
    student = ScriptedStudent(task, problem, habits, rng)
    turns, verdicts = [Turn("teacher", problem.question)], []
    for _ in range(max_turns):
        turns.append(Turn("student", student.speak(turns)))
        verdicts.append(task.verify([(problem, turns[-1].text)])[0])
        if verdicts[-1].correct:
            break
        reply = task.reply(problem, turns, verdicts[-1]) if knows else language.RETRY
        turns.append(Turn("teacher", reply))
    return ScriptedDialogue(problem, tuple(turns), tuple(verdicts), knows)


class _Row:
    """Tokens and weights while a row is being written."""

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.weights: list[float] = []

    def add(self, tokens: Sequence[int], weight: float) -> None:
        self.tokens += tokens
        self.weights += [weight] * len(tokens)

    def add_turn(self, chat: ChatFormat, turn: Turn, weight: float) -> None:
        self.add(chat.open(turn.role), 0.0)
        self.add([*chat.text(turn.text), *chat.close], weight)

    def example(self) -> Example:
        return Example(tuple(self.tokens), tuple(self.weights))


def student_view(chat: ChatFormat, dialogue: ScriptedDialogue, teacher_weight: float) -> Example:
    """The public conversation: the student's turns, and the teacher's as one without knowledge would say them."""
    row = _Row()
    row.add(chat.begin, 0.0)
    for i, turn in enumerate(dialogue.turns):
        row.add_turn(chat, turn, 1.0 if turn.role == "student" else teacher_weight if i else 0.0)
    return row.example()


def _with_knowledge(row: _Row, chat: ChatFormat, task: PocketTask, dialogue: ScriptedDialogue, turns: int) -> None:
    """The first `turns` turns as the teacher's context holds them."""
    row.add(chat.begin, 0.0)
    row.add(chat.private(task.static_knowledge(dialogue.problem)), 0.0)
    for i, turn in enumerate(dialogue.turns[:turns]):
        if turn.role == "teacher" and i:
            row.add(chat.private(task.dynamic_knowledge(dialogue.problem, dialogue.verdicts[i // 2 - 1])), 0.0)
        row.add_turn(chat, turn, 1.0 if turn.role == "teacher" and i else 0.0)


def teacher_view(chat: ChatFormat, task: PocketTask, dialogue: ScriptedDialogue) -> Example:
    """Private knowledge and conversation: the teacher's replies."""
    row = _Row()
    _with_knowledge(row, chat, task, dialogue, len(dialogue.turns))
    return row.example()


def writer_view(chat: ChatFormat, task: PocketTask, dialogue: ScriptedDialogue, rng: random.Random) -> Example | None:
    """Knowledge, conversation, an attempt that failed, and the question that would have been worth more (Q-priming).

    Returns:
      None if the dialogue has no failed attempt.
    """
    failed = [
        i for i, v in enumerate(dialogue.verdicts) if not v.correct and task.guessed(dialogue.turns[2 * i + 1].text)
    ]
    if not failed:
        return None
    at = rng.choice(failed)
    guess, truth = task.guessed(dialogue.turns[2 * at + 1].text), task.truth(dialogue.problem)
    assert guess is not None
    shards = dialogue.problem.shards
    told = any(s in t.text for s in shards for t in dialogue.turns[: 2 * at + 1] if t.role == "teacher")
    if shards and not told:
        question = language.ASK_SECRET
    else:
        question = language.part_question(rng.choice([i + 1 for i in range(2) if guess[i] != truth[i]]))
    row = _Row()
    _with_knowledge(row, chat, task, dialogue, 2 * at + 2)
    row.weights = [0.0] * len(row.tokens)
    row.add(chat.private(task.dynamic_knowledge(dialogue.problem, dialogue.verdicts[at])), 0.0)
    row.add(chat.ask, 0.0)
    row.add([*chat.text(question), *chat.close], 1.0)
    return row.example()


def examples(
    tasks: Sequence[PocketTask],
    chat: ChatFormat,
    habits: Habits,
    seed: int,
    max_turns: int = 10,
    ignorant: float = 0.15,
    underspecified: float = 0.25,
) -> Iterator[Example]:
    """An endless stream of text from train problems.

    Args:
      tasks: the fully specified domains; their underspecified forms are `underspecified` of the dialogues.
      chat: the format.
      habits: of the students.
      seed: of everything random.
      max_turns: dialogues stop after 1 to this many student turns.
      ignorant: share of dialogues whose teacher has no private knowledge and only asks for another try.
      underspecified: share of problems that lack a fact.
    """
    rng = random.Random(seed)
    forms = [(type(task)(), type(task)(underspecified=True)) for task in tasks]
    while True:
        task = rng.choice(forms)[rng.random() < underspecified]
        problem = task.draw_train(rng)
        knows = rng.random() >= ignorant
        dialogue = scripted_dialogue(task, problem, habits, rng.randint(1, max_turns), knows, rng)
        yield student_view(chat, dialogue, teacher_weight=0.5)
        if knows and len(dialogue.turns) > 2:
            yield teacher_view(chat, task, dialogue)
            writer = writer_view(chat, task, dialogue, rng) if rng.random() < 0.3 else None
            if writer is not None:
                yield writer


@dataclass(frozen=True)
class PocketText:
    """The stream above with its settings, for a training stage. See `examples`."""

    habits: Habits = Habits()
    max_turns: int = 10
    ignorant: float = 0.15
    underspecified: float = 0.25

    def examples(self, chat: ChatFormat, seed: int) -> Iterator[Example]:
        return examples(
            (pocket_task("pocket_math"), pocket_task("pocket_code")),
            chat,
            self.habits,
            seed,
            self.max_turns,
            self.ignorant,
            self.underspecified,
        )
