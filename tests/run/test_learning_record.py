"""What the log says of what was learnt: advantages by turn, and the signals of single tokens."""

import dataclasses

import numpy as np
import pytest
from run_toys import OPTIMIZER

from sml_jax.common.errors import UserError
from sml_jax.dialogue.transcript import Transcript
from sml_jax.learn import Grpo, LikelihoodSignal, PolicySignal, Signals
from sml_jax.run.learning_record import learning_fields
from sml_jax.run.stages import Online
from sml_jax.text.tokenizer import SentencePieceTokenizer

# One row a dialogue of six tokens at most: "a", a student turn of two, "b", a student turn of one, padding.
TURN = np.array([[0, 1, 1, 0, 2, 0], [0, 1, 0, 0, 0, 0]])
WEIGHTS = np.array([[0, 0.5, 0.5, 0, 0, 0], [0, 0, 0, 0, 0, 0]], np.float32)
ADVANTAGE = np.array([[9, 1, 2, 9, 7, 9], [9, 9, 9, 9, 9, 9]], np.float32)
LOGPROB = np.array([[0, -0.123456789, -2, 0, 0, 0], [0, -1, 0, 0, 0, 0]], np.float32)


@pytest.fixture(scope="module")
def spoken(tokenizer):
    return SentencePieceTokenizer(tokenizer)


@pytest.fixture
def transcript(spoken):
    (a,), (b,), (one,) = (spoken.encode(text) for text in "ab1")
    end = spoken.control("<end>")
    return Transcript(
        tokens=np.array([[a, one, end, b, one, 0], [a, end, 0, 0, 0, 0]], np.int32),
        length=np.array([5, 2], np.int32),
        student=TURN > 0,
        # The second turn is a question that was put in.
        injected=TURN == 2,
        logprob=LOGPROB,
        sampling_logprob=LOGPROB,
        turn=TURN.astype(np.int32),
        teacher=TURN < 0,
        reward=np.ones(2, np.float32),
        solved_turn=np.ones(2, np.int32),
        turns=np.array([2, 1], np.int32),
        group=np.zeros(2, np.int32),
        dropped=np.zeros(2, bool),
        max_student_tokens=6,
    )


def test_advantages_are_means_over_the_tokens_trained_on(transcript, spoken):
    signals = Signals(policy=PolicySignal(ADVANTAGE, WEIGHTS, LOGPROB))
    assert learning_fields(transcript, signals, spoken, 5, 0) == [{"advantages": [1.5, None]}, {"advantages": [None]}]
    assert learning_fields(transcript, signals, spoken, 1, 0) == [{"advantages": [1.5, None]}]


def test_each_token_has_its_text_log_probability_and_signals(transcript, spoken):
    signals = Signals(PolicySignal(ADVANTAGE, WEIGHTS, LOGPROB), LikelihoodSignal(2 * WEIGHTS), {"return": 1.0})
    first, second = learning_fields(transcript, signals, spoken, 2, 1)
    assert "token_signals" not in second
    assert first["token_signals"] == {
        "text": ["a", "1", "<end>", "b", "1"],
        "logprob": [None, -0.12346, -2.0, None, None],
        "policy.advantage": [9, 1, 2, 9, 7],
        "policy.weights": [0, 0.5, 0.5, 0, 0],
        "likelihood.weights": [0, 1, 1, 0, 0],
    }


def test_a_method_without_a_policy_stream_has_no_advantages(transcript, spoken):
    (fields,) = learning_fields(transcript, Signals(likelihood=LikelihoodSignal(WEIGHTS)), spoken, 1, 1)
    assert set(fields) == {"token_signals"}
    assert set(fields["token_signals"]) == {"text", "logprob", "likelihood.weights"}


@pytest.mark.extra
def test_a_stage_logs_whole_groups_with_what_was_learnt_from_them(new_run):
    run = new_run()
    stage = Online(OPTIMIZER, steps=2, problems_per_step=5, group_size=4, micro_batch_size=8, dialogues_logged=4)
    run.run(dataclasses.replace(stage, method=Grpo(normalize=False), signals_logged=1))
    for step in (1, 2):
        group = [record for record in run.dialogues() if record["step"] == step]
        assert len(group) == 4 and len({record["problem_id"] for record in group}) == 1
        # Every turn of a dialogue has its advantage: its return less the group's mean.
        returns = np.array([0.7 ** (r["solved_turn"] - 1) if r["solved_turn"] else 0.0 for r in group])
        for record, expected in zip(group, returns - returns.mean(), strict=True):
            assert record["advantages"] == pytest.approx([expected] * len(record["verdicts"]), abs=1e-4)
        assert ["token_signals" in record for record in group] == [True, False, False, False]
        signals = group[0]["token_signals"]
        assert {len(values) for values in signals.values()} == {len(group[0]["tokens"])}
        sampled = [logprob is not None for logprob in signals["logprob"]]
        assert any(sampled) and sampled == [weight > 0 for weight in signals["policy.weights"]]
        # What the teacher knew is logged, and was not said.
        assert group[0]["private"]["static"].startswith("a ")


def test_a_number_of_dialogues_below_zero_is_an_error():
    with pytest.raises(UserError, match="signals_logged"):
        Online(OPTIMIZER, signals_logged=-1)
