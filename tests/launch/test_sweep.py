"""Sweeps: points, folders, labels."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch.jobs import label, plan
from launch.sweep import Axis, parse_seeds, parse_sweep, points
from sml_jax.common.errors import UserError


def test_every_value_with_every_other_spelt_as_written():
    axes = [parse_seeds("0, 1"), parse_sweep("adamw.learning_rate=[1e-4, 3e-4]")]
    assert [(point.folder, point.bindings) for point in points(axes)] == [
        ("seed=0,learning_rate=1e-4", ("SEED=0", "adamw.learning_rate=1e-4")),
        ("seed=0,learning_rate=3e-4", ("SEED=0", "adamw.learning_rate=3e-4")),
        ("seed=1,learning_rate=1e-4", ("SEED=1", "adamw.learning_rate=1e-4")),
        ("seed=1,learning_rate=3e-4", ("SEED=1", "adamw.learning_rate=3e-4")),
    ]


def test_texts_references_and_lists_are_gin_values():
    axis = parse_sweep("""Thing.x=['a b', "1", '@make()', '%MACRO', [1, 2], None]""")
    assert axis.values == ("'a b'", '"1"', "@make()", "%MACRO", "[1, 2]", "None")


def test_parameters_of_one_name_keep_their_owners():
    folders = [p.folder for p in points([parse_sweep("a.rate=[1]"), parse_sweep("s/b.rate=[2]")])]
    assert folders == ["a.rate=1,s_b.rate=2"]


def test_nothing_swept_is_one_run_in_the_folder_itself():
    (job,) = plan("My Recipe!", "/w", ["a.gin"], ["STEPS=1"], [])
    assert (job.point, job.label, job.workdir) == ("", "my-recipe", "/w")
    assert job.arguments == ("--gin_file=a.gin", "--workdir=/w", "--gin.STEPS=1")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: parse_seeds("0,x"), "whole numbers"),
        (lambda: parse_seeds("1,1"), "1 stands there twice"),
        (lambda: parse_sweep("a.b"), "write --sweep='NAME="),
        (lambda: parse_sweep("a.b=1"), "give a list"),
        (lambda: parse_sweep("a.b=[]"), "give a list"),
        (lambda: parse_sweep("a.b=[x]"), "no Python list"),
        (lambda: parse_sweep("a.b=[1"), "no Python list"),
        (lambda: parse_sweep("a.b=[1, 1]"), "1 stands there twice"),
        (lambda: points([parse_seeds("0"), parse_sweep("SEED=[1]")]), "SEED is swept twice"),
        (lambda: plan("n", "/w", [], ["SEED=3"], [parse_seeds("0")]), "both --gin.SEED and --seeds"),
        (lambda: plan("n", "/w", [], ["a.b=3"], [parse_sweep("a.b=[0]")]), "both --gin.a.b and --sweep"),
    ],
    ids=[str(i) for i in range(11)],
)
def test_what_is_wrong_is_said(make, message):
    with pytest.raises(UserError, match=re.escape(message)):
        make()


_VALUES = st.one_of(
    st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=200), st.booleans(), st.none()
)


@given(st.lists(_VALUES.map(repr), min_size=1, max_size=6, unique=True), st.sampled_from(["a.b", "s/m.T.p", "X"]))
def test_any_values_give_folders_of_their_own_that_a_file_system_takes(values, name):
    found = points([parse_sweep(f"{name}=[{', '.join(values)}]"), Axis("SEED", ("0", "1"))])
    folders = [point.folder for point in found]
    assert len(set(folders)) == len(folders) == 2 * len(values)
    assert all(re.fullmatch(r"[A-Za-z0-9._=,+-]{1,130}", folder) for folder in folders)


@given(st.text(), st.from_regex(r"[0-9]{0,3}", fullmatch=True))
def test_any_name_gives_a_label_that_kubernetes_takes(name, suffix):
    made = label(name, suffix)
    assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", made) and len(made) <= 52
    assert made.endswith(suffix)
