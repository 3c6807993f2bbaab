"""Paths that a person wrote."""

from __future__ import annotations

import os
from pathlib import Path

from sml_jax.common.errors import UserError


def user_path(path: str | os.PathLike[str]) -> Path:
    """The path with a leading `~` replaced by the home folder; `~name` of an unknown user stays as it is.

    Args:
      path: need not exist.

    Raises:
      UserError: nothing can be there, as the name is too long or holds a zero byte, or one may not look.
    """
    found = Path(os.path.expanduser(path))
    try:
        found.stat()
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, ValueError) as error:
        shown = str(path) if len(str(path)) < 200 else f"{str(path)[:200]}..."
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"cannot use the path {shown!r} ({reason}): give another one") from error
    return found
