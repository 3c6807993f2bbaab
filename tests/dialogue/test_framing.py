"""Chat models in the dialogue: who reads what, the feedback block, thinking, and room for the longest dialogue."""

import dataclasses
import re
import time
from functools import cache, partial

import jax
import numpy as np
import pytest
from dialogue_toys import DigitTask, one_device_mesh, put_on_stage
from hypothesis import given
from hypothesis import strategies as st

from sml_jax.dialogue.context_budget import required_length
from sml_jax.dialogue.framing import Framing, MessageFraming, marked
from sml_jax.dialogue.prompts import Prompts
from sml_jax.dialogue.rollout import play
from sml_jax.dialogue.rules import DialogueRules, LeakGuard, QuestionInjection
from sml_jax.dialogue.statistics import dialogue_statistics
from sml_jax.dialogue.teachers import LanguageTeacher
from sml_jax.dialogue.transcript import StudentContext
from sml_jax.engine.context_batch import ContextBatch
from sml_jax.engine.engine import Engine
from sml_jax.learn.logprobs import decoder_logprobs
from sml_jax.pocket import ASSETS
from sml_jax.text.messages import MessageFormat
from sml_jax.text.pieces import ChatPieces
from sml_jax.text.tokenizer import SentencePieceTokenizer

TOKENIZER = SentencePieceTokenizer(ASSETS / "pocket.model")
C = TOKENIZER.control
BEGIN, USER, MODEL, END = C("<begin>"), C("<teacher>"), C("<student>"), C("<end>")
THINK, THOUGHT = C("<private>"), C("<ask>")
NEWLINE = TOKENIZER.encode("\n")


def a_format(system: bool = False, think: bool = False) -> MessageFormat:
    """A family whose controls are the pocket tokenizer's."""
    pieces = ChatPieces(
        user="<teacher>",
        model="<student>",
        stop="<end>",
        after="\n",
        begin="<begin>",
        system_start="<begin><unk>" if system else None,
        system_end="<end>\n<teacher>" if system else "\n\n",
    )
    return MessageFormat(TOKENIZER, pieces, stop_ids=(END,), think=(THINK, THOUGHT) if think else None)


