"""Compares other libraries with ours: installs them, runs all sides by turns on the same work, and prints ratios.

`python benchmarks/peers/run.py [--works=a,b,...] [--repeats=5] [--share] [--json=FILE]`

Each peer gets a virtual environment of its own under `--cache` (build/benchmarks, which git ignores) with the versions
pinned in `venvs.py`; ours runs in the environment of the Python that runs this script. For each work every side has a
process of its own, which builds its model and warms up alone. Then repeats go round the sides, one process at a time,
so that a machine that gets slower gets slower for all. The other processes wait in a read.

Works: a 64 rows sampled; b dialogues; c dialogues with turns of random length; d one row; e a GRPO step; f recompiles;
g and h what the machine can do. Same shape, same prompts, temperature 1 over the whole vocabulary, float32 everywhere;
random weights (see `setting.py`).
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import os
import platform
import signal
import subprocess
import sys
from pathlib import Path

from sml_jax.cli.main import run_program
from sml_jax.common.errors import UserError

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from others import Others  # noqa: E402
from setting import Setting  # noqa: E402
from table import best_ratio, markdown, summary  # noqa: E402
from venvs import python_of, versions  # noqa: E402
from works import WORKS, Side, Work  # noqa: E402


class Worker:
    """A side's process, ready to run once whenever it is told to."""

    def __init__(self, side: Side, python: Path, setting: Setting, log: Path):
        self.side, self._log = side, log
        environment = {**os.environ, "JAX_PLATFORMS": "cpu", "HF_HUB_OFFLINE": "1", "WANDB_MODE": "disabled"}
        environment["XLA_FLAGS"] = side.xla  # and not a test's eight simulated devices
        with open(log, "w") as errors:
            self._process = subprocess.Popen(
                [str(python), str(HERE / side.script), side.work, setting.to_json()],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=environment,
                cwd=HERE,
            )
        others = Others(self._process.pid)
        self.warm_up = self._answer()["warm_up_seconds"]
        self.others = others.cores() or 0.0

    def run(self) -> dict[str, float]:
        """Runs one repeat and returns the side's answer, with "others": the cores that other processes kept busy."""
        assert self._process.stdin is not None
        others = Others(self._process.pid)
        self._process.stdin.write("run\n")
        self._process.stdin.flush()
        answer = self._answer()
        busy = others.cores()
        return answer if busy is None else {**answer, "others": busy}

    def end(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.wait()

    def _answer(self) -> dict[str, float]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            last = self._log.read_text(errors="replace").strip().splitlines()[-15:]
            raise RuntimeError(f"{self.side.name} failed (all of it: {self._log}):\n" + "\n".join(last))
        answer: dict[str, float] = json.loads(line)
        return answer


def measure(
    work: Work, sides: list[Side], setting: Setting, repeats: int, pythons: dict[str, Path], logs: Path
) -> dict[str, list[dict[str, float]]]:
    """Lets all sides warm up, one after the other, and then runs `repeats` rounds over them. Returns their answers."""
    workers: list[Worker] = []
    answers: dict[str, list[dict[str, float]]] = {side.name: [] for side in sides}
    try:
        # A side that cannot start is reported and left out; the others go on.
        for side in sides:
            log = logs / f"{work.key}-{side.place}-{side.work}.log"
            try:
                workers.append(Worker(side, pythons[side.place], setting, log))
                warm, busy = workers[-1].warm_up, workers[-1].others
                _say(f"{work.key}: {side.name}: warm after {warm:.1f} s, others {busy:.2f}")
            except RuntimeError as error:
                _say(f"{work.key}: {error}")
        # One process at a time works; the others wait.
        for _ in range(repeats):
            for worker in workers:
                answers[worker.side.name].append(worker.run())
                _say(f"{work.key}: {worker.side.name}: {answers[worker.side.name][-1]}")
    finally:
        for worker in workers:
            worker.end()
    return answers


def _say(text: str) -> None:
    print(f"# {text}", file=sys.stderr, flush=True)


def machine() -> dict[str, object]:
    """The date, and the machine's cores, memory and processor."""
    cpu = platform.processor()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
        cpu = names[0] if names else cpu
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    today = datetime.datetime.now().isoformat(timespec="minutes")
    return {"date": today, "cores": os.cpu_count(), "memory_gib": round(memory), "cpu": cpu}


def main(argv: list[str]) -> int:
    # An exit runs `finally` blocks, which end the workers.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--works", default=",".join(work.key for work in WORKS))
    parser.add_argument("--sides", default="", help="only sides whose name has one of these texts in it, by semicolons")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--cache", type=Path, default=HERE.parents[1] / "build" / "benchmarks")
    parser.add_argument("--share", action="store_true", help="peers see this environment's packages too")
    parser.add_argument("--torch-index", default="", help="such as https://download.pytorch.org/whl/cpu: less to fetch")
    parser.add_argument(
        "--peer-dialogues", type=int, default=0, help="of work c's dialogues, how many a peer plays in a repeat"
    )
    parser.add_argument("--json", type=Path, help="results, added to those of other works in the file")
    flags = parser.parse_args(argv)
    keys = {work.key: work for work in WORKS}
    unknown = [key for key in flags.works.split(",") if key not in keys]
    if unknown or flags.repeats < 1:
        raise UserError(
            f"--works has {unknown}, --repeats is {flags.repeats}: works are {', '.join(keys)}, repeats from 1"
        )
    chosen = [keys[key] for key in flags.works.split(",")]
    setting = Setting()
    if flags.peer_dialogues:
        setting = dataclasses.replace(setting, peer_dialogues=flags.peer_dialogues)
    wanted = [text for text in flags.sides.split(";") if text]
    sides_of = {work.key: [s for s in work.sides if not wanted or any(t in s.name for t in wanted)] for work in chosen}
    places = sorted({side.place for sides in sides_of.values() for side in sides})
    flags.cache.mkdir(parents=True, exist_ok=True)
    pythons = {place: python_of(place, flags.cache, flags.share, flags.torch_index) for place in places}
    setup = {"machine": machine(), "versions": {place: versions(place, python) for place, python in pythons.items()}}
    _say(json.dumps(setup))
    # Results are written work by work, so that an interrupted run keeps what it has.
    failed = False
    for work in chosen:
        answers = measure(work, sides_of[work.key], setting, flags.repeats, pythons, flags.cache)
        rows = summary(work, answers)
        print(markdown(work, rows), end="\n\n", flush=True)
        if flags.json:
            before = json.loads(flags.json.read_text()) if flags.json.exists() else {}
            result = {**setup, "setting": dataclasses.asdict(setting), "rows": rows, "answers": answers}
            before[work.key] = {**result, "best_ratio": best_ratio(work, rows), "aim": work.aim}
            flags.json.write_text(json.dumps(before, indent=1) + "\n")
        failed = failed or not all(answers.values())
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(run_program(main, sys.argv[1:]))
