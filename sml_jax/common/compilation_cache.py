"""Where programs keep what was compiled, so that their next start reads it in place of compiling it anew.

JAX does the keeping, see https://docs.jax.dev/en/latest/persistent_compilation_cache.html. An entry's name is a hash of
the program, of the versions of JAX and XLA, and of their flags: what was compiled for something else is never read. A
process that finds an entry damaged compiles, with a warning. Of several processes of one run the first one writes.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import jax

MAX_BYTES = 5_000_000_000
"""How much a program leaves in the default folder when it starts."""
MIN_COMPILE_SECONDS = 0.1
"""What took less time to compile is not kept: reading it back would save next to nothing."""

_CPU_FIELDS = ("vendor_id", "cpu family", "model", "stepping", "flags", "Features", "CPU ")


def keep_executables() -> None:
    """Makes JAX keep executables on disk for the programs that come after this one.

    They lie in `default_folder()`, or where JAX_COMPILATION_CACHE_DIR says; and nowhere if JAX_ENABLE_COMPILATION_CACHE
    is false. A folder that cannot be written is one line on stderr and no error. Programs call this before anything is
    compiled. The library never does: whoever imports it decides.
    """
    settings = jax.config.values
    named_folder, max_bytes = settings["jax_compilation_cache_dir"], settings["jax_compilation_cache_max_size"]
    # An empty name says that there is no folder, and a size of 0 that nothing may lie in it.
    if not settings["jax_enable_compilation_cache"] or named_folder == "" or max_bytes == 0:
        return
    if named_folder is None or "://" not in named_folder:
        try:
            folder = default_folder() if named_folder is None else Path(named_folder)
            _make_writable(folder)
        except (OSError, RuntimeError) as error:
            print(
                f"warning: compiled executables are not kept, so every start compiles them anew ({error}): set "
                "JAX_COMPILATION_CACHE_DIR to a folder that can be written, or JAX_ENABLE_COMPILATION_CACHE=false",
                file=sys.stderr,
            )
            jax.config.update("jax_enable_compilation_cache", False)
            return
        if named_folder is None:
            # JAX's own limit needs a lock file and a time beside each entry, and a process that is killed between
            # writing the two leaves a folder to which nothing can be added.
            jax.config.update("jax_compilation_cache_max_size", -1)
            _trim(folder, MAX_BYTES if max_bytes < 0 else max_bytes)
            jax.config.update("jax_compilation_cache_dir", str(folder))
    # What the user set stays.
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", MIN_COMPILE_SECONDS)


def default_folder() -> Path:
    """The folder for executables, in the user's cache folder: one for each kind of CPU.

    A home that several machines share may be of CPUs that differ, and machine code for one of them need not run on the
    others. JAX's name of an entry does not tell them apart.

    Raises:
      RuntimeError: the user has no home folder.
    """
    # The standard says that a path which is not absolute is to be ignored (XDG Base Directory Specification).
    named = Path(os.environ.get("XDG_CACHE_HOME", ""))
    caches = named if named.is_absolute() else Path.home() / ".cache"
    return caches / "sml-jax" / "compiled" / cpu_kind()


def local_folder() -> Path | None:
    """The folder of this machine in which JAX keeps executables; None if it keeps none, or elsewhere."""
    settings = jax.config.values
    folder = settings["jax_compilation_cache_dir"]
    is_local = bool(folder) and "://" not in folder
    return Path(folder) if is_local and settings["jax_enable_compilation_cache"] else None


def executables_read() -> int:
    """How many executables this process has read from a compilation cache since the first call of this function."""
    return len(_reads())


@cache
def _reads() -> list[str]:
    """An element for each executable that was read. The first call asks JAX to report them."""
    reads: list[str] = []

    def listen(event: str, **_: Any) -> None:
        if event == "/jax/compilation_cache/cache_hits":
            reads.append(event)

    jax.monitoring.register_event_listener(listen)
    return reads


def cpu_kind() -> str:
    """The architecture of this machine's CPU and a hash of what it can do."""
    try:
        first_core = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split("\n\n")[0]
    except OSError:  # no Linux
        first_core = platform.processor()
    lines = [line for line in first_core.splitlines() if line.startswith(_CPU_FIELDS)]
    digest = hashlib.sha256("\n".join(lines or [first_core]).encode()).hexdigest()
    return f"{platform.machine()}-{digest[:12]}"


def _make_writable(folder: Path) -> None:
    """Makes the folder where it is missing, for its owner alone: who may write to it could run code in a program.

    Raises:
      OSError: it cannot be made, or no file can be written to it.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    # The permissions do not tell of a disk that is full or read-only.
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(bytes(4096))


def _trim(folder: Path, max_bytes: int) -> None:
    """Removes the files that were not used for longest until the others take no more than `max_bytes`.

    Other processes may write and remove files in the meantime.
    """
    files: list[tuple[float, int, Path]] = []
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            status = path.lstat()
            if path.is_file():
                # Many systems note the time of a reading only once a day.
                files.append((max(status.st_atime, status.st_mtime), status.st_size, path))
    excess = sum(size for _, size, _ in files) - max_bytes
    for _, size, path in sorted(files):
        if excess <= 0:
            return
        with contextlib.suppress(OSError):
            path.unlink()
        excess -= size
