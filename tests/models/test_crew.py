"""The threads that share a piece of work run each of its parts once, and no two touch the same memory out of order."""

import shutil
import subprocess
from pathlib import Path

import pytest

from sml_jax.models.ops import native_build

NATIVE, SOURCE = native_build.SOURCES, Path(__file__).with_name("crew_test.cc")
# What ThreadSanitizer says where it cannot set up its memory: at times, where a kernel places things at random.
NO_START = ("unexpected memory mapping", "ThreadSanitizer: CHECK failed")


@pytest.mark.extra
@pytest.mark.skipif(shutil.which("c++") is None, reason="needs a C++ compiler, c++")
def test_every_part_is_run_once(tmp_path) -> None:
    flags = ["c++", "-std=c++17", "-O2", "-g", f"-I{NATIVE}", "-pthread", str(SOURCE), "-o"]
    plain, checked = str(tmp_path / "plain"), str(tmp_path / "checked")
    subprocess.run([*flags, plain], check=True)
    compiled = subprocess.run([*flags, checked, "-fsanitize=thread"], capture_output=True).returncode == 0
    programs = [*[checked] * 5 * compiled, plain]  # a compiler may come without it
    for program in programs:
        done = subprocess.run([program], capture_output=True, text=True, timeout=120)
        if not any(words in done.stderr for words in NO_START):
            break
    assert (done.returncode, done.stdout) == (0, "all parts ran once\n"), done.stderr[:3000]
