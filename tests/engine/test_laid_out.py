"""What engines lay out is there once for all that use the same parameters, and gone when nobody does."""

import dataclasses
import gc
from typing import Any

import jax
import numpy as np
import pytest
from engine_toys import CONFIG, END, mesh_of

from sml_jax.engine.engine import Engine
from sml_jax.engine.layer_params import LayerParams, unstack_layers
from sml_jax.models.config import LoraConfig
from sml_jax.models.decoder import Decoder, init_params
from sml_jax.models.layout import shard_params
from sml_jax.models.lora import join_lora, split_lora

PLAIN = Decoder(CONFIG)
ADAPTED = Decoder(dataclasses.replace(CONFIG, lora=LoraConfig(rank=2, alpha=4.0, targets=("query", "up"))))


def engine_of(model: Decoder, mesh: Any = None) -> Engine:
    return Engine(model, 8, 32, 4, (END,), mesh=mesh or mesh_of(1, 1, 1))


def params_of(model: Decoder, seed: int = 0, mesh: Any = None) -> dict:
    return shard_params(mesh or mesh_of(1, 1, 1), model, init_params(model, jax.random.key(seed)))


def with_other_adapters(params: dict) -> dict:
    """The same base with adapters that have moved, as a student's have."""
    base, adapters = split_lora(params)
    return join_lora(base, jax.tree.map(lambda leaf: leaf + 1, adapters))


def nbytes(tree: Any) -> int:
    """Bytes of the different arrays of a tree."""
    return sum(leaf.nbytes for leaf in {id(leaf): leaf for leaf in jax.tree.leaves(tree)}.values())


def check_laid_out(weights: LayerParams, params: dict) -> None:
    """Holds what an engine has laid out of the model with adapters against the parameters in one piece."""
    expected = jax.jit(unstack_layers, static_argnums=0)(ADAPTED, params)
    jax.tree.map(np.testing.assert_array_equal, weights, expected)


@pytest.mark.parametrize("sizes", [(1, 1, 1), (2, 2, 2)])
def test_teacher_and_student_share_the_frozen_base(sizes):
    """Also on a mesh of the rollout's own, where the parameters are moved first."""
    mesh = mesh_of(*sizes)
    engine = engine_of(ADAPTED, mesh)
    initial = params_of(ADAPTED, mesh=mesh_of(2, 4, 1) if sizes != (1, 1, 1) else mesh)
    student = with_other_adapters(initial)
    frozen, trained = engine.prepare_params(initial), engine.prepare_params(student)
    adapters = nbytes(split_lora(initial)[1])
    assert nbytes((frozen, trained)) == nbytes(frozen) + adapters
    # Each side computes with its own adapters all the same.
    for laid_out, params in ((frozen, initial), (trained, student)):
        check_laid_out(laid_out, params)


def test_a_student_that_is_still_the_initial_one_is_there_once():
    engine, params = engine_of(PLAIN), params_of(PLAIN)
    # As the evaluation of the base model has both sides, and the question writer beside the student.
    sides = [engine.prepare_params(params), engine.prepare_params({"params": dict(params["params"])})]
    assert nbytes(sides) == nbytes(sides[0])
    # Other arrays are laid out for themselves, whatever they hold.
    sides.append(engine.prepare_params(jax.tree.map(lambda leaf: leaf * 1, params)))
    assert nbytes(sides) == 2 * nbytes(sides[0])


def test_nothing_is_kept_that_nobody_uses():
    engine, params = engine_of(ADAPTED), params_of(ADAPTED)
    gc.collect()
    before = len(jax.live_arrays())
    weights = engine.prepare_params(params)
    assert len(jax.live_arrays()) > before
    del weights
    assert len(jax.live_arrays()) == before
    # What is gone is made anew.
    again = engine.prepare_params(params)
    check_laid_out(again, params)


def test_parameters_in_the_place_of_others_are_not_taken_for_them():
    """The next array may get the place in memory of one that is gone, while what was made of that one is in use."""
    engine = engine_of(PLAIN)
    params = params_of(PLAIN, seed=0)
    first = engine.prepare_params(params)
    del params
    other = params_of(PLAIN, seed=1)
    second = engine.prepare_params(other)
    table = second.outside["params"]["embedding"]["embedding"]
    np.testing.assert_array_equal(table, other["params"]["embedding"]["embedding"])
    assert nbytes((first, second)) == 2 * nbytes(first)


def test_warming_up_leaves_nothing_to_compile():
    """With adapters the weights are made by two executables, of which both are ready."""
    engine, params = engine_of(ADAPTED), params_of(ADAPTED)
    engine.warm_up(params)
    prepare, adapters = engine._jitted.prepare, engine._jitted.prepare_adapters
    counts = prepare._cache_size(), adapters._cache_size()
    engine.prepare_params(with_other_adapters(params))
    assert (prepare._cache_size(), adapters._cache_size()) == counts == (1, 1)
