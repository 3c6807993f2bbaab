"""Reading blocks of tensors a little at a time, writing several files, and naming what is wrong with a folder."""

import json
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from sml_jax.common.errors import UserError
from sml_jax.models.hf import safetensors_io
from sml_jax.models.hf.safetensors_io import INDEX, SINGLE, ShardWriter, check_tensors, stored_tensors

MATRIX = np.arange(42, dtype=np.float32).reshape(7, 6)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tensors = {"a": MATRIX, "b": MATRIX.astype(ml_dtypes.bfloat16), "c": np.arange(3, dtype=np.float16)}
    save_file(tensors, tmp_path / SINGLE, metadata={"format": "pt"})
    return tmp_path


def test_what_there_is(folder: Path) -> None:
    found = stored_tensors(folder)
    assert {name: (tensor.shape, tensor.dtype) for name, tensor in found.items()} == {
        "a": ((7, 6), "float32"),
        "b": ((7, 6), "bfloat16"),
        "c": ((3,), "float16"),
    }


@pytest.mark.parametrize("chunk", [1, 60, 1 << 20])
@pytest.mark.parametrize("block", [(slice(0, 7), slice(0, 6)), (slice(2, 6), slice(1, 4)), (slice(3, 3), slice(0, 6))])
@pytest.mark.parametrize("name", ["a", "b"])
def test_a_block_comes_whole_whatever_the_chunk(folder: Path, monkeypatch, chunk: int, block: tuple, name: str) -> None:
    monkeypatch.setattr(safetensors_io, "_READ_BYTES", chunk)
    got = np.full(MATRIX[block].shape, -1.0, np.float32)
    parts = list(stored_tensors(folder)[name].rows(block))
    for rows, values in parts:
        got[rows] = values
    np.testing.assert_array_equal(got, MATRIX[block])
    assert all(values.shape[0] * 24 <= max(chunk, 24) for _, values in parts)


def test_shards_are_found_again(tmp_path: Path) -> None:
    tensors = {f"t{i}": np.full((i + 1, 4), i, np.float32) for i in range(5)}  # 16, 32, 48, 64, 80 bytes
    writer = ShardWriter(tmp_path, {name: values.nbytes for name, values in tensors.items()}, shard_bytes=64)
    for name, values in tensors.items():
        writer.add(name, values)
    writer.close()
    index = json.loads((tmp_path / INDEX).read_text())
    names = [f"model-0000{i}-of-00004.safetensors" for i in range(1, 5)]
    assert index["weight_map"] == dict(zip(tensors, [names[0], *names], strict=True))
    assert index["metadata"]["total_size"] == 240
    found = stored_tensors(tmp_path)
    assert list(found) == list(tensors)
    for name, values in tensors.items():
        ((_, got),) = found[name].rows((slice(0, len(values)), slice(0, 4)))
        np.testing.assert_array_equal(got, values)


def test_one_file_needs_no_index_and_keeps_a_transposed_array_right(tmp_path: Path) -> None:
    writer = ShardWriter(tmp_path, {"a": MATRIX.nbytes}, shard_bytes=1 << 20)
    writer.add("a", MATRIX.T)
    writer.close()
    assert [file.name for file in tmp_path.iterdir()] == [SINGLE]
    np.testing.assert_array_equal(load_file(tmp_path / SINGLE)["a"], MATRIX.T)


def test_a_shard_that_is_missing_broken_or_short_of_a_tensor_is_named(folder: Path) -> None:
    (folder / SINGLE).rename(folder / "one.safetensors")
    (folder / INDEX).write_text(json.dumps({"weight_map": {"a": "one.safetensors", "z": "two.safetensors"}}))
    with pytest.raises(UserError, match=r"two\.safetensors is missing"):
        stored_tensors(folder)
    (folder / "two.safetensors").write_bytes((folder / "one.safetensors").read_bytes()[:-1])
    with pytest.raises(UserError, match=r"two\.safetensors cannot be read as safetensors"):
        stored_tensors(folder)
    save_file({"y": MATRIX}, folder / "two.safetensors")
    with pytest.raises(UserError, match=r"index\.json: z not in the files that it names"):
        stored_tensors(folder)
    (folder / INDEX).write_text("[]")
    with pytest.raises(UserError, match=r"this is no index of safetensors files"):
        stored_tensors(folder)


def test_what_does_not_fit_is_named(folder: Path) -> None:
    found = stored_tensors(folder)
    check_tensors(folder, found, {"a": (7, 6), "b": (7, 6)}, ["c"])
    with pytest.raises(UserError) as caught:
        check_tensors(folder, found, {"a": (6, 7), "x": (1,)}, ["b"])
    text = str(caught.value)
    assert "missing tensors: x;" in text and "no place for: c;" in text and "a is [7, 6] instead of [6, 7]" in text
    many = {f"m{i}": (1,) for i in range(9)}
    with pytest.raises(UserError, match=r"missing tensors: m0, m1, m2, m3, m4 and 4 more; "):
        check_tensors(folder, found, many, [])


def test_a_type_that_is_not_supported_is_named(tmp_path: Path) -> None:
    save_file({"q": np.zeros((2, 2), np.int8)}, tmp_path / SINGLE)
    with pytest.raises(UserError, match=r"type other than float32, bfloat16, float16: q is I8"):
        check_tensors(tmp_path, stored_tensors(tmp_path), {"q": (2, 2)}, [])


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"weight_map": {"a": "\\u0000"}}',
        '{"weight_map": {"a": "\\ud800"}}',
        '{"weight_map": {"a": []}}',
    ],
)
def test_an_index_that_is_none_is_said(folder: Path, text: str) -> None:
    (folder / INDEX).write_text(text)
    with pytest.raises(UserError, match=r"no index of safetensors files|cannot be read|is missing"):
        stored_tensors(folder)
