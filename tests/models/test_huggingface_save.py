"""What is written as a Hugging Face folder: in shards, with adapters merged, token ids and the tokenizer's files."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

from sml_jax.common.errors import UserError
from sml_jax.models import Decoder, DecoderConfig, init_params, load_model, save_hf
from sml_jax.models.config import LoraConfig
from sml_jax.models.hf.save import copy_text_files, token_ids
from sml_jax.models.lora import add_lora, merge_lora

CONFIG = DecoderConfig(
    vocab_size=11, embed_dim=8, layers=2, heads=2, kv_heads=1, head_dim=4, mlp_dim=12, max_length=32, qk_norm=True
)


@pytest.fixture(scope="module")
def params() -> dict:
    return init_params(Decoder(CONFIG), jax.random.key(0))


def same(a: dict, b: dict) -> None:
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_shards_hold_every_tensor_once_and_are_read_again(params: dict, tmp_path: Path) -> None:
    save_hf(tmp_path / "hf", CONFIG, params, shard_bytes=1000)
    files = sorted(tmp_path.glob("hf/*.safetensors"))
    names = [name for file in files for name in load_file(file)]
    index = json.loads((tmp_path / "hf" / "model.safetensors.index.json").read_text())
    assert len(files) > 2 and sorted(names) == sorted(index["weight_map"]) and len(names) == 2 + 2 * 11
    model, again = load_model(tmp_path / "hf")
    assert model.config == CONFIG
    same(again, params)


def test_a_linear_layer_is_written_as_out_by_in(params: dict, tmp_path: Path) -> None:
    save_hf(tmp_path / "hf", CONFIG, params)
    stored = load_file(tmp_path / "hf" / "model.safetensors")
    ours = np.asarray(params["params"]["layers"]["attention"]["query"]["kernel"])  # [layers, in, heads, dim]
    assert stored["model.layers.1.self_attn.q_proj.weight"].shape == (8, 8)
    np.testing.assert_array_equal(stored["model.layers.1.self_attn.q_proj.weight"][1 * 4 + 2], ours[1, :, 1, 2])


def test_type(params: dict, tmp_path: Path) -> None:
    save_hf(tmp_path / "hf", CONFIG, params, dtype="bfloat16")
    assert {str(values.dtype) for values in load_file(tmp_path / "hf" / "model.safetensors").values()} == {"bfloat16"}
    assert json.loads((tmp_path / "hf" / "config.json").read_text())["torch_dtype"] == "bfloat16"
    with pytest.raises(UserError, match="dtype is 'int8'"):
        save_hf(tmp_path / "other", CONFIG, params, dtype="int8")


def test_adapters_are_merged(params: dict, tmp_path: Path) -> None:
    model, adapted = add_lora(Decoder(CONFIG), params, LoraConfig(rank=2), jax.random.key(1))
    adapted = jax.tree.map(lambda leaf: leaf + 0.1, adapted)
    save_hf(tmp_path / "hf", model.config, adapted)
    same(load_model(tmp_path / "hf")[1], merge_lora(model, adapted)[1])


def test_token_ids_and_text_files_come_from_the_tokenizers_folder(params: dict, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "config.json").write_text('{"bos_token_id": 3, "eos_token_id": 4, "vocab_size": 99}')
    (source / "generation_config.json").write_text('{"eos_token_id": [4, 5]}')
    for name in ("tokenizer.json", "chat_template.jinja", "model.safetensors", "notes.txt"):
        (source / name).write_text(name)
    save_hf(tmp_path / "hf", CONFIG, params, tokenizer_from=source)
    values = json.loads((tmp_path / "hf" / "config.json").read_text())
    assert (values["bos_token_id"], values["eos_token_id"], values["pad_token_id"]) == (3, [4, 5], None)
    assert values["vocab_size"] == 11
    copied = {file.name for file in (tmp_path / "hf").iterdir()}
    expected = {"config.json", "generation_config.json", "tokenizer.json", "chat_template.jinja", "model.safetensors"}
    assert copied == expected and (tmp_path / "hf" / "model.safetensors").read_bytes() != b"model.safetensors"
    assert token_ids(None) == {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
    (source / "config.json").write_text("[]")
    with pytest.raises(UserError, match=r"config\.json: not a JSON object"):
        token_ids(source)
    assert copy_text_files(tmp_path, tmp_path / "hf") == []


def test_a_family_that_does_not_fit_writes_nothing(params: dict, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a llama model cannot have qk_norm=True"):
        save_hf(tmp_path / "hf", CONFIG, params, family="llama")
    assert not list(tmp_path.iterdir())
