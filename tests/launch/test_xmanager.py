"""Through XManager itself: local runs, its database, and jobs handed to a cluster's API. Needs the extra `launch`."""

import json
import os
import shlex
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from launch_toys import KUBERNETES, RECIPE, ROOT, VERTEX, launch

pytest.importorskip("xmanager", reason="needs the extra `launch`")

# XManager's flags and database are read once a process, so every launch is a process of its own.
TOYS = """
import sys
from launch import backend, xm
from sml_jax.cli.main import run_program
xm._check_bindings = lambda *_: None
commands = dict(zip(("seed=0", "seed=1", "seed=2"), {commands!r}))
retry = lambda job: [str(backend.RETRY), "--log=" + backend.log_path(job)]
backend.local_command = lambda job: [*retry(job), "bash", "-c", commands[job.point]]
sys.exit(run_program(xm.main, sys.argv[1:]))
"""


def run(tmp_path: Path, program: list[str], *flags: str, **environment: str) -> subprocess.CompletedProcess:
    env = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "RETRY_PAUSE": "0",
        "HOME": str(tmp_path),
        **environment,
    }
    command = [sys.executable, *program, RECIPE, *flags]
    return subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=600)


def database(tmp_path: Path, query: str) -> list[tuple]:
    with sqlite3.connect(tmp_path / "state" / "sml-jax" / "xmanager.sqlite3") as connection:
        return connection.execute(query).fetchall()


def test_local_runs_restart_and_fail_each_by_itself(tmp_path):
    """One comes back after 75, one is a user's error, one meets the first: they do run at the same time."""
    runs = tmp_path / "runs"
    there = "for _ in $(seq 200); do [ -e {0} ] && break; sleep 0.05; done; [ -e {0} ]"
    once = f"[ -e {runs}/again ] || {{ touch {runs}/again; exit 75; }}"
    commands = [
        f"touch {runs}/zero; {once}; {there.format(runs / 'two')}",
        "echo no such recipe >&2; exit 2",
        f"touch {runs}/two; {there.format(runs / 'zero')}",
    ]
    flags = ("--executor=local", f"--workdir={runs}", "--seeds=0,1,2", "--parallel=3")
    done = run(tmp_path, ["-c", TOYS.format(commands=commands)], *flags)
    assert done.returncode == 1, done.stderr
    told = [line.partition(":")[0] for line in done.stdout.splitlines() if line.startswith(("done:", "FAILED:"))]
    assert told == ["done", "FAILED", "done"], done.stdout
    assert "no such recipe" in (runs / "seed=1.log").read_text()
    assert "exit 75" in (runs / "seed=0.log").read_text()
    assert "Traceback" not in done.stderr
    assert database(tmp_path, "SELECT experiment_title FROM experiment") == [("pocket_math_online",)]
    assert database(tmp_path, "SELECT work_unit_id FROM work_unit ORDER BY 1") == [(1,), (2,), (3,)]
    assert not (tmp_path / ".xmanager").exists()


def test_one_at_a_time_unless_told_otherwise(tmp_path):
    lock = f"mkdir {tmp_path}/lock && sleep 0.5 && rmdir {tmp_path}/lock"
    flags = ("--executor=local", f"--workdir={tmp_path}/runs", "--seeds=0,1,2")
    done = run(tmp_path, ["-c", TOYS.format(commands=[lock] * 3)], *flags, RETRY_CRASHES="0")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM], ids=lambda s: s.name)
def test_a_stopped_launch_lets_its_runs_save_their_state(sent, tmp_path):
    """One run is up, the other waits for its turn and never starts."""
    up, saved = tmp_path / "up", tmp_path / "saved"
    command = f"trap 'sleep 0.5; echo x >> {saved}; exit 75' TERM; echo x >> {up}; while :; do sleep 0.05; done"
    flags = [RECIPE, "--executor=local", f"--workdir={tmp_path}/runs", "--seeds=0,1"]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_STATE_HOME": str(tmp_path / "state")}
    process = subprocess.Popen(
        [sys.executable, "-c", TOYS.format(commands=[command] * 2), *flags], env=env, stderr=subprocess.PIPE, text=True
    )
    for _ in range(2400):
        if up.exists() or process.poll() is not None:
            break
        time.sleep(0.05)
    process.send_signal(sent)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 75 and "the same command goes on" in err and "Traceback" not in err, err
    assert up.read_text() == saved.read_text() == "x\n"


