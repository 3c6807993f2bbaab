"""Sharded suites: checked before work begins, run beside the others, written under a key of their own."""

import dataclasses
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass

import jax
import numpy as np
import pytest
from family_toys import write_family_model
from rich.console import Console
from run_toys import RULES, ToyTask, read_lines, toy_experiment, write_tokenizer

from sml_jax.common.errors import UserError
from sml_jax.dialogue.prompts import Prompts
from sml_jax.dialogue.sharded import SETTINGS, replies
from sml_jax.dialogue.teachers import Retry
from sml_jax.evaluate.sharded import SHARDED_KEY, ShardedSuite
from sml_jax.evaluate.sharded_table import sharded_table
from sml_jax.evaluate.suites import Suite
from sml_jax.run.base_models import Pretrained
from sml_jax.run.chats import FamilyChat, RoleChat
from sml_jax.sharding import AXES
from sml_jax.tasks.datasets.sharded import sharded_math
from sml_jax.tasks.problems.types import Problem


@dataclass(frozen=True)
class ShardedToys(ToyTask):
    """Problems with 0, 1, 2, 0, 1, 2, ... shards after the first."""

    name: str = "toys"

    def problems(self, split: str) -> Sequence[Problem]:
        return [
            dataclasses.replace(p, shards=("b1", "a2")[: i % 3], full="ab 12?")
            for i, p in enumerate(ToyTask.problems(self, split))
        ]


SUITE = ShardedSuite(ShardedToys(), problems=3, simulations=4)
ARMS = [("full", "none"), ("concat", "none"), ("sharded", "scripted"), ("recap", "scripted"), ("snowball", "scripted")]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return write_tokenizer(tmp_path_factory.mktemp("tokenizer") / "toy.model")


@pytest.fixture(autouse=True)
def one_device(monkeypatch):
    """Compiles faster than eight."""
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:1]).reshape(1, 1, 1), AXES)
    monkeypatch.setattr("sml_jax.run.experiment.make_mesh", lambda *sizes: mesh)


def test_what_is_played():
    assert SUITE.arms() == ARMS
    both = dataclasses.replace(SUITE, users=("scripted", "language"), settings=("sharded", "recap"))
    assert both.arms() == [("sharded", "scripted"), ("sharded", "language"), ("recap", "scripted")]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"settings": ("whole",)}, "settings are .*take some of full, concat, sharded, recap, snowball"),
        ({"settings": ()}, "settings are"),
        ({"users": ("human",)}, "users are .*take some of scripted, language"),
        ({"simulations": 0}, "simulations is 0; it must be at least 1"),
        ({"user_prompts": Prompts(feedback_tag="")}, "need a feedback_tag"),
    ],
)
def test_what_cannot_be_is_a_plain_error(settings, message):
    with pytest.raises(UserError, match=message):
        dataclasses.replace(SUITE, **settings)


def test_rules_leave_room_for_all_that_a_user_says(tokenizer):
    framing = RoleChat(str(tokenizer)).framing()
    rules = SUITE.rules(RULES, "scripted", framing)
    problems = SUITE.view("sharded").problems("test")
    longest = max(len(framing.text(r)) for p in problems for s in SETTINGS for r in replies(p, s))
    assert (rules.teacher_tokens, rules.private_tokens, rules.injection) == (longest, 0, None)
    assert rules.max_turns == 4, "three shards and the recap"
    assert dataclasses.replace(SUITE, max_turns=3).rules(RULES, "scripted", framing).max_turns == 3
    roomy = dataclasses.replace(RULES, teacher_tokens=500)
    language = dataclasses.replace(SUITE, users=("language",))
    assert language.rules(roomy, "language", framing).teacher_tokens == 500
    tight = language.rules(RULES, "language", framing)
    assert tight.teacher_tokens >= len(framing.text("<message>3: a2</message>"))
    assert tight.private_tokens == len(framing.text("2, 3"))


@pytest.mark.extra
def test_a_run_writes_sharded_results_beside_the_others(tokenizer, tmp_path, capsys):
    suite = Suite(ToyTask(), arms=(Retry(),), problems=3, max_turns=2)
    experiment = toy_experiment(tokenizer, suites=[suite], sharded_suites=[SUITE])
    experiment.train(tmp_path, "")
    results = json.loads((tmp_path / "eval.json").read_text())
    assert set(results) == {"toy", SHARDED_KEY}
    sharded = results[SHARDED_KEY]
    assert list(sharded) == ["toys"] and set(sharded["toys"]) == {"base", "trained"}
    every = [line for line in read_lines(tmp_path / "dialogues.jsonl") if line.get("suite") == "toys"]
    assert len(every) == 3 * 4 * len(ARMS) * 2
    for policy, of in sharded["toys"].items():
        assert [(setting, user) for setting, users in of.items() for user in users] == ARMS
        for setting, user in ARMS:
            entry = of[setting][user]
            lines = [d for d in every if (d["policy"], d["arm"], d["user"]) == (policy, setting, user)]
            assert [d["problem_id"] for d in lines] == [f"test{i}" for i in (1, 2, 4) for _ in range(4)]
            solved = [100.0 * (d["solved_turn"] > 0) for d in lines]
            assert entry["P"] == pytest.approx(sum(solved) / 12)
            assert (entry["n"], entry["simulations"], entry["temperature"], entry["cut_short"]) == (3, 4, 1.0, 0)
            assert entry["turns"] == pytest.approx(sum(len(d["verdicts"]) for d in lines) / 12)
            assert entry["behaviour"]["first_turns"]["n"] == 12 and entry["rates"]["leak_rate"] == 0
            early = [t for d in lines for t in zip(d["verdicts"], d["shards_revealed"], strict=True)]
            assert (entry["premature_rate"] is None) == (user == "none") and all(told <= 3 for _, told in early)
    assert sharded["toys"]["base"] == sharded["toys"]["trained"], "no stages, so the same model and draws"
    printed = capsys.readouterr().out
    assert "Success at turn" in printed and "unreliability" in printed and "snowball" in printed