@pytest.fixture
def prompts(tmp_path) -> Prompts:
    """Short ones: the pocket tokenizer spells most words by characters."""
    texts = {
        "student": "do: {{question}}",
        "teacher": "help: {{question}}{{#knowledge}} key: {{knowledge}}{{/knowledge}} <feedback>",
        "says": "he: {{utterance}}",
        "verifier": "test: {{verifier}}",
        "question": "ask!",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    return Prompts(**{name: str(tmp_path / name) for name in texts})


def text(words: str) -> list[int]:
    return TOKENIZER.encode(words)


CLOSE = [END, *NEWLINE]


def test_both_sides_word_by_word(prompts: Prompts) -> None:
    framing = MessageFraming(a_format(), prompts)
    assert isinstance(framing, Framing)
    assert framing.student_opening("Q") == [BEGIN, USER, *text("do: Q"), *CLOSE, MODEL]
    assert framing.student_hears(text("no")) == [*NEWLINE, USER, *text("no"), *CLOSE, MODEL]
    assert framing.teacher_opening("Q", "7") == [BEGIN, USER, *text("help: Q key: 7 <feedback>"), *text("\n\n")]
    assert framing.teacher_opening("Q", "") == [BEGIN, USER, *text("help: Q <feedback>"), *text("\n\n")]
    assert framing.teacher_hears(text("6")) == [*text("he: "), *text("6")]
    assert framing.teacher_reads("bad", None) == [*text("\n\n"), *text("test: "), *text("bad")]
    assert framing.teacher_reads("bad", 1) == [*text("\n\n"), *text("test: "), *text("bad")[:1]]
    assert framing.teacher_reads("", 9) == []
    assert framing.teacher_begins() == [*CLOSE, MODEL]
    assert framing.teacher_ends() == [*CLOSE, USER]
    assert framing.asks_question() == [*text("\n\n"), *text("ask!"), *CLOSE, MODEL]


def test_system_texts_have_a_turn_of_their_own_or_stand_before_the_first_message(prompts: Prompts) -> None:
    prompts = dataclasses.replace(prompts, student_system="S", teacher_system="T <feedback>")
    with_turn, without = MessageFraming(a_format(system=True), prompts), MessageFraming(a_format(), prompts)
    rest = [*text("do: Q"), *CLOSE, MODEL]
    assert with_turn.student_opening("Q") == [BEGIN, C("<unk>"), *text("S"), *CLOSE, USER, *rest]
    # What stands in one message is tokenised as one text.
    assert without.student_opening("Q") == [BEGIN, USER, *text("S\n\ndo: Q"), *CLOSE, MODEL]
    opening = [BEGIN, USER, *text("T <feedback>\n\nhelp: Q <feedback>"), *text("\n\n")]
    assert without.teacher_opening("Q", "") == opening


@pytest.mark.parametrize(
    ("said", "public"),
    [
        ("hm <feedback>try 5</feedback>", "try 5"),
        ("<feedback> a </feedback> then <feedback>\nb\n</feedback> c", "b"),
        ("<feedback>a<feedback>b</feedback>", "b"),
        ("no block", None),
        ("<feedback>never closed", None),
        ("</feedback> the wrong way round <feedback>", None),
        ("<feedback>  </feedback>", None),
        # What stands behind the first closing tag is private, whatever stray, repeated or nested tags follow.
        ("<feedback>try 5</feedback> the key is 7 </feedback>", "try 5"),
        ("<feedback>try 5</feedback> the key is 7 </feedback> and so is 8 </feedback>", "try 5"),
        ("</feedback> <feedback>try 5</feedback></feedback> the key is 7", "try 5"),
        ("<feedback>a</feedback> it is 7 <feedback>b</feedback> it is 7 </feedback>", "b"),
        ("<feedback>a <feedback>b</feedback> it is 7 </feedback>", "b"),
        ("<feedback>a <feedback>b</feedback> c</feedback> it is 7 </feedback>", "b"),
        ("<feedback>a</feedback> it is 7 <feedback>never closed", "a"),
        ("<feedback>a</feedback> it is 7 </feedback> <feedback>never closed", "a"),
        ("I write between <feedback> and </feedback>. It is 7. <feedback>a</feedback> 7 </feedback>", "a"),
        ("<feedback>a</feedback><feedback> </feedback> it is 7 </feedback>", None),
        ("it is 7 </feedback> </feedback>", None),
        # A closing tag that is not spelled as it should be ends the block all the same.
        ("<feedback>try 5</Feedback> the key is 7 </feedback>", "try 5"),
        ("<feedback>try 5</ feedback> the key is 7 </feedback>", "try 5"),
        ("<feedback>try 5< /feedback > the key is 7 </feedback>", "try 5"),
        ("<feedback>try 5</feedback the key is 7 </feedback>", "try 5"),
        ("<feedback>try 5</feedbacks></feedback>", "try 5</feedbacks>"),
        ("<feedback>try 5 <feedback/> or 6</feedback> 7", "try 5 <feedback/> or 6"),
    ],
)
def test_the_feedback_block(prompts: Prompts, said: str, public: str | None) -> None:
    assert marked(said, "feedback") == public
    framing = MessageFraming(a_format(), prompts)
    assert framing.feedback([*text(said), END]) == (None if public is None else text(public))
    whole = MessageFraming(a_format(), dataclasses.replace(prompts, feedback_tag=""))
    assert whole.feedback([*text(said), END]) == text(said)


@given(st.text(max_size=40), st.text(max_size=40))
def test_marked_is_total(before: str, after: str) -> None:
    block = marked(f"{before}<f>word</f>{after}", "f")
    assert block is not None or "</f>" in after


@given(st.lists(st.sampled_from(["<f>", "</f>", "</F>", "< /f>", "</f", "<", "f", "public", " "]), max_size=12))
def test_no_closing_tag_and_nothing_behind_it_is_in_a_block(parts: list[str]) -> None:
    block = marked("".join([*parts, "<f>public", *parts, "</f>private</f>"]), "f")
    assert block is None or ("private" not in block and not re.search(r"<\s*/\s*f(?![a-z_])", block, re.IGNORECASE))


def test_the_time_to_find_a_block_grows_with_the_text_alone() -> None:
    for bomb in ("<" + " " * 100_000, "< /" * 50_000, "<f>" * 50_000, "</f>" * 50_000 + "<f>", "<f></f>" * 30_000):
        start = time.process_time()
        marked(bomb, "f")
        assert time.process_time() - start < 1, bomb[:10]


ANSWERED = {"teacher": "well <feedback>no</feedback>", "student": "9"}


def play_with(monkeypatch, framing, say, rules, model, params, task=None, teacher_knows="own", problems=2):
    task = task or DigitTask()
    stage = put_on_stage(monkeypatch, framing, say)
    engine = Engine(
        model,
        max_concurrent=2,
        max_length=required_length(framing, task, task.problems(), rules),
        max_new_tokens=max(rules.student_tokens, rules.teacher_tokens),
        stop_ids=framing.stop_ids,
        mesh=one_device_mesh(),
    )
    teacher = LanguageTeacher(engine, params, teacher_knows)
    return stage, play(task, task.problems()[:problems], framing, engine, params, teacher, rules, seed=0)


RULES = DialogueRules(max_turns=3, student_tokens=30, teacher_tokens=60, private_tokens=30)


def test_a_dialogue_of_chat_models(monkeypatch, prompts, model, params) -> None:
    framing = MessageFraming(a_format(), prompts)
    stage, played = play_with(monkeypatch, framing, lambda h: ANSWERED[h.role], RULES, model, params)
    for i, (dialogue, letter) in enumerate(zip(played.dialogues, "ab", strict=True)):
        turn = [*text("9"), END]
        assert list(dialogue.tokens) == [
            BEGIN, USER, *text(f"do: find {letter}"), *CLOSE, MODEL, *turn,
            *NEWLINE, USER, *text("no"), *CLOSE, MODEL, *turn,
            *NEWLINE, USER, *text("no"), *CLOSE, MODEL, *turn,
        ]  # fmt: skip
        assert [t.text for t in dialogue.turns] == [f"find {letter}", "9", "no", "9", "no", "9"]
        first, second = stage.of("teacher", i)
        heard = [*text("he: "), *text("9"), *text("\n\n"), *text("test: "), *text(f"got {letter} {letter}: 9")]
        opening = [BEGIN, USER, *text(f"help: find {letter} key: the answer is {letter} <feedback>"), *text("\n\n")]
        assert list(first.context) == [*opening, *heard, *CLOSE, MODEL]
        whole = text(ANSWERED["teacher"])
        assert list(second.context) == [*first.context, *whole, *CLOSE, USER, *heard, *CLOSE, MODEL]
    mask = played.transcript.student[0, : played.transcript.length[0]]
    assert mask.sum() == 3 * len(turn) and mask[-1], "what the student sampled, its ends included, and nothing else"


def test_nothing_private_is_read_by_the_student(monkeypatch, prompts, model, params) -> None:
    framing = MessageFraming(a_format(), prompts)
    task = DigitTask(secret="SECRET ", report="REPORT ")
    stage, _ = play_with(monkeypatch, framing, lambda h: ANSWERED[h.role], RULES, model, params, task)
    for heard in stage.of("student"):
        said = TOKENIZER.decode(heard.context)
        assert not any(word in said for word in ("SECRET", "REPORT", "well", "help", "key"))
    assert all("SECRET" in TOKENIZER.decode(heard.context) for heard in stage.of("teacher"))
    stage, _ = play_with(
        monkeypatch, framing, lambda h: ANSWERED[h.role], RULES, model, params, task, teacher_knows="none"
    )
    assert not any("key" in TOKENIZER.decode(heard.context) for heard in stage.of("teacher"))


def test_a_teacher_that_marks_nothing_is_asked_again_then_replaced(monkeypatch, prompts, model, params) -> None:
    framing = MessageFraming(a_format(), prompts)
    rules = dataclasses.replace(RULES, guard=LeakGuard(regenerations=1))

    def say(heard):
        if heard.role == "student":
            return "9"
        return "no block" if heard.dialogue == 0 or heard.salt == 0 else "<feedback>no</feedback>"

    stage, played = play_with(monkeypatch, framing, say, rules, model, params)
    never, late = played.dialogues
    assert (never.unmarked, never.redactions, never.leaks) == (2, 2, 0)
    assert (late.unmarked, late.redactions, late.leaks) == (2, 0, 0)
    assert never.turns[2].text == rules.guard.redaction and late.turns[2].text == "no"
    assert [h.salt for h in stage.of("teacher", 0)] == [0, 1, 0, 1]
    assert dialogue_statistics(played.dialogues)["unmarked_rate"] == 1.0


def test_a_leak_in_thinking_alone_is_none(monkeypatch, prompts, model, params) -> None:
    framing = MessageFraming(a_format(), prompts)
    _, played = play_with(
        monkeypatch,
        framing,
        lambda h: "9" if h.role == "student" else f"it is {h.dialogue} <feedback>no</feedback>",
        RULES,
        model,
        params,
    )
    assert [d.leaks for d in played.dialogues] == [0, 0]


def test_thinking_stays_in_its_own_context(monkeypatch, prompts, model, params) -> None:
    framing = MessageFraming(a_format(think=True), prompts)

    def say(heard):
        said = "9" if heard.role == "student" else "<feedback>no</feedback>"
        return [THINK, *text("maybe 0"), THOUGHT, *text(said)]

    stage, played = play_with(monkeypatch, framing, say, RULES, model, params, problems=1)
    (dialogue,) = played.dialogues
    assert dialogue.solved_turn == 0, "an answer that is thought, not said, is none"
    assert [t.text for t in dialogue.turns] == ["find a", "9", "no", "9", "no", "9"]
    for heard in stage.of("teacher"):
        assert list(heard.context).count(THINK) == len(stage.of("teacher")[: stage.of("teacher").index(heard)])
    assert list(dialogue.tokens).count(THINK) == 3 and played.transcript.student[0].sum() == 3 * len(
        [THINK, *text("maybe 0"), THOUGHT, *text("9"), END]
    )


@pytest.mark.parametrize("opens_block", [False, True])
def test_thinking_is_taken_back_where_that_is_asked_for(monkeypatch, prompts, model, params, opens_block) -> None:
    """As the public templates do it, whether the model thought or its prompt opened with an empty block."""
    form = dataclasses.replace(a_format(think=not opens_block), take_back=True)
    block = [THINK, THOUGHT] if opens_block else []
    if opens_block:
        pieces = dataclasses.replace(form.pieces, model="<student><private><ask>", earlier_model="<student>")
        form = dataclasses.replace(form, pieces=pieces)
    thought = [] if opens_block else [THINK, *text("maybe 0"), THOUGHT]

    def say(heard):
        return [*thought, *text("9" if heard.role == "student" else "<feedback>no</feedback>")]

    framing = MessageFraming(form, prompts)
    stage, played = play_with(monkeypatch, framing, say, RULES, model, params, problems=1)
    (dialogue,) = played.dialogues
    turn_tokens = [*thought, *text("9"), END]
    opening, earlier = [BEGIN, USER, *text("do: find a"), *CLOSE, MODEL], [*framing.spoken(turn_tokens), END]
    heard_reply = [*NEWLINE, USER, *text("no"), *CLOSE, MODEL]
    # Each time it speaks the student has its earlier turns without, and what opens the present one.
    for turn, heard in enumerate(stage.of("student")):
        assert list(heard.context) == [*opening, *(earlier + heard_reply) * turn, *block]
    last = [*block, *turn_tokens]
    assert list(dialogue.tokens) == [*opening, *(earlier + heard_reply) * 2, *last]
    # The log-probabilities of earlier turns are those of other contexts: the last turn alone is trained on.
    trained = played.transcript.student[0, : played.transcript.length[0]]
    assert list(trained) == [False] * (len(dialogue.tokens) - len(turn_tokens)) + [True] * len(turn_tokens)
    for heard in stage.of("teacher"):
        assert list(heard.context).count(THINK) == len(block) // 2
        assert list(heard.context[-1 - len(block) :]) == [MODEL, *block]


def test_a_question_in_place_of_a_turn_is_trained_on_although_the_block_before_it_is_taken_back() -> None:
    context = StudentContext()
    context.add_given([BEGIN, MODEL, THINK, THOUGHT])
    context.add_injected([7, END], 1)
    assert context.rewrite_turn(1, 2, [7, END]) == 2
    assert (context.tokens, context.student) == ([BEGIN, MODEL, 7, END], [False, False, True, True])
    assert context.injected == context.student and context.turn == [0, 0, 1, 1]


@pytest.mark.parametrize("injection", [None, QuestionInjection(decay=1.0)])
def test_the_longest_dialogue_has_room(monkeypatch, prompts, model, params, injection) -> None:
    """Everyone spends the whole budget, verifier included: the engine's rows must hold it, with nothing to spare."""
    framing = MessageFraming(a_format(), prompts)
    rules = dataclasses.replace(RULES, injection=injection, student_tokens=9, teacher_tokens=9, private_tokens=9)
    task = DigitTask(report="x" * 40, easy=True)
    blah = lambda h: "8" * 40 if h.role == "student" else "<feedback>" + "w" * 40  # noqa: E731
    stage, played = play_with(monkeypatch, framing, blah, rules, model, params, task)
    assert all(len(d.verdicts) == 3 for d in played.dialogues)
    longest = max(len(h.context) + h.limit for h in stage.heard)
    room = required_length(framing, task, task.problems(), rules)
    # The redaction is longer than a reply's budget, so a teacher's reply has room for it.
    assert longest <= room


@pytest.fixture(scope="module")
def random_words(model, params, tmp_path_factory):
    """Two dialogues about each of four problems by a tiny random model, and the rows that each side went through."""
    folder = tmp_path_factory.mktemp("prompts")
    texts = {"student": "do: {{question}}", "teacher": "help: {{question}} {{knowledge}}", "says": "he: {{utterance}}"}
    for name, words in texts.items():
        (folder / name).write_text(words)
    prompts = Prompts(**{name: str(folder / name) for name in texts}, feedback_tag="")
    framing, task = MessageFraming(a_format(think=True), prompts), DigitTask()
    forbidden = sorted(set(range(TOKENIZER.vocab_size)) - {END, THINK, THOUGHT, *text("0123 no")})

    @cache
    def go(overlap: bool, rows: int):
        rules = dataclasses.replace(RULES, student_tokens=6, teacher_tokens=7, overlap_verification=overlap)
        length = required_length(framing, task, task.problems(), rules)
        engine = Engine(
            model,
            max_concurrent=rows,
            max_length=length,
            capacities=(length,),
            max_new_tokens=7,
            stop_ids=framing.stop_ids,
            suppressed_ids=forbidden,
            chunk_sizes=(32,),
            mesh=one_device_mesh(),
        )
        teacher = LanguageTeacher(engine, params)
        return play(task, task.problems()[:4], framing, engine, params, teacher, rules, seed=3, group_size=2)

    return go


def test_the_trainer_finds_the_samplers_logprobs(random_words, model, params) -> None:
    script = random_words(overlap=False, rows=8).transcript
    score = jax.jit(partial(decoder_logprobs, model))  # as the update does
    again = np.asarray(score(params, *map(jax.numpy.asarray, (script.tokens, script.length, script.student))))
    assert script.student.sum() > 50
    np.testing.assert_allclose(script.logprob[script.student], again[script.student], atol=1e-4)


@pytest.mark.extra
def test_every_token_goes_through_each_side_once(monkeypatch, random_words) -> None:
    contexts: dict[str, dict[int, list[int]]] = {"student": {}, "teacher": {}}
    for side, module in (("student", "student_side"), ("teacher", "language_teacher")):

        class Counted(ContextBatch):
            def collect(self, kept=contexts[side]):
                utterances = super().collect()
                for row in utterances:
                    old, new = kept.get(int(self._dialogue_ids[row]), []), list(self.context(row))
                    assert new[: len(old)] == old, "a context only grows"
                    kept[int(self._dialogue_ids[row])] = new
                return utterances

        monkeypatch.setattr(f"sml_jax.dialogue.{module}.ContextBatch", Counted)
    monkeypatch.setattr(DigitTask, "leaks", lambda *_: False)
    played = random_words(overlap=False, rows=4)
    for side, context_of in contexts.items():
        went = played.forwarded[side] + played.copied[side]
        assert went == sum(len(context) - 1 for context in context_of.values())


@pytest.mark.extra
def test_judging_while_the_teacher_reads_changes_no_dialogue(random_words) -> None:
    apart, together = random_words(overlap=False, rows=8), random_words(overlap=True, rows=4)
    assert [d.tokens for d in apart.dialogues] == [d.tokens for d in together.dialogues]
    assert any(d.solved_turn == 1 for d in apart.dialogues), "or nothing was read in vain"
    assert together.forwarded["teacher"] > apart.forwarded["teacher"]
