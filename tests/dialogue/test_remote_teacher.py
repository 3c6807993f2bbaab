"""A teacher behind an endpoint: many requests at once, failures that cost their own dialogue, and a key that is told
to nobody else."""

import json
import re
import time
from dataclasses import dataclass, replace

import pytest
from dialogue_toys import DigitTask, one_device_mesh, put_on_stage
from endpoint_toys import CUT, Answer, completion, refusal, serving

from sml_jax.common.errors import UserError
from sml_jax.dialogue.chat_messages import sayable, without_thinking
from sml_jax.dialogue.prompts import Prompts
from sml_jax.dialogue.rollout import play
from sml_jax.dialogue.rules import LeakGuard
from sml_jax.dialogue.teacher_store import TeacherStore
from sml_jax.dialogue.teachers import Function, Remote
from sml_jax.engine.engine import Engine
from sml_jax.tasks.problems.types import Problem

DIALOGUES = 64
KEY = "sk-very-secret-0123456789abcdef"
REPLIES = [i % 6 if i < 60 else 4 for i in range(DIALOGUES)]  # that each dialogue hears before it is solved: 166


@dataclass(frozen=True)
class ManyProblems(DigitTask):
    """Problem i asks for i, so that a request shows which dialogue it is of."""

    def problems(self, split: str = "train") -> list[Problem]:
        return [Problem(f"p{i}", f"find number {i}", str(i), domain="toy") for i in range(DIALOGUES)]

    def leaks(self, problem: Problem, teacher_text: str, public_text: str) -> bool:
        return f"it is {problem.answer}" in teacher_text


