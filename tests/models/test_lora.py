"""Adapters: fresh ones change nothing, merged ones compute the same, and they come back from disk on their own base."""

import dataclasses
import json
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from jax.sharding import PartitionSpec as P

from sml_jax.common.errors import UserError
from sml_jax.engine.engine import Engine
from sml_jax.engine.sampling import row_keys
from sml_jax.models.config import LORA_TARGETS, DecoderConfig, LoraConfig
from sml_jax.models.decoder import Decoder, abstract_params, count_params, init_params
from sml_jax.models.hf.checkpoint import load_model, save_model
from sml_jax.models.layout import shard_params
from sml_jax.models.lora import (
    add_lora,
    check_lora,
    join_lora,
    load_adapters,
    merge_lora,
    save_adapters,
    split_lora,
    split_trainable,
    without_lora,
)
from sml_jax.sharding import AXES, make_mesh

CONFIG = DecoderConfig(
    vocab_size=14, embed_dim=16, layers=2, heads=4, kv_heads=2, head_dim=6, mlp_dim=20, max_length=64, qkv_bias=True
)
LORA = LoraConfig(rank=3, alpha=5.0)
# Inputs and outputs of each projection of `CONFIG`.
SIDES = {
    "query": (16, 24),
    "key": (16, 12),
    "value": (16, 12),
    "out": (24, 16),
    "gate": (16, 20),
    "up": (16, 20),
    "down": (20, 16),
}
TOKENS = np.random.default_rng(0).integers(0, 14, (3, 7)).astype(np.int32)


def logits(model: Decoder, params: dict) -> np.ndarray:
    """[3, 7, vocab] of `TOKENS`."""
    return np.asarray(_forward(model)(params, jnp.asarray(TOKENS)), np.float32)


@cache
def _forward(model: Decoder) -> Callable[..., jax.Array]:
    return jax.jit(model.apply)


