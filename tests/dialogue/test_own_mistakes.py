"""Mistakes in code of the user's own end the rollout with their traceback; what data can cause ends one dialogue."""

import json
import traceback
from dataclasses import dataclass
from pathlib import Path

import pytest
from dialogue_toys import DigitTask

from sml_jax.common import own_code
from sml_jax.common.own_code import MISTAKES
from sml_jax.dialogue import judging
from sml_jax.dialogue.context_budget import required_length
from sml_jax.dialogue.judging import Unjudged, judge, judge_in_background
from sml_jax.dialogue.rollout import play
from sml_jax.dialogue.teacher import Teacher
from sml_jax.dialogue.teachers import Function, LanguageTeacher, Script, Scripted
from sml_jax.learn.signals import signals_of
from sml_jax.tasks.problems.types import Turn

PROBLEMS = DigitTask().problems()[:4]
ITEMS = [(problem, (Turn("student", "it is 9"),)) for problem in PROBLEMS]


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    def unwanted(seconds):
        raise AssertionError("a mistake is not tried again")

    monkeypatch.setattr(judging.time, "sleep", unwanted)


def misspelt(*_):
    return [1][5]


@dataclass(frozen=True)
class Mistaken(DigitTask):
    """One method has a mistake in it."""

    method: str = ""

    def __getattribute__(self, name):
        own = object.__getattribute__(self, "method")
        return misspelt if name == own else object.__getattribute__(self, name)


def says_whose(error, function="misspelt", file="test_own_mistakes.py"):
    """The last lines that Python prints of it: the user's own line, the error, and whose function it was."""
    text = "".join(traceback.format_exception(error))
    assert text.rindex(f", in {function.split('.')[-1]}\n") < text.rindex(type(error).__name__)
    (note,) = error.__notes__
    assert f"{function} ({file}, line " in note and "code of your own" in note
    return text


@pytest.mark.parametrize("method", ["static_knowledge", "dynamic_knowledge", "leaks", "verify", "reply", "one_step"])
def test_a_mistake_in_a_task_ends_the_rollout(chat, rules, engine, params, method):
    teacher = Scripted() if method == "reply" else LanguageTeacher(engine, params)
    with pytest.raises(IndexError) as caught:
        play(Mistaken(method=method), PROBLEMS, chat, engine, params, teacher, rules, seed=1)
    assert "return [1][5]" in says_whose(caught.value)


@pytest.mark.parametrize("threads", [0, 4])
@pytest.mark.parametrize(
    "mistake",
    [
        lambda: len(5),
        lambda: "text".lenght,
        lambda: nobody,  # noqa: F821
        lambda: {"a": 1}["b"],
        lambda: [][0],
        lambda: __import__("no_such_module_of_mine"),
    ],
    ids=["type", "attribute", "name", "key", "index", "import"],
)
def test_every_kind_of_mistake_in_a_teacher_ends_the_rollout(chat, task, rules, engine, params, threads, mistake):
    def my_teacher(task, problem, conversation, verdict):
        return mistake()

    with pytest.raises(MISTAKES) as caught:
        play(task, PROBLEMS, chat, engine, params, Function(my_teacher, threads=threads), rules, seed=1)
    whose = f"{test_every_kind_of_mistake_in_a_teacher_ends_the_rollout.__name__}"
    assert "mistake()" in "".join(traceback.format_exception(caught.value))
    assert "asking the teacher for a reply" in caught.value.__notes__[0] or whose in caught.value.__notes__[0]


@pytest.mark.parametrize(
    "cause",
    [
        lambda: int("nine"),
        lambda: json.loads("{"),
        lambda: b"\xff".decode(),
        lambda: 1 / len(""),
        lambda: Path("/no/x").read_text(),
    ],
    ids=["value", "json", "unicode", "zero", "file"],
)
def test_what_data_can_cause_drops_the_dialogue_alone(chat, task, rules, engine, params, cause):
    def my_teacher(task, problem, conversation, verdict):
        return cause() if problem.id == "pb" else "no"

    played = play(task, PROBLEMS, chat, engine, params, Function(my_teacher, threads=0), rules, seed=1)
    assert {d.problem_id for d in played.dialogues if d.dropped} <= {"pb"}


def test_a_reply_that_is_no_text_is_a_mistake(chat, task, rules, engine, params):
    class Speechless(Script):
        name, threads = "mine", 0

        def reply(self, task, problem, conversation, verdict):
            return None

    with pytest.raises(TypeError, match="teacher mine replied with a NoneType: return a str") as caught:
        play(task, PROBLEMS, chat, engine, params, Speechless(), rules, seed=1)
    assert "asking the teacher" in caught.value.__notes__[0]


