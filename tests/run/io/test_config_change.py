"""What two operative configurations say differently."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sml_jax.run.io.config_change import MAY_CHANGE, config_changes, settings, split_name

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
    assert config_changes(TEXT, TEXT.replace("%LONG", "3").replace("LONG = %STEPS\n", "")) == {}
    assert config_changes(TEXT, TEXT.replace("STEPS = 3", "STEPS = 4")) == {"math/online.Online.steps": ("3", "4")}


def test_comments_imports_and_order_are_nothing():
    one, other = "a.A.x = 1\nb.B.y = 2\n", "# new\nimport c\nb.B.y = 2\n\na.A.x = 1"
    assert config_changes(one, other) == {}


def test_what_is_missing_is_a_difference():
    assert config_changes("a.A.x = 1", "") == {"a.A.x": ("1", "(not set)")}
    assert config_changes("", "a.A.x = 1") == {"a.A.x": ("(not set)", "1")}


def test_how_a_run_is_carried_out_may_change():
    for name in (*MAY_CHANGE, "AlertThresholds.leak"):
        assert config_changes(f"m.{name} = 1", f"m.{name} = 2") == {}
    assert config_changes("m.Experiment.seed = 1", "m.Experiment.seed = 2") == {"m.Experiment.seed": ("1", "2")}


RUN = """
experiment.Experiment.stages = [@online.Online()]
experiment.Experiment.suites = [@math/suites.Suite(), @suites.Suite()]
experiment.Experiment.task = @world.Maths()
experiment.Experiment.teacher = %TEACHER
experiment.Experiment.model_labels = False
TEACHER = @teachers.Feedback()
online.Online.optimizer = @online/optimizers.adamw()
online/optimizers.adamw.b1 = 0.9
math/suites.Suite.arms = (@teachers.Feedback(), @teachers.Retry())
math/suites.Suite.problems = 64
math/suites.Suite.task = @math/world.Maths()
math/teachers.Feedback.name = 'feedback'
math/teachers.Retry.text = 'no'
math/world.Maths.size = 1000
teachers.Feedback.name = 'feedback'
world.Maths.size = 50000
"""


@pytest.mark.parametrize(
    ("before", "after", "trains"),
    [
        ("Experiment.suites = [@math/suites.Suite(), ", "Experiment.suites = [", False),
        ("model_labels = False", "model_labels = True", False),
        ("Suite.problems = 64", "Suite.problems = 8", False),
        ("Retry.text = 'no'", "Retry.text = 'No.'", False),
        ("math/world.Maths.size = 1000", "math/world.Maths.size = 9", False),
        ("math/teachers.Feedback.name = 'feedback'", "math/teachers.Feedback.name = 'x'", False),
        ("\nteachers.Feedback.name = 'feedback'", "\nteachers.Feedback.name = 'x'", True),
        ("\nworld.Maths.size = 50000", "\nworld.Maths.size = 9", True),
        ("adamw.b1 = 0.9", "adamw.b1 = 0.8", True),
        ("TEACHER = @teachers.Feedback()", "TEACHER = @teachers.Retry()", True),
    ],
)
def test_what_the_evaluation_alone_reads_is_no_change_of_training(before, after, trains):
    assert before in RUN
    changes = config_changes(RUN, RUN.replace(before, after))
    assert bool(changes) == trains and set(changes) <= {before.strip().partition(" ")[0]} | {
        "online/optimizers.adamw.b1",
        "experiment.Experiment.teacher",
    }


def test_a_scope_that_training_enters_belongs_to_training():
    text = (
        "e.Experiment.task = @math/world.Maths()\ne.Experiment.suites = [@math/s.Suite()]\nmath/world.Maths.size = 1\n"
    )
    assert list(config_changes(text, text.replace("= 1", "= 2"))) == ["math/world.Maths.size"]


def test_the_parts_of_a_name():
    assert split_name("a/b/suites.Suite.problems") == ("a/b", "suites.Suite", "problems")
    assert split_name("online.Online.steps") == ("", "online.Online", "steps")


def test_macros_that_name_each_other_end():
    assert settings("A = %B\nB = %A\nx.X.y = %A")["x.X.y"] in ("%A", "%B")


@given(st.text(), st.text())
def test_any_text(one, other):
    assert config_changes(one, one) == {}
    assert len(config_changes(one, other)) == len(config_changes(other, one))
