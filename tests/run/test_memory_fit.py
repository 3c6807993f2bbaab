"""A run is fitted to a device's memory before its first step, and goes on as it began."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import jax
import pytest
from run_toys import OPTIMIZER, ToyTask, host, same, toy_experiment

from sml_jax.common.errors import UserError
from sml_jax.dialogue.teachers import Feedback, Scripted
from sml_jax.learn.methods import OfflineSml
from sml_jax.learn.train_state import init_state
from sml_jax.models.config import LoraConfig
from sml_jax.models.hf.checkpoint import load_model, read_model_config
from sml_jax.run import memory_limit as limits
from sml_jax.run.bookkeeper import Bookkeeper
from sml_jax.run.io.folder import RunFolder
from sml_jax.run.memory_account import Account, Need
from sml_jax.run.stages import Offline, Online

STAGE = Online(OPTIMIZER, steps=2, problems_per_step=4, group_size=4, dialogues_logged=0)
GB = 1e9


def wide(tokenizer: Any, stages: Any = (STAGE,), **settings: Any) -> Any:
    """A run whose activations are larger than its parameters, on one device."""
    experiment = toy_experiment(tokenizer, stages, data=1, teacher=Feedback(), **settings)
    config = dataclasses.replace(experiment.base.config, layers=4)
    return dataclasses.replace(experiment, base=dataclasses.replace(experiment.base, config=config))


@pytest.fixture
def one_device(monkeypatch):
    """Every mesh of the run lies over the first device."""
    from sml_jax.run import experiment

    make_mesh = experiment.make_mesh
    monkeypatch.setattr(experiment, "make_mesh", lambda *sizes: make_mesh(*sizes, over=jax.devices()[:1]))


def account_of(experiment: Any, folder: Any) -> Account:
    context = experiment._context(Bookkeeper(RunFolder(folder)))
    for stage in experiment.stages:
        stage.check(context)
    return Account(context, experiment.stages)


def needs_of(experiment: Any, folder: Any) -> dict[str, Need]:
    """Of the update by `remat`."""
    account = account_of(experiment, folder)
    return {remat: account.update(0, remat, 64) for remat in ("none", "dots", "layer")}


def test_what_stays_is_counted_array_by_array(tokenizer, one_device, tmp_path):
    account = account_of(wide(tokenizer), tmp_path)
    params = account.context.initial
    whole = sum(leaf.nbytes for leaf in jax.tree.leaves(params))
    moments = sum(leaf.nbytes for leaf in jax.tree.leaves(init_state(params, OPTIMIZER).opt_state))
    # The student, the frozen teacher, gradients, moments, and a copy of parameters and moments for a checkpoint.
    assert account.update(0, "none", 64).resident == 3 * whole + moments + (whole + moments)
    (rollout,) = account.rollouts(16)
    engine = account.context.engine(account.context.task, account.context.rules, "train")
    cache = sum(leaf.nbytes for leaf in jax.tree.leaves(engine.empty_cache()))
    sides = 2 * (whole + cache)  # weights as the engine has them, and a cache, of student and teacher
    assert rollout.resident == 2 * whole + 2 * moments + whole + sides
    # A suite with a model as the teacher needs as much, also where the run's own teacher is none.
    scripted = dataclasses.replace(account.context, teacher=Scripted())
    played, evaluated = Account(scripted, account.stages, taught=True).rollouts(16)
    assert evaluated.resident == rollout.resident == played.resident + whole + cache


def test_adapters_cost_no_second_base(tokenizer, one_device, tmp_path):
    plain = wide(tokenizer)
    adapted = dataclasses.replace(plain, base=dataclasses.replace(plain.base, lora=LoraConfig(rank=1)))
    accounts = [account_of(each, tmp_path / str(number)) for number, each in enumerate((plain, adapted))]
    base, both = (sum(leaf.nbytes for leaf in jax.tree.leaves(account.context.initial)) for account in accounts)
    adapters = both - base
    cache = accounts[0].rollouts(16)[0].resident - accounts[1].rollouts(16)[0].resident
    # Student and teacher each lay out the base, keep it, and train it; with adapters there is one of each.
    moments = [
        sum(leaf.nbytes for leaf in jax.tree.leaves(init_state(account.context.initial, OPTIMIZER).opt_state))
        for account in accounts
    ]
    assert cache == (2 * base - base) + (2 * base - base) + base - 5 * adapters + 2 * (moments[0] - moments[1])


@pytest.mark.extra
def test_a_run_takes_what_fits_and_goes_on_with_it(tokenizer, one_device, tmp_path, capsys):
    """Of two runs with less memory one was never stopped, and both end alike; with more memory nothing changes."""
    needs = needs_of(wide(tokenizer), tmp_path / "measured")
    assert needs["layer"].compiled < needs["dots"].compiled < needs["none"].compiled
    between = (needs["layer"].compiled + needs["dots"].compiled) / 2 / GB
    ends = []
    for name, steps in (("at once", [2]), ("twice", [1, 2])):
        for number in steps:
            stage = dataclasses.replace(STAGE, steps=number)
            # When it goes on there is room for all, and it keeps what it began with.
            memory = between if number == steps[0] else 4 * between
            wide(tokenizer, [stage], memory_gb=memory).train(tmp_path / name, "")
        fitted = json.loads((tmp_path / name / "fit.json").read_text())
        assert fitted == {"max_concurrent": 16, "remat": "layer", "micro_batch_sizes": [64]}
        assert read_model_config(tmp_path / name).remat == "layer"
        ends.append(host(load_model(tmp_path / name)[1]))
    assert same(*ends)
    out = capsys.readouterr().out
    assert "chosen so that it fits: remat 'layer'" in out and "as the run began" in out
    wide(tokenizer, memory_gb=4 * between).train(tmp_path / "roomy", "")
    assert json.loads((tmp_path / "roomy" / "fit.json").read_text())["remat"] == "none"


@pytest.mark.extra  # a run on top of `test_what_does_not_fit_is_refused_with_the_nearest_that_does`
def test_what_is_fixed_and_does_not_fit_is_refused_before_the_first_step(tokenizer, one_device, tmp_path):
    stage = dataclasses.replace(STAGE, micro_batch_size=64)
    experiment = wide(tokenizer, [stage])
    base = dataclasses.replace(experiment.base, config=dataclasses.replace(experiment.base.config, remat="layer"))
    experiment = dataclasses.replace(experiment, base=base)
    account = account_of(experiment, tmp_path / "measured")
    whole, half = (account.update(0, "layer", size).compiled for size in (64, 32))
    too_little = dataclasses.replace(experiment, memory_gb=(half + whole) / 2 / GB)
    with pytest.raises(UserError, match=r"the update of online needs .* fits is --gin\.Online\.micro_batch_size=32 \("):
        too_little.train(tmp_path / "run", "")
    assert not list((tmp_path / "run").glob("metrics.jsonl"))
    smaller = dataclasses.replace(stage, micro_batch_size=32, steps=1)
    dataclasses.replace(too_little, stages=[smaller]).train(tmp_path / "run", "")
    with pytest.raises(UserError, match="No max_concurrent, remat or micro_batch_size makes the run fit"):
        dataclasses.replace(experiment, memory_gb=1e-6).train(tmp_path / "other", "")


@pytest.mark.extra
def test_an_evaluation_plays_fewer_dialogues_at_once_where_more_do_not_fit(tokenizer, one_device, tmp_path, capsys):
    from sml_jax.evaluate.suites import Suite

    experiment = wide(tokenizer, (), max_concurrent=None)
    suite = Suite(experiment.task, arms=(Feedback(),), max_turns=2, problems=4)
    experiment = dataclasses.replace(experiment, suites=[suite], evaluates_base=False)
    context = experiment._context(Bookkeeper(RunFolder(tmp_path / "measured")))
    experiment._evaluation().check(context)
    (all_rows,), (half,) = (Account(context, taught=True).rollouts(rows) for rows in (128, 64))
    from sml_jax.models.hf.checkpoint import save_model

    save_model(tmp_path / "model", context.model.config, context.initial)
    memory = (all_rows.compiled + half.compiled) / 2 / GB
    dataclasses.replace(experiment, memory_gb=memory).evaluate(str(tmp_path / "model"), tmp_path / "eval", "")
    assert "max_concurrent 64; chosen so that it fits" in capsys.readouterr().out
    assert json.loads((tmp_path / "eval" / "eval.json").read_text())["toy"]["trained"]["feedback"]["n"] == 4


@pytest.mark.extra
@pytest.mark.parametrize("sizes", [(1, 8, 1), (2, 2, 2)])
def test_what_is_counted_bounds_what_a_mesh_needs(tokenizer, tmp_path, sizes):
    """Eight simulated devices; what they gather and send each other is counted too, and may be counted too high."""
    data, fsdp, tensor = sizes
    experiment = toy_experiment(tokenizer, [STAGE], data=data, fsdp=fsdp, tensor=tensor)
    config = dataclasses.replace(experiment.base.config, kv_heads=2, embed_dim=32, layers=2)
    experiment = dataclasses.replace(experiment, base=dataclasses.replace(experiment.base, config=config))
    account = account_of(experiment, tmp_path)
    update = account.update(0, "none", 64)
    assert update.compiled <= update.bound <= 4 * update.compiled
    (rollout,) = account.rollouts(16)
    assert rollout.compiled <= rollout.bound <= 4 * rollout.compiled


def test_rollouts_beside_updates_and_on_devices_of_their_own(tokenizer, one_device, tmp_path):
    stale = dataclasses.replace(STAGE, staleness=1)
    account = account_of(wide(tokenizer, [STAGE, stale]), tmp_path / "one")
    assert account.beside_update(0, 16) == 0
    beside, (rollout, _) = account.beside_update(1, 16), account.rollouts(16)
    weights_and_caches = rollout.resident - account.update(0, "none", 64).resident
    params = sum(leaf.nbytes for leaf in jax.tree.leaves(account.context.initial))
    # Gradients are no part of a rollout.
    assert beside >= weights_and_caches + params > 0


def test_a_stage_without_micro_batches_and_one_that_trains_given_rows(tokenizer, one_device, tmp_path):
    """An offline stage's longest bucket is its longest row."""
    offline = Offline(OPTIMIZER, OfflineSml(), problems=4, samples=2, buckets=(32, 64), micro_batch_size=8)
    account = account_of(wide(tokenizer, [offline]), tmp_path)
    assert "8 x 64" in account.update(0, "none", 8).executables[0].name
    assert "4 x 64" in account.update(0, "none", 4).executables[0].name


