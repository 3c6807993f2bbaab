"""config.json: read in both forms, written back, and nothing in it ignored."""

import dataclasses
from copy import deepcopy
from typing import Any

import pytest
from hf_toys import CONFIGS, model_type
from hypothesis import given
from hypothesis import strategies as st
from published import PUBLISHED

from sml_jax.common.errors import UserError
from sml_jax.families import FAMILIES
from sml_jax.models.config import RUN_FIELDS, DecoderConfig, DeltaNetConfig, canonical
from sml_jax.models.hf.config import config_from_hf, config_to_hf, family_of_config
from sml_jax.models.ops.rope import RopeScaling

LLAMA3 = PUBLISHED["llama3_1_8b"]


def toy(name: str, **changes: Any) -> dict[str, Any]:
    # A copy to the bottom: transformers writes into the objects that it is given.
    return {**deepcopy(CONFIGS[name]), "model_type": model_type(name), **changes}


def test_gemma2_alternates_and_caps() -> None:
    config = config_from_hf(PUBLISHED["gemma2_9b"])
    assert config.layer_pattern == ("local", "global") and config.window == 4096
    assert config.attention_softcap == 50.0 and config.final_softcap == 30.0
    assert config.attention_scale is None and config.tied_embeddings  # 256 is head_dim; tied where nothing is said
    assert config.rope_local_base is None


def test_gemma3_has_two_bases_and_scales_only_global_layers() -> None:
    config = config_from_hf(PUBLISHED["gemma3_27b"])
    assert config.layer_pattern == ("local",) * 5 + ("global",) and config.local_layers[60:] == (True, True)
    assert (config.rope_base, config.rope_local_base) == (1e6, 1e4)
    assert config.rope_scaling == RopeScaling("linear", 8.0)
    assert config.attention_scale == 168**-0.5 and config.attention_softcap is None


def test_llama_head_dim_and_scaling() -> None:
    config = config_from_hf(LLAMA3)
    assert config.head_dim == 128 and not config.tied_embeddings and config.norm_eps == 1e-5
    assert config.rope_scaling == RopeScaling("llama3", 8.0, 1.0, 4.0, 8192)


def test_qwen2_slides_only_where_it_says_so() -> None:
    assert config_from_hf(PUBLISHED["qwen2_5_3b"]).layer_pattern == ("global",)
    sliding = config_from_hf(toy("qwen2_sliding"))
    assert sliding.local_layers == (False, True, True) and sliding.window == 7


def test_soft_caps_that_are_null_are_off_but_absent_ones_are_the_familys() -> None:
    assert config_from_hf(toy("gemma2", attn_logit_softcapping=None)).attention_softcap is None
    values = toy("gemma2")
    del values["attn_logit_softcapping"]
    assert config_from_hf(values).attention_softcap == 50.0


@pytest.mark.parametrize(("named", "kept"), [("bfloat16", "bfloat16"), ("float32", "float32"), ("float16", "float32")])
@pytest.mark.parametrize("field", ["dtype", "torch_dtype"])
def test_dtype(field: str, named: str, kept: str) -> None:
    config = config_from_hf(toy("llama", **{field: named}))
    assert config.dtype == config.param_dtype == kept


# The form of transformers 5: the file, and what it says in the form of 4.
FORMS = [
    ("llama", {"rope_type": "default", "rope_theta": 7.0}, {"rope_theta": 7.0, "rope_scaling": None}),
    (
        "llama",
        {"rope_type": "linear", "rope_theta": 7.0, "factor": 2.0},
        {"rope_theta": 7.0, "rope_scaling": {"type": "linear", "factor": 2.0}},
    ),
    (
        "gemma3_text",
        {
            "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 9.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 5.0},
        },
        {"rope_theta": 9.0, "rope_local_base_freq": 5.0, "rope_scaling": {"rope_type": "linear", "factor": 8.0}},
    ),
    ("gemma3_text", {"full_attention": {}}, {"rope_theta": 1e6, "rope_local_base_freq": 1e4, "rope_scaling": None}),
]


