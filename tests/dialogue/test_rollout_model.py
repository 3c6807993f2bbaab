"""Rollouts of a tiny random model: tokens forwarded once, log-probs that the trainer finds again, dialogues that
depend on seed and id alone, and private knowledge that does not cross."""

import dataclasses
import itertools
import time
from functools import cache, partial

import jax
import numpy as np
import pytest
from dialogue_toys import STUDENT_MODULES, TEACHER_MODULES, DigitTask, put_on_stage, tiny_engine

from sml_jax.dialogue.rollout import play
from sml_jax.dialogue.rules import QuestionInjection
from sml_jax.dialogue.teachers import Function, LanguageTeacher
from sml_jax.engine.context_batch import ContextBatch
from sml_jax.learn.logprobs import decoder_logprobs
from sml_jax.models.config import DeltaNetConfig
from sml_jax.models.decoder import Decoder, init_params

SEED = 3


@pytest.fixture(scope="session")
def teacher_params(model):
    return init_params(model, jax.random.key(8))


@pytest.fixture(scope="session")
def engines(model, chat, task, rules):
    """Made at need, once for each number of rows; with room for injected questions."""
    roomy = dataclasses.replace(rules, injection=QuestionInjection())
    return cache(lambda rows: tiny_engine(model, chat, task, roomy, rows))


@pytest.fixture(scope="session")
def run(chat, task, rules, params, teacher_params, engines):
    def go(
        rows=8, problems=None, first_id=0, seed=SEED, group_size=2, task=task, rules=rules, engine=None, weights=None
    ):
        engine, (own, teachers) = engine or engines(rows), weights or (params, teacher_params)
        return play(
            task,
            problems or task.problems(),
            chat,
            engine,
            own,
            LanguageTeacher(engine, teachers),
            rules,
            seed=seed,
            first_id=first_id,
            group_size=group_size,
        )

    return go


@pytest.fixture(scope="session")
def sixteen(run):
    return run()


@pytest.fixture(scope="session")
def primed(run, rules):
    return run(task=DigitTask(easy=True), rules=dataclasses.replace(rules, injection=QuestionInjection(0.75)))


def test_the_dialogues_are_a_fair_sample(sixteen, primed, rules):
    """What follows would prove little if every dialogue went the same way."""
    script = sixteen.transcript
    assert 2 <= script.reward.sum() <= 14 and len(set(script.turns.tolist())) > 2
    assert any(d.truncated for d in sixteen.dialogues)
    assert script.student.sum() < script.turns.sum() * rules.student_tokens, "some turns end by themselves"
    assert sum(len(d.injected_turns) for d in primed.dialogues) > 2
    assert (primed.transcript.student & ~primed.transcript.injected).any()


@pytest.mark.parametrize("which", ["sixteen", "primed"])
def test_the_trainer_finds_the_samplers_logprobs(request, model, params, which):
    script = request.getfixturevalue(which).transcript
    mine = script.student & ~script.injected
    score = jax.jit(partial(decoder_logprobs, model))  # as the update does
    again = np.asarray(score(params, *map(jax.numpy.asarray, (script.tokens, script.length, mine))))
    assert mine.sum() > 100
    np.testing.assert_allclose(script.logprob[mine], again[mine], atol=1e-4)
    # Most tokens are forbidden, so the sampling distribution has more mass on each that is not.
    assert (script.sampling_logprob[mine] > script.logprob[mine]).all()


def same(a, b, rows_a, rows_b):
    """Whether two rollouts' rows are the same dialogues."""
    x, y = jax.tree.map(np.asarray, (a.transcript, b.transcript))
    for i, j in zip(rows_a, rows_b, strict=True):
        n = x.length[i]
        if n != y.length[j] or x.solved_turn[i] != y.solved_turn[j]:
            return False
        for name in ("tokens", "student", "injected", "turn"):
            if not np.array_equal(getattr(x, name)[i, :n], getattr(y, name)[j, :n]):
                return False
        if not np.allclose(x.logprob[i, :n], y.logprob[j, :n], atol=1e-5):
            return False
        if dataclasses.replace(a.dialogues[i]) != b.dialogues[j]:
            return False
    return True


@pytest.mark.parametrize("rows", [4, pytest.param(32, marks=pytest.mark.slow)])
def test_the_number_of_rows_changes_nothing(run, sixteen, rows):
    assert same(sixteen, run(rows), range(16), range(16))


def test_questions_do_not_depend_on_the_rows_either(run, primed, rules):
    few = run(4, task=DigitTask(easy=True), rules=dataclasses.replace(rules, injection=QuestionInjection(0.75)))
    assert same(primed, few, range(16), range(16))


def test_the_batch_changes_nothing(run, sixteen, task):
    tail = run(problems=task.problems()[5:], first_id=10)
    assert same(sixteen, tail, range(10, 16), range(6))


def test_when_replies_come_changes_nothing(chat, task, params, engines, rules):
    """Of a real student: rows are in other calls together, and every token is the same."""

    def told(*_):
        return "no"

    def told_late(task, problem, conversation, verdict):
        time.sleep((hash((problem.id, len(conversation))) % 5) / 100)
        return "no"

    prompt, late = (
        play(task, task.problems(), chat, engines(8), params, teacher, rules, seed=SEED, group_size=2)
        for teacher in (Function(told, threads=0), Function(told_late, threads=3))
    )
    assert len(set(prompt.transcript.turns.tolist())) > 1 and same(prompt, late, range(16), range(16))


