"""Writes golden/*.npz: what `transformers` computes with shrunken models of every family.

Run it by hand where torch and transformers are installed: `python tests/models/make_golden.py [NAME ...]`, where names
(keys of `hf_toys.CONFIGS`) leave the other files as they are. Each file holds the model's config.json and tensors as
they were saved, three rows of tokens of different lengths, their logits, and 64 greedy tokens after each with their
log-probabilities.
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from hf_toys import CONFIGS, make_hf

FOLDER = Path(__file__).parent / "golden"
# One shorter than the window of 7, two longer; the last goes beyond what Llama's rotary embeddings were "trained" on.
LENGTHS, GREEDY = (4, 13, 30), 64
# The likeliest token leads by more than this at every step, so that rounding cannot turn a greedy choice.
MARGIN = 1e-3


def hf_logits(model: Any, tokens: np.ndarray) -> np.ndarray:
    """Logits [time, vocab] of one row."""
    import torch

    with torch.no_grad():
        return model(torch.tensor(tokens[None].astype(np.int64))).logits[0].float().numpy()


def hf_greedy(model: Any, tokens: np.ndarray, count: int) -> np.ndarray:
    """The `count` tokens that `generate` appends to one row."""
    import torch

    prompt = torch.tensor(tokens[None].astype(np.int64))
    # Without a mask, `generate` takes tokens that equal the padding for padding.
    settings = dict(do_sample=False, max_new_tokens=count, eos_token_id=None, pad_token_id=0)
    out = model.generate(prompt, attention_mask=torch.ones_like(prompt), **settings)
    return out[0, tokens.size :].numpy()


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Over the last axis, float64."""
    shifted = logits.astype(np.float64) - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def golden(name: str, seed: int) -> tuple[dict[str, np.ndarray], float]:
    """A family's golden arrays by name, and the smallest lead of a greedy choice."""
    from safetensors.numpy import load_file

    model = make_hf(name, seed)
    rng = np.random.default_rng(seed)
    arrays: dict[str, np.ndarray] = {}
    margin = np.inf
    for i, length in enumerate(LENGTHS):
        tokens = rng.integers(0, model.config.vocab_size, length)
        sampled = hf_greedy(model, tokens, GREEDY)
        logits = hf_logits(model, np.concatenate([tokens, sampled]))
        steps = logits[length - 1 : -1]
        others = steps.copy()
        others[np.arange(GREEDY), sampled] = -np.inf
        margin = min(margin, float((steps[np.arange(GREEDY), sampled] - others.max(-1)).min()))
        arrays |= {
            f"tokens{i}": tokens.astype(np.int32),
            f"logits{i}": logits[:length],
            f"greedy{i}": sampled.astype(np.int32),
            f"logprob{i}": log_softmax(steps)[np.arange(GREEDY), sampled].astype(np.float32),
        }
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        arrays["config.json"] = np.frombuffer((Path(folder) / "config.json").read_bytes(), np.uint8)
        for tensor, values in load_file(Path(folder) / "model.safetensors").items():
            arrays[f"weight/{tensor}"] = values.astype(np.float16)
            np.testing.assert_array_equal(arrays[f"weight/{tensor}"].astype(np.float32), values)
    return arrays, margin


def main() -> None:
    """Writes every file, with the first seed whose greedy choices are clear."""
    FOLDER.mkdir(exist_ok=True)
    for name in sys.argv[1:] or CONFIGS:
        for seed in range(100):
            arrays, margin = golden(name, seed)
            if margin > MARGIN:
                break
        path = FOLDER / f"{name}.npz"
        np.savez_compressed(path, **arrays)
        print(f"{path.name}: seed {seed}, margin {margin:.4f}, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
