"""The corpus stage: batches of one length, weights that sum to one, and learning."""

import dataclasses
import random
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
from run_toys import OPTIMIZER, host, same

from sml_jax.common.errors import UserError
from sml_jax.run.stages import Corpus
from sml_jax.text.chat import ChatFormat
from sml_jax.text.weighted_text import WeightedText


@dataclass(frozen=True)
class Counting:
    """Rows of 3 to 12 tokens that count up; the first two tokens weigh nothing."""

    def examples(self, chat: ChatFormat, seed: int) -> Iterator[WeightedText]:
        rng = random.Random(seed)
        while True:
            size, first = rng.randint(3, 12), rng.randint(0, 3)
            yield WeightedText(tuple((first + i) % 16 for i in range(size)), (0.0, 0.0, *[0.5] * (size - 2)))


CORPUS = Corpus(Counting(), OPTIMIZER, steps=12, tokens=64, buckets=(8, 16))


def test_learns_and_logs_every_step(new_run):
    run = new_run()
    before = host(run.state.params)
    after = run.run(CORPUS)
    lines = run.metrics()
    assert [line["step"] for line in lines] == list(range(1, 13))
    assert all({"nll", "loss", "student_tokens", "gradient_norm", "tokens_per_second"} <= set(x) for x in lines)
    assert np.mean([x["nll"] for x in lines[-3:]]) < np.mean([x["nll"] for x in lines[:3]])
    assert not same(before, after)


def test_batches(new_run):
    stream = CORPUS._batches(new_run().context)
    for batch in [next(stream) for _ in range(6)]:
        (rows, time), weights = batch.tokens.shape, batch.likelihood.weights
        assert rows * time == 64 and time in CORPUS.buckets
        assert ((batch.length > (0 if time == 8 else 8)) & (batch.length <= time)).all()
        assert weights.sum() == pytest.approx(1) and not weights[:, :2].any()
        live = np.arange(time) < batch.length[:, None]
        assert not weights[~live].any() and not batch.tokens[~live].any()
        assert (weights[:, 2:][live[:, 2:]] > 0).all()


def test_a_text_too_long_and_settings_that_cannot_work(new_run):
    with pytest.raises(UserError, match="largest bucket, 8"):
        new_run().run(dataclasses.replace(CORPUS, buckets=(4, 8)))
    with pytest.raises(UserError, match="max_length is 128"):
        new_run().run(dataclasses.replace(CORPUS, buckets=(8, 256), tokens=512))
    with pytest.raises(UserError, match="tokens is 8"):
        dataclasses.replace(CORPUS, tokens=8)
    with pytest.raises(UserError, match="rising"):
        dataclasses.replace(CORPUS, buckets=(16, 8))
