"""Work counted in compiled programs: loops by their trips, products in every form, bytes of collectives."""

from functools import partial

import jax
import jax.numpy as jnp
import pytest
from jax.experimental import pallas as pl
from jax.sharding import NamedSharding, PartitionSpec
from plan_toys import forward_flops, tiny_config

from sml_jax.models.decoder import Decoder, init_params
from sml_jax.plan.collectives import group_size
from sml_jax.plan.counting import count_work
from sml_jax.plan.hlo import parse_hlo, shapes_in
from sml_jax.plan.work import kernel_flops, traced_flops
from sml_jax.sharding import make_mesh

F32 = jnp.float32


def counted(function, *args, loop_steps=None, **jit):
    traced = jax.jit(function, **jit).trace(*args)
    return count_work(parse_hlo(traced.lower().compile().as_text()), loop_steps), traced_flops(traced.jaxpr, loop_steps)


def array(*shape, sharding=None):
    return jax.ShapeDtypeStruct(shape, F32, sharding=sharding)


def test_a_product_is_two_for_each_pair():
    found, traced = counted(lambda a, b: a @ b, array(8, 32), array(32, 16))
    assert found.flops == traced == 2 * 8 * 32 * 16
    assert found.bytes == 4 * (8 * 32 + 32 * 16 + 8 * 16)


@pytest.mark.parametrize("length", [1, 7, 48])
def test_a_scan_counts_as_often_as_it_runs(length):
    """XLA's own cost analysis takes the body once."""

    def body(carry, weight):
        return jnp.tanh(carry @ weight), None

    found, traced = counted(lambda x, w: jax.lax.scan(body, x, w)[0], array(8, 16), array(length, 16, 16))
    assert found.flops == traced == length * 2 * 8 * 16 * 16
    # A step reads its own layer's weights, not all of them.
    assert found.bytes < length * 4 * (16 * 16 + 20 * 8 * 16)


def test_loops_within_loops_multiply():
    def inner(carry, _):
        return carry @ carry, None

    def outer(carry, _):
        return jax.lax.scan(inner, carry, None, length=3)[0], None

    found, traced = counted(lambda x: jax.lax.scan(outer, x, None, length=5)[0], array(8, 8))
    assert found.flops == traced == 15 * 2 * 8**3


def test_a_loop_that_something_computed_may_end_counts_as_told():
    def go_on(carry):
        return (carry[0] < 20) & jnp.any(carry[1] < 1e6)

    def step(carry):
        return carry[0] + 1, carry[1] @ carry[1]

    def run(x):
        return jax.lax.while_loop(go_on, step, (jnp.int32(0), x))

    assert counted(run, array(8, 8))[0].flops == 20 * 2 * 8**3  # the most
    told, traced = counted(run, array(8, 8), loop_steps=4)
    assert told.flops == traced == 4 * 2 * 8**3


@pytest.mark.parametrize("start,stop,stride", [(0, 10, 1), (4, 10, 1), (0, 10, 3)])
def test_trips_from_where_a_counter_starts_and_by_what_it_steps(start, stop, stride):
    text = f"""HloModule m

%body (s: (s32[], f32[8,8])) -> (s32[], f32[8,8]) {{
  %s = (s32[], f32[8,8]{{1,0}}) parameter(0)
  %i = s32[] get-tuple-element(%s), index=0
  %by = s32[]{{:T(128)}} constant({stride})
  %next = s32[] add(%i, %by)
  %x = f32[8,8]{{1,0}} get-tuple-element(%s), index=1
  %y = f32[8,8]{{1,0:T(8,128)S(1)}} dot(%x, %x), lhs_contracting_dims={{1}}, rhs_contracting_dims={{0}}
  ROOT %t = (s32[], f32[8,8]{{1,0}}) tuple(%next, %y)
}}

%condition (s: (s32[], f32[8,8])) -> pred[] {{
  %s = (s32[], f32[8,8]{{1,0}}) parameter(0)
  %limit = s32[] constant({stop})
  %i = s32[] get-tuple-element(%s), index=0
  ROOT %lt = pred[] compare(%i, %limit), direction=LT
}}

ENTRY %main (x: f32[8,8]) -> (s32[], f32[8,8]) {{
  %x = f32[8,8]{{1,0}} parameter(0)
  %first = s32[] constant({start})
  %from = s32[] copy(%first)
  %t = (s32[], f32[8,8]{{1,0}}) tuple(%from, %x)
  ROOT %loop = (s32[], f32[8,8]{{1,0}}) while(%t), condition=%condition, body=%body
}}
"""
    found = count_work(parse_hlo(text), loop_steps=1)  # the condition is exact, so `loop_steps` changes nothing
    trips = len(range(start, stop, stride))
    assert found.flops == trips * 2 * 8**3


