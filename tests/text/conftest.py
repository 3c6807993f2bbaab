"""The families' toy tokenizers, trained once a session."""

from pathlib import Path

import pytest
import text_toys as toys

from sml_jax.text.huggingface import load_tokenizer
from sml_jax.text.tokenizer import Tokenizer


@pytest.fixture(scope="session")
def model_folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """By kind, a folder with a tokenizer; gemma_json has that of gemma as a tokenizer.json."""
    folders = {kind: tmp_path_factory.mktemp(kind) for kind in ("qwen", "llama", "gemma", "gemma_json", "gemma4")}
    toys.write_qwen(folders["qwen"])
    toys.write_llama(folders["llama"])
    model = toys.write_gemma(folders["gemma"])
    toys.write_spec(folders["gemma_json"] / "tokenizer.json", toys.gemma_spec(model))
    model = toys.write_gemma(tmp_path_factory.mktemp("gemma4_model"), toys.GEMMA4_MARKERS)
    toys.write_spec(folders["gemma4"] / "tokenizer.json", toys.gemma_spec(model, toys.GEMMA4_MARKERS))
    return folders


@pytest.fixture(scope="session")
def kinds(model_folders: dict[str, Path]) -> dict[str, Tokenizer]:
    """The tokenizers of those folders."""
    return {kind: load_tokenizer(folder) for kind, folder in model_folders.items()}
