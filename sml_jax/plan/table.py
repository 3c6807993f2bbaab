"""A plan as tables for a person, and as one JSON object."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from sml_jax.plan.chips import GIB
from sml_jax.plan.report import ExecutablePlan, PhasePlan, Plan, phase_fits
from sml_jax.plan.search import FittingSetting


def plan_as_json(plan: Plan, found: FittingSetting | None) -> dict[str, Any]:
    """The plan as an object for `json.dumps`, with `found` under "nearest".

    Bytes, seconds and FLOPs are of one chip, except `useful_flops`, which are of all chips together.

    Args:
      plan: the plan asked for.
      found: the nearest settings that fit; None if none were searched for or found.
    """
    return {
        **_plan_json(plan),
        "nearest": None
        if found is None
        else {"settings": found.flags, "compiled": found.tried, **_plan_json(found.plan)},
    }


def _plan_json(plan: Plan) -> dict[str, Any]:
    """The fields of one plan, without "nearest"."""
    return {
        "topology": plan.topology,
        "chips": _chips(plan),
        "mesh": plan.mesh,
        "rollout_mesh": plan.rollout_mesh,
        "memory_limit": plan.limit,
        "fits": plan.fits,
        "layers_compiled": plan.depths,
        "assumptions": list(plan.job.assumptions),
        "phases": [_phase_json(phase, plan.limit) for phase in plan.phases],
        "dialogues_per_hour": plan.dialogues_per_hour(),
    }


def _phase_json(phase: PhasePlan, limit: float | None) -> dict[str, Any]:
    """The fields of a phase; memory in bytes of one chip."""
    return {
        "name": phase.name,
        "fits": phase_fits(phase, limit),
        "dialogues": phase.dialogues,
        "needs": phase.needs,
        "memory": {**phase.state, "temporaries": phase.temporaries},
        "peak": phase.peak.executable.name if phase.peak else None,
        "seconds": phase.seconds,
        "kernels": [_executable_json(planned) for planned in phase.executables],
    }


def _executable_json(planned: ExecutablePlan) -> dict[str, Any]:
    """The fields of an executable, of one call on one chip."""
    work, memory = planned.compiled.work, planned.compiled.memory
    return {
        "name": planned.executable.name,
        "calls": planned.executable.calls,
        "memory": None if memory is None else {**vars(memory), "total": memory.total},
        "wanted": planned.compiled.wanted,
        "needs": planned.needs,
        "flops": None if work is None else work.flops,
        "useful_flops": planned.compiled.useful_flops,
        "memory_bytes": None if work is None else work.bytes,
        "collective_bytes": None if work is None else work.by_kind(),
        "limits": planned.limits,
        "seconds": planned.seconds,
        "binds": planned.binds or None,
        "compile_seconds": planned.compiled.seconds,
    }


def print_plan(plan: Plan, found: FittingSetting | None, console: Console) -> None:
    """Prints tables of memory and work, dialogues an hour, whether the plan fits and, if not, why and what to change.

    Args:
      plan: the plan asked for.
      found: the nearest settings that fit, which are printed too; None if none were searched for or found.
      console: where to print.
    """
    # What was planned, and on which assumptions.
    rollout_mesh_text = f"; rollouts on {_shape(plan.rollout_mesh)}" if plan.rollout_mesh else ""
    console.print(f"{plan.topology}: {_chips(plan)} chips, {_shape(plan.mesh)}{rollout_mesh_text}", style="bold")
    for line in plan.job.assumptions:
        console.print(f"assumed: {line}", soft_wrap=True)
    if plan.depths:
        console.print(
            f"executables of rollouts were compiled with {plan.depths[0]} and {plan.depths[1]} layers and scaled to "
            f"{plan.job.model.layers} (--layers=all compiles them whole)",
            soft_wrap=True,
        )
    # Memory, work and speed.
    console.print(_memory_table(plan))
    console.print(_work_table(plan))
    for name, rate in plan.dialogues_per_hour().items():
        if rate is not None:
            console.print(f"{name}: at most {rate:,.0f} dialogues an hour, every call at its peak", soft_wrap=True)
    # The verdict, and the nearest setting that fits.
    if plan.fits:
        limit_text = "" if plan.limit is None else f" in {plan.limit / GIB:.2f} GiB a chip"
        console.print(f"it fits{limit_text}", style="green")
        return
    console.print("it does not fit", style="red")
    for phase in plan.phases:
        if not phase_fits(phase, plan.limit):
            console.print(f"  {phase.name}: {_why(phase, plan.limit)}", soft_wrap=True)
    if found is None:
        console.print("no setting near it was found that does; try fewer rows, shorter contexts or another chip")
        return
    flags = "  ".join(f"{name}={value}" for name, value in found.flags.items())
    console.print(f"the nearest found that does (compiled, as was everything above): {flags}", soft_wrap=True)
    print_plan(found.plan, None, console)


def _why(phase: PhasePlan, limit: float | None) -> str:
    """Why a phase does not fit."""
    peak = phase.peak
    if peak is None or phase.needs is None or limit is None:
        return "its compiler ran out of memory"
    return f"{_gib(phase.needs)} GiB during {peak.executable.name!r}, and there are {_gib(limit)}"


def _memory_table(plan: Plan) -> Table:
    """Resident state by kind, a column for each phase."""
    # Kinds of all phases, in the order in which they first appear.
    kinds = list(dict.fromkeys(kind for phase in plan.phases for kind in phase.state))
    table = Table(title="memory of a chip, GiB", title_justify="left")
    table.add_column("")
    for phase in plan.phases:
        table.add_column(phase.name, justify="right")
    for kind in kinds:
        table.add_row(kind, *(_gib(phase.state.get(kind)) for phase in plan.phases))
    table.add_row("temporaries", *(_gib(phase.temporaries) for phase in plan.phases), end_section=True)
    table.add_row("together", *(_gib(phase.needs) for phase in plan.phases))
    table.add_row("there is", *(_gib(plan.limit) for _ in plan.phases))
    table.add_row("largest during", *(phase.peak.executable.name if phase.peak else "" for phase in plan.phases))
    return table


def _work_table(plan: Plan) -> Table:
    """Arithmetic, traffic and time, a row for each executable."""
    table = Table(title="work of a chip, one call", title_justify="left")
    table.add_column("executable")
    for name in ("calls", "GFLOP", "done twice", "memory GB", "links GB", "most of them", "ms", "binds"):
        table.add_column(name, justify="right")
    for phase in plan.phases:
        for planned in phase.executables:
            table.add_row(f"{phase.name}: {planned.executable.name}", *_work_row(planned, _chips(plan)))
    return table


def _work_row(planned: ExecutablePlan, chips: int) -> list[str]:
    """The cells of a row of the work table, after the name."""
    work, useful = planned.compiled.work, planned.compiled.useful_flops
    calls_text = f"{planned.executable.calls:,}"
    # Without a compiled module only the arithmetic that was asked for is known; it is in brackets.
    if work is None:
        return [calls_text, f"({useful / chips / 1e9:,.1f})", "", "", "", "", "", "not compiled"]
    sent_by_kind = work.by_kind()
    sent_bytes = sum(sent_by_kind.values())
    most_sent = max(sent_by_kind, key=lambda kind: sent_by_kind[kind]) if sent_bytes else ""
    # Above 1: devices do work that was asked for once, or do it again in the backward pass.
    repeated = work.flops * chips / useful if useful else 1.0
    time_text = "" if planned.seconds is None else f"{planned.seconds * 1e3:,.2f}"
    return [
        calls_text,
        f"{work.flops / 1e9:,.1f}",
        f"x {repeated:.2f}" if repeated > 1.02 else "",
        f"{work.bytes / 1e9:,.2f}",
        f"{sent_bytes / 1e9:,.2f}" if sent_bytes else "",
        most_sent,
        time_text,
        planned.binds,
    ]


def _shape(mesh: dict[str, int]) -> str:
    """A mesh such as "data 2 x fsdp 4 x tensor 1"."""
    return " x ".join(f"{name} {size}" for name, size in mesh.items())


def _gib(size: float | None) -> str:
    """Bytes in GiB; empty for None."""
    return "" if size is None else f"{size / GIB:.2f}"


def _chips(plan: Plan) -> int:
    """How many chips a plan is for."""
    total = 1
    for size in plan.mesh.values():
        total *= size
    return total
