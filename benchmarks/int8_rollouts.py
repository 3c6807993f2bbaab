"""Measures what weights in int8 change: tokens sampled a second, and how far the sampler is from the trainer.

The model has the shape of SmolLM2-135M and random weights, or is a model on disk (`--model=DIR`). Each engine samples
`--sample` tokens of `--rows` rows behind prompts of `--prompt` random tokens, float32 and int8 by turns. The mismatch
is |trainer's - sampler's log-probability| of the sampled tokens of `--scored` rows.

    python benchmarks/int8_rollouts.py --rows=64 --prompt=128 --sample=64 --repeats=5
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import time
from collections.abc import Sequence

import jax
import numpy as np

from sml_jax.engine import ContextBatch, Engine
from sml_jax.learn import token_logprobs
from sml_jax.models import Decoder, DecoderConfig, init_params
from sml_jax.models.hf.checkpoint import load_model
from sml_jax.sharding import make_mesh

SMOLLM2 = DecoderConfig(
    vocab_size=49_152,
    embed_dim=576,
    layers=30,
    heads=9,
    kv_heads=3,
    head_dim=64,
    mlp_dim=1536,
    max_length=2048,
    rope_base=1e5,
)
WEIGHTS = (None, "int8")


def sample(engine: Engine, weights: object, prompts: np.ndarray, tokens: int) -> tuple[float, list]:
    """Seconds from the prompts to the last token, and what was sampled."""
    contexts = ContextBatch(engine, weights, jax.random.key(0))
    started = time.perf_counter()
    for row, prompt in enumerate(prompts):
        contexts.start(row, row, prompt.tolist())
    turns = contexts.sample(range(len(prompts)), tokens)
    return time.perf_counter() - started, turns


def mismatch(model: Decoder, params: dict, prompts: np.ndarray, turns: Sequence) -> np.ndarray:
    """|trainer's - sampler's log-probability| of each sampled token, one row after the other."""
    forward = jax.jit(lambda tokens: token_logprobs(model.apply(params, tokens), tokens))
    found = []
    for prompt, turn in zip(prompts, turns, strict=False):
        context = np.concatenate([prompt, turn.tokens]).astype(np.int32)
        found.append(np.asarray(forward(context[None]))[0, len(prompt) :] - np.asarray(turn.logprobs))
    return np.abs(np.concatenate(found))


def main(argv: Sequence[str] | None = None, config: DecoderConfig = SMOLLM2) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    defaults = (("rows", 64), ("prompt", 128), ("sample", 64), ("repeats", 5), ("scored", 8))
    for name, default in defaults:
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--model", help="a model folder in the place of random weights")
    parser.add_argument("--attention", choices=("native", "auto"), default="native", help="over the caches")
    flags = parser.parse_args(argv)
    if flags.model:
        model, params = load_model(flags.model, None, {"attention": flags.attention})
    else:
        model = Decoder(dataclasses.replace(config, attention=flags.attention))
        params = init_params(model, jax.random.key(0))
    random = np.random.default_rng(0)
    prompts = random.integers(1, model.config.vocab_size, (flags.rows, flags.prompt)).astype(np.int32)

    # One engine for each kind of weights, whose calls sample all tokens: no row waits for another one's end.
    mesh = make_mesh(over=jax.devices()[:1])
    sides = {}
    for kind in WEIGHTS:
        engine = Engine(
            model.clone(config=dataclasses.replace(model.config, rollout_weights=kind)),
            max_concurrent=flags.rows,
            max_length=flags.prompt + flags.sample,
            max_new_tokens=flags.sample,
            stop_ids=[1],
            chunk_sizes=[64],
            batch_sizes=[flags.rows],
            decode_steps=flags.sample,
            mesh=mesh,
        )
        # The first call compiles.
        jax.block_until_ready(engine.prepare_params(params))
        started = time.perf_counter()
        weights = jax.block_until_ready(engine.prepare_params(params))
        sides[kind or "float32"] = engine, weights, time.perf_counter() - started

    rates: dict[str, list[float]] = {name: [] for name in sides}
    turns_of = {}
    for _ in range(flags.repeats + 1):
        for name, (engine, weights, _) in sides.items():
            seconds, turns_of[name] = sample(engine, weights, prompts, flags.sample)
            rates[name].append(sum(len(turn.tokens) for turn in turns_of[name]) / seconds)
    for name, (_, weights, prepare_seconds) in sides.items():
        # The first repeat compiles.
        measured = rates[name][1:]
        size = sum(leaf.nbytes for leaf in jax.tree.leaves(weights)) / 1e6
        gaps = mismatch(model, params, prompts[: flags.scored], turns_of[name][: flags.scored])
        print(
            f"{name}: {statistics.median(measured):.0f} tokens/s ({min(measured):.0f} to {max(measured):.0f}), "
            f"weights of {size:.0f} MB made in {prepare_seconds:.2f} s, "
            f"mismatch mean {gaps.mean():.5f}, max {gaps.max():.4f}"
        )
    ratio = statistics.median(rates["int8"][1:]) / statistics.median(rates["float32"][1:])
    print(f"int8 / float32: {ratio:.2f} times")


if __name__ == "__main__":
    main()
