"""A model file rewritten: what changes and what stays."""

import time
from pathlib import Path

import pytest
import sentencepiece
import text_toys as toys
from hypothesis import given
from hypothesis import strategies as st

from sml_jax.text.sentencepiece_model import is_usual, rewrite_model


def _load(model: bytes) -> sentencepiece.SentencePieceProcessor:
    return sentencepiece.SentencePieceProcessor(model_proto=model)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes]:
    """With a dummy prefix and user-defined symbols; Gemma's kind."""
    folder = tmp_path_factory.mktemp("models")
    prefixed = toys.write_sentencepiece(folder / "prefixed.model", user_defined_symbols=["<go>", "(-)"])
    return prefixed.read_bytes(), toys.write_gemma(folder).read_bytes()


@pytest.mark.parametrize("which", [0, 1])
def test_nothing_to_change_changes_no_token(models: tuple[bytes, bytes], which: int) -> None:
    before, after = _load(models[which]), _load(rewrite_model(models[which], lambda piece: False, dummy_prefix=True))
    assert before.get_piece_size() == after.get_piece_size()
    for i in range(before.get_piece_size()):
        assert before.id_to_piece(i) == after.id_to_piece(i)
        assert before.get_score(i) == after.get_score(i)
        assert before.is_control(i) == after.is_control(i)
        assert before.is_byte(i) == after.is_byte(i)
    for text in [*toys.CORPUS[:5], "", " x", "<go>(-)\u00e9"]:
        assert before.encode(text) == after.encode(text)


def test_a_symbol_becomes_a_control_and_others_stay(models: tuple[bytes, bytes]) -> None:
    before, after = _load(models[0]), _load(rewrite_model(models[0], lambda piece: piece == "<go>", dummy_prefix=True))
    go, dash = before.piece_to_id("<go>"), before.piece_to_id("(-)")
    assert {go, dash} <= set(before.encode("a<go>b(-)c"))
    tokens = after.encode("a<go>b(-)c")
    assert go not in tokens and dash in tokens
    assert after.decode(tokens) == "a<go>b(-)c"
    assert after.is_control(go) and after.id_to_piece(go) == "<go>"
    assert not after.is_control(dash)


def test_the_dummy_prefix_goes(models: tuple[bytes, bytes]) -> None:
    before, after = _load(models[0]), _load(rewrite_model(models[0], lambda piece: False, dummy_prefix=False))
    assert before.encode("answer", out_type=str)[0].startswith("\u2581")
    assert not after.encode("answer", out_type=str)[0].startswith("\u2581")
    assert before.encode("answer") == after.encode(" answer")
    assert after.decode(after.encode(" answer")) == " answer"


def test_the_self_test_goes() -> None:
    """Older releases of sentencepiece refuse a model whose tokens are not those of its self-test."""
    self_test = b"\x22\x04\x0a\x02\x0a\x00"
    assert rewrite_model(b"\x08\x01" + self_test + b"\x12\x00", lambda piece: False, True) == b"\x08\x01\x12\x00"


def test_fixed_width_fields_and_large_numbers_are_carried_over() -> None:
    message = b"\x08\xac\x02" + b"\x11" + b"12345678" + b"\x1d" + b"1234" + b"\x12\x03abc"
    assert rewrite_model(message, lambda piece: True, dummy_prefix=True) == message


@given(st.binary(max_size=40))
def test_other_bytes_are_carried_over_or_refused(content: bytes) -> None:
    try:
        rewrite_model(content, lambda piece: False, dummy_prefix=False)
    except ValueError:
        return


@pytest.mark.parametrize("content", [b"\x80", b"\x0a\x05ab", b"\x0b", b"\x0d\x00", b"not a model"])
def test_what_is_no_protocol_buffer_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError):
        rewrite_model(content, lambda piece: False, dummy_prefix=True)


def test_a_file_cut_off_is_refused(tmp_path: Path) -> None:
    content = toys.write_gemma(tmp_path).read_bytes()
    with pytest.raises(ValueError, match="cut off"):
        rewrite_model(content[: len(content) // 2], lambda piece: False, dummy_prefix=True)


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(b"\x08" + b"\xff" * 3_000_000, id="a number without end"),
        pytest.param(b"\x1a\x80\xda\xc4\x09" + b"\x08\x01" * 10_000_000, id="fields within a field"),
        # As many as a real model's pieces: `pytest -m slow tests/text/test_sentencepiece_model.py`.
        pytest.param(b"\x08\x01" * 3_000_000, id="fields without end", marks=pytest.mark.slow),
    ],
)
def test_what_would_be_read_for_minutes_is_no_model(model: bytes) -> None:
    """Bits of a long number take a time that grows with its square."""
    for read in (is_usual, lambda content: rewrite_model(content, lambda piece: False, dummy_prefix=False)):
        began = time.process_time()
        try:
            read(model)
        except ValueError as error:
            assert "more than" in str(error)
        assert time.process_time() - began < 20  # types are checked at each call here
