"""Tokenizers that grow without end, take for ever, crash their library or say nothing: one error each, and no harm."""

import json
import re
import warnings
from pathlib import Path

import hostile_tokenizers as hostile
import pytest
import text_toys as toys

from sml_jax.common.errors import UserError
from sml_jax.text import limited, trial
from sml_jax.text.growth import check_decoded_length, check_token_count
from sml_jax.text.huggingface import HuggingFaceTokenizer, load_tokenizer
from sml_jax.text.sentencepiece_model import is_usual as is_usual_model
from sml_jax.text.tokenizer import SentencePieceTokenizer
from sml_jax.text.tokenizer_json import is_usual, patterns_of, plain, read_spec

# Each child costs half a second, and those that are stopped four.
FAST = ("a text that doubles thirty times", "a control token in its own name", "a panic", "all characters are taken")


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=() if kind.startswith(FAST) else pytest.mark.slow) for kind in hostile.KINDS]
)
def test_a_hostile_tokenizer_is_one_error(tmp_path: Path, kind: str) -> None:
    path = hostile.rewritten(toys.write_qwen(tmp_path), kind)
    with pytest.raises(UserError, match=r"tokenizer\.json is not a tokenizer") as error:
        load_tokenizer(path)
    (group,) = [group for group in hostile.WORDS if kind in getattr(hostile, group)]
    assert re.search(hostile.WORDS[group], str(error.value)), str(error.value)
    assert "\n" not in str(error.value) and len(str(error.value)) < 600, str(error.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (hostile.as_fifo, "is a FIFO, but a model has a file there"),
        (hostile.with_holes, "is larger than the 64 MiB"),
        (hostile.of_lists, "more lists and texts than any tokenizer"),
        (hostile.deep, "nested too deeply"),
    ],
)
@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer.model"])
def test_a_file_that_cannot_be_read_is_refused_at_once(tmp_path: Path, change, words: str, name: str) -> None:
    if name == "tokenizer.model" and change in (hostile.of_lists, hostile.deep):
        words = "is not a SentencePiece model"
    change(tmp_path / name)
    with pytest.raises(UserError, match=words):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("write", [toys.write_qwen, toys.write_llama])
def test_the_tokenizers_of_the_families_need_no_trial(tmp_path: Path, write, monkeypatch) -> None:
    monkeypatch.setattr(trial, "_try_out", None)
    spec = plain(read_spec(write(tmp_path)), tmp_path)
    assert is_usual(spec)
    HuggingFaceTokenizer(tmp_path / "tokenizer.json")
    gemma = toys.write_gemma(tmp_path)
    assert is_usual_model(gemma.read_bytes())
    load_tokenizer(toys.write_spec(tmp_path / "gemma.json", toys.gemma_spec(gemma)))
    SentencePieceTokenizer(gemma)


@pytest.mark.parametrize("rule", ["identity", "nmt_nfkc", "nfkc", "nmt_nfkc_cf", "nfkc_cf"])
def test_the_tables_that_the_library_makes_need_no_trial(tmp_path: Path, rule: str) -> None:
    path = toys.write_sentencepiece(tmp_path / "tokenizer.model", normalization_rule_name=rule)
    assert is_usual_model(path.read_bytes())


@pytest.mark.parametrize("table", [b"\xff" * 40, b"\x00\x10\x00\x00" + b"\x01" * 5000, b"x"])
def test_a_table_that_is_none_is_tried_out_first(tmp_path: Path, table: bytes) -> None:
    path = hostile.with_table(tmp_path / "tokenizer.model", table)
    assert not is_usual_model(path.read_bytes())
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tokenizer = load_tokenizer(path)
    except UserError as error:
        assert "tokenizer.model is not a" in str(error)
    else:
        # The library may read nothing of it.
        assert tokenizer.encode("the answer")