@pytest.mark.parametrize(("family", "new", "old"), FORMS)
def test_both_forms_of_rope_settings_say_the_same(family: str, new: dict, old: dict) -> None:
    plain = {k: v for k, v in toy(family).items() if not k.startswith("rope_")}
    classic = config_from_hf({**plain, **old})
    assert config_from_hf({**plain, "rope_parameters": new}) == classic
    assert config_from_hf({**plain, "rope_parameters": new, **old}) == classic  # files made for both versions
    with pytest.raises(UserError, match=r"rope_parameters and rope_theta.* disagree"):
        config_from_hf({**plain, "rope_parameters": new, **old, "rope_theta": 3.0})


REFUSED = [
    ("llama", {"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, "rope_type is 'yarn'"),
    ("llama", {"rope_scaling": {"type": "dynamic", "factor": 4.0}}, "'dynamic'"),
    ("llama", {"rope_scaling": {"rope_type": "linear", "factor": 4.0, "beta_fast": 32}}, "beta_fast is 32"),
    ("llama", {"rope_scaling": {"rope_type": "llama3", "factor": 4.0}}, "low_freq_factor is missing"),
    ("llama", {"rope_scaling": 3}, "rope_scaling is 3; it must be an object"),
    ("llama", {"rope_local_base_freq": 1e4}, "rope_local_base_freq is 10000.0"),
    ("llama", {"mlp_bias": True}, "mlp_bias is True"),
    ("llama", {"attention_bias": True}, "attention_bias is True"),
    ("qwen3", {"attention_bias": True}, "attention_bias is True"),
    ("llama", {"attention_dropout": 0.1}, "attention_dropout is 0.1"),
    ("llama", {"hidden_act": "gelu"}, "hidden_act is 'gelu'"),
    ("gemma2", {"hidden_activation": "gelu"}, "hidden_activation is 'gelu'"),
    ("gemma2", {"hidden_act": "gelu"}, "hidden_act is 'gelu'"),
    ("gemma3_text", {"use_bidirectional_attention": True}, "use_bidirectional_attention is True"),
    ("gemma2", {"sliding_window_size": 9}, "sliding_window_size is 9"),
    ("llama", {"pretraining_tp": 2}, "pretraining_tp is 2"),
    ("llama", {"partial_rotary_factor": 0.5}, "partial_rotary_factor is 0.5"),
    ("llama", {"quantization_config": {"bits": 4}}, "quantization_config is {'bits': 4}; this field is not supported"),
    ("llama", {"sliding_window": 5}, "sliding_window is 5; this field is not supported"),
    ("llama", {"num_experts": 8}, "num_experts is 8"),
    ("llama", {"hidden_size": "32"}, "hidden_size is '32'; it must be a whole number"),
    ("llama", {"hidden_size": 0}, "hidden_size is 0"),
    ("llama", {"num_hidden_layers": True}, "num_hidden_layers is True"),
    ("llama", {"rms_norm_eps": -1}, "rms_norm_eps is -1"),
    ("llama", {"tie_word_embeddings": "yes"}, "tie_word_embeddings is 'yes'; it must be true or false"),
    ("llama", {"head_dim": None, "hidden_size": 33}, "num_attention_heads is 4; it does not divide"),
    ("gemma2", {"layer_types": ["full_attention"]}, r"layer_types is \['full_attention'\]; it must list 3"),
    ("gemma2", {"layer_types": ["full_attention"] * 2 + ["chunked"]}, "layer_types"),
    ("qwen2", {"layer_types": ["sliding_attention"] * 3}, "sliding layers need use_sliding_window"),
    ("qwen2", {"use_mrope": True}, "use_mrope is True"),
    ("llama", {"model_type": "mistral"}, "'mistral' is not supported; there are gemma2, gemma3_text, gemma4_text"),
]


@pytest.mark.parametrize(("name", "changes", "part"), REFUSED)
def test_what_the_decoder_cannot_do_is_refused_by_name(name: str, changes: dict, part: str) -> None:
    with pytest.raises(UserError, match=part) as caught:
        config_from_hf(toy(name, **changes))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("field", ["hidden_size", "num_hidden_layers", "vocab_size", "intermediate_size"])
def test_a_size_that_is_missing_is_named(field: str) -> None:
    values = toy("llama")
    del values[field]
    with pytest.raises(UserError, match=f"{field} is missing"):
        config_from_hf(values)


def test_gemma3_with_vision_refuses_what_it_does_not_know_beside_the_text() -> None:
    with pytest.raises(UserError, match="audio_config"):
        config_from_hf({**PUBLISHED["gemma3_4b"], "audio_config": {"layers": 2}})
    with pytest.raises(UserError, match="text_config is missing"):
        config_from_hf({"model_type": "gemma3"})


SCALINGS = [RopeScaling(), RopeScaling("linear", 8.0), RopeScaling("llama3", 8.0, 1.0, 4.0, 64)]


@st.composite
def varied_layers(draw: st.DrawFn, layers: int, kinds: tuple[str, ...], local: bool) -> dict[str, Any]:
    """Fields of Gemma 4 for layers that differ. Each kind of the last layers is among the first."""
    key_as_value = draw(st.booleans())
    fields: dict[str, Any] = dict(
        global_head_dim=draw(st.sampled_from([None, 4, 32])),
        global_key_as_value=key_as_value,
        global_kv_heads=draw(st.sampled_from([None, 1, 4])) if key_as_value else None,
        per_layer_dim=draw(st.sampled_from([0, 3])),
        per_layer_vocab_size=draw(st.sampled_from([None, 9])),
    )
    own = max(range(1, layers + 1), key=lambda n: len({kinds[i % len(kinds)] for i in range(n)}) * layers - n)
    sharing = draw(st.integers(0, layers - own))
    return fields | dict(kv_sharing_layers=sharing, sharing_mlp_dim=None)


@st.composite
def configs(draw: st.DrawFn) -> dict[str, Any]:
    """The fields of any configuration that some family can express."""
    family = draw(st.sampled_from(sorted(FAMILIES.values(), key=lambda family: family.model_type)))
    name, layers = family.model_type, draw(st.integers(1, 7))
    kinds = ("global",)
    if name != "llama":
        kinds = tuple(draw(st.lists(st.sampled_from(["local", "global"]), min_size=1, max_size=layers)))
    if name == "qwen3_5_text":
        kinds = tuple("delta" if kind == "local" else kind for kind in kinds)
    local = any(kinds[i % len(kinds)] == "local" for i in range(layers))
    base = draw(st.sampled_from([1e4, 5e5, 1e6]))
    # The last layer of a Gemma 4 is global.
    if family.config.last_is_global and kinds[(layers - 1) % len(kinds)] == "local":
        kinds = (*(kinds[i % len(kinds)] for i in range(layers - 1)), "global")
        local = "local" in kinds
    own_base = "rope_local_base_freq" in family.config.defaults and local
    fields: dict[str, Any] = dict(family.traits)
    if family.config.score_fields:
        fields |= dict(
            attention_scale=draw(st.sampled_from([None, 168**-0.5, 24**-0.5])),
            attention_softcap=draw(st.sampled_from([None, 50.0])),
        )
    if family.config.final_softcap_field:
        fields["final_softcap"] = draw(st.sampled_from([None, 30.0]))
    if family.config.varied_layers:
        fields |= draw(varied_layers(layers, kinds, local))
    if name == "qwen3_5_text":
        key_heads, sizes = draw(st.integers(1, 4)), st.integers(1, 64)
        heads = dict(key_heads=key_heads, value_heads=key_heads * draw(st.integers(1, 3)))
        delta_net = DeltaNetConfig(**heads, key_dim=draw(sizes), value_dim=draw(sizes), taps=draw(st.integers(2, 5)))
        fields |= dict(delta_net=delta_net, rotary_dim=draw(st.sampled_from([None, 2])))
    return dict(
        vocab_size=draw(st.integers(1, 300_000)),
        embed_dim=draw(st.integers(1, 64)),
        layers=layers,
        heads=draw(st.sampled_from([4, 8])),
        kv_heads=draw(st.sampled_from([1, 2, 4])),
        head_dim=draw(st.sampled_from([2, 16, 128])),
        mlp_dim=draw(st.integers(1, 64)),
        max_length=draw(st.integers(1, 1000)),
        layer_pattern=kinds,
        window=draw(st.integers(1, 99)),
        rope_base=base,
        rope_scaling=draw(st.sampled_from(SCALINGS)),
        rope_local_base=draw(st.sampled_from([1e4, 3e4])) if own_base else None,
        norm_eps=draw(st.sampled_from([1e-5, 1e-6])),
        tied_embeddings=draw(st.booleans()),
        param_dtype=draw(st.sampled_from(["float32", "bfloat16"])),
        **fields,
    )


@given(configs())
def test_written_and_read_again_it_is_the_same(values: dict[str, Any]) -> None:
    config = DecoderConfig(**values)
    family = family_of_config(config).model_type
    again = config_from_hf(config_to_hf(config, family))
    assert again == dataclasses.replace(canonical(config), dtype=config.param_dtype)


@given(configs())
def test_canonical_says_the_same(values: dict[str, Any]) -> None:
    config = DecoderConfig(**values)
    plain = canonical(config)
    assert plain.local_layers == config.local_layers and canonical(plain) == plain
    for field in RUN_FIELDS:
        assert getattr(plain, field) == getattr(config, field)


def test_a_family_that_cannot_express_a_configuration_says_which_fields() -> None:
    qwen3 = config_from_hf(toy("qwen3"))
    with pytest.raises(UserError, match=r"a llama model cannot have qk_norm=True$"):
        config_to_hf(qwen3, "llama")
    with pytest.raises(UserError, match=r"a llama model cannot have layer_pattern=.*, window=7"):
        config_to_hf(dataclasses.replace(config_from_hf(toy("llama")), layer_pattern=("local",), window=7), "llama")
    with pytest.raises(UserError, match="'mistral' is not supported"):
        config_to_hf(qwen3, "mistral")
    with pytest.raises(UserError, match=r"no family of .* has these traits"):
        family_of_config(dataclasses.replace(qwen3, qkv_bias=True))


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_live_transformers_fills_in_the_same_and_reads_what_we_write(name: str) -> None:
    transformers = pytest.importorskip("transformers", reason="the live comparison needs transformers")
    ours = config_from_hf(toy(name))
    filled = transformers.AutoConfig.for_model(**toy(name)).to_dict()
    assert config_from_hf(filled) == ours
    written = config_to_hf(ours, toy(name)["model_type"])
    assert config_from_hf(transformers.AutoConfig.for_model(**written).to_dict()) == ours


def test_live_gemma3_with_vision_as_transformers_writes_it() -> None:
    transformers = pytest.importorskip("transformers", reason="the live comparison needs transformers")
    values = deepcopy(PUBLISHED["gemma3_12b"])
    vision = {**values["vision_config"], "num_hidden_layers": 2}
    filled = transformers.AutoConfig.for_model(**{**values, "vision_config": vision}).to_dict()
    assert config_from_hf(filled) == config_from_hf(PUBLISHED["gemma3_12b"])


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("llama", {"num_hidden_layers": 10**12}, "num_hidden_layers is 1000000000000; it must be at most 2000"),
        ("llama", {"hidden_size": float("inf")}, "hidden_size is inf; it must be a whole number"),
        ("llama", {"hidden_size": float("nan")}, "hidden_size is nan; it must be a whole number"),
        ("llama", {"rms_norm_eps": 10**400}, "rms_norm_eps is 1000.*; it must be a number above 0"),
        ("gemma3_text", {"layer_types": [[], {}, 3]}, r"layer_types is .*it must list 3 of"),
    ],
    ids=["layers", "infinite", "nan", "a large number", "lists in a list"],
)
def test_numbers_and_lists_that_no_model_has_are_named(name, changes, message):
    with pytest.raises(UserError, match=message):
        config_from_hf(toy(name, **changes))


