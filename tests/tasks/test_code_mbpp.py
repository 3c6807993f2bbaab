"""Every worked solution of MBPP passes its own tests, and solutions with one thing changed fail them."""

from __future__ import annotations

import ast
import json
import random
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from sml_jax.tasks.code.problem import CodeProblem
from sml_jax.tasks.code.sandbox import Limits
from sml_jax.tasks.code.task import CodeTask

# Their setup builds objects of a class that the solution defines, so it must run after it.
SETUP_AFTER_CODE = {"367", "927"}
# Row 123 needs 3 s of a quiet processor, all others less than 0.1 s.
PATIENT, LIMITS = Limits(wall_s=120.0, cpu_s=30), Limits(wall_s=60.0, cpu_s=2)
SLOW = {"123"}
SWAPS: dict[type, type] = {
    **{ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult},
    **{ast.Mod: ast.Add, ast.Pow: ast.Mult, ast.BitXor: ast.BitOr, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd},
    **{ast.LShift: ast.RShift, ast.RShift: ast.LShift, ast.And: ast.Or, ast.Or: ast.And},
    **{ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Lt: ast.GtE, ast.GtE: ast.Lt, ast.Gt: ast.LtE, ast.LtE: ast.Gt},
    **{ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is},
}


def load(folder: Path) -> list[CodeProblem]:
    rows = [json.loads(line) for line in (folder / "mbpp" / "mbpp.jsonl").read_text().splitlines()]
    return [
        CodeProblem(
            id=str(row["task_id"]),
            question=row["text"],
            answer=row["code"],
            tests=tuple(row["test_list"]),
            setup=row["test_setup_code"],
        )
        for row in rows
    ]


def gold_failures(problems: list[CodeProblem]) -> set[str]:
    verdicts = CodeTask("mbpp", {"test": problems}, PATIENT).verify(
        [(p, f"```python\n{p.answer}\n```") for p in problems]
    )
    return {problem.id for problem, verdict in zip(problems, verdicts, strict=True) if not verdict.correct}


class Change(ast.NodeTransformer):
    """Counts the places that can be changed, and changes the one with number `at`."""

    def __init__(self, at: int = -1) -> None:
        self.at, self.count = at, 0

    def here(self) -> bool:
        self.count += 1
        return self.count - 1 == self.at

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        self.generic_visit(node)
        if type(node.op) in SWAPS and self.here():
            node.op = SWAPS[type(node.op)]()
        return node

    visit_BoolOp = visit_AugAssign = visit_BinOp

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        self.generic_visit(node)
        if self.here():
            node.ops[0] = SWAPS[type(node.ops[0])]()
        return node

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        if type(node.value) is int and self.here():
            return ast.copy_location(ast.Constant(node.value + 1), node)
        return node

    def visit_Return(self, node: ast.Return) -> ast.AST:
        self.generic_visit(node)
        if node.value is not None and self.here():
            node.value = ast.copy_location(ast.Constant(None), node)
        return node


def read(code: str) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about escapes in the data set
        return ast.parse(code)


def mutants(code: str, most: int, seed: str) -> list[str]:
    """Up to `most` programs that differ from `code` in one operator, whole number or returned value."""
    counter = Change()
    counter.visit(read(code))
    places = random.Random(seed).sample(range(counter.count), min(most, counter.count))
    return [ast.unparse(ast.fix_missing_locations(Change(at).visit(read(code)))) for at in sorted(places)]


def survivors(problems: list[CodeProblem], most: int, folder: Path) -> tuple[list[tuple[str, str]], int]:
    """([id, mutant that passed], mutants in all), after a look that plain Python agrees with the verdicts."""
    task = CodeTask("mbpp", {"test": problems}, LIMITS)
    programs = [(p, code) for p in problems for code in mutants(p.answer, most, p.id)]
    verdicts = task.verify([(p, f"```python\n{code}\n```") for p, code in programs])
    assert all(verdict.attempted for verdict in verdicts)
    for (problem, code), verdict in zip(programs, verdicts, strict=True):
        if " failed: no end within" not in verdict.detail:
            assert passes_plainly(problem, code, folder) == verdict.correct, (problem.id, code, verdict)
    return [(p.id, code) for (p, code), v in zip(programs, verdicts, strict=True) if v.correct], len(programs)


def passes_plainly(problem: CodeProblem, code: str, folder: Path) -> bool:
    """What `python file.py` says of the same program and tests."""
    file = folder / "program.py"
    file.write_text("\n".join([problem.setup, code, *problem.tests]))
    return subprocess.run([sys.executable, "-I", str(file)], capture_output=True, timeout=300).returncode == 0


@pytest.fixture(scope="module")
def sample(real_data: Path) -> list[CodeProblem]:
    problems = load(real_data)
    chosen = random.Random(0).sample(problems, 150)
    return chosen + [p for p in problems if p.id in SETUP_AFTER_CODE and p not in chosen]


def test_solutions_pass_their_tests(sample: list[CodeProblem]) -> None:
    assert gold_failures(sample) == SETUP_AFTER_CODE


def test_solutions_whose_setup_needs_them_pass_with_it_after_them(sample: list[CodeProblem]) -> None:
    late = [
        CodeProblem(id=p.id, question=p.question, answer=p.answer, tests=(p.setup, *p.tests))
        for p in sample
        if p.id in SETUP_AFTER_CODE
    ]
    assert len(late) == 2 and gold_failures(late) == set()


@pytest.mark.slow
def test_changed_solutions_fail(sample: list[CodeProblem], tmp_path: Path) -> None:
    alive, tried = survivors([p for p in sample if p.id not in SETUP_AFTER_CODE | SLOW], 1, tmp_path)
    assert tried > 130 and len(alive) <= 0.12 * tried


def test_another_problem_s_solution_fails(sample: list[CodeProblem]) -> None:
    task = CodeTask("mbpp", {"test": sample[:40]})
    pairs = list(zip(sample[:40], sample[1:40] + sample[:1], strict=True))
    verdicts = task.verify([(problem, other.answer) for problem, other in pairs])
    assert not any(verdict.correct for verdict in verdicts)


@pytest.mark.slow
def test_all_solutions_pass_and_changed_ones_fail(real_data: Path, tmp_path: Path) -> None:
    problems = load(real_data)
    assert len(problems) == 974 and gold_failures(problems) == SETUP_AFTER_CODE
    alive, tried = survivors([p for p in problems if p.id not in SETUP_AFTER_CODE | SLOW], 3, tmp_path)
    assert tried > 2300 and len(alive) <= 0.12 * tried
