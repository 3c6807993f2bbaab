"""Q-priming's questions: when they take a turn's place, what is recorded of them, and what they may not carry over."""

import dataclasses

import jax
import numpy as np
import pytest
from dialogue_toys import DigitTask, put_on_stage
from test_rollout import expected_rows, private_report

from sml_jax.common.errors import UserError
from sml_jax.dialogue.context_budget import required_length
from sml_jax.dialogue.live import LiveDialogue
from sml_jax.dialogue.question_writer import QuestionWriter
from sml_jax.dialogue.rollout import play
from sml_jax.dialogue.rules import DialogueRules, QuestionInjection
from sml_jax.dialogue.statistics import dialogue_statistics
from sml_jax.dialogue.teachers import LanguageTeacher, Retry
from sml_jax.tasks.problems.types import Verdict


def injected(monkeypatch, chat, task, rules, engine, params, decay, says, teacher=None, problems=2):
    stage = put_on_stage(monkeypatch, chat, lambda heard: says[heard.role])
    played = play(
        task,
        task.problems()[:problems],
        chat,
        engine,
        params,
        teacher or LanguageTeacher(engine, params),
        dataclasses.replace(rules, injection=QuestionInjection(decay), private_tokens=40),
        seed=0,
    )
    return stage, played


SAYS = {"student": "9", "teacher": "no", "writer": "why?"}


@pytest.mark.parametrize(("decay", "turns"), [(1.0, (1, 2, 3, 4)), (0.0, (1,))])
def test_a_question_takes_the_place_of_an_attempt(monkeypatch, chat, task, rules, engine, params, decay, turns):
    _, played = injected(monkeypatch, chat, task, rules, engine, params, decay, SAYS)
    script = played.transcript
    for i, dialogue in enumerate(played.dialogues):
        assert dialogue.injected_turns == turns
        said = [turn.text for turn in dialogue.turns if turn.role == "student"]
        assert said == ["why?" if t in turns else "9" for t in range(1, 5)]
        assert [v.attempted for v in dialogue.verdicts] == [t not in turns for t in range(1, 5)]
        tokens, mask, numbers, _ = expected_rows(chat, dialogue)
        n = len(tokens)
        assert script.tokens[i, :n].tolist() == tokens == list(dialogue.tokens) and script.length[i] == n
        assert script.student[i, :n].tolist() == mask, "a question is trained on, its end too"
        assert script.turn[i, :n].tolist() == numbers
        np.testing.assert_array_equal(script.injected[i], script.student[i] & np.isin(script.turn[i], turns))
        assert not script.logprob[i][script.injected[i]].any()
        assert not script.sampling_logprob[i][script.injected[i]].any()
        assert (script.logprob[i][script.student[i] & ~script.injected[i]] < 0).all()
    assert dialogue_statistics(played.dialogues)["injected_rate"] == len(turns) / 4


def test_the_attempt_and_private_words_stay_out_of_the_students_context(monkeypatch, chat, task, rules, engine, params):
    stage, played = injected(monkeypatch, chat, task, rules, engine, params, 1.0, SAYS)
    for i, dialogue in enumerate(played.dialogues):
        for turn, heard in enumerate(stage.of("student", i), 1):
            so_far = dataclasses.replace(dialogue, turns=dialogue.turns[: 2 * turn - 1])
            assert list(heard.context) == [*expected_rows(chat, so_far)[0], *chat.open_student]
            assert not set(heard.context) & {*chat.open_private, *chat.ask, *chat.text("9")[1:]}


def test_the_writer_reads_the_attempt_and_the_teacher_only_the_question(monkeypatch, chat, task, rules, engine, params):
    stage, _ = injected(monkeypatch, chat, task, rules, engine, params, 1.0, SAYS, problems=1)
    problem = task.problems()[0]
    teacher_context = [
        *chat.begin,
        *chat.private(task.static_knowledge(problem)),
        *chat.turn("teacher", problem.question),
    ]
    for writer, teacher in zip(stage.of("writer"), stage.of("teacher"), strict=False):
        attempt = [*chat.turn("student", "9"), *private_report(chat, task, problem, "9")]
        assert list(writer.context) == [*teacher_context, *attempt, *chat.ask]
        teacher_context += [*chat.turn("student", "why?"), *private_report(chat, task, problem, "why?")]
        assert list(teacher.context) == [*teacher_context, *chat.open_teacher]
        teacher_context += chat.turn("teacher", "no")
    assert len(stage.of("writer")) == 4 and {h.limit for h in stage.heard if h.role == "writer"} == {9}


