"""Google's Tunix: its own ("vanilla") sampler, which prefills the whole context at every call."""

from __future__ import annotations

import time
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from setting import Setting
from side import Run, check_samples, serve
from tunix.generate.sampler import CacheConfig, Sampler
from tunix.models.llama3 import model as llama3_lib
from tunix.models.llama3 import params as llama3_params
from tunix.models.qwen2 import model as qwen2_lib
from tunix.models.qwen2 import params as qwen2_params
from tunix.models.qwen3 import model as qwen3_lib

# Given as end of turn where no token is to end one.
NEVER = -1


class Numbers:
    """A tokenizer whose texts are token ids with spaces between."""

    def encode(self, text: str, **_) -> list[int]:
        return [int(token) for token in text.split()]

    def decode(self, ids, **_) -> str:
        return " ".join(map(str, ids))

    def bos_id(self) -> int:
        return 0  # none

    def eos_id(self) -> int:
        return NEVER

    def pad_id(self) -> int:
        return 0


def model_of(s: Setting) -> nnx.Module:
    """The setting's model, with the weights of its folder if it names one and random ones if not."""
    if s.weights:
        return _loaded(s)
    config = qwen3_lib.ModelConfig(
        num_layers=s.layers,
        vocab_size=s.vocab,
        embed_dim=s.width,
        hidden_dim=s.hidden,
        num_heads=s.heads,
        head_dim=s.head_dim,
        num_kv_heads=s.kv_heads,
        rope_theta=1_000_000,
        norm_eps=1e-6,
        use_tied_embedding=False,
    )
    return qwen3_lib.Qwen3(config, rngs=nnx.Rngs(0))


def _loaded(s: Setting) -> nnx.Module:
    sizes = {
        "num_layers": s.layers,
        "vocab_size": s.vocab,
        "embed_dim": s.width,
        "hidden_dim": s.hidden,
        "num_heads": s.heads,
        "head_dim": s.head_dim,
        "num_kv_heads": s.kv_heads,
        "rope_theta": s.rope_base,
        "norm_eps": s.norm_eps,
    }
    mesh = Mesh(np.array(jax.devices()[:1]).reshape(1, 1), ("fsdp", "tp"))
    if s.family == "llama":
        config = llama3_lib.ModelConfig(**sizes, weight_tying=s.tied)
        return llama3_params.create_model_from_safe_tensors(s.weights, config, mesh, jnp.float32)
    config = qwen2_lib.ModelConfig(**sizes, use_tied_embedding=s.tied)
    return qwen2_params.create_model_from_safe_tensors(s.weights, config, mesh, jnp.float32)


def sampler(s: Setting, model: nnx.Module, cache: int) -> Sampler:
    """A sampler with caches of `cache` tokens: attention goes over all of them."""
    return Sampler(model, Numbers(), CacheConfig(cache, s.layers, s.kv_heads, s.head_dim))


def texts(rows) -> list[str]:
    return [" ".join(map(str, row)) for row in rows]


def sample(s: Setting, rows: int, logprobs: bool) -> Run:
    """Samples `sample` tokens behind a prompt in each row. The cache is exactly as long as needed."""
    ours, prompts = sampler(s, model_of(s), s.prompt + s.sample), texts(s.prompt_rows(rows))

    def run(seed: int) -> dict[str, float]:
        out = ours(
            prompts,
            max_generation_steps=s.sample,
            max_prompt_length=s.prompt,
            return_logprobs=logprobs,
            eos_tokens=[NEVER],
            temperature=1.0,
            top_p=1.0,
            seed=seed,
        )
        lengths = np.array([len(tokens) for tokens in out.tokens])
        assert len(lengths) == rows and lengths.min() == s.sample
        check_samples(lengths, s.sample, np.array(out.logprobs) if logprobs else None)
        return {"units": float(lengths.sum())}

    return run