def random_like(shapes: Any, seed: int) -> Any:
    """Random arrays of given shapes: for these, no program has to be compiled."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: jnp.asarray(rng.normal(0, 0.2, leaf.shape), leaf.dtype), shapes)


@cache
def plain_params(config: DecoderConfig) -> dict:
    return random_like(jax.eval_shape(partial(init_params, Decoder(config)), jax.random.key(0)), 0)


@cache
def fresh() -> tuple[Decoder, dict]:
    """A model with new adapters."""
    return add_lora(Decoder(CONFIG), plain_params(CONFIG), LORA, jax.random.key(2))


def adapted(lora: LoraConfig = LORA, config: DecoderConfig = CONFIG, seed: int = 1) -> tuple[Decoder, dict]:
    """A model whose adapters have moved: no B is zero."""
    model = Decoder(dataclasses.replace(config, lora=lora))
    shapes = split_lora(jax.eval_shape(partial(init_params, model), jax.random.key(0)))[1]
    return model, join_lora(plain_params(config), random_like(shapes, seed))


def same(one: Any, other: Any) -> bool:
    return jax.tree.structure(one) == jax.tree.structure(other) and all(
        map(np.array_equal, jax.tree.leaves(one), jax.tree.leaves(other))
    )


@pytest.fixture
def base() -> dict:
    return plain_params(CONFIG)


def test_a_fresh_adapter_gives_exactly_the_bases_logits(base: dict) -> None:
    model, params = fresh()
    assert model.config.lora == LORA
    adapters = split_lora(params)[1]
    for path, leaf in jax.tree_util.tree_leaves_with_path(adapters):
        assert leaf.dtype == jnp.float32
        assert bool(jnp.all(leaf == 0)) == (path[-1].key == "b"), path
    np.testing.assert_array_equal(logits(model, params), logits(Decoder(CONFIG), base))
    other = add_lora(Decoder(CONFIG), base, LORA, jax.random.key(3))[1]
    assert same(split_lora(other)[0], base) and not same(other, params)
    # The base's arrays themselves, not copies of them.
    assert params["params"]["layers"]["mlp"]["up"]["kernel"] is base["params"]["layers"]["mlp"]["up"]["kernel"]


def test_a_projection_by_hand(base: dict) -> None:
    """y = x W + (x A) B alpha / rank: the kernels W + A B alpha / rank, made in NumPy, give the same logits."""
    model, params = adapted()
    layers = params["params"]["layers"]
    rooms = {name: "attention" if name in layers["attention"] else "mlp" for name in LORA_TARGETS}
    _, merged = merge_lora(model, params)
    plain = jax.tree.map(np.asarray, base)
    for name, (inputs, outputs) in SIDES.items():
        kernel = plain["params"]["layers"][rooms[name]][name]["kernel"]
        pair = layers[rooms[name]][f"{name}_lora"]
        a, b = np.asarray(pair["a"]).reshape(2, inputs, 3), np.asarray(pair["b"]).reshape(2, 3, outputs)
        by_hand = kernel + (np.einsum("lir,lro->lio", a, b) * 5.0 / 3).reshape(kernel.shape)
        plain["params"]["layers"][rooms[name]][name]["kernel"] = by_hand
        np.testing.assert_allclose(merged["params"]["layers"][rooms[name]][name]["kernel"], by_hand, atol=1e-6)
    np.testing.assert_allclose(logits(model, params), logits(Decoder(CONFIG), plain), atol=1e-5, rtol=1e-5)
    assert not np.allclose(logits(model, params), logits(Decoder(CONFIG), base), atol=1e-2)


@pytest.mark.parametrize("targets", [("query",), ("out", "value"), ("down", "gate", "up"), LORA_TARGETS])
def test_only_targets_have_adapters_and_their_size_is_by_formula(base: dict, targets: tuple[str, ...]) -> None:
    lora = LoraConfig(rank=3, targets=targets)
    model, params = adapted(lora)
    kept, adapters = split_lora(params)
    assert same(kept, base) and same(join_lora(kept, adapters), params)
    assert count_params(adapters) == CONFIG.layers * sum(3 * sum(SIDES[name]) for name in targets)
    names = {path[-2].key for path, _ in jax.tree_util.tree_leaves_with_path(adapters)}
    assert names == {f"{name}_lora" for name in targets}
    _, merged = merge_lora(model, params)
    changed = jax.tree.map(lambda one, other: not np.array_equal(one, other), merged, base)
    paths = [path for path, leaf in jax.tree_util.tree_leaves_with_path(changed) if leaf]
    assert sorted((path[-2].key, path[-1].key) for path in paths) == sorted((name, "kernel") for name in targets)


def test_merged_equals_unmerged_with_everything_that_families_do() -> None:
    config = dataclasses.replace(
        CONFIG,
        layers=3,
        layer_pattern=("local", "global"),
        window=3,
        qk_norm=True,
        post_norms=True,
        norm_plus_one=True,
        embedding_scale=True,
        attention_softcap=20.0,
        final_softcap=10.0,
        activation="gelu",
        tied_embeddings=False,
        remat=True,
    )
    model, params = adapted(LORA, config)
    merged, merged_params = merge_lora(model, params)
    assert merged.config == config and jax.tree.structure(merged_params) == jax.tree.structure(plain_params(config))
    np.testing.assert_allclose(logits(merged, merged_params), logits(model, params), atol=1e-5)


def test_bfloat16_weights_keep_their_type_and_adapters_stay_float32() -> None:
    config = dataclasses.replace(CONFIG, dtype="bfloat16", param_dtype="bfloat16")
    model, params = adapted(LORA, config)
    assert {leaf.dtype for leaf in jax.tree.leaves(split_lora(params)[1])} == {jnp.dtype("float32")}
    _, merged_params = merge_lora(model, params)
    shapes = jax.tree.map(lambda x: (x.shape, x.dtype), (merged_params, plain_params(config)))
    assert shapes[0] == shapes[1]
    assert jax.eval_shape(model.apply, params, TOKENS).dtype == jnp.float32
    mlp = params["params"]["layers"]["mlp"]
    delta = jnp.einsum("lir,lro->lio", mlp["up_lora"]["a"], mlp["up_lora"]["b"]) * LORA.scale
    want = (mlp["up"]["kernel"].astype(jnp.float32) + delta).astype(jnp.bfloat16)
    np.testing.assert_allclose(
        merged_params["params"]["layers"]["mlp"]["up"]["kernel"].astype(jnp.float32),
        want.astype(jnp.float32),
        rtol=1e-2,
    )


def test_a_plain_model_merges_to_itself_and_all_of_it_is_trainable(base: dict) -> None:
    model = Decoder(CONFIG)
    assert merge_lora(model, base) == (model, base)
    assert split_trainable(base) == ({}, base)
    assert split_lora(base)[1] == {} and same(split_lora(base)[0], base)


@pytest.mark.slow
def test_the_adapted_model_samples_what_the_merged_one_does(base: dict) -> None:
    """`extend` and `decode` through the engine, from contexts put in piece by piece."""
    model, params = adapted()
    mesh = jax.make_mesh((1, 1, 1), AXES, devices=jax.devices()[:1], axis_types=(jax.sharding.AxisType.Auto,) * 3)

    def play(model: Decoder, params: dict) -> Any:
        engine = Engine(
            model,
            max_concurrent=3,
            max_length=32,
            max_new_tokens=8,
            stop_ids=(2,),
            chunk_sizes=(4,),
            capacities=(32,),
            mesh=mesh,
        )
        params, cache, start = engine.prepare_params(params), engine.empty_cache(), np.zeros(3, np.int32)
        for count in ([4, 2, 1], [2, 0, 0]):
            size = np.array(count, np.int32)
            cache = engine.extend(params, cache, TOKENS[:, start[0] : start[0] + 4], start, size)
            start = start + size
        keys = row_keys(jax.random.key(0), jnp.arange(3, dtype=jnp.uint32))
        last, limit = TOKENS[:, -1], np.full(3, 8, np.int32)
        return jax.device_get(engine.decode(params, cache, last, start, limit, keys)[1])

    one, other = play(model, params), play(*merge_lora(model, params))
    assert one.count.sum() > 3
    np.testing.assert_array_equal(one.count, other.count)
    live = np.arange(8) < one.count[:, None]
    np.testing.assert_array_equal(np.where(live, one.tokens, 0), np.where(live, other.tokens, 0))
    np.testing.assert_allclose(np.where(live, one.logprob, 0), np.where(live, other.logprob, 0), atol=1e-4)


def test_adapters_lie_on_a_mesh_as_their_projections_do(base: dict) -> None:
    model, params = adapted()
    mesh = make_mesh(2, 2, 2)
    sharded = shard_params(mesh, model, params)
    layers = sharded["params"]["layers"]
    assert layers["attention"]["query_lora"]["a"].sharding.spec == P(None, "fsdp", None)
    assert layers["attention"]["query_lora"]["b"].sharding.spec == P(None, None, "tensor", None)
    assert layers["attention"]["out_lora"]["a"].sharding.spec == P(None, "tensor", None, None)
    assert layers["mlp"]["down_lora"]["b"].sharding.spec == P(None, None, "fsdp")
    np.testing.assert_allclose(logits(model, sharded), logits(model, params), atol=1e-5, rtol=1e-5)
    _, merged_params = merge_lora(model, sharded)
    for leaf, old in zip(jax.tree.leaves(merged_params), jax.tree.leaves(split_lora(sharded)[0]), strict=True):
        assert leaf.sharding.is_equivalent_to(old.sharding, leaf.ndim)
    alone = merge_lora(model, params)[1]
    jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, atol=1e-6), merged_params, alone)


def test_abstract_params_name_the_layers_axis(base: dict) -> None:
    model = without_lora(Decoder(CONFIG))
    assert model == Decoder(CONFIG)
    specs = nn.get_partition_spec(abstract_params(adapted()[0]))["params"]["layers"]
    assert specs["attention"]["key_lora"] == {
        "a": P("layers", "embed", None),
        "b": P("layers", None, "kv_heads", "head_dim"),
    }


def test_adapters_alone_come_back_bit_for_bit(base: dict, tmp_path: Path) -> None:
    for seed in range(2):  # the second replaces the first
        model, params = adapted(seed=seed)
        save_adapters(tmp_path, model, params)
    with ocp.StandardCheckpointer() as checkpointer:
        assert same(checkpointer.restore(tmp_path / "adapters"), split_lora(params)[1])  # no base beside them
    runs_else = Decoder(
        dataclasses.replace(CONFIG, max_length=32, remat=True, cache_dtype="bfloat16", rollout_weights="int8")
    )
    again, loaded_params = load_adapters(tmp_path, runs_else, base)
    assert again.config == dataclasses.replace(runs_else.config, lora=LORA)
    assert same(loaded_params, params)
    # On a model that has adapters, the saved ones take their place, whatever the others' rank.
    other, theirs = adapted(LoraConfig(rank=2, targets=("up",)))
    assert same(load_adapters(tmp_path, other, theirs)[1], params)


def test_a_model_folder_holds_adapters_too(base: dict, tmp_path: Path) -> None:
    model, params = adapted()
    save_model(tmp_path, model.config, params)
    again, loaded_params = load_model(tmp_path)
    assert again == model and same(loaded_params, params)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"embed_dim": 32}, "made for a base whose embed_dim is 16, but this one's is 32: give the base"),
        ({"layers": 4}, "layers is 2, but this one's is 4"),
        ({"rope_base": 1e6}, "rope_base is 10000.0"),
    ],
)
def test_adapters_of_another_base_are_refused(base: dict, tmp_path: Path, changes: dict, message: str) -> None:
    (tmp_path / "adapters").mkdir()
    (tmp_path / "adapters.json").write_text(dataclasses.replace(CONFIG, lora=LORA).to_json())
    other = Decoder(dataclasses.replace(CONFIG, **changes))
    with pytest.raises(UserError, match=message) as caught:
        load_adapters(tmp_path, other, base)
    assert "\n" not in str(caught.value)


def test_adapters_that_cannot_be_read(base: dict, tmp_path: Path) -> None:
    plain = Decoder(CONFIG)
    (tmp_path / "adapters.json").write_text(dataclasses.replace(CONFIG, lora=LORA).to_json())
    with pytest.raises(UserError, match=r"no adapters at .*: give a folder that holds adapters\.json and adapters/"):
        load_adapters(tmp_path, plain, base)
    save_adapters(tmp_path, *adapted())
    described = json.loads((tmp_path / "adapters.json").read_text())
    (tmp_path / "adapters.json").write_text(CONFIG.to_json())
    with pytest.raises(UserError, match=r"adapters\.json: names no adapters"):
        load_adapters(tmp_path, plain, base)
    (tmp_path / "adapters.json").write_text("{")
    with pytest.raises(UserError, match=r"adapters\.json: model config: not JSON"):
        load_adapters(tmp_path, plain, base)
    (tmp_path / "adapters.json").write_text(json.dumps({**described, "lora": {**described["lora"], "rank": 4}}))
    with pytest.raises(UserError, match=r"cannot be read as adapters\.json describes them") as caught:
        load_adapters(tmp_path, plain, base)
    assert "\n" not in str(caught.value)


def test_model_and_parameters_that_do_not_belong_together(base: dict, tmp_path: Path) -> None:
    plain, (model, params) = Decoder(CONFIG), adapted()
    check_lora(plain, base)
    check_lora(model, params)
    with pytest.raises(UserError, match="the model has adapters, but the parameters have none"):
        merge_lora(model, base)
    with pytest.raises(UserError, match="the parameters have adapters, but the model does not use them"):
        merge_lora(plain, params)
    with pytest.raises(UserError, match="no adapters to save"):
        save_adapters(tmp_path, plain, base)
    for again in ((model, params), (plain, params), (model, base)):
        with pytest.raises(UserError, match="has adapters already"):
            add_lora(*again, LORA, jax.random.key(0))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rank": 0}, "lora: rank is 0; it must be at least 1"),
        ({"rank": -4}, "rank is -4"),
        ({"alpha": 0.0}, "alpha is 0.0; give a number above 0"),
        ({"alpha": float("nan")}, "alpha is nan"),
        ({"targets": ()}, "targets are empty; they take 'query', "),
        ({"targets": ("query", "embedding")}, r"targets hold \['embedding'\]; they take 'query', .*'down'"),
    ],
)
def test_settings_that_cannot_be(changes: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        LoraConfig(**changes)


def test_settings_in_json() -> None:
    lora = LoraConfig(rank=4, alpha=8.0, targets=("up", "query", "up"))
    assert lora.targets == ("query", "up") and lora.scale == 2.0
    config = dataclasses.replace(CONFIG, lora=lora)
    again = DecoderConfig.from_json(config.to_json())
    assert again == config and hash(again) == hash(config)
    values = json.loads(CONFIG.to_json())
    assert DecoderConfig.from_json(json.dumps({**values, "lora": {"rank": 4, "alpha": 8}})).lora == LoraConfig(4, 8.0)
    # What was written before there were adapters.
    del values["lora"]
    assert DecoderConfig.from_json(json.dumps(values)) == CONFIG


@pytest.mark.parametrize(
    ("lora", "message"),
    [
        ({"rank": 0}, "rank is 0"),
        ({"targets": ["mlp"]}, r"targets hold \['mlp'\]"),
        ({"ranks": 8}, "ranks"),
        ({"targets": None}, "targets is None; it takes a list of texts"),
        ("all", "lora must be a JSON object"),
    ],
)
def test_settings_in_json_that_cannot_be(lora: Any, message: str) -> None:
    text = json.dumps({**json.loads(CONFIG.to_json()), "lora": lora})
    with pytest.raises(UserError, match=message) as caught:
        DecoderConfig.from_json(text)
    assert "\n" not in str(caught.value)


def test_the_shipped_model_loads() -> None:
    model, _ = load_model("pocket")
    assert model.config.lora is None
