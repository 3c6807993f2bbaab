"""`launch/xm.py`: errors are one line with the cure and exit code 2; a dry run starts nothing."""

import shlex
import subprocess
import sys

import pytest
from launch_toys import KUBERNETES, RECIPE, ROOT, VERTEX, launch

from sml_jax.train import main as train

LOCAL = ("--executor=local", "--workdir=/w")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--workdir=/w"], "needs --executor="),
        (["--executor=slurm", "--workdir=/w"], "there is local, vertex, kubernetes"),
        (["--executor=local"], "needs --workdir="),
        ([*LOCAL, "--sed=0"], "did you mean --seeds?"),
        ([*LOCAL, "--parallel=0"], "at least 1"),
        ([*LOCAL, "--dry_run=maybe"], "--dry_run=true"),
        ([*LOCAL, "--resume=never"], "use auto or must"),
        ([*LOCAL, "--image=x"], "--image means nothing to --executor=local: it is for vertex and kubernetes"),
        ([*LOCAL, "--gin.STEPZ=1", "--dry_run"], "STEPZ"),
        ([*LOCAL, "--sweep=online/optimizers.adamw.lerning_rate=[1e-4]", "--dry_run"], "learning_rate"),
        ([*LOCAL, "--sweep=online/optimizers.adamw.learning_rate=['fast']", "--dry_run"], "learning_rate"),
        (["--executor=vertex", "--workdir=/gcs/b/r"], "--image=... and --topology=... and --project=... and --region="),
        (["--executor=kubernetes", "--workdir=/data/r"], "--namespace=... and --volume_claim=..."),
        ([*VERTEX[2:], "--executor=vertex", "--workdir=/tmp/x"], "--workdir=/gcs/BUCKET/PATH"),
        ([*VERTEX[2:], "--executor=vertex", "--workdir=gs://b/x"], "seen at /gcs/BUCKET/PATH"),
        ([*KUBERNETES[2:], "--executor=kubernetes", "--workdir=/tmp/x"], "--workdir=/data/PATH"),
        ([f for f in VERTEX if "topology" not in f] + ["--topology=v5e:4x4"], "has 4 hosts"),
        ([f for f in VERTEX if "topology" not in f] + ["--topology=v9:4x4"], "generations: v4, v5e"),
        ([f for f in VERTEX if "topology" not in f] + ["--topology=v4:2x2"], "v4 has shapes such as 2x2x1"),
        ([f for f in VERTEX if "topology" not in f] + ["--topology=v5e:3x3"], "multiples of 4 chips"),
        ([f for f in VERTEX if "bucket" not in f] + ["--workdir=/gcs/b/r", "--staging_bucket=b"], "gs://BUCKET"),
        ([*VERTEX, "--max_hours=0"], "more than 0"),
    ],
    ids=[str(i) for i in range(22)],
)
def test_errors(flags, message, capsys):
    code, out, err = launch(capsys, *flags)
    assert code == 2 and message in err and err.count("\n") == 1 and out == "", err


def test_a_local_dry_run_prints_commands_that_the_program_itself_would_take(capsys, tmp_path):
    folder = tmp_path / "runs"
    code, out, _ = launch(
        capsys, "--executor=local", f"--workdir={folder}", "--seeds=0,1", "--gin.STEPS=1", "--dry_run"
    )
    lines = out.splitlines()
    assert code == 0 and lines[0::2] == ["# seed=0", "# seed=1"] and not folder.exists()
    command = shlex.split(lines[3])
    assert command[0] == str(ROOT / "launch" / "retry.sh") and command[2:6] == [
        sys.executable,
        "-m",
        "sml_jax",
        "train",
    ]
    assert command[6:] == [RECIPE, f"--workdir={folder}/seed=1", "--gin.STEPS=1", "--gin.SEED=1"]


def test_it_runs_as_a_script_from_anywhere(tmp_path):
    """Its own folder must not hide installed packages; --help needs no XManager."""
    done = subprocess.run(
        [sys.executable, ROOT / "launch" / "xm.py", "--help"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0 and "--volume_claim" in done.stdout


def test_train_has_every_flag_that_is_handed_to_it(capsys):
    with pytest.raises(SystemExit):
        train(["--help"])
    known = capsys.readouterr().out
    assert all(f"--{name} " in known for name in ("resume", "coordinator_address", "num_processes", "process_id"))
