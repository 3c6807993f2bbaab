"""Problems, what a teacher may know of them, and the verifiers."""

from sml_jax.tasks.code.cases import run_cases
from sml_jax.tasks.code.extract import extract_code
from sml_jax.tasks.code.problem import CallCase, CodeProblem, IoCase
from sml_jax.tasks.code.run_tests import run_tests
from sml_jax.tasks.code.sandbox import Limits
from sml_jax.tasks.code.task import CodeTask
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
