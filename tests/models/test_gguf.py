"""GGUF files: every family's logits against `transformers`', every quantised type, and what is refused."""

import dataclasses
import os
import struct
from pathlib import Path

import gguf
import gguf_toys
import jax
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Kind
from gguf_toys import ARCHITECTURES, golden_arrays, write_gguf

from sml_jax.common.errors import UserError
from sml_jax.common.gguf_file import GGUFTensor
from sml_jax.common.gguf_header import read_gguf
from sml_jax.models import config_from_hf, load_model
from sml_jax.models.hf.checkpoint import read_model_config
from sml_jax.models.hf.gguf_weights import GGUFWeight
from sml_jax.sharding import AXES


@pytest.fixture(scope="module")
def llama_file(tmp_path_factory) -> Path:
    config, weights, _ = golden_arrays("llama")
    return write_gguf(tmp_path_factory.mktemp("llama") / "llama.gguf", config, weights)


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_logits_are_those_of_transformers(name: str, tmp_path: Path) -> None:
    config, weights, arrays = golden_arrays(name)
    model, params = load_model(write_gguf(tmp_path / "model.gguf", config, weights))
    assert model.config == dataclasses.replace(config_from_hf(config), dtype="float32", param_dtype="float32")
    for i in range(3):
        logits = jax.jit(model.apply)(params, arrays[f"tokens{i}"][None])[0]
        np.testing.assert_allclose(logits, arrays[f"logits{i}"], atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", [Kind.F16, Kind.BF16])
def test_sixteen_bits_are_read_as_they_are(kind: Kind, tmp_path: Path) -> None:
    config, weights, _ = golden_arrays("qwen3")
    model, params = load_model(write_gguf(tmp_path / "model.gguf", config, weights, kind))
    assert model.config.param_dtype == ("bfloat16" if kind is Kind.BF16 else "float32")
    embedding = np.asarray(params["params"]["embedding"]["embedding"], np.float32)
    stored = gguf.dequantize(gguf.quantize(weights["model.embed_tokens.weight"], kind), kind)
    np.testing.assert_array_equal(embedding, stored)


READABLE = [kind for kind in Kind if GGUFTensor("", Path(), (256,), kind.name, 0).is_readable]


def test_all_types_that_the_package_turns_into_numbers_are_read() -> None:
    assert {Kind.F32, Kind.F16, Kind.BF16, Kind.Q4_0, Kind.Q4_1, Kind.Q5_0, Kind.Q8_0} < set(READABLE)
    assert {Kind.Q2_K, Kind.Q3_K, Kind.Q4_K, Kind.Q5_K, Kind.Q6_K, Kind.IQ4_XS, Kind.MXFP4} < set(READABLE)
    assert Kind.I32 not in READABLE and Kind.Q8_K not in READABLE


@pytest.mark.parametrize("kind", READABLE, ids=lambda kind: kind.name)
@pytest.mark.parametrize("head_dim", [0, 4])
def test_blocks_of_a_tensor_of_each_type(kind: Kind, head_dim: int, tmp_path: Path) -> None:
    block_size, block_bytes = gguf.GGML_QUANT_SIZES[kind]
    columns = max(2 * block_size, 8)
    content = np.random.default_rng(0).integers(0, 60, (12, columns // block_size * block_bytes), np.uint8)
    (tmp_path / "file").write_bytes(b"before!" + content.tobytes())
    weight = GGUFWeight(GGUFTensor("w", tmp_path / "file", (12, columns), kind.name, 7), 2.0, head_dim)
    expected = gguf.dequantize(content, kind)
    if head_dim:
        # Rows 0, 2 of a head are its first half, rows 1, 3 its second.
        expected = expected[[4 * head + row for head in range(3) for row in (0, 2, 1, 3)]]
    for rows, kept in ((slice(0, 12), slice(0, columns)), (slice(4, 8), slice(0, columns)), (slice(0, 8), slice(3, 6))):
        read = np.zeros((rows.stop - rows.start, kept.stop - kept.start), np.float32)
        for place, values in weight.rows((rows, kept)):
            read[place] = values
        np.testing.assert_array_equal(read, expected[rows, kept] + np.float32(2))


def test_a_file_is_read_in_parts_of_bounded_size(llama_file: Path, monkeypatch) -> None:
    whole = jax.tree.map(np.asarray, load_model(llama_file)[1])
    monkeypatch.setattr("sml_jax.models.hf.gguf_weights._READ_BYTES", 300)
    read, in_parts = [], GGUFTensor.read_rows
    monkeypatch.setattr(
        GGUFTensor, "read_rows", lambda self, start, stop: read.append(stop - start) or in_parts(self, start, stop)
    )
    jax.tree.map(np.testing.assert_array_equal, whole, load_model(llama_file)[1])
    # A head of ten rows is the smallest part of queries and keys.
    assert max(read) == 10


def test_each_device_reads_its_own_rows(llama_file: Path) -> None:
    mesh = jax.make_mesh((1, 1, 1), AXES, axis_types=(jax.sharding.AxisType.Auto,) * 3, devices=jax.devices()[:1])
    jax.tree.map(np.testing.assert_array_equal, load_model(llama_file)[1], load_model(llama_file, mesh)[1])


def test_the_shape_alone_and_overrides(llama_file: Path) -> None:
    config = read_model_config(llama_file)
    assert config == load_model(llama_file)[0].config
    assert (config.rope_scaling.kind, config.rope_scaling.factor, config.rope_scaling.original_length) == (
        "llama3",
        8,
        16,
    )
    assert load_model(llama_file, overrides={"param_dtype": "bfloat16"})[0].config.param_dtype == "bfloat16"


def test_gemma_of_27b_scales_scores_by_its_width(tmp_path: Path) -> None:
    config, weights, _ = golden_arrays("gemma2")
    one_layer = {name: array for name, array in weights.items() if "layers." not in name or "layers.0." in name}
    config |= {"num_hidden_layers": 46}
    layers = {
        name.replace("layers.0.", f"layers.{i}."): array
        for i in range(46)
        for name, array in one_layer.items()
        if "layers." in name or i == 0
    }
    settings = {"attention__scale": None, "attention__sliding_window_pattern": None}
    read = read_model_config(write_gguf(tmp_path / "model.gguf", config, layers, **settings))
    # 16 numbers for 4 heads, though a head has 16.
    assert read.attention_scale == 0.5 and read.layer_pattern == ("local", "global")


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"expert_count": 8}, "llama: expert_count is 8; supported is 0"),
        ({"attention__head_count_kv": [2, 1, 2]}, "attention.head_count_kv is [2, 1, 2]; it must be a whole number"),
        ({"attention__value_length": 12}, "attention.value_length is 12; supported is 10"),
        ({"rope__dimension_count": 8}, "rope.dimension_count is 8; supported is 10"),
        ({"rope__scaling__type": "yarn"}, "rope.scaling.type is 'yarn'; supported is 'none' or 'linear'"),
        ({"rope__scaling__type": "linear"}, "rope_freqs.weight too"),
        ({"ssm__conv_kernel": 4}, "ssm.conv_kernel is 4; this field is not supported"),
        ({"block_count": None}, "block_count is missing"),
        ({"block_count": 4}, "missing tensors: "),
        ({"block_count": 2}, "tensors that the header has no place for: "),
        ({"feed_forward_length": 25}, "tensors of another shape than the header says: "),
        ({"context_length": "long"}, "context_length is 'long'; it must be a whole number"),
    ],
)
def test_settings_that_the_decoder_does_not_have(changes: dict, part: str, tmp_path: Path) -> None:
    config, weights, _ = golden_arrays("llama")
    path = write_gguf(tmp_path / "model.gguf", config, weights, **changes)
    with pytest.raises(UserError) as error:
        load_model(path)
    assert str(path) in str(error.value) and part in str(error.value)


