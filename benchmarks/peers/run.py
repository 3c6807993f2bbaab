"""Compares other libraries with ours: installs them, runs all sides by turns on the same work, and prints ratios.

`python benchmarks/peers/run.py [--shape=small] [--works=a,b,...] [--repeats=5] [--share] [--json=FILE]`

Each peer gets a virtual environment of its own under `--cache` (build/benchmarks, which git ignores) with the versions
pinned in `venvs.py`; ours runs in the environment of the Python that runs this script. For each work every side has a
process of its own, which builds its model and warms up alone. Then repeats go round the sides, one process at a time,
so that a machine that gets slower gets slower for all. The other processes wait in a read.

Works: a 64 rows sampled; b dialogues; c dialogues with turns of random length; d one row; e a GRPO step; f recompiles;
g, h and i what the machine can do; j the first token. Same shape, same prompts, temperature 1 over the whole
vocabulary, float32 everywhere; random weights (see `setting.py`).

`--shape=smollm2_135m` and `--shape=qwen2_5_0_5b` take the shapes of real models (`shapes.py`, `real_works.py`), whose
sides all load the same random weights. Where g and i are measured first, the tables of the other works say how near
each side comes to what the machine allows (`roofline.py`).
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
import time
from pathlib import Path

from sml_jax.cli.main import run_program
from sml_jax.common.errors import UserError

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from others import Others  # noqa: E402
from real_works import DEFAULT, real_works  # noqa: E402
from roofline import Machine, best_value  # noqa: E402
from setting import RANDOM_BATCHES, Setting  # noqa: E402
from shapes import SHAPES, SMALL  # noqa: E402
from side import SPAWNED  # noqa: E402
from table import best_ratio, markdown, summary  # noqa: E402
from venvs import python_of, versions  # noqa: E402
from works import WORKS, Side, Work  # noqa: E402


class Worker:
    """A side's process, ready to run once whenever it is told to."""

    def __init__(self, side: Side, python: Path, setting: Setting, log: Path):
        self.side, self._log = side, log
        environment = {**os.environ, "JAX_PLATFORMS": "cpu", "HF_HUB_OFFLINE": "1", "WANDB_MODE": "disabled"}
        environment["XLA_FLAGS"] = side.xla  # and not a test's eight simulated devices
        environment[SPAWNED] = str(time.time())
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
        ready = self._answer()
        self.warm_up, self._start_up = ready["warm_up_seconds"], ready.get("start_up")
        self.others = others.cores() or 0.0

    def run(self) -> dict[str, float]:
        """Runs one repeat and returns the side's answer.

        It has "others" too, the cores that other processes kept busy meanwhile, and the process's "start_up" time.
        """
        assert self._process.stdin is not None
        others = Others(self._process.pid)
        self._process.stdin.write("run\n")
        self._process.stdin.flush()
        answer = self._answer()
        for name, value in (("others", others.cores()), ("start_up", self._start_up)):
            if value is not None:
                answer[name] = value
        return answer

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


def _setting(flags: argparse.Namespace) -> Setting:
    """The shape that was asked for, with the folder of its weights if it is a real model's."""
    sizes = dict(one.split("=") for one in flags.set)
    setting = dataclasses.replace(SHAPES[flags.shape], **{name: int(size) for name, size in sizes.items()})
    if flags.peer_dialogues:
        setting = dataclasses.replace(setting, peer_dialogues=flags.peer_dialogues)
    if flags.shape != SMALL:
        folder = flags.cache / f"{flags.shape}-{setting.layers}x{setting.width}x{setting.vocab}"
        setting = dataclasses.replace(setting, weights=str(folder.absolute()))
    return setting


def _with_flags(work: Work, xla: str | None) -> Work:
    """The work with other XLA_FLAGS for our side; None leaves it as it is. Sides without any flags keep none."""
    if xla is None:
        return work
    sides = (dataclasses.replace(side, xla=xla) if side.ours and side.xla else side for side in work.sides)
    return dataclasses.replace(work, sides=tuple(sides))