def test_a_teacher_with_a_method_missing_says_which(chat, task, rules, engine, params):
    class Silent(Teacher):
        name, runs_model, guarded, in_step = "silent", False, False, True

        def make(self, setup):
            return self

        def start(self, requests):
            pass

    with pytest.raises(NotImplementedError, match="Silent is a teacher without a `collect`") as caught:
        play(task, PROBLEMS, chat, engine, params, Silent(), rules, seed=1)
    assert "collecting the teacher's replies" in caught.value.__notes__[0]


class Returns(DigitTask):
    def __init__(self, change):
        object.__setattr__(self, "change", change)

    def verify(self, items):
        return self.change(super().verify(items))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda verdicts: verdicts[:-1], "Returns.verify returned 3 verdicts for 4 utterances: return one for each"),
        (
            lambda verdicts: [True, *verdicts[1:]],
            "Returns.verify returned a bool among its verdicts: make it a Verdict",
        ),
        (lambda verdicts: None, "Returns.verify returned a NoneType: return a list with a Verdict for each item"),
    ],
    ids=["too-few", "no-verdict", "no-list"],
)
def test_what_is_no_list_of_verdicts_is_a_mistake(change, says):
    with pytest.raises(TypeError, match=says) as caught:
        judge(Returns(change), ITEMS)
    assert "judging the student's turns" in caught.value.__notes__[0]


def test_a_mistake_in_a_verifier_in_another_thread():
    with pytest.raises(IndexError) as caught, judge_in_background(Mistaken(method="verify"), ITEMS) as verdicts:
        verdicts()
    says_whose(caught.value)


def test_a_mistake_is_found_when_contexts_are_measured(chat, rules):
    with pytest.raises(IndexError) as caught:
        required_length(chat, Mistaken(method="static_knowledge"), PROBLEMS, rules)
    says_whose(caught.value)


def test_a_method_names_itself(chat, task, rules, engine, params):
    script = play(task, PROBLEMS[:1], chat, engine, params, Scripted(), rules, seed=1).transcript

    def my_method(transcript):
        return transcript.no_such_array

    with pytest.raises(AttributeError) as caught:
        signals_of(my_method, script)
    assert says_whose(caught.value, "test_a_method_names_itself.<locals>.my_method")


def test_an_error_of_the_package_or_of_a_library_is_nobodys_mistake(monkeypatch):
    """A fault of ours that one utterance sets off costs that dialogue, not the run."""

    def within(items):
        return json.loads(5)  # a TypeError that json raises

    monkeypatch.setattr(judging.time, "sleep", lambda seconds: None)
    task = DigitTask()
    object.__setattr__(task, "verify", within)
    with pytest.raises(TypeError):
        judge(task, ITEMS)
    # The same where no frame is of the user's own.
    monkeypatch.setattr(own_code, "_is_own", lambda module, file: False)
    assert all(isinstance(verdict, Unjudged) for verdict in judge(task, ITEMS, retries=0))


def test_whose_code_it_is(tmp_path, monkeypatch):
    """A script, an installed plugin, this package, the standard library, and code that a library has generated."""

    plugin = str(own_code._LIBRARIES[2] / "their_plugin" / "teacher.py")
    needs = {"their_plugin": ["their-plugin"], "gin": ["gin-config"]}
    monkeypatch.setattr(own_code.metadata, "packages_distributions", lambda: needs)
    monkeypatch.setattr(
        own_code.metadata,
        "requires",
        lambda name: {"their-plugin": ["numpy", "sml_jax>=0.1"], "gin-config": None}[name],
    )
    own_code._is_plugin.cache_clear()
    cases = {
        ("__main__", None): True,
        ("__main__", str(tmp_path / "train.py")): True,
        ("my_teacher", str(tmp_path / "my_teacher.py")): True,
        ("their_plugin.teacher", plugin): True,
        ("gin.config", str(own_code._LIBRARIES[2] / "gin" / "config.py")): False,
        ("json.decoder", json.decoder.__file__): False,
        ("sml_jax.dialogue.judging", judging.__file__): False,
        ("jinja2.environment", "<template>"): False,
    }
    assert {case: own_code._is_own(*case) for case in cases} == cases
    own_code._is_plugin.cache_clear()
