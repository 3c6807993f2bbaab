"""Which files hold a folder's weights: names that leave the folder, what is no file, tensors that are there twice."""

import json
import os
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save, save_file

from sml_jax.common.errors import UserError
from sml_jax.models.hf.load import language_tensors
from sml_jax.models.hf.safetensors_io import stored_tensors
from sml_jax.models.hf.weight_files import INDEX, SINGLE

VALUES = {"a": np.arange(6, dtype=np.float32)}


def write_index(folder: Path, weight_map: object) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / INDEX).write_text(json.dumps({"weight_map": weight_map}))
    return folder


def refused(folder: Path, words: str) -> None:
    with pytest.raises(UserError, match=words) as error:
        stored_tensors(folder)
    assert len(str(error.value)) < 600


@pytest.mark.parametrize("name", ["../out.safetensors", "x/../../out.safetensors", "..", "", ".", "ABSOLUTE"])
def test_a_name_that_leaves_the_folder_is_refused(tmp_path, name):
    """The file is there, and sound."""
    save_file(VALUES, tmp_path / "out.safetensors")
    name = str(tmp_path / "out.safetensors") if name == "ABSOLUTE" else name
    folder = write_index(tmp_path / "model", {"a": name})
    (folder / "x").mkdir()
    refused(folder, r"index\.json: weight_map names .*, which is no file of this folder: fetch the folder again")


@pytest.mark.parametrize("name", [SINGLE, "one.safetensors", "below/one.safetensors"])
def test_a_link_out_of_the_folder_is_refused_and_one_within_it_is_not(tmp_path, name):
    save_file(VALUES, tmp_path / "out.safetensors")
    folder = tmp_path / "model"
    (folder / name).parent.mkdir(parents=True)
    if name != SINGLE:
        write_index(folder, {"a": name})
    os.symlink(tmp_path / "out.safetensors", folder / name)
    refused(folder, r"is a link to .*out\.safetensors, outside of the folder: copy the file there")
    # Through a link to a folder.
    (folder / name).unlink()
    if "/" in name:
        (folder / "below").rmdir()
        (tmp_path / "other").mkdir()
        save_file(VALUES, tmp_path / "other" / "one.safetensors")
        os.symlink(tmp_path / "other", folder / "below")
        refused(folder, "outside of the folder")
        (folder / "below").unlink()
        (folder / "below").mkdir()
    save_file(VALUES, folder / "inside")
    os.symlink(folder / "inside", folder / name)
    assert set(stored_tensors(folder)) == {"a"}
    # The folder itself may be a link.
    os.symlink(folder, tmp_path / "link")
    assert set(stored_tensors(tmp_path / "link")) == {"a"}


@pytest.mark.parametrize("name", [SINGLE, "one.safetensors"])
def test_the_cache_of_hugging_face_is_a_folder_of_links(tmp_path, name):
    """`models--ORG--NAME/snapshots/REVISION/FILE` leads to `../../blobs/HASH`."""
    model = tmp_path / "hub" / "models--org--name"
    (model / "blobs").mkdir(parents=True)
    (model / "snapshots" / "main").mkdir(parents=True)
    save_file(VALUES, model / "blobs" / "abc")
    folder = model / "snapshots" / "main"
    os.symlink("../../blobs/abc", folder / name)
    if name != SINGLE:
        os.symlink("../../blobs/def", folder / INDEX)
        (model / "blobs" / "def").write_text(json.dumps({"weight_map": {"a": name}}))
    assert set(stored_tensors(folder)) == {"a"}
    # Older versions made such links in any folder.
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    os.symlink(model / "blobs" / "abc", elsewhere / SINGLE)
    assert set(stored_tensors(elsewhere)) == {"a"}


@pytest.mark.parametrize("name", [SINGLE, "one.safetensors", INDEX])
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink("/dev/zero", path)])
def test_what_is_no_file_is_refused_at_once(tmp_path, name, make):
    folder = write_index(tmp_path, {"a": name}) if name != SINGLE else tmp_path
    (folder / name).unlink(missing_ok=True)
    make(folder / name)
    refused(folder, rf"{name} is a (FIFO|folder|device), but a model has a file there")


def content(header: bytes, data: bytes = b"\0" * 32, size: int | None = None) -> bytes:
    return struct.pack("<Q", len(header) if size is None else size) + header + data


def info(start: int, end: int, shape: object = (8,), dtype: str = "F32") -> str:
    return json.dumps({"dtype": dtype, "shape": shape, "data_offsets": [start, end]})


def archive() -> bytes:
    path = Path("weights.zip")
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("data.pkl", "x")
    return path.read_bytes()


