"""Opening files of a model that somebody else made: never waiting for a FIFO, never reading more than is sensible."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sml_jax.common.errors import UserError
from sml_jax.common.json_text import parse_json

# Bytes of a JSON file that only describes something. The largest published index of weights has some 4 MB; Python needs
# up to forty times a text's size for what it says.
MAX_DESCRIPTION_BYTES = 16 << 20

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def is_present(path: Path) -> bool:
    """Whether there is a file at `path`; a link to a file is one.

    Raises:
      UserError: there is something else, such as a FIFO, which a program that opens it would wait for, or a link that
        leads nowhere.
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        if path.is_symlink():
            raise UserError(
                f"{path} is a link that leads nowhere ({os.readlink(path)}): fetch the folder again"
            ) from None
        return False
    except (OSError, ValueError) as error:
        # Among them: a circle of links, a name that no file can have.
        raise UserError(f"{path} cannot be read ({error}): fetch the folder again") from error
    if stat.S_ISREG(mode):
        return True
    kind = next((name for is_kind, name in _KINDS if is_kind(mode)), "no file")
    raise UserError(f"{path} is {kind}, but a model has a file there: put the file in its place, or remove it")


def check_inside(folder: Path, path: Path) -> None:
    """Checks that a file of a folder does not lie somewhere else.

    A link may lead to another file in the folder, or into a cache of Hugging Face (`models--*/blobs/`), where all files
    of a downloaded folder lie.

    Args:
      folder: it may be a link itself.
      path: a file in it or below it, which exists.

    Raises:
      UserError: the path, or a folder on its way, is a link to another place.
    """
    target = path.resolve()
    in_cache = target.parent.name == "blobs" and target.parent.parent.name.startswith("models--")
    if not in_cache and not target.is_relative_to(folder.resolve()):
        raise UserError(
            f"{path} is a link to {target}, outside of the folder: copy the file there, or give the folder that it "
            "lies in"
        )


def read_bytes(path: Path, max_bytes: int = MAX_DESCRIPTION_BYTES) -> bytes:
    """The content of a file.

    Args:
      path: the file.
      max_bytes: its largest size. A file of holes is as large as it says, and a link may lead to any file.

    Raises:
      UserError: it is missing, cannot be read, is no file, or is larger.
    """
    if not is_present(path):
        raise UserError(f"{path} is missing; fetch the folder again")
    try:
        # O_NONBLOCK, in case it has become a FIFO in the meantime.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            # No more than the file says to have, since the whole buffer is made before it is filled.
            content = file.read(min(os.fstat(file.fileno()).st_size, max_bytes) + 1)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): make it readable, or fetch it again") from error
    if len(content) > max_bytes:
        raise UserError(f"{path} is larger than the {max_bytes >> 20} MiB that such a file may have; fetch it again")
    return content


def read_json(path: Path, max_bytes: int = MAX_DESCRIPTION_BYTES) -> Any:
    """The JSON value in a file.

    Args:
      path: the file.
      max_bytes: its largest size.

    Raises:
      UserError: see `read_bytes`.
      ValueError: it is no UTF-8, no JSON, nested too deeply, or gives a name two values; the text says which.
    """
    return parse_json(read_bytes(path, max_bytes).decode("utf-8"), unique_names=True)


def read_json_object(path: Path, cure: str = "fetch it again") -> Mapping[str, Any]:
    """The JSON object in a file.

    Args:
      path: the file.
      cure: what an error says to do about a file that holds something else.

    Raises:
      UserError: see `read_json`.
    """
    try:
        values = read_json(path)
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error}); {cure}") from error
    if not isinstance(values, dict):
        raise UserError(f"{path}: it must hold a JSON object; {cure}")
    return values