def test_what_is_nested_deeply_is_named():
    deep: list = []
    for _ in range(2000):
        deep = [deep]
    with pytest.raises(UserError, match="hidden_size is a list; it must be"):
        config_from_hf(toy("llama", hidden_size=deep))


# What exporters, trainers and converters write beside what a model needs, and that changes no logit.
EXPORTED: dict[str, Any] = {
    "_model_name_or_path": "org/name",
    "_name_or_path": "/home/somebody/model",
    "_commit_hash": "abc",
    "_attn_implementation": "sdpa",
    "_anything_else": {"nested": [1, 2]},
    "is_llama_config": True,
    "rope_interleaved": False,
    "resid_pdrop": 0.0,
    "embd_pdrop": 0,
    "attn_pdrop": 0.0,
    "attention_dropout": 0.0,
    "hidden_dropout_prob": 0.0,
    "classifier_dropout": 0.0,
    "loss_type": "ForCausalLMLoss",
    "auto_map": {"AutoConfig": "configuration.Config"},
    "transformers_version": "4.46.0",
    "use_cache": False,
    "pretraining_tp": 1,
    "is_causal": True,
    "mlp_bias": False,
    "initializer_range": 0.02,
    "unsloth_version": "2025.1",
    "gradient_checkpointing": True,
    "use_flash_attention_2": True,
    "model_max_length": 2048,
    "partial_rotary_factor": 1.0,
    "quantization_config": None,
    "sep_token_id": 7,
}


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_what_exporters_write_changes_nothing(name: str, caplog: pytest.LogCaptureFixture) -> None:
    plain = config_from_hf(toy(name))
    layers = toy(name)["num_hidden_layers"]
    exported = {**EXPORTED, "torch_dtype": "float32", "dtype": "float32"}
    # The layers as newer programs list them, and what the family has in any case.
    hf_names = {"local": "sliding_attention", "global": "full_attention", "delta": "linear_attention"}
    kinds = [hf_names[plain.layer_pattern[i % len(plain.layer_pattern)]] for i in range(layers)]
    if plain.rotary_dim is not None:
        del exported["partial_rotary_factor"]  # a part of its own, which the field must say
    assert len(kinds) == layers
    traits = {"qkv_bias": plain.qkv_bias, "use_qk_norm": plain.qk_norm, "attention_bias": plain.qkv_bias}
    assert config_from_hf(toy(name, **exported, **traits, layer_types=kinds)) == plain
    warnings = [record.message for record in caplog.records]
    assert warnings == ["config.json: ignored _anything_else, private to the program that wrote the file"]
    for field, value in {**exported, **traits, "layer_types": kinds}.items():
        assert config_from_hf(toy(name, **{field: value})) == plain, field


