"""Users who tell a problem shard by shard: what they say, in which order, and what is not read too early."""

import dataclasses

import pytest
from dialogue_toys import DigitTask, one_device_mesh, put_on_stage
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sml_jax.common.errors import UserError
from sml_jax.dialogue.context_budget import required_length
from sml_jax.dialogue.framing import MessageFraming
from sml_jax.dialogue.prompts import Prompts
from sml_jax.dialogue.rollout import play
from sml_jax.dialogue.rules import DialogueRules, LeakGuard
from sml_jax.dialogue.sharded import (
    NOW,
    ONE_TURN,
    RECAP,
    SETTINGS,
    SO_FAR,
    LanguageUser,
    ShardedTask,
    ShardUser,
    bullets,
    replies,
    revealed_by_turn,
    statement,
)
from sml_jax.dialogue.statistics import dialogue_statistics
from sml_jax.dialogue.teachers import LanguageTeacher, Scripted
from sml_jax.engine.engine import Engine
from sml_jax.pocket import ASSETS
from sml_jax.tasks.leaks import leaks
from sml_jax.tasks.problems.types import Problem, Task
from sml_jax.text.messages import MessageFormat
from sml_jax.text.pieces import ChatPieces
from sml_jax.text.tokenizer import SentencePieceTokenizer

PROBLEM = Problem("p", "how many?", "5", ("5 cats", "2 dogs", "no fish"), full="5 cats and 2 dogs: how many?")


class Shards(DigitTask):
    """Each problem's first shard holds its answer; one problem has no shards."""

    def problems(self, split: str = "test") -> list[Problem]:
        plain = DigitTask.problems(self, split)
        sharded = [
            dataclasses.replace(p, shards=(f"{i} cats", "2 dogs", "no fish"), full=f"{p.question}: {i} cats, 2 dogs")
            for i, p in enumerate(plain[1:], start=1)
        ]
        return [plain[0], *sharded]


def test_what_a_scripted_user_says():
    everything = "- how many?\n- 5 cats\n- 2 dogs\n- no fish"
    said = {setting: (statement(PROBLEM, setting), replies(PROBLEM, setting)) for setting in SETTINGS}
    assert said == {
        "full": ("5 cats and 2 dogs: how many?", ()),
        "concat": (everything, ()),
        "sharded": ("how many?", ("5 cats", "2 dogs", "no fish")),
        "recap": ("how many?", ("5 cats", "2 dogs", "no fish", f"{RECAP}\n{everything}")),
        "snowball": (
            "how many?",
            (
                f"{SO_FAR}\n- how many?\n{NOW}\n- 5 cats",
                f"{SO_FAR}\n- how many?\n- 5 cats\n{NOW}\n- 2 dogs",
                f"{SO_FAR}\n- how many?\n- 5 cats\n- 2 dogs\n{NOW}\n- no fish",
            ),
        ),
    }
    assert [ShardUser(setting).turns(PROBLEM) for setting in SETTINGS] == [1, 1, 4, 5, 4]


def test_how_much_is_told_by_turn():
    assert revealed_by_turn(PROBLEM, "sharded", 3) == [1, 2, 3]
    assert revealed_by_turn(PROBLEM, "recap", 5) == [1, 2, 3, 4, 4]
    assert revealed_by_turn(PROBLEM, "full", 1) == revealed_by_turn(PROBLEM, "concat", 1) == [4]


def test_the_view_of_a_task():
    task = Shards()
    view = ShardedTask(task, ("concat", "full"), limit=2)
    assert isinstance(view, Task) and view.name == "digits"
    assert [(p.id, p.question) for p in view.problems("test")] == [
        ("pb", "- find b\n- 1 cats\n- 2 dogs\n- no fish"),
        ("pc", "- find c\n- 2 cats\n- 2 dogs\n- no fish"),
        ("pb", "find b: 1 cats, 2 dogs"),
        ("pc", "find c: 2 cats, 2 dogs"),
    ]
    assert view.static_knowledge(PROBLEM) == "2: 5 cats\n3: 2 dogs\n4: no fish"
    assert view.dynamic_knowledge(PROBLEM, None) == ""
    items = [(PROBLEM, "5"), (PROBLEM, "who?")]
    assert view.verify(items) == task.verify(items)


def test_problems_that_cannot_be_told_in_shards_are_a_plain_error():
    with pytest.raises(UserError, match="digits has no test problems with shards"):
        ShardedTask(DigitTask(), ("sharded",)).problems("test")
    with pytest.raises(UserError, match="problem p has no full statement: leave out the setting 'full'"):
        statement(dataclasses.replace(PROBLEM, full=""), "full")


