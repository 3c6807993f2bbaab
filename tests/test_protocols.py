"""What counts as a task: whatever answers to its methods, on every version of Python."""

from run_toys import ToyTask

from sml_jax.common.protocols import protocol_members
from sml_jax.tasks import CodeProblem, CodeTask, Task
from sml_jax.tasks.problems.types import RunsPrograms


class Delegating:
    """A wrapper whose class has none of the methods."""

    def __init__(self, inner):
        self._inner = inner

    def __getattr__(self, name):
        return getattr(self._inner, name)


def test_a_wrapper_that_delegates_every_method_is_a_task() -> None:
    assert isinstance(ToyTask(), Task) and isinstance(Delegating(ToyTask()), Task)
    assert not isinstance(Delegating(object()), Task) and not isinstance(ToyTask, str)


def test_a_wrapper_of_a_task_that_runs_programs_runs_programs() -> None:
    code = CodeTask("code", {"train": [CodeProblem("a", "?", "", tests=("pass",))]})
    assert isinstance(code, RunsPrograms) and isinstance(Delegating(code), RunsPrograms)
    assert not isinstance(Delegating(ToyTask()), RunsPrograms)


def test_a_class_that_derives_from_the_protocol_is_checked_by_class() -> None:
    class Derived(Task):
        name = "derived"

    assert isinstance(Derived(), Derived) and not isinstance(ToyTask(), Derived)


def test_members_are_the_public_names() -> None:
    wanted = {"name", "problems", "verify", "static_knowledge", "dynamic_knowledge", "reply", "leaks"}
    assert protocol_members(Task) == wanted
