"""Reading rows: formats, bad rows named by file and line, rows left out, damage."""

import gzip
import json
import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sml_jax.common.errors import UserError
from sml_jax.tasks.datasets.jsonl import JsonlTask
from sml_jax.tasks.problems import parquet
from sml_jax.tasks.problems.rows import BadRow, LeftOut, number_or_text, read_rows, text, texts

OBJECTS = [{"n": i, "t": f"row {i} \u00e9"} for i in range(30)]
LINES = "\n".join(json.dumps(row) for row in OBJECTS)


def number(row: dict, label: str) -> tuple[str, int]:
    return label, row["n"]


def written(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("name", "content", "labels"),
    [
        ("a.jsonl", LINES.encode(), range(1, 31)),
        ("a.jsonl", b"\xef\xbb\xbf\r\n" + LINES.replace("\n", "\r\n\r\n").encode(), range(2, 61, 2)),
        ("a.jsonl.gz", gzip.compress(LINES.encode(), mtime=0), range(1, 31)),
        ("zipped-without-saying-so.jsonl", gzip.compress(LINES.encode(), mtime=0), range(1, 31)),
        ("a.json", json.dumps(OBJECTS, indent=1).encode(), range(2, 120, 4)),
        ("a.json", ("[" + LINES.replace("\n", ",\n") + "]").encode(), range(1, 31)),
        ("a.json.gz", gzip.compress(json.dumps(OBJECTS).encode(), mtime=0), ["1", *(f"1.{n}" for n in range(2, 31))]),
        ("lines.json", LINES.encode(), range(1, 31)),
    ],
)
def test_formats(tmp_path: Path, name: str, content: bytes, labels: list[int]) -> None:
    items = read_rows(written(tmp_path / name, content), number).items
    assert [n for _, n in items] == list(range(30))
    assert [label for label, _ in items] == [str(label) for label in labels]


def test_a_single_object_over_several_lines(tmp_path: Path) -> None:
    path = written(tmp_path / "one.json", json.dumps(OBJECTS[3], indent=4))
    assert read_rows(path, number).items == (("1", 3),)


def test_parquet(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet

    pyarrow.parquet.write_table(arrow.Table.from_pylist(OBJECTS), tmp_path / "a.parquet")
    assert read_rows(tmp_path / "a.parquet", number).items[29] == ("30", 29)
    with pytest.raises(UserError, match=r"bad\.parquet.*give the path of a Parquet file"):
        read_rows(written(tmp_path / "bad.parquet", b"no table"), number)
    with pytest.raises(UserError, match=r"none\.parquet"):
        read_rows(tmp_path / "none.parquet", number)


def test_parquet_without_pyarrow(tmp_path: Path, monkeypatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(parquet.importlib, "import_module", missing)
    with pytest.raises(UserError, match=r"a\.parquet needs pyarrow: pip install .* JSON lines"):
        read_rows(tmp_path / "a.parquet", number)


def test_a_folder_is_read_file_by_file(tmp_path: Path) -> None:
    written(tmp_path / "b" / "2.json", json.dumps({"n": 2}))
    written(tmp_path / "a" / "1.json", json.dumps({"n": 1}))
    written(tmp_path / "c.jsonl", '{"n": 3}\n\n{"n": 4}')
    written(tmp_path / "README.md", "no data")
    assert read_rows(tmp_path, number).items == (("a/1:1", 1), ("b/2:1", 2), ("c:1", 3), ("c:3", 4))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"the folder holds no file that ends in \.jsonl"):
        read_rows(tmp_path / "empty", number)


def test_bad_rows_are_named_and_counted(tmp_path: Path, caplog) -> None:
    def build(row: dict, label: str) -> int:
        if row["n"] == 7:
            raise BadRow("seven")
        if row["n"] > 24:
            raise LeftOut("large")
        return row["n"]

    path = written(tmp_path / "a.jsonl", LINES + "\n[1]\n{")
    with caplog.at_level(logging.WARNING):
        rows = read_rows(path, build)
    assert (len(rows.items), rows.bad, rows.left_out) == (24, 3, {"large": 5})
    for bad_row in ("8: seven", "31: not a JSON object", "32: not JSON"):
        assert f"{path}:{bad_row}; row left out" in caplog.text
    assert f"{path}: left out 5 of 32 rows: large" in caplog.text


def test_ten_bad_rows_are_named_at_most(tmp_path: Path, caplog) -> None:
    path = written(tmp_path / "a.jsonl", LINES + "\nx" * 20)
    with caplog.at_level(logging.WARNING):
        assert read_rows(path, number, max_bad_fraction=0.5).bad == 20
    assert caplog.text.count("not JSON") == 10 and "20 rows left out in all" in caplog.text
    with pytest.raises(UserError, match=r"20 of 50 rows cannot be used, the first is .*a\.jsonl:31: not JSON: do this"):
        read_rows(path, number, cure="do this")


def test_max_rows_ends_the_reading(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", LINES + "\nx" * 20)
    assert len(read_rows(path, number, max_rows=30).items) == 30
    with pytest.raises(UserError, match="max_rows is 0"):
        read_rows(path, number, max_rows=0)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.jsonl", b"", "has no rows"),
        ("a.jsonl", b"\n \n", "has no rows"),
        ("a.json", b"[]", "has no rows"),
        ("a.json", b'[{"n": 1}, {"n": 2}', r"a\.json:1: the JSON array breaks off"),
        ("a.json", b'[{"n": 1},\n\n{"n": 2} {"n": 3}]', r"a\.json:3: the JSON array breaks off"),
        ("a.json", b'[{"n": 1},\n{"n": ]', r"a\.json:2: the JSON array breaks off"),
        ("a.json", b'[{"n": "\xff"}]', "the JSON array breaks off"),
        ("a.json", b"[" * 100_000, "the JSON array breaks off"),
        ("a.jsonl.gz", gzip.compress(LINES.encode(), mtime=0)[:-20], "the file is damaged"),
        ("a.jsonl.gz", gzip.compress(LINES.encode(), mtime=0)[:40] + b"\xff" * 60, "the file is damaged"),
    ],
)
def test_damage_is_a_user_error(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    with pytest.raises(UserError, match=says):
        read_rows(written(tmp_path / name, content), number)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({}, 'no field "t" among'),
        ({"t": 3}, "int, not a string"),
        ({"t": None}, "NoneType, not a string"),
        ({"t": " \n"}, "is empty"),
        ({"t": "a\ud800"}, "surrogate"),
    ],
)
def test_text_refuses(row: dict, says: str) -> None:
    with pytest.raises(BadRow, match=says):
        text(row, "t")