def roomy(rules, setting, problems, chat, max_turns=9):
    texts = [1, *(len(chat.text(reply)) for p in problems for reply in replies(p, setting))]
    return dataclasses.replace(rules, max_turns=max_turns, teacher_tokens=max(texts), private_tokens=0)


def play_scripted(monkeypatch, chat, rules, engine, params, setting, say, problems=None, max_turns=9):
    stage = put_on_stage(monkeypatch, chat, say)
    view = ShardedTask(Shards(), (setting,), limit=3)
    problems = problems or view.problems("test")
    rules = roomy(rules, setting, problems, chat, max_turns)
    return stage, play(view, problems, chat, engine, params, ShardUser(setting), rules, seed=0, arm=setting)


@pytest.fixture(scope="session")
def big_engine(model, chat):
    """Room for the longest of these dialogues; nothing is compiled where stand-ins speak."""
    return Engine(
        model, max_concurrent=3, max_length=512, max_new_tokens=64, stop_ids=chat.stop_ids, mesh=one_device_mesh()
    )


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_dialogue_in_each_setting(monkeypatch, chat, rules, big_engine, params, setting):
    stage, played = play_scripted(monkeypatch, chat, rules, big_engine, params, setting, lambda heard: "what?")
    for i, (problem, dialogue) in enumerate(zip(Shards().problems()[1:4], played.dialogues, strict=True)):
        said = [turn.text for turn in dialogue.turns if turn.role == "teacher"]
        assert said == [statement(problem, setting), *replies(problem, setting)], "verbatim, though shard 2 is gold"
        assert len(dialogue.verdicts) == len(said) and dialogue.solved_turn == 0
        assert (dialogue.leaks, dialogue.redactions, dialogue.arm, dialogue.revealed) == (0, 0, setting, ())
        for turn, heard in enumerate(stage.of("student", i)):
            read = chat.utterance(heard.context)
            told = revealed_by_turn(problem, setting, turn + 1)[turn]
            assert [shard in read for shard in problem.shards] == [n <= told for n in (2, 3, 4)] or setting == "full"
    assert played.forwarded["teacher"] == 0


def test_a_bullet_is_no_minus_sign(monkeypatch, chat, rules, big_engine, params):
    """The leak guard would take the shard "x" in a list for the answer "-x"."""
    problem = Problem("q", "solve it", "-x", ("x", "more"))
    assert leaks(problem.answer, bullets(problem.shards), problem.shards[0])
    for setting in ("recap", "snowball"):
        _, played = play_scripted(monkeypatch, chat, rules, big_engine, params, setting, lambda h: "?", [problem])
        said = [turn.text for turn in played.dialogues[0].turns if turn.role == "teacher"]
        assert said[1:] == list(replies(problem, setting)) and played.dialogues[0].leaks == 0


def test_a_dialogue_ends_with_the_first_correct_attempt_and_at_the_turn_limit(
    monkeypatch, chat, rules, big_engine, params
):
    def say(heard):
        return str(heard.dialogue + 1) if heard.dialogue == 0 and b"2 dogs" in read(chat, heard) else "9"

    _, played = play_scripted(monkeypatch, chat, rules, big_engine, params, "sharded", say)
    assert [(d.solved_turn, len(d.verdicts)) for d in played.dialogues] == [(3, 3), (0, 4), (0, 4)]
    _, played = play_scripted(monkeypatch, chat, rules, big_engine, params, "recap", say, max_turns=2)
    assert [(d.solved_turn, len(d.verdicts)) for d in played.dialogues] == [(0, 2)] * 3


def read(chat, heard):
    return chat.utterance(heard.context).encode()


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(shards=st.lists(st.text("ab 1", min_size=1, max_size=6).map(str.strip).filter(bool), min_size=1, max_size=5))
def test_each_shard_is_told_once_in_order(monkeypatch, chat, rules, big_engine, params, shards):
    problem = Problem("q", "find it", "7", tuple(shards))
    for setting, turns in (("sharded", len(shards) + 1), ("recap", len(shards) + 2)):
        _, played = play_scripted(monkeypatch, chat, rules, big_engine, params, setting, lambda h: "?", [problem])
        (dialogue,) = played.dialogues
        assert [t.text for t in dialogue.turns if t.role == "teacher"][1 : 1 + len(shards)] == shards
        assert len(dialogue.verdicts) == turns


def test_one_full_turn_is_an_ordinary_rollout_of_one_turn(chat, engine, params):
    rules = DialogueRules(max_turns=3, student_tokens=6, teacher_tokens=12, private_tokens=14)
    full = ShardedTask(Shards(), ("full",)).problems("test")
    plain = dataclasses.replace(rules, max_turns=1)
    one = play(Shards(), full, chat, engine, params, Scripted(), plain, seed=5, group_size=2)
    other = play(
        ShardedTask(Shards(), ("full",)), full, chat, engine, params, ShardUser("full"), rules, seed=5, group_size=2
    )
    assert [d.tokens for d in one.dialogues] == [d.tokens for d in other.dialogues]
    assert [d.verdicts for d in one.dialogues] == [d.verdicts for d in other.dialogues]
    assert len({d.tokens for d in one.dialogues}) > 4, "or the model says the same whatever it is asked"


