"""Weights that are not finite: found whatever their bits, wherever they stand, in both forms of a model folder."""

import json
import shutil
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from sml_jax.common.errors import UserError
from sml_jax.models import Decoder, DecoderConfig, init_params
from sml_jax.models.hf.checkpoint import load_model, save_model
from sml_jax.models.hf.finite import _BLOCK, all_finite
from sml_jax.models.hf.save import save_hf

TYPES = [np.dtype(name) for name in ("float32", "float16", ml_dtypes.bfloat16)]
CONFIG = DecoderConfig(
    vocab_size=11, embed_dim=8, layers=2, heads=2, kv_heads=1, head_dim=4, mlp_dim=8, max_length=32, qk_norm=True
)
QUERY, EMBEDDING = "model.layers.1.self_attn.q_proj.weight", "model.embed_tokens.weight"


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@given(bits=st.integers(0, 2**32 - 1))
def test_any_bits(dtype: np.dtype, bits: int) -> None:
    value = np.array([bits], np.uint32).view(dtype)[:1]
    assert all_finite(value) == bool(np.isfinite(value)[0])


@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_one_among_many_wherever_it_stands(dtype: np.dtype) -> None:
    limits = ml_dtypes.finfo(dtype)
    values = np.array([limits.max, limits.min, 0.0, -0.0, limits.tiny, -1.0], dtype)
    values = np.tile(values, _BLOCK // 4)  # more than one block
    assert all_finite(values) and all_finite(values.reshape(6, -1)) and all_finite(values[:0])
    for value in (np.nan, -np.nan, np.inf, -np.inf):
        for place in (0, _BLOCK - 1, _BLOCK, values.size - 1):
            changed = values.copy()
            changed[place] = value
            assert not all_finite(changed), (value, place)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A model in our form, and in Hugging Face's."""
    ours, theirs = (tmp_path_factory.mktemp(name) for name in ("ours", "theirs"))
    params = init_params(Decoder(CONFIG), jax.random.key(0))
    save_model(ours, CONFIG, params)
    save_hf(theirs, CONFIG, params)
    return ours, theirs


def changed_hf(folder: Path, target: Path, name: str, value: float, dtype: Any = np.float32) -> Path:
    """A copy of a Hugging Face folder of which the last number of a tensor is another."""
    shutil.copytree(folder, target)
    tensors = {key: array.astype(dtype) for key, array in load_file(target / "model.safetensors").items()}
    tensors[name].reshape(-1)[-1] = value
    save_file(tensors, target / "model.safetensors", metadata={"format": "pt"})
    return target


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", [QUERY, EMBEDDING, "model.norm.weight"])
def test_a_tensor_of_a_hugging_face_folder_is_named(folders, tmp_path, name, value) -> None:
    folder = changed_hf(folders[1], tmp_path / "model", name, value)
    with pytest.raises(
        UserError, match=rf"model\.safetensors: {name} holds numbers that are not finite.*fetch it again"
    ):
        load_model(folder)


def test_a_number_that_is_too_large_for_the_type_is_named(folders, tmp_path) -> None:
    """float32 holds numbers that bfloat16 rounds up to infinity; 16-bit numbers are read by their own bits."""
    folder = changed_hf(folders[1], tmp_path / "large", QUERY, 3.4e38)
    load_model(folder)
    with pytest.raises(UserError, match=rf"{QUERY} holds numbers .*too large for bfloat16"):
        load_model(folder, overrides={"param_dtype": "bfloat16"})
    for dtype in (np.float16, ml_dtypes.bfloat16):
        folder = changed_hf(folders[1], tmp_path / np.dtype(dtype).name, QUERY, np.nan, dtype)
        with pytest.raises(UserError, match=f"{QUERY} holds numbers that are not finite"):
            load_model(folder)


@pytest.mark.parametrize("name", ["lm_head.weight", EMBEDDING])
def test_a_tied_output_layer_is_named_for_what_it_is(folders, tmp_path, name) -> None:
    """NaN equals nothing, so it would be called another matrix than the embedding."""
    folder = changed_hf(folders[1], tmp_path / "model", EMBEDDING, 0.5)
    tensors = load_file(folder / "model.safetensors")
    tensors["lm_head.weight"] = tensors[EMBEDDING].copy()
    tensors[name][0, 0] = np.nan
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=f"{name} holds numbers that are not finite"):
        load_model(folder)


@pytest.mark.parametrize("value", [jnp.nan, jnp.inf])
def test_a_parameter_of_a_model_folder_is_named(folders, tmp_path, value) -> None:
    model, params = load_model(folders[0])
    up = params["params"]["layers"]["mlp"]["up"]["kernel"]
    params["params"]["layers"]["mlp"]["up"]["kernel"] = up.at[1, 0, 0].set(value)
    save_model(tmp_path / "model", model.config, params)
    with pytest.raises(UserError, match=r"params: layers/mlp/up/kernel holds numbers that are not finite"):
        load_model(tmp_path / "model")


def test_a_model_folder_holds_files_alone(folders, tmp_path) -> None:
    """A FIFO among the parameters would be waited for."""
    import os

    for index, name in enumerate(("params/_METADATA", "params/manifest.ocdbt", "params/other", "model.json")):
        folder = tmp_path / str(index)
        shutil.copytree(folders[0], folder)
        (folder / name).unlink(missing_ok=True)
        os.mkfifo(folder / name)
        with pytest.raises(UserError, match=rf"{name} is a FIFO, but a model has a file there"):
            load_model(folder)


@pytest.mark.parametrize("sizes", [{"embed_dim": 2**31 - 2}, {"layers": 2000}, {"vocab_size": 2**31 - 1}])
def test_sizes_that_no_machine_has_room_for_are_compared_first(folders, tmp_path, sizes) -> None:
    shutil.copytree(folders[0], tmp_path / "model")
    values = json.loads((tmp_path / "model" / "model.json").read_text())
    (tmp_path / "model" / "model.json").write_text(json.dumps({**values, **sizes}))
    with pytest.raises(UserError, match=r"not of the shape that its model\.json says"):
        load_model(tmp_path / "model")


@pytest.mark.parametrize("form", [0, 1], ids=["ours", "theirs"])
def test_parameters_that_do_not_fit_into_memory_are_refused_before_they_are_read(folders, monkeypatch, form) -> None:
    """Files of zeros or holes may be small on the disk."""
    from sml_jax.models.hf import memory

    load_model(folders[form])
    monkeypatch.setattr(memory, "free_bytes", lambda: 3000)
    with pytest.raises(
        UserError, match=r"the parameters of .* take 0\.0 GB, but 0\.0 GB of memory are free: give a sm"
    ):
        load_model(folders[form])
    monkeypatch.setattr(memory, "free_bytes", lambda: None)  # where the system does not tell
    load_model(folders[form])


CRAFTED = [b"[]", b"3", b"null", b'"x"', b"{}", b'{"tree_metadata": 5}', b'{"tree_metadata": {"a": 5}}']


@pytest.mark.parametrize("content", [*CRAFTED, b"[" * 100_000, b'{"tree_metadata": {"(": {}}}', b"\xff"], ids=range(10))
def test_a_list_of_arrays_that_is_none_is_one_error(folders, tmp_path, content) -> None:
    shutil.copytree(folders[0], tmp_path / "model")
    (tmp_path / "model" / "params" / "_METADATA").write_bytes(content)
    try:
        load_model(tmp_path / "model")
    except UserError as error:
        assert "\n" not in str(error) and "copy" in str(error)
