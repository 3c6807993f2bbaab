"""Paths that a user gives."""

from __future__ import annotations

import os
from pathlib import Path

from sml_jax.common.errors import UserError


def user_path(path: str | os.PathLike[str]) -> Path:
    """The path that a user gave, with a leading `~` replaced by the home folder.

    Args:
      path: a file or folder, which need not exist. `~name` of an unknown user is left as it is.

    Raises:
      UserError: no file can have such a path (a name is too long or holds a zero byte), or a folder on the way may not
        be read.
    """
    expanded = Path(os.path.expanduser(path))
    # Asking the system now gives one clear error here in place of many later.
    try:
        expanded.stat()
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, ValueError) as error:
        shown_path = str(path) if len(str(path)) < 200 else f"{str(path)[:200]}..."
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"cannot use the path {shown_path!r} ({reason}): give another one") from error
    return expanded
