"""Models written as GGUF files: read back they are the same model, tokenizer and chat template."""

import dataclasses
import json
from pathlib import Path

import flax.linen as nn
import gguf
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tokenizers
from gguf_toys import golden_arrays
from safetensors.numpy import save_file

from sml_jax.cli import main as cli
from sml_jax.common.errors import UserError
from sml_jax.common.gguf_header import read_gguf
from sml_jax.models import Decoder, DecoderConfig, load_model, save_model
from sml_jax.models.config import LoraConfig
from sml_jax.models.decoder import abstract_params
from sml_jax.models.hf.gguf_save import save_gguf
from sml_jax.models.lora import add_lora, merge_lora
from sml_jax.models.ops.rope import RopeScaling
from sml_jax.text.gguf_tokenizer import tokenizer_spec
from sml_jax.text.huggingface import HuggingFaceTokenizer
from sml_jax.text.tokenizer_json import QWEN_PATTERN

SIZES = dict(vocab_size=301, embed_dim=16, layers=2, heads=4, kv_heads=2, head_dim=10, mlp_dim=24, max_length=64)
GEMMA = dict(
    activation="gelu",
    post_norms=True,
    norm_plus_one=True,
    embedding_scale=True,
    layer_pattern=("local", "local", "local", "local", "local", "global"),
    window=7,
    rope_base=1e6,
)
CONFIGS = {
    "llama": DecoderConfig(**SIZES, rope_scaling=RopeScaling("llama3", 8.0, 1.0, 4.0, 16), tied_embeddings=False),
    "qwen2": DecoderConfig(**SIZES, qkv_bias=True),
    "qwen3": DecoderConfig(**SIZES, qk_norm=True, rope_scaling=RopeScaling("linear", 4.0)),
    "gemma2": DecoderConfig(
        **SIZES, **{**GEMMA, "layer_pattern": ("local", "global")}, attention_softcap=50.0, final_softcap=30.0
    ),
    "gemma3": DecoderConfig(**{**SIZES, "layers": 6}, **GEMMA, qk_norm=True, rope_local_base=1e4),
}


def f16_params(config: DecoderConfig) -> dict:
    """Random parameters that F16 holds exactly, norms and biases among them."""
    rng = np.random.default_rng(0)
    return jax.tree.map(
        lambda leaf: jnp.asarray(0.25 * rng.normal(size=leaf.shape).astype(np.float16).astype(np.float32)),
        nn.unbox(abstract_params(Decoder(config))),
    )


@pytest.mark.parametrize("name", CONFIGS)
def test_a_written_model_is_read_back(name: str, tmp_path: Path) -> None:
    config, params = CONFIGS[name], f16_params(CONFIGS[name])
    save_gguf(tmp_path / "model.gguf", config, params)
    file = read_gguf(tmp_path / "model.gguf")
    assert file.settings["general.architecture"] == name
    assert {tensor.kind for tensor in file.tensors.values() if len(tensor.shape) > 1} == {"F16"}
    model, read = load_model(tmp_path / "model.gguf")
    assert model.config == config
    # A norm is stored with one added, which rounds its last bits.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-6), read, params)
    assert [path.name for path in tmp_path.iterdir()] == ["model.gguf"]


@pytest.mark.extra
def test_adapters_are_merged(tmp_path: Path) -> None:
    model, params = add_lora(Decoder(CONFIGS["qwen3"]), f16_params(CONFIGS["qwen3"]), LoraConfig(2), jax.random.key(2))
    params = jax.tree.map(lambda leaf: leaf + 0.01, params)
    save_gguf(tmp_path / "model.gguf", model.config, params)
    read = load_model(tmp_path / "model.gguf")[1]
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-3, atol=1e-4), read, merge_lora(model, params)[1]
    )


@pytest.mark.parametrize(
    ("name", "changes", "part"),
    [
        ("gemma2", {"attention_scale": 0.5}, "computes no gemma2 model with attention_scale=0.5"),
        ("gemma3", {"rope_local_base": 5e3}, "rope_local_base=5000.0"),
        ("gemma3", {"layer_pattern": ("local", "global")}, "layer_pattern="),
        ("qwen3", {"layer_pattern": ("local", "global"), "window": 4}, "layer_pattern="),
    ],
)
def test_what_llama_cpp_would_compute_otherwise(name: str, changes: dict, part: str, tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIGS[name], **changes)
    with pytest.raises(UserError) as error:
        save_gguf(tmp_path / "model.gguf", config, f16_params(config))
    assert part in str(error.value) and not list(tmp_path.iterdir())


