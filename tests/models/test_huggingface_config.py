"""config.json: read in both forms, written back, and nothing in it ignored."""

import dataclasses
from copy import deepcopy
from typing import Any

import pytest
from hf_toys import CONFIGS
from hypothesis import given
from hypothesis import strategies as st
from published import PUBLISHED

from sml_jax.common.errors import UserError
from sml_jax.families import FAMILIES
from sml_jax.models.config import RUN_FIELDS, DecoderConfig, canonical
from sml_jax.models.hf.config import config_from_hf, config_to_hf, family_of_config
from sml_jax.models.ops.rope import RopeScaling

LLAMA3 = PUBLISHED["llama3_1_8b"]


def toy(name: str, **changes: Any) -> dict[str, Any]:
    # A copy to the bottom: transformers writes into the objects that it is given.
    return {**deepcopy(CONFIGS[name]), "model_type": name.removesuffix("_sliding"), **changes}


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
    ("llama", {"model_type": "mistral"}, "'mistral' is not supported; there are gemma2, gemma3_text, llama"),
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
def configs(draw: st.DrawFn) -> dict[str, Any]:
    """The fields of any configuration that some family can express."""
    family = draw(st.sampled_from(sorted(FAMILIES.values(), key=lambda family: family.model_type)))
    name, layers = family.model_type, draw(st.integers(1, 7))
    kinds = ("global",)
    if name != "llama":
        kinds = tuple(draw(st.lists(st.sampled_from(["local", "global"]), min_size=1, max_size=layers)))
    local = any(kinds[i % len(kinds)] == "local" for i in range(layers))
    base = draw(st.sampled_from([1e4, 5e5, 1e6]))
    own_base = name == "gemma3_text" and local
    fields: dict[str, Any] = dict(family.traits)
    if family.config.score_fields:
        fields |= dict(
            attention_scale=draw(st.sampled_from([None, 168**-0.5, 24**-0.5])),
            attention_softcap=draw(st.sampled_from([None, 50.0])),
            final_softcap=draw(st.sampled_from([None, 30.0])),
        )
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
