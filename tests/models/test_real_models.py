"""Published models and tokenizers, where they have been fetched (`python benchmarks/real_models.py`)."""

import json
import sys
from pathlib import Path

import jax
import pytest

from sml_jax.cli import main as cli
from sml_jax.common.gguf_header import read_gguf
from sml_jax.models import load_model
from sml_jax.models.hf.checkpoint import read_model_config
from sml_jax.text.gguf_tokenizer import tokenizer_spec
from sml_jax.text.huggingface import HuggingFaceTokenizer, load_tokenizer

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
import real_models

TEXTS = [
    "The answer is 42: 3.14 * (x + y) == f'{name}'\n\tdef solve(a, b):\r\n        return a[0] // b\n\n\n   x",
    "h\u00e9 na\u00efve \ufb01 a\u0301 \u6f22\u5b57 \ud55c \U0001f468\u200d\U0001f469\u200d\U0001f467 it's I'LL",
    "12345 <b>hi</b> <|im_end|>",
    "\n" * 45 + " " * 50 + "\t\t\t",
]


def fetched(name: str) -> Path:
    """The path of a file that was fetched; the test is skipped if it was not."""
    path = real_models.cached_path(name)
    if not path.is_file():
        pytest.skip(f"needs a published file: python benchmarks/real_models.py {name}")
    return path


def test_every_source_is_pinned() -> None:
    for name in real_models.NAMES:
        source = real_models._SOURCES[name]
        assert len(source.sha256) == 64 and source.licence
        assert all("==" in wheel for wheel in source.wheels) and bool(source.wheels) != bool(source.tarball)


@pytest.mark.slow
def test_smollm2_is_converted_with_all_that_it_brings(tmp_path: Path) -> None:
    path = fetched("smollm2")
    assert cli.main(["convert", f"--from={path}", f"--to={tmp_path / 'ours'}"]) == 0
    model, params = load_model(tmp_path / "ours")
    assert model.config == read_model_config(path) and (model.config.layers, model.config.vocab_size) == (30, 49152)
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 134_515_008
    assert "You are a helpful AI assistant named SmolLM" in (tmp_path / "ours" / "chat_template.jinja").read_text()
    assert json.loads((tmp_path / "ours" / "generation_config.json").read_text())["eos_token_id"] == 2
    tokenizer = load_tokenizer(tmp_path / "ours")
    # The numbers that the tokenizer of HuggingFaceTB/SmolLM2-135M-Instruct gives.
    assert tokenizer.encode("Hello world 42") == [19556, 905, 216, 36, 34]


@pytest.mark.parametrize(
    ("model", "published"),
    [
        pytest.param("gemma3", "gemma3_tokenizer", marks=pytest.mark.extra),
        ("qwen2_5_coder", "qwen3_tokenizer"),
    ],
)
def test_tokens_of_a_file_are_those_of_the_published_tokenizer(model: str, published: str) -> None:
    file, tokenizer = HuggingFaceTokenizer(fetched(model)), load_tokenizer(fetched(published))
    for text in TEXTS:
        assert file.encode(text) == tokenizer.encode(text)
        assert file.decode(file.encode(text)) == tokenizer.decode(tokenizer.encode(text))


@pytest.mark.extra
def test_the_merges_of_gemma_are_the_published_ones() -> None:
    made = tokenizer_spec(read_gguf(fetched("gemma3")))
    published = json.loads(fetched("gemma3_tokenizer").read_text())
    assert made["model"]["vocab"] == published["model"]["vocab"]
    assert made["model"]["merges"] == published["model"]["merges"]
    assert made["normalizer"] == published["normalizer"] and made["post_processor"] == published["post_processor"]


@pytest.mark.parametrize("name", ["gemma3_tokenizer", "llama3_tokenizer", "qwen3_tokenizer"])
def test_published_tokenizers_load_and_return_texts(name: str) -> None:
    tokenizer = load_tokenizer(fetched(name))
    for text in (TEXTS[0], TEXTS[3]):
        assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.mark.slow
@pytest.mark.parametrize("name", real_models.MODELS)
def test_real_models_are_those_of_transformers(name: str) -> None:
    for package in ("torch", "transformers", "accelerate"):
        pytest.importorskip(package, reason=f"the live comparison needs {package}")
    from real_model_parity import measure_parity

    parity = measure_parity(fetched(name))
    for field in ("logits", "sampled", "drawn", "update"):
        assert getattr(parity, field) <= 2e-4, parity
    # A greedy choice may part from theirs where two tokens are as likely as rounding.
    assert parity.greedy_equal == 256 or parity.greedy_lead <= 2e-4, parity
