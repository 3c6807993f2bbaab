"""Compares a real model with `transformers` on the same GGUF file: logits, greedy tokens, sampled log-probabilities.

`real_models.py --parity` prints what `measure_parity` measures; tests/models/test_real_models.py asserts it.
"""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sml_jax.common.errors import UserError
from sml_jax.engine import Engine, Sampling
from sml_jax.engine.sampling import row_keys
from sml_jax.learn.logprobs import decoder_logprobs
from sml_jax.models import Decoder, load_model
from sml_jax.sharding import AXES
from sml_jax.text import Tokenizer, load_tokenizer

_TEXTS = (
    "The capital of France is",
    "def fibonacci(n):\n    if n < 2:\n        return n\n    return",
    "Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in May. Altogether she",
    "When a language model is corrected by a teacher, it can look again at what it wrote, find the step that is wrong, "
    "and write a new answer. This works best when the feedback says",
)
_GREEDY, _SAMPLED = 64, 125
_CHUNK, _CAPACITY = 64, 256


@dataclasses.dataclass(frozen=True)
class Parity:
    """How far a model is from `transformers`; differences are the largest of their absolute values.

    Attributes:
      logits: difference of all logits of four texts, rows of different lengths.
      greedy_equal: of 4 x 64 greedy tokens through engine and cache, how many come before the first that differs in
        their row.
      greedy_lead: where rows part, by how much the likeliest token leads the other choice in `transformers`; 0 if no
        row parts.
      sampled: difference of the engine's log-probabilities at temperature 1 of 500 tokens sampled at temperature 0.7
        with top-p 0.9.
      drawn: the same under the distribution that they were drawn from.
      update: difference of the log-probabilities that the update computes of these tokens.
      seconds: time of ours and of `transformers`, loading included.
    """

    logits: float
    greedy_equal: int
    greedy_lead: float
    sampled: float
    drawn: float
    update: float
    seconds: tuple[float, float]


def measure_parity(path: Path) -> Parity:
    """Measures a GGUF file's model in float32. `transformers` reads the same file and dequantises it as we do."""
    started = time.perf_counter()
    model, params = load_model(path, overrides={"max_length": _CAPACITY})
    tokenizer = load_tokenizer(path)
    rows = [np.array([*_begin(tokenizer), *tokenizer.encode(text)], np.int32) for text in _TEXTS]
    ours = _logits(model, params, rows)
    greedy, _, _ = _decode(model, params, rows, Sampling(temperature=0.0), _GREEDY)
    sampled, logprobs, drawn = _decode(model, params, rows, Sampling(temperature=0.7, top_p=0.9), _SAMPLED)
    whole = [np.concatenate([row, tokens]) for row, tokens in zip(rows, sampled, strict=True)]
    update = _update_logprobs(model, params, rows, whole)
    del params
    ours_seconds = time.perf_counter() - started

    started = time.perf_counter()
    theirs = transformers_model(path)
    logit_difference = max(
        float(abs(transformers_logits(theirs, row) - logits).max()) for row, logits in zip(rows, ours, strict=True)
    )
    equal, lead = 0, 0.0
    differences: dict[str, list[float]] = {"sampled": [], "drawn": [], "update": []}
    for i, row in enumerate(rows):
        # Teacher forcing on our own greedy tokens: where theirs differ, their own choice leads ours.
        logits = transformers_logits(theirs, np.concatenate([row, greedy[i]]))[row.size - 1 : -1]
        choices = logits.argmax(-1)
        count = int(np.argmin(np.append(choices == greedy[i], False)))
        equal += count
        if count < _GREEDY:
            lead = max(lead, float(logits[count].max() - logits[count, greedy[i][count]]))
        # The same tokens under the plain and under the sampling distribution.
        logits = transformers_logits(theirs, whole[i])[row.size - 1 : -1]
        plain = _log_softmax(logits)[np.arange(_SAMPLED), sampled[i]]
        warped = _log_softmax(_warped(logits))[np.arange(_SAMPLED), sampled[i]]
        for name, measured, expected in (
            ("sampled", logprobs[i], plain),
            ("drawn", drawn[i], warped),
            ("update", update[i], plain),
        ):
            differences[name].append(float(abs(measured - expected).max()))
    seconds = (ours_seconds, time.perf_counter() - started)
    largest = {name: max(values) for name, values in differences.items()}
    return Parity(logits=logit_difference, greedy_equal=equal, greedy_lead=lead, seconds=seconds, **largest)


def print_parity(name: str, path: Path) -> None:
    """Prints what `measure_parity` measures."""
    for field, value in dataclasses.asdict(measure_parity(path)).items():
        print(f"  {name}: {field} {value}", flush=True)


