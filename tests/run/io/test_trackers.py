"""Trackers: what they are told, that none of them ends a run, and that no key is shown; offline with the real ones."""

import importlib.util
import json
import socket
import sqlite3
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from sml_jax.common.errors import UserError
from sml_jax.gin_config.load import load_experiment
from sml_jax.run.beforehand import check_trackers
from sml_jax.run.io import RunFolder
from sml_jax.run.io.shared import SilentFolder
from sml_jax.run.io.tracker import OpenTracker, Tracker
from sml_jax.run.io.trackers import TensorBoard, Trackio, Wandb

KEY = "0123456789abcdef0123456789abcdef01234567"


@dataclass(frozen=True)
class Recording:
    """Writes down what it is told; `fails` names the method that raises, and `error` what."""

    told: list = field(default_factory=list)
    fails: str = ""
    error: Exception | None = None
    name: str = "recording"

    def check(self):
        self._do("check")

    def open(self, run):
        self._do("open", run.name, dict(run.settings), run.first_step_to_redo)
        return self

    def log(self, step, values):
        self._do("log", step, dict(values))

    def close(self):
        self._do("close")

    def _do(self, method, *told):
        if method == self.fails:
            raise self.error
        self.told.append((method, *told))


def test_a_tracker_is_told_every_number_and_where_a_run_goes_on(tmp_path):
    tracker = Recording()
    assert isinstance(tracker, Tracker) and isinstance(tracker, OpenTracker)
    with RunFolder(tmp_path / "run", (tracker,)) as folder:
        folder.write_config("a.Thing.x = 3\na.Thing.y = %Y\nY = 'text'\n")
        assert tracker.told == []  # nothing is opened before the first point
        folder.log_metrics(1, "online", {"loss": 0.5, "n": 3, "bad": float("nan")})
        lengths = folder.log_lengths()
        folder.log_metrics(2, "online", {"loss": 0.25})
    config = {"a.Thing.x": "3", "a.Thing.y": "'text'"}
    assert tracker.told == [
        ("open", "run", config, None),
        ("log", 1, {"online/loss": 0.5, "online/n": 3}),
        ("log", 2, {"online/loss": 0.25}),
        ("close",),
    ]
    tracker.told.clear()
    with RunFolder(tmp_path / "run", (tracker,)) as folder:
        folder.rewind(lengths, 1)
        folder.log_metrics(2, "online", {"loss": 0.25})
    assert tracker.told == [("open", "run", config, 2), ("log", 2, {"online/loss": 0.25}), ("close",)]


def test_a_process_that_writes_nothing_has_no_tracker(tmp_path):
    tracker = Recording()
    with SilentFolder(tmp_path, (tracker,)) as folder:
        folder.log_metrics(1, "online", {"loss": 0.5})
    assert tracker.told == []


