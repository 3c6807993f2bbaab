"""Compiled executables are kept on disk where the user wants them, and what is read back computes the same."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from sml_jax.common import compilation_cache
from sml_jax.common.compilation_cache import default_folder, keep_executables
from sml_jax.models.ops import native_build

SETTINGS = (
    "jax_enable_compilation_cache",
    "jax_compilation_cache_dir",
    "jax_compilation_cache_max_size",
    "jax_persistent_cache_min_compile_time_secs",
)


@pytest.fixture(autouse=True)
def a_fresh_user(tmp_path, monkeypatch):
    """A user with an empty home who has set nothing."""
    before = {name: jax.config.values[name] for name in SETTINGS}
    for name, value in zip(SETTINGS, (True, None, -1, 1.0), strict=True):
        jax.config.update(name, value)
    monkeypatch.delenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    yield
    for name, value in before.items():
        jax.config.update(name, value)


def settings() -> list:
    return [jax.config.values[name] for name in SETTINGS]


def test_a_folder_in_the_users_cache_folder_for_the_owner_alone(tmp_path, monkeypatch, capsys):
    keep_executables()
    folder = default_folder()
    assert folder.parent == tmp_path / ".cache" / "sml-jax" / "compiled" and folder.stat().st_mode & 0o777 == 0o700
    assert settings() == [True, str(folder), -1, compilation_cache.MIN_COMPILE_SECONDS]
    assert capsys.readouterr().err == "" and not list(folder.iterdir())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "elsewhere"))
    assert default_folder() == tmp_path / "elsewhere" / "sml-jax" / "compiled" / folder.name
    monkeypatch.setenv("XDG_CACHE_HOME", "not/absolute")
    assert default_folder() == folder


def test_another_kind_of_cpu_has_another_folder(monkeypatch):
    here = default_folder()
    text = "processor\t: {}\nflags\t\t: fpu sse avx{}\ncpu MHz\t\t: {}\n\nprocessor\t: 1\nflags\t\t: fpu\n"

    def folder(*fields: str) -> Path:
        monkeypatch.setattr(Path, "read_text", lambda *_, **__: text.format(*fields))
        return default_folder()

    assert folder("0", "", "2100.0") == folder("3", "", "2900.7") != folder("0", "512f", "2100.0") != here


def test_what_the_user_set_stays(tmp_path, monkeypatch):
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "own"))
    jax.config.update("jax_compilation_cache_max_size", 1000)
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "1.0")
    keep_executables()
    assert settings() == [True, str(tmp_path / "own"), 1000, 1.0] and not (tmp_path / ".cache").exists()
    # A folder of another machine is left to JAX.
    jax.config.update("jax_compilation_cache_dir", "gs://bucket/compiled")
    keep_executables()
    assert settings()[:2] == [True, "gs://bucket/compiled"]


@pytest.mark.parametrize(
    ("name", "value"),
    [("jax_enable_compilation_cache", False), ("jax_compilation_cache_dir", ""), ("jax_compilation_cache_max_size", 0)],
)
def test_the_user_can_stop_it(tmp_path, name, value):
    jax.config.update(name, value)
    before = settings()
    keep_executables()
    assert settings() == before and not list(tmp_path.iterdir())


@pytest.mark.parametrize("named", [False, True])
def test_a_folder_that_cannot_be_written_is_one_warning(tmp_path, capsys, named):
    blocked = tmp_path / ".cache"
    blocked.write_text("a file where a folder should be")
    if named:
        jax.config.update("jax_compilation_cache_dir", str(blocked / "own"))
    keep_executables()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: compiled executables are not kept") and str(blocked) in line
    assert "JAX_COMPILATION_CACHE_DIR" in line and settings()[0] is False


def test_a_user_without_a_home_is_one_warning(monkeypatch, capsys):
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    keep_executables()
    assert len(capsys.readouterr().err.splitlines()) == 1 and settings()[0] is False


@pytest.mark.parametrize("limit", ["default", "user's"])
def test_what_was_not_used_for_longest_goes_first(monkeypatch, limit):
    folder = default_folder()
    (folder / "within").mkdir(parents=True)
    for number, name in enumerate(("b-cache", "within/a", "c-cache", "d-cache")):
        (folder / name).write_bytes(bytes(100))
        os.utime(folder / name, (1000 + number, 1000 + number))
    # This one was written first and read last.
    os.utime(folder / "b-cache", (5000, 1000))
    if limit == "default":
        monkeypatch.setattr(compilation_cache, "MAX_BYTES", 250)
    else:
        jax.config.update("jax_compilation_cache_max_size", 250)
    keep_executables()
    assert sorted(path.name for path in folder.rglob("*") if path.is_file()) == ["b-cache", "d-cache"]
    assert settings()[2] == -1, "JAX's own limit would fail where an entry has no time beside it"


def test_importing_the_library_keeps_nothing():
    import sml_jax  # noqa: F401

    assert settings() == [True, None, -1, 1.0]


PROGRAM = """
import json, sys
from pathlib import Path
import jax, jax.numpy as jnp, numpy as np
from sml_jax.common.compilation_cache import executables_read, keep_executables
from sml_jax.models.ops import native_build
from sml_jax.models.ops.native_product import native_product
native_build.SOURCES = Path(sys.argv[1])
keep_executables()
executables_read()
a, b = (jnp.asarray(np.random.default_rng(seed).normal(size=(4, 64)), jnp.float32) for seed in (0, 1))
double_and_multiply = jax.jit(lambda a, b: native_product(2 * a, b.T, (((1,), (0,)), ((), ()))))
print(json.dumps([np.asarray(double_and_multiply(a, b)).tolist(), executables_read()]))
"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("c++") is None, reason="needs a C++ compiler, c++")
def test_an_executable_from_the_disk_calls_the_cpp_code_of_today(tmp_path):
    """An executable names C++ functions and does not hold them: it computes with those of the process that read it."""

    def run(sources: Path) -> tuple[list, int]:
        environment = {**os.environ, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
        environment.pop("JAX_COMPILATION_CACHE_DIR", None)
        command = [sys.executable, "-c", PROGRAM, str(sources)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        return tuple(json.loads(done.stdout.splitlines()[-1]))

    first, read = run(native_build.SOURCES)
    assert read == 0 and any(path.name.startswith("jit__lambda") for path in default_folder().iterdir())
    second, read = run(native_build.SOURCES)
    assert second == first and read
    # Another version of the C++ code, whose sums begin at 7.
    changed = shutil.copytree(native_build.SOURCES, tmp_path / "native")
    source = (changed / "multiply.cc").read_text()
    assert source.count("to, 0.0f)") == 1
    (changed / "multiply.cc").write_text(source.replace("to, 0.0f)", "to, 7.0f)"))
    third, read = run(changed)
    assert read
    np.testing.assert_allclose(third, np.array(first) + 7, atol=1e-4)
