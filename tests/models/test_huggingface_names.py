"""Where parameters lie: every one has a place, and a block of it is the right block of the stored matrix."""

import dataclasses

import flax.traverse_util as traverse
import numpy as np
import pytest
from hf_toys import CONFIGS, model_type
from hypothesis import given
from hypothesis import strategies as st

from sml_jax.models.decoder import Decoder, init_params
from sml_jax.models.hf.config import config_from_hf
from sml_jax.models.hf.names import Placement, placements


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_every_parameter_has_a_place_of_its_shape(name: str, tied: bool) -> None:
    import jax

    config = config_from_hf({**CONFIGS[name], "model_type": model_type(name)})
    config = dataclasses.replace(config, tied_embeddings=tied)
    shapes = jax.eval_shape(lambda: init_params(Decoder(config), jax.random.key(0)))["params"]
    ours = {path: leaf.shape for path, leaf in traverse.flatten_dict(shapes).items()}
    places = placements(config)
    assert ours == {
        p: (len(place.layers), *place.shape) if place.stacked else place.shape for p, place in places.items()
    }
    # Several parameters may share a tensor, of which each has rows of its own.
    parts = [(name, place.first_row) for place in places.values() for name in place.names()]
    assert len(parts) == len(set(parts))


def test_known_places() -> None:
    query = Placement("q.{layer}", (5, 2, 3), ((1, 2), (0,)), layers=(1, 3))
    assert query.stored_shape == (6, 5) and query.names() == ["q.1", "q.3"]
    # A linear layer of torch computes x @ W.T: row h * 3 + d of W is head h, dimension d.
    stored = np.arange(30).reshape(6, 5)
    ours = np.empty((5, 2, 3), int)
    query.stored_view(ours)[:] = stored
    assert ours[4, 1, 2] == stored[5, 4] and ours[0, 1, 0] == stored[3, 0]
    out = Placement("o", (2, 3, 5), ((2,), (0, 1)))
    stored = np.arange(30).reshape(5, 6)
    ours = np.empty((2, 3, 5), int)
    out.stored_view(ours)[:] = stored
    assert ours[1, 2, 4] == stored[4, 5] and ours[1, 0, 0] == stored[0, 3]


PLACES = [
    Placement("q", (6, 4, 2), ((1, 2), (0,))),
    Placement("o", (4, 2, 6), ((2,), (0, 1))),
    Placement("b", (4, 2), ((0, 1),)),
    Placement("m", (6, 4), ((1,), (0,))),
    Placement("e", (6, 4), ((0,), (1,))),
]


@given(st.sampled_from(range(len(PLACES))), st.data())
def test_a_block_is_the_same_block_of_the_stored_matrix(which: int, data: st.DataObject) -> None:
    place = PLACES[which]
    whole = np.arange(np.prod(place.shape)).reshape(place.shape)
    stored = np.ascontiguousarray(place.stored_view(whole))
    assert stored.shape == place.stored_shape
    inner = {axis for group in place.groups for axis in group[1:]}
    index = []
    for axis, size in enumerate(place.shape):
        start = 0 if axis in inner else data.draw(st.integers(0, size - 1))
        stop = size if axis in inner else data.draw(st.integers(start + 1, size))
        index.append(slice(start, stop))
    block = np.empty([part.stop - part.start for part in index], whole.dtype)
    view = place.stored_view(block)
    assert np.shares_memory(view, block)
    view[:] = stored[place.stored_index(tuple(index))]
    np.testing.assert_array_equal(block, whole[tuple(index)])
