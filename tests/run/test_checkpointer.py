"""Checkpoints: what is kept, what is found, and damage of every kind."""

import os
import shutil

import jax
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sml_jax.common.errors import UserError
from sml_jax.learn.train_state import init_state
from sml_jax.models.config import DecoderConfig
from sml_jax.models.decoder import Decoder, init_params
from sml_jax.models.hf.checkpoint import load_model
from sml_jax.run.checkpoint_record import Record, steps_to_keep
from sml_jax.run.checkpointer import Checkpointer
from sml_jax.run.io.manifest import digest
from sml_jax.run.state import RunPosition

CONFIG = DecoderConfig(
    vocab_size=8, embed_dim=8, layers=1, heads=1, kv_heads=1, head_dim=8, mlp_dim=8, max_length=8, dtype="float32"
)
MODEL = Decoder(CONFIG)
OPTIMIZER = optax.adam(1e-3)


def state_at(step):
    return init_state(init_params(MODEL, jax.random.key(step)), OPTIMIZER)


def write(run, steps, **record):
    """A checkpoint of each step; the states differ."""
    checkpointer = Checkpointer(run / "checkpoints" / "steps")
    checkpointer.config = CONFIG
    for step in steps:
        checkpointer.save(Record(RunPosition(0, step, step), config=f"step {step}", **record), state_at(step))
    checkpointer.finish()
    checkpointer.close()


def find(run):
    """The checkpointer that a second start makes."""
    checkpointer = Checkpointer(run / "checkpoints" / "steps")
    checkpointer.close()
    return checkpointer


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    run = tmp_path_factory.mktemp("two")
    write(run, [1, 2])
    return run


def test_comes_back_bit_for_bit_and_loads_as_a_model(tmp_path, two):
    checkpointer = Checkpointer(two / "checkpoints" / "steps")
    assert (
        checkpointer.newest_record.position == RunPosition(0, 2, 2)
        and checkpointer.newest_record.config == "step 2"
        and checkpointer.damaged == []
    )
    restored, _ = checkpointer.restore(state_at(7))
    checkpointer.close()
    assert jax.tree.all(jax.tree.map(np.array_equal, restored, state_at(2)))
    model, params = load_model(two / "checkpoints" / "steps" / "1")
    assert model.config == CONFIG
    assert jax.tree.all(jax.tree.map(np.array_equal, params, state_at(1).params))


def files_of(run, step):
    folder = run / "checkpoints" / "steps" / str(step)
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


DAMAGE = {
    "truncated": lambda path: os.truncate(path, max(path.stat().st_size // 2, 0)),
    "emptied": lambda path: os.truncate(path, 0),
    "flipped": flip,
    "missing": os.remove,
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_to_any_file_is_seen_and_the_checkpoint_before_is_used(tmp_path, two, kind):
    """Every file that Orbax or we wrote into the checkpoint, but for Orbax's own notes beside the items."""
    names = [name for name in files_of(two, 2) if "/" in name or name == "manifest.json"]
    assert len(names) > 8
    for number, name in enumerate(names):
        run = tmp_path / str(number)
        shutil.copytree(two, run)
        path = run / "checkpoints" / "steps" / "2" / name
        if kind in ("truncated", "emptied", "flipped") and not path.stat().st_size:
            continue
        DAMAGE[kind](path)
        checkpointer = find(run)
        assert checkpointer.newest_record.position == RunPosition(0, 1, 1), name
        (sentence,) = checkpointer.damaged
        assert "step 2 is damaged" in sentence and str(run / "checkpoints" / "damaged" / "2") in sentence, sentence
        assert files_of(run, 1) == files_of(two, 1)
        shutil.rmtree(run)


def test_no_whole_checkpoint_is_an_error_that_touches_nothing(tmp_path, two):
    run = tmp_path / "run"
    shutil.copytree(two, run)
    for step in ("1", "2"):
        os.remove(run / "checkpoints" / "steps" / step / "manifest.json")
    for _ in range(2):
        with pytest.raises(UserError, match=r"every checkpoint in .* is damaged \(step 2: manifest.json is missing"):
            find(run)
    assert files_of(run, 1) and files_of(run, 2)


def test_a_step_saved_again_after_damage(tmp_path, two):
    run = tmp_path / "run"
    shutil.copytree(two, run)
    for again in range(2):
        flip(run / "checkpoints" / "steps" / "2" / "manifest.json")
        assert find(run).newest_record.position.total == 1
        write(run, [2])
        assert find(run).newest_record.position.total == 2
        assert len(list((run / "checkpoints" / "damaged").iterdir())) == again + 1


def test_files_of_the_run_that_a_checkpoint_needs(tmp_path):
    write(tmp_path, [1])
    chunk = tmp_path / "stage0" / "chunk"
    chunk.parent.mkdir()
    chunk.write_bytes(b"dialogues")
    write(tmp_path, [2], files={"stage0/chunk": digest(chunk)})
    assert find(tmp_path).newest_record.position.total == 2
    chunk.write_bytes(b"dialogue")
    checkpointer = find(tmp_path)
    assert checkpointer.newest_record.position.total == 1 and "stage0/chunk has changed" in checkpointer.damaged[0]


def test_leftovers_of_a_killed_write_are_cleared(tmp_path, two):
    run = tmp_path / "run"
    shutil.copytree(two, run)
    steps = run / "checkpoints" / "steps"
    shutil.copytree(steps / "2", steps / "3.orbax-checkpoint-tmp")
    assert find(run).newest_record.position.total == 2
    write(run, [3])
    assert find(run).newest_record.position.total == 3 and not list(steps.glob("*tmp*"))


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path, two):
    checkpointer = Checkpointer(two / "checkpoints" / "steps")
    checkpointer._folder = tmp_path / "nowhere"  # the seal cannot be put on
    with pytest.raises(UserError, match=r"could not be written to .*start again with the same --workdir"):
        checkpointer.save(Record(RunPosition(0, 9, 9)), state_at(9))
        checkpointer.finish()
    checkpointer.close()
    assert find(two).newest_record.position.total == 2


def record(step, stage=0, score=None, end=False):
    return Record(RunPosition(stage, step, step), scores=() if score is None else (score,), stage_end=end)


def test_the_last_the_best_and_the_ends_of_stages_are_kept(tmp_path):
    records = {1: record(1, score=9.0), 2: record(2, score=1.0, end=True), 3: record(3, 1, 5.0), 4: record(4, 1, 2.0)}
    records |= {5: record(5, 1, 3.0), 6: None, 7: record(7, 1, float("nan"))}
    # The best of the latest stage: scores of different stages are different things.
    assert steps_to_keep(records, newest=2) == {2, 3, 6, 7}
    checkpointer = Checkpointer(tmp_path / "checkpoints" / "steps")
    for step, a_record in records.items():
        if a_record is not None:
            checkpointer.save(a_record, state_at(step))
    checkpointer.finish()
    checkpointer.close()
    kept = sorted(int(path.name) for path in (tmp_path / "checkpoints" / "steps").iterdir())
    assert kept == [2, 3, 5, 7]


@given(st.dictionaries(st.integers(0, 50), st.tuples(st.integers(0, 2), st.floats(), st.booleans()), max_size=12))
def test_what_is_kept_always_holds_the_newest(given):
    records = {step: record(step, stage, score, end) for step, (stage, score, end) in given.items()}
    kept = steps_to_keep(records, newest=2)
    assert set(sorted(records)[-2:]) <= kept <= set(records)
    assert len(kept) <= 3 + sum(end for _, _, end in given.values())
