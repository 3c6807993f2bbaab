"""Teachers that take their time: many replies are made at once, and nobody waits for another dialogue's."""

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pytest
from dialogue_toys import DigitTask, one_device_mesh, put_on_stage

from sml_jax.common.errors import UserError
from sml_jax.dialogue.rollout import play
from sml_jax.dialogue.teacher import NoReply, Reply, Request, RolloutSetup, Teacher
from sml_jax.dialogue.teachers import Function, Script, Scripted
from sml_jax.engine.engine import Engine
from sml_jax.tasks.problems.types import Problem, Turn, Verdict

DIALOGUES = 64
SLEEP_SECONDS = 0.05


@pytest.fixture(scope="session")
def wide_engine(model, chat):
    """A row for every dialogue; nothing is compiled where stand-ins speak."""
    return Engine(
        model,
        max_concurrent=DIALOGUES,
        max_length=512,
        max_new_tokens=64,
        stop_ids=chat.stop_ids,
        mesh=one_device_mesh(),
    )


@dataclass(frozen=True)
class ManyProblems(DigitTask):
    """One problem for each dialogue, whose answer is the dialogue's number."""

    def problems(self, split: str = "train") -> list[Problem]:
        return [Problem(f"p{i}", "find a", str(i), domain="toy") for i in range(DIALOGUES)]


@pytest.fixture
def stage(monkeypatch, chat):
    """Dialogue i is solved after i % 4 replies of the teacher."""

    def say(heard):
        turn = list(heard.context).count(chat.open_student[0])
        return f"x{heard.dialogue}" if turn == 1 + heard.dialogue % 4 else f"turn {'abcd'[turn - 1]}"

    return put_on_stage(monkeypatch, chat, say)


@pytest.fixture
def run(stage, chat, rules, wide_engine, params):
    def go(teacher, task=None, **changes):
        task = task or ManyProblems()
        rules_ = replace(rules, teacher_tokens=20, **changes)
        return play(task, task.problems(), chat, wide_engine, params, teacher, rules_, seed=0)

    return go


def reply_to(task, problem: Problem, conversation: Sequence[Turn], verdict) -> str:
    return f"no, {'abcd'[len(conversation) // 2]} of {problem.id}"


class AllAtOnce:
    """A function whose reply to a turn comes only when it has been asked for every dialogue's reply to that turn."""

    def __init__(self):
        self.threads = set()
        # Dialogue i hears i % 4 replies, so 48 dialogues hear a first one, 32 a second and 16 a third.
        self._all_asked = {2: threading.Barrier(48), 4: threading.Barrier(32), 6: threading.Barrier(16)}

    def __call__(self, task, problem, conversation, verdict) -> str:
        self.threads.add(threading.current_thread().name)
        self._all_asked[len(conversation)].wait(20)
        return reply_to(task, problem, conversation, verdict)


def test_replies_that_take_long_are_made_at_once(run):
    slow = AllAtOnce()
    played = run(Function(slow))
    assert len(slow.threads) >= 48
    assert played.dialogues == run(Function(reply_to, threads=0)).dialogues
    assert [d.solved_turn for d in played.dialogues] == [1 + i % 4 for i in range(DIALOGUES)]


def test_one_slow_reply_holds_up_nobody_else(run, stage):
    """Dialogue 3's first reply comes when all others are over."""
    others_over = threading.Event()
    progress = []

    def waits(task, problem, conversation, verdict):
        if problem.id == "p3" and len(conversation) == 2:
            assert others_over.wait(20), "the others were held up"
        return reply_to(task, problem, conversation, verdict)

    class Watching(Function):
        def make(self, setup):
            teacher = super().make(setup)
            wait = teacher.wait

            def watched(idle):
                if idle and len(teacher._pending) == 1:
                    progress.append(len(stage.of("student")))
                    others_over.set()
                wait(idle)

            teacher.wait = watched
            return teacher

    played = run(Watching(waits))
    assert progress[0] == sum(1 + i % 4 for i in range(DIALOGUES)) - 3, "only its own three turns are missing"
    assert played.dialogues == run(Function(reply_to, threads=0)).dialogues


def test_the_order_of_replies_changes_no_dialogue(run):
    def jumbled(task, problem, conversation, verdict):
        time.sleep(hash(problem.id) % 7 / 500)
        return reply_to(task, problem, conversation, verdict)

    assert run(Function(jumbled, threads=5)).dialogues == run(Function(reply_to, threads=0)).dialogues


