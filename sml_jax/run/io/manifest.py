"""Manifests: the size and SHA-256 of every file of a folder, so that damage is found before it is read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

MANIFEST = "manifest.json"
# Threads that read files: hashing releases the interpreter lock, and network disks are slow one file at a time.
_READERS = 8


def digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_manifest(folder: Path) -> None:
    """Writes `manifest.json` into a folder, for `find_damage` to check.

    It holds [size in bytes, SHA-256] of every file in the folder's subfolders, by path relative to the folder. Files
    directly in the folder are left out.
    """
    # Files directly in the folder are left out: Orbax writes its notes there after the manifest.
    files = sorted(path for child in folder.iterdir() if child.is_dir() for path in child.rglob("*") if path.is_file())
    with ThreadPoolExecutor(_READERS) as pool:
        files_and_digests = zip(files, pool.map(digest, files), strict=True)
        manifest = {str(path.relative_to(folder)): [path.stat().st_size, sha256] for path, sha256 in files_and_digests}
    (folder / MANIFEST).write_text(json.dumps(manifest))


def find_damage(folder: Path) -> str:
    """Checks a folder against the manifest that `write_manifest` wrote.

    Returns:
      In words the first thing that is wrong, such as a file that is missing; "" if all files are unchanged.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        expected = {str(name): (int(size), str(sha256)) for name, (size, sha256) in manifest.items()}
    except FileNotFoundError:
        return f"{MANIFEST} is missing"
    except (OSError, ValueError, TypeError, AttributeError):
        return f"{MANIFEST} cannot be read"
    # Sizes first: they tell most damage without reading the files.
    for name, (size, _) in expected.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != size:
            return f"{name} has {path.stat().st_size} bytes, not {size}"
    return find_change(folder, {name: sha256 for name, (_, sha256) in expected.items()})


def find_change(folder: Path, digests: Mapping[str, str]) -> str:
    """Checks files against their SHA-256.

    Args:
      folder: what the names are relative to.
      digests: the expected SHA-256 of each file, by name.

    Returns:
      In words the first file that has another content or cannot be read; "" if there is none.
    """

    def trouble(item: tuple[str, str]) -> str:
        name, expected_sha256 = item
        try:
            return "" if digest(folder / name) == expected_sha256 else f"{name} has changed"
        except FileNotFoundError:
            return f"{name} is missing"
        except OSError as error:
            return f"{name} cannot be read ({error.strerror})"

    with ThreadPoolExecutor(_READERS) as pool:
        return next(filter(None, pool.map(trouble, digests.items())), "")