@pytest.mark.parametrize("name", sorted(CONFIGS))
@given(
    field=st.text(st.characters(categories=["L", "N", "P"]), max_size=12).map(lambda text: "_" + text),
    value=st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.integers()),
)
def test_no_field_that_begins_with_an_underscore_is_a_reason_to_refuse(name: str, field: str, value: Any) -> None:
    if field == "_sliding_window_pattern":  # Gemma 3's own
        return
    assert config_from_hf(toy(name, **{field: value})) == config_from_hf(toy(name))


def test_of_many_private_fields_some_are_named(caplog: pytest.LogCaptureFixture) -> None:
    config_from_hf(toy("llama", **{f"_{number}": number for number in range(8)}, _=0, **{"_" + "x" * 500: 1}))
    config_from_hf(toy("llama", **{"_\x1b[31m\n": 1}))
    message, escaped = [record.message for record in caplog.records]
    assert r"ignored _\x1b[31m\n, private" in escaped
    assert message == "config.json: ignored _0, _1, _2, _3, _4 and 5 more, private to the program that wrote the file"


@pytest.mark.parametrize("name", sorted(CONFIGS))
@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"rope_interleaved": True}, "rope_interleaved is True; supported is False"),
        ({"resid_pdrop": 0.1}, "resid_pdrop is 0.1; there is no dropout here"),
        ({"attention_dropout": 0.1}, "attention_dropout is 0.1; there is no dropout here"),
        ({"hidden_dropout_prob": True}, "hidden_dropout_prob is True; there is no dropout"),
        ({"attn_pdrop": "0"}, "attn_pdrop is '0'; there is no dropout"),
        ({"pretraining_tp": 2}, "pretraining_tp is 2"),
        ({"is_causal": False}, "is_causal is False"),
        ({"mlp_bias": True}, "mlp_bias is True"),
        ({"attention_bias": 1.5}, "attention_bias is 1.5"),
        ({"layer_types": ["chunked_attention"] * 3}, "layer_types is "),
        ({"layer_types": "full_attention"}, "layer_types is 'full_attention'"),
        ({"quantization_config": {"bits": 4}}, "quantization_config is"),
        ({"num_local_experts": 8}, "num_local_experts is 8"),
        ({"something_new": 1}, "something_new is 1; this field is not supported"),
    ],
)
def test_what_could_change_the_logits_is_refused_in_every_family(name: str, changes: dict, part: str) -> None:
    with pytest.raises(UserError, match=part):
        config_from_hf(toy(name, **changes))