def test_products_of_batches_that_a_tpu_writes_as_convolutions():
    """Spatial dimensions that stand for batches meet only their own; padding is no work."""
    text = """HloModule m

ENTRY %main (a: bf16[16,64,32], b: bf16[16,32,8]) -> bf16[16,64,8] {
  %a = bf16[16,64,32]{2,1,0:T(8,128)(2,1)} parameter(0)
  %b = bf16[16,32,8]{2,1,0:T(8,128)(2,1)} parameter(1)
  ROOT %c = bf16[16,64,8]{2,1,0} convolution(%a, %b), window={size=16 stride=15 pad=0_0 lhs_dilate=16}, \
dim_labels=0bf_0io->0bf
}
"""
    assert count_work(parse_hlo(text)).flops == 2 * 16 * 64 * 32 * 8


def test_a_product_with_a_vector_that_became_a_sum_still_counts():
    text = """HloModule m

%add (p: f32[], q: f32[]) -> f32[] {
  %p = f32[] parameter(0)
  %q = f32[] parameter(1)
  ROOT %r = f32[] add(%p, %q)
}

%fused (w: f32[32,16], v: f32[16]) -> f32[32] {
  %w = f32[32,16]{1,0} parameter(0)
  %v = f32[16]{0} parameter(1)
  %wide = f32[32,16]{1,0} broadcast(%v), dimensions={1}
  %each = f32[32,16]{1,0} multiply(%w, %wide), metadata={op_name="jit(f)/dot_general"}
  %zero = f32[] constant(0)
  ROOT %sum = f32[32]{0} reduce(%each, %zero), dimensions={1}, to_apply=%add, metadata={op_name="jit(f)/dot_general"}
}

ENTRY %main (w: f32[32,16], v: f32[16]) -> f32[32] {
  %w = f32[32,16]{1,0} parameter(0)
  %v = f32[16]{0:S(1)} parameter(1)
  ROOT %f = f32[32]{0} fusion(%w, %v), kind=kLoop, calls=%fused
}
"""
    found = count_work(parse_hlo(text))
    assert found.flops == 2 * 32 * 16
    assert found.bytes == 4 * (32 * 16 + 32)  # the vector lies in on-chip memory


def test_a_slice_that_is_fetched_ahead_is_read_once_and_no_more_than_it():
    """A TPU's compiler brings pieces of a cache into on-chip memory while something else runs."""
    text = """HloModule m

ENTRY %main (a: s8[1048576]) -> (s8[4096], s8[4096]) {
  %a = s8[1048576]{0:T(1024)(128)(4,1)} parameter(0)
  %begun = ((s8[1048576]{0:T(1024)(128)(4,1)}), s8[4096]{0:T(1024)(128)(4,1)S(1)}, s32[]{:S(2)}) slice-start(%a), \
slice={[0:4096]}
  %here = s8[4096]{0:T(1024)(128)(4,1)S(1)} slice-done(%begun)
  %again = ((s8[1048576]{0}), s8[4096]{0}, s32[]{:S(2)}) slice-start(%a), slice={[4096:8192]}
  %there = s8[4096]{0} slice-done(%again)
  ROOT %both = (s8[4096]{0:S(1)}, s8[4096]{0}) tuple(%here, %there)
}
"""
    assert count_work(parse_hlo(text)).bytes == 4096 + 2 * 4096  # the second is also written to main memory


WITH_A_KERNEL = """
HloModule with_a_kernel

ENTRY %main (x: f32[8,16], w: f32[16,4]) -> f32[8,4] {
  %x = f32[8,16]{1,0} parameter(0)
  %kernel.3 = f32[8,16]{1,0} custom-call(%x), frontend_attributes={kernel_metadata={
"xprof_metadata":"{\\"block_q\\": 128}"
}}, metadata={op_name="jit(f)/kernel/pallas_call"}
  %w = f32[16,4]{1,0} parameter(1)
  ROOT %dot.1 = f32[8,4]{1,0} dot(%kernel.3, %w), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}
"""