@pytest.mark.parametrize("threads", [0, 8])
def test_what_a_function_raises_drops_its_dialogue_alone(run, threads):
    class Breaking(Script):
        name = "function"

        def reply(self, task, problem, conversation, verdict):
            if problem.id == "p2":
                raise ConnectionError("the endpoint is away")
            if problem.id == "p3":
                raise ValueError("no reply in what it sent")
            return reply_to(task, problem, conversation, verdict)

    breaking = Breaking()
    breaking.threads = threads
    played, clean = run(breaking), run(Function(reply_to, threads=0))
    dropped = {dialogue.problem_id: dialogue.dropped for dialogue in played.dialogues if dialogue.dropped}
    assert set(dropped) == {"p2", "p3"}
    assert "ConnectionError: the endpoint is away" in dropped["p2"]
    assert "ValueError: no reply in what it sent" in dropped["p3"]
    assert [d for d in played.dialogues if not d.dropped] == [d for d in clean.dialogues if d.problem_id not in dropped]


def test_a_reply_that_gives_the_answer_away_is_replaced_at_once(run, rules):
    calls = []

    def tells(task, problem, conversation, verdict):
        calls.append(problem.id)
        return f"it is {problem.answer}"

    played = run(Function(tells, threads=4))
    assert len(calls) == 96, "nobody asks a function again"
    assert sum(dialogue.leaks for dialogue in played.dialogues) > 60
    assert all(dialogue.redactions == dialogue.leaks for dialogue in played.dialogues)
    assert not any(dialogue.leaks for dialogue in run(Function(tells, threads=4, guarded=False)).dialogues)


def test_a_scripted_teacher_may_have_threads_too(run):
    slow = AllAtOnce()

    class SlowTask(ManyProblems):
        def reply(self, problem, conversation, verdict):
            return slow(self, problem, conversation, verdict)

    played = run(Scripted(threads=DIALOGUES), SlowTask())
    assert not any(dialogue.dropped for dialogue in played.dialogues) and played.dialogues[3].arm == "scripted"


class Endpoint(Teacher):
    """A teacher of one's own with nothing but the two methods; its replies come with every second question for them."""

    def __init__(self):
        self.batches: list[int] = []
        self._waiting: list[Request] = []
        self._asked = 0

    def start(self, requests: Sequence[Request]) -> None:
        self.batches.append(len(requests))
        self._waiting += requests

    def collect(self) -> Mapping[int, Reply | NoReply]:
        self._asked += 1
        if self._asked % 2:
            return {}
        ready, self._waiting = self._waiting, []
        return {r.dialogue: Reply(reply_to(None, r.problem, r.turns, r.verdict)) for r in ready}


def test_a_teacher_of_ones_own_writes_two_methods(run):
    endpoint = Endpoint()

    @dataclass(frozen=True)
    class Mine:
        name: str = "mine"
        runs_model: bool = False

        def make(self, setup: RolloutSetup) -> Teacher:
            return endpoint

    played = run(Mine())
    clean = run(Function(reply_to, threads=0, name="mine"))
    assert played.dialogues == clean.dialogues and max(endpoint.batches) == 48


def test_an_interrupted_rollout_leaves_no_threads_at_work(stage, chat, rules, wide_engine, params):
    started, task = [], ManyProblems()

    def slow(*dialogue):
        started.append(dialogue)
        time.sleep(SLEEP_SECONDS)
        return reply_to(*dialogue)

    def stop():
        if started:
            raise KeyboardInterrupt

    roomy = replace(rules, teacher_tokens=20)
    with pytest.raises(KeyboardInterrupt):
        play(
            task,
            task.problems(),
            chat,
            wide_engine,
            params,
            Function(slow, threads=2),
            roomy,
            seed=0,
            between_turns=stop,
        )
    calls = len(started)
    time.sleep(3 * SLEEP_SECONDS)
    assert len(started) <= calls + 2, "what had not begun is not begun any more"


def test_settings_that_cannot_work():
    with pytest.raises(UserError, match="threads is -1"):
        Function(reply_to, threads=-1)
    with pytest.raises(NotImplementedError, match="Script is a teacher without a `reply`"):
        Script().reply(ManyProblems(), ManyProblems().problems()[0], (), Verdict(False, False))
