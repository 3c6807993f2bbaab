"""`sml-jax plan`: what a recipe needs of a TPU slice, and how fast it could be, without one."""

from __future__ import annotations

import json
from collections.abc import Sequence

from sml_jax.cli.flags import ProgramFlag, choice, parse_program_flags
from sml_jax.common.errors import UserError

DESCRIPTION = """Compiles every executable of a recipe for a TPU slice and reports what they need.

It prints each chip's memory by kind, the work of each executable with its loops counted, the bytes between chips, the
time at the chip's peak rates and what limits it, dialogues an hour, and, where the recipe does not fit, the nearest
setting that does. It needs neither weights nor a TPU. Where data and tokenizer are not given, their sizes are assumed.

It needs the TPU's compiler: pip install 'sml-jax[plan]'; --topology=cpu:8 does without. Exit codes: 0 the recipe fits;
1 it does not; 2 something for you to mend."""

GB = 1e9


FLAGS = (
    ProgramFlag("topology", "v5e:4x8, v5p:2x2x2, v6e:4x4, ...; v5e for the smallest that fits; cpu:8", required=True),
    ProgramFlag("format", "table or json", type=choice("table", "json"), default="table"),
    ProgramFlag("prompt_tokens", "tokens that open a context; without it the problems are measured", type=int),
    ProgramFlag("memory_gb", "memory of a chip to plan for, in GB; without it the chip's own", type=float),
    ProgramFlag(
        "layers",
        "all: compile deep rollout executables whole; few: at two small depths, scaled",
        type=choice("all", "few"),
        default="few",
    ),
    ProgramFlag("tries", "settings to compile in search of one that fits", type=int, default=6),
)


def main(argv: Sequence[str]) -> int:
    """`sml-jax plan`: compiles a recipe for a TPU slice and prints what it needs.

    Args:
      argv: the arguments, without the program's name.

    Returns:
      The exit code: 0 if the recipe fits the slice, 1 if it does not.

    Raises:
      UserError: a flag or the recipe is wrong, or the TPU's compiler is not installed.
    """
    flags = parse_program_flags("sml-jax plan", DESCRIPTION, argv, FLAGS, workdir=False)
    for name, smallest in (("prompt_tokens", 1), ("memory_gb", 0), ("tries", 0)):
        value = getattr(flags, name)
        if value is not None and value < smallest:
            raise UserError(f"--{name}={value}: it must be at least {smallest}")
    # After the flags, so that --help and a misspelt flag need not wait for JAX, which must not start on an accelerator.
    from sml_jax.plan.topology import parse_topology, prepare

    chip, topology = parse_topology(flags.topology)
    prepare(topology or chip.kind)
    from rich.console import Console

    from sml_jax.plan.recipe import read_job
    from sml_jax.plan.report import CompiledCache, make_plan
    from sml_jax.plan.search import nearest_that_fits, smallest_that_fits
    from sml_jax.plan.table import plan_as_json, print_plan

    stderr_console = Console(stderr=True)

    # Progress goes to stderr, so that --format=json leaves stdout to the plan.
    def log(line: str) -> None:
        stderr_console.print(f"compiling {line}" if ": " in line else line, soft_wrap=True, highlight=False)

    job = read_job(flags.gin_files, flags.gin_bindings, flags.prompt_tokens)
    memory_limit = None if flags.memory_gb is None else flags.memory_gb * GB
    cache: CompiledCache = {}
    full_depth = flags.layers == "all"
    if topology is None:
        plan = smallest_that_fits(job, chip.kind, memory_limit, cache, log, full_depth=full_depth)
    else:
        plan = make_plan(job, topology, memory_limit, cache, log, full_depth=full_depth)
    # A plan that does not fit is answered by the nearest setting that does.
    fitting_plan = (
        None if plan.fits or plan.limit is None else nearest_that_fits(plan, cache, log, flags.tries, full_depth)
    )
    if flags.format == "json":
        print(json.dumps(plan_as_json(plan, fitting_plan)))
    else:
        print_plan(plan, fitting_plan, Console(width=max(120, stderr_console.width)))
    return 0 if plan.fits else 1
