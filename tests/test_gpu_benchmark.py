"""The benchmark for a GPU: its arithmetic, its report, and our side of it on whatever is here."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import jax
import pytest

GPU = Path(__file__).resolve().parents[1] / "benchmarks" / "gpu"
sys.path.insert(0, str(GPU))
import gpu_ours  # noqa: E402
import run  # noqa: E402
from gpu_work import TINY, Work, peaks  # noqa: E402

sys.path.remove(str(GPU))

from sml_jax.gin_config.load import configured, parse_gin  # noqa: E402
from sml_jax.models import Decoder, DecoderConfig, init_params  # noqa: E402


@pytest.fixture
def recipes_shape() -> DecoderConfig:
    parse_gin(["gin/models/gemma3_1b.gin"], [])
    return configured(DecoderConfig)()


def test_the_shape_is_the_recipes(recipes_shape) -> None:
    assert gpu_ours.gemma(Work()) == recipes_shape
    assert Work().local_layers == sum(recipes_shape.local_layers) == 22


@pytest.mark.parametrize("work", [Work(), TINY], ids=["gemma", "tiny"])
def test_matrices_are_all_that_a_model_has(work: Work) -> None:
    model = Decoder(gpu_ours.gemma(work))
    leaves = jax.tree.leaves(jax.eval_shape(lambda: init_params(model, jax.random.key(0))))
    matrices = sum(leaf.size for leaf in leaves if leaf.ndim > 2)  # layers are stacked
    assert (work.matrices, work.vocab * work.width) == (
        matrices,
        sum(leaf.size for leaf in leaves if leaf.size == work.vocab * work.width),
    )


def test_bytes_and_flops_by_hand() -> None:
    """One local layer that sees 3 tokens and one that sees all; 2 steps behind 4 tokens; 3 rows; rows of 5 tokens."""
    work = dataclasses.replace(TINY, window=3, context=4, steps=2, update_rows=2, update_time=5)
    kept = 2 * 1 * 32 * 2  # bytes of a slot: keys and values of one head of 32 numbers
    weights = 2 * (2 * (2 * 64 * 32 * 5 + 3 * 64 * 128) + 512 * 64)
    assert work.step_bytes(3) == weights + 3 * kept * (3 + (5 + 6) / 2)  # the step's own token is among those seen
    scores = (1 + 2 + 3 + 3 + 3) + (1 + 2 + 3 + 4 + 5)
    assert work.update_flops == 3 * 2 * (2 * 5 * weights / 2 + 2 * 2 * 4 * 32 * scores)


def test_what_is_told_of_known_times() -> None:
    work = dataclasses.replace(TINY, rows=(2,))
    wanted, done = work.step_bytes(2), work.update_flops
    ours = {"device": "NVIDIA H100 80GB HBM3", "version": "jax 1", "bytes_a_second": 3e12, "flops_a_second": 800e12}
    ours |= {"decode": {"2": wanted / 2.4e12}, "update": done / 400e12}
    hf = {"version": "transformers 1", "dynamic": {"2": 3 * wanted / 2.4e12}, "static": {}}
    first, decode, update, last = run.report(work, ours, hf)
    assert "copies 3,000 GB/s, product 800.0 TFLOP/s" in first and last == "transformers 1"
    assert ": 80% of a copy's speed, 72% of the published; generate (dynamic cache)" in decode
    assert decode.endswith("3.00 times") and "400.00 TFLOP/s of the model: 50% of a product's, 40% of the" in update
    assert "published" not in "".join(run.report(work, {**ours, "device": "something"}, None))
    assert peaks("NVIDIA H200") == (4.8e12, 989e12) and peaks("cpu") is None


@pytest.mark.slow
def test_our_side_runs_what_it_is_asked_to() -> None:
    done = subprocess.run(
        [sys.executable, GPU / "run.py", "--tiny", "--sides=ours", "--repeats=1"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split(":")[0] for line in lines[1:]] == [
        "decode, 2 rows behind 48", "decode, 4 rows behind 48", "update of 2 x 64",
    ]  # fmt: skip
    assert Work.from_json(TINY.to_json()) == TINY and json.loads(TINY.to_json())["rows"] == [2, 4]
