"""gin/models: every named size has the parameters that were published, and the fields of its config.json."""

import dataclasses
from pathlib import Path

import gin
import pytest
from published import PUBLISHED

from sml_jax.gin_config.load import configured, parse_gin
from sml_jax.models.config import DecoderConfig, canonical
from sml_jax.models.decoder import Decoder, abstract_params, count_params
from sml_jax.models.hf.config import config_from_hf, family_of_config

FOLDER = Path(__file__).parents[2] / "gin" / "models"

# Of the safetensors files on huggingface.co. Gemma 3's larger models are counted there with their vision tower (SigLIP
# so400m/14 at 896 pixels) and projector, which are taken off here.
TOWER = 416_866_032
COUNTS = {
    "gemma2_2b": 2_614_341_888,
    "gemma2_9b": 9_241_705_984,
    "gemma3_1b": 999_885_952,
    "gemma3_4b": 4_300_079_472 - TOWER - 1152 * 2560 - 1152,
    "gemma3_12b": 12_187_325_040 - TOWER - 1152 * 3840 - 1152,
    "gemma3_27b": 27_432_406_640 - TOWER - 1152 * 5376 - 1152,
    # The published weights of these, with the scalar of each layer: what is left of the files of transformers' classes
    # of the language model alone. E2B and E4B hold per-layer embeddings of 2.35 and 2.82 billion.
    "gemma4_e2b": 4_628_569_344 + 35,
    "gemma4_e4b": 7_463_013_376 + 42,
    "gemma4_12b": 11_907_350_272 + 48,
    "gemma4_31b": 30_697_345_280 + 60,
    "llama3_1_8b": 8_030_261_248,
    "llama3_2_1b": 1_235_814_400,
    "llama3_2_3b": 3_212_749_824,
    "qwen2_5_0_5b": 494_032_768,
    "qwen2_5_1_5b": 1_543_714_304,
    "qwen2_5_3b": 3_085_938_688,
    "qwen2_5_7b": 7_615_616_512,
    "qwen2_5_14b": 14_770_033_664,
    "qwen3_0_6b": 596_049_920,
    "qwen3_1_7b": 1_720_574_976,
    "qwen3_4b": 4_022_468_096,
    "qwen3_8b": 8_190_735_360,
    "qwen3_14b": 14_768_307_200,
    # Without vision tower and next-token layer, as in the GGUF files: llama.cpp says 752.39 M, 4.21 B, 8.95 B, 26.90 B.
    "qwen3_5_0_8b": 752_393_024,
    "qwen3_5_4b": 4_205_751_296,
    "qwen3_5_9b": 8_953_803_264,
    "qwen3_5_27b": 26_895_998_464,
}
FAMILY = {
    "gemma2": "gemma2",
    "gemma3": "gemma3_text",
    "gemma4": "gemma4_text",
    "llama3": "llama",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
}


def family_of_name(name: str) -> str:
    """The `model_type` of a named size."""
    return "qwen3_5_text" if name.startswith("qwen3_5") else FAMILY[name.split("_")[0]]


@pytest.fixture(autouse=True)
def no_gin_left():
    yield
    gin.clear_config()


def named(name: str) -> DecoderConfig:
    parse_gin([str(FOLDER / f"{name}.gin")], [])
    return configured(DecoderConfig)()


def test_every_file_is_counted() -> None:
    shapes = {file.stem for file in FOLDER.glob("*.gin") if "config.DecoderConfig.vocab_size" in file.read_text()}
    assert shapes - {"pocket"} == set(COUNTS)


@pytest.mark.parametrize("name", sorted(COUNTS))
def test_parameters_are_as_many_as_published(name: str) -> None:
    config = named(name)
    assert family_of_config(config).model_type == family_of_name(name)
    assert count_params(abstract_params(Decoder(config))) == COUNTS[name]
    assert f"{COUNTS[name]:,} parameters" in (FOLDER / f"{name}.gin").read_text()


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_fields_are_those_of_the_published_config(name: str) -> None:
    read = config_from_hf(PUBLISHED[name])
    ours = canonical(named(name))
    run = dict(dtype="float32", param_dtype="float32", remat=False)
    assert dataclasses.replace(read, **run) == dataclasses.replace(ours, **run)
    assert read.dtype == read.param_dtype == "bfloat16"
