"""The text that the base model is trained on: scripted dialogues as token rows with a weight for each token.

Each dialogue is written from up to three views: the student's (public conversation), the teacher's (with its private
knowledge), and that of the writer of a better question (Q-priming).
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sml_jax.pocket import language
from sml_jax.pocket.students import Habits, ScriptedStudent
from sml_jax.pocket.world import PocketTask, pocket_task
from sml_jax.tasks import Problem, Turn, Verdict
from sml_jax.text.chat import ChatFormat
from sml_jax.text.weighted_text import WeightedText


@dataclass(frozen=True)
class ScriptedDialogue:
    """A dialogue between a scripted student and the scripted teacher.

    Attributes:
      problem: what it is about.
      turns: the conversation; the teacher speaks first, then student and teacher alternate.
      verdicts: one for each student turn, in order.
      informed: whether the teacher had its private knowledge. A teacher without it only says that an attempt is wrong.
    """

    problem: Problem
    turns: tuple[Turn, ...]
    verdicts: tuple[Verdict, ...]
    informed: bool


def scripted_dialogue(
    task: PocketTask, problem: Problem, habits: Habits, max_turns: int, informed: bool, rng: random.Random
) -> ScriptedDialogue:
    """Plays one dialogue of a scripted student with the scripted teacher.

    Args:
      task: judges the attempts and replies to them.
      problem: a problem of `task`.
      habits: the probabilities from which the student's habit is drawn.
      max_turns: the most student turns; the dialogue ends earlier at the first correct answer.
      informed: whether the teacher has its private knowledge; without it, it always asks for another try.
      rng: source of all random choices; it is advanced.
    """
    student = ScriptedStudent(task, problem, habits, rng)
    turns, verdicts = [Turn("teacher", problem.question)], []
    for _ in range(max_turns):
        # The student's turn, and the verifier's verdict on it.
        turns.append(Turn("student", student.speak(turns)))
        verdicts.append(task.verify([(problem, turns[-1].text)])[0])
        if verdicts[-1].correct:
            break
        # The teacher's reply. One without knowledge has a single thing to say.
        reply = task.reply(problem, turns, verdicts[-1]) if informed else language.RETRY
        turns.append(Turn("teacher", reply))
    return ScriptedDialogue(problem, tuple(turns), tuple(verdicts), informed)


class _Row:
    """The tokens and weights of one example while it is being written."""

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.weights: list[float] = []

    def add(self, tokens: Sequence[int], weight: float) -> None:
        """Appends tokens, all with the same weight."""
        self.tokens += tokens
        self.weights += [weight] * len(tokens)

    def add_turn(self, chat: ChatFormat, turn: Turn, weight: float) -> None:
        """Appends a turn: what opens it has weight 0, its text and its end have `weight`."""
        # Openings are written by the program, so the model need not learn to say them.
        self.add(chat.open(turn.role), 0.0)
        self.add([*chat.text(turn.text), *chat.close], weight)

    def example(self) -> WeightedText:
        """The finished row."""
        return WeightedText(tuple(self.tokens), tuple(self.weights))


def student_view(chat: ChatFormat, dialogue: ScriptedDialogue, teacher_weight: float) -> WeightedText:
    """A training example for the student's role: the conversation without private knowledge.

    Args:
      chat: the format in which the tokens are written.
      dialogue: the conversation.
      teacher_weight: loss weight of the tokens of the teacher's replies, from which the model learns what a teacher
        without knowledge may say. The student's turns have weight 1, the problem's statement and all openings 0.
    """
    row = _Row()
    row.add(chat.begin, 0.0)
    for position, turn in enumerate(dialogue.turns):
        is_reply = turn.role == "teacher" and position > 0
        row.add_turn(chat, turn, 1.0 if turn.role == "student" else teacher_weight if is_reply else 0.0)
    return row.example()


def _add_teacher_context(row: _Row, chat: ChatFormat, task: PocketTask, dialogue: ScriptedDialogue, turns: int) -> None:
    """Adds the first `turns` turns as they are in the teacher's context: private knowledge comes before its turns."""
    row.add(chat.begin, 0.0)
    row.add(chat.private(task.static_knowledge(dialogue.problem)), 0.0)
    for position, turn in enumerate(dialogue.turns[:turns]):
        is_reply = turn.role == "teacher" and position > 0
        if is_reply:
            latest_verdict = dialogue.verdicts[position // 2 - 1]
            row.add(chat.private(task.dynamic_knowledge(dialogue.problem, latest_verdict)), 0.0)
        row.add_turn(chat, turn, 1.0 if is_reply else 0.0)


def teacher_view(chat: ChatFormat, task: PocketTask, dialogue: ScriptedDialogue) -> WeightedText:
    """A training example for the teacher's role: its context with its private knowledge.

    The tokens of its replies have loss weight 1, all others 0.
    """
    row = _Row()
    _add_teacher_context(row, chat, task, dialogue, len(dialogue.turns))
    return row.example()


def writer_view(
    chat: ChatFormat, task: PocketTask, dialogue: ScriptedDialogue, rng: random.Random
) -> WeightedText | None:
    """A training example for the question writer's role (Q-priming): a failed attempt, then a question to ask instead.

    One failed attempt of the dialogue is drawn with `rng`. The context is the teacher's, up to this attempt. The
    question asks for the missing fact if there is one that the teacher has not told yet, else for one of the wrong
    parts of the attempt. Only the question's tokens have loss weight 1.

    Returns:
      The example, or None if the dialogue has no failed attempt.
    """
    # The student's turn of number `i`, counted from 0, stands at position 2 i + 1.
    failed_turns = [
        i
        for i, verdict in enumerate(dialogue.verdicts)
        if not verdict.correct and task.read_attempt(dialogue.turns[2 * i + 1].text)
    ]
    if not failed_turns:
        return None
    chosen_turn = rng.choice(failed_turns)
    guess, truth = task.read_attempt(dialogue.turns[2 * chosen_turn + 1].text), task.truth(dialogue.problem)
    assert guess is not None
    # A missing fact is worth more than a hint about a part, so it is asked for first.
    shards = dialogue.problem.shards
    teacher_texts = [turn.text for turn in dialogue.turns[: 2 * chosen_turn + 1] if turn.role == "teacher"]
    fact_told = any(fact in text for fact in shards for text in teacher_texts)
    if shards and not fact_told:
        question = language.ASK_SECRET
    else:
        question = language.part_question(rng.choice([i + 1 for i in range(2) if guess[i] != truth[i]]))
    # The writer reads what the teacher reads, up to the failed attempt and the verifier's words on it.
    row = _Row()
    _add_teacher_context(row, chat, task, dialogue, 2 * chosen_turn + 2)
    # Everything up to the attempt is context here: the teacher's replies are learnt in its own view.
    row.weights = [0.0] * len(row.tokens)
    row.add(chat.private(task.dynamic_knowledge(dialogue.problem, dialogue.verdicts[chosen_turn])), 0.0)
    row.add(chat.ask, 0.0)
    row.add([*chat.text(question), *chat.close], 1.0)
    return row.example()


def examples(
    tasks: Sequence[PocketTask],
    chat: ChatFormat,
    habits: Habits,
    seed: int,
    max_turns: int = 10,
    uninformed: float = 0.15,
    underspecified: float = 0.25,
) -> Iterator[WeightedText]:
    """Yields training examples about problems of the train split, without end, for all three roles.

    Args:
      tasks: the domains to draw from, each with equal probability. Their `underspecified` is ignored.
      chat: the format in which contexts are written.
      habits: how often each habit occurs among the scripted students.
      seed: the same seed gives the same stream.
      max_turns: a dialogue's limit of student turns is drawn from 1 to this number.
      uninformed: fraction of dialogues whose teacher has no private knowledge and only asks for another try.
      underspecified: fraction of dialogues about problems that lack a fact.
    """
    rng = random.Random(seed)
    # Each domain as a pair, so that a Boolean chooses the form.
    task_pairs = [(type(task)(), type(task)(underspecified=True)) for task in tasks]
    while True:
        task = rng.choice(task_pairs)[rng.random() < underspecified]
        problem = task.draw_train(rng)
        informed = rng.random() >= uninformed
        dialogue = scripted_dialogue(task, problem, habits, rng.randint(1, max_turns), informed, rng)
        # Every dialogue is learnt as the student sees it; those with an informed reply also as the teacher does.
        yield student_view(chat, dialogue, teacher_weight=0.5)
        if informed and len(dialogue.turns) > 2:
            yield teacher_view(chat, task, dialogue)
            # Three dialogues in ten also teach to write questions: it is the rarest of the three roles.
            question_example = writer_view(chat, task, dialogue, rng) if rng.random() < 0.3 else None
            if question_example is not None:
                yield question_example


@dataclass(frozen=True)
class PocketText:
    """A source of training text that a recipe gives to a training stage: `examples` of both domains.

    Attributes:
      habits, max_turns, uninformed, underspecified: arguments of `examples`.
    """

    habits: Habits = Habits()
    max_turns: int = 10
    uninformed: float = 0.15
    underspecified: float = 0.25

    def examples(self, chat: ChatFormat, seed: int) -> Iterator[WeightedText]:
        """Yields examples in the format `chat` without end; the same seed gives the same ones in the same order."""
        return examples(
            (pocket_task("pocket_math"), pocket_task("pocket_code")),
            chat,
            self.habits,
            seed,
            self.max_turns,
            self.uninformed,
            self.underspecified,
        )