def test_rotary_factors_of_another_kind(tmp_path: Path, monkeypatch) -> None:
    config, weights, _ = golden_arrays("llama")
    for factors in ([1, 2, 3, 4, 8], [1, 1, 1, 1, np.nan], [1, 1, 1, 1, 0]):
        monkeypatch.setattr(gguf_toys, "_llama3_factors", lambda _, factors=factors: np.array(factors, np.float32))
        with pytest.raises(UserError, match=r"rope_freqs\.weight stretches rotary frequencies in another way"):
            read_model_config(write_gguf(tmp_path / "model.gguf", config, weights))


def test_what_is_no_model(tmp_path: Path) -> None:
    for name, architecture in (("adapter", "llama"), ("other", "mamba")):
        writer = gguf.GGUFWriter(tmp_path / f"{name}.gguf", architecture)
        writer.add_tensor("x", np.zeros(4, np.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    with pytest.raises(UserError, match=r"architecture is 'mamba', which is not supported; there are gemma2, gemma3, "):
        load_model(tmp_path / "other.gguf")
    with pytest.raises(UserError, match=r"no token_embd.weight: give the file of a model"):
        read_model_config(tmp_path / "adapter.gguf")
    os.mkfifo(tmp_path / "fifo.gguf")
    for name in ("fifo.gguf", "absent.gguf"):
        with pytest.raises(UserError, match=r"fifo|no model at"):
            load_model(tmp_path / name)


def test_weights_that_are_not_finite(tmp_path: Path) -> None:
    config, weights, _ = golden_arrays("llama")
    weights["model.layers.1.mlp.up_proj.weight"][3, 2] = np.nan
    with pytest.raises(UserError, match=r"blk\.1\.ffn_up\.weight holds numbers that are not finite"):
        load_model(write_gguf(tmp_path / "model.gguf", config, weights))


def test_a_file_cut_off_anywhere_is_one_line(llama_file: Path, tmp_path: Path) -> None:
    content = llama_file.read_bytes()
    for size in (0, 3, 4, 8, 20, 24, 30, *range(40, len(content), 3000), len(content) - 1):
        (tmp_path / "cut.gguf").write_bytes(content[:size])
        with pytest.raises(UserError, match=r"cut\.gguf cannot be read as GGUF \(it (ends|begins)"):
            read_gguf(tmp_path / "cut.gguf")


def text(value: bytes) -> bytes:
    return struct.pack("<Q", len(value)) + value


HUGE = 1 << 60
HOSTILE = {
    "another format": (b"PK\x03\x04", "it begins with b'PK"),
    "version 1": (b"GGUF" + struct.pack("<IQQ", 1, 0, 0), "version 1"),
    "other bytes": (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "the other order of bytes"),
    "many tensors": (b"GGUF" + struct.pack("<IQQ", 3, HUGE, 0), "tensors, of which there may be"),
    "many settings": (b"GGUF" + struct.pack("<IQQ", 3, 0, HUGE), "settings, of which there may be"),
    "long name": (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, HUGE), "bytes of a text"),
    "a name beyond the end": (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1 << 20), "it ends after 32 bytes"),
    "long list": (
        b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text(b"a") + struct.pack("<IIQ", 9, 0, HUGE),
        "items of a list",
    ),
    "list of texts beyond the end": (
        b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text(b"a") + struct.pack("<IIQ", 9, 8, 1 << 20),
        "it ends after",
    ),
    "nested list": (
        b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text(b"a") + struct.pack("<IIQ", 9, 9, 1),
        "a list of values of type 9",
    ),
    "type of a setting": (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text(b"a") + struct.pack("<I", 77), "type 77"),
    "a setting twice": (
        b"GGUF" + struct.pack("<IQQ", 3, 0, 2) + 2 * (text(b"a") + struct.pack("<IB", 0, 1)),
        "the setting 'a' stands there twice",
    ),
    "alignment": (
        b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text(b"general.alignment") + struct.pack("<II", 4, 3),
        "general.alignment is 3",
    ),
    "split": (
        b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text(b"split.count") + struct.pack("<IH", 2, 3),
        "one part of several: join them",
    ),
}
for what, shape, kind, offset, message in (
    ("axes", (4,) * 9, 0, 0, "has 9 axes"),
    ("size", (1 << 40, 1 << 40), 0, 0, "has the shape"),
    ("empty", (0,), 0, 0, "has the shape [0]"),
    ("rows of part blocks", (33,), 2, 0, "of type Q4_0 has the shape [33]"),
    ("beyond the end", (1 << 20,), 0, 0, "within 'w', as half-fetched files do"),
    ("offset", (4,), 0, HUGE, "within 'w'"),
    ("type", (4,), 9999, 0, "the type number 9999"),
):
    fields = text(b"w") + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)
    HOSTILE[f"tensor: {what}"] = (b"GGUF" + struct.pack("<IQQ", 3, 1, 0) + fields, message)
HOSTILE["tensor: twice"] = (
    b"GGUF" + struct.pack("<IQQ", 3, 2, 0) + 2 * (text(b"w") + struct.pack("<IQIQ", 1, 1, 0, 0)) + bytes(100),
    "the tensor 'w' stands there twice",
)


@pytest.mark.parametrize("what", HOSTILE)
def test_damaged_and_hostile_headers_are_one_line(what: str, tmp_path: Path) -> None:
    content, part = HOSTILE[what]
    (tmp_path / "bad.gguf").write_bytes(content)
    with pytest.raises(UserError) as error:
        read_gguf(tmp_path / "bad.gguf")
    assert part in str(error.value) and "bad.gguf" in str(error.value) and "\n" not in str(error.value)
