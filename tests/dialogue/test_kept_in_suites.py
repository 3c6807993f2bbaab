"""An evaluation with a problem that the verifier fails on: it is in no number, and counted; with scripted speakers."""

import dataclasses

import pytest
from dialogue_toys import FailingTask, put_on_stage

from sml_jax.common.errors import UserError
from sml_jax.dialogue import judging
from sml_jax.dialogue.sharded import ShardUser
from sml_jax.dialogue.teachers import Retry
from sml_jax.evaluate.sharded import ShardedSuite, evaluate_sharded
from sml_jax.evaluate.suites import Suite, evaluate_arm


@dataclasses.dataclass(frozen=True)
class Shards(FailingTask):
    def problems(self, split="test"):
        return [dataclasses.replace(p, shards=("part",)) for p in super().problems(split)]


def failing(*bad):
    def fails(items, call):
        if any(problem.id in bad for problem, _ in items):
            raise RuntimeError("no process")

    return Shards(fails=fails)


@pytest.fixture(autouse=True)
def speakers(monkeypatch, chat):
    """The student says the number of its dialogue: in groups of one, the answer."""
    monkeypatch.setattr(judging.time, "sleep", lambda seconds: None)
    put_on_stage(monkeypatch, chat, lambda heard: f"it is {heard.dialogue}")


def test_a_suite(chat, engine, params, rules):
    def evaluated(*bad):
        suite = Suite(failing(*bad), arms=(Retry(),), problems=4, max_turns=2)
        return evaluate_arm(suite, Retry(), chat, engine, params, params, rules)

    entry, dialogues = evaluated("pb")
    assert (entry["n"], entry["dropped"], entry["success_at_turn"]) == (3, 1, [1.0, 1.0])
    assert (entry["rates"]["dropped_rate"], entry["rates"]["verifier_errors"]) == (0.25, 1)
    assert entry["behaviour"]["all_turns"]["n"] == 3 and [bool(d.dropped) for d in dialogues] == [0, 1, 0, 0]
    assert evaluated()[0]["n"] == 4
    with pytest.raises(UserError, match="every one of 4 dialogues was dropped"):
        evaluated("pa", "pb", "pc", "pd")


def test_a_sharded_suite(chat, engine, params, rules):
    """By hand: dialogues 0 to 8 are about a, a, a, b, b, b, c, c, c; 0 is right about a and 2 about none of c's."""
    suite = ShardedSuite(failing("pb"), settings=("sharded",), problems=3, simulations=3)
    roomy = suite.rules(rules, "scripted", chat)
    user = ShardUser("sharded")
    entry, dialogues, revealed = evaluate_sharded(suite, "sharded", "scripted", chat, engine, params, user, roomy)
    assert [d.solved_turn for d in dialogues] == [1] + [0] * 8 and len(revealed) == 9
    assert (entry["n"], entry["dropped"], entry["simulations"]) == (2, 3, 3)
    assert entry["P"] == pytest.approx((100 / 3 + 0) / 2) and entry["rates"]["dropped_rate"] == pytest.approx(1 / 3)
    assert entry["turns"] == (1 + 5 * 2) / 6
    assert (entry["premature_dialogues"], entry["premature_rate"]) == (1.0, 1.0), "all six answer before the last shard"
    assert entry["behaviour"]["all_turns"]["n"] == 11
