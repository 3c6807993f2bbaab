"""Our side of the GPU benchmark, and the device's own best rates. `python gpu_ours.py WORK_JSON` prints JSON."""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from gpu_work import Work

from sml_jax.engine import Engine
from sml_jax.learn.batches import MicroBatch
from sml_jax.learn.losses import PolicyLoss
from sml_jax.learn.optimizers import adamw
from sml_jax.learn.signals import PolicySignal
from sml_jax.learn.train_state import init_state
from sml_jax.learn.update import Learner
from sml_jax.models import Decoder, DecoderConfig, init_params
from sml_jax.sharding import make_mesh


def gemma(w: Work) -> DecoderConfig:
    """The model of gin/models/gemma3_1b.gin, with the work's sizes."""
    return DecoderConfig(
        vocab_size=w.vocab,
        embed_dim=w.width,
        layers=w.layers,
        heads=w.heads,
        kv_heads=w.kv_heads,
        head_dim=w.head_dim,
        mlp_dim=w.hidden,
        max_length=32_768,
        activation="gelu",
        layer_pattern=("local",) * (w.every - 1) + ("global",),
        window=w.window,
        rope_base=1e6,
        rope_local_base=1e4,
        qk_norm=True,
        post_norms=True,
        norm_plus_one=True,
        embedding_scale=True,
        norm_eps=1e-6,
        tied_embeddings=True,
        dtype="bfloat16",
        remat=True,
    )


def timed(call: Callable[[], Any], repeats: int) -> list[float]:
    """Seconds of each repeat, after a first call that compiles."""
    seconds = []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        jax.block_until_ready(call())
        seconds.append(time.perf_counter() - started)
    return seconds[1:]


def device_rates(repeats: int, matrix_size: int, copied_bytes: int) -> dict[str, float]:
    """The best rates measured: bytes a second of a copy, read and written, and bfloat16 FLOPs a second of a product."""
    array = [jnp.ones(copied_bytes // 4, jnp.float32)]
    matrix = jnp.ones((matrix_size, matrix_size), jnp.bfloat16)
    negate, product = jax.jit(jnp.negative, donate_argnums=0), jax.jit(jnp.matmul)

    def negate_array() -> jax.Array:
        array[0] = negate(array[0])  # donated, so that no second array is allocated
        return array[0]

    return {
        "bytes_a_second": 2 * copied_bytes / min(timed(negate_array, 3 * repeats)),
        "flops_a_second": 2 * matrix_size**3 / min(timed(partial(product, matrix, matrix), 3 * repeats)),
    }


def decode_seconds(w: Work, model: Decoder, params: dict, rows: int) -> float:
    """Median seconds of a decoding step. The contexts are zeros, which take as long as any other tokens."""
    length = w.context + w.steps
    engine = Engine(
        model,
        rows,
        length,
        w.steps,
        stop_ids=(1,),
        capacities=(length,),
        batch_sizes=(rows,),
        decode_steps=w.steps,
        mesh=one_device(),
    )
    weights, cache = engine.prepare_params(params), engine.empty_cache()
    tokens = np.full(rows, 5, np.int32)
    start, limit = np.full_like(tokens, w.context), np.full_like(tokens, w.steps)
    keys = engine.turn_keys(jax.random.key(0), tokens, np.arange(rows, dtype=np.uint32))
    counts: list[int] = []

    def call() -> Any:
        new, out = engine.decode(weights, cache, tokens, start, limit, keys)
        counts.append(int(out.count.max()))  # the call has fewer steps if every row happens to sample the stop token
        return new

    call_seconds = timed(call, w.repeats)
    return statistics.median(seconds / steps for seconds, steps in zip(call_seconds, counts[1:], strict=True))


def update_seconds(w: Work, model: Decoder, params: dict) -> float:
    """Median seconds of a GRPO update on one micro-batch, with the optimiser's step."""
    learner, shape = Learner(model, adamw(1e-5), PolicyLoss()), (w.update_rows, w.update_time)
    tokens = np.random.default_rng(0).integers(2, w.vocab, shape).astype(np.int32)
    full, ones = np.full(w.update_rows, w.update_time, np.int32), np.ones(shape, np.float32)
    part = MicroBatch(tokens, full, PolicySignal(ones, ones / tokens.size, np.zeros(shape, np.float32)))
    state = [init_state(params, learner.optimizer)]

    def call() -> Any:
        state[0], metrics = learner.update(state[0], [part])
        assert not metrics["skipped"]
        return state[0].step

    return statistics.median(timed(call, w.repeats))


def one_device() -> Any:
    return make_mesh(over=jax.devices()[:1])


def main(text: str) -> dict[str, Any]:
    w = Work.from_json(text)
    small = jax.default_backend() == "cpu"
    results: dict[str, Any] = {"device": jax.devices()[0].device_kind, "version": f"jax {jax.__version__}"}
    results |= device_rates(w.repeats, 512 if small else 8192, 1 << 24 if small else 1 << 32)
    model = Decoder(gemma(w))
    params = init_params(model, jax.random.key(0))
    results["decode"] = {str(rows): decode_seconds(w, model, params, rows) for rows in w.rows}
    results["update"] = update_seconds(w, model, params)
    return results


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1])))
