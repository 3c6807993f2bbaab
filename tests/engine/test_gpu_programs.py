"""The engine's and the learner's programs as XLA compiles them for a GPU; none is needed, but its compiler."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


def test_a_gpus_programs_copy_no_cache_and_fuse_attention() -> None:
    """In a process of its own: the CUDA plugin registers a platform that other tests should not meet."""
    pytest.importorskip(
        "jax_plugins.xla_cuda13", reason="compiling for a GPU needs its compiler: pip install jax[cuda13]"
    )
    script, environment = Path(__file__).with_name("compile_for_gpu.py"), {**os.environ, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    for name, found in json.loads(done.stdout.splitlines()[-1]).items():
        smallest, whole = min(found["cache"]), sum(found["cache"])
        assert found["decode"]["arguments"] > whole, name
        # Nothing of a layer's cache's size is made: neither joined nor transposed nor filled up nor gathered.
        assert found["decode"]["temporaries"] < smallest, name
        assert found["write"]["temporaries"] == 0, name  # caches are written where they are
        # Forward, again for the backward pass, and backward, each for local and for global layers.
        assert found["gradients"]["fused attention"] == 6, name
