"""A whole plan on simulated devices, its search, and what a user may get wrong."""

import dataclasses
import importlib.util
import json

import jax
import pytest
from jax.sharding import PartitionSpec
from plan_toys import matrices, tiny_config, tiny_job

from sml_jax.cli.plan import main
from sml_jax.common.errors import UserError
from sml_jax.common.executables import Memory
from sml_jax.engine.layer_params import weight_shardings
from sml_jax.models.config import LoraConfig
from sml_jax.models.decoder import Decoder
from sml_jax.plan import report, topology
from sml_jax.plan.chips import CHIPS, chips_in
from sml_jax.plan.compiling import Compiled, wanted_bytes
from sml_jax.plan.counting import Count
from sml_jax.plan.job import with_settings
from sml_jax.plan.phases import phases_of
from sml_jax.plan.recipe import read_job
from sml_jax.plan.scaling import scale_to_depth, shallow_depths
from sml_jax.plan.search import changed_flags, nearest_that_fits
from sml_jax.plan.table import plan_as_json
from sml_jax.sharding import MeshShape, make_mesh, shard_bytes

GEMMA = ["gin/models/gemma3_12b.gin", "gin/recipes/math_online.gin"]


@pytest.fixture(scope="module")
def cache():
    """Programs that several tests compile."""
    return {}


def test_memory_by_kind_adds_up_to_what_the_compiler_says(cache):
    plan = report.make_plan(tiny_job(), "cpu:8", cache=cache)
    assert plan.fits and plan.mesh == {"data": 1, "fsdp": 8, "tensor": 1}
    for phase in plan.phases:
        for planned in phase.executables:
            memory, covered = planned.compiled.memory, sum(phase.state[kind] for kind in planned.executable.covers)
            others = sum(phase.state.values()) - covered - sum(phase.state[kind] for kind in planned.executable.later)
            if any(name in planned.executable.name for name in ("decode", "gradients", "step", "weights")):
                # What is no state among the arguments (tokens, lengths) is small.
                assert 0 <= memory.arguments - covered <= 8192, planned.executable.name
                assert planned.needs == memory.total + others
            else:  # weights that a program does not use are there all the same
                assert memory.total + others <= planned.needs <= memory.total + others + covered
        assert phase.needs == pytest.approx(sum(phase.state.values()) + phase.temporaries)
    text = json.loads(json.dumps(plan_as_json(plan, None)))
    assert [phase["name"] for phase in text["phases"]] == ["online: rollout", "online: update"]
    assert text["nearest"] is None and text["dialogues_per_hour"] == {"online": None}  # no peaks of a simulated device
    decode, write = text["phases"][0]["kernels"][-2:]
    # Two turns of the student and one of the teacher, 8 tokens each, in 2 waves of 8 dialogues: a call for each.
    assert decode["calls"] == write["calls"] == 2 * 3 and decode["flops"] > write["flops"] == 0
    assert sum(decode["collective_bytes"].values()) > 0


def test_an_updates_rows_are_filled_up_to_the_meshs_shards():
    update = phases_of(tiny_job(micro_batch_size=3), make_mesh(1, 8, 1))[-1]
    gradients = update.executables[0]
    assert (gradients.name, gradients.calls) == ("gradients of 8 x 48", 2)  # of 16 dialogues, not six of 3


def test_weights_in_int8_are_planned_with_their_bytes():
    """A byte for each number of a matrix and of the table, four for each of their columns; norms stay float32."""
    config = tiny_config(layers=1)
    plain, rounded = (
        phases_of(tiny_job(each), make_mesh(over=jax.devices()[:1]))[0].state
        for each in (config, dataclasses.replace(config, rollout_weights="int8"))
    )
    numbers = config.vocab_size * config.embed_dim + matrices(config)
    attention = config.head_dim * (config.heads + 2 * config.kv_heads) + config.embed_dim
    columns = config.vocab_size + attention + 2 * config.mlp_dim + config.embed_dim
    for side in ("student's weights", "teacher's weights"):
        assert shard_bytes(plain[side]) - shard_bytes(rounded[side]) == 3 * numbers - 4 * columns
    assert plain["student's parameters"] == rounded["student's parameters"], "training is as it was"


