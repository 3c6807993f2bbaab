"""Writing adapters in the format of PEFT, which `PeftModel.from_pretrained` loads on top of the base model.

Source: https://huggingface.co/docs/peft/developer_guides/checkpoint
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

import jax
import numpy as np

from sml_jax.common.errors import UserError
from sml_jax.models.config import DecoderConfig, LoraConfig
from sml_jax.models.decoder import Decoder
from sml_jax.models.hf.config import family_of_config
from sml_jax.models.hf.new_folder import folder_at_once
from sml_jax.models.hf.safetensors_io import save_tensors
from sml_jax.models.lora import check_lora, split_lora

# How PEFT names the modules of a causal language model.
_PREFIX = "base_model.model."


def save_peft(
    path: str | Path,
    config: DecoderConfig,
    params: dict[str, Any],
    base: str | None = None,
    *,
    overwrite: bool = False,
) -> None:
    """Writes a model's adapters alone as a folder for PEFT, which appears complete or not at all.

    `PeftModel.from_pretrained(base_model, path)` then computes what our model with its adapters does.

    Args:
      path: the folder to write adapter_config.json and adapter_model.safetensors to. Unless `overwrite` is true, it
        must be empty or not exist.
      config: the model's configuration, which has adapters.
      params: its parameters, `{"params": ...}`, of which this process can read the adapters.
      base: where PEFT finds the base model, a folder or a name on the hub; None to leave it open.
      overwrite: whether a folder with content may be replaced.

    Raises:
      UserError: the model has no adapters, they are spread over several processes, or the folder is not empty.
    """
    check_lora(Decoder(config), params)
    lora = config.lora
    if lora is None:
        raise UserError("the model has no adapters (LoRA): write the whole model in place of them")
    layers = split_lora(params)[1]["params"]["layers"]
    if not all(leaf.is_fully_addressable for leaf in jax.tree.leaves(layers)):
        raise UserError("the adapters are spread over several processes: export from a program in one process")
    names = family_of_config(config).tensors
    tensors = {
        f"{_PREFIX}{names[target].format(layer=i)}.{matrix}.weight": values
        for target in lora.targets
        for i, matrix, values in _matrices(layers, target, config.layers)
    }
    with folder_at_once(path, overwrite=overwrite) as folder:
        save_tensors(tensors, folder / "adapter_model.safetensors")
        modules = [names[target].rsplit(".", 1)[1] for target in lora.targets]
        (folder / "adapter_config.json").write_text(json.dumps(_adapter_config(lora, modules, base), indent=2) + "\n")


def _adapter_config(lora: LoraConfig, modules: list[str], base: str | None) -> dict[str, Any]:
    """The object of adapter_config.json."""
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": lora.rank,
        # PEFT scales by lora_alpha / r too.
        "lora_alpha": lora.alpha,
        "target_modules": modules,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "use_rslora": False,
        "inference_mode": True,
    }


def _matrices(layers: dict[str, Any], target: str, count: int) -> Iterator[tuple[int, str, np.ndarray]]:
    """The matrices of one projection's adapters as (layer, "lora_A" or "lora_B", float32 [rank, in] or [out, rank])."""
    part = layers["mlp" if target in ("gate", "up", "down") else "attention"]
    adapter = part[f"{target}_lora"]
    for i in range(count):
        # Ours are a [*in, rank] and b [rank, *out], with axes of their own for heads.
        a, b = np.asarray(adapter["a"][i], np.float32), np.asarray(adapter["b"][i], np.float32)
        yield i, "lora_A", a.reshape(prod(a.shape[:-1]), -1).T
        yield i, "lora_B", b.reshape(b.shape[0], -1).T
