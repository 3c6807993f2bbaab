"""Folders appear whole or not at all."""

from pathlib import Path

import pytest

from sml_jax.common.errors import UserError
from sml_jax.models.hf.new_folder import folder_at_once


def test_it_appears_once_all_is_written(tmp_path: Path) -> None:
    target = tmp_path / "new" / "model"
    with folder_at_once(target) as folder:
        (folder / "a").write_text("a")
        assert not target.exists()
    assert (target / "a").read_text() == "a" and [file.name for file in target.parent.iterdir()] == ["model"]


def test_an_error_leaves_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "model"
    target.mkdir()
    (target / "old").write_text("old")
    with pytest.raises(KeyError), folder_at_once(target, overwrite=True) as folder:
        (folder / "new").write_text("new")
        raise KeyError
    assert [file.name for file in tmp_path.rglob("*")] == ["model", "old"]


def test_overwriting_replaces_all_of_it(tmp_path: Path) -> None:
    target = tmp_path / "model"
    target.mkdir()
    (target / "old").write_text("old")
    with pytest.raises(UserError, match=r"is not empty: name another folder, or give --overwrite=true"):
        folder_at_once(target).__enter__()
    with folder_at_once(target, overwrite=True) as folder:
        (folder / "new").write_text("new")
    assert [file.name for file in tmp_path.rglob("*")] == ["model", "new"]


def test_places_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is a file"):
        folder_at_once(tmp_path / "file").__enter__()
    with pytest.raises(UserError, match="cannot write to"):
        folder_at_once(tmp_path / "file" / "model").__enter__()
    (tmp_path / "empty").mkdir()
    with folder_at_once(tmp_path / "empty"):
        pass
    assert (tmp_path / "empty").is_dir()
