"""The gold answer's likelihood after each teacher turn: beside a plain re-scoring, and without a trace in dialogues."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dialogue_toys import DigitTask

from sml_jax.dialogue import Retry, play
from sml_jax.dialogue.records import dialogue_record
from sml_jax.dialogue.transcript import Dialogue, StudentContext
from sml_jax.evaluate.answer_loglik import _continuation, answer_loglik_summary, answer_logliks
from sml_jax.evaluate.statistics import mean_ci95
from sml_jax.evaluate.suites import Suite, evaluate_arm
from sml_jax.learn.logprobs import token_logprobs
from sml_jax.tasks import MathTask

SCORED = 200  # tokens of the plain re-scoring's rows


@dataclasses.dataclass(frozen=True)
class SaidDigits(DigitTask):
    """Its gold answers are utterances; only the right digit alone is correct, so that dialogues take several turns."""

    def gold_utterance(self, problem, turn):
        return "my answer is ", f"{problem.answer}0"


SUITE = Suite(SaidDigits(), arms=(Retry(),), problems=8, max_turns=3)


@pytest.fixture(scope="module")
def played(chat, engine, params, rules):
    problems = SUITE.task.problems("test")
    return play(SUITE.task, problems, chat, engine, params, Retry(), SUITE.rules(rules), seed=SUITE.seed)


@pytest.fixture(scope="module")
def evaluated(chat, engine, params, rules):
    return evaluate_arm(SUITE, Retry(), chat, engine, params, params, rules)


def test_the_likelihoods_are_those_of_a_plain_forward_pass(chat, engine, model, params, played, evaluated):
    """Each context, taken from the transcript's own marks, goes through the plain model with the answer behind it."""
    script, problems = played.transcript, SUITE.task.problems("test")
    score = jax.jit(lambda tokens: token_logprobs(model.apply(params, tokens), tokens))
    wanted = np.full((8, 3), np.nan)
    for row, problem in enumerate(problems):
        answer = chat.text(f"my answer is {problem.answer}0")
        for turn in range(1, int(script.turns[row]) + 1):
            start = int(np.flatnonzero(script.turn[row] == turn)[0])
            tokens = [*script.tokens[row, :start].tolist(), *answer]
            padded = jnp.asarray([tokens + [0] * (SCORED - len(tokens))])
            # "my answer is " is one token, each of the answer's two digits another.
            wanted[row, turn - 1] = np.asarray(score(padded))[0, len(tokens) - 2 : len(tokens)].sum()
    assert np.isfinite(wanted[:, 0]).all() and np.isfinite(wanted).sum() > 8
    found = answer_logliks(SUITE.task, problems, played.dialogues, chat, engine, params, 3)
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    entry, dialogues = evaluated
    # Each dialogue carries its own numbers, without the turns that it does not have.
    for dialogue, by_turn in zip(dialogues, wanted, strict=True):
        assert dialogue.answer_loglik == pytest.approx(by_turn[np.isfinite(by_turn)].tolist(), abs=1e-4)
        assert dialogue_record(dialogue, 0, "base")["answer_loglik"] == list(dialogue.answer_loglik)
    assert entry["answer_loglik_at_turn"] == pytest.approx(np.nanmean(wanted, axis=0).tolist(), abs=1e-4)
    assert entry["answer_loglik_n"] == [int((script.turns >= turn).sum()) for turn in (1, 2, 3)]


def test_the_dialogues_are_bit_for_bit_those_without_the_measure(chat, engine, params, rules, played, evaluated):
    without = dataclasses.replace(SUITE, answer_loglik=False)
    entry, dialogues = evaluate_arm(without, Retry(), chat, engine, params, params, rules)
    measured_entry, measured = evaluated
    assert dialogues == measured == played.dialogues
    added = {name: value for name, value in measured_entry.items() if name not in entry}
    assert {name: measured_entry[name] for name in entry} == entry
    assert set(added) == {
        "answer_loglik_at_turn",
        "answer_loglik_ci95",
        "answer_loglik_n",
        "answer_loglik_change_at_turn",
        "answer_loglik_change_ci95",
    }
    # A task whose answers cannot be said has none of these fields.
    plain = dataclasses.replace(SUITE, task=DigitTask())
    assert set(evaluate_arm(plain, Retry(), chat, engine, params, params, rules)[0]) == set(entry)


def test_the_summary_by_hand():
    nan = np.nan
    logliks = np.array([[-4.0, -2.0, -1.0], [-6.0, -5.0, nan], [-2.0, nan, nan]])
    summary = answer_loglik_summary(logliks)
    assert summary["answer_loglik_at_turn"] == [-4.0, -3.5, -1.0] and summary["answer_loglik_n"] == [3, 2, 1]
    assert summary["answer_loglik_ci95"][0] == pytest.approx(mean_ci95(logliks[:, 0])[1:])
    # t(0.975, 1) = 12.706; the half width is 12.706 * std / sqrt(2), with std = 1.5 * sqrt(2).
    assert summary["answer_loglik_ci95"][1] == pytest.approx([-3.5 - 12.706 * 1.5, -3.5 + 12.706 * 1.5], abs=1e-2)
    assert summary["answer_loglik_ci95"][2] is None, "one number has no interval"
    # The changes are of the same dialogues: 2 and 1 at the second turn, 1 at the third.
    assert summary["answer_loglik_change_at_turn"] == [None, 1.5, 1.0]
    assert summary["answer_loglik_change_ci95"][0] is None and summary["answer_loglik_change_ci95"][2] is None
    nobody = answer_loglik_summary(np.full((2, 1), nan))
    assert nobody["answer_loglik_at_turn"] == [None] and nobody["answer_loglik_n"] == [0]


def test_a_token_that_holds_the_end_of_the_format_is_the_answers():
    encode = {"x is ": [1, 2], "x is 7": [1, 9], "x is 77": [1, 2, 7, 7]}.__getitem__
    assert _continuation(encode, "x is ", "7") == ([1, 9], 1)
    assert _continuation(encode, "x is ", "77") == ([1, 2, 7, 7], 2)


def test_an_answer_that_cannot_be_written_leaves_its_dialogue_out(chat, engine, params, played):
    @dataclasses.dataclass(frozen=True)
    class Broken(SaidDigits):
        def gold_utterance(self, problem, turn):
            if problem.id == "pb":
                raise ValueError("no such answer")
            return super().gold_utterance(problem, turn)

    found = answer_logliks(Broken(), Broken().problems(), played.dialogues, chat, engine, params, 3)
    assert np.isnan(found[1]).all() and np.isfinite(found[[0, *range(2, 8)], 0]).all()


def test_the_context_before_a_turn_is_what_the_student_read_then():
    """A turn whose thinking was taken back, with the end of its opening, was begun behind that opening."""
    context = StudentContext()
    context.add_given([1, 2, 3])
    context.add_sampled([4, 5], [0.0] * 2, [0.0] * 2, 1)
    context.rewrite_turn(1, 1, [6])
    context.add_given([7])
    context.add_injected([8, 9], 2)
    dialogue = Dialogue("p", "arm", (), (), 0, tuple(context.tokens), tuple(context.turn_starts))
    assert dialogue.context_before(1) == (1, 2, 3)
    assert dialogue.context_before(2) == (1, 2, 6, 7)
    context.rewrite_turn(2, 0, [8])
    assert context.turn_starts == [(2, (3,)), (4, ())]


def test_mathematics_is_scored_behind_the_opening_of_the_box():
    task = MathTask("toy", {"test": []})
    assert task.gold_utterance(DigitTask().problems()[1], 1) == ("\\boxed{", "1")
