"""A folder of arrays that does not describe them as Orbax does is refused before Orbax reads it."""

import json
import os
import shutil
from pathlib import Path

import jax.numpy as jnp
import orbax.checkpoint as ocp
import pytest
import tensorstore

from sml_jax.common.errors import UserError
from sml_jax.models.stored_arrays import check_stored_arrays


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("arrays") / "params"
    arrays = {"kernel": jnp.zeros((6, 4)), "scale": jnp.ones(3, jnp.bfloat16), "step": jnp.int32(7)}
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(folder, arrays)
    return folder


@pytest.fixture
def folder(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "params"))


def described(folder: Path, text: bytes | None = None, **values: object) -> None:
    """Says something else of the array `kernel`."""
    base = {"driver": "file", "path": f"{folder}/"}
    store = tensorstore.KvStore.open({"driver": "ocdbt", "base": base}).result()
    description = json.loads(store.read("kernel/.zarray").result().value)
    store.write("kernel/.zarray", text or json.dumps({**description, **values}).encode()).result()


def test_what_orbax_wrote_is_read(folder: Path) -> None:
    check_stored_arrays(folder)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"chunks": [2**40, 2**20]}, "the chunks of kernel are"),
        ({"chunks": [0, 4]}, "no sizes of one array"),
        ({"chunks": [-1, 4]}, "no sizes of one array"),
        ({"chunks": [6, 4, 1]}, "no sizes of one array"),
        ({"chunks": [True, 4]}, "no sizes of one array"),
        ({"chunks": [1, 1]}, "1 of its 24 chunks"),
        ({"shape": [2**62, 4]}, "1 of its .* chunks"),
        ({"dtype": "|S2147483647"}, "dtype of kernel"),
        ({"dtype": [["a", "<f4", [2**30, 2**30]]]}, "dtype of kernel"),
        ({"compressor": {"id": "bz2", "level": 1}}, "compressor of kernel"),
        ({"compressor": None}, "compressor of kernel"),
        ({"filters": [{"id": "delta"}]}, "filters of kernel"),
        ({"fill_value": [1, 2]}, "fill_value of kernel"),
        ({"zarr_format": 3}, "zarr_format of kernel"),
        ({"order": "F"}, "order of kernel"),
        ({"text": b'{"a":' * 100_000}, "has 500000 bytes"),
        ({"text": b"[" * 4000}, "nested too deeply|Expecting value"),
        ({"text": b"[]"}, "no JSON object"),
        ({"text": b"\xff\xfe"}, "utf-8"),
    ],
)
def test_another_description_is_refused(folder: Path, values: dict, says: str) -> None:
    described(folder, **values)
    with pytest.raises(ValueError, match=says):
        check_stored_arrays(folder)


def test_other_files_are_refused(folder: Path) -> None:
    (folder / "_METADATA").write_text('{"a":' * 100_000)
    with pytest.raises(ValueError, match="nested too deeply"):
        check_stored_arrays(folder)
    os.truncate(folder / "_METADATA", 1 << 36)
    with pytest.raises(UserError, match="is larger than the 16 MiB"):
        check_stored_arrays(folder)
    (folder / "_METADATA").unlink()
    (folder / "loop").symlink_to("..")
    with pytest.raises(UserError, match="loop is a link to a folder"):
        check_stored_arrays(folder)
    (folder / "loop").unlink()
    (folder / "manifest.ocdbt").write_bytes(b"")
    with pytest.raises(ValueError, match="is empty"):
        check_stored_arrays(folder)
    os.truncate(folder / "manifest.ocdbt", 1 << 36)
    with pytest.raises(UserError, match="is larger than the 16 MiB"):
        check_stored_arrays(folder)
    (folder / "manifest.ocdbt").unlink()
    with pytest.raises(ValueError, match="no list of arrays"):
        check_stored_arrays(folder)
    os.mkfifo(folder / "manifest.ocdbt")
    with pytest.raises(UserError, match="is a FIFO"):
        check_stored_arrays(folder)