def test_adapters_are_planned_with_one_copy_of_the_base():
    """Both sides read it, and the teacher has adapters of its own besides."""
    config = tiny_config(layers=1)
    lora = LoraConfig(rank=4)
    plain, adapted = (
        phases_of(tiny_job(each), make_mesh(over=jax.devices()[:1]))[0]
        for each in (config, dataclasses.replace(config, lora=lora))
    )
    adapters = shard_bytes(adapted.state["frozen parameters"])
    whole = shard_bytes(plain.state["student's weights"])
    assert adapters < whole == shard_bytes(plain.state["teacher's weights"])
    assert shard_bytes(adapted.state["student's weights"]) == whole + adapters
    assert shard_bytes(adapted.state["teacher's weights"]) == adapters
    assert [phase.executables[0].calls for phase in (plain, adapted)] == [2, 1]


@pytest.mark.slow
def test_rollouts_are_planned_on_the_mesh_that_they_have(cache):
    """Weights and caches lie by `rollout_mesh`; the parameters are there a second time, moved to it."""
    config = tiny_config(layers=1, kv_heads=4)
    job = tiny_job(config)
    shared, own_mesh = (
        report.make_plan(with_settings(job, rollout_mesh=shape), "cpu:8", cache=cache)
        for shape in (None, MeshShape(data=2, fsdp=1, tensor=4))
    )
    assert shared.rollout_mesh is None and own_mesh.rollout_mesh == {"data": 2, "fsdp": 1, "tensor": 4}
    # The update's state does not move, and the rollout's weights and caches lie by the other mesh.
    (rollout, update), (plain, _) = own_mesh.phases, shared.phases
    assert update.state == shared.phases[1].state, "the update stays on its own mesh"
    cache_bytes = rollout.state["student's cache"]
    assert cache_bytes == plain.state["student's cache"] == 8 * (48 + 16) * 2 * 4 * 16 * 4 / 8
    layout = weight_shardings(Decoder(config), make_mesh(2, 1, 4))
    whole = 4 * (config.vocab_size * config.embed_dim + matrices(config))  # all but the norms are split by 4
    norms = 4 * (3 * config.embed_dim + 2 * config.head_dim * config.qk_norm)
    assert rollout.state["student's weights"] == whole / 4 + norms
    assert layout.layers[0]["params"]["mlp"]["up"]["kernel"].spec == PartitionSpec("fsdp", "tensor")
    # The first executable reads parameters that were moved to the other mesh, beside those of the update.
    prepare = rollout.executables[0]
    assert prepare.executable.covers == () and prepare.compiled.memory.arguments >= whole / 4
    later = sum(rollout.state[kind] for kind in ("student's weights", "student's cache", "teacher's cache"))
    assert prepare.needs == prepare.compiled.memory.total + sum(rollout.state.values()) - later, (
        "caches come after weights"
    )
    assert plain.executables[0].executable.covers == ("student's parameters",)
    # With `tensor`, decoding sums partial products over devices.
    decode, before = rollout.executables[-2], plain.executables[-2]
    assert "all-reduce" in decode.compiled.work.by_kind() and decode.compiled.work != before.compiled.work
    assert plan_as_json(own_mesh, None)["rollout_mesh"] == own_mesh.rollout_mesh
    other = dataclasses.replace(
        own_mesh, job=with_settings(own_mesh.job, rollout_mesh=MeshShape(data=1, fsdp=-1, tensor=4))
    )
    assert changed_flags(own_mesh, other) == {
        "--gin.MeshShape.data": "1",
        "--gin.MeshShape.fsdp": "-1",
        "--gin.MeshShape.tensor": "4",
    }


def test_a_recipes_rollout_mesh_reaches_its_plan():
    bindings = ["Experiment.rollout_mesh=@mesh.MeshShape()", "MeshShape.data=-1", "MeshShape.tensor=8"]
    assert read_job(GEMMA, bindings).rollout_mesh == MeshShape(data=-1, fsdp=1, tensor=8)
    assert read_job(GEMMA, []).rollout_mesh is None


@pytest.mark.extra
def test_what_does_not_fit_gets_a_setting_that_was_compiled_and_does(cache):
    job = tiny_job()
    # A limit that is a fifth too low for the job as it is.
    roomy = report.make_plan(job, "cpu:8", cache=cache)
    limit = 0.8 * max(phase.needs for phase in roomy.phases)
    plan = report.make_plan(job, "cpu:8", limit, cache)
    assert not plan.fits
    found = nearest_that_fits(plan, cache, tries=8)
    assert found is not None and found.plan.fits and found.flags
    # The plan was compiled, and the same setting fits when it is planned again.
    again = report.make_plan(found.plan.job, found.plan.topology, limit, cache)
    assert all(phase.needs <= limit for phase in again.phases)
    assert nearest_that_fits(report.make_plan(job, "cpu:8", 1000.0, cache), cache, tries=2) is None


def test_state_of_a_twelve_billion_parameter_model_is_told_without_making_it():
    """11.77e9 float32 parameters, twice, Adam's two moments and gradients, over 8 devices; two sides' caches."""
    job = read_job(GEMMA, [])
    assert job.stages[0][0].length == 7736 and job.evaluation.turns == 10
    found = phases_of(with_settings(job, max_concurrent=8), make_mesh(1, 8, 1))
    rollout, update, evaluation = ({k: shard_bytes(v) for k, v in phase.state.items()} for phase in found)
    whole = 48 * 2 * 256  # norms of queries and keys, which no axis splits
    parameters = 4 * ((11_766_034_176 - whole) / 8 + whole)
    assert rollout["student's parameters"] == rollout["frozen parameters"] == parameters
    assert rollout["optimiser"] == pytest.approx(2 * parameters, rel=1e-6)
    assert update["gradients"] == parameters and "student's cache" not in update
    assert rollout["student's weights"] == pytest.approx(parameters / 2, rel=1e-3)  # in bfloat16
    # Eight layers keep all, of 7,736 tokens and 32 more, rounded up to 16; forty a ring of a window of 1,024, a reply
    # of 512 that may be taken back and 64, and twice 64.
    per_token = 2 * 8 * 256 * 2
    assert rollout["student's cache"] == (8 * (7736 + 32 + 8) + 40 * (1024 + 512 + 3 * 64)) * per_token
    assert "optimiser" not in evaluation


@pytest.mark.parametrize(
    ("argv", "part"),
    [
        (["--topology=v4:2x2"], "there are v5e, v5p, v6e, cpu"),
        (["--topology=v5e:3x3"], "there are v5e:1x1"),
        (["--topology=v5p:2x2x3"], "did you mean v5p:2x2x"),
        (["--topology=cpu:0"], "no such slice"),
        (["--topology=cpu:8", "--format=xml"], "format"),
        (["--topology=cpu:8", "--memory_gb=-1"], "at least 0"),
        (["--topology=cpu:8", "--prompt_tokens=0"], "at least 1"),
        ([], "--topology="),
    ],
    ids=["kind", "slice", "near", "none", "format", "memory", "prompt", "missing"],
)
def test_flags_that_will_not_do(argv, part):
    with pytest.raises(UserError) as caught:
        main([*(f"--gin_file={file}" for file in GEMMA), *argv])
    assert part in str(caught.value)


def test_without_the_tpu_compiler_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'sml-jax\[plan\]'"):
        topology.devices_of("v5e:2x2")


def test_more_simulated_devices_than_there_are():
    with pytest.raises(UserError, match="xla_force_host_platform_device_count=16"):
        topology.devices_of("cpu:16")


def test_slices():
    assert topology.parse_topology("V5E:4x8") == (CHIPS["v5e"], "v5e:4x8")
    assert topology.parse_topology("v5p") == (CHIPS["v5p"], None)
    assert chips_in("v5p:2x2x4") == 16
    for chip in CHIPS.values():
        sizes = [chips_in(name) for name in chip.topologies]
        assert sizes == sorted(sizes)


def test_what_a_compiler_says_it_wanted():
    text = (
        "RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required for HLO temporaries (57.95G) exceeds"
    )
    assert wanted_bytes(text) == pytest.approx(57.95 * 2**30)
    assert wanted_bytes("Ran out of memory in memory space hbm. Used 20.12G of 15.75G hbm.") == 20.12 * 2**30
    assert wanted_bytes("RESOURCE_EXHAUSTED") is None


@pytest.mark.slow
def test_a_deep_program_is_on_the_line_through_two_shallow_ones(cache):
    """Compiled at 4 and 8 layers and scaled to 14, against the same compiled at 14: `pytest -m slow tests/plan`."""
    assert shallow_depths(tiny_config(layers=12)) is None
    config = tiny_config(layers=14)
    assert shallow_depths(config) == (4, 8)
    job = tiny_job(config)
    mesh = make_mesh(1, 8, 1)
    rollout = report.make_plan(job, "cpu:8", cache=cache).phases[0]
    index = next(i for i, planned in enumerate(rollout.executables) if "write" in planned.executable.name)
    exact = report.compile_executable(phases_of(job, mesh)[0].executables[index])
    assert rollout.executables[index].compiled.memory.total == pytest.approx(exact.memory.total, rel=0.02)
    assert rollout.executables[index].compiled.work.bytes == pytest.approx(exact.work.bytes, rel=0.02)


def test_scaling_is_linear_and_keeps_what_was_not_compiled():
    one = Compiled(Memory(10.0, 2.0, 4.0, 1.0), None, Count(100.0, 50.0, {("all-gather", "1"): 8.0}), 90.0, 1.0)
    two = Compiled(Memory(20.0, 4.0, 4.0, 2.0), None, Count(200.0, 90.0, {("all-gather", "7"): 16.0}), 180.0, 1.0)
    deep = scale_to_depth(one, two, 4, 8, 16)
    assert deep.memory == Memory(40.0, 8.0, 4.0, 4.0) and deep.work.flops == 400.0 and deep.useful_flops == 360.0
    assert deep.work.by_kind() == {"all-gather": 32.0}
    lost = Compiled(None, 50.0, None, 180.0, 1.0)
    assert scale_to_depth(one, lost, 4, 8, 16).wanted == 50.0 + 2 * (50.0 - one.memory.total)


def test_roofline_takes_the_slowest_of_three():
    chip = CHIPS["v5e"]
    work = Count(chip.flops * 2, chip.bandwidth * 3, {("all-gather", "1"): chip.links})
    planned = report._plan_executable(
        phases_of(tiny_job(), make_mesh(1, 8, 1))[0].executables[0],
        Compiled(Memory(1.0, 1.0, 1.0, 0.0), None, work, 1.0, 0.0),
        {"student's parameters": 1.0, "student's weights": 1.0},
        chip,
    )
    assert planned.limits == {"arithmetic": 2.0, "memory": 3.0, "links": 1.0}
    assert planned.seconds == 3.0 and planned.binds == "memory"


@pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed: sml-jax[plan]")
def test_a_small_model_for_a_tpu_slice():
    """FLOPs against what was traced, kernels and collectives in a TPU's own form."""
    assert jax.default_backend() == "cpu"
    job = tiny_job(
        tiny_config(layers=2, embed_dim=256, head_dim=128, mlp_dim=512, vocab_size=1024, dtype="bfloat16"), 16
    )
    plan = report.make_plan(job, "v5e:2x4")
    assert plan.fits and plan.limit == 15.75 * 2**30
    for phase in plan.phases:
        for planned in phase.executables:
            useful = planned.compiled.useful_flops
            assert planned.needs >= planned.compiled.memory.total
            if useful and "extend" not in planned.executable.name:  # whose last layer's output nobody asks for
                assert planned.compiled.work.flops * 8 == pytest.approx(useful, rel=0.05), planned.executable.name
            assert planned.seconds
    assert plan.dialogues_per_hour()["online"] > 0
