"""Folders that appear whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sml_jax.common.errors import UserError


def check_free(path: str | Path, *, overwrite: bool) -> None:
    """Raises a UserError if `path` cannot take a new folder: a file, a folder with something in it, no permission."""
    folder = Path(path).absolute()
    above = next(parent for parent in folder.parents if parent.exists())
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        why = "no permission" if above.is_dir() else "it is a file"
        raise UserError(f"cannot write to {above} ({why}): name a folder you may write to")
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file: name a folder that is not there yet")
    if folder.is_dir() and any(folder.iterdir()) and not overwrite:
        raise UserError(f"{folder} is not empty: name another folder, or give --overwrite=true (overwrite=True)")


@contextmanager
def whole_folder(path: str | Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Gives a folder to write to, which takes its name `path` once all is written.

    Until then it stands beside `path` under another name; after an error it is removed and `path` is as it was.

    Args:
      path: the folder to make; its parents are made too.
      overwrite: whether a folder with something in it may be replaced.

    Raises:
      UserError: `path` is taken, or cannot be written to.
    """
    folder = Path(path).absolute()
    check_free(folder, overwrite=overwrite)
    # One process writes a folder; its number tells what a run that was killed left behind.
    beside = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    old = folder.with_name(f".{folder.name}.{os.getpid()}.old")
    try:
        beside.mkdir(parents=True)
    except OSError as error:
        raise UserError(
            f"cannot write to {folder.parent} ({error.strerror}): name a folder you may write to"
        ) from error
    try:
        yield beside
        if folder.exists():
            folder.rename(old)
        beside.rename(folder)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        if old.exists() and not folder.exists():
            old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)
