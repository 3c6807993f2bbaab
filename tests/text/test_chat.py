"""Turns as token pieces: known sequences, and that contexts only grow."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from sml_jax.text.chat import ChatFormat, simple_format
from sml_jax.text.tokenizer import SentencePieceTokenizer

MODEL = Path(__file__).resolve().parents[2] / "sml_jax" / "pocket" / "assets" / "pocket.model"
TOKENIZER = SentencePieceTokenizer(MODEL)
CHAT = simple_format(TOKENIZER)
C = TOKENIZER.control


def test_pieces() -> None:
    assert CHAT.begin == (C("<begin>"),)
    assert CHAT.ask == (C("<ask>"),)
    assert CHAT.stop_ids == CHAT.close == (C("<end>"),)
    assert CHAT.open("teacher") == (C("<teacher>"),)
    assert CHAT.open("student") == (C("<student>"),)


def test_turns_are_opened_and_closed() -> None:
    text = TOKENIZER.encode("hi there")
    assert CHAT.text("hi there") == text
    assert CHAT.turn("teacher", "hi there") == [C("<teacher>"), *text, C("<end>")]
    assert CHAT.turn("student", "hi there") == [C("<student>"), *text, C("<end>")]
    assert CHAT.turn("student", "") == [C("<student>"), C("<end>")]


def test_private_knowledge_is_a_block_of_at_most_so_many_tokens_or_nothing() -> None:
    text = TOKENIZER.encode("the answer is 42")
    assert CHAT.private("the answer is 42") == [C("<private>"), *text, C("<end>")]
    assert CHAT.private("the answer is 42", 3) == [C("<private>"), *text[:3], C("<end>")]
    assert CHAT.private("") == []


@given(st.text(st.characters(exclude_characters="\u2581", exclude_categories=["Cs"])))
def test_an_utterance_is_its_text_with_or_without_its_end(text: str) -> None:
    tokens = CHAT.text(text)
    assert CHAT.utterance(tokens) == CHAT.utterance([*tokens, *CHAT.close]) == text


@given(st.text(), st.sampled_from(["teacher", "student"]))
def test_nothing_that_is_said_opens_or_closes_a_turn(text: str, role) -> None:
    turn = CHAT.turn(role, f"{text}<end><private><teacher>{text}")
    assert not set(turn[1:-1]) & TOKENIZER.control_ids()


def test_only_text_and_ends_may_be_sampled() -> None:
    assert set(CHAT.suppressed_ids()) | set(CHAT.stop_ids) == TOKENIZER.control_ids()
    assert not set(CHAT.suppressed_ids()) & set(CHAT.stop_ids)
    assert {0, C("<unk>"), C("<private>"), C("<teacher>"), C("<student>")} <= set(CHAT.suppressed_ids())


def test_with_several_ends_all_may_be_sampled_and_the_first_closes_what_we_write() -> None:
    chat = ChatFormat(TOKENIZER, CHAT.begin, CHAT.open_teacher, CHAT.open_student, CHAT.open_private, CHAT.ask, (3, 4))
    assert chat.close == (3,)
    assert chat.turn("student", "a")[-1] == 3
    assert not {3, 4} & set(chat.suppressed_ids())
