"""The benchmarks of a decoding step, of long dialogues and of weights in int8, on a tiny model."""

import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
sys.path[:0] = [str(BENCHMARKS), str(BENCHMARKS / "peers")]
import decode_step  # noqa: E402
import int8_rollouts  # noqa: E402
import turns  # noqa: E402
from setting import Setting  # noqa: E402

from sml_jax.models import DecoderConfig  # noqa: E402
from sml_jax.models.ops import native_product  # noqa: E402

del sys.path[:2]

TINY = Setting(width=32, layers=1, heads=2, kv_heads=2, head_dim=16, hidden=32, vocab=128, prompt=8)
needs_compiler = pytest.mark.skipif(shutil.which("c++") is None, reason="needs a C++ compiler, c++")


def test_bytes_of_caches_that_a_token_reads_by_hand():
    """Two turns of 2 sampled and 3 given after 8: the steps read 9, 10, then 14, 15 slots of 2 x 2 x 16 floats."""
    one = replace(TINY, turns=2, said=2, given=3)
    assert turns.bytes_read(one) == (9 + 10 + 14 + 15) / 4 * 2 * 2 * 16 * 4
    assert turns.bytes_read(replace(one, layers=3)) == 3 * turns.bytes_read(one)
    assert turns.bytes_read(one, "bfloat16") == turns.bytes_read(one) / 2


def test_memory_is_read_at_some_speed():
    assert 1e8 < turns.memory_speed(1 << 22, 2) < 1e13


@pytest.mark.slow
@needs_compiler
def test_long_dialogues_are_played_and_compared_with_the_shortest(capsys):
    turns.main(["--prompts=2", "--samples=2", "--said=4", "--given=4", "--repeats=1"], TINY)
    speed, *lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"memory is read at [\d.]+ GB/s", speed)
    found = [
        re.match(r" *(\d+) turns, contexts up to +(\d+): ([\d.]+) ms .* ([\d.]+) times that", line) for line in lines
    ]
    assert [int(one[1]) for one in found] == list(turns.TURNS)
    assert [int(one[2]) for one in found] == [8 + 8 * n - 4 for n in turns.TURNS]
    assert found[0][4] == "1.00"
    assert all(float(one[3]) > 0 for one in found)


@needs_compiler
@pytest.mark.parametrize(
    "flag",
    [*(pytest.param(flag, marks=pytest.mark.slow) for flag in ("--attention=native", "--one_core")), "--attention=xla"],
)
def test_a_step_is_timed(flag, capsys, monkeypatch):
    monkeypatch.setattr(native_product, "MAX_ROWS", native_product.MAX_ROWS)  # to be as it was
    decode_step.main(["--rows=2", "--capacity=64", "--steps=4", "--repeats=2", flag], TINY)
    said = capsys.readouterr().out
    assert re.fullmatch(r"2 rows on \d devices, caches of 64: [\d.]+ ms a step, least [\d.]+\n", said)


@pytest.mark.slow
@needs_compiler
def test_weights_in_int8_are_compared_with_float32(capsys):
    config = DecoderConfig(
        vocab_size=64, embed_dim=32, layers=1, heads=2, kv_heads=2, head_dim=16, mlp_dim=32, max_length=64
    )
    flags = ["--rows=2", "--prompt=8", "--sample=4", "--repeats=1", "--scored=2"]
    int8_rollouts.main(flags, config)
    *lines, last = capsys.readouterr().out.splitlines()
    found = [re.match(r"(\w+): \d+ tokens/s .* mismatch mean ([\d.]+), max", line) for line in lines]
    assert [one[1] for one in found] == ["float32", "int8"]
    assert float(found[0][2]) < 1e-5 < float(found[1][2])
    assert re.fullmatch(r"int8 / float32: [\d.]+ times", last)