def test_problems_are_measured_once_for_a_task(tokenizer, one_device, tmp_path):
    """Writing all problems as tokens may take seconds, and many ask for the same engine."""
    measured = []

    class Counted(ToyTask):
        def problems(self, split):
            measured.append(self)
            return super().problems(split)

    task, other = Counted(), Counted()
    context = wide(tokenizer)._context(Bookkeeper(RunFolder(tmp_path)), task)
    first = context.engine(task, context.rules, "train")
    assert context.engine(task, context.rules, "train") is first and measured == [task]
    longer = dataclasses.replace(context.rules, max_turns=3)
    assert context.engine(task, longer, "train").max_length > first.max_length and len(measured) == 2
    context.engine(other, context.rules, "train")
    assert measured[2] is other


def test_the_limit_of_a_device(monkeypatch):
    devices = len(jax.local_devices())
    monkeypatch.setattr(limits, "free_bytes", lambda: 10e9)
    assert limits.device_limit(None) == pytest.approx(9e9 / devices)
    assert limits.device_limit(2.5) == 2.5e9
    monkeypatch.setattr(limits, "free_bytes", lambda: None)
    assert limits.device_limit(None) is None

    class Chip:
        platform = "gpu"

        def __init__(self, stats: dict | None):
            self.memory_stats = lambda: stats

    monkeypatch.setattr(jax, "local_devices", lambda: [Chip({"bytes_limit": 20e9}), Chip({"bytes_limit": 10e9})])
    assert limits.device_limit(None) == pytest.approx(9.5e9)
    monkeypatch.setattr(jax, "local_devices", lambda: [Chip(None)])
    assert limits.device_limit(None) is None
