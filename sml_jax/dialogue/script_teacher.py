"""Teachers that are Python functions: the task's own script, a fixed text, a function of one's own, a slow endpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from sml_jax.common.errors import at_least
from sml_jax.dialogue.drops import in_one_line
from sml_jax.dialogue.teacher import NoReply, Reply, Request, RolloutSetup, Teacher
from sml_jax.tasks.problems.types import Problem, Task, Turn, Verdict

LINGER_SECONDS = 0.002  # replies that come within this of the first one join the same call of the student's model

ReplyFunction = Callable[[Task, Problem, Sequence[Turn], Verdict], str]


class Script:
    """Base of teachers that can tell a reply from the dialogue so far. A subclass needs a `name` and a `reply`.

    Attributes:
      name: the arm's name.
      threads: replies that are made at once, each in a thread of its own, so that a slow one holds up no other
        dialogue. 0 for functions that only compute: each is called in its turn, which makes runs repeatable to the
        last bit. (With threads, which dialogues share a call of the student's model depends on when replies come, and
        log-probabilities may differ in their last digits; the dialogues do not.)
      guarded: whether the leak guard reads the replies.
    """

    # A subclass overrides these as class attributes, or as fields of a dataclass.
    name: str = "script"
    threads: int = 64
    guarded: bool = True
    runs_model: bool = False

    def reply(self, task: Task, problem: Problem, conversation: Sequence[Turn], verdict: Verdict) -> str:
        """What the teacher says next. `conversation` ends with the student's turn that `verdict` judges."""
        raise NotImplementedError(f"{type(self).__name__} is a teacher without a `reply`")

    def turns(self, problem: Problem) -> int | None:
        """Student turns after which the teacher has nothing more to say; None for no end of its own."""
        return None

    def make(self, setup: RolloutSetup) -> Teacher:
        """The live teacher of one rollout."""
        return ThreadedTeacher(self, setup.task) if self.threads else InlineTeacher(self, setup.task)


@dataclass(frozen=True)
class Function(Script):
    """A Python function in the teacher's seat.

    Attributes:
      function: called as `function(task, problem, conversation, verdict)` for each reply, from several threads, and
        returns what the teacher says; see `Script.reply`. What it raises drops the dialogue that it was called for.
      name, threads, guarded: see `Script`.
    """

    function: ReplyFunction
    name: str = "function"
    threads: int = 64
    guarded: bool = True

    def __post_init__(self) -> None:
        at_least(self, threads=0)

    def reply(self, task: Task, problem: Problem, conversation: Sequence[Turn], verdict: Verdict) -> str:
        return self.function(task, problem, conversation, verdict)


class InlineTeacher(Teacher):
    """Calls a script in its turn. Each reply is ready as soon as it was asked for."""

    in_step = True  # a function that only computes gives each process the same reply

    def __init__(self, script: Script, task: Task):
        self._script, self._task = script, task
        self.guarded = script.guarded
        self._ready: dict[int, Reply | NoReply] = {}

    def turns(self, problem: Problem) -> int | None:
        return self._script.turns(problem)

    def start(self, requests: Sequence[Request]) -> None:
        self._ready |= {request.dialogue: _reply(self._script, self._task, request) for request in requests}

    def collect(self) -> Mapping[int, Reply | NoReply]:
        ready, self._ready = self._ready, {}
        return ready


class ThreadedTeacher(Teacher):
    """Calls a script for many dialogues at once, each in a thread, and hands replies over as they come."""

    def __init__(self, script: Script, task: Task):
        self._script, self._task = script, task
        self.guarded = script.guarded
        self._pool = ThreadPoolExecutor(script.threads, thread_name_prefix=f"teacher-{script.name}")
        self._pending: dict[Future[Reply | NoReply], int] = {}

    def turns(self, problem: Problem) -> int | None:
        return self._script.turns(problem)

    def start(self, requests: Sequence[Request]) -> None:
        # The pool takes any number of requests, and answers as many at once as it has threads.
        for request in requests:
            self._pending[self._pool.submit(_reply, self._script, self._task, request)] = request.dialogue

    def wait(self, idle: bool) -> None:
        # While the student has turns to take, replies are left to come in their own time.
        if idle and self._pending:
            wait(self._pending, return_when=FIRST_COMPLETED)
            # Replies that were asked for together mostly come together, and one call of the student's model serves all.
            wait(self._pending, timeout=LINGER_SECONDS)

    def collect(self) -> Mapping[int, Reply | NoReply]:
        done = [future for future in self._pending if future.done()]
        return {self._pending.pop(future): future.result() for future in done}

    def close(self) -> None:
        # Calls under way cannot be stopped, but nobody waits for them.
        self._pool.shutdown(wait=False, cancel_futures=True)


def _reply(script: Script, task: Task, request: Request) -> Reply | NoReply:
    """Calls the script. What it raises becomes its dialogue's `NoReply`."""
    try:
        # This is the user's code, so anything may be raised or returned.
        text = script.reply(task, request.problem, request.turns, request.verdict)
        if not isinstance(text, str):
            raise TypeError(f"a reply of type {type(text).__name__}; return a str")
    except Exception as error:
        return NoReply(f"the scripted reply: {in_one_line(error)}")
    return Reply(text)
