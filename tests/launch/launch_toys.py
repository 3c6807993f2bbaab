"""A command line of `launch/xm.py`, and what it prints."""

from pathlib import Path

from launch.xm import main
from sml_jax.cli.main import run_program

ROOT = Path(__file__).resolve().parents[2]
RECIPE = f"--gin_file={ROOT / 'gin' / 'recipes' / 'pocket_math_online.gin'}"
VERTEX = (
    "--executor=vertex",
    "--workdir=/gcs/bucket/runs",
    "--image=region-docker.example/p/r/sml-jax:1",
    "--topology=v5e:2x2",
    "--project=a-project",
    "--region=us-west1",
    "--staging_bucket=gs://bucket/staging",
)
KUBERNETES = (
    "--executor=kubernetes",
    "--workdir=/data/runs",
    "--image=region-docker.example/p/r/sml-jax:1",
    "--topology=v5e:4x4",
    "--namespace=research",
    "--volume_claim=runs",
)


def launch(capsys, *flags: str) -> tuple[int, str, str]:
    """Runs the program; returns its exit code and what it wrote to stdout and stderr."""
    code = run_program(main, [RECIPE, *flags])
    out, err = capsys.readouterr()
    return code, out, err
