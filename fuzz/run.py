"""`python -m fuzz.run --target=math --minutes=10 --seed=0`: fuzzes one target for a time and prints what it found.

With atheris installed (`pip install atheris`) cases are led by the coverage of the package's code, else random.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

os.environ.setdefault("JAX_PLATFORMS", "cpu")

TARGETS = tuple(sorted(path.stem for path in (Path(__file__).parent / "targets").glob("[a-z]*.py")))
_MEMORY_BYTES = 3 << 30  # that a case may ask for
_MAX_BYTES = 4096  # of a case


def load(name: str, cover: Any = None) -> Any:
    """A target by its name.

    Args:
      name: one of `TARGETS`.
      cover: atheris, to watch the package's code.
    """
    with cover.instrument_imports(include=["sml_jax"]) if cover else nullcontext():
        return importlib.import_module(f"fuzz.targets.{name}").target()


def main(argv: Sequence[str]) -> int:
    """Runs the program; returns 1 where something was found."""
    parser = argparse.ArgumentParser(prog="python -m fuzz.run", description=__doc__)
    parser.add_argument("--target", required=True, choices=TARGETS)
    parser.add_argument("--minutes", type=float, default=5.0, help="of the clock")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--engine", choices=("atheris", "random"), help="atheris where it is installed")
    parser.add_argument("--keep", type=Path, default=Path("/tmp/fuzz"), help="folder for the cases that find something")
    parser.add_argument("--replay", type=Path, help="run the one case in this file, and let its error through")
    options = parser.parse_args(argv)
    # Coverage leads the choice of cases where atheris is there.
    engine = options.engine or ("atheris" if importlib.util.find_spec("atheris") else "random")
    if options.replay:
        from fuzz.source import Source

        load(options.target).check(Source(options.replay.read_bytes()))
        return 0
    # The package is imported under the fuzzer's eyes, so modules that import it come after.
    cover = importlib.import_module("atheris") if engine == "atheris" else None
    target = load(options.target, cover)
    from fuzz.campaign import Campaign, run_random

    campaign, start = Campaign(), time.monotonic()
    before = time.process_time()
    _limit_memory()

    def finish() -> int:
        """Prints one line of JSON and saves the findings; returns the exit status."""
        used = time.process_time() - before
        target.close()
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        record = {
            "target": target.name,
            "engine": engine,
            "seed": options.seed,
            "cases": campaign.cases,
            "clock_s": round(time.monotonic() - start, 1),
            "cpu_s": round(used + children.ru_utime + children.ru_stime, 1),
            "findings": dict(sorted(campaign.counts.items())),
        }
        print(json.dumps(record), flush=True)
        campaign.save(target, options.keep)
        return int(bool(campaign.findings))

    seconds = 60 * options.minutes
    if cover is None:
        run_random(target, campaign, options.seed, seconds=seconds)
        return finish()

    # libFuzzer keeps the cases that reach new code in a folder, and starts from some random ones.
    corpus = Path(tempfile.mkdtemp(prefix="fuzz-"))

    def run_one(data: bytes) -> None:
        if time.monotonic() - start >= seconds:
            shutil.rmtree(corpus)
            os._exit(finish())  # libFuzzer has no way to return
        campaign.run(target, data)

    _write_corpus(corpus, options.seed)
    flags = [f"-seed={options.seed + 1}", f"-max_len={_MAX_BYTES}", "-len_control=0", "-rss_limit_mb=0"]
    # Times, and what is found, are kept in `campaign`.
    flags += ["-timeout=1000000", "-verbosity=0", "-detect_leaks=0", f"-artifact_prefix={corpus}/"]
    cover.Setup([sys.argv[0], *flags, str(corpus)], run_one)
    cover.Fuzz()
    raise AssertionError("unreachable: the fuzzer ends the process")


def _write_corpus(folder: Path, seed: int) -> None:
    from fuzz.campaign import random_cases

    for number, case in zip(range(64), random_cases(seed), strict=False):
        (folder / str(number)).write_bytes(case)


def _limit_memory() -> None:
    """A case that asks for gigabytes gets a MemoryError, which counts as found."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * os.sysconf("SC_PAGE_SIZE") + _MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.getrlimit(resource.RLIMIT_AS)[1]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