HEADERS = {
    "a tensor twice": (lambda: content(f'{{"a":{info(0, 16, [4])},"a":{info(0, 32)}}}'.encode()), "'a' stands there"),
    "overlapping": (lambda: content(f'{{"a":{info(0, 32)},"b":{info(16, 32, [4])}}}'.encode()), "invalid offset"),
    "a gap": (lambda: content(f'{{"a":{info(0, 16, [4])}}}'.encode()), "not fully covered"),
    "out of the file": (lambda: content(f'{{"a":{info(0, 4 << 40, [1 << 40])}}}'.encode()), "not fully covered"),
    "backwards": (lambda: content(f'{{"a":{info(32, 0)}}}'.encode()), "invalid offset"),
    "a huge shape": (lambda: content(f'{{"a":{info(0, 32, [2**62, 4])}}}'.encode()), "overflow"),
    "no whole shape": (lambda: content(f'{{"a":{info(0, 32, [8.5])}}}'.encode()), "invalid type"),
    "a header of 2^63 bytes": (lambda: content(b"{}", size=2**63), "more than the 16 MiB"),
    "a header of 17 MiB": (lambda: content(b"{}" + b" " * (17 << 20)), "more than the 16 MiB"),
    "a header beyond the end": (lambda: content(b"{}", size=10**6), "header"),
    "shorter than a length": (lambda: b"1234", "header"),
    "empty": (lambda: b"", "header"),
    "deeply nested": (lambda: content(b'{"a":' * 100_000), "recursion limit"),
    "a name that is no UTF-8": (lambda: content(f'{{"\xff":{info(0, 32)}}}'.encode("latin-1")), "UTF-8"),
    "half of a surrogate pair": (lambda: content(f'{{"\\ud800":{info(0, 32)}}}'.encode()), "hex escape"),
    "NaN": (lambda: content(b'{"a": NaN}'), "expected value"),
    "a pickle": (lambda: pickle.dumps(VALUES, 2), "a pickle, as PyTorch writes"),
    "a pickle of today": (lambda: pickle.dumps(VALUES, 4), "a pickle"),
    "a zip archive": (archive, "a zip archive, as PyTorch writes"),
    "GGUF": (lambda: b"GGUF\x03\0\0\0" + b"\0" * 64, "a GGUF file"),
    "a web page": (lambda: b"<!DOCTYPE html><html>", "a web page"),
}


@pytest.mark.parametrize("kind", HEADERS)
def test_a_header_that_lies_is_refused(tmp_path, kind, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make, words = HEADERS[kind]
    (tmp_path / SINGLE).write_bytes(make())
    refused(tmp_path, rf"model\.safetensors cannot be read as safetensors \(.*{words}.*fetch")


def test_a_tensor_in_two_files_is_refused(tmp_path):
    """Whichever of them the index names."""
    save_file(VALUES, tmp_path / "one.safetensors")
    save_file({**VALUES, "b": VALUES["a"]}, tmp_path / "two.safetensors")
    for of_a in ("one.safetensors", "two.safetensors"):
        write_index(tmp_path, {"a": of_a, "b": "two.safetensors", "c": "one.safetensors"})
        refused(tmp_path, r"two\.safetensors: a is in one\.safetensors too; remove the files of another model")
    (tmp_path / INDEX).write_text('{"weight_map": {"a": "one.safetensors", "a": "two.safetensors"}}')
    refused(tmp_path, r"index\.json: this is no index .*'a' stands there twice")


def test_two_tensors_that_differ_in_their_prefix_alone_are_refused(tmp_path):
    """Without the check the second one would be taken."""
    (tmp_path / SINGLE).write_bytes(save({"model.norm.weight": VALUES["a"], "norm.weight": VALUES["a"]}))
    with pytest.raises(UserError, match=r"norm\.weight and model\.norm\.weight are the same tensor|same tensor of a"):
        language_tensors(tmp_path)


@pytest.mark.parametrize("weight_map", [{}, [], "x", {"a": 3}, {"a": ["x"]}, {"a": None}])
def test_an_index_of_something_else_is_refused(tmp_path, weight_map):
    refused(write_index(tmp_path, weight_map), r"index\.json: this is no index of safetensors files")


def test_one_file_beside_an_index_that_does_not_name_it_is_refused(tmp_path):
    """Other programs read the one file: two programs would load two models."""
    save_file(VALUES, tmp_path / "one.safetensors")
    save_file({"a": VALUES["a"] + 1}, tmp_path / SINGLE)
    refused(write_index(tmp_path, {"a": "one.safetensors"}), "holds model.safetensors and, in .*, the names of other")
    (tmp_path / SINGLE).unlink()
    assert set(stored_tensors(tmp_path)) == {"a"}


def test_more_tensors_or_files_than_any_model_has_are_refused(tmp_path, monkeypatch):
    from sml_jax.models.hf import safetensors_io

    refused(write_index(tmp_path, {str(i): f"{i}.safetensors" for i in range(5000)}), "it names 5,000 files, more than")
    # Links to one file without a tensor, whose header is long.
    monkeypatch.setattr(safetensors_io, "_MAX_HEADER_BYTES", 10_000)
    long_header = '{"__metadata__": {"a": "' + "x" * 1000 + '"}}'
    (tmp_path / "one").write_bytes(content(long_header.encode(), b""))
    for number in range(20):
        (tmp_path / f"{number}.safetensors").symlink_to(tmp_path / "one")
    refused(write_index(tmp_path, {str(i): f"{i}.safetensors" for i in range(20)}), "the headers have more than 0 MiB")
    (tmp_path / INDEX).unlink()
    save_file({str(i): VALUES["a"] for i in range(20)}, tmp_path / SINGLE)
    assert len(stored_tensors(tmp_path)) == 20
    monkeypatch.setattr(safetensors_io, "_MAX_TENSORS", 19)
    refused(tmp_path, "the folder has more than 19 tensors, as no supported model has")
