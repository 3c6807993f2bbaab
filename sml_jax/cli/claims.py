"""`sml-jax claims`: trains and measures what every claim of the papers needs, and says which of them hold."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sml_jax.cli.flags import FlagParser
from sml_jax.common.errors import SEEDS, UserError
from sml_jax.common.paths import user_path
from sml_jax.common.suggest import unknown_name

if TYPE_CHECKING:
    from sml_jax.claims.job import Job
    from sml_jax.claims.plan import Plan
    from sml_jax.claims.results import Results, ResultStore

DESCRIPTION = """Measures the claims of the papers in the pocket world: trains every policy on both domains with three
seeds, plays the suites, and writes claims.json, claims.md and figures/ into the folder --workdir.

It goes on where it was stopped, in several processes too if they share the folder. Each finished job leaves a small
file of results, from which a fresh machine goes on without training again."""


def main(argv: Sequence[str]) -> int:
    """`sml-jax claims`: does the jobs that are left, and measures the claims.

    Args:
      argv: the arguments, without the program's name.

    Returns:
      The exit code 0, whatever the claims come to.

    Raises:
      UserError: a flag is wrong, or a job cannot be done.
      Stopped: a signal asked to stop; what was done is kept.
    """
    flags = _parse(argv)
    # After the flags, so that --help and a misspelt flag need not wait for JAX.
    from sml_jax.claims.job import BASE, DOMAINS, POLICIES, make_jobs
    from sml_jax.claims.job import SEEDS as ALL_SEEDS
    from sml_jax.claims.plan import Plan
    from sml_jax.claims.results import ResultStore, read_results

    # What is not given is all there is, or with --quick the main claim's.
    policies = _chosen(flags.only, POLICIES, "--only") or ((BASE, "online") if flags.quick else POLICIES)
    domains = _chosen(flags.domains, DOMAINS, "--domains") or (DOMAINS[:1] if flags.quick else DOMAINS)
    seeds = flags.seeds or (ALL_SEEDS[:1] if flags.quick else ALL_SEEDS)
    jobs = make_jobs(policies, domains, seeds, flags.quick)
    workdir = user_path(flags.workdir)
    store = ResultStore(workdir / "results" if flags.results is None else user_path(flags.results))
    plan = Plan(jobs, store)
    print(f"plan: {len(jobs)} jobs, results in {store.folder}\n{plan.text()}", flush=True)
    if not flags.plan:
        _run(jobs, workdir, store, plan, (flags.process, flags.processes))
    # Every claim that the results allow is measured, also from jobs of an earlier call and of other policies.
    workdir.mkdir(parents=True, exist_ok=True)
    _measure(read_results(store, make_jobs(POLICIES, DOMAINS, seeds, False), domains), workdir)
    return 0


def _run(jobs: Sequence[Job], workdir: Path, store: ResultStore, plan: Plan, share: tuple[int, int]) -> None:
    """Does the jobs, and prints how far it is."""
    from sml_jax.claims.plan import in_words
    from sml_jax.claims.runner import run_jobs
    from sml_jax.common.compilation_cache import keep_executables

    keep_executables()
    started = time.monotonic()

    def tell(job: Job, number: int) -> None:
        # Read anew before each job: other processes finish some, and each training tells how long the next one takes.
        left = plan.seconds_by_job()
        print(
            f"job {number + 1} of {len(jobs)}: {job.name}, about {in_words(left[job.name])}; all that is left about "
            f"{in_words(sum(left.values()))}, after {in_words(time.monotonic() - started)}",
            flush=True,
        )

    for job in run_jobs(jobs, workdir, store, share=share, tell=tell):
        print(f"note: {job.name} is being done by another process", flush=True)


def _measure(results: Results, workdir: Path) -> None:
    """Measures the claims, writes them, and prints their table."""
    from sml_jax.claims.claims import measure_claims
    from sml_jax.claims.figures import write_figures
    from sml_jax.claims.output import JSON, TABLE, claims_markdown, write_claims

    claims = measure_claims(results)
    write_claims(claims, workdir)
    # The numbers are there without the plots, for which hours of work should not end in an error.
    try:
        write_figures(claims, results, workdir / "figures")
    except ImportError:
        print("note: no figures, since matplotlib is not installed: pip install 'sml-jax[report]'")
    print(claims_markdown(claims))
    print(f"claims: {workdir / JSON}, {workdir / TABLE}")


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    """The program's flags."""
    parser = FlagParser("sml-jax claims", DESCRIPTION, "--workdir=DIR [--flag=value ...]")
    parser.add_argument("--workdir", metavar="DIR", help="the folder of the runs, which go on if they are there")
    parser.add_argument(
        "--results", metavar="DIR", help="the folder of the small files of results (default: results in --workdir)"
    )
    parser.add_argument(
        "--quick", action="store_true", help="the main claim alone, with one seed on math: in 20 minutes on two cores"
    )
    parser.add_argument("--plan", action="store_true", help="run nothing: say what is left, and measure what is there")
    parser.add_argument("--seeds", metavar="S,S", type=_seeds, help="seeds of the runs (default: 0,1,2)")
    parser.add_argument("--only", metavar="P,P", help="policies (default: all)")
    parser.add_argument("--domains", metavar="D,D", help="domains to train on (default: math,code)")
    parser.add_argument("--process", metavar="I", type=_count(0), default=0, help="the number of this process, from 0")
    parser.add_argument("--processes", metavar="N", type=_count(1), default=1, help="how many processes there are")
    names = ("workdir", "results", "quick", "plan", "seeds", "only", "domains", "process", "processes")
    flags = parser.parse_flags(argv, names, takes_gin=False)
    if not flags.workdir:
        raise UserError("sml-jax claims needs --workdir=DIR; see sml-jax claims --help")
    if flags.process >= flags.processes:
        raise UserError(f"--process={flags.process} of --processes={flags.processes}: they are numbered from 0")
    return flags


def _chosen(text: str | None, known: Sequence[str], flag: str) -> tuple[str, ...]:
    """The names of a flag, in the order in which they are known; () where it was not given.

    Raises:
      UserError: a name is unknown.
    """
    names = text.split(",") if text else []
    for name in names:
        if name not in known:
            raise unknown_name("name", name, known, flag)
    return tuple(name for name in known if name in names)


def _seeds(text: str) -> tuple[int, ...]:
    """A flag's seeds, each once."""
    seeds = tuple(dict.fromkeys(_count(SEEDS[0])(part) for part in text.split(",")))
    if max(seeds) > SEEDS[1]:
        raise argparse.ArgumentTypeError(f"{max(seeds)} is no seed: give numbers up to {SEEDS[1]:,}")
    return seeds


def _count(least: int) -> Callable[[str], int]:
    """Makes the type of a flag that takes a whole number from `least` on."""

    def check(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number from {least} on")
        return int(text)

    return check
