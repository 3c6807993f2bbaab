"""Lengths to pad to, by hand."""

from sml_jax.common.lengths import powers_of_two_up_to


def test_powers_of_two():
    assert [powers_of_two_up_to(longest) for longest in (1, 64, 65, 300)] == [
        (1,), (64,), (64, 65), (64, 128, 256, 300)
    ]  # fmt: skip
