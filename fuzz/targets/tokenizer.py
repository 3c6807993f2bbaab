"""Tokenizers: any text becomes tokens of its own and comes back; any tokens become a text."""

from __future__ import annotations

import tempfile
import unicodedata
import warnings
from functools import lru_cache
from pathlib import Path

from fuzz.campaign import Target
from fuzz.source import MAX_CHARACTERS, Source
from fuzz.toys import toys
from sml_jax.pocket import ASSETS
from sml_jax.text.huggingface import load_tokenizer
from sml_jax.text.tokenizer import SPACE_MARK, SentencePieceTokenizer, Tokenizer, well_formed

_toys = toys("text/text_toys")
_SPELT = (
    *_toys.QWEN_SPECIAL,
    *_toys.QWEN_OTHERS,
    *_toys.LLAMA_SPECIAL,
    *_toys.GEMMA_MARKERS,
    *_toys.GEMMA_TEXTS,
    *_toys.GEMMA_SPECIAL,
    *("<begin>", "<teacher>", "<student>", "<private>", "<ask>", "<end>", "<0x41>", "<0xE2>", "\u2581", "\u2581the"),
    *("Ġ", "Ċ", "<", "<|", "|>", "im_", "start", "_of_turn>", "the answer", " is ", "42", "you", "def solve(x):"),
    *("n't", "part 1"),
)


@lru_cache(maxsize=1)
def tokenizers() -> dict[str, Tokenizer]:
    """The tokenizers by name; "lossy" knows no bytes."""
    by_name: dict[str, Tokenizer] = {"pocket": SentencePieceTokenizer(ASSETS / "pocket.model")}
    with tempfile.TemporaryDirectory() as place, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for kind, write in (("qwen", _toys.write_qwen), ("llama", _toys.write_llama), ("gemma", _toys.write_gemma)):
            folder = Path(place) / kind
            folder.mkdir()
            model = write(folder)
            by_name[kind] = load_tokenizer(folder)
            if kind == "gemma":
                spec = _toys.write_spec(Path(place) / "gemma.json", _toys.gemma_spec(model))
                by_name["gemma_json"] = load_tokenizer(spec)
                # Gemma 4 has other markers of turns.
                (folder / "4").mkdir()
                markers = _toys.GEMMA4_MARKERS
                spec = _toys.gemma_spec(_toys.write_gemma(folder / "4", markers), markers)
                by_name["gemma4"] = load_tokenizer(_toys.write_spec(Path(place) / "gemma4.json", spec))
        spaced = _toys.write_sentencepiece(Path(place) / "spaced.model", add_dummy_prefix=True)
        by_name["spaced"] = SentencePieceTokenizer(spaced)
        lossy = _toys.write_sentencepiece(Path(place) / "lossy.model", byte_fallback=False, vocab_size=120)
        by_name["lossy"] = SentencePieceTokenizer(lossy)
    return by_name


def promised(name: str, text: str) -> str:
    """The text that must come back."""
    text = well_formed(text)
    return unicodedata.normalize("NFC", text) if name == "qwen" else text


def _solid(text: str) -> str:
    """A decoded text up to where the bytes of a character may still be missing."""
    return text.rstrip("\ufffd")


def check(source: Source) -> None:
    """One case."""
    name = source.pick(tuple(tokenizers()))
    tokenizer = tokenizers()[name]
    # Any tokens become a text, which becomes the same text again.
    if source.flag(3):
        ids = [source.integer(0, tokenizer.vocab_size - 1) for _ in range(source.integer(0, 60))]
        text = tokenizer.decode(ids)
        text.encode()
        plain = [token for token in ids if token not in tokenizer.control_ids()]
        assert tokenizer.decode(plain) == text, "a control token leaves something behind"
        if name not in ("lossy", "qwen"):
            assert tokenizer.decode(tokenizer.encode(text)) == text, f"{text!r} does not come back"
        return
    # Any text becomes tokens, none of which opens or closes a turn, and comes back.
    text = source.text(_SPELT, 30, MAX_CHARACTERS if source.flag(8) else 400)
    tokens = tokenizer.encode(text)
    assert all(0 <= token < tokenizer.vocab_size for token in tokens)
    assert tokenizer.control_ids().isdisjoint(tokens), f"{text!r} spells a control token"
    back = tokenizer.decode(tokens)
    if name != "lossy":
        assert back == promised(name, text), f"{text[:200]!r} comes back as {back[:200]!r}"
    elif SPACE_MARK not in text:
        assert tokenizer.decode(tokenizer.encode(back)) == back
    # Text that is decoded piece by piece only grows.
    if len(tokens) < 500 and name != "lossy":
        for cut in {source.integer(0, len(tokens)) for _ in range(4)}:
            part = _solid(tokenizer.decode(tokens[:cut]))
            assert back.startswith(part), f"{part!r} begins {back!r}"


def target() -> Target:
    """Tokenizers."""
    tokenizers()
    return Target("tokenizer", check, cpu_s=20.0)
