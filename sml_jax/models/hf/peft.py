"""Writing adapters in the format of PEFT, which `PeftModel.from_pretrained` loads on top of the base model.

Source: https://huggingface.co/docs/peft/developer_guides/checkpoint
"""

from __future__ import annotations

import json
from math import prod
from pathlib import Path
from typing import Any

import flax.traverse_util as traverse
import jax
import numpy as np

from sml_jax.common.errors import UserError
from sml_jax.models.config import DecoderConfig, LoraConfig
from sml_jax.models.decoder import Decoder
from sml_jax.models.hf.names import Placement, placements
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
    adapters = traverse.flatten_dict(split_lora(params)[1]["params"])
    if not all(leaf.is_fully_addressable for leaf in adapters.values()):
        raise UserError("the adapters are spread over several processes: export from a program in one process")
    tensors, ranks = _matrices(config, adapters)
    with folder_at_once(path, overwrite=overwrite) as folder:
        save_tensors(tensors, folder / "adapter_model.safetensors")
        (folder / "adapter_config.json").write_text(json.dumps(_adapter_config(lora, ranks, base), indent=2) + "\n")


def _adapter_config(lora: LoraConfig, ranks: dict[str, int], base: str | None) -> dict[str, Any]:
    """The object of adapter_config.json; `ranks` are those of the modules, by the last part of their names."""
    # The scale is lora_alpha / r here too, so a module of another rank has another alpha.
    others = {module: rank for module, rank in ranks.items() if rank != lora.rank}
    alphas = {module: lora.scale * rank for module, rank in others.items()}
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": lora.rank,
        "lora_alpha": lora.alpha,
        # Some layers may lack a projection that others have: PEFT looks for these names in all of them.
        "target_modules": list(ranks),
        **({"rank_pattern": others, "alpha_pattern": alphas} if others else {}),
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "use_rslora": False,
        "inference_mode": True,
    }


def _matrices(
    config: DecoderConfig, adapters: dict[tuple[str, ...], jax.Array]
) -> tuple[dict[str, np.ndarray], dict[str, int]]:
    """The matrices of all adapters, and the rank of each module by the last part of its name.

    Where several projections share a stored matrix (those of a delta net), their adapters become one whose rank is the
    sum of theirs: it projects to all of their ranks, and from each of them to that projection's own rows.

    Returns:
      float32 [rank, in] ("lora_A") and [out, rank] ("lora_B") by the names that PEFT gives them.
    """
    parts_of: dict[str, list[tuple[Placement, np.ndarray, np.ndarray]]] = {}
    for path, place in placements(config).items():
        adapter = (*path[:-2], f"{path[-2]}_lora") if path[-1] == "kernel" else ()
        if (*adapter, "a") not in adapters:
            continue
        for index, name in enumerate(place.names()):
            # Ours are a [*in, rank] and b [rank, *out], with axes of their own for heads.
            a, b = (np.asarray(adapters[*adapter, matrix][index], np.float32) for matrix in ("a", "b"))
            matrices = a.reshape(prod(a.shape[:-1]), -1).T, b.reshape(b.shape[0], -1).T
            parts_of.setdefault(name.removesuffix(".weight"), []).append((place, *matrices))

    tensors: dict[str, np.ndarray] = {}
    ranks: dict[str, int] = {}
    for module, parts in parts_of.items():
        down = np.concatenate([a for _, a, _ in parts])
        up = np.zeros((parts[0][0].stored_shape[0], len(down)), np.float32)
        column = 0
        for place, _, b in parts:
            up[place.first_row : place.first_row + b.shape[0], column : column + b.shape[1]] = b
            column += b.shape[1]
        tensors |= {f"{_PREFIX}{module}.lora_A.weight": down, f"{_PREFIX}{module}.lora_B.weight": up}
        ranks[module.rsplit(".", 1)[1]] = len(down)
    return tensors, ranks
