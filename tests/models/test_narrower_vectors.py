"""The C++ as built for CPUs with narrower vectors than this one's: other numbers of lanes, the same results."""

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

MODELS = Path(__file__).parent
TESTS = [
    f"{MODELS}/test_cached_attention_native.py::test_it_is_the_plain_way",
    f"{MODELS}/test_native_product.py::test_it_is_the_product",
    f"{MODELS}/test_int8.py::test_the_c_product_is_its_twin",
    f"{MODELS}/test_int8.py::test_a_number_that_is_not_finite_stays_with_its_row",
]
CPU = Path("/proc/cpuinfo").read_text().split() if Path("/proc/cpuinfo").exists() else []

pytestmark = [
    pytest.mark.skipif(shutil.which("c++") is None, reason="needs a C++ compiler, c++"),
    pytest.mark.skipif(platform.machine() != "x86_64", reason="of x86-64's instructions"),
]


@pytest.mark.slow
@pytest.mark.parametrize("machine", ["x86-64", "x86-64-v3", "x86-64-v3 -mavxvnni", "icelake-server"])
def test_it_is_the_same(tmp_path, machine) -> None:
    needed = {"avx2", "fma"} if "v3" in machine else set()
    needed |= {"avx_vnni"} if "avxvnni" in machine else set()
    # Wide vectors with instructions for bytes, and no tiles.
    needed |= {"avx512_vnni", "avx512_vbmi2"} if "icelake" in machine else set()
    if not needed <= set(CPU):
        pytest.skip(f"needs a CPU with {', '.join(sorted(needed))}")
    compiler = tmp_path / "c++"
    compiler.write_text(f'#!/bin/sh\nexec c++ "$@" -march={machine}\n')
    compiler.chmod(0o755)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *TESTS]
    env = {**os.environ, "CXX": str(compiler)}
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout
