"""One spelling for answers that are written differently."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sml_jax.tasks.math.canonical import canonical, folded, split_parts


@pytest.mark.parametrize(
    ("text", "spelling"),
    [
        (r"\$1{,}000.50", "1000.50"),
        (r"$1,\!000$", "1000"),
        ("1 234 567", "1234567"),
        ("25,100,55", "25,100,55"),
        ("2 100/200", "2 100/200"),
        (r"\left( \dfrac12, 3 \right)", r"( \frac{1}{2}, 3 )"),
        (r"5\,\mathrm{m}", "5 unit"),
        (r"60^{\circ}", "60"),
        (r"\begin{pmatrix}1 \\ 2\end{pmatrix}", r"\begin{pmatrix}1 \\ 2\end{pmatrix}"),
        ("\u2212\u0664\u0662", "-42"),
        ("x\u00b9\u2070", "x^10"),
        ("2\u00bd", "2 1/2"),
        ("about 5.", "5"),
        ("(5)", "5"),
        ("50\\%", "50%"),
    ],
)
def test_canonical(text: str, spelling: str) -> None:
    assert canonical(text) == spelling


def test_folded_keeps_what_counts() -> None:
    assert folded("2 1/2") != folded("21/2")
    assert folded("x^{2} + No Way") == folded("x^2+no way")
    assert folded("no solution") == folded(r"\varnothing")
    assert folded(r"\Pi") != folded(r"\pi") and folded("X") != folded("x")


def test_split_parts() -> None:
    assert split_parts("(1,2), [3,4) and x=5 or 6") == ["(1,2)", "[3,4)", "x=5", "6"]
    assert split_parts(r"\{1, 2\}") == ["1", "2"]
    assert split_parts(r"2 \pm \sqrt{3}") == [r"2 + \sqrt{3}", r"2 - \sqrt{3}"]
    assert split_parts(r"x = \pm 7") == ["x =  7", "x = - 7"]


@given(st.text())
@example("±")
def test_total(text: str) -> None:
    assert isinstance(folded(canonical(text)), str)
    assert all(split_parts(canonical(text, thousands=False)))
