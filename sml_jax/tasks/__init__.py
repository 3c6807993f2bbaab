"""Problems, what a teacher may know of them, and the verifiers."""

from sml_jax.tasks.code.cases import run_cases
from sml_jax.tasks.code.extract import extract_code
from sml_jax.tasks.code.run_tests import Limits, run_tests
from sml_jax.tasks.code.task import CallCase, CodeProblem, CodeTask, IoCase
from sml_jax.tasks.datasets.jsonl import JsonlTask
from sml_jax.tasks.math.expression_pool import ExpressionPool
from sml_jax.tasks.math.task import MathTask
from sml_jax.tasks.math.verify import extract_answer, final_answer, verify_math, verify_math_many
from sml_jax.tasks.problems.types import Problem, Task, Turn, Verdict

__all__ = [
    "CallCase",
    "CodeProblem",
    "CodeTask",
    "ExpressionPool",
    "IoCase",
    "JsonlTask",
    "Limits",
    "MathTask",
    "Problem",
    "Task",
    "Turn",
    "Verdict",
    "extract_answer",
    "extract_code",
    "final_answer",
    "run_cases",
    "run_tests",
    "verify_math",
    "verify_math_many",
]
