"""The base model's text: what each view holds, what it is weighed on, and what it must not hold."""

import random
from itertools import islice

import pytest

from sml_jax.pocket import language
from sml_jax.pocket.corpus import PocketText, examples, scripted_dialogue, student_view, teacher_view, writer_view
from sml_jax.pocket.students import Habits
from sml_jax.pocket.world import split_of


@pytest.fixture(scope="module")
def dialogues(small):
    """(task, dialogue) of all four tasks."""
    rng, pairs = random.Random(4), []
    for name in ("pocket_math", "pocket_code", "pocket_math_underspecified", "pocket_code_underspecified"):
        task = small(name)
        pairs += [(task, scripted_dialogue(task, p, Habits(), 6, True, rng)) for p in task.problems("train")[:60]]
    return pairs


def texts_of_weight(chat, example, weight):
    """The texts of an example's turns whose tokens have this weight; each must reach to the end of its turn."""
    runs, run = [], []
    for token, w in zip((*example.tokens, None), (*example.weights, None), strict=True):
        if w == weight:
            run.append(token)
            if token == chat.close[0]:
                runs.append(chat.utterance(run))
                run = []
        else:
            assert not run, "a weighed run goes on to its turn's end"
    return runs


def test_scripted_dialogues_go_by_the_rules(dialogues):
    for task, dialogue in dialogues:
        assert dialogue.turns[0].text == dialogue.problem.question
        roles = [turn.role for turn in dialogue.turns]
        assert roles == (["teacher", "student"] * len(roles))[: len(roles)]
        student_texts = [turn.text for turn in dialogue.turns if turn.role == "student"]
        assert list(dialogue.verdicts) == task.verify([(dialogue.problem, text) for text in student_texts])
        assert not any(v.correct for v in dialogue.verdicts[:-1])
        assert 1 <= len(student_texts) <= 6
        assert (dialogue.turns[-1].role == "student") == dialogue.verdicts[-1].correct


def test_the_students_view_is_the_public_conversation(chat, dialogues):
    for _, dialogue in dialogues:
        view = student_view(chat, dialogue, 0.5)
        wanted = list(chat.begin)
        for turn in dialogue.turns:
            wanted += chat.turn(turn.role, turn.text)
        assert list(view.tokens) == wanted and len(view.weights) == len(wanted)
        assert not set(view.tokens) & {*chat.open_private, *chat.ask}
        assert texts_of_weight(chat, view, 1.0) == [t.text for t in dialogue.turns if t.role == "student"]
        assert texts_of_weight(chat, view, 0.5) == [t.text for t in dialogue.turns[1:] if t.role == "teacher"]


def test_no_answer_stands_in_the_students_view_before_the_student_gives_it(chat, dialogues):
    checked = 0
    for task, dialogue in dialogues:
        before = [t.text for t in dialogue.turns if t.role == "teacher" or not _right(task, dialogue, t.text)]
        for text in before:
            assert f"answer is {dialogue.problem.answer}" not in text and f"10*{dialogue.problem.answer}" not in text
            assert dialogue.problem.answer not in text or "multiply" in text or "secret" in text
            checked += 1
    assert checked > 1000


def _right(task, dialogue, text):
    return task.read_attempt(text) == task.truth(dialogue.problem)


def test_the_teachers_view_is_weighed_on_its_replies_alone(chat, dialogues):
    for task, dialogue in dialogues:
        view, wanted = teacher_view(chat, task, dialogue), list(chat.begin)
        wanted += chat.private(task.static_knowledge(dialogue.problem))
        for i, turn in enumerate(dialogue.turns):
            if turn.role == "teacher" and i:
                wanted += chat.private(task.dynamic_knowledge(dialogue.problem, dialogue.verdicts[i // 2 - 1]))
            wanted += chat.turn(turn.role, turn.text)
        assert list(view.tokens) == wanted
        assert texts_of_weight(chat, view, 1.0) == [t.text for t in dialogue.turns[1:] if t.role == "teacher"]
        assert set(view.weights) <= {0.0, 1.0}


def test_the_writers_view_asks_for_what_was_wrong(chat, dialogues):
    rng, seen = random.Random(0), set()
    for task, dialogue in dialogues:
        view = writer_view(chat, task, dialogue, rng)
        student_texts = [t.text for t in dialogue.turns if t.role == "student"]
        wrong = [task.read_attempt(s) for s, v in zip(student_texts, dialogue.verdicts, strict=True) if not v.correct]
        if not any(wrong):
            assert view is None
            continue
        (question,) = texts_of_weight(chat, view, 1.0)
        assert view.tokens.count(chat.ask[0]) == 1
        at = view.tokens.index(chat.ask[0])
        assert view.weights.index(1.0) == at + 1 and chat.utterance(view.tokens[at:]) == question
        truth = task.truth(dialogue.problem)
        parts = {i + 1 for guess in wrong if guess for i in range(2) if guess[i] != truth[i]}
        assert (question == language.ASK_SECRET and dialogue.problem.shards) or language.asked_part(question) in parts
        seen.add(question)
    assert seen == {language.ASK_SECRET, "what is part 1?", "what is part 2?"}


def test_a_teacher_without_knowledge_only_asks_for_another_try(small):
    task = small("pocket_math")
    habits = Habits(listens=0.0, easy=0.0, hard=0.0)
    dialogue = scripted_dialogue(task, task.problems("train")[0], habits, 5, False, random.Random(1))
    assert {t.text for t in dialogue.turns[1:] if t.role == "teacher"} == {language.RETRY}


def test_the_stream_is_of_train_problems_and_the_same_for_a_seed(chat):
    stream = list(islice(PocketText().examples(chat, seed=1), 300))
    assert stream == list(islice(PocketText().examples(chat, seed=1), 300))
    assert stream != list(islice(PocketText().examples(chat, seed=2), 300))
    kinds = {"multiply": 0, "find code": 0, "a secret number": 0}
    for example in stream:
        assert any(example.weights) and len(example.tokens) == len(example.weights)
        text = chat.utterance(example.tokens)
        for kind in kinds:
            kinds[kind] += kind in text
        if "find code" in text:
            assert split_of(int(text.split("f(")[1].split(")")[0])) == "train"
    assert all(kinds.values())


def test_shares_of_the_stream(small, chat):
    math = (small("pocket_math"),)
    specified_and_uninformed = islice(examples(math, chat, Habits(), 0, underspecified=0.0, uninformed=1.0), 100)
    for example in specified_and_uninformed:
        assert "secret" not in chat.utterance(example.tokens)
        assert chat.open_private[0] not in example.tokens, "a teacher without knowledge has no private view"