def test_ids_and_seeds_make_dialogues_differ(run, sixteen, task):
    texts = [tuple(d.tokens) for d in sixteen.dialogues]
    assert all(texts[i] != texts[i + 1] for i in range(0, 16, 2)), "a group does not say the same"
    firsts = {
        tuple(t for t, n in zip(d.tokens, turn, strict=False) if n == 1)
        for d, turn in zip(sixteen.dialogues, sixteen.transcript.turn.tolist(), strict=True)
    }
    assert len(firsts) > 12
    for other in (run(seed=SEED + 1), run(first_id=16)):
        assert sum(tuple(d.tokens) == text for d, text in zip(other.dialogues, texts, strict=True)) <= 1
    assert same(sixteen, run(), range(16), range(16)), "and the same seed and ids make the same"


class CountedRows(ContextBatch):
    """Rows that write down each turn they sample: side, dialogue, context before it, tokens."""

    log: list

    def begin_turn(self, row, limit, salt=0):
        super().begin_turn(row, limit, salt)
        self.before = getattr(self, "before", {})
        self.before[row] = (self.context(row)[-1], int(self._dialogue_ids[row]), list(self.context(row)))

    def collect(self):
        utterances = super().collect()
        self.log += [(*self.before[row], list(u.tokens)) for row, u in utterances.items()]
        return utterances


@pytest.fixture(scope="session")
def local_engine(model, chat, task, rules):
    """Of a model whose first layer sees four tokens, which its cache keeps in a ring."""
    local = Decoder(dataclasses.replace(model.config, layer_pattern=("local", "global"), window=4))
    roomy = dataclasses.replace(rules, injection=QuestionInjection())
    engine = tiny_engine(local, chat, task, roomy, 8, chunks=(8,))
    assert 0 < 3 * engine.layout.ring_size < engine.max_length
    return engine


@pytest.fixture(scope="session")
def recurrent_engine(model, chat, task, rules):
    """Of a model whose first layer is a delta net."""
    shape = DeltaNetConfig(key_heads=2, value_heads=4, key_dim=6, value_dim=4, taps=3)
    recurrent = Decoder(dataclasses.replace(model.config, layer_pattern=("delta", "global"), delta_net=shape))
    return tiny_engine(recurrent, chat, task, dataclasses.replace(rules, injection=QuestionInjection()), 8)


@pytest.mark.parametrize("kind", ["global", "local", pytest.param("recurrent", marks=pytest.mark.slow)])
@pytest.mark.parametrize("case", ["plain", "guarded", "primed"])
def test_every_token_goes_through_each_side_once(monkeypatch, request, chat, rules, run, case, kind):
    """All but a context's last token, which nothing follows; a turn that was taken back costs itself once more.

    Recurrent layers: `pytest -m slow tests/dialogue/test_rollout_model.py`.
    """
    engine = None if kind == "global" else request.getfixturevalue(f"{kind}_engine")
    weights = [init_params(engine.model, jax.random.key(seed)) for seed in (7, 8)] if kind == "recurrent" else None
    rows = type("Counted", (CountedRows,), {"log": []})
    for module in (*STUDENT_MODULES, *TEACHER_MODULES):
        monkeypatch.setattr(f"{module}.ContextBatch", rows)
    if case == "plain":
        monkeypatch.setattr(DigitTask, "leaks", lambda *_: False)
    elif case == "guarded":
        monkeypatch.setattr(DigitTask, "leaks", lambda task, problem, said, _: "3" in said)
    injection = QuestionInjection(0.75) if case == "primed" else None
    rules = dataclasses.replace(rules, injection=injection)
    played = run(task=DigitTask(easy=True), rules=rules, engine=engine, weights=weights)
    for side, opening in (("student", chat.open_student[-1]), ("teacher", chat.open_teacher[-1])):
        expected = max_rewind = 0
        for dialogue in range(16):
            turns = [(context, said) for last, d, context, said in rows.log if last == opening and d == dialogue]
            for (context, said), (later, _) in itertools.pairwise(turns):
                kept = later[: len(context) + len(said)] == context + said
                # Drawn again at once, a turn needs its opening's last token again; other words after it do not, unless
                # a recurrent state is taken back, which is that before this token.
                max_rewind += 0 if kept else len(said) - (later != context and kind != "recurrent")
            expected += len(turns[-1][0]) + len(turns[-1][1]) - 1 if turns else 0
        assert played.forwarded[side] + played.copied[side] == expected + max_rewind
        assert (max_rewind > 0) == ((case, side) in (("guarded", "teacher"), ("primed", "student"))) or case == "primed"
    if case == "plain":
        # The same number from what the learner sees: a last turn that was cut has an end that nobody reads.
        script = played.transcript
        cut = ~script.student[np.arange(16), script.length - 1]
        went = played.forwarded["student"] + played.copied["student"]
        assert went == int(script.length.sum()) - 16 - cut.sum()
        assert played.copied["student"] > 0 and played.copied["teacher"] > 0, "of each group's opening"


@pytest.mark.parametrize("decay", [None, 0.0, 1.0])
def test_private_knowledge_does_not_change_what_the_student_says(
    monkeypatch, chat, rules, engines, params, teacher_params, decay
):
    """The same public words from teacher and question writer, other secrets: the same student tokens and log-probs."""
    injection = None if decay is None else QuestionInjection(decay)
    put_on_stage(monkeypatch, chat, lambda h: "why?" if h.role == "writer" else "no", student=False)
    engine, played = engines(8), []
    for task in (DigitTask(), DigitTask(secret="part 0 is right ", report="for x = "), DigitTask("", "")):
        played.append(
            play(
                task,
                task.problems(),
                chat,
                engine,
                params,
                LanguageTeacher(engine, teacher_params),
                dataclasses.replace(rules, injection=injection),
                seed=SEED,
            )
        )
    for other in played[1:]:
        assert same(played[0], other, range(8), range(8))
    for dialogue in played[0].dialogues:
        assert not set(dialogue.tokens) & {*chat.open_private, *chat.ask}
