"""Teachers that are Python functions: the task's own script, a fixed text, a function of one's own, a slow endpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from sml_jax.common.errors import at_least
from sml_jax.common.own_code import WrongResult, raise_own_mistake
from sml_jax.dialogue.drops import in_one_line
from sml_jax.dialogue.teacher import Knowledge, NoReply, Reply, Request, RolloutSetup, Teacher
from sml_jax.tasks.problems.types import Problem, Task, Turn, Verdict

LINGER_SECONDS = 0.002  # replies that come within this of the first one join the same call of the student's model

ReplyFunction = Callable[[Task, Problem, Sequence[Turn], Verdict], str]


class Script:
    """Base class of teachers that are Python functions. A subclass defines `name` and `reply`.

    What `reply` raises drops the dialogue that it was called for, and no other: a ValueError for words that it can make
    nothing of, or the TimeoutError of an endpoint. A mistake in `reply` itself (TypeError, KeyError, NameError, ...)
    ends the run; see `sml_jax.common.own_code`.

    Attributes:
      name: the arm's name.
      threads: how many replies are made at once, each in a thread, so that a slow one does not hold up other dialogues.
        0 for functions that only compute: `reply` is then called in the rollout's own thread, which makes runs
        repeatable to the last bit. (With threads, which dialogues share a call of the student's model depends on when
        replies come, and log-probabilities may differ in their last digits; the dialogues do not.)
      guarded: whether the leak guard reads the replies.
      knows: the problem that `reply` is called with: "own", the one at hand; "other", another one of the rollout, so
        that its replies are feedback for the wrong problem.
    """

    # A subclass overrides these as class attributes, or as fields of a dataclass.
    name: str = "script"
    threads: int = 64
    guarded: bool = True
    knows: Knowledge = "own"
    runs_model: bool = False

    def reply(self, task: Task, problem: Problem, conversation: Sequence[Turn], verdict: Verdict) -> str:
        """What the teacher says next. A subclass implements it.

        Args:
          task: the task of the rollout, which has the private knowledge.
          problem: what the dialogue is about, answer included; another problem if the script `knows` another one.
          conversation: the public turns so far; the problem's statement is the first, the student's latest turn the
            last.
          verdict: the verifier's, on that latest turn as an answer to the dialogue's own problem.
        """
        raise NotImplementedError(f"{type(self).__name__} is a teacher without a `reply`")

    def turns(self, problem: Problem) -> int | None:
        """The number of student turns after which the teacher has nothing more to say; None for no limit."""
        return None

    def make(self, setup: RolloutSetup) -> Teacher:
        """Makes the live teacher of one rollout: a ThreadedTeacher, or an InlineTeacher if `threads` is 0."""
        return ThreadedTeacher(self, setup.task) if self.threads else InlineTeacher(self, setup.task)


@dataclass(frozen=True)
class Function(Script):
    """A Python function as the teacher.

    Attributes:
      function: called as `function(task, problem, conversation, verdict)` for each reply, from several threads; returns
        what the teacher says. For its arguments see `Script.reply`. An exception drops the dialogue that it was called
        for, or ends the run if it is a mistake in the function; see `Script`.
      name, threads, guarded: see `Script`.
    """

    function: ReplyFunction
    name: str = "function"
    threads: int = 64
    guarded: bool = True

    def __post_init__(self) -> None:
        at_least(self, threads=0)

    def reply(self, task: Task, problem: Problem, conversation: Sequence[Turn], verdict: Verdict) -> str:
        """Calls `function`; see `Script.reply`."""
        return self.function(task, problem, conversation, verdict)


class InlineTeacher(Teacher):
    """The live teacher that calls a script at once in `start`, in the rollout's own thread.

    Args:
      script: makes the replies.
      task: handed to the script.
    """

    in_step = True  # a function that only computes gives each process the same reply

    def __init__(self, script: Script, task: Task):
        self._script, self._task = script, task
        self.guarded, self.knows = script.guarded, script.knows
        self._ready: dict[int, Reply | NoReply] = {}

    def turns(self, problem: Problem) -> int | None:
        """The script's `turns`."""
        return self._script.turns(problem)

    def start(self, requests: Sequence[Request]) -> None:
        """Calls the script for each request, and waits for its replies."""
        self._ready |= {request.dialogue: _reply(self._script, self._task, request) for request in requests}

    def collect(self) -> Mapping[int, Reply | NoReply]:
        """The replies to all requests since the last call, by dialogue id."""
        ready, self._ready = self._ready, {}
        return ready


class ThreadedTeacher(Teacher):
    """The live teacher that calls a script for many dialogues at once, each in a thread.

    Args:
      script: makes the replies; its `threads` says how many at once.
      task: handed to the script.
    """

    def __init__(self, script: Script, task: Task):
        self._script, self._task = script, task
        self.guarded, self.knows = script.guarded, script.knows
        self._pool = ThreadPoolExecutor(script.threads, thread_name_prefix=f"teacher-{script.name}")
        self._pending: dict[Future[Reply | NoReply], int] = {}

    def turns(self, problem: Problem) -> int | None:
        """The script's `turns`."""
        return self._script.turns(problem)

    def start(self, requests: Sequence[Request]) -> None:
        """Hands the requests to the threads, and returns without waiting."""
        # The pool takes any number of requests, and answers as many at once as it has threads.
        for request in requests:
            self._pending[self._pool.submit(_reply, self._script, self._task, request)] = request.dialogue

    def wait(self, idle: bool) -> None:
        """Waits for a reply if `idle`, so that the student has nothing to do; returns at once otherwise."""
        # While the student has turns to take, replies are left to come in their own time.
        if idle and self._pending:
            wait(self._pending, return_when=FIRST_COMPLETED)
            # Replies that were asked for together mostly come together, and one call of the student's model serves all.
            wait(self._pending, timeout=LINGER_SECONDS)

    def collect(self) -> Mapping[int, Reply | NoReply]:
        """The replies that are ready, by dialogue id."""
        done_futures = [future for future in self._pending if future.done()]
        return {self._pending.pop(future): future.result() for future in done_futures}

    def close(self) -> None:
        """Drops the requests that no thread has begun. Calls under way end by themselves."""
        # Calls under way cannot be stopped, but nobody waits for them.
        self._pool.shutdown(wait=False, cancel_futures=True)


def _reply(script: Script, task: Task, request: Request) -> Reply | NoReply:
    """Calls the script. What it raises becomes its dialogue's `NoReply`, unless it is a mistake in the script."""
    try:
        # This is the user's code, so anything may be raised or returned.
        problem = request.known_problem or request.problem
        reply_text = script.reply(task, problem, request.turns, request.verdict)
        if not isinstance(reply_text, str):
            raise WrongResult(f"teacher {script.name} replied with a {type(reply_text).__name__}: return a str")
    except Exception as error:
        raise_own_mistake(error, "asking the teacher for a reply")
        return NoReply(f"the scripted reply: {in_one_line(error)}")
    return Reply(reply_text)
