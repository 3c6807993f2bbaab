"""GSM8K from its files and as TFDS prepares it."""

import importlib.resources
import sys
from pathlib import Path

import pytest
from dataset_toys import check_damage, gsm8k_rows, write

from sml_jax.common.errors import UserError
from sml_jax.tasks import Problem
from sml_jax.tasks.datasets.gsm8k import gsm8k, gsm8k_tfds
from sml_jax.tasks.datasets.splits import Selection


def test_rows(tmp_path: Path) -> None:
    test = write(tmp_path / "test.jsonl", gsm8k_rows(3, 100))
    task = gsm8k(write(tmp_path / "train.jsonl", [*gsm8k_rows(5), *gsm8k_rows(1, 101)]), test, "solution")
    assert task.name == "gsm8k" and len(task.problems("train")) == 5
    assert task.problems("test")[1] == Problem(
        id="gsm8k:test:2",
        question="Ann has 101 pears and buys 2 more. How many has she?",
        answer="103",
        domain="gsm8k",
        solution="She has 101+2 = 103 pears.",
    )
    assert "101+2 = 103 pears" in task.static_knowledge(task.problems("test")[1])


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ("{", "not JSON"),
        ({"question": "q"}, 'no field "answer"'),
        ({"question": "q", "answer": "so ####"}, "ends without an answer"),
    ],
)
def test_damage(tmp_path: Path, caplog, bad: object, why: str) -> None:
    test = write(tmp_path / "test.jsonl", gsm8k_rows(1, 50))
    check_damage(tmp_path, caplog, lambda path: gsm8k(path, test), gsm8k_rows(12), bad, why)


def test_as_tfds_prepares_it(tmp_path: Path, monkeypatch) -> None:
    tfds = pytest.importorskip("tensorflow_datasets")
    module = pytest.importorskip("tensorflow_datasets.text.gsm8k.gsm8k")
    files = {
        name: str(write(tmp_path / f"{name}.jsonl", gsm8k_rows(n, start)))
        for name, n, start in (("train", 6, 0), ("test", 3, 50), ("train_socratic", 1, 0), ("test_socratic", 1, 0))
    }
    # The real builder on files of the real format: only the network is replaced.
    monkeypatch.setattr(tfds.download.DownloadManager, "download_and_extract", lambda self, urls: files)
    # TFDS 4.9.10 asks for this package without requiring it; the standard library has the same.
    monkeypatch.setitem(sys.modules, "importlib_resources", importlib.resources)
    builder = module.Gsm8k(data_dir=str(tmp_path / "data"), file_format="array_record")
    builder.download_and_prepare()
    task = gsm8k_tfds(tmp_path / "data", selection=Selection(limit=4))
    by_question = {p.question: p for p in gsm8k(files["train"], files["test"]).problems("train")}
    assert len(task.problems("train")) == 4 and len(task.problems("test")) == 3
    for problem in task.problems("train"):
        same = by_question[problem.question]
        assert (problem.answer, problem.solution) == (same.answer, same.solution)


def test_not_prepared_names_the_command(tmp_path: Path) -> None:
    pytest.importorskip("tensorflow_datasets")
    with pytest.raises(UserError, match=r"holds no prepared gsm8k: python -c .*download_and_prepare"):
        gsm8k_tfds(tmp_path)


def test_the_real_files(real_data: Path) -> None:
    task = gsm8k(real_data / "gsm8k" / "train.jsonl", real_data / "gsm8k" / "test.jsonl")
    assert [len(task.problems(split)) for split in ("train", "test")] == [7473, 1319]
    problems = [*task.problems("train"), *task.problems("test")]
    assert all(p.solution and "<<" not in p.solution and "####" not in p.solution for p in problems)
    assert all(any(c.isdigit() for c in p.answer) for p in problems)