@pytest.fixture(autouse=True)
def key_in_environment(monkeypatch):
    monkeypatch.setenv("TOY_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture(scope="module")
def wide_engine(model, chat):
    return Engine(
        model,
        max_concurrent=DIALOGUES,
        max_length=512,
        max_new_tokens=64,
        stop_ids=chat.stop_ids,
        mesh=one_device_mesh(),
    )


@pytest.fixture
def run(monkeypatch, chat, rules, wide_engine, params):
    """Plays the dialogues; the student of dialogue i is right after `REPLIES[i]` replies."""

    def say(heard):
        turn = list(heard.context).count(chat.open_student[0])
        return f"x{heard.dialogue}" if turn == 1 + REPLIES[heard.dialogue] else f"turn {'abcdefg'[turn - 1]}"

    put_on_stage(monkeypatch, chat, say)

    def go(teacher, count=DIALOGUES, **settings):
        task = ManyProblems()
        roomy = replace(rules, max_turns=7, teacher_tokens=24, student_tokens=9)
        return play(task, task.problems()[:count], chat, wide_engine, params, teacher, roomy, seed=0, **settings)

    return go


def teacher(stub, **settings):
    quick = {"first_pause": 0.01, "longest_pause": 0.05, "retries": 3, "attempt_seconds": 10.0}
    return Remote(stub.url, "toy", "TOY_KEY", **{**quick, **settings})


def dialogue_of(asked) -> int:
    return int(re.search(r"find number (\d+)", json.dumps(asked.body["messages"]))[1])


def turn_of(asked) -> int:
    return sum(message["role"] == "user" for message in asked.body["messages"])


def proper_reply(asked) -> str:
    return f"let me think.\n<feedback>no, {'abcdefg'[turn_of(asked)]} of p{dialogue_of(asked)}</feedback>"


def test_64_dialogues_with_latency_and_failures_take_little_longer_than_without_latency(run):
    """166 replies of 50 ms would take 8 s one after the other. What fails for good costs its own dialogue alone."""

    def say(asked):
        dialogue, first = dialogue_of(asked), asked.attempt == 0
        if dialogue == 9:
            return Answer(b"{nonsense")
        if dialogue == 11:
            return CUT
        if dialogue == 13:
            return refusal(400, f"your request, with key {KEY}, is too long")
        if dialogue % 7 == 1 and first:
            return refusal(429, Retry_After="0.02")
        if dialogue % 7 == 2 and first:
            return CUT
        if dialogue % 7 == 3 and first:
            return refusal(503)
        # The first reply to dialogue 14 leaks, and the next one does not.
        if dialogue == 14 and turn_of(asked) == 1 and asked.attempt == 0:
            return "<feedback>it is 14</feedback>"
        return proper_reply(asked)

    seconds, played = [], []
    for latency in (0.0, 0.05):
        with serving(say, latency) as stub:
            begun = time.monotonic()
            played.append(run(teacher(stub)))
            seconds.append(time.monotonic() - begun)
    print(f"without latency {seconds[0]:.2f} s, with 50 ms {seconds[1]:.2f} s")
    assert seconds[1] - seconds[0] < 3
    assert played[0].dialogues == played[1].dialogues

    dropped = {d.problem_id: d.dropped for d in played[1].dialogues if d.dropped}
    assert set(dropped) == {"p9", "p11", "p13"}
    assert (
        dropped["p9"]
        == "teacher: the endpoint: an answer of 9 bytes that is no chat completion (the last of 4 attempts)"
    )
    assert dropped["p11"].startswith("teacher: the endpoint: RemoteProtocolError: ")
    assert dropped["p13"] == "teacher: the endpoint: HTTP 400: your request, with key [secret], is too long"
    # The others are as a function would have made them, but for the one that leaked first.
    clean = run(Function(lambda t, p, c, v: f"no, {'abcdefg'[len(c) // 2]} of {p.id}", threads=0, name="remote"))
    expected = [replace(d, leaks=int(d.problem_id == "p14")) for d in clean.dialogues]
    assert sum(d.teacher_turns for d in expected) == 166
    pairs = zip(played[1].dialogues, expected, strict=True)
    assert [one for one, _ in pairs if not one.dropped] == [d for d in expected if d.problem_id not in dropped]


def test_the_prompts_are_those_of_the_language_teacher(run, chat):
    prompts = Prompts(teacher_system="be kind", student_system="unused")
    with serving(proper_reply) as stub:
        run(teacher(stub, prompts=prompts, temperature=0.5, extra={"top_p": 0.9}, send_seed=True), count=3)
    last = max((a for a in stub.asked if dialogue_of(a) == 2), key=lambda a: len(a.body["messages"]))
    assert last.path == "/v1/chat/completions" and last.headers["Authorization"] == f"Bearer {KEY}"
    settings = {name: value for name, value in last.body.items() if name not in ("messages", "seed")}
    assert settings == {"model": "toy", "max_tokens": 1024, "temperature": 0.5, "top_p": 0.9}
    seeds = [a.body["seed"] for a in stub.asked]
    assert len(set(seeds)) == len(seeds)
    roles = [message["role"] for message in last.body["messages"]]
    assert roles == ["system", "user", "assistant", "user"]
    system, first, own, second = (message["content"] for message in last.body["messages"])
    assert system == "be kind"
    told = "Private, for you alone, the outcome of checking what the student said:\n"
    assert first == (
        prompts.for_teacher("find number 2", "the answer is 2")
        + "\n\nThe student says:\nturn a"
        + f"\n\n{told}got 2 2: turn a"
    )
    # Its own turn with its thoughts around the feedback; the student's next turn, and what is private about it.
    assert own == "let me think.\n<feedback>no, b of p2</feedback>"
    assert second == f"The student says:\nturn b\n\n{told}got 2 2: turn b"


def test_private_knowledge_and_thoughts_reach_the_teacher_alone(run):
    with serving(proper_reply) as stub:
        played = run(teacher(stub), count=6)
    asked = json.dumps([a.body for a in stub.asked])
    said = json.dumps([[turn.text for turn in d.turns] for d in played.dialogues])
    assert "the answer is 3" in asked and "got 3 3: turn a" in asked
    assert "the answer is" not in said and "got " not in said and "let me think" not in said


def test_arms_with_other_knowledge_are_told_no_secret_of_the_problem(run):
    with serving(proper_reply) as stub:
        run(teacher(stub, knows="none"), count=4)
        uninformed = [a.body["messages"][0]["content"] for a in stub.asked]
        stub.asked.clear()
        run(teacher(stub, knows="other"), count=4)
        shuffled = {dialogue_of(a): a.body["messages"][0]["content"] for a in stub.asked}
    assert not any("the answer is" in text or "Private" in text for text in uninformed)
    assert "the answer is 2" in shuffled[1] and "the answer is 1" not in shuffled[1]


def test_a_reply_that_leaks_or_says_nothing_is_asked_for_again_and_then_replaced(run, rules):
    def say(asked):
        dialogue = dialogue_of(asked)
        return {1: "<feedback>it is 1</feedback>", 2: "no block here", 3: completion(None)}.get(
            dialogue, proper_reply(asked)
        )

    with serving(say) as stub:
        played = run(teacher(stub), count=6)
    asked = [dialogue_of(a) for a in stub.asked]
    assert [asked.count(i) for i in range(6)] == [0, 3, 6, 9, 4, 5]  # each of the first three is drawn thrice
    leaky, bare, silent, fine = played.dialogues[1:5]
    assert (leaky.leaks, leaky.redactions) == (1, 1) and (bare.unmarked, bare.redactions) == (2, 2)
    assert (silent.unmarked, silent.redactions) == (3, 3) and (fine.unmarked, fine.redactions) == (0, 0)
    assert leaky.turns[2].text == LeakGuard().redaction
    # The teacher is shown the redaction as its own turn, and not what it was not allowed to say.
    last = max((a for a in stub.asked if dialogue_of(a) == 2), key=turn_of)
    assert last.body["messages"][1] == {"role": "assistant", "content": LeakGuard().redaction}


@pytest.mark.parametrize("deterministic", [True, False])
def test_a_request_that_is_made_again_is_answered_from_the_record(run, deterministic):
    store, numbers = TeacherStore(), iter(range(10_000))
    with serving(lambda asked: f"<feedback>reply {'abcdefghij'[next(numbers) % 10]}</feedback>") as stub:
        first = run(teacher(stub, deterministic=deterministic), count=12, store=store)
        asked = len(stub.asked)
        again = run(teacher(stub, deterministic=deterministic), count=12, store=store)
        assert len(stub.asked) == asked and again.dialogues == first.dialogues
        # Another request is another reply: of another seed, or in other words.
        run(teacher(stub, prompts=Prompts(teacher_system="hurry")), count=12, store=store)
        assert len(stub.asked) == 2 * asked


def test_deterministic_replies_go_on_together_whatever_their_order(run, monkeypatch):
    """The calls of the student's model are the same however long each reply takes; else they need not be."""
    calls = []
    from sml_jax.dialogue.student_side import StudentSide

    start = StudentSide.start
    monkeypatch.setattr(
        StudentSide,
        "start",
        lambda self, lives: (calls.append([d.id for d in lives]) if lives else None, start(self, lives))[1],
    )

    recorded = []
    for factor in (5, 7):

        def slow(asked, factor=factor):
            time.sleep((dialogue_of(asked) * factor) % 11 / 400)
            return proper_reply(asked)

        calls.clear()
        with serving(slow) as stub:
            run(teacher(stub), count=20)
        recorded.append(list(calls))
    assert recorded[0] == recorded[1] and len(recorded[0]) == 6


def test_a_slow_reply_holds_up_nobody_else_without_determinism(run):
    order = []

    def say(asked):
        order.append((dialogue_of(asked), turn_of(asked)))
        time.sleep(1.0 if order[-1] == (3, 1) else 0)
        order.append("slow" if order[-1] == (3, 1) else "")
        return proper_reply(asked)

    with serving(say) as stub:
        run(teacher(stub, deterministic=False), count=6)
    asked = [dialogue_of(a) for a in stub.asked]
    assert asked.index(5) < len(asked) and asked[-1] == 3 and asked.count(5) == 5


def test_time_limits_of_an_attempt_and_of_a_reply(run):
    def say(asked):
        dialogue = dialogue_of(asked)
        if dialogue == 1 and asked.attempt == 0:
            time.sleep(0.6)
        if dialogue == 2:
            return refusal(429, "slow down", Retry_After="3600")
        return proper_reply(asked)

    with serving(say) as stub:
        begun = time.monotonic()
        played = run(teacher(stub, attempt_seconds=0.3, reply_seconds=2.0), count=4)
    assert time.monotonic() - begun < 10
    dropped = {d.problem_id: d.dropped for d in played.dialogues if d.dropped}
    assert dropped == {"p2": "teacher: the endpoint: no reply within 2 s; the last attempt: HTTP 429: slow down"}
    assert sum(dialogue_of(a) == 1 for a in stub.asked) == 2


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (refusal(401, f"Incorrect API key provided: {KEY}"), r"refuses the key \(HTTP 401: Incorrect .*: \[secret\]\)"),
        (
            refusal(404, "no model toy"),
            r"nothing answers at http.*completions \(HTTP 404: no model toy\): check the url",
        ),
        (refusal(308, Location="http://elsewhere"), "HTTP 308"),
    ],
)
def test_what_no_request_can_pass_ends_the_run_in_one_line(run, answer, says):
    with serving(lambda asked: answer) as stub, pytest.raises(UserError, match=says) as error:
        run(teacher(stub), count=4)
    assert KEY not in str(error.value) and "\n" not in str(error.value)