def test_an_unusual_tokenizer_that_works_is_tried_once_and_loaded(tmp_path: Path, monkeypatch) -> None:
    path = toys.write_qwen(tmp_path)
    spec = hostile.splitting(json.loads(path.read_text()), "[a-z]+|,")
    toys.write_spec(path, spec)
    assert not is_usual(plain(spec, path)) and patterns_of(spec)[0] == "[a-z]+|,"
    plain_tokenizer = load_tokenizer(toys.write_qwen(tmp_path))
    toys.write_spec(path, spec)
    tokenizer = load_tokenizer(path)
    monkeypatch.setattr(limited.subprocess, "run", None)
    assert load_tokenizer(path).encode("so, then") == tokenizer.encode("so, then")
    assert tokenizer.vocab_size == plain_tokenizer.vocab_size


UNUSUAL = {
    "a normaliser": {"normalizer": {"type": "Nmt"}},
    "a longer text": {"normalizer": hostile.replacing({"String": "a"}, "aa")},
    "an expression": {"normalizer": hostile.replacing({"Regex": "a"}, "a")},
    "an empty text": {"normalizer": hostile.replacing({"String": ""}, "")},
    "many parts": {"normalizer": hostile.replacing({"String": "a"}, "b", 20)},
    "a split": {"pre_tokenizer": {"type": "Split", "pattern": {"Regex": "x"}, "behavior": "Isolated"}},
    "a split at nothing": {"pre_tokenizer": {"type": "Split", "pattern": {"String": ""}, "behavior": "Isolated"}},
    "another pre-tokenizer": {"pre_tokenizer": {"type": "UnicodeScripts"}},
    "no kind": {"decoder": {}},
    "a decoder": {"decoder": {"type": "CTC"}},
    "a decoder that replaces": {"decoder": hostile.replacing({"Regex": "."}, "", 1, "decoders")},
    "a prefix": {"model": {"type": "BPE", "continuing_subword_prefix": "##"}},
    "a suffix": {"model": {"type": "BPE", "end_of_word_suffix": "</w>"}},
    "Unigram": {"model": {"type": "Unigram"}},
}


@pytest.mark.parametrize("kind", UNUSUAL)
def test_what_is_unusual(kind: str) -> None:
    usual = {"normalizer": {"type": "NFC"}, "pre_tokenizer": None, "decoder": None, "model": {"type": "BPE"}}
    assert is_usual(usual)
    assert not is_usual({**usual, **UNUSUAL[kind]})


def test_ids_that_two_tokens_share_are_refused(tmp_path: Path) -> None:
    model = {"type": "BPE", "vocab": {"a": 0, "b": 1, "c": 1}, "merges": []}
    (tmp_path / "tokenizer.json").write_text(json.dumps({"added_tokens": [], "model": model}))
    with pytest.raises(UserError, match="gives 1 of its tokens the id of another"):
        load_tokenizer(tmp_path)


def test_limits_of_growth() -> None:
    """Longer than any text that a sound tokenizer makes."""
    path = Path("tokenizer.json")
    check_token_count(path, 10, 10 * 72 + 256)
    check_decoded_length(path, 0, "x" * 256)
    with pytest.raises(UserError, match=r"makes 977 tokens of a text of 10 characters; give the model's own"):
        check_token_count(path, 10, 10 * 72 + 257)
    with pytest.raises(UserError, match=r"a text of 0 characters comes back with 257; give the model's own"):
        check_decoded_length(path, 0, "x" * 257)


@pytest.mark.parametrize("way", ["encode", "decode"])
def test_a_library_that_fails_later_is_one_error_too(tmp_path: Path, monkeypatch, way: str) -> None:
    """On a text that the trial did not hold."""

    class PanicException(BaseException):
        pass

    class Broken:
        def __getattr__(self, name):
            raise PanicException("index out of bounds")

    tokenizer = HuggingFaceTokenizer(toys.write_qwen(tmp_path))
    monkeypatch.setattr(tokenizer, "_tokenizer", Broken())
    with pytest.raises(UserError, match=r"not a tokenizer\.json file that works: index out of bounds"):
        tokenizer.encode("a") if way == "encode" else tokenizer.decode([1])
