"""Every family against `transformers`: logits, greedy tokens through the cache, and the way there and back.

The golden files hold what `transformers` computed; where it is installed, it computes it again from what we wrote.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from make_golden import FOLDER, GREEDY, LENGTHS, hf_greedy, hf_logits, log_softmax
from safetensors.numpy import load_file, save_file

from sml_jax.cli import convert as convert_program
from sml_jax.engine import Engine, Sampling
from sml_jax.engine.sampling import row_keys
from sml_jax.models import Decoder, load_model
from sml_jax.sharding import AXES

NAMES = sorted(path.stem for path in FOLDER.glob("*.npz"))
# Near relatives of another golden model, whose file is read and written in a second pass.
RELATIVES = ("gemma4_dense", "qwen2", "qwen3_5_text_tied")
READ_OR_EXTRA = [pytest.param(name, marks=pytest.mark.extra if name in RELATIVES else ()) for name in NAMES]
CHUNK = 8


@dataclass(frozen=True)
class Case:
    """A golden file, the Hugging Face folder made of it, and the model read from there."""

    arrays: dict[str, np.ndarray]
    folder: Path
    model: Decoder
    params: dict[str, Any]
    logits: list[np.ndarray]  # ours, of each row and what was sampled after it, in one pass

    def rows(self, what: str) -> list[np.ndarray]:
        return [self.arrays[f"{what}{i}"] for i in range(len(LENGTHS))]


def padded(rows: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    lengths = np.array([row.size for row in rows], np.int32)
    tokens = np.full((len(rows), lengths.max()), 7, np.int32)  # a padding that would be seen, were it looked at
    for i, row in enumerate(rows):
        tokens[i, : row.size] = row
    return tokens, lengths


@pytest.fixture(scope="module")
def case_of(tmp_path_factory):
    @cache
    def make(name: str) -> Case:
        folder = tmp_path_factory.mktemp(name)
        with np.load(FOLDER / f"{name}.npz") as file:
            arrays = dict(file)
        (folder / "config.json").write_bytes(arrays["config.json"].tobytes())
        weights = {
            key.removeprefix("weight/"): value.astype(np.float32)
            for key, value in arrays.items()
            if key.startswith("weight/")
        }
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        model, params = load_model(folder)
        rows = [np.concatenate([arrays[f"tokens{i}"], arrays[f"greedy{i}"]]) for i in range(len(LENGTHS))]
        tokens, lengths = padded(rows)
        logits = np.asarray(jax.jit(model.apply)(params, tokens))
        return Case(arrays, folder, model, params, [row[:n] for row, n in zip(logits, lengths, strict=True)])

    return make


@pytest.fixture(params=NAMES)
def case(request, case_of) -> Case:
    return case_of(request.param)


def test_there_is_a_golden_file_for_every_family() -> None:
    gemma, qwen3_5 = ["gemma2", "gemma3_text", "gemma4_dense", "gemma4_e"], ["qwen3_5_text", "qwen3_5_text_tied"]
    assert [*gemma, "llama", "qwen2", "qwen2_sliding", "qwen3", *qwen3_5] == sorted(NAMES)


def test_logits_in_one_pass(case: Case) -> None:
    for ours, theirs, sampled, scores in zip(
        case.logits, case.rows("logits"), case.rows("greedy"), case.rows("logprob"), strict=True
    ):
        np.testing.assert_allclose(ours[: len(theirs)], theirs, atol=1e-4, rtol=0)
        steps = log_softmax(ours[len(theirs) - 1 : -1])
        np.testing.assert_allclose(steps[np.arange(GREEDY), sampled], scores, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", READ_OR_EXTRA)
def test_greedy_tokens_and_their_log_probabilities_through_the_cache(name: str, case_of) -> None:
    case = case_of(name)
    rows = case.rows("tokens")
    one = jax.make_mesh((1, 1, 1), AXES, axis_types=(jax.sharding.AxisType.Auto,) * 3, devices=jax.devices()[:1])
    # `transformers` was told of no end of a turn: take a token that is never sampled.
    sampled = {int(token) for row in case.rows("greedy") for token in row}
    end = next(token for token in range(case.model.config.vocab_size) if token not in sampled)
    engine = Engine(
        case.model,
        max_concurrent=3,
        max_length=128,
        max_new_tokens=GREEDY,
        stop_ids=(end,),
        sampling=Sampling(temperature=0.0),
        chunk_sizes=(CHUNK,),
        capacities=(128,),
        decode_steps=GREEDY,
        mesh=one,
    )
    held, start = engine.empty_cache(), np.zeros(3, np.int32)
    waiting = [row[:-1] for row in rows]
    while any(row.size for row in waiting):
        tokens, count = np.zeros((3, CHUNK), np.int32), np.zeros(3, np.int32)
        for i, row in enumerate(waiting):
            count[i] = min(row.size, CHUNK)
            tokens[i, : count[i]] = row[: count[i]]
        held = engine.extend(case.params, held, tokens, start, count)
        start, waiting = start + count, [row[n:] for row, n in zip(waiting, count, strict=True)]
    last = np.array([row[-1] for row in rows], np.int32)
    keys = row_keys(jax.random.key(0), jax.numpy.arange(3, dtype=jax.numpy.uint32))
    _, out = engine.decode(case.params, held, last, start, np.full(3, GREEDY, np.int32), keys)
    np.testing.assert_array_equal(out.tokens, np.stack(case.rows("greedy")))
    np.testing.assert_allclose(out.logprob, np.stack(case.rows("logprob")), atol=1e-4, rtol=0)


@pytest.fixture(scope="module")
def there_and_back(case_of, tmp_path_factory):
    """The folder that `sml-jax convert` makes of what it made of a golden file."""

    @cache
    def make(name: str) -> Path:
        to = tmp_path_factory.mktemp(f"{name}_converted")
        assert convert_program.main([f"--from={case_of(name).folder}", f"--to={to / 'ours'}"]) == 0
        assert convert_program.main([f"--from={to / 'ours'}", f"--to={to / 'theirs'}"]) == 0
        return to / "theirs"

    return make


@pytest.mark.parametrize("name", READ_OR_EXTRA)
def test_converted_there_and_back_tensors_are_the_same_bits(name: str, case_of, there_and_back) -> None:
    before = load_file(case_of(name).folder / "model.safetensors")
    after = load_file(there_and_back(name) / "model.safetensors")
    assert set(after) == set(before)
    for tensor, values in before.items():
        assert after[tensor].dtype == values.dtype and after[tensor].shape == values.shape
        assert after[tensor].tobytes() == values.tobytes(), tensor


@pytest.mark.parametrize("name", NAMES)
def test_live_transformers_loads_what_we_wrote_and_agrees(name: str, case_of, there_and_back) -> None:
    pytest.importorskip("torch", reason="the live comparison needs torch")
    transformers = pytest.importorskip("transformers", reason="the live comparison needs transformers")
    model = transformers.AutoModelForCausalLM.from_pretrained(
        there_and_back(name), dtype="float32", attn_implementation="eager"
    )
    case = case_of(name)
    tokens, sampled = case.rows("tokens")[-1], case.rows("greedy")[-1]
    whole = np.concatenate([tokens, sampled])
    theirs = hf_logits(model, whole)
    # Delta nets add up over all tokens, so their rounding is compared with the largest of the logits, some 7 here.
    tolerance = 1e-4 * (np.abs(theirs).max() if name.startswith("qwen3_5") else 1)
    np.testing.assert_allclose(case.logits[-1], theirs, atol=tolerance, rtol=0)
    # The golden file is of another CPU, whose products round otherwise.
    np.testing.assert_allclose(theirs[: tokens.size], case.rows("logits")[-1], atol=tolerance, rtol=0)
    np.testing.assert_allclose(
        log_softmax(theirs[tokens.size - 1 : -1])[np.arange(GREEDY), sampled], case.rows("logprob")[-1], atol=tolerance
    )
    np.testing.assert_array_equal(hf_greedy(model, case.rows("tokens")[0], 16), case.rows("greedy")[0][:16])
