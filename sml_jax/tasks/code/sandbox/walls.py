"""The kinds of walls that may keep a program in on this machine; `protection` tries them."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import shutil
import site
import sys
import sysconfig
from dataclasses import dataclass
from typing import Any

from sml_jax.tasks.code.sandbox import seccomp

SCRATCH = "/scratch"
SCRATCH_BYTES, SCRATCH_FILES = 64 << 20, 4096
_DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random")
_SHARED = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache")
_ZONES = ("/usr/share/zoneinfo", "/etc/localtime")


@dataclass(frozen=True)
class Walls:
    """One kind of sandbox.

    Attributes:
      name: "bubblewrap", "landlock" or "limits".
      covers: the means by which it confines a program, in words.
      request: the argument `walls` of `confine.lock`.
      prefix: the words of the command that are put before Python's when the process is started; () for none.
      weak: whether it consists of resource limits alone.
    """

    name: str
    covers: str
    request: dict[str, Any]
    prefix: tuple[str, ...]
    weak: bool = False


def package_folders() -> list[str]:
    """The folders of installed packages, which programs may import from."""
    return [folder for folder in site.getsitepackages() if os.path.isdir(folder)]


def python_executable() -> str:
    """The path of the Python that runs this process, with the links of a virtual environment resolved."""
    return os.path.realpath(sys.executable)


def readable_paths() -> list[str]:
    """The paths that a program may read: Python itself, installed packages, shared libraries, time zones, devices."""
    base_folders = [os.path.join(sys.base_prefix, "lib"), os.path.join(sys.base_prefix, "lib64")]
    paths = sysconfig.get_paths()
    wanted = [*_SHARED, *base_folders, paths["stdlib"], paths["platstdlib"], *package_folders(), *_ZONES, *_DEVICES]
    return [path for path in dict.fromkeys(wanted) if os.path.exists(path)]


@functools.cache
def landlock_version() -> int:
    """The version (ABI) of landlock, Linux's restriction of access to files, that this kernel has; 0 for none."""
    if not seccomp.is_supported():
        return 0
    return max(0, int(ctypes.CDLL(None, use_errno=True).syscall(444, None, 0, 1)))


@functools.cache
def possible_walls() -> tuple[Walls, ...]:
    """The sandboxes that this machine may offer, strongest first, untried; the last is of resource limits alone."""
    available = []
    bubblewrap = shutil.which("bwrap")
    if seccomp.is_supported():
        request = {
            "seccomp": seccomp.filter_program(),
            "pid": seccomp.PID.to_bytes(4, "little"),
            "landlock": landlock_version(),
            "readable": readable_paths(),
        }
        # Bubblewrap hides what may not be reached; landlock, where there is one, forbids it once more inside.
        if bubblewrap:
            landlock_words = " and landlock" if landlock_version() else ""
            covers = f"namespaces of its own (bubblewrap), a filter of system calls{landlock_words}, resource limits"
            available.append(Walls("bubblewrap", covers, request, _command(bubblewrap)))
        if landlock_version() >= 3:  # before, files could be cut short from outside
            covers = f"landlock {landlock_version()}, a filter of system calls, resource limits"
            available.append(Walls("landlock", covers, request, ()))
    # Always there, and refused unless it is asked for.
    no_walls = {"seccomp": b"", "pid": b"", "landlock": 0, "readable": []}
    covers = "resource limits alone: WEAK, no wall around files, network or processes"
    available.append(Walls("limits", covers, no_walls, (), True))
    return tuple(available)


def _command(bubblewrap: str) -> tuple[str, ...]:
    """bwrap with nothing in it but what `readable_paths` names, and a small file system of its own to write to."""
    command = [bubblewrap, "--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL"]
    command.append("--as-pid-1")  # when the launcher leaves, all is dead, and no zombie is left for others to reap
    # Bind mounts, shortest path first, leaving out what lies in a folder that is mounted already.
    mounted_folders: list[str] = []
    for path in sorted([*readable_paths(), python_executable()], key=len):
        if any(path.startswith(folder + "/") for folder in mounted_folders):
            continue
        if path in _DEVICES:
            command += ["--dev-bind", path, path]
        elif os.path.islink(path) and path in ("/lib", "/lib64"):
            command += ["--symlink", os.readlink(path), path]
        else:
            command += ["--ro-bind", path, path]
            mounted_folders.append(path)
    command += ["--size", str(SCRATCH_BYTES), "--perms", "0700", "--tmpfs", SCRATCH, "--chdir", SCRATCH]
    return (*command, "--remount-ro", "/", "--")


def remove_folder(folder: str) -> None:
    """Removes a folder and all its content, however deeply its folders are nested.

    Inner folders are moved up first, so that no path becomes too long. After an error of the operating system it gives
    up and returns; it raises none.
    """
    changes = 0  # also the source of unused names
    with contextlib.suppress(OSError):
        os.chmod(folder, 0o700)
        while True:
            entries = _entries(folder)
            if not entries:
                break
            changes_before = changes
            for path, is_folder in entries:
                if not is_folder:
                    os.unlink(path)
                    changes += 1
                    continue
                # A program may have closed its folders. What lies inside comes up, so that no path grows too long.
                os.chmod(path, 0o700)
                for inner_path, is_inner_folder in _entries(path):
                    changes += 1
                    if is_inner_folder:
                        os.rename(inner_path, os.path.join(folder, f".moved{changes}"))
                    else:
                        os.unlink(inner_path)
                os.rmdir(path)
                changes += 1
            if changes == changes_before:
                break
        os.rmdir(folder)


def _entries(folder: str) -> list[tuple[str, bool]]:
    """(path, whether it is a folder) of what a folder holds."""
    with os.scandir(folder) as entries:
        return [(entry.path, entry.is_dir(follow_symlinks=False)) for entry in entries]
