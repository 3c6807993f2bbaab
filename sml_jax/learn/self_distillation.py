"""Self-distillation from feedback: the policy that has read the teacher's reply teaches the policy that has not."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import jax.numpy as jnp
import numpy as np

from sml_jax.dialogue.transcript import Transcript
from sml_jax.learn.batches import pad_rows
from sml_jax.learn.beside import BesideMethod
from sml_jax.learn.divergence import Divergence, reverse_kl
from sml_jax.learn.signals import DistillSignal, ReferenceRows, Signals
from sml_jax.learn.weights import token_weights


@dataclass(frozen=True)
class SelfDistillation(BesideMethod):
    """Adds a distillation loss to another method's, on the student's turns that the teacher replied to:

        loss = loss of `beside` + weight * mean over their tokens of D(p(. | c, y_<t), q(. | c, y, f, y_<t))

    c is the conversation before the turn y, f the teacher's reply to it, y_<t the turn's tokens before t, p the policy
    and q the reference: the same policy without a gradient, or its running mean (`optimizers.with_ema`). The reference
    is to take the turn once more, after it has read the reply; where it would now say something else, p follows. All of
    that is in the public conversation, so nothing private is learnt from.

    Attributes:
      beside: the method whose signals it adds to; None, with a weight of 1, for the paper's self-distillation alone.
      weight: of the mean divergence beside the other loss. With 0 the signals are those of `beside`, bit for bit.
      reads_feedback: False is the control that has only the running mean: the reference sees the turn where it stood,
        q(. | c, y_<t). It tells what of an effect is due to the pull of the mean and not to the feedback; without
        `with_ema` its gradient is 0.
      divergence: D, one of `learn.divergence`, or a function of your own of the log-probabilities of p and q.

    Raises:
      UserError: a setting is out of range.

    References:
      SDPO, arXiv 2601.20802. There the feedback stands in a prompt before the turn; here it follows the first telling
      of the turn, as in the dialogue.
    """

    label: ClassVar[str] = "self_distillation"
    reads_feedback: bool = True
    divergence: Divergence = reverse_kl

    def __call__(self, transcript: Transcript) -> Signals:
        signals = self.signals_beside(transcript)
        if not self.weight:
            return signals
        tokens, turn = np.asarray(transcript.tokens), np.asarray(transcript.turn)
        sampled = np.asarray(transcript.student) & ~np.asarray(transcript.injected)
        contexts: list[list[int]] = []
        positions: list[list[int]] = []
        dialogues, answered = [], np.zeros(tokens.shape, bool)
        for row in range(len(tokens)):
            for number in range(1, int(turn[row].max(initial=0))):
                said, next_said = np.flatnonzero(sampled[row] & (turn[row] == number)), turn[row] == number + 1
                if not len(said) or not next_said.any():
                    continue  # a turn without sampled tokens, or one whose reply no student turn follows
                # Up to where the student speaks again, behind the teacher's reply; or up to the turn itself.
                before = int(next_said.argmax()) if self.reads_feedback else int(said[0])
                contexts.append([*tokens[row, :before].tolist(), *tokens[row, said].tolist()])
                positions.append([*[-1] * before, *said.tolist()])
                dialogues.append(row)
                answered[row, said] = True
        longest = max(map(len, contexts), default=1)
        # Padding is of no position, so positions are padded as numbers from 1 on.
        reference = ReferenceRows(
            pad_rows(contexts, longest, np.int32),
            np.array([len(context) for context in contexts], np.int32),
            np.array(dialogues, np.int32),
            pad_rows([[place + 1 for place in row] for row in positions], longest, np.int32) - 1,
        )
        weights = self.weight * np.asarray(token_weights(jnp.asarray(answered), "token"))
        return dataclasses.replace(signals, distill=DistillSignal(weights, reference, self.divergence))
