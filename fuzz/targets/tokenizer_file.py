"""Damaged tokenizer files: a tokenizer that works, or a UserError."""

from __future__ import annotations

import json
import tempfile
import warnings
from functools import lru_cache
from pathlib import Path
from typing import Any

from fuzz.campaign import Target, allowed
from fuzz.source import Source, broken, changed, dumps
from fuzz.toys import toys
from sml_jax.common.errors import UserError
from sml_jax.text.families import families, message_format
from sml_jax.text.huggingface import load_tokenizer

_toys = toys("text/text_toys")
# Texts that every tokenizer must encode: none, plain ones, and ones that spell control tokens.
_TEXTS = ("", "the answer is 42\n", "<start_of_turn><|im_end|>\u2581 \u00e9\x00\ud800")


@lru_cache(maxsize=1)
def _files() -> tuple[list[Any], list[bytes]]:
    """Sound tokenizer.json values, and sound .model files."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        specs = []
        for write in (_toys.write_qwen, _toys.write_llama):
            specs.append(_small(json.loads(write(folder).read_text(encoding="utf-8"))))
        gemma = _toys.write_gemma(folder)
        specs.append(_toys.gemma_spec(gemma))
        # A model of another kind than the families have.
        unigram = {
            "version": "1.0",
            "added_tokens": [{"id": 0, "content": "<unk>", "special": True, "single_word": False, "lstrip": False,
                              "rstrip": False, "normalized": False}],
            "normalizer": {"type": "Prepend", "prepend": "\u2581"},
            "pre_tokenizer": {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": True},
            "decoder": {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": True},
            "post_processor": None,
            "model": {"type": "Unigram", "unk_id": 0, "byte_fallback": False,
                      "vocab": [["<unk>", 0.0], *([c, -1.0 - i] for i, c in enumerate("\u2581etaonswr 42hi"))]},
        }  # fmt: skip
        specs.append(unigram)
        models = [gemma.read_bytes(), _toys.write_sentencepiece(folder / "u.model", model_type="unigram").read_bytes()]
    return specs, models


def _small(spec: Any) -> Any:
    """Without most of the merges, so that a case is quick."""
    merges = spec["model"]["merges"][:20]
    symbols = {*(part for merge in merges for part in merge), *("".join(merge) for merge in merges)}
    names = [name for name in spec["model"]["vocab"] if len(name) == 1 or name in symbols]
    vocabulary = {name: at for at, name in enumerate(names)}
    added = [{**token, "id": len(names) + at} for at, token in enumerate(spec["added_tokens"])]
    model = {**spec["model"], "vocab": vocabulary, "merges": merges}
    return {**spec, "model": model, "added_tokens": added, "post_processor": None}


def _near(source: Source, spec: dict[str, Any]) -> object:
    """The spec with one of its parts changed: a change somewhere in all of it would mostly hit the vocabulary."""
    name = source.pick(("added_tokens", "normalizer", "pre_tokenizer", "decoder", "model", "model", "post_processor"))
    part = spec.get(name)
    if name != "model" or source.flag(3) or not isinstance(part, dict):
        return {**spec, name: changed(source, part)}
    inner = source.pick(tuple(part))
    return {**spec, "model": {**part, inner: changed(source, part[inner])}}


def check(source: Source) -> None:
    """One case."""
    specs, models = _files()
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if source.flag(3):
            path = Path(folder) / "tokenizer.model"
            path.write_bytes(broken(source, source.pick(models)))
        else:
            path = Path(folder) / "tokenizer.json"
            spec = source.pick(specs)
            damaged = changed(source, spec) if source.flag(4) else _near(source, spec)
            content = dumps(damaged).encode()
            path.write_bytes(broken(source, content) if source.flag(6) else content)
        tokenizer = allowed(lambda: load_tokenizer(path))
        if isinstance(tokenizer, UserError):
            return
        # A tokenizer that was let in works on any text, and with every family.
        assert 0 < tokenizer.vocab_size < 1 << 24
        assert all(0 <= token < tokenizer.vocab_size for token in tokenizer.control_ids())
        for text in _TEXTS:
            tokens = tokenizer.encode(text)
            assert all(0 <= token < tokenizer.vocab_size for token in tokens)
            assert tokenizer.control_ids().isdisjoint(tokens)
            tokenizer.decode(tokens)
        tokenizer.decode(range(min(tokenizer.vocab_size, 600)))
        for family in families():
            allowed(lambda family=family: message_format(family, tokenizer))


def target() -> Target:
    """Tokenizer files."""
    _files()
    return Target("tokenizer_file", check, cpu_s=20.0)