def _machine_of(rows: dict[str, list[dict[str, object]]]) -> Machine | None:
    """What the machine can do, if the works that measure it have run."""
    best = {key: max((float(str(row["median"])) for row in rows.get(key, ())), default=0.0) for key in ("g", "i")}
    return Machine(1e9 * best["g"], 1e9 * best["i"]) if all(best.values()) else None


def main(argv: list[str]) -> int:
    # An exit runs `finally` blocks, which end the workers.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default=SMALL)
    parser.add_argument("--works", default="", help=f"by commas; all of the small shape, {DEFAULT} of the others")
    parser.add_argument("--sides", default="", help="only sides whose name has one of these texts in it, by semicolons")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--cache", type=Path, default=HERE.parents[1] / "build" / "benchmarks")
    parser.add_argument("--share", action="store_true", help="peers see this environment's packages too")
    parser.add_argument("--torch-index", default="", help="such as https://download.pytorch.org/whl/cpu: less to fetch")
    parser.add_argument(
        "--peer-dialogues", type=int, default=0, help="of work c's dialogues, how many a peer plays in a repeat"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=NUMBER",
        help="another size, such as layers=2, to try things",
    )
    parser.add_argument("--our-xla", metavar="FLAGS", help="XLA_FLAGS of ours in place of those of works.py")
    parser.add_argument("--json", type=Path, help="results, added to those of other works in the file")
    flags = parser.parse_args(argv)
    setting = _setting(flags)
    works = real_works(setting) if setting.weights else WORKS
    keys = {work.key: work for work in works}
    asked = (flags.works or (",".join(keys) if flags.shape == SMALL else DEFAULT)).split(",")
    unknown = [key for key in asked if key not in keys]
    if unknown or flags.repeats < 1:
        raise UserError(
            f"--works has {unknown}, --repeats is {flags.repeats}: works are {', '.join(keys)}, repeats from 1"
        )
    chosen = [_with_flags(keys[key], flags.our_xla) for key in asked]
    wanted = [text for text in flags.sides.split(";") if text]
    sides_of = {work.key: [s for s in work.sides if not wanted or any(t in s.name for t in wanted)] for work in chosen}
    places = sorted({side.place for sides in sides_of.values() for side in sides})
    flags.cache.mkdir(parents=True, exist_ok=True)
    pythons = {place: python_of(place, flags.cache, flags.share, flags.torch_index) for place in places}
    setup = {"machine": machine(), "versions": {place: versions(place, python) for place, python in pythons.items()}}
    _say(json.dumps(setup))
    if setting.weights:
        # In a process of its own, so that this one stays small beside those that are timed.
        environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
        subprocess.run([sys.executable, str(HERE / "weights.py"), setting.to_json()], check=True, env=environment)
    # Results are written work by work, so that an interrupted run keeps what it has.
    failed, tables = False, {}
    for work in chosen:
        repeats = min(flags.repeats, work.most_repeats or flags.repeats)
        answers = measure(work, sides_of[work.key], setting, repeats, pythons, flags.cache)
        machine_speed = _machine_of(tables)
        bound = best_value(work.key, setting, machine_speed, RANDOM_BATCHES * setting.rows) if machine_speed else None
        tables[work.key] = rows = summary(work, answers, bound)
        print(markdown(work, rows, bound), end="\n\n", flush=True)
        if flags.json:
            before = json.loads(flags.json.read_text()) if flags.json.exists() else {}
            result = {**setup, "setting": dataclasses.asdict(setting), "rows": rows, "bound": bound, "answers": answers}
            before[work.key] = {**result, "best_ratio": best_ratio(work, rows), "aim": work.aim}
            flags.json.write_text(json.dumps(before, indent=1) + "\n")
        failed = failed or not all(answers.values())
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(run_program(main, sys.argv[1:]))
