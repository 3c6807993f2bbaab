"""Where the initial model comes from: vocabularies that fit, shapes that were promised, adapters."""

import dataclasses

import jax
import numpy as np
import pytest
from family_toys import write_family_model

from sml_jax.common.errors import UserError
from sml_jax.models import load_model
from sml_jax.models.config import LoraConfig
from sml_jax.models.lora import split_lora
from sml_jax.run.base_models import Pretrained, RandomWeights
from sml_jax.run.chats import FamilyChat
from sml_jax.sharding import make_mesh


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_family_model(tmp_path_factory.mktemp("family") / "model")


@pytest.fixture(scope="module")
def tokenizer(folder):
    return FamilyChat(str(folder)).framing().tokenizer


def test_an_embedding_may_be_padded_and_no_smaller(folder, tokenizer) -> None:
    base = Pretrained(str(folder))
    model, _ = base.load(tokenizer, 0, make_mesh(), padding=1024)
    assert model.config.vocab_size > tokenizer.vocab_size
    with pytest.raises(UserError, match="give the tokenizer that the model was trained with"):
        base.load(tokenizer, 0, make_mesh())
    small = RandomWeights(dataclasses.replace(model.config, vocab_size=tokenizer.vocab_size - 1))
    with pytest.raises(UserError, match="give the tokenizer"):
        small.load(tokenizer, 0, make_mesh(), padding=1024)


def test_a_promised_shape_is_checked_and_its_settings_taken_over(folder, tokenizer) -> None:
    config = load_model(folder)[0].config
    promised = dataclasses.replace(config, dtype="bfloat16", remat=True)
    model, _ = Pretrained(str(folder), promised).load(tokenizer, 0, make_mesh(), 1024)
    assert model.config == promised
    model, _ = Pretrained(str(folder), promised, {"remat": False}).load(tokenizer, 0, make_mesh(), 1024)
    assert model.config == dataclasses.replace(promised, remat=False)
    other = dataclasses.replace(config, layers=3, rope_base=1e4)
    with pytest.raises(UserError, match=r"layers 2 for 3, rope_base 1000000.0 for 10000.0\).*gin/models"):
        Pretrained(str(folder), other).load(tokenizer, 0, make_mesh(), 1024)


def test_the_error_of_a_model_of_another_size_is_short_and_begins_with_the_cure(folder, tokenizer) -> None:
    config = load_model(folder)[0].config
    other = dataclasses.replace(config, layers=3, rope_base=1e4, embed_dim=32, mlp_dim=64, vocab_size=999)
    with pytest.raises(UserError) as caught:
        Pretrained(str(folder), other).load(tokenizer, 0, make_mesh(), 1024)
    differences, _, cure = str(caught.value).partition("): ")
    assert differences.endswith(" and 2 more") and differences.count(" for ") == 3
    assert cure.startswith("set Pretrained.config = None") and "--gin.Pretrained.config=None" in cure


@pytest.mark.extra
def test_adapters_leave_the_model_as_it_was(folder, tokenizer) -> None:
    tokens = jax.numpy.arange(12).reshape(1, 12)
    model, params = Pretrained(str(folder)).load(tokenizer, 0, make_mesh(), 1024)
    adapted, with_adapters = Pretrained(str(folder), lora=LoraConfig(rank=2)).load(tokenizer, 0, make_mesh(), 1024)
    assert split_lora(with_adapters)[1] and adapted.config.lora == LoraConfig(rank=2)
    np.testing.assert_array_equal(adapted.apply(with_adapters, tokens), model.apply(params, tokens))
    again = Pretrained(str(folder), lora=LoraConfig(rank=2)).load(tokenizer, 1, make_mesh(), 1024)[1]
    ours, theirs = (jax.tree.leaves(split_lora(p)[1]) for p in (with_adapters, again))
    assert any(not np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True)), "adapters come from the seed"