class _Api(BaseHTTPRequestHandler):
    """As much of Kubernetes' API as creating objects needs; a name that is there already is refused."""

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        key = (self.path, body["metadata"]["name"])
        self.send_response(409 if key in self.server.objects else 201)
        self.server.objects.setdefault(key, body)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *_):
        pass


@pytest.fixture
def cluster(tmp_path):
    """An API server on this machine, and a kubeconfig that names it."""
    server = HTTPServer(("127.0.0.1", 0), _Api)
    server.objects = {}
    threading.Thread(target=server.serve_forever, daemon=True).start()
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
        "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "here",
    }
    (tmp_path / "kubeconfig").write_text(json.dumps(config))
    yield server
    server.shutdown()
    server.server_close()


def test_kubernetes_is_given_what_a_dry_run_prints(cluster, tmp_path, capsys):
    flags, config = (*KUBERNETES, "--seeds=0,1", "--context=here"), str(tmp_path / "kubeconfig")
    _, printed, _ = launch(capsys, *flags, "--dry_run")
    items = json.loads(printed)["items"]
    done = run(tmp_path, ["-c", TOYS.format(commands=[])], *flags, KUBECONFIG=config)
    assert done.returncode == 0, done.stderr
    assert list(cluster.objects.values()) == items
    where = {"Service": "/api/v1/namespaces/research/services", "Job": "/apis/batch/v1/namespaces/research/jobs"}
    assert [path for path, _ in cluster.objects] == [where[item["kind"]] for item in items]
    names = ["pocket-math-online-0", "pocket-math-online-1"]
    assert [name for (name,) in database(tmp_path, "SELECT job_name FROM job")] == names
    again = run(tmp_path, ["-c", TOYS.format(commands=[])], *flags, KUBECONFIG=config)
    assert again.returncode == 2 and "kubectl delete job pocket-math-online-0" in again.stderr, again.stderr


def test_kubernetes_without_a_cluster_is_an_error(tmp_path):
    done = run(tmp_path, ["-c", TOYS.format(commands=[])], *KUBERNETES, KUBECONFIG=str(tmp_path / "none"))
    assert done.returncode == 2 and "no Kubernetes cluster is configured" in done.stderr, done.stderr


def test_vertex_without_credentials_is_an_error(tmp_path):
    none = {"GOOGLE_APPLICATION_CREDENTIALS": "", "NO_GCE_CHECK": "true"}
    done = run(tmp_path, ["-c", TOYS.format(commands=[])], *VERTEX, **none)
    assert done.returncode == 2 and "Vertex AI refused pocket-math-online" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_two_seeds_side_by_side_for_real(tmp_path):
    """Three minutes: `pytest -m slow tests/launch/test_xmanager.py`."""
    sizes = "STEPS=1 Online.problems_per_step=4 Online.group_size=4 Online.micro_batch_size=8 "
    sizes += "EVAL_PROBLEMS=4 Suite.max_turns=2"
    flags = [f"--gin.{text}" for text in shlex.split(sizes)]
    where = ("--executor=local", "--parallel=2", "--seeds=0,1", f"--workdir={tmp_path}/runs")
    done = run(tmp_path, [str(ROOT / "launch" / "xm.py")], *where, *flags, "--gin.Experiment.max_concurrent=16")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    results = []
    for seed in (0, 1):
        folder = tmp_path / "runs" / f"seed={seed}"
        assert f"SEED = {seed}" in (folder / "config.gin").read_text()
        stages = [json.loads(line)["stage"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
        assert stages == ["evaluation", "online", "evaluation"]
        assert (folder / "checkpoints" / "final" / "model.json").exists()
        results.append(json.loads((folder / "eval.json").read_text()))
    assert set(results[0]) == {"pocket_math", "pocket_code", "pocket_math_underspecified"} == set(results[1])
