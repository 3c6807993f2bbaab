"""Thresholds that warn, and steps that are not finite."""

import math

import pytest

from sml_jax.common.errors import UserError
from sml_jax.run.health import AlertThresholds, HealthMonitor

QUIET = {
    "logprob_mismatch": 1e-6, "entropy": 1.0, "zero_variance_fraction": 0.5, "truncated_rate": 0.1, "leak_rate": 0.0,
    "dropped_rate": 0.0, "unmarked_rate": 0.4, "redaction_rate": 0.2, "verifier_errors": 0.0, "skipped": 0.0,
}  # fmt: skip
LOUD = {
    "logprob_mismatch": 0.3, "entropy": 0.001, "zero_variance_fraction": 1.0, "truncated_rate": 0.9, "leak_rate": 0.5,
    "dropped_rate": 0.2, "unmarked_rate": 1.0, "redaction_rate": 0.4, "verifier_errors": 1.0, "skipped": 1.0,
}  # fmt: skip


@pytest.mark.parametrize("name", LOUD)
def test_each_metric_warns_alone(name):
    (line,) = HealthMonitor(AlertThresholds()).step(7, {**QUIET, name: LOUD[name]})
    assert line.startswith("warning: step 7: ") and (name in line or name == "skipped")
    assert HealthMonitor(AlertThresholds()).step(7, QUIET) == []


def test_a_teacher_that_marks_nothing_is_named_with_the_cure():
    lines = HealthMonitor(AlertThresholds()).step(1, {"unmarked_rate": 1.0, "redaction_rate": 1.0})
    assert lines == [
        "warning: step 1: unmarked_rate 1 is above 0.5; the teacher does not mark what the student is to read: set "
        "Prompts.feedback_tag to '' with a prompt for the teacher that asks for the reply alone, such as "
        "teacher_brief_math or teacher_brief_code",
        "warning: step 1: redaction_rate 1 is above 0.3; the student is told a fixed sentence in place of feedback: "
        "see leak_rate and unmarked_rate, and DialogueRules.guard",
    ]


def test_none_switches_a_warning_off():
    off = dict.fromkeys(set(vars(AlertThresholds())) - {"skipped_steps"})
    assert HealthMonitor(AlertThresholds(**off)).step(1, {**LOUD, "skipped": 0.0}) == []


def test_a_metric_that_is_missing_or_unknown_says_nothing():
    assert HealthMonitor(AlertThresholds()).step(1, {"nll": 2.0, "leak_rate": math.nan}) == []


def test_a_warning_is_said_when_it_shows_and_every_so_often():
    monitor = HealthMonitor(AlertThresholds(), every=10)
    warned_at = [step for step in range(1, 25) if monitor.step(step, {"leak_rate": 0.9})]
    assert warned_at == [1, 11, 21]


def test_gives_up_after_steps_in_a_row():
    monitor = HealthMonitor(AlertThresholds(skipped_steps=3))
    for skipped, given_up in [(1, False), (1, False), (0, False), (1, False), (1, False), (1, True)]:
        monitor.step(1, {"skipped": float(skipped)})
        assert monitor.should_give_up == given_up


@pytest.mark.parametrize("settings", [{"skipped_steps": 0}, {"leak": -1.0}, {"entropy": math.nan}])
def test_settings_that_cannot_work(settings):
    with pytest.raises(UserError, match=f"alerts: {next(iter(settings))} is"):
        AlertThresholds(**settings)