def test_a_kernel_whose_attributes_take_several_lines_ends_no_computation():
    """As splash attention's are printed: what comes after it counts, and the kernel what was traced of it."""
    module = parse_hlo(WITH_A_KERNEL)
    kernel = module.computations["main"].instructions["kernel.3"]
    assert list(module.computations["main"].instructions) == ["x", "kernel.3", "w", "dot.1"]
    assert kernel.op_name == "jit(f)/kernel/pallas_call"
    product = 2 * 8 * 16 * 4
    assert count_work(module).flops == product
    assert count_work(module, kernels={"kernel": 100.0, "other": 7.0}).flops == product + 100


def test_a_function_of_one_devices_part_counts_for_all():
    """What `jax.shard_map` is given is one device's; axes that it leaves alone split its parts no further."""
    mesh = make_mesh(2, 4, 1)
    given = PartitionSpec("data", None)
    x = array(8, 16, sharding=NamedSharding(mesh, given))
    w = array(16, 4, sharding=NamedSharding(mesh, PartitionSpec()))

    def part(a, b):
        return a @ b

    of_two = jax.shard_map(part, mesh=mesh, in_specs=(given, PartitionSpec()), out_specs=given, axis_names={"data"})
    assert traced_flops(jax.jit(of_two).trace(x, w).jaxpr) == 2 * 8 * 16 * 4


def test_what_a_kernel_does_is_traced_by_its_name():
    def multiply(a, b, out):
        out[...] = a[...] @ b[...]

    call = pl.pallas_call(multiply, jax.ShapeDtypeStruct((8, 4), F32), name="multiply", interpret=True)
    grid = pl.pallas_call(
        multiply,
        jax.ShapeDtypeStruct((8, 4), F32),
        grid=(3,),
        in_specs=[pl.BlockSpec((8, 16), lambda i: (0, 0)), pl.BlockSpec((16, 4), lambda i: (0, 0))],
        out_specs=pl.BlockSpec((8, 4), lambda i: (0, 0)),
        name="thrice",
        interpret=True,
    )
    once = 2 * 8 * 16 * 4
    jaxpr = jax.jit(lambda a, b: (call(a, b), grid(a, b))).trace(array(8, 16), array(16, 4)).jaxpr
    assert kernel_flops(jaxpr) == {"multiply": once, "thrice": 3 * once}
    assert traced_flops(jaxpr) == 4 * once


def test_bytes_between_devices():
    mesh = make_mesh(1, 8, 1)
    split = NamedSharding(mesh, PartitionSpec("fsdp"))
    whole = NamedSharding(mesh, PartitionSpec())
    x = array(64, 128, sharding=split)
    gathered, _ = counted(lambda a: a * 2, x, out_shardings=whole)
    assert gathered.by_kind() == {"all-gather": 4 * 64 * 128 * 7 / 8}
    summed, _ = counted(lambda a: jnp.sum(a, axis=0), x, out_shardings=whole)
    assert summed.by_kind() == {"all-reduce": 2 * 4 * 128 * 7 / 8}


def test_how_many_take_part():
    assert group_size("replica_groups={{0,1,2},{3,4,5}}") == 3
    assert group_size("replica_groups=[4,8]<=[32]") == 8
    assert group_size("replica_groups=mesh['axis_0'=4,'axis_1'=8] {'axis_1'}") == 8
    assert group_size("replica_groups=mesh['a'=32] {'a':(1)4}") == 4


def test_shapes_with_their_memory_space():
    one, two = shapes_in("(bf16[2,3]{1,0:T(8,128)(2,1)S(1)}, pred[])")
    assert (one.bytes, one.main_bytes, two.bytes) == (12, 0, 1)


def test_a_decoders_forward_and_backward_match_a_hand_count():
    """Forward, then twice as much for both gradients of every product."""
    config, rows, time = tiny_config(scan_unroll=1, attention="xla"), 4, 16
    model = Decoder(config)
    params = jax.tree.map(lambda x: array(*x.shape), jax.eval_shape(partial(init_params, model, jax.random.key(0))))
    tokens = jax.ShapeDtypeStruct((rows, time), jnp.int32)
    by_hand = forward_flops(config, rows, time, time)
    found, traced = counted(model.apply, params, tokens)
    assert found.flops == pytest.approx(by_hand, rel=0.05)
    assert traced == pytest.approx(by_hand, rel=0.05)

    def loss(p, t):
        return jnp.sum(model.apply(p, t))

    found, traced = counted(jax.grad(loss), params, tokens)
    assert traced == pytest.approx(3 * by_hand, rel=0.05)
    assert found.flops == pytest.approx(3 * by_hand, rel=0.05)