def _begin(tokenizer: Tokenizer) -> list[int]:
    """The begin token of Gemma, which has never seen a text without it; nothing for the others."""
    try:
        return [tokenizer.control("<bos>")]
    except UserError:
        return []


def _logits(model: Decoder, params: dict[str, Any], rows: list[np.ndarray]) -> list[np.ndarray]:
    """Our logits [time, vocabulary] of each row, all rows in one pass."""
    # Padding comes after all tokens, where a causal model does not see it.
    tokens = np.zeros((len(rows), _CHUNK), np.int32)
    for i, row in enumerate(rows):
        tokens[i, : row.size] = row
    logits = np.asarray(jax.jit(model.apply)(params, tokens))
    return [logits[i, : row.size] for i, row in enumerate(rows)]


def _decode(
    model: Decoder, params: dict[str, Any], rows: list[np.ndarray], sampling: Sampling, count: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tokens [rows, count] after rows of different lengths through the cache, and both of their log-probabilities."""
    mesh = jax.make_mesh((1, 1, 1), AXES, axis_types=(jax.sharding.AxisType.Auto,) * 3, devices=jax.devices()[:1])
    engine = Engine(
        model,
        max_concurrent=len(rows),
        max_length=_CAPACITY,
        max_new_tokens=count,
        # Rows must not end: the last rows of an embedding are nobody's text.
        stop_ids=(model.config.vocab_size - 1,),
        suppressed_ids=(),
        sampling=sampling,
        chunk_sizes=(_CHUNK,),
        capacities=(_CAPACITY,),
        decode_steps=count,
        mesh=mesh,
    )
    lengths = np.array([row.size for row in rows], np.int32)
    assert lengths.max() <= _CHUNK
    tokens = np.zeros((len(rows), _CHUNK), np.int32)
    # All but the last token of each row goes into the cache; the last is what decoding starts with.
    for i, row in enumerate(rows):
        tokens[i, : row.size - 1] = row[:-1]
    start = np.zeros(len(rows), np.int32)
    cache = engine.extend(params, engine.empty_cache(), tokens, start, lengths - 1)
    keys = row_keys(jax.random.key(0), jnp.arange(len(rows), dtype=jnp.uint32))
    last = np.array([row[-1] for row in rows], np.int32)
    _, out = engine.decode(params, cache, last, lengths - 1, np.full(len(rows), count, np.int32), keys)
    assert (np.asarray(out.count) == count).all(), "a row ended early"
    return np.asarray(out.tokens), np.asarray(out.logprob), np.asarray(out.sampling_logprob)


def _update_logprobs(
    model: Decoder, params: dict[str, Any], rows: list[np.ndarray], whole: list[np.ndarray]
) -> list[np.ndarray]:
    """The log-probabilities of the sampled tokens as the update computes them: padded rows, positions in a mask."""
    lengths = np.array([row.size for row in whole], np.int32)
    tokens = np.zeros((len(whole), lengths.max()), np.int32)
    mask = np.zeros(tokens.shape, bool)
    for i, (row, all_tokens) in enumerate(zip(rows, whole, strict=True)):
        tokens[i, : all_tokens.size] = all_tokens
        mask[i, row.size : all_tokens.size] = True
    scores = np.asarray(jax.jit(decoder_logprobs, static_argnums=0)(model, params, tokens, lengths, mask))
    return [scores[i][mask[i]] for i in range(len(rows))]


def transformers_model(path: Path) -> Any:
    """The model of `transformers`, in float32."""
    import torch
    import transformers

    # Newer versions keep weights quantised unless they are told not to.
    config = getattr(transformers, "GgufConfig", None)
    settings = {} if config is None else {"quantization_config": config(dequantize=True)}
    return transformers.AutoModelForCausalLM.from_pretrained(
        str(path.parent), gguf_file=path.name, dtype=torch.float32, attn_implementation="eager", **settings
    ).eval()


def transformers_logits(model: Any, row: np.ndarray) -> np.ndarray:
    """Their logits [time, vocabulary] of one row in one pass."""
    import torch

    with torch.no_grad():
        return model(torch.tensor(row[None].astype(np.int64))).logits[0].float().numpy()


def _warped(logits: np.ndarray) -> np.ndarray:
    """Logits of their sampling distribution at temperature 0.7 with top-p 0.9."""
    import torch
    from transformers.generation.logits_process import TemperatureLogitsWarper, TopPLogitsWarper

    scores = TemperatureLogitsWarper(0.7)(None, torch.tensor(logits))
    return TopPLogitsWarper(0.9)(None, scores).numpy()


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    """Over the last axis, in float64."""
    shifted = logits.astype(np.float64) - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