def dialogue(s: Setting, random_length: bool = False, batch: int | None = None) -> Run:
    """Plays dialogues of `turns` turns in batches; each turn waits for the batch's longest and prefills everything.

    Each turn has a sampler of its own with the shortest cache and prompt length that will do, which is faster than one
    for all turns, and compiles nothing after the first dialogue.
    """
    model, end_ids = model_of(s), s.end_ids() if random_length else [NEVER]
    batch = batch or s.rows
    total = s.peer_dialogues if random_length else s.rows
    known = [s.prompt + turn * (s.said + s.given) for turn in range(s.turns)]
    samplers = [sampler(s, model, length + s.said) for length in known]

    def run(seed: int) -> dict[str, float]:
        units = 0
        for start in range(0, total, batch):
            rows = min(batch, total - start)
            contexts = s.prompt_rows(rows, seed=start).tolist()
            for turn in range(s.turns):
                out = samplers[turn](
                    texts(contexts),
                    max_generation_steps=s.said,
                    max_prompt_length=known[turn],
                    eos_tokens=end_ids,
                    temperature=1.0,
                    top_p=1.0,
                    seed=seed * 1000 + start + turn,
                )
                said = [_with_end(tokens, s.said, end_ids) for tokens in out.tokens]
                lengths = np.array([len(tokens) for tokens in said])
                check_samples(lengths, s.said)
                units += int(lengths.sum())
                replies = s.replies(rows, turn).tolist()
                contexts = [a + b + c for a, b, c in zip(contexts, said, replies, strict=True)]
        return {"units": float(units), "mean_length": units / (total * s.turns)}

    return run


def _with_end(tokens: np.ndarray, most: int, ends: list[int]) -> list[int]:
    """Adds the sampled end token, which Tunix leaves out of a turn: the first of `ends` stands in its place."""
    kept = tokens.tolist()
    return kept if len(kept) == most else [*kept, ends[0]]


def recompiles(s: Setting) -> Run:
    """Counts what is compiled anew when rows, prompt length or the number of new tokens change after a warm-up."""
    events: list[float] = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda name, seconds, **_: events.append(seconds) if name.endswith("backend_compile_duration") else None
    )
    model, rng = model_of(s), np.random.default_rng(0)
    ours = sampler(s, model, 8 * s.prompt)

    def call(rows: int, length: int, steps: int) -> None:
        prompts = texts(rng.integers(1, s.vocab, (rows, length)))
        ours(prompts, max_generation_steps=steps, eos_tokens=[NEVER], temperature=1.0, top_p=1.0, seed=0)

    call(s.rows, s.prompt, s.said)

    def run(seed: int) -> dict[str, float]:
        # Numbers that no earlier run had, so that nothing is cached.
        rows = max(2, s.rows - 3 * seed - 3)
        changes = [(rows, s.prompt, s.said), (rows, 2 * s.prompt, s.said), (rows, s.prompt, max(1, s.said - 3 - seed))]
        # Nothing has changed: this call compiles nothing.
        call(s.rows, s.prompt, s.said)
        before, compiled, slow = len(events), 0, []
        for rows, length, steps in changes:
            first = len(events)
            started = time.perf_counter()
            call(rows, length, steps)
            cold = time.perf_counter() - started
            compiled += len(events) > first
            # The second call of the same sizes is warm: the difference is what compiling took.
            started = time.perf_counter()
            call(rows, length, steps)
            slow.append(cold - (time.perf_counter() - started))
        return {"units": float(compiled), "seconds": float(np.mean(slow)), "programs": float(len(events) - before)}

    return run


WORKS = {
    "sample_logprobs": lambda s: sample(s, s.rows, True),
    "one": lambda s: sample(s, 1, False),
    "dialogue": dialogue,
    "random": partial(dialogue, random_length=True),
    "random_wide": lambda s: dialogue(s, True, 4 * s.rows),
    "recompiles": recompiles,
}

if __name__ == "__main__":
    serve(WORKS, warm_ups=1)
