"""One gated delta net of Qwen 3.5's on this CPU, beside `transformers`; and its state's bytes beside a cache's.

    python benchmarks/delta_net.py [--rounds=7]

Both sides compute the same layer with the same weights in float32: reading (chunks of 64 tokens) and decoding (one
token of each row). Rounds alternate, and the table has the median rate of each side and the largest difference of the
outputs, relative to the largest output. `transformers` runs its own code in PyTorch, since its fused kernels are for
GPUs.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sml_jax.models.config import DecoderConfig, DeltaNetConfig
from sml_jax.models.delta_net import DeltaNet, empty_state

# The published sizes: width, layers, kv heads, value heads of a delta net. Heads of keys and values have 256 numbers.
SIZES = {"0.8B": (1024, 24, 2, 16), "4B": (2560, 32, 4, 32), "9B": (4096, 32, 4, 32), "27B": (5120, 64, 4, 48)}
KEY_HEADS, DIM, TAPS, HEAD_DIM, PERIOD = 16, 128, 4, 256, 4
ROWS, TIME, STEPS = 4, 512, 64
EPS = 1e-6


def state_table() -> None:
    """Prints, from shapes alone, a row's bytes in states (float32) beside those of keys and values (bfloat16)."""
    lengths = (1024, 2048, 4096, 8192, 16384)
    print("| size | states | with the turn's start | " + " | ".join(f"cache at {n:,}" for n in lengths) + " |")
    print("| --- " * (3 + len(lengths)) + "|")
    for name, (_, layers, kv_heads, value_heads) in SIZES.items():
        full = layers // PERIOD
        history = (TAPS - 1) * DIM * (2 * KEY_HEADS + value_heads) * 2
        state = (layers - full) * (value_heads * DIM * DIM * 4 + history)
        caches = [full * 2 * kv_heads * HEAD_DIM * 2 * n for n in lengths]
        cells = [f"{number / 2**20:,.1f} MiB" for number in (state, 2 * state, *caches)]
        print(f"| {name} | " + " | ".join(cells) + " |")


def our_side(weights: dict[str, np.ndarray], config: DecoderConfig) -> tuple[Any, Any, Any]:
    """The layer's jitted function (parameters, x, state) -> (outputs, state), its parameters and its empty state."""
    d, width = config.delta_net, config.embed_dim
    assert d is not None
    ends = np.cumsum([d.key_heads * d.key_dim, d.key_heads * d.key_dim])
    heads = {"query": (d.key_heads, d.key_dim), "key": (d.key_heads, d.key_dim), "value": (d.value_heads, d.value_dim)}
    params: dict[str, Any] = {}
    for name, matrix, conv in zip(
        heads,
        np.split(weights["in_proj_qkv.weight"], ends),
        np.split(weights["conv1d.weight"][:, 0], ends),
        strict=True,
    ):
        params[f"delta_{name}"] = {"kernel": matrix.T.reshape(width, *heads[name])}
        params[f"{name}_conv"] = conv.reshape(*heads[name], d.taps)
    params["delta_gate"] = {"kernel": weights["in_proj_z.weight"].T.reshape(width, *heads["value"])}
    params["delta_beta"] = {"kernel": weights["in_proj_b.weight"].T}
    params["delta_decay"] = {"kernel": weights["in_proj_a.weight"].T}
    params["delta_out"] = {"kernel": weights["out_proj.weight"].T.reshape(*heads["value"], width)}
    params |= {"decay_log_rate": weights["A_log"], "decay_bias": weights["dt_bias"]}
    params["delta_norm"] = {"scale": weights["norm.weight"]}
    layer = jax.jit(lambda params, x, state: DeltaNet(config).apply({"params": params}, x, state))
    return layer, jax.tree.map(jnp.asarray, params), empty_state(config, ROWS)


def their_side(width: int, value_heads: int) -> tuple[Any, Any]:
    """The layer of `transformers` with random weights, and a function that makes an empty cache."""
    import torch
    from transformers import DynamicCache, Qwen3_5TextConfig
    from transformers.models.qwen3_5.modeling_qwen3_5 import Qwen3_5GatedDeltaNet

    torch.manual_seed(0)
    sizes = dict(linear_num_key_heads=KEY_HEADS, linear_num_value_heads=value_heads, linear_conv_kernel_dim=TAPS)
    config = Qwen3_5TextConfig(hidden_size=width, num_hidden_layers=1, layer_types=["linear_attention"], **sizes)
    return Qwen3_5GatedDeltaNet(config, 0).eval(), lambda: DynamicCache(config=config)


def seconds(work: Callable[[], Any]) -> float:
    """How long one call takes."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def rates(size: str, rounds: int) -> None:
    """Prints the rows of the table for one size."""
    import torch

    width, _, _, value_heads = SIZES[size]
    theirs, empty_cache = their_side(width, value_heads)
    config = DecoderConfig(
        vocab_size=8, embed_dim=width, layers=1, heads=1, kv_heads=1, head_dim=HEAD_DIM, mlp_dim=8, max_length=8,
        layer_pattern=("delta",), norm_eps=EPS,
        delta_net=DeltaNetConfig(KEY_HEADS, value_heads, DIM, DIM, TAPS),
    )  # fmt: skip
    layer, params, state = our_side({k: v.detach().numpy() for k, v in theirs.named_parameters()}, config)
    # The engine's decoding loop is one executable too.
    decode = jax.jit(lambda params, xs, state: jax.lax.scan(lambda s, x: layer(params, x, s)[::-1], state, xs)[1])
    x = np.random.default_rng(0).normal(size=(ROWS, TIME + STEPS, width)).astype(np.float32)
    read, steps = x[:, :TIME], [x[:, TIME + i : TIME + i + 1] for i in range(STEPS)]

    def ours_read() -> Any:
        return jax.block_until_ready(layer(params, read, state))

    def theirs_read() -> Any:
        with torch.no_grad():
            cache = empty_cache()
            return theirs(torch.tensor(read), cache_params=cache), cache

    (our_out, our_state), (their_out, their_cache) = ours_read(), theirs_read()

    def ours_decode() -> Any:
        return jax.block_until_ready(decode(params, np.stack(steps), our_state))

    def theirs_decode() -> Any:
        with torch.no_grad():
            return [theirs(torch.tensor(step), cache_params=their_cache) for step in steps]

    outs = [np.concatenate([our_out, *ours_decode()], axis=1), torch.cat([their_out, *theirs_decode()], dim=1).numpy()]
    difference = np.abs(outs[0] - outs[1]).max() / np.abs(outs[1]).max()
    for name, tokens, ours_work, theirs_work in (
        ("reading", ROWS * TIME, ours_read, theirs_read),
        ("decoding", ROWS * STEPS, ours_decode, theirs_decode),
    ):
        pairs = [(seconds(ours_work), seconds(theirs_work)) for _ in range(rounds)]
        our_rate, their_rate = (tokens / statistics.median(side) for side in zip(*pairs, strict=True))
        numbers = f"{our_rate:,.0f} | {their_rate:,.0f} | {our_rate / their_rate:.2f} | {difference:.1e}"
        print(f"| {size} | {name} | {numbers} |")


def main() -> None:
    """Prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    state_table()
    print(f"\n{ROWS} rows; reading {TIME} tokens of each, decoding {STEPS}. Tokens a second:")
    print("| size | work | sml-jax | transformers | ratio | difference |")
    print("| --- | --- | --- | --- | --- | --- |")
    for size in ("0.8B", "9B"):
        rates(size, rounds)


if __name__ == "__main__":
    main()