@pytest.mark.parametrize("method", ["open", "log", "close"])
def test_a_tracker_that_fails_is_said_once_and_ends_nothing(tmp_path, capsys, monkeypatch, method):
    monkeypatch.setenv("RECORDING_API_KEY", KEY)
    monkeypatch.setenv("KEYS", "no")  # too short to be one
    broken, sound = Recording(fails=method, error=ConnectionError(f"no route for {KEY}\nhelp")), Recording()
    with RunFolder(tmp_path, (broken, sound)) as folder:
        for step in (1, 2, 3):
            folder.log_metrics(step, "online", {"loss": step})
    assert [json.loads(line)["loss"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()] == [1, 2, 3]
    assert [told[:2] for told in sound.told if told[0] == "log"] == [("log", 1), ("log", 2), ("log", 3)]
    assert capsys.readouterr().out.splitlines() == [
        "warning: recording: no more points are logged (no route for [secret]); metrics.jsonl has them all"
    ]
    # What was open is closed all the same.
    assert method != "log" or broken.told[-1] == ("close",)


def test_a_disk_that_takes_no_event_file_costs_the_curves_alone(tmp_path, capsys):
    with RunFolder(tmp_path) as folder:
        folder.tensorboard_path.write_text("")
        folder.log_metrics(1, "online", {"loss": 1.0})
    assert "warning: tensorboard: no more points are logged (File exists)" in capsys.readouterr().out
    assert (tmp_path / "metrics.jsonl").exists()


def test_what_a_tracker_needs_is_said_before_the_run(monkeypatch):
    check_trackers((TensorBoard(), Recording()))
    for tracker, extra in ((Wandb(), "wandb"), (Trackio(), "trackio")):
        monkeypatch.setitem(sys.modules, extra, None)  # as if it were not installed
        with pytest.raises(UserError, match=rf'^the tracker {extra} needs .*: pip install "sml-jax\[{extra}\]"$'):
            check_trackers((tracker,))
    with pytest.raises(UserError, match="mode is 'off'; it takes 'online', 'offline' or None"):
        Wandb(mode="off")


def test_a_recipe_names_trackers():
    files = ["gin/recipes/pocket_math_online.gin"]
    assert load_experiment(files, [])[0].trackers == (TensorBoard(),)
    bindings = ["Experiment.trackers=[@trackers.Wandb(), @trackers.Trackio()]", "Wandb.mode=offline"]
    assert load_experiment(files, bindings)[0].trackers == [Wandb(mode="offline"), Trackio()]
    with pytest.raises(UserError, match=r"Experiment.trackers is .*, but it takes Sequence\[Tracker\]"):
        load_experiment(files, ["Experiment.trackers=[3]"])


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """An environment with a key, in which the list that it returns gets what anybody sends to a network."""
    listener, sent = socket.create_server(("127.0.0.1", 0)), []

    def listen():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                sent.append(connection.recv(1000))

    threading.Thread(target=listen, daemon=True).start()
    address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    for variable in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.setenv(variable, address)
    # With a key, Trackio asks Hugging Face for the user's name.
    monkeypatch.delenv("HF_TOKEN", raising=False)
    values = {"WANDB_API_KEY": KEY, "TRACKIO_DIR": str(tmp_path / "trackio")}
    for variable, value in {**values, "WANDB_ERROR_REPORTING": "false", "WANDB_SILENT": "true"}.items():
        monkeypatch.setenv(variable, value)
    yield sent
    listener.close()


def log_and_go_on(path: Path, tracker: Tracker) -> None:
    """Logs steps 1 to 3, and then goes on after step 2."""
    with RunFolder(path, (tracker,)) as folder:
        folder.write_config("online.Online.steps = 3\n")
        for step in (1, 2, 3):
            lengths = folder.log_lengths()
            folder.log_metrics(step, "online", {"success": step / 8})
    with RunFolder(path, (tracker,)) as folder:
        folder.rewind(lengths, 2)
        folder.log_metrics(3, "online", {"success": 3 / 8})


def without_key(folder: Path) -> bool:
    return not any(KEY.encode() in path.read_bytes() for path in folder.rglob("*") if path.is_file())


@pytest.mark.skipif(importlib.util.find_spec("wandb") is None, reason='needs pip install "sml-jax[wandb]"')
def test_wandb_offline(tmp_path, offline, capsys):
    log_and_go_on(tmp_path / "run", Wandb(mode="offline"))
    # Each start writes a file of its own, both under one id, for `wandb sync`.
    files = list((tmp_path / "run" / "wandb").glob("offline-run-*/*.wandb"))
    assert len(files) == 2 and {file.stem for file in files} == {
        "run-" + (tmp_path / "run" / "tracker.id").read_text().strip()
    }
    # The package's own process may write the last of it a moment after `finish`.
    until = time.monotonic() + 30
    while not all(b"online/success" in file.read_bytes() for file in files) and time.monotonic() < until:
        time.sleep(0.1)
    assert all(b"online/success" in file.read_bytes() for file in files)
    assert any(b"online.Online.steps" in file.read_bytes() for file in files)
    assert offline == [] and without_key(tmp_path) and "warning" not in capsys.readouterr().out


@pytest.mark.skipif(importlib.util.find_spec("trackio") is None, reason='needs pip install "sml-jax[trackio]"')
def test_trackio_on_this_machine(tmp_path, offline, capsys):
    log_and_go_on(tmp_path / "run", Trackio(project="toys"))
    assert "warning" not in capsys.readouterr().out
    # The package may have read its folder's name before this test.
    from trackio.utils import TRACKIO_DIR

    with sqlite3.connect(Path(TRACKIO_DIR) / "toys.db") as database:
        name = f"run-{(tmp_path / 'run' / 'tracker.id').read_text().strip()}"
        rows = database.execute("select step, metrics from metrics where run_name = ?", [name]).fetchall()
    assert sorted((step, json.loads(metrics)["online/success"]) for step, metrics in rows) == [
        (1, 0.125), (2, 0.25), (3, 0.375), (3, 0.375)
    ]  # fmt: skip
    assert offline == [] and without_key(tmp_path)
