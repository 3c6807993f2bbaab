"""Adapters in the format of PEFT: our merged weights from the files alone, and PEFT's own logits where it is there."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
from gguf_toys import golden_arrays
from safetensors.numpy import load_file, save_file

from sml_jax.cli import main as cli
from sml_jax.common.errors import UserError
from sml_jax.models import load_model, save_hf, save_model
from sml_jax.models.config import LORA_TARGETS, LoraConfig
from sml_jax.models.hf.peft import save_peft
from sml_jax.models.lora import add_lora

LORA = LoraConfig(rank=3, alpha=5.0)


def with_adapters(folder: Path, name: str, lora: LoraConfig = LORA):
    """A golden model as a Hugging Face folder, and our model with adapters that change what it computes."""
    config, weights, arrays = golden_arrays(name)
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    model, params = add_lora(*load_model(folder), lora, jax.random.key(0))
    rng = np.random.default_rng(1)

    def noisy(path, leaf):
        is_adapter = any("_lora" in str(key) for key in path)
        return leaf + np.float32(0.2) * rng.normal(size=leaf.shape).astype(np.float32) if is_adapter else leaf

    return model, jax.tree.map_with_path(noisy, params), weights, arrays["tokens2"]


@pytest.mark.parametrize(
    "name", ["llama", *(pytest.param(name, marks=pytest.mark.extra) for name in ("gemma3_text", "qwen2"))]
)
def test_the_files_say_our_merged_weights(name: str, tmp_path: Path) -> None:
    model, params, weights, _ = with_adapters(tmp_path / "base", name)
    save_peft(tmp_path / "peft", model.config, params, base="somewhere/base")
    save_hf(tmp_path / "merged", model.config, params)
    settings = json.loads((tmp_path / "peft" / "adapter_config.json").read_text())
    assert (settings["r"], settings["lora_alpha"], settings["base_model_name_or_path"]) == (3, 5.0, "somewhere/base")
    adapters, merged = (
        load_file(tmp_path / "peft" / "adapter_model.safetensors"),
        load_file(tmp_path / "merged" / "model.safetensors"),
    )
    changed = 0
    for tensor, values in weights.items():
        prefix = f"base_model.model.{tensor.removesuffix('.weight')}"
        expected = values
        if f"{prefix}.lora_A.weight" in adapters:
            a, b = adapters[f"{prefix}.lora_A.weight"], adapters[f"{prefix}.lora_B.weight"]
            assert a.shape == (3, values.shape[1]) and b.shape == (values.shape[0], 3)
            expected, changed = values + b @ a * (5.0 / 3), changed + 1
        if tensor in merged:
            np.testing.assert_allclose(merged[tensor], expected, atol=1e-5, rtol=0)
    assert changed == len(LORA_TARGETS) * model.config.layers == len(adapters) // 2


@pytest.mark.parametrize("name", ["llama", "gemma3_text", "qwen2", "gemma4_dense", "gemma4_e"])
def test_peft_computes_our_logits(name: str, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft", reason="the live comparison needs peft")
    transformers = pytest.importorskip("transformers", reason="the live comparison needs transformers")
    pytest.importorskip("torch", reason="the live comparison needs torch")
    model, params, _, tokens = with_adapters(tmp_path / "base", name, LoraConfig(2, 4.0, ("query", "out", "down")))
    save_model(tmp_path / "ours", model.config, params)
    assert cli.main(["convert", f"--from={tmp_path / 'ours'}", f"--to={tmp_path / 'peft'}", "--adapters=true"]) == 0
    base = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "base", dtype="float32", attn_implementation="eager"
    )
    check_logits(base, peft, model, params, tokens, tmp_path)


DELTA_TARGETS = ("query", "down", "delta_query", "delta_value", "delta_gate", "delta_decay", "delta_out")


def test_peft_computes_our_logits_of_delta_nets(tmp_path: Path) -> None:
    """Two of three projections that share a matrix have adapters."""
    peft = pytest.importorskip("peft", reason="the live comparison needs peft")
    transformers = pytest.importorskip("transformers", reason="the live comparison needs transformers")
    model, params, _, tokens = with_adapters(tmp_path / "base", "qwen3_5_text", LoraConfig(2, 3.0, DELTA_TARGETS))
    save_peft(tmp_path / "peft", model.config, params)
    base = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "base", dtype="float32")
    check_logits(base, peft, model, params, tokens, tmp_path)


@pytest.mark.extra
def test_adapters_of_delta_nets_say_our_merged_weights(tmp_path: Path) -> None:
    model, params, weights, _ = with_adapters(tmp_path / "base", "qwen3_5_text", LoraConfig(2, 3.0, DELTA_TARGETS))
    save_peft(tmp_path / "peft", model.config, params)
    save_hf(tmp_path / "merged", model.config, params)
    settings = json.loads((tmp_path / "peft" / "adapter_config.json").read_text())
    assert settings["rank_pattern"] == {"in_proj_qkv": 4} and settings["alpha_pattern"] == {"in_proj_qkv": 6.0}
    adapters = load_file(tmp_path / "peft" / "adapter_model.safetensors")
    merged = load_file(tmp_path / "merged" / "model.safetensors")
    for tensor, values in weights.items():
        prefix = f"base_model.model.{tensor.removesuffix('.weight')}"
        expected = values
        if f"{prefix}.lora_A.weight" in adapters:
            expected = values + adapters[f"{prefix}.lora_B.weight"] @ adapters[f"{prefix}.lora_A.weight"] * 1.5
            assert abs(expected - values).max() > 0.01
        np.testing.assert_allclose(merged[tensor], expected, atol=1e-5, rtol=0)


def check_logits(base, peft, model, params, tokens, tmp_path: Path) -> None:
    """PEFT's logits with the written adapters are ours, and not those of the base."""
    import torch

    with torch.no_grad():
        plain = base(torch.tensor(tokens[None].astype(np.int64))).logits[0].numpy()
        theirs = (
            peft.PeftModel.from_pretrained(base, tmp_path / "peft")
            .eval()(torch.tensor(tokens[None].astype(np.int64)))
            .logits[0]
            .numpy()
        )
    ours = jax.jit(model.apply)(params, tokens[None])[0]
    np.testing.assert_allclose(ours, theirs, atol=1e-4 * abs(theirs).max(), rtol=0)
    assert abs(theirs - plain).max() > 0.1


def test_a_model_without_adapters(tmp_path: Path, capsys) -> None:
    model, params = load_model("pocket")
    with pytest.raises(UserError, match="the model has no adapters"):
        save_peft(tmp_path / "peft", model.config, params)
    save_model(tmp_path / "ours", model.config, params)
    for flags, part in (
        ((f"--to={tmp_path / 'to'}", "--adapters=true"), "the model has no adapters"),
        ((f"--to={tmp_path / 'to.gguf'}", "--adapters=true"), "--adapters takes a model folder of ours"),
        ((f"--to={tmp_path / 'to'}", "--adapters=true", "--dtype=bfloat16"), "leave --dtype out"),
        ((f"--to={tmp_path / 'to.gguf'}", "--family=llama"), "leave --family out"),
    ):
        assert cli.main(["convert", f"--from={tmp_path / 'ours'}", *flags]) == 2
        error = capsys.readouterr().err
        assert part in error and error.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir()} == {"ours"}
