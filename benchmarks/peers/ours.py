"""sml-jax: the same works with its engine and learner. One small function a work.

Each core is a device with rows of its own, as a chip of a pod is (see `works.CORES`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from setting import Setting
from side import Run, check_samples, serve

from sml_jax.dialogue.rollout import STOP_FRACTION
from sml_jax.engine import ContextBatch, Engine
from sml_jax.engine.engine import DECODE_STEPS
from sml_jax.learn import group_advantages, token_weights
from sml_jax.learn.batches import micro_batches
from sml_jax.learn.losses import PolicyLoss
from sml_jax.learn.optimizers import adamw
from sml_jax.learn.signals import PolicySignal, Signals
from sml_jax.learn.update import Learner, init_state
from sml_jax.models import Decoder, DecoderConfig, init_params
from sml_jax.models.layout import place_params
from sml_jax.sharding import make_mesh


def qwen3(s: Setting, attention: str = "native") -> tuple[Decoder, dict]:
    """A model with random weights, with the attention that an engine of it is to have."""
    config = DecoderConfig(
        vocab_size=s.vocab,
        embed_dim=s.width,
        layers=s.layers,
        heads=s.heads,
        kv_heads=s.kv_heads,
        head_dim=s.head_dim,
        mlp_dim=s.hidden,
        max_length=4096,
        rope_base=1e6,
        qk_norm=True,
        tied_embeddings=False,
        attention=attention,
    )
    model = Decoder(config)
    return model, init_params(model, jax.random.key(0))


@dataclass(frozen=True)
class Finer:
    """Shapes to compile: slots from one cache length to the next, None for an engine's own; parts of the rows that a
    call may take; tokens that one call samples at most.
    """

    step: int | None = None
    parts: tuple[int, ...] = (1, 4)
    steps: int = DECODE_STEPS


def engine_of(
    s: Setting, model: Decoder, rows: int, length: int, budget: int, ends: Sequence[int], finer: Finer
) -> Engine:
    """Compiled kernels; an engine always has an end, so where rows are to run their full length it is one token.

    Windows of given tokens and widths are finer than an engine's own, which is sparing with programs.
    """
    capacities = [*range(64, length, finer.step), length] if finer.step else None
    shards = math.gcd(rows, jax.device_count())
    each = rows // shards
    batch_sizes = sorted({max(each // n, 1) for n in finer.parts})
    chunk_sizes = sorted({s.given, s.prompt})
    return Engine(
        model,
        max_concurrent=rows,
        max_length=length,
        max_new_tokens=budget,
        stop_ids=ends,
        capacities=capacities,
        batch_sizes=batch_sizes,
        chunk_sizes=chunk_sizes,
        decode_steps=finer.steps,
        mesh=make_mesh(over=jax.devices()[:shards]),
    )


def sample(s: Setting, rows: int) -> Run:
    """A prompt, then `sample` tokens, with log-probabilities: the engine always gives them."""
    model, params = qwen3(s)
    shape = Finer(steps=s.sample)  # in one call: nobody waits for a row that ends
    engine, prompts = engine_of(s, model, rows, s.prompt + s.sample, s.sample, [1], shape), s.prompt_rows(rows)
    weights = engine.prepare_params(params)
    engine.warm_up(weights)

    def run(seed: int) -> dict[str, float]:
        said = ContextBatch(engine, weights, jax.random.key(seed))
        for row in range(rows):
            said.start(row, row, prompts[row].tolist())
        out = said.sample(range(rows), s.sample)
        lengths = np.array([len(turn.tokens) for turn in out])
        check_samples(lengths, s.sample, np.concatenate([turn.logprobs for turn in out]))
        return {"units": float(lengths.sum()), "mean_length": float(lengths.mean())}

    return run


def dialogue(
    s: Setting, rows: int, ends: Sequence[int], total: int, finer: Finer, stop_fraction: float = STOP_FRACTION
) -> Run:
    """`total` dialogues of `turns` turns, `rows` at once, each at its own pace: a turn that ends is answered, and a
    dialogue that ends makes room for the next, while others still speak.
    """
    model, params = qwen3(s)
    engine = engine_of(s, model, rows, s.dialogue_tokens, s.said, ends, finer)
    weights = engine.prepare_params(params)
    engine.warm_up(weights)
    prompts = s.prompt_rows(total)
    replies = [s.replies(rows, turn).tolist() for turn in range(s.turns)]

    def run(seed: int) -> dict[str, float]:
        said, lengths, logprobs = ContextBatch(engine, weights, jax.random.key(seed)), [], []
        coming, free, taken = iter(range(total)), list(range(rows))[::-1], [0] * rows
        while True:
            while free and (number := next(coming, None)) is not None:
                row = free.pop()
                taken[row] = 0
                said.start(row, number, prompts[number].tolist())
                said.begin_turn(row, s.said)
            if not said.active_turns:
                break
            said.dispatch(stop_fraction)
            for row, turn in said.collect().items():
                lengths.append(len(turn.tokens))
                logprobs += turn.logprobs
                taken[row] += 1
                if taken[row] == s.turns:
                    free.append(row)
                else:
                    said.append(row, replies[taken[row] - 1][row])
                    said.begin_turn(row, s.said)
        assert len(lengths) == total * s.turns
        check_samples(np.array(lengths), s.said, np.array(logprobs))
        return {"units": float(sum(lengths)), "mean_length": float(np.mean(lengths))}

    return run


def grpo(s: Setting) -> Run:
    """Steps of `rows` rollouts of `sample` tokens and one AdamW update on all. The reward: the share of low tokens."""
    model, params = qwen3(s)
    length = s.prompt + s.sample
    engine, prompts = engine_of(s, model, s.rows, length, s.sample, [1], Finer()), s.prompt_rows()
    optimizer = adamw(1e-5)
    mesh = engine.mesh
    learner = Learner(model, optimizer, PolicyLoss(), mesh=mesh)
    state = init_state(place_params(mesh, model, params), optimizer)

    def run(seed: int) -> dict[str, float]:
        nonlocal state
        started = time.perf_counter()
        said = ContextBatch(engine, state.params, jax.random.key(seed))
        for row in range(s.rows):
            said.start(row, row, prompts[row].tolist())
        out = said.sample(range(s.rows), s.sample)
        rolled = time.perf_counter()
        tokens, mask = np.zeros((s.rows, length), np.int32), np.zeros((s.rows, length), bool)
        logprob, ends = np.zeros((s.rows, length), np.float32), np.zeros(s.rows, np.int32)
        for row, turn in enumerate(out):
            ends[row] = len(said.context(row))
            tokens[row, : ends[row]] = said.context(row)
            mask[row, s.prompt : ends[row]] = True
            logprob[row, s.prompt : ends[row]] = turn.logprobs
        check_samples(mask.sum(1), s.sample, logprob[mask])
        rewards = jnp.asarray([np.mean(np.array(turn.tokens) < s.vocab // 2) for turn in out], jnp.float32)
        advantage, weights = group_advantages(rewards, s.samples), token_weights(jnp.asarray(mask))
        per_token = np.broadcast_to(np.asarray(advantage)[:, None], mask.shape)
        signals = Signals(policy=PolicySignal(per_token, np.asarray(weights), logprob))
        group = np.arange(s.rows) // s.samples
        parts = micro_batches(tokens, ends, signals, min(s.rows, 64), [length], group=group, share=s.samples)
        state, metrics = learner.update(state, parts)
        jax.block_until_ready(state.params)
        assert metrics["skipped"] == 0 and metrics["update_norm"] > 0, metrics
        return {
            "units": 1.0,
            "mean_length": float(mask.sum(1).mean()),
            "rollout_seconds": rolled - started,
            "logprob_mismatch": metrics["logprob_mismatch"],
        }

    return run


def recompiles(s: Setting) -> Run:
    """What changed numbers of rows, prompt lengths and budgets cost after a warm-up."""
    model, params = qwen3(s)
    engine = engine_of(s, model, s.rows, 4 * s.prompt, s.said, [1], Finer(64))
    engine.warm_up(params)
    rng = np.random.default_rng(0)

    def call(rows: int, length: int, steps: int) -> None:
        said = ContextBatch(engine, params, jax.random.key(0))
        for row in range(rows):
            said.start(row, row, rng.integers(1, s.vocab, length).tolist())
        said.sample(range(rows), steps)

    def run(seed: int) -> dict[str, float]:
        rows = max(2, s.rows - 3 * seed - 3)
        changes = [(rows, s.prompt, s.said), (rows, 2 * s.prompt, s.said), (rows, s.prompt, max(1, s.said - 3 - seed))]
        before, slow = engine.executable_count(), []
        for change in changes:
            took = []
            for _ in range(2):
                started = time.perf_counter()
                call(*change)
                took.append(time.perf_counter() - started)
            slow.append(took[0] - took[1])
        compiled = float(engine.executable_count() - before)
        return {"units": compiled, "seconds": float(np.mean(slow)), "programs": compiled}

    return run


WORKS = {
    "sample_logprobs": lambda s: sample(s, s.rows),
    "one": lambda s: sample(s, 1),
    "dialogue": lambda s: dialogue(s, s.rows, [1], s.rows, Finer()),
    "random": lambda s: dialogue(s, 2 * s.rows, s.end_ids(), s.dialogues, Finer(None, (1, 4, 8, 16, 64), 16), 0.25),
    "grpo": grpo,
    "recompiles": recompiles,
}

if __name__ == "__main__":
    serve(WORKS, warm_ups=2)
