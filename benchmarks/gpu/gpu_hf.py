"""Hugging Face `generate` on the same shape. `python gpu_hf.py WORK_JSON` prints JSON."""

from __future__ import annotations

import json
import statistics
import sys
import time
from typing import Any

import torch
import transformers
from gpu_work import Work
from transformers import Gemma3ForCausalLM, Gemma3TextConfig

CACHES = ("dynamic", "static")  # on a GPU, `generate` compiles its step if the cache is static


def gemma(w: Work, device: str) -> Gemma3ForCausalLM:
    """A model with random weights."""
    torch.manual_seed(0)
    kinds = ["full_attention" if (i + 1) % w.every == 0 else "sliding_attention" for i in range(w.layers)]
    config = Gemma3TextConfig(
        vocab_size=w.vocab,
        hidden_size=w.width,
        intermediate_size=w.hidden,
        num_hidden_layers=w.layers,
        num_attention_heads=w.heads,
        num_key_value_heads=w.kv_heads,
        head_dim=w.head_dim,
        query_pre_attn_scalar=w.head_dim,
        sliding_window=w.window,
        layer_types=kinds,
        max_position_embeddings=32_768,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=0,
        attn_implementation="sdpa",
        dtype=torch.bfloat16,
    )
    torch.set_default_dtype(torch.bfloat16)
    with torch.device(device):
        return Gemma3ForCausalLM(config).eval()


@torch.inference_mode()
def seconds_of(model: Gemma3ForCausalLM, tokens: torch.Tensor, new: int, cache: str) -> float:
    """Seconds that `generate` takes for `new` tokens behind `tokens`, prefill included."""
    if tokens.is_cuda:
        torch.cuda.synchronize()
    started = time.perf_counter()
    out = model.generate(
        tokens,
        attention_mask=torch.ones_like(tokens),
        max_new_tokens=new,
        do_sample=True,
        top_k=0,
        top_p=1.0,
        pad_token_id=0,
        eos_token_id=None,
        cache_implementation=None if cache == "dynamic" else cache,
    )
    assert out.shape[1] == tokens.shape[1] + new
    if tokens.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - started


def step_seconds(w: Work, model: Gemma3ForCausalLM, rows: int, cache: str, device: str) -> float:
    """Median seconds of a decoding step: the time beyond that of one token, whose cost is the prompt's, per step."""
    tokens = torch.randint(2, w.vocab, (rows, w.context), device=device)
    per_step = []
    for _ in range(w.repeats + 1):
        first_token = seconds_of(model, tokens, 1, cache)
        per_step.append((seconds_of(model, tokens, w.steps, cache) - first_token) / (w.steps - 1))
    return statistics.median(per_step[1:])  # the first repeat may compile


def main(text: str) -> dict[str, Any]:
    w, device = Work.from_json(text), "cuda" if torch.cuda.is_available() else "cpu"
    model = gemma(w, device)
    results: dict[str, Any] = {"version": f"transformers {transformers.__version__}, torch {torch.__version__}"}
    for cache in CACHES:
        results[cache] = {}
        for rows in w.rows:
            try:
                results[cache][str(rows)] = step_seconds(w, model, rows, cache, device)
            except Exception as error:  # one kind of cache that does not run leaves the other
                lines = str(error).strip().splitlines() or [""]
                print(f"generate, {cache} cache, {rows} rows: {type(error).__name__}: {lines[0]}", file=sys.stderr)
    return results


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1])))