def test_evaluation_of_sharded_suites_alone(tokenizer, tmp_path):
    toy_experiment(tokenizer).train(tmp_path / "run", "")
    small = dataclasses.replace(SUITE, settings=("sharded",), problems=2, simulations=2, max_turns=1)
    toy_experiment(tokenizer, sharded_suites=[small]).evaluate(str(tmp_path / "run"), tmp_path / "again", "")
    sharded = json.loads((tmp_path / "again" / "eval.json").read_text())[SHARDED_KEY]
    entry = sharded["toys"]["trained"]["sharded"]["scripted"]
    assert entry["turns"] == 1 and entry["cut_short"] == 2, "both instructions have more shards than turns"
    with pytest.raises(UserError, match=r"bind experiment\.Experiment\.suites, or \.sharded"):
        toy_experiment(tokenizer).evaluate(str(tmp_path / "run"), tmp_path / "none", "")


def test_what_does_not_fit_is_said_before_work_begins(tokenizer, tmp_path):
    def fails(message, *suites):
        with pytest.raises(UserError, match=message):
            toy_experiment(tokenizer, sharded_suites=list(suites)).train(tmp_path, "")
        assert not (tmp_path / "eval.json").exists() and not (tmp_path / "checkpoints" / "final").exists()

    fails("a language-model user is for chat models", dataclasses.replace(SUITE, users=("language",)))
    fails("two sharded suites are of the task toys", SUITE, SUITE)
    fails("toy has no test problems with shards", ShardedSuite(ToyTask()))


@pytest.mark.slow
def test_both_users_on_real_shards(real_data, tmp_path):
    """A random chat model on sharded GSM8K: nothing is solved, and everything that is promised is there."""
    folder = write_family_model(tmp_path / "model")
    (tmp_path / "short").write_text("{{question}}\n{{knowledge}} <message>")
    short = dataclasses.replace(SUITE.user_prompts, teacher=str(tmp_path / "short"))
    task = sharded_math(real_data / "sharded_gsm8k" / "sharded_gsm8k.json", data_dir=tmp_path / "data")
    assert len(task.problems("test")) == 291
    suite = ShardedSuite(
        task, ("full", "sharded"), ("scripted", "language"), problems=2, simulations=2, user_prompts=short
    )
    rules = dataclasses.replace(RULES, student_tokens=4, teacher_tokens=8)
    chat = FamilyChat(str(folder), prompts=Prompts(student="student_plain", teacher=short.teacher, feedback_tag=""))
    experiment = toy_experiment(
        tmp_path,
        task=task,
        sharded_suites=[suite],
        base=Pretrained(str(folder)),
        chat=chat,
        rules=rules,
        max_concurrent=8,
    )
    experiment.evaluate(str(folder), tmp_path / "run", "")
    sharded = json.loads((tmp_path / "run" / "eval.json").read_text())[SHARDED_KEY]["sharded_math"]["base"]
    assert sharded["sharded"]["language"]["rates"]["redaction_rate"] > 0.9, "a random user is replaced"
    assert sharded["sharded"]["language"]["P"] <= 100
    for line in read_lines(tmp_path / "run" / "dialogues.jsonl"):
        problem = next(p for p in task.problems("test") if p.id == line["problem_id"])
        said = [turn["text"] for turn in line["turns"] if turn["role"] == "teacher"]
        if line["arm"] == "full":
            assert said == [problem.full]
        elif not line["solved_turn"]:
            assert len(said) == 1 + len(problem.shards) == line["shards_revealed"][-1]
            if line["user"] == "scripted":
                assert said == [problem.question, *problem.shards] and line["shard_order"] == []
            else:
                assert sorted(line["shard_order"]) == list(range(2, 2 + len(problem.shards)))


def test_the_users_prompts_leave_the_students_side_alone():
    student = Prompts(student="student_code", teacher="teacher_code", student_system="be brief")
    prompts = SUITE.prompts_with(student)
    assert (prompts.student, prompts.student_system, prompts.teacher) == ("student_code", "be brief", "user_math")
    assert "<message>" in prompts.for_teacher("Q", "2: S") and "2: S" in prompts.for_teacher("Q", "2: S")
    code = dataclasses.replace(SUITE.user_prompts, teacher="user_code")
    assert "2: S" in code.for_teacher("Q", "2: S")


def test_the_table_fits_and_shows_every_row():
    entry = {"n": 100, "premature_rate": 0.5, "turns": 3.2}
    entry |= {name: 100.0 for name in ("P", "A90", "U")} | {f"{n}_ci95": [91.26, 99.5] for n in ("P", "A90", "U")}
    arms = {"full": {"none": {**entry, "premature_rate": None}}, "snowball": {"scripted": entry, "language": entry}}
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(sharded_table({"pocket_math_underspecified": {"base": arms, "trained": arms}}))
    lines = console.export_text().splitlines()
    assert not any("…" in line for line in lines) and sum("100 [91-100]" in line for line in lines) == 6
    assert [line.split()[:3] for line in lines if "none" in line] == [["full", "none", "base"]]
    with pytest.raises(UserError, match="no sharded results"):
        sharded_table({})
