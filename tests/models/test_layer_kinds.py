"""Which layers are of one kind, where their parameters lie, and in what stretches they are run."""

import random

import pytest

from sml_jax.common.errors import UserError
from sml_jax.models.config import DecoderConfig, canonical
from sml_jax.models.layer_kinds import (
    kv_sources,
    layer_kinds,
    layer_places,
    layers_are_alike,
    layers_of_stacks,
    stretches,
)

SIZES = dict(vocab_size=11, embed_dim=8, heads=4, kv_heads=2, head_dim=4, mlp_dim=8, max_length=64)
LOCAL4 = ("local",) * 4 + ("global",)


def config(pattern: tuple[str, ...], layers: int | None = None, **fields) -> DecoderConfig:
    return DecoderConfig(**SIZES, layers=layers or len(pattern), layer_pattern=pattern, window=5, **fields)


def test_layers_that_differ_in_mask_and_rotation_alone_are_one_stack() -> None:
    alike = config(("local", "local", "global"), 7, rope_local_base=100.0, qk_norm=True)
    assert layers_are_alike(alike)
    assert [kind.name for kind in layer_kinds(alike)] == [
        "local",
        "local",
        "global",
        "local",
        "local",
        "global",
        "local",
    ]
    assert layer_places(alike) == tuple((("layers",), i) for i in range(7))
    assert [(s.first, s.period, s.repeats) for s in stretches(alike)] == [(0, 1, 7)]


def test_the_layers_of_gemma_4_e2b() -> None:
    e2b = config(LOCAL4, 35, global_head_dim=8, kv_sharing_layers=20, sharing_mlp_dim=16)
    kinds = layer_kinds(e2b)
    assert [(k.name, k.head_dim, k.mlp_dim, k.shares_kv) for k in (kinds[0], kinds[4], kinds[15], kinds[34])] == [
        ("local", 4, 8, False),
        ("global", 8, 8, False),
        ("local_sharing", 4, 16, True),
        ("global_sharing", 8, 16, True),
    ]
    # Layers 13 and 14 are the last of their kinds with keys and values of their own.
    assert kv_sources(e2b) == (None,) * 15 + (13, 13, 13, 13, 14) * 4
    assert layers_of_stacks(e2b)["layers", "global"] == (4, 9, 14)
    assert layer_places(e2b)[19] == (("layers", "global_sharing"), 0)
    # Two periods, three local layers, the two that others read, and four periods of those that read.
    assert sum(s.period for s in stretches(e2b)) <= 15


def test_the_layers_of_gemma_4_12b() -> None:
    dense = config(("local",) * 5 + ("global",), 48, global_head_dim=8, global_kv_heads=1, global_key_as_value=True)
    assert [(s.first, s.period, s.repeats) for s in stretches(dense)] == [(0, 6, 8)]
    assert {(k.name, k.kv_heads, k.key_as_value) for k in layer_kinds(dense)} == {
        ("local", 2, False),
        ("global", 1, True),
    }


def test_any_pattern_is_covered_once_and_in_order() -> None:
    rng = random.Random(0)
    for _ in range(200):
        layers = rng.randint(2, 24)
        pattern = tuple(rng.choice(("local", "global")) for _ in range(rng.randint(1, layers)))
        try:
            c = config(pattern, layers, global_head_dim=8, kv_sharing_layers=rng.randint(0, layers - 1))
        except UserError as error:
            assert "no earlier layer is" in str(error)
            continue
        kinds, sources = layer_kinds(c), kv_sources(c)
        reached = 0
        for stretch in stretches(c):
            assert stretch.first == reached
            reached += stretch.period * stretch.repeats
            for layer in range(stretch.first, reached):
                assert kinds[layer] == kinds[stretch.first + (layer - stretch.first) % stretch.period]
                # What others read is a result of code that runs once.
                assert layer not in sources or stretch.repeats == 1
        assert reached == layers
        assert sorted(layer for stack in layers_of_stacks(c).values() for layer in stack) == list(range(layers))
        for layer, source in enumerate(sources):
            assert source is None or (source < layer and kinds[source].is_local == kinds[layer].is_local)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kv_sharing_layers": 3}, "kv_sharing_layers is 3; it must be from 0 to 2"),
        ({"kv_sharing_layers": 2}, "no earlier layer is global"),
        ({"global_kv_heads": 3}, r"heads \(4\) must be a multiple of global_kv_heads \(3\)"),
        ({"global_head_dim": 5}, "global_head_dim is 5; rotary embeddings need an even number"),
        ({"sharing_mlp_dim": 0}, "sharing_mlp_dim is 0"),
        ({"per_layer_dim": -1}, "per_layer_dim is -1"),
    ],
)
def test_what_cannot_be_is_refused(fields, message) -> None:
    with pytest.raises(UserError, match=message):
        config(("local", "local", "global"), **fields)


def test_fields_without_effect_have_one_form() -> None:
    plain = config(("local", "global"))
    said = config(("local", "global"), global_head_dim=4, global_kv_heads=2, sharing_mlp_dim=9, per_layer_vocab_size=7)
    assert canonical(said) == canonical(plain)
    # Without local layers the sizes of global ones are those of all.
    all_global = canonical(config(("global",), global_head_dim=8, global_kv_heads=1))
    assert (all_global.head_dim, all_global.kv_heads, all_global.global_head_dim) == (8, 1, None)
    # The scale of attention is each layer's own where it is not given.
    scaled = canonical(config(("local", "global"), global_head_dim=8, attention_scale=0.5))
    assert scaled.attention_scale == 0.5
