"""What was learnt from the dialogues that are logged: advantages by turn, and the learning signals of each token."""

from __future__ import annotations

from typing import Any

import numpy as np

from sml_jax.dialogue.transcript import Transcript
from sml_jax.learn.signals import Signals
from sml_jax.text.tokenizer import Tokenizer

_DIGITS = 5  # of each number of a token; float32 has some seven, and lines get long


def learning_fields(
    transcript: Transcript, signals: Signals, tokenizer: Tokenizer, dialogues: int, with_signals: int
) -> list[dict[str, Any]]:
    """Further fields for the lines of `dialogues.jsonl` of a rollout's first dialogues.

    Args:
      transcript: of the rollout.
      signals: what the method made of it.
      tokenizer: of the tokens.
      dialogues: how many dialogues get fields.
      with_signals: how many of these get the signals of each token.

    Returns:
      A mapping for each of the dialogues. `advantages`, if the method has a policy stream: for each student turn the
      mean over its tokens that are trained on, None for a turn without any. `token_signals`: lists with an entry for
      each token of the dialogue: its `text`, the `logprob` that it was sampled with (None for a token that the student
      did not sample), and each array of each stream, such as `policy.weights`.
    """
    fields = []
    for row in range(min(dialogues, len(transcript.length))):
        of_row: dict[str, Any] = {}
        if signals.policy is not None:
            of_row["advantages"] = _advantages_by_turn(transcript, signals, row)
        if row < with_signals:
            of_row["token_signals"] = _token_signals(transcript, signals, tokenizer, row)
        fields.append(of_row)
    return fields


def _advantages_by_turn(transcript: Transcript, signals: Signals, row: int) -> list[float | None]:
    """The mean advantage of the tokens trained on in each student turn of a dialogue."""
    assert signals.policy is not None
    # A method may give each turn, or even each token, an advantage of its own.
    trained_on = np.asarray(signals.policy.weights[row]) > 0
    means: list[float | None] = []
    for turn in range(1, int(transcript.turns[row]) + 1):
        chosen = trained_on & (np.asarray(transcript.turn[row]) == turn)
        means.append(_rounded(np.mean(signals.policy.advantage[row][chosen])) if chosen.any() else None)
    return means


def _token_signals(transcript: Transcript, signals: Signals, tokenizer: Tokenizer, row: int) -> dict[str, Any]:
    """The signals of each token of a dialogue, by name."""
    length = int(transcript.length[row])
    tokens = [int(token) for token in transcript.tokens[row][:length]]
    sampled = np.asarray(transcript.student[row] & ~transcript.injected[row])[:length]
    logprobs = zip(transcript.logprob[row][:length], sampled, strict=True)
    # A control token stands for no text, so its name is written, or its number.
    control_names = {token: name for name, token in tokenizer.control_names().items()}
    by_name: dict[str, Any] = {
        "text": [tokenizer.decode([token]) or control_names.get(token, f"<{token}>") for token in tokens],
        "logprob": [_rounded(logprob) if was_sampled else None for logprob, was_sampled in logprobs],
    }
    streams = {name: stream for name, stream in vars(signals).items() if name != "metrics" and stream is not None}
    for stream_name, stream in streams.items():
        for array_name, array in vars(stream).items():
            # The policy stream's log-probabilities are those of the transcript.
            if array_name != "old_logprob" and np.shape(array) == np.shape(transcript.tokens):
                by_name[f"{stream_name}.{array_name}"] = [_rounded(value) for value in array[row][:length]]
    return by_name


def _rounded(value: Any) -> float:
    """A number with as many digits as a reader needs."""
    return float(f"{float(value):.{_DIGITS}g}")
