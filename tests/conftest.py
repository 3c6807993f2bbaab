"""Set-up that must come before JAX and the package are imported, and the fixtures that every test may use."""

import atexit
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

# Eight devices; and machine code made in a hurry, for most of the tests' time goes into compiling tiny models. What XLA
# does to a program before that, such as sharding it and sharing memory, stays as it is.
_FLAGS = [
    "--xla_force_host_platform_device_count=8",
    "--xla_backend_optimization_level=0",
    "--xla_llvm_disable_expensive_passes=true",
]
# The older way to make code of fused loops takes a quarter of the time; later versions no longer have it.
if version("jaxlib").startswith("0.10."):
    _FLAGS.append("--xla_cpu_use_fusion_emitters=false")
for _flag in _FLAGS:
    if _flag.split("=")[0] not in os.environ.get("XLA_FLAGS", ""):
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_flag}".strip()
# The C++ is built in two thirds of the time.
os.environ.setdefault("CXXFLAGS", "-O1 -ftree-vectorize")
# Most tests compile the same programs of the same tiny models. Workers, and the processes that tests start, inherit the
# variable, so each program is compiled once in a run.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="sml-jax-compiled-")
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
# A program's text without the call stack of each of its operations is made in less time.
os.environ.setdefault("JAX_INCLUDE_FULL_TRACEBACKS_IN_LOCATIONS", "0")
# Workers, and the programs that tests start, read the bytecode that the first of them wrote.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# Another platform is for tests that say so: they skip elsewhere.
os.environ["JAX_PLATFORMS"] = os.environ.get("SML_JAX_TEST_PLATFORM", "cpu")

import gc  # noqa: E402

import hypothesis  # noqa: E402
import jaxtyping  # noqa: E402
import pytest  # noqa: E402

# Every annotated shape of the package's functions, methods and classes is checked at run time. These rooms have them
# all. The plain types of the others are left to mypy, since their checks are slow to make and to run.
jaxtyping.install_import_hook(["sml_jax.engine", "sml_jax.learn", "sml_jax.models"], "beartype.beartype")


def _check_outer(*args: Any, **options: Any) -> Any:
    """Leaves functions within functions as they are: each call of the outer one would make a check of them anew."""
    check = _check_all(*args, **options)
    if args:
        return check
    return lambda annotated: annotated if "<locals>" in getattr(annotated, "__qualname__", "") else check(annotated)


# The import hook puts this name of jaxtyping's over every function.
_check_all, jaxtyping.jaxtyped = jaxtyping.jaxtyped, _check_outer

# A first call compiles, so no deadline for an example. `--hypothesis-profile=thorough` tries more examples.
hypothesis.settings.register_profile("sml_jax", deadline=None, max_examples=25, derandomize="CI" in os.environ)
hypothesis.settings.register_profile("thorough", deadline=None, max_examples=250)
hypothesis.settings.load_profile("sml_jax")


def pytest_collection_finish() -> None:
    """Spares the garbage collector the modules, and lets it come less often: tracing makes many small objects."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


@pytest.fixture(scope="module", autouse=True)
def few_executables() -> Iterator[None]:
    """Lets go of a worker's executables before they reach the number of memory maps that Linux allows a process."""
    yield
    maps = Path("/proc/self/maps")
    if maps.exists() and maps.read_bytes().count(b"\n") > 48_000:
        import jax

        jax.clear_caches()


@pytest.fixture(scope="module")
def two_devices() -> Iterator[None]:
    """Runs whose mesh has the default sizes take two devices, which compile faster than eight."""
    import jax

    from sml_jax.run import experiment

    def make_mesh(*sizes: int, **settings):
        # A test that says sizes means all devices.
        over = jax.devices()[:2] if sizes == (-1, 1, 1) and not settings else None
        return all_devices_mesh(*sizes, **{"over": over, **settings})

    all_devices_mesh = experiment.make_mesh
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment, "make_mesh", make_mesh)
        yield


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data sets, which are no part of the project; skips the test where it is absent."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("SML_JAX_DATA") or beside)
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}: set SML_JAX_DATA to the folder that holds gsm8k/")
    return folder
