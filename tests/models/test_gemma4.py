"""Gemma 4: gradients, dialogues through the engine, and what its files may hold besides the language model.

Logits, greedy decoding and conversion are compared with `transformers` in test_parity.py, as for every family.
"""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from make_golden import FOLDER
from safetensors.numpy import load_file, save_file

from sml_jax.common.errors import UserError
from sml_jax.engine import ContextBatch, Engine
from sml_jax.models import Decoder, load_model
from sml_jax.models.decoder import init_params
from sml_jax.models.hf.config import config_from_hf, config_to_hf
from sml_jax.models.hf.names import placements
from sml_jax.sharding import AXES


@pytest.fixture(scope="module", params=["gemma4_e", "gemma4_dense"])
def folder(request, tmp_path_factory):
    to = tmp_path_factory.mktemp(request.param)
    with np.load(FOLDER / f"{request.param}.npz") as file:
        (to / "config.json").write_bytes(file["config.json"].tobytes())
        weights = {key[len("weight/") :]: file[key].astype(np.float32) for key in file if key.startswith("weight/")}
    save_file(weights, to / "model.safetensors", metadata={"format": "pt"})
    return to


def gradients(model, params, tokens):
    return jax.jit(jax.grad(lambda p: jnp.mean(jnp.square(model.apply(p, tokens)))))(params)


def test_gradients_are_the_same_with_every_remat_and_those_of_transformers(folder) -> None:
    torch = pytest.importorskip("torch", reason="the live comparison needs torch")
    transformers = pytest.importorskip("transformers", reason="the live comparison needs transformers")
    model, params = load_model(folder)
    tokens = np.random.default_rng(0).integers(0, 53, (2, 12)).astype(np.int32)
    ours = gradients(model, params, jnp.asarray(tokens))
    for remat in ("layer", "dots"):
        again = gradients(Decoder(dataclasses.replace(model.config, remat=remat)), params, jnp.asarray(tokens))
        # Remat sums in another order. Over the whole gradient that is within 1e-5; the leaves with the smallest
        # gradients, which are sums of terms that cancel, were seen to differ by 2e-5 on some processors.
        difference = jax.tree.map(jnp.subtract, again, ours)
        assert optax.global_norm(difference) <= 1e-5 * optax.global_norm(ours)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4 * np.abs(a).max() + 1e-9, rtol=0), ours, again
        )

    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype="float32", attn_implementation="eager")
    theirs(torch.tensor(tokens, dtype=torch.long), use_cache=False).logits.square().mean().backward()
    weights = dict(theirs.named_parameters())
    compared = 0
    for path, place in placements(model.config).items():
        gradient = ours["params"]
        for name in path:
            gradient = gradient[name]
        for index, name in enumerate(place.names()):
            if name not in weights:
                # The scalar of a layer is no weight of theirs, and gets no gradient here.
                assert name.endswith("layer_scalar") and not np.asarray(gradient).any()
                continue
            of_one = place.stored_view(np.asarray(gradient[index] if place.stacked else gradient))
            wanted = weights[name].grad.numpy()
            np.testing.assert_allclose(of_one, wanted, atol=1e-3 * np.abs(wanted).max() + 1e-7, rtol=0, err_msg=name)
            compared += 1
    assert compared == len(weights)


# `pytest -m slow tests/models/test_gemma4.py`
@pytest.mark.slow
@pytest.mark.parametrize(
    ("folder", "attention"),
    [
        ("gemma4_e", "auto"),
        ("gemma4_dense", "auto"),
        # The C++ is asked for layers of both sizes.
        ("gemma4_e", "native"),
    ],
    indirect=["folder"],
)
def test_a_dialogue_with_copies_and_rewinds_has_the_log_probabilities_of_one_pass(folder, attention) -> None:
    model, params = load_model(folder)
    if attention == "native":
        # Its heads have a multiple of 16 numbers.
        model = Decoder(dataclasses.replace(model.config, attention="native", head_dim=16, global_head_dim=32))
        params = init_params(model, jax.random.key(3))
    mesh = jax.make_mesh((1, 1, 1), AXES, axis_types=(jax.sharding.AxisType.Auto,) * 3, devices=jax.devices()[:1])
    options = dict(stop_ids=(1,), chunk_sizes=(8,), capacities=(32, 160), decode_steps=8, max_rewind=8, mesh=mesh)
    engine = Engine(model, 3, 128, 16, **options)
    # Local layers wrap round below, where that saves anything.
    assert bool(engine.layout.ring_size) == (attention == "auto")
    rng = np.random.default_rng(1)
    batch = ContextBatch(engine, params, jax.random.key(0))
    opening, sampled = rng.integers(2, 53, 20).tolist(), {row: {} for row in range(3)}

    def sample(rows, salt):
        for row, utterance in zip(rows, batch.sample(rows, 16, salt), strict=True):
            end = len(batch.context(row))
            first = end - len(utterance.tokens)
            sampled[row] = {at: lp for at, lp in sampled[row].items() if at < first}
            sampled[row] |= dict(zip(range(first, end), utterance.logprobs, strict=True))

    # Two rows share an opening and one is shorter; then each goes on by itself, and a turn is drawn again.
    for row, tokens in enumerate((opening, opening, opening[:5])):
        batch.start(row, row, tokens)
    sample([0, 1, 2], 0)
    assert batch.copied_tokens == len(opening) - 1
    for turn in range(1, 4):
        for row in range(3):
            batch.append(row, rng.integers(2, 53, 3 + 4 * row).tolist())
        before = {row: len(batch.context(row)) for row in range(3)}
        sample([0, 1, 2], turn)
        batch.rewind(1, before[1])
        sample([1], 10 + turn)

    apply = jax.jit(model.apply)
    for row in range(3):
        context = np.zeros((1, 160), np.int32)
        context[0, : len(batch.context(row))] = batch.context(row)
        logprobs = jax.nn.log_softmax(apply(params, context)[0])
        places = np.array(sorted(sampled[row]))
        assert places.size > 16
        ours = np.asarray(logprobs)[places - 1, context[0, places]]
        np.testing.assert_allclose([sampled[row][at] for at in places.tolist()], ours, atol=1e-4, rtol=0)


