"""Builds the C++ of `native/` with the machine's own compiler, for its own instructions, and hands it to XLA."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import hashlib
import os
import shlex
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path

import jax

from sml_jax.common.compilation_cache import cpu_kind, local_folder
from sml_jax.common.errors import UserError

# Names under which XLA finds the functions (`jax.ffi.ffi_call`).
ATTEND, MULTIPLY, MULTIPLY_INT8 = "sml_jax_attend", "sml_jax_multiply", "sml_jax_multiply_int8"

SOURCES = Path(__file__).with_name("native")
_SOURCE_NAMES = ("attend.cc", "multiply.cc", "multiply_int8.cc")
_CURE = 'install one (Debian: apt install g++), name one in CXX, or set DecoderConfig.attention = "auto"'
# No -ffast-math: g++ would link code that changes how the whole process rounds tiny numbers.
_FLAGS = (
    *("-std=c++17", "-O3", "-fPIC", "-march=native"),
    *("-fno-math-errno", "-fno-trapping-math", "-fno-signed-zeros", "-fassociative-math"),
)


_loading = threading.Lock()


def load_native() -> None:
    """Loads the C++ code, compiled if need be, and registers its functions with XLA under the names above.

    Compiling takes seconds. Where JAX keeps executables in a folder of this machine (`keep_executables`), the library
    is kept there too, and the next process loads it. Later calls in a process do nothing.

    Raises:
      UserError: there is no C++ compiler, or it failed.
    """
    # XLA refuses a second function of the same name, and a program may trace in several threads.
    with _loading:
        _load_once()


@cache
def _load_once() -> None:
    """Does `load_native` for the first call."""
    library = _open_library()
    handlers = {
        ATTEND: library.SmlJaxAttend,
        MULTIPLY: library.SmlJaxMultiply,
        MULTIPLY_INT8: library.SmlJaxMultiplyInt8,
    }
    for name, handler in handlers.items():
        jax.ffi.register_ffi_target(name, jax.ffi.pycapsule(handler), platform="cpu")


def _open_library() -> ctypes.CDLL:
    """The library that was kept for these sources, this compiler and this CPU; where there is none, a new one.

    `CXX` names the compiler, and the options of `CXXFLAGS` come after this module's own.
    """
    compiler = shlex.split(os.environ.get("CXX", "")) or [_find_compiler()]
    flags = [*_FLAGS, *shlex.split(os.environ.get("CXXFLAGS", ""))]
    folder = local_folder()
    if folder is None:
        return _build([*compiler, *flags])
    kept_as = f"native-{_fingerprint(compiler, flags)}"
    if library := _open_kept(folder, kept_as):
        return library
    # Of processes that start together, one builds, and the others wait for what it keeps.
    with _locked(folder):
        return _open_kept(folder, kept_as) or _build([*compiler, *flags], keep=partial(_keep, folder, kept_as))


def _build(compiler: Sequence[str], keep: Callable[[Path], None] | None = None) -> ctypes.CDLL:
    """Compiles the sources, hands the library's path to `keep`, and opens it; raises UserError if that fails."""
    with tempfile.TemporaryDirectory(prefix="sml-jax-native-") as build_folder:
        library_path = Path(build_folder) / "native.so"
        _compile(compiler, library_path)
        if keep:
            keep(library_path)
        # The library stays mapped after its file is gone.
        return ctypes.CDLL(str(library_path))


def _compile(compiler: Sequence[str], library_path: Path) -> None:
    """Compiles the sources into one library; raises UserError if the compiler cannot be run, or fails."""
    objects = {SOURCES / name: library_path.with_name(name).with_suffix(".o") for name in _SOURCE_NAMES}
    # Files are compiled side by side, and linked to one library: all of its functions share one crew of threads.
    include = ("-isystem", jax.ffi.include_dir())
    commands = [(*compiler, *include, "-c", str(source), "-o", str(to)) for source, to in objects.items()]
    with ThreadPoolExecutor(len(commands)) as pool:
        list(pool.map(_run_compiler, commands))
    _run_compiler((*compiler, "-shared", *map(str, objects.values()), "-o", str(library_path)))


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keeps other processes out of the same lines meanwhile. Where the disk knows no locks, nobody waits."""
    with contextlib.ExitStack() as held:
        with contextlib.suppress(OSError):
            descriptor = os.open(folder, os.O_RDONLY)
            held.callback(os.close, descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield


def _fingerprint(compiler: Sequence[str], flags: Sequence[str]) -> str:
    """A hash of all that the library is made from: sources, flags, compiler, JAX's headers, and the CPU."""
    made_from = [*flags, *compiler, _run_compiler((*compiler, "--version")), version("jaxlib"), cpu_kind()]
    digest = hashlib.sha256(repr(made_from).encode())
    for path in sorted(SOURCES.iterdir()):
        digest.update(repr((path.name, path.read_bytes())).encode())
    return digest.hexdigest()[:16]


def _open_kept(folder: Path, kept_as: str) -> ctypes.CDLL | None:
    """The library that was kept under this name; None if there is none, or none that is whole and can be loaded."""
    for path in folder.glob(f"{kept_as}-*.so"):
        with contextlib.suppress(OSError):
            # The system would end the process, with no error to catch, if it mapped a file that was cut short.
            if path.name == _name_with_digest(kept_as, path):
                return ctypes.CDLL(str(path))
    return None


def _keep(folder: Path, kept_as: str, library_path: Path) -> None:
    """Copies the library into the folder for other processes. A folder that cannot be written is no error."""
    # Several processes may do this at once, so each writes a file of its own and then gives it its name.
    with contextlib.suppress(OSError), tempfile.TemporaryDirectory(dir=folder, prefix="native-") as own_folder:
        copy = shutil.copyfile(library_path, Path(own_folder) / "native.so")
        os.replace(copy, folder / _name_with_digest(kept_as, library_path))


def _name_with_digest(kept_as: str, library_path: Path) -> str:
    """The name under which a library is kept, which says what its content must be."""
    return f"{kept_as}-{hashlib.sha256(library_path.read_bytes()).hexdigest()[:16]}.so"


def _run_compiler(command: Sequence[str]) -> str:
    """What the compiler writes to stdout; raises UserError if it cannot be run, or fails."""
    try:
        compilation = subprocess.run(command, capture_output=True, text=True)
    except OSError as error:
        raise UserError(f'attention "native": cannot run {command[0]!r} ({error.strerror}): {_CURE}') from error
    if compilation.returncode:
        compiler_output = "\n".join(compilation.stderr.splitlines()[:20])
        raise UserError(f'attention "native": {command[0]} failed: {_CURE}\n{shlex.join(command)}\n{compiler_output}')
    return compilation.stdout


def _find_compiler() -> str:
    """The first C++ compiler on the PATH."""
    compiler = next(filter(None, map(shutil.which, ("c++", "g++", "clang++"))), None)
    if compiler is None:
        raise UserError(f'attention "native" needs a C++ compiler, and there is none here: {_CURE}')
    return compiler