@pytest.mark.parametrize("name", sorted(CONFIGS))
@pytest.mark.parametrize("field", ["qkv_bias", "use_qkv_bias", "qk_norm", "use_qk_norm"])
def test_a_trait_that_the_family_has_not_is_refused_with_a_reason_that_is_true(name: str, field: str) -> None:
    trait = field.removeprefix("use_")
    family = FAMILIES[toy(name)["model_type"]]
    always = family.traits[trait]
    with pytest.raises(UserError, match=rf"{field} is {not always}; {family.model_type} models") as error:
        config_from_hf(toy(name, **{field: not always}))
    assert ("always have it" if always else "never have it") in str(error.value)


def test_qwen_2_has_biases_whatever_is_said_of_them_and_the_others_none() -> None:
    for value in (True, False, None):
        assert config_from_hf(toy("qwen2", attention_bias=value)).qkv_bias
    for name in ("gemma2", "gemma3_text", "llama", "qwen3"):
        with pytest.raises(UserError, match="attention_bias is True; supported is False"):
            config_from_hf(toy(name, attention_bias=True))


def test_a_list_of_full_layers_is_fine_for_llama_and_another_one_is_not() -> None:
    assert config_from_hf(toy("llama", layer_types=["full_attention"] * 3)) == config_from_hf(toy("llama"))
    for listed in (["full_attention"] * 2, ["sliding_attention"] * 3, ["full_attention", "sliding_attention"] * 2, []):
        with pytest.raises(UserError, match=r"layer_types is .*; in this family it must list 3 of 'full_attention'"):
            config_from_hf(toy("llama", layer_types=listed))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"linear_num_value_heads": 5}, "linear_num_value_heads is 5; it must be a multiple of linear_num_key_heads"),
        ({"linear_key_head_dim": 0}, "linear_key_head_dim is 0; it must be a whole number of at least 1"),
        ({"attn_output_gate": False}, "attn_output_gate is False; supported is True"),
        ({"output_gate_type": "gelu"}, "output_gate_type is 'gelu'; supported is 'swish' or 'silu'"),
        ({"mamba_ssm_dtype": "bfloat16"}, "mamba_ssm_dtype is 'bfloat16'; supported is 'float32'"),
        ({"partial_rotary_factor": 0.25}, "partial_rotary_factor is 0.5; partial_rotary_factor outside of"),
        (
            {"rope_parameters": {"partial_rotary_factor": 0.25}},
            "partial_rotary_factor is 0.25; of a head of 12 numbers",
        ),
        ({"rope_parameters": {"rope_type": "yarn", "partial_rotary_factor": 0.5}}, "rope_type is 'yarn'"),
        ({"layer_types": ["sliding_attention"] * 5}, "it must list 5 of 'full_attention', 'linear_attention'"),
        ({"linear_something": 3}, "linear_something is 3; this field is not supported"),
    ],
)
def test_what_a_delta_net_cannot_be_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        config_from_hf(toy("qwen3_5_text", **changes))


def test_every_so_many_layers_attend_where_the_file_does_not_list_them() -> None:
    values = toy("qwen3_5_text")
    del values["layer_types"]
    assert config_from_hf(values).layer_pattern == ("delta", "delta", "delta", "global")
    assert config_from_hf({**values, "full_attention_interval": 2}).layer_pattern == ("delta", "global")