@pytest.mark.extra
def test_other_parts_and_weights_without_use_are_left_out_and_counted(folder, tmp_path, caplog) -> None:
    text = json.loads((folder / "config.json").read_text())
    model, params = load_model(folder)
    for kind in ("gemma4", "gemma4_unified"):
        to = tmp_path / kind
        to.mkdir()
        inner = {**text, "model_type": f"{kind}_text"}
        if kind == "gemma4_unified" and text["hidden_size_per_layer_input"] == 0:
            inner = {name: value for name, value in inner.items() if "per_layer_input" not in name}
        outer = {"model_type": kind, "text_config": inner, "vision_config": {"x": 1}, "audio_config": None}
        (to / "config.json").write_text(json.dumps({**outer, "image_token_id": 7, "eoa_token_index": 8}))
        weights = load_file(folder / "model.safetensors")
        stored = {name.replace("model.", "model.language_model.", 1): value for name, value in weights.items()}
        stored |= {"model.embed_vision.x.weight": np.zeros(2, np.float32)}
        sharing = text["num_kv_shared_layers"]
        # A checkpoint may keep weights of the keys and values that the last layers do not have.
        if sharing:
            last = f"model.language_model.layers.{text['num_hidden_layers'] - 1}.self_attn"
            stored |= {
                f"{last}.k_proj.weight": np.zeros((3, 3), np.float32),
                f"{last}.k_norm.weight": np.zeros(3, np.float32),
            }
        save_file(stored, to / "model.safetensors")
        caplog.clear()
        again, params_again = load_model(to)
        assert again.config == model.config
        jax.tree.map(np.testing.assert_array_equal, params, params_again)
        assert "left out 1 tensors of embed_vision" in caplog.text
        assert ("left out 2 tensors of layers that read earlier keys and values" in caplog.text) == bool(sharing)


BASE = dict(
    model_type="gemma4_text", vocab_size=53, hidden_size=16, num_hidden_layers=3, intermediate_size=24,
    num_attention_heads=4, num_key_value_heads=2, head_dim=8, global_head_dim=12, hidden_size_per_layer_input=0,
)  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"enable_moe_block": True}, "enable_moe_block is True; supported is False"),
        ({"use_bidirectional_attention": "all"}, "use_bidirectional_attention is 'all'"),
        ({"attention_bias": True}, "attention_bias is True"),
        ({"query_pre_attn_scalar": 16}, "query_pre_attn_scalar is 16; this field is not supported"),
        ({"rope_theta": 5.0}, "rope_theta is 5.0; this field is not supported"),
        ({"per_layer_config": {"0": {"mlp": 3}}}, "mlp is 3"),
        ({"per_layer_config": {"7": {"head_dim": 8}}}, "numbers of layers below 3"),
        ({"per_layer_config": {"0": {"head_dim": 4}}}, "all local layers must have the same sizes"),
        ({"num_kv_shared_layers": 3}, "kv_sharing_layers is 3"),
        ({"hidden_size_per_layer_input": -2}, "hidden_size_per_layer_input is -2"),
        ({"rope_parameters": {"full_attention": {"rope_type": "yarn"}}}, "rope_type is 'yarn'"),
    ],
)
def test_what_is_not_supported_is_named(fields, message) -> None:
    with pytest.raises(UserError, match=message):
        config_from_hf({**BASE, **fields})


def test_both_forms_of_the_sizes_of_global_layers_are_one() -> None:
    ours = config_from_hf({**BASE, "attention_k_eq_v": True, "num_global_key_value_heads": 1})
    by_layer = {"2": {"head_dim": 12, "num_key_value_heads": 1}}
    newer = {name: value for name, value in BASE.items() if name != "global_head_dim"}
    assert config_from_hf({**newer, "attention_k_eq_v": True, "per_layer_config": by_layer}) == ours
    assert (ours.global_head_dim, ours.global_kv_heads, ours.local_layers) == (12, 1, (True, True, False))
    # Where values are not keys, transformers does not read the number of key-value heads of global layers.
    assert config_from_hf({**BASE, "num_global_key_value_heads": 1}).global_kv_heads is None
    # The default of absent rotary settings: a quarter of each global head is rotated.
    assert (ours.rope_scaling.kind, ours.rope_scaling.rotary_fraction, ours.rope_local_base) == (
        "proportional",
        0.25,
        1e4,
    )
    assert config_from_hf(config_to_hf(ours, "gemma4_text")) == ours
    unified = dataclasses.replace(ours, per_layer_dim=0)
    assert config_from_hf(config_to_hf(unified, "gemma4_unified_text")) == unified