@dataclasses.dataclass(frozen=True)
class WordTask(DigitTask):
    """Only "my answer is ..." attempts; the answer is a word."""

    def problems(self, split="train"):
        return [dataclasses.replace(p, answer="red") for p in super().problems(split)]

    def verify(self, items):
        return [Verdict(said == f"my answer is {p.answer}", said.startswith("my answer"), said) for p, said in items]


@pytest.mark.parametrize("question", ["is it red", "my answer is 8", "my answer is red", "a question without end"])
def test_a_question_that_crosses_the_line_is_left_out(monkeypatch, chat, rules, engine, params, question):
    """It holds the answer, it is an attempt, it solves the problem, or it did not end: the sampled turn stays."""
    roomy = dataclasses.replace(rules, student_tokens=30 if "red" in question or "8" in question else 9)
    says = SAYS | {"writer": question, "student": "blue"}
    stage, played = injected(monkeypatch, chat, WordTask(), roomy, engine, params, 1.0, says)
    assert len(stage.of("writer")) == 8
    for i, dialogue in enumerate(played.dialogues):
        assert dialogue.injected_turns == () and dialogue.solved_turn == 0
        assert [t.text for t in dialogue.turns if t.role == "student"] == ["blue"] * 4
        assert list(dialogue.tokens) == expected_rows(chat, dialogue)[0]
        mine = played.transcript.student[i]
        assert (played.transcript.logprob[i][mine] < 0).all() and not played.transcript.injected[i].any()


def test_a_correct_turn_is_never_replaced(monkeypatch, chat, task, rules, engine, params):
    says = SAYS | {"student": "0"}
    stage, played = injected(monkeypatch, chat, task, rules, engine, params, 1.0, says, teacher=Retry())
    assert played.dialogues[0].solved_turn == 1 and played.dialogues[0].injected_turns == ()
    assert played.dialogues[1].solved_turn == 0 and played.dialogues[1].injected_turns == (1, 2, 3, 4)
    assert not stage.of("writer", 0)


def test_turn_t_is_chosen_with_probability_decay_to_the_t(chat, task, engine, params):
    problem, n = task.problems()[0], 2000
    writer = QuestionWriter(QuestionInjection(0.75), engine, params, chat, 9, jax.random.key(0), seed=5)
    draws = np.array(
        [
            [
                writer.wants(LiveDialogue(i, 0, 0, problem, problem, verdicts=[Verdict(False, True)] * (t + 1)))
                for t in range(4)
            ]
            for i in range(n)
        ]
    )
    wanted = 0.75 ** np.arange(4)
    assert draws[:, 0].all()
    assert np.abs(draws.mean(0) - wanted).max() < 4 * 0.5 / n**0.5
    assert abs((draws[:, 1] & draws[:, 2]).mean() - 0.75**3) < 0.05, "turns are drawn apart from each other"


@pytest.mark.parametrize("decay", [-0.1, 1.1])
def test_a_decay_that_is_no_probability_is_a_plain_error(decay):
    with pytest.raises(UserError, match="probability"):
        QuestionInjection(decay)


@pytest.mark.parametrize("injection", [None, QuestionInjection(1.0)])
@pytest.mark.parametrize("writer", ["why?", "my answer is 9 and 9"])
def test_required_length_bounds_every_context(monkeypatch, chat, task, engine, params, injection, writer):
    """Everyone talks past the budget; redactions are longer than the teacher's; private words are cut."""
    says = {"student": "9 " * 30, "teacher": "5 " * 30, "writer": writer}
    for tokens, redaction in ((6, "x"), (3, "a redaction of many letters")):
        rules = DialogueRules(
            max_turns=3, student_tokens=6, teacher_tokens=tokens, private_tokens=5, injection=injection
        )
        rules = dataclasses.replace(rules, guard=dataclasses.replace(rules.guard, redaction=redaction))
        leaky = dataclasses.replace(task.problems()[0], answer="5" if redaction != "x" else "8")
        stage = put_on_stage(monkeypatch, chat, lambda heard: says[heard.role])
        longest = required_length(chat, task, [leaky], rules)
        play(task, [leaky], chat, engine, params, LanguageTeacher(engine, params), rules, seed=0)
        reached = max(len(h.context) + h.limit for h in stage.heard)
        assert reached <= longest
        if injection is None:
            assert longest - reached <= 24, "it wastes less than one exchange"
