"""Tables over seeds, by hand."""

import json

import pytest

from sml_jax.common.errors import UserError
from sml_jax.evaluate.seeds import at_turn, effects_markdown, load_results, seeds_markdown


def run(base, trained, retry):
    def entry(values):
        return {"success_at_turn": values}

    return {
        "maths": {
            "base": {"feedback": entry(base), "retry": entry(retry)},
            "trained": {"feedback": entry(trained), "retry": entry(retry)},
        }
    }


RUNS = [
    run([0.1] * 10, [0.1, 0.2, 0.3, 0.6, *[0.8] * 6], [0.1, 0.1, 0.1, 0.2, *[0.2] * 6]),
    run([0.1] * 10, [0.1, 0.2, 0.3, 0.8, *[0.8] * 6], [0.1, 0.1, 0.1, 0.2, *[0.2] * 6]),
]


def test_at_turn_counts_from_one():
    assert at_turn(RUNS, "maths", "trained", "feedback", 1) == [0.1, 0.1]
    assert at_turn(RUNS, "maths", "trained", "feedback", 4) == [0.6, 0.8]


def test_effects_are_differences_in_points():
    # Rises of 50 and 70 points: mean 60, and Student's t with one degree of freedom: 60 +- 12.706 * 14.142 / sqrt(2).
    rise, gap, gain = effects_markdown(RUNS, "maths").splitlines()[2:]
    assert "60.0 [-67.1, 187.1]" in rise and "50.0, 70.0" in rise
    assert "50.0 [" in gap and "40.0, 60.0" in gap
    assert "10.0 [" in gain and "20.0, 0.0" in gain


def test_table_has_a_row_for_each_arm_and_policy():
    rows = seeds_markdown(RUNS).splitlines()[2:]
    assert [row.split(" | ")[1:3] for row in rows] == [
        ["feedback", "base"],
        ["feedback", "trained"],
        ["retry", "base"],
        ["retry", "trained"],
    ]


def test_load_results_names_the_folder_without_results(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "eval.json").write_text(json.dumps({**RUNS[0], "sharded_suites": {"maths": {}}}))
    assert load_results([tmp_path / "a"]) == [RUNS[0]]
    with pytest.raises(UserError, match=r"no eval\.json in"):
        load_results([tmp_path])
