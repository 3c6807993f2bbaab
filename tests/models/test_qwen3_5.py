"""Files of Qwen 3.5 as they are published: the language model within a larger one, and what is left out of them."""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from gguf_toys import golden_arrays
from published import PUBLISHED
from safetensors.numpy import load_file, save_file

from sml_jax.common.errors import UserError
from sml_jax.models import load_model, save_hf
from sml_jax.models.hf.names import placements

NAME = "qwen3_5_text_tied"


def write(folder: Path, config: dict[str, Any], tensors: dict[str, np.ndarray]) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> tuple[dict[str, Any], dict[str, np.ndarray], dict]:
    """The fields and tensors of a language model by itself, and our parameters."""
    config, tensors, _ = golden_arrays(NAME)
    return config, tensors, load_model(write(tmp_path_factory.mktemp("plain") / "model", config, tensors))[1]


def test_the_language_model_is_read_out_of_the_larger_one(plain, tmp_path: Path, caplog) -> None:
    config, tensors, params = plain
    others = {
        name: np.ones((2, 3), np.float32) for name in ("mtp.fc.weight", "mtp.norm.weight", "model.visual.a.weight")
    }
    within = {f"model.language_model.{name.removeprefix('model.')}": values for name, values in tensors.items()}
    outer = {**PUBLISHED["qwen3_5_0_8b"], "text_config": {**config, "mtp_num_hidden_layers": 1}}
    _, read = load_model(write(tmp_path / "larger", outer, within | others))
    jax.tree.map(np.testing.assert_array_equal, read, params)
    assert "left out 3 tensors of mtp, visual" in caplog.text


def test_a_language_model_by_itself_may_bring_the_layer_that_predicts_several_tokens(
    plain, tmp_path: Path, caplog
) -> None:
    config, tensors, params = plain
    _, read = load_model(write(tmp_path / "model", config, tensors | {"mtp.fc.weight": np.ones((2, 3), np.float32)}))
    jax.tree.map(np.testing.assert_array_equal, read, params)
    assert "left out 1 tensors of mtp" in caplog.text
    with pytest.raises(UserError, match=r"has no place for: model\.visual\.a\.weight"):
        load_model(write(tmp_path / "seen", config, tensors | {"model.visual.a.weight": np.ones((2, 3), np.float32)}))


def test_what_shares_a_tensor_is_written_back_in_its_order(plain, tmp_path: Path) -> None:
    config, tensors, params = plain
    model, _ = load_model(write(tmp_path / "model", config, tensors))
    save_hf(tmp_path / "back", model.config, params)
    after = load_file(tmp_path / "back" / "model.safetensors")
    assert set(after) == set(tensors)
    for name, values in tensors.items():
        np.testing.assert_array_equal(after[name], values)


def test_a_shared_tensor_of_another_size_is_named(plain, tmp_path: Path) -> None:
    config, tensors, _ = plain
    name = "model.layers.0.linear_attn.in_proj_qkv.weight"
    with pytest.raises(UserError, match=r"in_proj_qkv.weight is \[33, 16\] instead of \[34, 16\]"):
        load_model(write(tmp_path / "model", config, tensors | {name: tensors[name][1:]}))


def test_ranges_of_rows_fill_their_tensors(plain, tmp_path: Path) -> None:
    config, tensors, _ = plain
    model, _ = load_model(write(tmp_path / "model", config, tensors))
    rows: dict[str, list[range]] = {}
    for place in placements(model.config).values():
        if place.all_rows is not None:
            index = place.stored_index((slice(None),) * len(place.shape))[0]
            rows.setdefault(place.name, []).append(range(index.start, index.stop))
    assert len(rows) == 2
    for name, ranges in rows.items():
        assert [row for part in ranges for row in part] == list(range(len(tensors[name.format(layer=0)])))
