"""Test cases of contests: JSON, packed JSON, and packed things that are none."""

import base64
import json
import os
import pickle
import zlib

import pytest
from dataset_toys import packed
from hypothesis import given
from hypothesis import strategies as st

from sml_jax.tasks.code.problem import CallCase, IoCase
from sml_jax.tasks.datasets import contest_cases
from sml_jax.tasks.datasets.contest_cases import cases_of, metadata_of
from sml_jax.tasks.problems.rows import BadRow

STDIN = {"input": "1\n2\n", "output": "3\n", "testtype": "stdin"}
CALL = {"input": '[1, 2]\n"x"', "output": "[null, 1.5]", "testtype": "functional"}


def pack(thing: object) -> str:
    return base64.b64encode(zlib.compress(pickle.dumps(thing))).decode()


@pytest.mark.parametrize("private", [json.dumps([CALL]), packed([CALL]), [CALL]])
def test_both_kinds_in_both_packings(private: object) -> None:
    cases = cases_of({"public_test_cases": json.dumps([STDIN]), "private_test_cases": private})
    assert cases == (IoCase("1\n2\n", "3\n"), CallCase('[[1, 2], "x"]', "[null, 1.5]"))


def test_none_at_all() -> None:
    assert cases_of({}) == ()


class Harm:
    def __reduce__(self):
        return os.mkdir, ("harm-done-by-a-pickle",)


@pytest.mark.parametrize(
    "private",
    [
        pack(Harm()),
        pack(os.system),
        pack([CALL]) + "!",
        pack(5),
        pack(["no", "text"])[:-6],
        base64.b64encode(zlib.compress(b"\x80\x04\x8c\xff")).decode(),
        base64.b64encode(zlib.compress(b"")).decode(),
        base64.b64encode(zlib.compress(b"(lp0\nI1\nb.")).decode(),
        # 64 GB for a place in the unpickler's memory.
        base64.b64encode(zlib.compress(b"\x80\x02X\x02\x00\x00\x00[]r\xff\xff\xff\x7f00.")).decode(),
        base64.b64encode(b"no zlib").decode(),
        "no base64 \u00e9",
        pack("no json"),
        pack('{"a": 1}'),
        5,
        None,
    ],
)
def test_what_is_no_packed_text_is_a_bad_row(private: object, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadRow, match="private_test_cases"):
        cases_of({"private_test_cases": private})
    assert not list(tmp_path.iterdir())


def test_a_bomb_is_not_unpacked(monkeypatch) -> None:
    monkeypatch.setattr(contest_cases, "_MAX_BYTES", 1 << 20)
    with pytest.raises(BadRow, match="unpacks to more than 1 MiB"):
        cases_of({"private_test_cases": pack("x" * (1 << 22))})


@given(st.binary(max_size=60))
def test_any_pickle_is_text_or_a_bad_row(data: bytes) -> None:
    private = base64.b64encode(zlib.compress(data)).decode()
    with pytest.raises(BadRow):
        cases_of({"private_test_cases": private})


@pytest.mark.parametrize(
    "case",
    [
        {"input": "1"},
        {"input": 1, "output": "1"},
        "x",
        {**CALL, "testtype": "x"},
        {**CALL, "input": "[1"},
        {**CALL, "output": "None"},
        {**STDIN, "output": "\ud800"},
    ],
)
def test_bad_cases(case: object) -> None:
    with pytest.raises(BadRow, match="public_test_cases"):
        cases_of({"public_test_cases": [case]})


def test_metadata() -> None:
    assert metadata_of({"metadata": '{"func_name": "f"}'}) == metadata_of({"metadata": {"func_name": "f"}})
    assert metadata_of({}) == {}
    for bad in ("x", 3, "[1]"):
        with pytest.raises(BadRow, match="metadata"):
            metadata_of({"metadata": bad})