# A language model in the user's seat.

TOKENIZER = SentencePieceTokenizer(ASSETS / "pocket.model")
C = TOKENIZER.control
LANGUAGE = DialogueRules(max_turns=4, student_tokens=9, teacher_tokens=70, private_tokens=9)


@pytest.fixture
def framing(tmp_path) -> MessageFraming:
    texts = {
        "student": "do: {{question}}",
        "teacher": "user of: {{question}}{{#knowledge}} hides:\n{{knowledge}}{{/knowledge}} <message>",
        "says": "he: {{utterance}}",
        "verifier": "left: {{verifier}}",
        "question": "ask!",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    return MessageFraming(
        MessageFormat(
            TOKENIZER,
            ChatPieces(user="<teacher>", model="<student>", stop="<end>", begin="<begin>"),
            stop_ids=(C("<end>"),),
        ),
        Prompts(**{name: str(tmp_path / name) for name in texts}, feedback_tag="message"),
    )


def play_language(monkeypatch, framing, say, model, params, rules=LANGUAGE, task=None):
    stage = put_on_stage(monkeypatch, framing, say)
    view = ShardedTask(task or Shards(), ("sharded",), limit=2)
    problems = view.problems("test")
    length = required_length(framing, view, problems, rules)
    engine = Engine(
        model, max_concurrent=2, max_length=length, max_new_tokens=70, stop_ids=framing.stop_ids, mesh=one_device_mesh()
    )
    return stage, play(view, problems, framing, engine, params, LanguageUser(engine, params), rules, seed=0)


def words_of(heard):
    """The tokenizer decodes a space before each piece of text."""
    return " ".join(TOKENIZER.decode(heard.context).split())


def in_turn(messages, otherwise="9"):
    """The user's messages by turn; its turn is told from what it reads."""

    def say(heard):
        if heard.role == "student":
            return otherwise
        turn = TOKENIZER.decode(heard.context).count("left: ")
        message = messages[turn - 1]
        return message(heard) if callable(message) else message

    return say


def test_a_language_user_tells_a_shard_a_turn_in_an_order_of_its_own(monkeypatch, framing, model, params):
    messages = [
        "hm <message>4: fish are out</message>",
        lambda heard: f"<message>Shard 2: it is {heard.dialogue + 1} kitties</message>",
        "<message>3. 2 puppies\ntoo</message>",
    ]
    stage, played = play_language(monkeypatch, framing, in_turn(messages), model, params)
    for i, dialogue in enumerate(played.dialogues):
        question = f"find {'bc'[i]}"
        told = [question, "fish are out", f"it is {i + 1} kitties", "2 puppies\ntoo"]
        assert [t.text for t in dialogue.turns if t.role == "teacher"] == told
        assert dialogue.revealed == (4, 2, 3) and len(dialogue.verdicts) == 4
        assert (dialogue.unmarked, dialogue.redactions, dialogue.leaks) == (0, 0, 0), "a shard is no leak"
        contexts = [words_of(heard) for heard in stage.of("teacher", i)]
        opening = f"user of: {question} hides: 2: {i + 1} cats 3: 2 dogs 4: no fish <message>"
        assert contexts[0] == f"{opening} he: 9 left: 2, 3, 4"
        assert contexts[1] == f"{contexts[0]} hm <message>4: fish are out</message> he: 9 left: 2, 3"
        assert contexts[2].endswith("kitties</message> he: 9 left: 3")
        assert contexts[2].startswith(contexts[1]), "what it has read only grows"
    for heard in stage.of("student"):
        context = TOKENIZER.decode(heard.context)
        assert not any(word in context for word in ("cats", "dogs", "no fish", "message", "left", "hm"))


@pytest.mark.parametrize(
    ("marked", "words"),
    [
        ("2: it is 5 kitties", "it is 5 kitties"),
        (" shard 2 : 5 ", "5"),
        ("3) 2 of them bark", "2 of them bark"),
        ("4: no\nfish", "no\nfish"),
        ("it is 5 kitties", None),
        ("2: five kitties", None),  # its number is lost
        ("1: how many?", None),  # shard 1 is the question
        ("5: more", None),
        ("02:", None),
        ("4:   ", None),
        ("4: no fish, and 5 more", None),  # a number of a shard that is withheld
        ("2: 5 cats, 2 Dogs", None),
        ("2: 5 cats, NO  fish", None),
        ("-2: 5", None),
        ("99999999999999999999: 5", None),
        ("", None),
    ],
)
def test_what_counts_as_a_message(model, params, big_engine, marked, words):
    message = LanguageUser(big_engine, params).message(PROBLEM, marked, ())
    assert (message and message.text) == words
    assert words is None or message.fact == int(next(c for c in marked if c.isdigit()))


def test_a_shard_is_told_once_and_then_its_numbers_are_public(model, params, big_engine):
    user = LanguageUser(big_engine, params)
    assert user.message(PROBLEM, "2: 5", (2,)) is None
    assert user.message(PROBLEM, "4: no fish, only 5 cats", (2,)).text == "no fish, only 5 cats"
    assert user.replacement(PROBLEM, (2,), "hush").text == "2 dogs" and user.replacement(PROBLEM, (3, 2), "").fact == 4


@given(st.text(max_size=30), st.sets(st.sampled_from([2, 3, 4]), max_size=2))
def test_any_text_is_a_message_or_none(text, revealed):
    user = LanguageUser.__new__(LanguageUser)
    message = user.message(PROBLEM, text, sorted(revealed))
    assert message is None or (message.fact not in revealed and message.text.strip())


def test_a_user_that_says_nothing_valid_is_asked_again_then_replaced_by_the_next_shard(
    monkeypatch, framing, model, params
):
    rules = dataclasses.replace(LANGUAGE, guard=LeakGuard(regenerations=1))

    def again(heard):
        return "no block" if heard.dialogue == 0 or heard.salt == 0 else "<message>4: no fish!</message>"

    last = "<message>3: 2 dogs!</message>"
    stage, played = play_language(monkeypatch, framing, in_turn([again, "4: no tag", last]), model, params, rules)
    never, late = played.dialogues
    assert [t.text for t in never.turns if t.role == "teacher"][1:] == ["1 cats", "2 dogs", "no fish"]
    assert never.revealed == (2, 3, 4) and (never.unmarked, never.redactions) == (3, 3), "3 was told when it came"
    assert [t.text for t in late.turns if t.role == "teacher"][1:] == ["no fish!", "2 cats", "2 dogs!"]
    assert late.revealed == (4, 2, 3) and (late.unmarked, late.redactions) == (2, 1)
    assert dialogue_statistics(played.dialogues)["unmarked_rate"] == 5 / 6
    # In its own context stands a message as it should have been written.
    last_read = words_of(stage.of("teacher", 1)[-1])
    assert "<message>4: no fish!</message> he" in last_read and "<message>2: 2 cats</message> he" in last_read


def test_a_user_that_solves_the_problem_is_a_leak(monkeypatch, framing, model, params):
    class Hidden(Shards):
        def problems(self, split="test"):
            return [dataclasses.replace(p, answer="7") for p in Shards.problems(self, split)]

    message = "<message>4: no fish, so it is 7</message>"
    _, played = play_language(monkeypatch, framing, in_turn([message] * 3), model, params, task=Hidden())
    for dialogue in played.dialogues:
        assert dialogue.leaks >= 1 and not any("7" in t.text for t in dialogue.turns if t.role == "teacher")


@pytest.mark.extra
def test_the_same_seed_gives_the_same_dialogues_whatever_the_rows(framing, model, params):
    """Of a language user, whose random messages are all replaced; its tries stay in no context."""
    rules = dataclasses.replace(LANGUAGE, student_tokens=5, teacher_tokens=24, guard=LeakGuard(regenerations=0))
    view = ShardedTask(Shards(), ("sharded",), limit=3)
    problems = view.problems("test")
    speakable = {*framing.stop_ids, *framing.text("0123 no")}
    played = []
    for rows in (2, 5):
        engine = Engine(
            model,
            max_concurrent=rows,
            max_length=480,
            max_new_tokens=24,
            stop_ids=framing.stop_ids,
            suppressed_ids=sorted(set(range(TOKENIZER.vocab_size)) - speakable),
            chunk_sizes=(64,),
            capacities=(480,),
            mesh=one_device_mesh(),
        )
        user = LanguageUser(engine, params)
        played.append(play(view, problems, framing, engine, params, user, rules, seed=3, group_size=2))
    one, other = (result.dialogues for result in played)
    assert [d.tokens for d in one] == [d.tokens for d in other] and [d.turns for d in one] == [d.turns for d in other]
    assert [d.revealed for d in one] == [d.revealed for d in other]
    assert len({d.tokens for d in one[:2]}) == 2 and {len(d.verdicts) for d in one} - {1}
    assert isinstance(user, LanguageTeacher) and played[0].forwarded["teacher"] == played[1].forwarded["teacher"] > 0


def test_bullets():
    assert bullets(["a", "b"]) == "- a\n- b" and set(ONE_TURN) < set(SETTINGS)
