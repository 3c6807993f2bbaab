"""The benchmark that runs other libraries beside ours: its table, its workers' pipe, and our side of every work."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

PEERS = Path(__file__).resolve().parents[1] / "benchmarks" / "peers"
sys.path.insert(0, str(PEERS))
import roofline  # noqa: E402
import table  # noqa: E402
from real_works import DEFAULT, real_works  # noqa: E402
from setting import Setting  # noqa: E402
from shapes import SHAPES, SMALL  # noqa: E402
from works import WORKS  # noqa: E402

sys.path.remove(str(PEERS))

TINY = Setting(
    width=32,
    layers=1,
    heads=2,
    kv_heads=2,
    head_dim=16,
    hidden=32,
    vocab=128,
    prompts=2,
    samples=2,
    prompt=8,
    sample=6,
    turns=2,
    said=4,
    given=4,
    dialogues=6,
    stop_tokens=30,
)
REAL = [name for name in SHAPES if name != SMALL]
BY_KEY = {work.key: work for work in WORKS}


def repeats(units: float, *seconds: float) -> list[dict[str, float]]:
    return [{"units": units, "seconds": value} for value in seconds]


def test_a_rate_is_the_median_of_repeats_and_the_ratio_says_how_much_faster_ours_is():
    work = BY_KEY["a"]
    answers = {
        "sml-jax": repeats(100, 1.0, 0.5, 0.1),  # 100, 200, 1000 tokens/s
        "HF generate": repeats(100, 2.0, 2.0, 4.0),  # 50, 50, 25
        "Tunix sampler": repeats(100, 1.25),  # 80
    }
    rows = {row["side"]: row for row in table.summary(work, answers)}
    assert set(rows) == set(answers)
    assert rows["sml-jax"]["median"] == 200 and (rows["sml-jax"]["low"], rows["sml-jax"]["high"]) == (100, 1000)
    assert rows["HF generate"]["ratio"] == 4 and rows["Tunix sampler"]["ratio"] == 2.5
    assert table.best_ratio(work, list(rows.values())) == 2.5
    text = table.markdown(work, list(rows.values()))
    assert "| HF generate | 50 | 25 to 50 | 2 |  |  |  |  | 4.00x |" in text and "best peer: 2.50x (aim: 2.00x)" in text


def test_a_table_says_how_long_a_start_took_the_most_memory_and_the_share_of_the_roofline():
    work, extra = BY_KEY["e"], {"start_up": 9.0, "peak_gb": 2.0, "others": 0.25}
    ours = [{**repeats(1, 4.0)[0], **extra}, {**repeats(1, 5.0)[0], **extra, "peak_gb": 3.0}]
    rows = table.summary(work, {"sml-jax": ours, "TRL GRPOTrainer": repeats(1, 9.0)}, bound=1.8)
    text = table.markdown(work, rows, 1.8)
    assert "| sml-jax | 4.5 | 4 to 5 | 4.5 | 9 | 3 | 40% | 0.25 | 1.00x |" in text
    assert "| TRL GRPOTrainer | 9 | 9 to 9 | 9 |  |  | 20% |  | 2.00x |" in text
    assert "roofline for it: 1.8 s." in text
    # A rate is below what the machine allows, not above.
    (row,) = table.summary(BY_KEY["a"], {"sml-jax": repeats(100, 2.0)}, bound=200)
    assert row["of_bound"] == 0.25


def test_where_seconds_are_reported_fewer_are_better():
    work = BY_KEY["e"]
    answers = {"sml-jax": repeats(1, 4.0), "TRL GRPOTrainer": repeats(1, 12.0), "Tunix GRPOLearner": repeats(1, 10.0)}
    rows = table.summary(work, answers)
    assert [row["median"] for row in rows] == [4, 12, 10]
    assert table.best_ratio(work, rows) == 2.5


def test_counts_have_no_ratio_and_a_side_that_failed_is_left_out():
    rows = table.summary(BY_KEY["f"], {"sml-jax": repeats(0, 0.01), "Tunix sampler": repeats(3, 2.0)})
    assert [row["median"] for row in rows] == [0, 3] and table.best_ratio(BY_KEY["f"], rows) is None
    rows = table.summary(BY_KEY["a"], {"sml-jax": [], "Tunix sampler": repeats(3, 2.0)})
    assert [row["side"] for row in rows] == ["Tunix sampler"] and rows[0]["ratio"] is None


@pytest.mark.parametrize("shape", SHAPES)
def test_every_aim_is_measured_against_at_least_two_peers(shape):
    works = WORKS if shape == SMALL else real_works(SHAPES[shape])
    small = {"a": 2.0, "b": 2.5, "c": 4.0, "d": 1.5, "e": 2.0}
    real = {"a": 2.5, "b": 3.0, "c": 4.0, "d": 1.5, "e": 1 / 0.45}
    assert {w.key: w.aim for w in works if w.aim} == (small if shape == SMALL else real)
    for work in works:
        assert len({side.name for side in work.sides}) == len(work.sides)
        if work.aim:
            assert [side.ours for side in work.sides].count(True) == 1
            assert {side.place for side in work.sides} == {"ours", "torch", "tunix"}


@pytest.mark.parametrize("shape", REAL)
def test_a_real_shape_measures_the_machine_before_the_works_that_are_held_against_it(shape):
    keys = [work.key for work in real_works(SHAPES[shape])]
    assert set(DEFAULT.split(",")) <= set(keys) and DEFAULT.startswith("g,h,i,a")


@pytest.mark.parametrize("shape, params", [("smollm2_135m", 134_515_008), ("qwen2_5_0_5b", 494_032_768)])
def test_real_shapes_have_the_published_numbers_of_parameters(shape, params):
    sys.path.insert(0, str(PEERS))
    try:
        from weights import config_of
    finally:
        sys.path.remove(str(PEERS))
    from sml_jax.models.decoder import Decoder, abstract_params, count_params

    s = SHAPES[shape]
    assert count_params(abstract_params(Decoder(config_of(s)))) == params
    # The roofline counts matrices alone: norms and biases are what is left.
    biases = s.layers * s.head_dim * (s.heads + 2 * s.kv_heads) if s.family == "qwen2" else 0
    norms = (2 * s.layers + 1) * s.width
    assert roofline.layer_params(s) + s.vocab * s.width + norms + biases == params


def test_the_roofline_by_hand():
    """One layer of 2 heads of 16 and width 32 has 32 * 16 * 8 + 3 * 32 * 32 = 7,168 parameters, the logits 4,096."""
    assert roofline.layer_params(TINY) == 7168
    # Three steps of 4 rows behind 10 tokens: a new token sees those and itself, and caches hold keys and values.
    flops, size = roofline.passed(TINY, 4, 1, 10, 1, steps=3)
    assert flops == 3 * 4 * (2 * 7168 + 2 * 4096 + 4 * 2 * 16 * 11)
    assert size == 3 * 4 * (7168 + 4096 + 4 * 10 * 2 * 2 * 16)
    # Each phase takes the longer of its products and its reads.
    assert roofline.Machine(product=10, read=2).seconds([(20, 2), (10, 6)]) == 2 + 3


def test_the_roofline_of_works():
    fast = roofline.Machine(product=1e12, read=1e15)
    # Without a limit on reads, a rate of decoding is that of its products: 4 rows, 6 steps, prompts of 2 groups of 8.
    phases = roofline.sampling(TINY, 4, 1, 6)
    assert [flops for flops, _ in phases] == [
        2 * (2 * 7168 * 8 + 4 * 2 * 16 * 8 * 4.5),
        6 * 4 * (2 * 7168 + 2 * 4096 + 4 * 2 * 16 * (8 + 2.5 + 1)),
    ]
    assert roofline.best_value("a", TINY, fast, 8) == pytest.approx(24e12 / sum(flops for flops, _ in phases))
    # Dialogues cost what is given too, and a step of GRPO more than its rollout; works of the machine have no bound.
    assert roofline.best_value("b", TINY, fast, 8) < roofline.best_value("a", TINY, fast, 8)
    assert roofline.best_value("e", TINY, fast, 8) > fast.seconds(phases)
    assert roofline.best_value("g", TINY, fast, 8) is None


def test_what_a_dialogues_step_has_behind_its_prompt():
    assert (TINY.step_said, TINY.step_completion) == (6, 6)
    s = replace(TINY, step_turns=2)
    assert (s.step_said, s.step_completion) == (4, 12)


@pytest.mark.parametrize("shape", SHAPES)
def test_all_sides_get_the_same_prompts_and_ends_that_give_the_mean_of_a_uniform_draw(shape):
    setting = SHAPES[shape]
    prompts = setting.prompt_rows()
    assert prompts.shape == (64, setting.prompt) and prompts.min() > 0 and prompts.max() < setting.vocab
    assert (prompts[:8] == prompts[0]).all() and (prompts[8] != prompts[0]).any()
    assert (Setting.from_json(setting.to_json()).prompt_rows() == prompts).all()
    ends = setting.end_ids()
    assert len(set(ends)) == setting.stop_tokens and 0 not in ends and max(ends) < setting.vocab
    stays = 1 - setting.stop_tokens / setting.vocab
    mean = sum(stays**i for i in range(setting.said))
    assert mean == pytest.approx((1 + setting.said) / 2, abs=0.1)


@pytest.fixture(scope="module")
def our_answers() -> dict[str, dict[str, float]]:
    """Each of our works, built and run once on a tiny shape by one process that is given them one after the other."""
    script = (
        "import json, sys, setting, ours\n"
        "s = setting.Setting.from_json(sys.argv[1])\n"
        "print(json.dumps({name: work(s)(3) for name, work in ours.WORKS.items()}))\n"
    )
    answers: dict[str, dict[str, float]] = json.loads(_printed(script, TINY))
    return answers


def _printed(script: str, setting: Setting) -> str:
    """What a script prints that is run beside the peers' modules, on one device, with the setting as its argument."""
    done = subprocess.run(
        [sys.executable, "-c", script, setting.to_json()],
        cwd=PEERS,
        capture_output=True,
        text=True,
        timeout=300,
        env=_one_device(),
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _one_device() -> dict[str, str]:
    import os

    return {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"} | {"JAX_PLATFORMS": "cpu"}


@pytest.mark.slow
def test_our_side_does_all_that_it_is_asked_for(our_answers):
    """Two minutes for this and the next two: `pytest -m slow tests/test_peer_benchmarks.py`."""
    rows, spoken = TINY.rows, TINY.turns * TINY.said
    assert rows * TINY.sample * 0.8 <= our_answers["sample_logprobs"]["units"] <= rows * TINY.sample
    assert our_answers["one"]["units"] <= TINY.sample
    assert rows * spoken * 0.8 <= our_answers["dialogue"]["units"] <= rows * spoken
    assert TINY.dialogues * TINY.turns <= our_answers["random"]["units"] < TINY.dialogues * spoken
    assert 1 <= our_answers["random"]["mean_length"] < TINY.said


@pytest.mark.slow
def test_our_grpo_step_trains_on_log_probs_that_are_the_samplers_own(our_answers):
    assert our_answers["grpo"]["units"] == 1 and our_answers["grpo"]["logprob_mismatch"] < 1e-4


@pytest.mark.slow
def test_our_side_takes_a_step_of_dialogues_on_weights_that_others_load_too(tmp_path):
    pytest.importorskip("transformers")
    s = replace(TINY, family="qwen2", tied=True, step_turns=2, micro_rows=2, weights=str(tmp_path / "model"))
    script = (
        "import json, sys, numpy, jax, setting, ours, weights, hf, torch\n"
        "s = setting.Setting.from_json(sys.argv[1])\n"
        "weights.write_weights(s)\n"
        "model, params = ours.model_of(s, 'xla')\n"
        "tokens = s.prompt_rows()\n"
        "theirs = hf.model_of(s)(torch.as_tensor(tokens, dtype=torch.long)).logits.detach().numpy()\n"
        "apart = float(abs(numpy.asarray(model.apply(params, tokens)) - theirs).max())\n"
        "print(json.dumps({**ours.WORKS['grpo'](s)(3), 'apart': apart}))\n"
    )
    answer = json.loads(_printed(script, s).splitlines()[-1])
    assert answer["apart"] < 1e-4 and answer["logprob_mismatch"] < 1e-4
    assert 2 <= answer["mean_length"] <= 8


@pytest.mark.slow
def test_ours_compiles_nothing_when_rows_lengths_and_budgets_change(our_answers):
    assert our_answers["recompiles"]["units"] == 0


def test_a_worker_warms_up_then_runs_once_for_each_line():
    script = (
        "import side\n"
        "side.serve({'work': lambda s: lambda seed: print('noise') or {'units': float(seed)}}, warm_ups=2)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "work", TINY.to_json()],
        cwd=PEERS,
        input="run\nrun\n",
        capture_output=True,
        text=True,
        timeout=60,
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert answers[0]["ready"] and answers[0]["start_up"] >= 0 and answers[0]["peak_gb"] > 0.001
    assert [a["units"] for a in answers[1:]] == [2, 3]
    assert all(a["seconds"] >= 0 for a in answers[1:]) and "noise" in done.stderr


@pytest.mark.parametrize("lengths, logprobs", [([0, 3], None), ([3, 5], None), ([3, 4], [0.5]), ([3, 4], [np.nan])])
def test_samples_that_are_not_what_was_asked_for_stop_a_side(lengths, logprobs):
    sys.path.insert(0, str(PEERS))
    try:
        from side import check_samples
    finally:
        sys.path.remove(str(PEERS))
    check_samples(np.array([1, 4]), 4, np.array([-1.0, 0.0]))
    with pytest.raises(SystemExit):
        check_samples(np.array(lengths), 4, None if logprobs is None else np.array(logprobs))
