"""Measures the code verifier: `python benchmarks/run_tests.py MBPP_JSONL [ROUNDS]`.

MBPP's worked solutions go through `CodeTask.verify`, and the same programs with the same tests through plain
`python file.py` runs, as many at once. The two take turns, so that other work on the machine slows both. For each the
script prints the programs a second of every round and their median, and the processor milliseconds of a program (this
process and its children together); at the end, how often the two disagree.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sml_jax.tasks.code.problem import CodeProblem
from sml_jax.tasks.code.sandbox import Limits
from sml_jax.tasks.code.task import CodeTask

WORKERS = os.cpu_count() or 1


def read_problems(path: str) -> list[CodeProblem]:
    """MBPP's problems without a setup of their own."""
    rows = [json.loads(line) for line in Path(path).read_text().splitlines()]
    return [
        CodeProblem(str(row["task_id"]), row["text"], row["code"], tests=tuple(row["test_list"]))
        for row in rows
        if not row["test_setup_code"]
    ]


def run_plainly(problems: list[CodeProblem], folder: Path) -> list[bool]:
    """Whether each program with its tests ends with status 0."""

    def run(problem: CodeProblem) -> bool:
        # One file: the solution, then its tests, as a person would run them.
        file = folder / f"{problem.id}.py"
        file.write_text("\n".join([problem.answer, *problem.tests]))
        quiet = dict(stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return subprocess.run([sys.executable, str(file)], **quiet).returncode == 0

    with ThreadPoolExecutor(WORKERS) as pool:
        return list(pool.map(run, problems))


def processor_s() -> float:
    """Seconds of processor time that this process and its ended children have used."""
    return sum(os.times()[:4])


def main(argv: list[str]) -> int:
    problems = read_problems(argv[0])
    rounds = int(argv[1]) if len(argv) > 1 else 5
    # Time limits far above what any program needs: a busy machine must not change a verdict here.
    task = CodeTask("mbpp", {"test": problems}, Limits(wall_s=120.0, cpu_s=60), workers=WORKERS)
    rates: dict[str, list[float]] = {"verifier": [], "python file.py": []}
    used: dict[str, list[float]] = {"verifier": [], "python file.py": []}
    differing = 0
    # Each round judges another part of the problems, by both ways.
    for round_number in range(rounds):
        batch = problems[round_number::rounds]
        start, used_at_start = time.perf_counter(), processor_s()
        verdicts = [v.correct for v in task.verify([(p, f"```python\n{p.answer}\n```") for p in batch])]
        middle, used_at_middle = time.perf_counter(), processor_s()
        with tempfile.TemporaryDirectory() as folder:
            plain = run_plainly(batch, Path(folder))
        end = time.perf_counter()
        rates["verifier"].append(len(batch) / (middle - start))
        rates["python file.py"].append(len(batch) / (end - middle))
        used["verifier"].append((used_at_middle - used_at_start) / len(batch))
        used["python file.py"].append((processor_s() - used_at_middle) / len(batch))
        differing += sum(ours != theirs for ours, theirs in zip(verdicts, plain, strict=True))
    for name, by_round in rates.items():
        line = (
            f"{name:15} {' '.join(f'{rate:6.1f}' for rate in by_round)}   median {statistics.median(by_round):6.1f}/s"
        )
        print(f"{line}, {1e3 * statistics.median(used[name]):.1f} ms of processor time each")
    print(f"{len(problems)} programs, {WORKERS} at once; the two disagree on {differing}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