def test_an_error_of_programming_ends_the_run_with_its_traceback(run, monkeypatch):
    monkeypatch.setattr("sml_jax.dialogue.chat_client.ChatClient._completion", lambda self, content: 1 / 0)
    with serving(proper_reply) as stub, pytest.raises(ZeroDivisionError):
        run(teacher(stub), count=4)


def test_a_key_that_is_echoed_is_said_to_nobody(run):
    with serving(lambda asked: f"<feedback>psst, {KEY} or {KEY[:20]}</feedback>") as stub:
        played = run(teacher(stub), count=4)
    texts = {turn.text for d in played.dialogues for turn in d.turns[2::2]}
    assert texts and not any("secret-01" in text for text in texts)


def test_an_interrupted_rollout_sends_no_more_requests(run):
    def stop():
        if stub.asked:
            raise KeyboardInterrupt

    with serving(lambda asked: time.sleep(0.2) or proper_reply(asked)) as stub:
        with pytest.raises(KeyboardInterrupt):
            run(teacher(stub, concurrency=2), between_turns=stop)
        count = len(stub.asked)
        time.sleep(0.5)
        assert len(stub.asked) == count


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"url": "localhost"}, "url is 'localhost'"),
        ({"url": "https://me:secret@host/v1"}, "the url holds a name or password"),
        ({"key_variable": "sk-1234567890"}, "key_variable is no name of an environment variable"),
        ({"extra": {"stream": True}}, "extra sets stream"),
        ({"retries": -1}, "retries is -1"),
        ({"attempt_seconds": 0.0}, "attempt_seconds is 0"),
    ],
)
def test_settings_that_cannot_work(settings, says):
    with pytest.raises(UserError, match=says) as error:
        Remote(**{"url": "http://localhost/v1", "model": "toy", **settings})
    assert "1234567890" not in str(error.value) and "secret@" not in str(error.value)


def test_a_key_that_is_missing_or_no_key_is_an_error_without_it(monkeypatch):
    remote = Remote("http://localhost/v1", "toy", "TOY_KEY")
    for value, says in (("", "TOY_KEY, which Remote.key_variable names, is not set"), ("käse-tötet", "holds no key")):
        monkeypatch.setenv("TOY_KEY", value)
        with pytest.raises(UserError, match=says) as error:
            remote.check()
        assert not value or value not in str(error.value)
    assert Remote("http://localhost/v1", "toy", "").key() is None
    monkeypatch.setenv("TOY_KEY", f" {KEY}\n")
    assert KEY not in f"{remote.key()!r} {remote.key()} {remote!r}"


def test_thinking_is_no_feedback():
    assert without_thinking("<think>a <feedback>x</feedback></think> b") == "b"
    assert without_thinking("a</think>b") == "b" and without_thinking("<think>never ends") == ""
    assert sayable("<think><feedback>x</feedback></think><feedback>y</feedback>", "feedback") == "y"
    assert sayable("<think>x</think>", "") is None and sayable(" y ", "") == "y"
