"""The C++ library is built once for each compiler, source and kind of CPU where executables are kept."""

import shutil
from concurrent.futures import ThreadPoolExecutor

import jax
import pytest

from sml_jax.models.ops import native_build

pytestmark = pytest.mark.skipif(shutil.which("c++") is None, reason="needs a C++ compiler, c++")
FUNCTIONS = {"attend.cc": "SmlJaxAttend", "multiply.cc": "SmlJaxMultiply", "multiply_int8.cc": "SmlJaxMultiplyInt8"}


@pytest.fixture
def commands(tmp_path, monkeypatch):
    """The compiler's commands but for its version; the sources are small, and executables are kept in a folder."""
    (tmp_path / "sources").mkdir()
    (tmp_path / "kept").mkdir()
    write_sources(tmp_path / "sources", 1)
    monkeypatch.setattr(native_build, "SOURCES", tmp_path / "sources")
    commands = []
    run = native_build._run_compiler

    def recording(command):
        if command[-1] != "--version":
            commands.append(command)
        return run(command)

    monkeypatch.setattr(native_build, "_run_compiler", recording)
    before = jax.config.values["jax_compilation_cache_dir"]
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "kept"))
    yield commands
    jax.config.update("jax_compilation_cache_dir", before)


def write_sources(folder, answer):
    for name, function in FUNCTIONS.items():
        (folder / name).write_text(f'extern "C" int {function}() {{ return {answer}; }}')


def answer():
    return native_build._open_library().SmlJaxMultiply()


def test_it_is_built_once(tmp_path, commands):
    assert answer() == 1 and len(commands) == len(FUNCTIONS) + 1
    assert [path.suffix for path in (tmp_path / "kept").iterdir()] == [".so"]
    assert answer() == 1 and len(commands) == len(FUNCTIONS) + 1


def test_of_those_that_start_together_one_builds(tmp_path, commands):
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(lambda _: answer(), range(3))) == [1, 1, 1]
    assert len(commands) == len(FUNCTIONS) + 1
    assert [path.suffix for path in (tmp_path / "kept").iterdir()] == [".so"]


@pytest.mark.parametrize("change", ["source", "header", "flags", "CXXFLAGS", "compiler", "cpu", "headers of JAX"])
def test_what_it_is_made_from_is_in_its_name(tmp_path, commands, monkeypatch, change):
    assert answer() == 1
    if change == "source":
        write_sources(tmp_path / "sources", 2)
    elif change == "header":
        (tmp_path / "sources" / "numbers.h").write_text("")
    elif change == "flags":
        monkeypatch.setattr(native_build, "_FLAGS", (*native_build._FLAGS, "-O1"))
    elif change == "CXXFLAGS":
        monkeypatch.setenv("CXXFLAGS", "-DNOTHING -g0")
    elif change == "compiler":
        monkeypatch.setenv("CXX", f"{shutil.which('c++')} -g0")
    elif change == "cpu":
        monkeypatch.setattr(native_build, "cpu_kind", lambda: "another")
    else:
        monkeypatch.setattr(native_build, "version", lambda package: "another")
    assert answer() == (2 if change == "source" else 1)
    assert len(commands) == 2 * (len(FUNCTIONS) + 1)
    assert len(list((tmp_path / "kept").iterdir())) == 2


@pytest.mark.parametrize("damage", [lambda data: data[:1000], lambda data: data[:-1] + b"x", lambda data: b""])
def test_a_damaged_file_is_built_anew(tmp_path, commands, damage):
    answer()
    (kept,) = (tmp_path / "kept").iterdir()
    whole = kept.read_bytes()
    kept.write_bytes(damage(whole))
    assert answer() == 1 and len(commands) == 2 * (len(FUNCTIONS) + 1)
    assert kept.read_bytes() == whole


@pytest.mark.parametrize("folder", ["off", "missing", "a bucket"])
def test_where_nothing_can_be_kept_it_is_built_all_the_same(tmp_path, commands, folder):
    kept = {"off": None, "missing": str(tmp_path / "nowhere"), "a bucket": "gs://nowhere/executables"}[folder]
    jax.config.update("jax_compilation_cache_dir", kept)
    for starts in (1, 2):
        assert answer() == 1 and len(commands) == starts * (len(FUNCTIONS) + 1)
    assert not list((tmp_path / "kept").iterdir())
