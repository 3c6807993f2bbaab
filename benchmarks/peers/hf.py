"""Hugging Face transformers on torch: its own `generate`, and a hand-written loop around its model and cache."""

from __future__ import annotations

import os
from functools import partial

import numpy as np
import torch
from setting import Setting
from side import Run, check_samples, lengths_to_end, serve
from transformers import AutoModelForCausalLM, DynamicCache, PreTrainedModel, Qwen3Config, Qwen3ForCausalLM


def model_of(s: Setting) -> PreTrainedModel:
    """The setting's model, with the weights of its folder if it names one and random ones if not."""
    torch.set_num_threads(os.cpu_count() or 1)
    if s.weights:
        model = AutoModelForCausalLM.from_pretrained(s.weights, attn_implementation="sdpa", dtype=torch.float32)
        return model.eval()
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=s.vocab,
        hidden_size=s.width,
        intermediate_size=s.hidden,
        num_hidden_layers=s.layers,
        num_attention_heads=s.heads,
        num_key_value_heads=s.kv_heads,
        head_dim=s.head_dim,
        max_position_embeddings=4096,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=0,
        attn_implementation="sdpa",
        dtype=torch.float32,
    )
    return Qwen3ForCausalLM(config).eval()


class Context:
    """The contexts of a batch, which grow together. A turn shorter than the longest leaves a gap that is masked."""

    def __init__(self, tokens: np.ndarray):
        self.tokens = torch.as_tensor(tokens, dtype=torch.long)
        self.mask = torch.ones_like(self.tokens)
        self.cache: DynamicCache | None = None

    def append(self, tokens: torch.Tensor, lengths: torch.Tensor | None = None) -> None:
        """Adds `tokens` [rows, n] to every row; only the first `lengths` of each count, all if None."""
        visible = torch.ones_like(tokens)
        if lengths is not None:
            visible = (torch.arange(tokens.shape[1]) < lengths[:, None]).long()
        self.tokens, self.mask = torch.cat([self.tokens, tokens], 1), torch.cat([self.mask, visible], 1)


def by_generate(model, context: Context, most: int, end_ids: list[int], carried: bool, logprobs: bool):
    """Samples up to `most` tokens a row by `generate`.

    Args:
      carried: pass the cache of the earlier turns in; if not, the whole context is prefilled again.

    Returns:
      Tokens [rows, n], and their log-probabilities or None.
    """
    if carried and context.cache is None:
        context.cache = DynamicCache(config=model.config)
    out = model.generate(
        context.tokens,
        attention_mask=context.mask,
        past_key_values=context.cache if carried else None,
        max_new_tokens=most,
        do_sample=True,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        eos_token_id=end_ids or None,
        pad_token_id=0,
        return_dict_in_generate=True,
        output_logits=logprobs,
    )
    sampled, scores = out.sequences[:, context.tokens.shape[1] :], None
    if logprobs:
        scores = torch.stack(
            [torch.log_softmax(step, -1).gather(1, sampled[:, i : i + 1])[:, 0] for i, step in enumerate(out.logits)], 1
        )
    return sampled, scores


@torch.inference_mode()
def by_loop(model, context: Context, most: int, end_ids: list[int], carried: bool, logprobs: bool):
    """As `by_generate`, in a loop without the bookkeeping of `generate` and with a faster draw than `multinomial`."""
    if context.cache is None or not carried:
        context.cache = DynamicCache(config=model.config)
    cache, ends = context.cache, torch.tensor(end_ids)
    rows = len(context.tokens)
    # Only what the cache does not hold goes through the model.
    new = context.tokens[:, cache.get_seq_length() :]
    # Without gaps no mask is needed, and attention is faster without one.
    mask = None if bool(context.mask.all()) else context.mask
    positions = (context.mask.cumsum(1) - 1)[:, -new.shape[1] :]
    steps, scores, running = [], [], torch.ones(rows, dtype=torch.bool)
    while True:
        logits = model(
            new, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True, logits_to_keep=1
        ).logits[:, -1]
        probabilities = torch.softmax(logits, -1)
        # The largest p / Exponential(1) is a draw from p.
        new = (probabilities / torch.empty_like(probabilities).exponential_(1)).argmax(-1, keepdim=True)
        steps.append(new)
        if logprobs:
            scores.append(torch.log_softmax(logits, -1).gather(1, new))
        if end_ids:
            running &= ~torch.isin(new[:, 0], ends)
        # The loop ends with the longest row, as `generate` does.
        if len(steps) == most or not bool(running.any()):
            break
        positions = positions[:, -1:] + 1
        mask = None if mask is None else torch.cat([mask, mask.new_ones(rows, 1)], 1)
    return torch.cat(steps, 1), torch.cat(scores, 1) if logprobs else None


def sample(s: Setting, rows: int, way=by_generate, logprobs: bool = False) -> Run:
    """Samples `sample` tokens behind a prompt in each row."""
    model, prompts = model_of(s), s.prompt_rows(rows)

    def run(seed: int) -> dict[str, float]:
        torch.manual_seed(seed)
        sampled, scores = way(model, Context(prompts), s.sample, [], True, logprobs)
        lengths = np.full(rows, sampled.shape[1])
        assert sampled.shape == (rows, s.sample)
        check_samples(lengths, s.sample, None if scores is None else scores.numpy())
        return {"units": float(lengths.sum())}

    return run


def dialogue(
    s: Setting, way=by_generate, carried: bool = True, random_length: bool = False, batch: int | None = None
) -> Run:
    """Plays dialogues of `turns` turns in batches of `batch`; each turn waits for the batch's longest."""
    model, end_ids = model_of(s), s.end_ids() if random_length else []
    batch = batch or s.rows
    total = s.peer_dialogues if random_length else s.rows

    def run(seed: int) -> dict[str, float]:
        torch.manual_seed(seed)
        units = 0
        # Batches follow one another: a row that ends early waits for the others.
        for start in range(0, total, batch):
            rows = min(batch, total - start)
            context = Context(s.prompt_rows(rows, seed=start))
            for turn in range(s.turns):
                sampled, _ = way(model, context, s.said, end_ids, carried, False)
                lengths = lengths_to_end(sampled.numpy(), end_ids)
                check_samples(lengths, s.said)
                units += int(lengths.sum())
                context.append(sampled, torch.as_tensor(lengths))
                if turn + 1 < s.turns:
                    context.append(torch.as_tensor(s.replies(rows, turn), dtype=torch.long))
        return {"units": float(units), "mean_length": units / (total * s.turns)}

    return run


WORKS = {
    "sample": lambda s: sample(s, s.rows),
    "sample_logprobs": lambda s: sample(s, s.rows, logprobs=True),
    "sample_loop_logprobs": lambda s: sample(s, s.rows, by_loop, logprobs=True),
    "dialogue_carried": partial(dialogue),
    "dialogue_again": partial(dialogue, carried=False),
    "dialogue_loop": partial(dialogue, way=by_loop),
    "random_carried": partial(dialogue, random_length=True),
    "random_loop": partial(dialogue, way=by_loop, random_length=True),
    "random_loop_wide": lambda s: dialogue(s, by_loop, random_length=True, batch=4 * s.rows),
    "one": lambda s: sample(s, 1),
    "one_loop": lambda s: sample(s, 1, by_loop),
}

if __name__ == "__main__":
    serve(WORKS, warm_ups=1)
