"""Model configurations: what cannot be is refused by name, and JSON comes back as it went."""

import dataclasses
import json

import pytest

from sml_jax.common.errors import UserError
from sml_jax.models.config import DecoderConfig
from sml_jax.models.ops.rope import RopeScaling

SIZES = {
    "vocab_size": 8,
    "embed_dim": 8,
    "layers": 3,
    "heads": 4,
    "kv_heads": 2,
    "head_dim": 4,
    "mlp_dim": 8,
    "max_length": 16,
}


@pytest.mark.parametrize("name", SIZES)
def test_sizes_are_positive(name: str) -> None:
    with pytest.raises(UserError, match=rf"model: {name} is 0; it must be at least 1"):
        DecoderConfig(**{**SIZES, name: 0})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kv_heads": 3}, r"heads \(4\) must be a multiple of kv_heads \(3\)"),
        ({"head_dim": 5}, r"head_dim is 5; rotary embeddings need an even number"),
        ({"layer_pattern": ()}, r'layer_pattern is \(\); it takes "global", "local" and "delta"'),
        ({"layer_pattern": ("global", "wide")}, r"layer_pattern is \('global', 'wide'\)"),
        ({"layer_pattern": ("local", "global")}, r"window is 0; local layers .* need at least 1"),
    ],
)
def test_what_cannot_be_is_named(changes: dict, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        DecoderConfig(**{**SIZES, **changes})
    assert "\n" not in str(caught.value)


def test_layer_kinds_repeat_over_the_depth() -> None:
    config = DecoderConfig(**{**SIZES, "layers": 5}, layer_pattern=("local", "local", "global"), window=2)
    assert config.local_layers == (True, True, False, True, True)
    assert DecoderConfig(**SIZES).local_layers == (False, False, False)


@pytest.mark.parametrize(
    "config",
    [
        DecoderConfig(**SIZES),
        DecoderConfig(
            **SIZES,
            activation="gelu",
            layer_pattern=("local", "global"),
            window=7,
            rope_local_base=10_000.0,
            rope_scaling=RopeScaling("llama3", 8.0, 1.0, 4.0, 4096),
            attention_softcap=50.0,
            final_softcap=30.0,
            qk_norm=True,
            tied_embeddings=False,
            dtype="bfloat16",
            param_dtype="bfloat16",
        ),
    ],
)
def test_json_round_trip(config: DecoderConfig) -> None:
    again = DecoderConfig.from_json(config.to_json())
    assert again == config and hash(again) == hash(config)


def test_an_unknown_field_is_named() -> None:
    values = dataclasses.asdict(DecoderConfig(**SIZES)) | {"rotary_base": 1.0}
    with pytest.raises(UserError, match=r"unknown fields \['rotary_base'\]; known are .*'rope_base'"):
        DecoderConfig.from_json(json.dumps(values))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ('{"vocab_size": 8}', "missing"),
        ('{"rope_scaling": {"kind": "yarn"}}', "rope_scaling.kind is 'yarn'"),
        ('{"rope_scaling": {"speed": 2}}', "speed"),
    ],
)
def test_what_from_json_cannot_read_is_named(text, message):
    with pytest.raises(UserError, match=message):
        DecoderConfig.from_json(text)


def test_an_unknown_activation_is_no_silent_default():
    sizes = dict.fromkeys(
        ("vocab_size", "embed_dim", "layers", "heads", "kv_heads", "head_dim", "mlp_dim", "max_length"), 2
    )
    with pytest.raises(UserError, match="activation is 'relu'"):
        DecoderConfig(**sizes, activation="relu")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ('"layers": 10000000000000', "layers is 10000000000000; it must be at most 2000"),
        ('"embed_dim": 8.0', "embed_dim is 8.0; it takes int"),
        ('"embed_dim": true', "embed_dim is True; it takes int"),
        ('"embed_dim": "8"', "embed_dim is '8'; it takes int"),
        ('"qk_norm": 1', "qk_norm is 1; it takes bool"),
        ('"rope_base": NaN', "rope_base is nan; it takes float"),
        (f'"rope_base": {10**400}', "rope_base is 1000"),
        ('"rope_local_base": "x"', r"rope_local_base is 'x'; it takes float or null"),
        ('"layer_pattern": 5', "layer_pattern is 5; it takes"),
        ('"layer_pattern": [5]', "layer_pattern is list; it takes"),
        ('"rope_scaling": 5', "rope_scaling must be a JSON object"),
        ('"rope_scaling": {"factor": "2"}', "factor is '2'; it takes float"),
        ('"lora": [1]', "lora must be a JSON object"),
        ('"lora": {"rank": 2.5}', "rank is 2.5; it takes int"),
        ('"lora": {"targets": 3}', "targets is 3; it takes"),
    ],
)
def test_a_value_of_another_type_is_named(change, message):
    sizes = json.dumps({name: value for name, value in SIZES.items() if f'"{name}"' not in change})
    with pytest.raises(UserError, match=message):
        DecoderConfig.from_json(f"{sizes[:-1]}, {change}}}")


@pytest.mark.parametrize("text", ["[]", "3", '"vocab_size"', "null", '[["vocab_size"]]', "[" * 100_000, ""])
def test_what_is_no_object_is_said(text):
    with pytest.raises(UserError, match=r"not JSON|must be a JSON object"):
        DecoderConfig.from_json(text)
