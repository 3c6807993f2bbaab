"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A context manager that writes a file under another name and renames it to `path` once all of it is safe on disk.

    A reader of `path` sees the old content or the new, never a part, even if the machine fails in between. After an
    error the new file is removed, and `path` has its old content.

    Args:
      path: the file to create or to replace; its folder must exist.

    Yields:
      The new file, open for writing bytes.

    Raises:
      OSError: the file could not be written.
    """
    temporary_path = path.with_name(path.name + ".tmp")
    try:
        with temporary_path.open("wb") as file:
            yield file
            file.flush()
            # Without this the new name could reach the disk before the content does.
            os.fsync(file.fileno())
        os.replace(temporary_path, path)
    except BaseException:
        temporary_path.unlink(missing_ok=True)
        raise
