"""Decoding and the update on one GPU: Gemma 3 1B's shape, random weights, bfloat16, beside Hugging Face `generate`.

Each side is a process of its own, one after the other, so that each has all of the GPU's memory. Printed are the time
of a decoding step, as a share of a copy's speed (and of the published one), beside a step of `generate`; and the
update's model FLOPs, as a share of a measured product's rate (and of the published peak).

    pip install -e . "jax[cuda13]" torch transformers
    python benchmarks/gpu/run.py
    JAX_PLATFORMS=cpu python benchmarks/gpu/run.py --tiny      # tries the script, not the speed
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from gpu_work import TINY, Work, peaks

SIDES = {"ours": "gpu_ours.py", "hf": "gpu_hf.py"}


def run_side(script: str, work: Work) -> dict[str, Any] | None:
    """The JSON that a side prints last. If it failed it returns None, and standard error says why."""
    command = [sys.executable, str(Path(__file__).parent / script), work.to_json()]
    process = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if process.returncode:
        print(f"{script}: ended with code {process.returncode}", file=sys.stderr)
        return None
    results: dict[str, Any] = json.loads(process.stdout.strip().splitlines()[-1])
    return results


def report(work: Work, ours: dict[str, Any], hf: dict[str, Any] | None) -> list[str]:
    """The lines to print, of both sides' results."""
    published = peaks(ours["device"])
    speed, flops = ours["bytes_a_second"], ours["flops_a_second"]
    lines = [
        f"{ours['device']}, {ours['version']}: copies {speed / 1e9:,.0f} GB/s, product {flops / 1e12:,.1f} TFLOP/s"
    ]
    for rows, seconds in ours["decode"].items():
        step_bytes = work.step_bytes(int(rows))
        line = f"decode, {rows} rows behind {work.context}: {seconds * 1e3:.3f} ms a step, "
        line += f"{step_bytes / 1e9:.3f} GB to read"
        line += f": {step_bytes / speed / seconds:.0%} of a copy's speed"
        line += f", {step_bytes / published[0] / seconds:.0%} of the published" if published else ""
        for cache in ("dynamic", "static") if hf else ():
            if rows in hf[cache]:
                line += (
                    f"; generate ({cache} cache) {hf[cache][rows] * 1e3:.3f} ms, {hf[cache][rows] / seconds:.2f} times"
                )
        lines.append(line)
    flops_done = work.update_flops / ours["update"]  # a second
    line = f"update of {work.update_rows} x {work.update_time}: {ours['update']:.3f} s, "
    line += f"{flops_done / 1e12:.2f} TFLOP/s of the model: {flops_done / flops:.0%} of a product's" + (
        f", {flops_done / published[1]:.0%} of the published" if published else ""
    )
    return [*lines, line, *([hf["version"]] if hf else [])]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="a model and sizes that any machine runs")
    parser.add_argument("--sides", default="ours,hf", help="with ours; hf needs torch and transformers")
    for name in ("context", "steps", "update_rows", "update_time", "repeats"):
        parser.add_argument(f"--{name}", type=int)
    args = parser.parse_args(argv)
    sides = args.sides.split(",")
    if "ours" not in sides or not set(sides) <= set(SIDES):
        parser.error(f"--sides={args.sides}: ours, or ours,hf")
    sizes = {f.name: getattr(args, f.name, None) for f in dataclasses.fields(Work)}
    work = dataclasses.replace(TINY if args.tiny else Work(), **{k: v for k, v in sizes.items() if v is not None})
    results = {side: run_side(SIDES[side], work) for side in sides}
    if results["ours"] is None:
        return 1
    print("\n".join(report(work, results["ours"], results.get("hf"))))
    return 0 if all(results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