@pytest.mark.parametrize(
    ("value", "spelt"), [(27.0, "27"), (5, "5"), (-3, "-3"), (0.5, "0.5"), ("x", "x"), (10**25, "1" + "0" * 25)]
)
def test_numbers_are_spelt_out(value: object, spelt: str) -> None:
    assert number_or_text({"t": value}, "t") == spelt


@pytest.mark.parametrize("value", [True, None, float("nan"), float("inf"), [1], ""])
def test_other_values_are_no_numbers(value: object) -> None:
    with pytest.raises(BadRow, match='"t"'):
        number_or_text({"t": value}, "t")


def test_lists_of_texts() -> None:
    assert texts({"t": ["a", "b"]}, "t") == ("a", "b") and texts({}, "t") == ()
    for value in ("ab", ["a", ""], [1], None, ["\ud800"]):
        with pytest.raises(BadRow, match='"t"'):
            texts({"t": value}, "t")


@given(st.lists(st.dictionaries(st.text(max_size=3), st.integers() | st.text(max_size=5), min_size=1), min_size=1))
def test_arrays_and_lines_hold_the_same_rows(tmp_path_factory, rows: list[dict]) -> None:
    folder = tmp_path_factory.mktemp("rows")
    array = written(folder / "a.json", json.dumps(rows))
    lines = written(folder / "a.jsonl", "\n".join(json.dumps(row) for row in rows))
    read = [read_rows(path, lambda row, label: row).items for path in (array, lines)]
    assert read[0] == read[1] == tuple(rows)


def test_an_array_in_one_line_keeps_all_its_rows(tmp_path):
    """All of them were called 1, and all but the first left out as its copies."""
    rows = [{"question": f"What is {i} + 1?", "answer": str(i + 1)} for i in range(5)]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    rows_read = read_rows(tmp_path / "rows.json", lambda row, label: (label, row["answer"])).items
    assert rows_read == (("1", "1"), ("1.2", "2"), ("1.3", "3"), ("1.4", "4"), ("1.5", "5"))
    assert len(JsonlTask(tmp_path / "rows.json", test_fraction=0).problems("train")) == 5
    (tmp_path / "rows.json").write_text(json.dumps(rows, indent=1))
    assert read_rows(tmp_path / "rows.json", lambda row, label: label).items[:2] == ("2", "6")
