"""What two operative configurations say differently."""

from hypothesis import given
from hypothesis import strategies as st

from sml_jax.run.io.config_change import MAY_CHANGE, config_changes, settings

TEXT = r"""from __gin__ import dynamic_registration
from sml_jax.run.stages import online

# Macros:
# ==============================================================================
LONG = %STEPS
STEPS = 3

# Parameters for online.Online:
# ==============================================================================
math/online.Online.steps = %LONG
online.Online.name = 'a = b'
online.Online.stages = \
    [@a.A(),
     @b.B()]
"""


def test_values_by_parameter():
    assert settings(TEXT) == {
        "math/online.Online.steps": "3",
        "online.Online.name": "'a = b'",
        "online.Online.stages": "[@a.A(), @b.B()]",
    }


def test_a_macro_is_its_value():
    assert config_changes(TEXT, TEXT.replace("%LONG", "3").replace("LONG = %STEPS\n", "")) == []
    assert config_changes(TEXT, TEXT.replace("STEPS = 3", "STEPS = 4")) == ["math/online.Online.steps: 3 -> 4"]


def test_comments_imports_and_order_are_nothing():
    one, other = "a.A.x = 1\nb.B.y = 2\n", "# new\nimport c\nb.B.y = 2\n\na.A.x = 1"
    assert config_changes(one, other) == []


def test_what_is_missing_is_a_difference():
    assert config_changes("a.A.x = 1", "") == ["a.A.x: 1 -> (not set)"]
    assert config_changes("", "a.A.x = 1") == ["a.A.x: (not set) -> 1"]


def test_how_a_run_is_carried_out_may_change():
    for name in (*MAY_CHANGE, "AlertThresholds.leak"):
        assert config_changes(f"m.{name} = 1", f"m.{name} = 2") == []
    assert config_changes("m.Experiment.seed = 1", "m.Experiment.seed = 2") == ["m.Experiment.seed: 1 -> 2"]


def test_macros_that_name_each_other_end():
    assert settings("A = %B\nB = %A\nx.X.y = %A")["x.X.y"] in ("%A", "%B")


@given(st.text(), st.text())
def test_any_text(one, other):
    assert config_changes(one, one) == []
    assert len(config_changes(one, other)) == len(config_changes(other, one))
