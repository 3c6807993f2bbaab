"""`launch/retry.sh`: what is started again, what is not, and signals."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RETRY = ROOT / "launch" / "retry.sh"
SCRIPTS = [*sorted((ROOT / "launch").glob("*.sh")), *sorted((ROOT / ".ci").iterdir())]
FAST = {**os.environ, "RETRY_PAUSE": "0"}


def retry(folder: Path, codes: str, **settings: str) -> tuple[int, int]:
    """Runs a command that exits with the codes in turn, the last for good; its final exit code and the starts."""
    starts = folder / "starts"
    script = f'echo x >> {starts}; set -- {codes}; n=$(wc -l < {starts}); shift $((n < $# ? n - 1 : $# - 1)); exit "$1"'
    done = subprocess.run([RETRY, "bash", "-c", script], env={**FAST, **settings}, capture_output=True, timeout=30)
    return done.returncode, len(starts.read_text().split())


@pytest.mark.parametrize(
    ("codes", "settings", "expected"),
    [
        ("0", {}, (0, 1)),
        ("2", {}, (2, 1)),
        ("130", {}, (130, 1)),
        ("75 76 75 0", {}, (0, 4)),
        ("75 2", {}, (2, 2)),
        ("1 1 0", {}, (0, 3)),
        ("1", {}, (1, 4)),
        ("75", {"RETRY_QUICK_TIMES": "3"}, (75, 3)),
        ("75 75 75 75 0", {"RETRY_QUICK_TIMES": "3", "RETRY_QUICK": "0"}, (0, 5)),
        ("1", {"RETRY_CRASHES": "0"}, (1, 1)),
    ],
    ids=[str(i) for i in range(10)],
)
def test_what_is_started_again(codes, settings, expected, tmp_path):
    assert retry(tmp_path, codes, **settings) == expected


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT], ids=lambda s: s.name)
def test_a_signal_reaches_the_command_and_nothing_is_started_after(sent, tmp_path):
    """The command takes a moment to save its state, as a run does; its own code comes out."""
    said = tmp_path / "said"
    saving = f"trap 'sleep 0.3; echo saved >> {said}; exit 75' TERM"
    script = f"{saving}; echo up >> {said}; while :; do sleep 0.05; done"
    command = [RETRY, f"--log={tmp_path}/a/log", "bash", "-c", script]
    # Tests that a shell runs in the background ignore SIGINT, and would hand that on.
    process = subprocess.Popen(command, env=FAST, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    for _ in range(200):
        if said.exists():
            break
        time.sleep(0.05)
    process.send_signal(sent)
    assert process.wait(timeout=20) == 75
    assert said.read_text().split() == ["up", "saved"]


def test_the_log_keeps_what_every_start_printed(tmp_path):
    log = tmp_path / "logs" / "run.log"
    script = f"echo out; echo err >&2; [ -e {tmp_path}/again ] || {{ touch {tmp_path}/again; exit 76; }}"
    done = subprocess.run([RETRY, f"--log={log}", "bash", "-c", script], env=FAST, capture_output=True, text=True)
    for _ in range(100):  # tee writes on for a moment
        if log.read_text().count("err") == 2:
            break
        time.sleep(0.05)
    assert done.returncode == 0
    assert log.read_text().split("\n").count("out") == log.read_text().split("\n").count("err") == 2
    assert "exit 76 after" in log.read_text()


def test_no_command_is_an_error():
    done = subprocess.run([RETRY], capture_output=True, text=True)
    assert done.returncode == 2 and "name a command" in done.stderr


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda p: p.name)
def test_shellcheck(script):
    done = subprocess.run(["shellcheck", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
