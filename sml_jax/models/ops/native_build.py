"""Builds the C++ of `native/` with the machine's own compiler, for its own instructions, and hands it to XLA."""

from __future__ import annotations

import ctypes
import os
import shlex
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import jax

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
    """Compiles and loads the C++ code and registers its functions with XLA under the names above.

    The first call in a process takes seconds, later ones do nothing. No file is left on disk.

    Raises:
      UserError: there is no C++ compiler, or it failed.
    """
    # XLA refuses a second function of the same name, and a program may trace in several threads.
    with _loading:
        _load_once()


@cache
def _load_once() -> None:
    """Does `load_native` for the first call."""
    compiler = shlex.split(os.environ.get("CXX", "")) or [_find_compiler()]
    with tempfile.TemporaryDirectory(prefix="sml-jax-native-") as folder:
        library_path = Path(folder) / "native.so"
        objects = {SOURCES / name: Path(folder, name).with_suffix(".o") for name in _SOURCE_NAMES}
        # Files are compiled side by side, and linked to one library: all of its functions share one crew of threads.
        include = ("-isystem", jax.ffi.include_dir())
        commands = [(*compiler, *_FLAGS, *include, "-c", str(source), "-o", str(to)) for source, to in objects.items()]
        with ThreadPoolExecutor(len(commands)) as pool:
            list(pool.map(_run_compiler, commands))
        _run_compiler((*compiler, "-shared", *map(str, objects.values()), "-o", str(library_path)))
        # The library stays mapped after its file is gone.
        library = ctypes.CDLL(str(library_path))
    handlers = {
        ATTEND: library.SmlJaxAttend,
        MULTIPLY: library.SmlJaxMultiply,
        MULTIPLY_INT8: library.SmlJaxMultiplyInt8,
    }
    for name, handler in handlers.items():
        jax.ffi.register_ffi_target(name, jax.ffi.pycapsule(handler), platform="cpu")


def _run_compiler(command: Sequence[str]) -> None:
    """Runs the compiler; raises UserError if it cannot be run, or fails."""
    try:
        compilation = subprocess.run(command, capture_output=True, text=True)
    except OSError as error:
        raise UserError(f'attention "native": cannot run {command[0]!r} ({error.strerror}): {_CURE}') from error
    if compilation.returncode:
        compiler_output = "\n".join(compilation.stderr.splitlines()[:20])
        raise UserError(f'attention "native": {command[0]} failed: {_CURE}\n{shlex.join(command)}\n{compiler_output}')


def _find_compiler() -> str:
    """The first C++ compiler on the PATH."""
    compiler = next(filter(None, map(shutil.which, ("c++", "g++", "clang++"))), None)
    if compiler is None:
        raise UserError(f'attention "native" needs a C++ compiler, and there is none here: {_CURE}')
    return compiler
