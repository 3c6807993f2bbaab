"""The order of rooms that pyproject.toml states, and that it speaks of every file."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
# Packages that only hand on what lies inside them.
FACADES = {"sml_jax", "sml_jax.models", "sml_jax.run", "sml_jax.tasks", "sml_jax.tasks.code"}


def test_every_module_has_its_place_in_the_order():
    (layers,) = [contract["layers"] for contract in CONTRACTS if contract["id"] == "rooms"]
    placed = {name.strip() for layer in layers for name in layer.replace("|", ":").split(":")}
    for path in (ROOT / "sml_jax").rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts).removesuffix(".__init__")
        ancestors = {".".join(parts[:length]) for length in range(1, len(parts) + 1)}
        assert ancestors & placed or name in FACADES, f"{name} is in no layer of [tool.importlinter] in pyproject.toml"


def test_imports_keep_to_the_order():
    pytest.importorskip("importlinter")
    # In a process of its own: import-linter switches off the loggers that other tests listen to.
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports; exit(lint_imports(no_cache=True))"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
