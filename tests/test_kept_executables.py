"""A run whose executables come from the disk is the run that compiled them, bit for bit.

`pytest -m slow tests/test_kept_executables.py`; tests/common/test_compilation_cache.py says where they lie.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import stopped_runs
from run_toys import write_tokenizer

PROGRAM = """
import sys
from pathlib import Path
import stopped_runs
from sml_jax.common.compilation_cache import executables_read, keep_executables
keep_executables()
executables_read()
code = stopped_runs.train(Path(sys.argv[1]), Path(sys.argv[2]), short=True)
print("read", executables_read())
sys.exit(code)
"""


@pytest.mark.slow
def test_runs_with_and_without_kept_executables_are_the_same(tmp_path):
    write_tokenizer(tmp_path / "toy.model")
    caches = tmp_path / "caches"

    def run(name: str, **settings: str) -> tuple[int, str]:
        """Runs the toy in a process of its own; returns how many executables it read, and what it said on stderr."""
        environment = {
            **{name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"},
            "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path]),
            "XLA_FLAGS": os.environ["XLA_FLAGS"].replace("device_count=8", "device_count=2"),
            "XDG_CACHE_HOME": str(caches),
            **settings,
        }
        command = [sys.executable, "-c", PROGRAM, str(tmp_path / name), str(tmp_path)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return int(done.stdout.splitlines()[-1].removeprefix("read ")), done.stderr

    assert run("without", JAX_ENABLE_COMPILATION_CACHE="false")[0] == 0 and not caches.exists()
    read, errors = run("first")
    entries = [path for path in caches.rglob("*") if path.is_file()]
    assert len(entries) > 10 and "warning: compiled executables" not in errors
    again, _ = run("second")
    assert again > read and again > 10
    # As if the process that wrote them had been killed over each of them.
    for path in entries:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    damaged, errors = run("damaged")
    assert damaged < again and "Error reading persistent compilation cache entry" in errors
    for name in ("first", "second", "damaged"):
        assert stopped_runs.differences(tmp_path / "without", tmp_path / name) == []
