"""Problems stored by TFDS and read by position, without TensorFlow."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from dataset_toys import contest_row, gsm8k_rows, omni_row, write

from sml_jax.common.errors import UserError
from sml_jax.run.problem_order import problems_at
from sml_jax.tasks import Problem
from sml_jax.tasks.datasets import prepared as prepared_module
from sml_jax.tasks.datasets.gsm8k import gsm8k
from sml_jax.tasks.datasets.live_code_bench import live_code_bench
from sml_jax.tasks.datasets.omni_math import omni_math
from sml_jax.tasks.datasets.prepared import StoredProblems, prepared
from sml_jax.tasks.datasets.splits import Selection

pytest.importorskip("tensorflow_datasets")


def test_stored_problems_are_the_same_in_the_same_order(tmp_path: Path) -> None:
    path = write(tmp_path / "test.jsonl", [omni_row(i, solution="\u00e9" * i) for i in range(30)])
    plain, stored = omni_math(path, 5), omni_math(path, 5, data_dir=tmp_path / "data")
    for split, size in (("train", 25), ("test", 5)):
        problems = stored.problems(split)
        assert isinstance(problems, StoredProblems) and len(problems) == size
        assert tuple(problems) == plain.problems(split)
    train = stored.problems("train")
    assert train[-1] == plain.problems("train")[-1] and train[3:5] == plain.problems("train")[3:5]
    with pytest.raises(IndexError):
        train[25]
    assert problems_at(train, 3, 20, 10) == problems_at(plain.problems("train"), 3, 20, 10)


def test_programs_keep_their_cases(tmp_path: Path) -> None:
    path = write(tmp_path / "test.jsonl", [contest_row(0), contest_row(1, "stdin")])
    stored = live_code_bench(path, data_dir=tmp_path / "data").problems("test")
    assert tuple(stored) == live_code_bench(path).problems("test") and len(stored[1].cases) == 3


def test_shards_are_kept(tmp_path: Path) -> None:
    problems = (Problem("a", "q", "1", ("x", "y\u00e9"), "d", "s", "f"), Problem("b", "q", "2"))
    stored = prepared("toy", Problem, (), {}, lambda: {"test": problems, "train": ()}, tmp_path)
    assert tuple(stored["test"]) == problems and "train" not in stored


def test_the_file_is_parsed_once_for_its_content_and_options(tmp_path: Path) -> None:
    read = []

    def load(limit: int | None = None) -> int:
        def parse() -> dict[str, tuple[Problem, ...]]:
            read.append(limit)
            return {"train": (Problem("a", "q", "1"),) * len(path.read_text())}

        return len(prepared("toy", Problem, (path,), {"limit": limit}, parse, tmp_path / "data")["train"])

    path = tmp_path / "file.jsonl"
    path.write_text("xx")
    assert [load(), load(), load(5), load(), load(5)] == [2, 2, 2, 2, 2] and read == [None, 5]
    path.write_text("xxx")
    assert [load(), load()] == [3, 3] and read == [None, 5, None]


def test_every_option_of_a_loader_counts(tmp_path: Path) -> None:
    path = write(tmp_path / "test.jsonl", [omni_row(i) for i in range(30)])
    data = tmp_path / "data"
    assert len(omni_math(path, 5, data_dir=data).problems("train")) == 25
    assert len(omni_math(path, 6, data_dir=data).problems("train")) == 24
    assert len(omni_math(path, 5, max_difficulty=5, data_dir=data).problems("train")) < 25
    assert len(omni_math(path, 5, selection=Selection(limit=7), data_dir=data).problems("train")) == 7


def test_user_errors(tmp_path: Path, monkeypatch) -> None:
    with pytest.raises(UserError, match=r"nowhere.*give the path of the upstream file"):
        gsm8k(tmp_path / "nowhere", tmp_path / "nowhere", data_dir=tmp_path / "data")
    path = write(tmp_path / "a.jsonl", gsm8k_rows(3))
    (tmp_path / "occupied").write_text("a file")
    with pytest.raises(UserError, match=r"cannot write .*occupied"):
        gsm8k(path, path.with_name("a.jsonl"), data_dir=tmp_path / "occupied")
    task = omni_math(write(tmp_path / "o.jsonl", [omni_row(i) for i in range(9)]), 3, data_dir=tmp_path / "data")
    assert task.problems("test")
    for file in (tmp_path / "data").rglob("dataset_info.json"):
        file.write_text("{")
    with pytest.raises(UserError, match="remove it, and prepare it anew"):
        omni_math(tmp_path / "o.jsonl", 3, data_dir=tmp_path / "data")

    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(prepared_module.importlib, "import_module", missing)
    with pytest.raises(UserError, match=r'pip install "sml-jax\[data\]"'):
        gsm8k(path, path, data_dir=tmp_path / "data")


def test_tensorflow_is_never_imported(tmp_path: Path) -> None:
    path = write(tmp_path / "test.jsonl", [omni_row(i) for i in range(12)])
    # A TensorFlow that is installed is found, and would say so if it were imported.
    package = tmp_path / "installed" / "tensorflow"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('TensorFlow was imported')")
    program = f"""
        import sys
        sys.path.insert(0, {str(package.parent)!r})
        from sml_jax.run.problem_order import problems_at
        from sml_jax.tasks.datasets.omni_math import omni_math
        assert "tensorflow_datasets" not in sys.modules
        for _ in range(2):
            task = omni_math({str(path)!r}, 2, data_dir={str(tmp_path / "data")!r})
            assert len(problems_at(task.problems("train"), 0, 0, 12)) == 12
        assert "tensorflow_datasets" in sys.modules and "tensorflow" not in sys.modules
        print("done")
    """
    run = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=False)
    assert run.stdout.strip() == "done", run.stderr
