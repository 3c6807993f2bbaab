"""Hostile model folders through `train`, `evaluate` and `convert`: exit code 2, one line, no harm, and no wait."""

import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import gin
import pytest
from bad_files import Files
from bad_hostile import FOLDERS, KINDS, NOT_FINITE, PROGRAMS, TOKENIZERS, argv

from sml_jax.cli.main import main

ROOT = Path(__file__).resolve().parents[2]
SECONDS, MEGABYTES = 10, 2000
# Those whose error comes from another place than that of one before them; the others are marked slow.
QUICK = (
    *("a NaN", "a name with dots", "a link out of the folder", "a FIFO for weights", "a FIFO for the configuration"),
    *("a tensor twice", "a tensor in two files", "a header without end", "a pickle", "a deep configuration"),
    *("a configuration that says two things", "sizes of no machine", "a tokenizer that panics", "a deep tokenizer"),
    *("a tokenizer of more tokens", "a FIFO for a tokenizer", "a tokenizer that says nothing"),
)
CASES = [
    pytest.param(PROGRAMS[number % len(PROGRAMS)], kind, marks=() if kind in QUICK else pytest.mark.slow)
    for number, kind in enumerate(KINDS)
]


@pytest.fixture(scope="module")
def shared(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("sound")


def check(kind: str, errors: str) -> None:
    """What stands on the terminal ends in the one line of the error."""
    line = errors.rstrip("\n").split("\n")[-1]
    assert line.startswith("sml-jax: error: ") and errors.count("sml-jax: error: ") == 1, errors
    assert "Traceback" not in errors and len(line) < 1500, errors
    assert re.search(KINDS[kind].names, line), line
    # Each says what to do: behind a colon or a semicolon, in the imperative.
    assert re.search(r"[:;] (or )?(fetch|give|put|copy|remove|use|number|set|it must)|supported is", line), line


def test_there_are_enough():
    assert NOT_FINITE and len(FOLDERS) >= 12 and len(TOKENIZERS) >= 6 and set(QUICK) <= set(KINDS)


@pytest.mark.parametrize(("program", "kind"), CASES)
def test_a_hostile_folder_is_one_line(program, kind, shared, tmp_path, monkeypatch, capsys, caplog):
    """Each kind through one of the programs."""
    files = Files(tmp_path, shared)
    arguments = argv(files, program, kind)
    # Relative names of the recipes are those of the repository.
    capsys.readouterr()
    assert main(arguments) == 2
    gin.clear_config()
    check(kind, capsys.readouterr().err)
    assert "Traceback" not in caplog.text and not (tmp_path / "to").exists()


class Watched:
    """Memory that a process and its children have at most, in MB."""

    def __init__(self, pid: int):
        self.megabytes, self._pid, self._ended = 0.0, pid, threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def _watch(self) -> None:
        while not self._ended.wait(0.02):
            self.megabytes = max(self.megabytes, self._resident(self._pid))

    def _resident(self, pid: int) -> float:
        try:
            pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
            children = [
                line for path in Path(f"/proc/{pid}/task").glob("*/children") for line in path.read_text().split()
            ]
        except (OSError, IndexError):
            return 0.0
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6 + sum(map(self._resident, map(int, children)))

    def end(self) -> float:
        self._ended.set()
        self._thread.join()
        return self.megabytes


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_every_program_refuses_it_in_ten_seconds_and_two_gigabytes(kind, shared, tmp_path, capsys):
    """As processes. Computing time is what counts, since the machine may have other work; nothing may wait for long."""
    for program in PROGRAMS:
        folder = tmp_path / program
        folder.mkdir()
        command = [sys.executable, "-m", "sml_jax", *argv(Files(folder, shared), program, kind)]
        before, began = os.times(), time.monotonic()
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        watched = Watched(process.pid)
        try:
            _, errors = process.communicate(timeout=6 * SECONDS)
        finally:
            process.kill()
            megabytes = watched.end()
        seconds, after = time.monotonic() - began, os.times()
        computed = after.children_user + after.children_system - before.children_user - before.children_system
        with capsys.disabled():
            print(f"\n{program:8} {kind:36} {seconds:5.1f} s, {computed:5.1f} s of computing, {megabytes:5.0f} MB")
        assert process.returncode == 2, errors
        check(kind, errors)
        assert computed <= SECONDS and megabytes <= MEGABYTES
        assert not (folder / "to").exists()
