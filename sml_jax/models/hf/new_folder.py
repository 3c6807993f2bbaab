"""Writing a folder that appears complete or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sml_jax.common.errors import UserError


def check_free(path: str | Path, *, overwrite: bool) -> None:
    """Checks that a new folder can be made at `path`.

    Args:
      path: the folder to make.
      overwrite: whether a folder with content may be replaced.

    Raises:
      UserError: `path` is a file or a folder with content, or there is no permission to write.
    """
    folder = Path(path).absolute()
    _check_parent(folder)
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file: name a folder that is not there yet")
    if folder.is_dir() and any(folder.iterdir()) and not overwrite:
        raise UserError(f"{folder} is not empty: name another folder, or give --overwrite=true (overwrite=True)")


def check_free_file(path: str | Path, *, overwrite: bool) -> None:
    """Checks that a new file can be made at `path`.

    Args:
      path: the file to make.
      overwrite: whether a file may be replaced.

    Raises:
      UserError: `path` is a folder, or a file that may not be replaced, or there is no permission to write.
    """
    file = Path(path).absolute()
    if file.exists() and not (overwrite and file.is_file()):
        cure = "name another" if file.is_dir() else "name another, or give --overwrite=true (overwrite=True)"
        raise UserError(f"{file} is there already: {cure}")
    _check_parent(file)


def _check_parent(path: Path) -> None:
    """Raises UserError unless something can be made in the nearest parent of a path that exists."""
    # The nearest parent that exists: the others are made.
    parent = next(parent for parent in path.parents if parent.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        obstacle = "no permission" if parent.is_dir() else "it is a file"
        raise UserError(f"cannot write to {parent} ({obstacle}): name a folder you may write to")


@contextmanager
def folder_at_once(path: str | Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Context manager for writing a folder that appears complete or not at all.

    Its value is a temporary folder beside `path`, to write the files to. At the end of the `with` block it is renamed
    to `path`. After an error it is removed, and `path` is as it was before.

    Args:
      path: the folder to make; its parents are made too.
      overwrite: whether a folder with content may be replaced.

    Raises:
      UserError: see `check_free`.
    """
    folder = Path(path).absolute()
    check_free(folder, overwrite=overwrite)
    # The process id tells which run left a temporary folder behind, should it be killed.
    partial_folder = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    old_folder = folder.with_name(f".{folder.name}.{os.getpid()}.old")
    try:
        partial_folder.mkdir(parents=True)
    except OSError as error:
        raise UserError(
            f"cannot write to {folder.parent} ({error.strerror}): name a folder you may write to"
        ) from error
    try:
        yield partial_folder
        # Two renames: there is no moment at which a half-written folder has the final name.
        if folder.exists():
            folder.rename(old_folder)
        partial_folder.rename(folder)
    except BaseException:
        # Undo everything, also after Ctrl-C.
        shutil.rmtree(partial_folder, ignore_errors=True)
        if old_folder.exists() and not folder.exists():
            old_folder.rename(folder)
        raise
    shutil.rmtree(old_folder, ignore_errors=True)
