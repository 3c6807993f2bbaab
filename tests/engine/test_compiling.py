"""What a warm-up compiles ahead is what the calls need, and every layer of a kind is traced once."""

import dataclasses
from collections import Counter

import jax
import pytest
from engine_toys import CONFIG, mesh_of

from sml_jax.engine import kernels
from sml_jax.engine.compiling import Ready
from sml_jax.engine.engine import Engine
from sml_jax.engine.jitted import jit_kernels
from sml_jax.models.decoder import Decoder
from sml_jax.models.layers import Layer


@pytest.mark.parametrize(
    ("pattern", "kinds"), [(("global",), 1), pytest.param(("local", "global"), 2, marks=pytest.mark.extra)], ids=str
)
def test_layers_of_a_kind_are_traced_once(monkeypatch, pattern, kinds) -> None:
    traced = []

    class CountedLayer(Layer):
        def __call__(self, *args, **options):
            traced.append(self.kind)
            return super().__call__(*args, **options)

    monkeypatch.setattr(kernels, "Layer", CountedLayer)
    kernels._layer_function.cache_clear()
    jit_kernels.cache_clear()
    try:
        config = dataclasses.replace(CONFIG, layers=6, layer_pattern=pattern)
        engine = Engine(Decoder(config), 2, 64, 4, (2,), mesh=mesh_of(1, 1, 1))
        _, extend, _, decode, *_ = engine.programs()
        for executable in (extend, decode):
            traced.clear()
            executable.jitted.trace(*executable.args)
            assert len(traced) == len(set(traced)) == kinds
    finally:
        kernels._layer_function.cache_clear()
        jit_kernels.cache_clear()


def test_the_programs_of_short_contexts_take_chunks_that_fit() -> None:
    """A cache of 48 slots has no room for the default's largest chunk, of 64 tokens."""
    engine = Engine(Decoder(CONFIG), 2, 28, 4, (2,), mesh=mesh_of(1, 1, 1))
    assert engine.cache_lengths[-1] < engine.chunk_sizes[-1]
    for executable in engine.programs():
        executable.jitted.trace(*executable.args)


@pytest.mark.extra
@pytest.mark.parametrize("mesh", [(1, 1, 1), pytest.param((2, 2, 1), marks=pytest.mark.slow)], ids=str)
def test_calls_find_what_was_compiled_ahead(make_engine, model, params, mesh) -> None:
    jit_kernels.cache_clear()  # engines of one setting share what was compiled, also by the tests before
    compiled: Counter[str] = Counter()

    def listen(event: str, _: float, fun_name: str = "", **__) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            compiled[fun_name.removeprefix("jit(").removesuffix(")")] += 1

    engine, told = make_engine(4, mesh, capacities=(64,), chunk_sizes=(8,), batch_sizes=(4 // mesh[0] // mesh[1],)), []
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        engine.warm_up(params, told.append)
        first = dict(compiled)
        engine.warm_up(params, told.append)
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    # Two lengths of caches: for each an extend, a decode, a copy and a write, which both need for their eight tokens.
    kernel_names = {"extend": 2, "decode": 2, "write": 2, "copy_prefix": 2, "unstack_layers": 1}
    assert {name: first.get(name, 0) for name in kernel_names} == kernel_names, "none is compiled a second time"
    assert compiled == first, "a second warm-up does nothing"
    assert [ready.number for ready in told] == list(range(10)) and {ready.total for ready in told} == {9}
    assert told[0] == Ready(0, 9) and all(ready.name and ready.seconds > 0 for ready in told[1:])
    assert {ready.name for ready in told[1:]} >= {"extend by 8 behind 64", "decode 8 behind 64", "write 8 behind 64"}
