"""Tokenizer files that were made to do harm: each kind changes the description of a sound tokenizer.json."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sentencepiece

Spec = dict[str, Any]


def replacing(pattern: object, content: str, times: int = 1, parts: str = "normalizers") -> dict[str, Any]:
    """A normaliser (or decoder) that replaces a text or a regular expression, as often as is said."""
    return {"type": "Sequence", parts: [{"type": "Replace", "pattern": pattern, "content": content}] * times}


def normalizer(spec: Spec, part: object) -> Spec:
    return {**spec, "normalizer": part}


def splitting(spec: Spec, expression: str) -> Spec:
    split = {"type": "Split", "pattern": {"Regex": expression}, "behavior": "Isolated", "invert": False}
    return {**spec, "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, spec["pre_tokenizer"]]}}


def spelling_its_control(spec: Spec) -> Spec:
    """The normaliser writes a control token wherever a part of its name stands, and the merges then spell it."""
    vocabulary = {name: number for number, name in enumerate(["<", "a", ">", "b", "<a", "<a>"])}
    return {
        **spec,
        "normalizer": replacing({"String": "a"}, "<a>"),
        "pre_tokenizer": None,
        "decoder": None,
        "added_tokens": [{**spec["added_tokens"][0], "id": 5, "content": "<a>"}],
        "model": {"type": "BPE", "vocab": vocabulary, "merges": [["<", "a"], ["<a", ">"]]},
    }


def panicking(spec: Spec) -> Spec:
    """A prefix longer than the pieces makes the library count below zero."""
    model = {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": [["a", "b"]]}
    return {**spec, "added_tokens": [], "model": {**model, "continuing_subword_prefix": "##"}}


GROWING = {
    "a text that doubles thirty times": lambda spec: normalizer(spec, replacing({"String": "a"}, "aa", 30)),
    "any character, ten times over": lambda spec: normalizer(spec, replacing({"Regex": "[\\s\\S]"}, "x" * 10, 12)),
    "a text between all characters": lambda spec: normalizer(spec, replacing({"String": ""}, "y" * 1000, 3)),
    "a decoder that doubles": lambda spec: {**spec, "decoder": replacing({"Regex": "[\\s\\S]"}, "zz", 30, "decoders")},
    "a control token in its own name": spelling_its_control,
}
ENDLESS = {
    "an expression that goes back and forth": lambda spec: splitting(spec, "(x+x+)+y|(0|00)+1|( +)+$ "),
    "an expression within itself": lambda spec: splitting(spec, "((((a*)*)*)*)*b|(((.*)*)*)*\\x{1}\\x{2}"),
}
CRASHING = {
    "a panic": panicking,
    "an expression that is none": lambda spec: splitting(spec, "(((("),
    "a table of replacements that is none": lambda spec: normalizer(
        spec, {"type": "Precompiled", "precompiled_charsmap": "/////w=="}
    ),
}
SILENT = {
    "all characters are taken away": lambda spec: {
        **spec,
        "decoder": replacing({"Regex": "[\\s\\S]"}, "", 1, "decoders"),
    },
}
# What an error says of each group.
WORDS = {
    "GROWING": "asks for more than|not come to an end|tokens of a text of|comes back with|a control token of",
    "ENDLESS": "not come to an end|retry-limit",
    "CRASHING": "not a tokenizer.json file that works|its library crashes|asks for more than",
    "SILENT": "its tokens decode to nothing",
}
KINDS: dict[str, Callable[[Spec], Spec]] = {**GROWING, **ENDLESS, **CRASHING, **SILENT}


def rewritten(path: Path, kind: str) -> Path:
    """Changes a tokenizer.json into a hostile one."""
    path.write_text(json.dumps(KINDS[kind](json.loads(path.read_text(encoding="utf-8")))), encoding="utf-8")
    return path


def as_fifo(path: Path) -> Path:
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    return path


def with_holes(path: Path) -> Path:
    """A file of a terabyte that takes no room."""
    with path.open("wb") as file:
        file.truncate(1 << 40)
    return path


def of_lists(path: Path) -> Path:
    """Nine megabytes that become hundreds."""
    path.write_text('{"model": {"type": "BPE", "merges": [' + "[]," * 3_100_000 + "[]]}}")
    return path


def deep(path: Path) -> Path:
    path.write_text('{"model": ' + "[" * 100_000)
    return path


def with_table(path: Path, table: bytes) -> Path:
    """A SentencePiece model whose table of replacements is another."""
    from sml_jax.text.sentencepiece_model import _encode_field

    with path.open("wb") as out:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(["the answer is 42"] * 20),
            model_writer=out,
            vocab_size=40,
            hard_vocab_limit=False,
            normalization_rule_name="nmt_nfkc",
            minloglevel=2,
        )
    # Of a field that comes twice the last one counts.
    path.write_bytes(path.read_bytes() + _encode_field(3, 2, _encode_field(2, 2, table)))
    return path
