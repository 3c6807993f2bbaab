"""A model whose logits are not finite cannot speak: sampling ends with an error, on every way to sample."""

import dataclasses
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from engine_toys import CONFIG, END, mesh_of

from sml_jax.common.errors import UserError
from sml_jax.engine.context_batch import ContextBatch
from sml_jax.engine.engine import Engine
from sml_jax.engine.sampling import Sampling
from sml_jax.models.decoder import Decoder, init_params

ONE_LAYER = dataclasses.replace(CONFIG, layers=1, layer_pattern=("global",), tied_embeddings=False)
SAMPLINGS = {
    "plain": Sampling(),
    "greedy": Sampling(temperature=0.0),
    "top-k": Sampling(top_k=3),
    "top-p": Sampling(0.7, top_p=0.5),
}


@cache
def made_once(name: str) -> tuple[Engine, dict]:
    model = Decoder(ONE_LAYER)
    suppressed = (5,) if name == "plain" else ()
    engine = Engine(
        model,
        2,
        64,
        8,
        (END,),
        suppressed,
        SAMPLINGS[name],
        chunk_sizes=(8,),
        capacities=(64,),
        decode_steps=4,
        mesh=mesh_of(1, 1, 1),
    )
    return engine, init_params(model, jax.random.key(0))


def spoken(name: str, change) -> None:
    """Samples a turn in two contexts with changed parameters."""
    engine, params = made_once(name)
    batch = ContextBatch(engine, change(params), jax.random.key(0))
    for row in range(2):
        batch.start(row, row, [1, 3, 4 + row])
    batch.sample([0, 1], 8)


def with_output(params: dict, value: float, tokens: slice | int) -> dict:
    """The output layer with some tokens' weights, which are then their logits, times infinity, as `value` says."""
    kernel = params["params"]["output"]["kernel"].at[:, tokens].set(value)
    return {"params": {**params["params"], "output": {"kernel": kernel}}}


@pytest.mark.extra
@pytest.mark.parametrize("name", SAMPLINGS)
@pytest.mark.parametrize("tokens", [5, 13, slice(None)], ids=["a suppressed token", "the last token", "all"])
def test_nan_ends_the_call(name: str, tokens: slice | int) -> None:
    words = r"the model cannot speak: its logits are not finite .*first seen for token 4 .*in 2 of 2 dialogues"
    with pytest.raises(UserError, match=words):
        spoken(name, lambda params: with_output(params, jnp.nan, tokens))


@pytest.mark.parametrize("value", [jnp.inf, *(pytest.param(v, marks=pytest.mark.extra) for v in (1e38, -1e38))])
def test_numbers_that_grow_too_large_end_the_call(value: float) -> None:
    """Finite weights, of which products are not."""
    with pytest.raises(UserError, match="the model cannot speak"):
        spoken("plain", lambda params: with_output(params, value, slice(None)))


@pytest.mark.extra
def test_a_model_that_speaks_goes_on_and_what_lies_behind_its_tokens_is_not_looked_at() -> None:
    for name in SAMPLINGS:
        spoken(name, lambda params: params)
    engine, params = made_once("plain")
    batch = ContextBatch(engine, params, jax.random.key(0))
    batch.start(0, 0, [1, 3])
    decode = engine.decode

    def with_rubbish_behind(*args):
        new, samples = decode(*args)
        host = jax.device_get(samples)
        behind = np.arange(4) >= host.count[:, None]
        return new, dataclasses.replace(host, logprob=np.where(behind, np.nan, host.logprob))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "decode", with_rubbish_behind)
        assert batch.sample([0], 2)


def test_nothing_is_compiled_for_it() -> None:
    engine, _ = made_once("plain")
    spoken("plain", lambda params: params)
    before = engine.executable_count()
    with pytest.raises(UserError, match="cannot speak"):
        spoken("plain", lambda params: with_output(params, jnp.nan, 0))
    assert engine.executable_count() == before
