"""Writes a small Hugging Face folder of Qwen 3's kind with random weights, to try recipes that need a chat model.

`python benchmarks/random_model.py --to=DIR --text=FILE [--vocabulary=2048] [--width=64] [--layers=2] [--seed=0]`

The tokenizer is byte-level BPE behind Qwen's regular expression, with Qwen's control tokens; it is trained on the lines
of FILE (of a JSON file, on the JSON text). The model has grouped-query attention, QK norm and tied embeddings, and has
learnt nothing. `transformers` loads the folder too.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import jax
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from sml_jax.cli.main import run_program
from sml_jax.common.errors import UserError
from sml_jax.models import Decoder, DecoderConfig, count_params, init_params
from sml_jax.models.hf.save import save_hf

# https://huggingface.co/Qwen/Qwen3-8B/blob/main/tokenizer.json, pre_tokenizer and added_tokens
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
MARKERS = ("<think>", "</think>")


def train_tokenizer(lines: list[str], vocabulary: int) -> Tokenizer:
    """Trains byte-level BPE of at most `vocabulary` tokens, control tokens included, on `lines`."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary - len(SPECIAL) - len(MARKERS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(lines, trainer)
    # Control tokens come last, as in Qwen's own files; the thinking markers are not special there.
    tokenizer.add_special_tokens([AddedToken(name, special=True) for name in SPECIAL])
    tokenizer.add_tokens([AddedToken(name, normalized=False) for name in MARKERS])
    return tokenizer


def write_random_model(
    folder: Path, lines: list[str], vocabulary: int = 2048, width: int = 64, layers: int = 2, seed: int = 0
) -> DecoderConfig:
    """Writes the folder, with a tokenizer trained on `lines`; returns the model's configuration."""
    tokenizer = train_tokenizer(lines, vocabulary)
    config = DecoderConfig(
        # Rounded up to a multiple of 128, as the families' embeddings are.
        vocab_size=-(-tokenizer.get_vocab_size() // 128) * 128,
        embed_dim=width,
        layers=layers,
        heads=4,
        kv_heads=2,
        head_dim=max(16, width // 2),
        mlp_dim=3 * width,
        max_length=32_768,
        rope_base=1e6,
        qk_norm=True,
    )
    params = init_params(Decoder(config), jax.random.key(seed))
    save_hf(folder, config, params, "qwen3")
    tokenizer.save(str(folder / "tokenizer.json"))
    # Without this file a reader would take the tokenizer's own end token alone.
    stop_ids = [tokenizer.token_to_id(name) for name in ("<|im_end|>", "<|endoftext|>")]
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": stop_ids}) + "\n")
    return config


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--text", type=Path, required=True)
    for name, default in (("vocabulary", 2048), ("width", 64), ("layers", 2), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    flags = parser.parse_args(argv)
    try:
        lines = flags.text.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {flags.text} ({error}): give a text file to train the tokenizer on") from None
    config = write_random_model(flags.to, lines, flags.vocabulary, flags.width, flags.layers, flags.seed)
    params = jax.eval_shape(lambda: init_params(Decoder(config), jax.random.key(0)))
    print(f"{flags.to}: {count_params(params):,} parameters, {config.vocab_size} tokens")
    return 0


if __name__ == "__main__":
    sys.exit(run_program(main, sys.argv[1:]))
