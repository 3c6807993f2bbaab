"""sml-jax: the same works with its engine and learner. One small function a work.

Each core is a device with rows of its own, as a chip of a pod is (see `works.CORES`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
from setting import RANDOM_BATCHES, Setting
from side import Run, check_samples, serve
from weights import config_of

from sml_jax.dialogue.rollout import STOP_FRACTION
from sml_jax.engine import ContextBatch, Engine
from sml_jax.engine.engine import DECODE_STEPS
from sml_jax.learn import group_advantages, token_weights
from sml_jax.learn.batches import micro_batches
from sml_jax.learn.losses import PolicyLoss
from sml_jax.learn.optimizers import adamw
from sml_jax.learn.signals import PolicySignal, Signals
from sml_jax.learn.train_state import init_state
from sml_jax.learn.update import Learner
from sml_jax.models import Decoder, init_params
from sml_jax.models.hf.checkpoint import load_model
from sml_jax.models.layout import place_params
from sml_jax.sharding import make_mesh


def model_of(s: Setting, attention: str = "native", cache_dtype: str | None = None) -> tuple[Decoder, dict]:
    """The setting's model, with the attention and the dtype of caches that an engine of it is to have.

    Its weights are those of the setting's folder if it names one, and random ones if not.
    """
    if s.weights:
        model, params = load_model(s.weights)
        return Decoder(replace(model.config, attention=attention, cache_dtype=cache_dtype)), params
    model = Decoder(config_of(s, attention, cache_dtype))
    return model, init_params(model, jax.random.key(0))


@dataclass(frozen=True)
class EngineShapes:
    """The shapes that an engine compiles, where they differ from its own choice.

    Attributes:
      capacity_step: slots from one capacity of caches to the next; None for the engine's own capacities.
      fractions: a call may take all rows of a device divided by each of these.
      decode_steps: the most tokens that one call samples.
      cache_dtype: dtype of the caches of a `dialogue`'s model; None for that of its products.
    """

    capacity_step: int | None = None
    fractions: tuple[int, ...] = (1, 4)
    decode_steps: int = DECODE_STEPS
    cache_dtype: str | None = None


def engine_of(
    s: Setting,
    model: Decoder,
    rows: int,
    length: int,
    max_new_tokens: int,
    stop_ids: Sequence[int],
    shapes: EngineShapes,
) -> Engine:
    """An engine for `rows` contexts of up to `length` tokens, over as many devices as divide the rows.

    An engine always needs a stop token. Where rows are to run their full length, one unlikely token is given. The sizes
    of chunks and batches are finer than the engine's own choice, which saves compilation.
    """
    shards = math.gcd(rows, jax.device_count())
    rows_per_shard = rows // shards
    return Engine(
        model,
        max_concurrent=rows,
        max_length=length,
        max_new_tokens=max_new_tokens,
        stop_ids=stop_ids,
        capacities=[*range(64, length, shapes.capacity_step), length] if shapes.capacity_step else None,
        batch_sizes=sorted({max(rows_per_shard // n, 1) for n in shapes.fractions}),
        chunk_sizes=sorted({s.given, s.prompt}),
        decode_steps=shapes.decode_steps,
        mesh=make_mesh(over=jax.devices()[:shards]),
    )


def sample(s: Setting, rows: int) -> Run:
    """A prompt, then `sample` tokens with log-probabilities, which the engine always gives."""
    model, params = model_of(s)
    # All tokens in one call: no row waits for another one's end.
    shapes = EngineShapes(decode_steps=s.sample)
    engine, prompts = engine_of(s, model, rows, s.prompt + s.sample, s.sample, [1], shapes), s.prompt_rows(rows)
    weights = engine.prepare_params(params)
    engine.warm_up(weights)

    def run(seed: int) -> dict[str, float]:
        contexts = ContextBatch(engine, weights, jax.random.key(seed))
        for row in range(rows):
            contexts.start(row, row, prompts[row].tolist())
        turns = contexts.sample(range(rows), s.sample)
        lengths = np.array([len(turn.tokens) for turn in turns])
        check_samples(lengths, s.sample, np.concatenate([turn.logprobs for turn in turns]))
        return {"units": float(lengths.sum()), "mean_length": float(lengths.mean())}

    return run


def dialogue(
    s: Setting,
    rows: int,
    stop_ids: Sequence[int],
    total: int,
    shapes: EngineShapes,
    stop_fraction: float = STOP_FRACTION,
) -> Run:
    """`total` dialogues of `turns` turns, `rows` at once, each at its own pace.

    A turn that ends is answered, and a dialogue that ends makes room for the next one, while other rows go on.
    """
    model, params = model_of(s, cache_dtype=shapes.cache_dtype)
    engine = engine_of(s, model, rows, s.dialogue_tokens, s.said, stop_ids, shapes)
    weights = engine.prepare_params(params)
    engine.warm_up(weights)
    prompts = s.prompt_rows(total)
    replies = [s.replies(rows, turn).tolist() for turn in range(s.turns)]

    def run(seed: int) -> dict[str, float]:
        contexts, lengths, logprobs = ContextBatch(engine, weights, jax.random.key(seed)), [], []
        remaining, free_rows, turns_done = iter(range(total)), list(range(rows))[::-1], [0] * rows
        while True:
            # New dialogues take the free rows.
            while free_rows and (number := next(remaining, None)) is not None:
                row = free_rows.pop()
                turns_done[row] = 0
                contexts.start(row, number, prompts[number].tolist())
                contexts.begin_turn(row, s.said)
            if not contexts.active_turns:
                break
            contexts.dispatch(stop_fraction)
            # Turns that ended are answered, or end their dialogue.
            for row, turn in contexts.collect().items():
                lengths.append(len(turn.tokens))
                logprobs += turn.logprobs
                turns_done[row] += 1
                if turns_done[row] == s.turns:
                    free_rows.append(row)
                else:
                    contexts.append(row, replies[turns_done[row] - 1][row])
                    contexts.begin_turn(row, s.said)
        assert len(lengths) == total * s.turns
        check_samples(np.array(lengths), s.said, np.array(logprobs))
        return {"units": float(sum(lengths)), "mean_length": float(np.mean(lengths))}

    return run


def grpo(s: Setting) -> Run:
    """Steps of `rows` rollouts, of one turn or of a dialogue's, and one AdamW update on all of them.

    The reward is the share of tokens in the lower half of the vocabulary.
    """
    model, params = model_of(s)
    length = s.prompt + s.step_completion
    engine, prompts = engine_of(s, model, s.rows, length, s.step_said, [1], EngineShapes()), s.prompt_rows()
    replies = [s.replies(s.rows, turn).tolist() for turn in range(s.step_turns - 1)]
    optimizer = adamw(1e-5)
    mesh = engine.mesh
    # Every device has rows of its own in memory.
    micro_rows = s.micro_rows * mesh.size if s.weights else s.micro_rows
    learner = Learner(model, optimizer, PolicyLoss(), mesh=mesh)
    state = init_state(place_params(mesh, model, params), optimizer)

    def run(seed: int) -> dict[str, float]:
        nonlocal state
        started = time.perf_counter()
        contexts = ContextBatch(engine, state.params, jax.random.key(seed))
        for row in range(s.rows):
            contexts.start(row, row, prompts[row].tolist())
        # The mask of sampled tokens and their log-probabilities, padded to one length.
        mask, logprob = np.zeros((s.rows, length), bool), np.zeros((s.rows, length), np.float32)
        for turn in range(s.step_turns):
            # Turns run their full length, so that no row waits for another one's end.
            for row, said in enumerate(contexts.sample(range(s.rows), s.step_said)):
                end = len(contexts.context(row))
                mask[row, end - len(said.tokens) : end] = True
                logprob[row, end - len(said.tokens) : end] = said.logprobs
                if turn + 1 < s.step_turns:
                    contexts.append(row, replies[turn][row])
        rollout_ended = time.perf_counter()

        tokens, lengths = np.zeros((s.rows, length), np.int32), np.zeros(s.rows, np.int32)
        for row in range(s.rows):
            lengths[row] = len(contexts.context(row))
            tokens[row, : lengths[row]] = contexts.context(row)
        check_samples(mask.sum(1), s.step_turns * s.step_said, logprob[mask])
        low = (tokens < s.vocab // 2) & mask
        rewards = jnp.asarray(low.sum(1) / mask.sum(1), jnp.float32)
        advantage, weights = group_advantages(rewards, s.samples), token_weights(jnp.asarray(mask))
        per_token = np.broadcast_to(np.asarray(advantage)[:, None], mask.shape)
        signals = Signals(policy=PolicySignal(per_token, np.asarray(weights), logprob))
        group = np.arange(s.rows) // s.samples
        parts = micro_batches(
            tokens, lengths, signals, min(s.rows, micro_rows), [length], group=group, rows_per_prefix=s.samples
        )
        state, metrics = learner.update(state, parts)
        jax.block_until_ready(state.params)
        assert metrics["skipped"] == 0 and metrics["update_norm"] > 0, metrics
        return {
            "units": 1.0,
            "mean_length": float(mask.sum(1).mean()),
            "rollout_seconds": rollout_ended - started,
            "logprob_mismatch": metrics["logprob_mismatch"],
        }

    return run


def recompiles(s: Setting) -> Run:
    """What changed numbers of rows, prompt lengths and limits of new tokens cost after a warm-up."""
    model, params = model_of(s)
    engine = engine_of(s, model, s.rows, 4 * s.prompt, s.said, [1], EngineShapes(64))
    engine.warm_up(params)
    rng = np.random.default_rng(0)

    def call(rows: int, length: int, max_new_tokens: int) -> None:
        contexts = ContextBatch(engine, params, jax.random.key(0))
        for row in range(rows):
            contexts.start(row, row, rng.integers(1, s.vocab, length).tolist())
        contexts.sample(range(rows), max_new_tokens)

    def run(seed: int) -> dict[str, float]:
        rows = max(2, s.rows - 3 * seed - 3)
        changes = [(rows, s.prompt, s.said), (rows, 2 * s.prompt, s.said), (rows, s.prompt, max(1, s.said - 3 - seed))]
        before, extra_seconds = engine.executable_count(), []
        for change in changes:
            # The second call has everything compiled, so the first one's extra time is the cost of the change.
            seconds = []
            for _ in range(2):
                started = time.perf_counter()
                call(*change)
                seconds.append(time.perf_counter() - started)
            extra_seconds.append(seconds[0] - seconds[1])
        compiled = float(engine.executable_count() - before)
        return {"units": compiled, "seconds": float(np.mean(extra_seconds)), "programs": compiled}

    return run


WORKS = {
    "sample_logprobs": lambda s: sample(s, s.rows),
    "one": lambda s: sample(s, 1),
    "dialogue": lambda s: dialogue(s, s.rows, [1], s.rows, EngineShapes()),
    "random": lambda s: dialogue(
        s, RANDOM_BATCHES * s.rows, s.end_ids(), s.dialogues, EngineShapes(None, (1, 4, 8, 16, 64), 16), 0.25
    ),
    "grpo": grpo,
    "recompiles": recompiles,
}

if __name__ == "__main__":
    serve(WORKS, warm_ups=2)