def test_a_weight_too_large_for_f16_leaves_nothing(tmp_path: Path) -> None:
    params = f16_params(CONFIGS["qwen3"])
    params["params"]["embedding"]["embedding"] *= 1e6
    with pytest.raises(UserError, match=r"token_embd\.weight holds numbers above 65504"):
        save_gguf(tmp_path / "model.gguf", CONFIGS["qwen3"], params)
    assert not list(tmp_path.iterdir())


def write_tokenizer(folder: Path) -> dict:
    """A byte-level tokenizer of 256 bytes, one merge, a marker and two control tokens, as Qwen's folders have it."""
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    made = tokenizers.Tokenizer(
        tokenizers.models.BPE({piece: i for i, piece in enumerate([*alphabet, "he"])}, [("h", "e")])
    )
    made.normalizer = tokenizers.normalizers.NFC()

    parts = tokenizers.pre_tokenizers
    made.pre_tokenizer = parts.Sequence(
        [
            parts.Split(tokenizers.Regex(QWEN_PATTERN), "isolated"),
            parts.ByteLevel(use_regex=False, add_prefix_space=False),
        ]
    )
    made.decoder = tokenizers.decoders.ByteLevel()
    made.add_special_tokens(["<|endoftext|>", "<|im_end|>"])
    made.add_tokens([tokenizers.AddedToken("<think>", special=False, normalized=False)])
    made.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}))
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [258, 257]}))
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    return json.loads((folder / "tokenizer.json").read_text())


def test_the_program_writes_model_tokenizer_and_chat_template(tmp_path: Path, capsys) -> None:
    save_model(tmp_path / "ours", CONFIGS["qwen2"], f16_params(CONFIGS["qwen2"]))
    spec = write_tokenizer(tmp_path / "ours")
    to = tmp_path / "model.gguf"
    assert cli.main(["convert", f"--from={tmp_path / 'ours'}", f"--to={to}"]) == 0
    assert capsys.readouterr().out.endswith("model.gguf: a GGUF file\n")
    read = tokenizer_spec(read_gguf(to))
    assert read["model"]["merges"] == [["h", "e"]] and read["pre_tokenizer"]["pretokenizers"][1]["type"] == "ByteLevel"
    assert read["added_tokens"] == spec["added_tokens"] and read["normalizer"] == {"type": "NFC"}
    text = "the caf\u00e9 <think> 12"
    assert HuggingFaceTokenizer(to).encode(text) == HuggingFaceTokenizer(tmp_path / "ours" / "tokenizer.json").encode(
        text
    )

    # And back: a folder that transformers opens, made of the file that another program could have made.
    assert cli.main(["convert", f"--from={to}", f"--to={tmp_path / 'back'}"]) == 0
    assert (tmp_path / "back" / "chat_template.jinja").read_text() == "{{ messages }}"
    generation = json.loads((tmp_path / "back" / "generation_config.json").read_text())
    assert generation == {"pad_token_id": 257, "eos_token_id": [258, 257]}
    jax.tree.map(np.testing.assert_array_equal, load_model(tmp_path / "back")[1], load_model(tmp_path / "ours")[1])
    flags = [f"--from={tmp_path / 'back'}", f"--to={tmp_path / 'hf'}", f"--tokenizer_from={to}"]
    assert cli.main(["convert", *flags]) == 0
    assert (tmp_path / "hf" / "chat_template.jinja").exists() and (tmp_path / "hf" / "config.json").exists()
    assert cli.main(["convert", f"--from={tmp_path / 'ours'}", f"--to={to}"]) == 2
    assert "is there already" in capsys.readouterr().err


def test_the_package_gguf_reads_what_we_write(tmp_path: Path) -> None:
    config, weights, _ = golden_arrays("llama")
    (tmp_path / "hf").mkdir()
    (tmp_path / "hf" / "config.json").write_text(json.dumps(config))
    save_file(weights, tmp_path / "hf" / "model.safetensors", metadata={"format": "pt"})
    model, params = load_model(tmp_path / "hf")
    save_gguf(tmp_path / "model.gguf", model.config, params)
    reader = gguf.GGUFReader(tmp_path / "model.gguf")
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, model.config.layers)
    expected = {names.get_name(name, (".weight",)) for name in weights}
    assert {tensor.name for tensor in reader.tensors} == expected | {"rope_freqs.weight"}
    assert reader.get_field("general.file_type").contents() == gguf.LlamaFileType.MOSTLY_F16
