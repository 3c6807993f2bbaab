"""A teacher, a return, a token loss and a method of one's own, for gin files to name; each notes that it was called."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from run_toys import ToyTask, toy_experiment

from sml_jax.dialogue.transcript import Transcript
from sml_jax.learn import LikelihoodSignal, Signals, token_weights
from sml_jax.run.base_models import RandomWeights
from sml_jax.tasks.problems.types import Problem, Turn, Verdict

CALLS: dict[str, int] = {}


def called(name: str) -> None:
    CALLS[name] = CALLS.get(name, 0) + 1


def toy_base() -> RandomWeights:
    return toy_experiment("").base


def my_teacher(task: ToyTask, problem: Problem, conversation: Sequence[Turn], verdict: Verdict) -> str:
    called("teacher")
    return "3b"


def my_returns(transcript: Transcript) -> np.ndarray:
    """Rewards short dialogues, solved or not."""
    called("returns")
    return -transcript.length.astype(np.float32)


def my_loss(logprob, old_logprob, advantage, ref_logprob):
    """The policy gradient without a clip, ten times as large."""
    called("loss")
    assert ref_logprob is None
    return -10.0 * jnp.exp(logprob - old_logprob) * advantage, {"my_metric": jnp.full_like(logprob, 2.5)}


def teachers_tokens(transcript: Transcript) -> Signals:
    """Critique prediction: the likelihood of all that the student did not say."""
    called("method")
    given = (np.arange(transcript.tokens.shape[1]) < transcript.length[:, None]) & ~transcript.student
    weights = np.asarray(token_weights(jnp.asarray(given), "token"))
    return Signals(likelihood=LikelihoodSignal(weights), metrics={"given_tokens": float(given.sum())})


class SayingTask(ToyTask):
    """The toy task with gold answers that a student could say, so that their likelihood can be measured."""

    def gold_utterance(self, problem, turn):
        return "a", problem.answer
