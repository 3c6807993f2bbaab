"""The threads that share a piece of work run each of its parts once, and no two touch the same memory out of order."""

import shutil
import subprocess
from pathlib import Path

import pytest

from sml_jax.native import build

NATIVE = Path(build.__file__).parent


@pytest.mark.skipif(shutil.which("c++") is None, reason="needs a C++ compiler, c++")
def test_every_part_is_run_once(tmp_path) -> None:
    source, program = Path(__file__).with_name("crew_test.cc"), tmp_path / "crew"
    flags = ["-std=c++17", "-O2", "-g", f"-I{NATIVE}", "-pthread", str(source), "-o", str(program)]
    checked = subprocess.run(["c++", "-fsanitize=thread", *flags], capture_output=True).returncode == 0
    if not checked:  # a compiler may come without it
        subprocess.run(["c++", *flags], check=True)
    done = subprocess.run([str(program)], capture_output=True, text=True, timeout=120)
    if "unexpected memory mapping" in done.stderr:
        pytest.skip("ThreadSanitizer cannot run on this kernel")
    assert (done.returncode, done.stdout) == (0, "all parts ran once\n"), done.stderr[:3000]
