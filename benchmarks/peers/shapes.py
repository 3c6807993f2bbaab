"""The shapes that the works are measured on: the small one, and those of two models that people start with.

The real models' works are as long as a real task's: prompts of 128 tokens, turns of 16 sampled and 24 given ones.
"""

from __future__ import annotations

import dataclasses

from setting import Setting

SMALL = "small"

_TASK = Setting(
    prompt=128,
    sample=64,
    said=16,
    given=24,
    dialogues=256,
    # Batches follow one another on the peers' side, so that a rate over one of them is the rate over all.
    peer_dialogues=64,
    step_turns=4,
    # One group: more rows at once would not fit beside float32 parameters and both moments of AdamW on many machines.
    micro_rows=8,
    tied=True,
)

SHAPES = {
    SMALL: Setting(),
    # https://huggingface.co/HuggingFaceTB/SmolLM2-135M/blob/main/config.json. Where lengths are random, 93 of 1,000
    # tokens end a turn: turns of 1 to 16 tokens have a mean of 8.5 then, that of a uniform draw.
    "smollm2_135m": dataclasses.replace(
        _TASK,
        family="llama",
        width=576,
        layers=30,
        heads=9,
        kv_heads=3,
        head_dim=64,
        hidden=1536,
        vocab=49_152,
        rope_base=1e5,
        norm_eps=1e-5,
        stop_tokens=4571,
    ),
    # https://huggingface.co/Qwen/Qwen2.5-0.5B/blob/main/config.json
    "qwen2_5_0_5b": dataclasses.replace(
        _TASK,
        family="qwen2",
        width=896,
        layers=24,
        heads=14,
        kv_heads=2,
        head_dim=64,
        hidden=4864,
        vocab=151_936,
        rope_base=1e6,
        norm_eps=1e-6,
        stop_tokens=14_130,
    ),
}
