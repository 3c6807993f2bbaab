"""What people write and every program reads: errors of one line, paths, JSON."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sml_jax.common.errors import UserError
from sml_jax.common.json_text import parse_json
from sml_jax.common.paths import user_path


@given(st.text(), st.text())
def test_an_error_is_one_line_that_can_be_printed(one, other):
    text = str(UserError(f"no {one}\n{other}: give another"))
    assert text.splitlines() == [text] and text.isprintable()
    assert text.startswith("no ") and text.endswith(": give another")


def test_what_can_be_printed_stays_as_it_is():
    assert str(UserError("no módulo '√2' of 3 %")) == "no módulo '√2' of 3 %"
    assert str(UserError("a\nb\x85\ud800\x00")) == r"a\nb\x85\ud800\x00"
    assert str(UserError(OSError("gone"))) == "gone"


@pytest.mark.parametrize("name", ["a" * 300, "/" + "b" * 300, "\x00", "a\x00b", "\ud800"])
def test_a_path_that_cannot_be_is_refused(name):
    with pytest.raises(UserError, match=r"cannot use the path .*: give another one"):
        user_path(name)


def test_a_path_need_not_exist(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert user_path("~/run") == tmp_path / "run"
    assert user_path("~nobody_at_all/run") == Path("~nobody_at_all/run")
    (tmp_path / "file").write_text("")
    assert user_path(tmp_path / "file" / "below") == tmp_path / "file" / "below"


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, '{"a":' * 100_000, "9" * 5000])
def test_what_is_no_json_is_a_value_error(text):
    with pytest.raises(ValueError):
        parse_json(text)


def test_json_is_read_as_ever():
    assert parse_json('{"a": [1, 2.5, null]}') == {"a": [1, 2.5, None]}
