"""One tiny model with local and global layers, and engines of it that tests share."""

from collections.abc import Callable
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from engine_toys import CONFIG, END, SUPPRESSED, mesh_of

from sml_jax.engine.engine import Engine
from sml_jax.learn.logprobs import token_logprobs
from sml_jax.models.decoder import Decoder, init_params


@pytest.fixture(scope="session")
def model() -> Decoder:
    return Decoder(CONFIG)


@pytest.fixture(scope="session")
def params(model: Decoder) -> dict:
    """Random parameters, sharp enough that a wrong context moves log-probs by much more than 1e-4."""
    made = init_params(model, jax.random.key(0))
    return jax.tree.map(lambda leaf: leaf * 1.5, made)


@pytest.fixture(scope="session")
def make_engine(model: Decoder) -> Callable[..., Engine]:
    """Engines by their settings, each made once."""

    @cache
    def make(max_concurrent: int = 4, mesh: tuple[int, int, int] = (1, 1, 1), **changes) -> Engine:
        settings = {
            "max_length": 64,
            "max_new_tokens": 8,
            "stop_ids": (END,),
            "suppressed_ids": (SUPPRESSED,),
            "chunk_sizes": (4, 8),
            "capacities": (64,),
        }
        return Engine(model, max_concurrent, mesh=mesh_of(*mesh), **{**settings, **changes})

    return make


@pytest.fixture(scope="session")
def logits_of(model: Decoder, params: dict) -> Callable[[list[list[int]]], np.ndarray]:
    """Logits of whole contexts from one full forward pass, at most four at once: [rows, 64, vocab]."""
    forward = jax.jit(partial(model.apply, params))

    def run(contexts: list[list[int]]) -> np.ndarray:
        tokens = np.zeros((4, 64), np.int32)
        for row, context in enumerate(contexts):
            tokens[row, : len(context)] = context
        return np.array(forward(tokens))[: len(contexts)]

    return run


@pytest.fixture(scope="session")
def scores_of(logits_of) -> Callable[[list[list[int]]], list[np.ndarray]]:
    """The trainer's log-probability of every token of whole contexts."""

    def run(contexts: list[list[int]]) -> list[np.ndarray]:
        tokens = np.zeros((len(contexts), 64), np.int32)
        for row, context in enumerate(contexts):
            tokens[row, : len(context)] = context
        scores = token_logprobs(jnp.asarray(logits_of(contexts)), jnp.asarray(tokens))
        return [np.asarray(s)[: len(c)] for s, c in zip(scores, contexts, strict=True)]

    return run
