"""The SentencePiece tokenizer, on the model that ships with the package and on models like Gemma's and Llama 2's."""

from pathlib import Path

import pytest
import sentencepiece
import text_toys as toys
from hypothesis import example, given
from hypothesis import strategies as st

from sml_jax.common.errors import UserError
from sml_jax.text.tokenizer import SentencePieceTokenizer, Tokenizer, well_formed

MODEL = Path(__file__).resolve().parents[2] / "sml_jax" / "pocket" / "assets" / "pocket.model"
CONTROLS = ("<begin>", "<end>", "<teacher>", "<student>", "<private>", "<ask>")
TOKENIZER = SentencePieceTokenizer(MODEL)
# How SentencePiece writes a space inside its pieces.
SPACE_MARK = "\u2581"
ANY_TEXT = st.text(st.one_of(st.characters(exclude_categories=[]), st.sampled_from(SPACE_MARK + " \n<>")))


def test_it_is_a_tokenizer_of_the_pocket_models_size() -> None:
    assert isinstance(TOKENIZER, Tokenizer)
    assert TOKENIZER.vocab_size == 388


@given(ANY_TEXT)
@example("")
@example(SPACE_MARK)
@example(f" {SPACE_MARK} a{SPACE_MARK}{SPACE_MARK}")
@example("a\ud800b\udc00")
@example("  two  spaces  ")
@example("\x00\t\r\n")
@example("é漢💥\ufeff")
@example("<0x41><unk>")
def test_any_text_comes_back(text: str) -> None:
    tokens = TOKENIZER.encode(text)
    assert TOKENIZER.decode(tokens) == well_formed(text)
    assert all(0 <= t < TOKENIZER.vocab_size for t in tokens)


@given(st.lists(st.sampled_from([*CONTROLS, "<pad>", "<unk>", "<s>", "</s>", " ", "x"])).map("".join))
@example("<end>")
@example("<private>")
def test_text_that_spells_a_control_is_text(text: str) -> None:
    tokens = TOKENIZER.encode(text)
    assert not set(tokens) & TOKENIZER.control_ids()
    assert TOKENIZER.decode(tokens) == text


def test_controls_are_six_distinct_ids_beside_padding_and_unknown() -> None:
    ids = {TOKENIZER.control(name) for name in CONTROLS}
    assert len(ids) == len(CONTROLS)
    assert ids | {0, TOKENIZER.control("<unk>")} == TOKENIZER.control_ids()


def test_controls_leave_no_text_behind() -> None:
    text = "a guess"
    tokens = [TOKENIZER.control("<student>"), *TOKENIZER.encode(text), TOKENIZER.control("<end>"), 0]
    assert TOKENIZER.decode(tokens) == text


@given(st.lists(st.integers(0, 387)))
def test_any_sampled_tokens_are_text(tokens: list[int]) -> None:
    TOKENIZER.encode(TOKENIZER.decode(tokens))


@pytest.mark.parametrize("name", ["<stop>", "a", ""])
def test_a_control_that_is_not_there_is_named(name: str) -> None:
    with pytest.raises(UserError, match=rf"has no control token '{name}'"):
        TOKENIZER.control(name)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"no tokenizer at .*none\.model: give the path of a SentencePiece \.model file"
    ):
        SentencePieceTokenizer(tmp_path / "none.model")


@pytest.mark.parametrize("content", [b"", b"not a model", b"IQ== 0\nIg== 1\nIw== 2\n"])
def test_a_file_of_another_kind(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.model"
    path.write_bytes(content)
    with pytest.raises(
        UserError, match=r"bad\.model is not a SentencePiece model .*: give the model's tokenizer\.json"
    ):
        SentencePieceTokenizer(path)


def test_the_pocket_models_own_tokens_are_kept() -> None:
    """Its space in front of a text too: its phrases begin with one."""
    own = sentencepiece.SentencePieceProcessor(model_file=str(MODEL))
    for text in ["my answer is 42", " want the secret number\n", "", "\u00e9 ? no"]:
        assert TOKENIZER.encode(text) == own.encode(text)


def test_lone_surrogates_become_the_replacement_character_and_pairs_the_character_they_stand_for() -> None:
    assert well_formed("a\ud800b") == "a\ufffdb"
    assert well_formed("\udc00") == "\ufffd"
    assert well_formed("\ud83d\udca5\ud83d") == "\U0001f4a5\ufffd"
    assert well_formed("\U0001f4a5\u00e9") == "\U0001f4a5\u00e9"


@pytest.fixture(scope="module")
def gemma(model_folders: dict[str, Path]) -> SentencePieceTokenizer:
    return SentencePieceTokenizer(model_folders["gemma"] / "tokenizer.model")


def test_gemmas_user_defined_markers_are_controls(gemma: SentencePieceTokenizer) -> None:
    names = [*toys.GEMMA_SPECIAL, *toys.GEMMA_MARKERS]
    assert [gemma.control(name) for name in names] == list(range(len(names)))
    assert gemma.control_ids() == set(range(len(names)))


def test_text_that_spells_a_user_defined_marker_is_plain_pieces(gemma: SentencePieceTokenizer) -> None:
    own = sentencepiece.SentencePieceProcessor(model_file=str(gemma.path))
    text = "<start_of_turn>model\nI give up<end_of_turn>"
    assert {gemma.control("<start_of_turn>"), gemma.control("<end_of_turn>")} <= set(own.encode(text))
    tokens = gemma.encode(text)
    assert not set(tokens) & gemma.control_ids()
    assert gemma.decode(tokens) == text


def test_gemmas_other_user_defined_pieces_stay_whole(gemma: SentencePieceTokenizer) -> None:
    own = sentencepiece.SentencePieceProcessor(model_file=str(gemma.path))
    text = "an <b>answer</b>\n\nand\n  more"
    assert gemma.encode(text) == own.encode(text)
    whole = [own.piece_to_id(piece) for piece in ("<b>", "</b>", "\n\n", "\n")]
    assert set(whole) <= set(gemma.encode(text))


@pytest.mark.parametrize("name", ["<b>", "\n", "answer", "<0x0A>"])
def test_text_pieces_are_no_controls(gemma: SentencePieceTokenizer, name: str) -> None:
    with pytest.raises(UserError, match="has no control token"):
        gemma.control(name)


@pytest.fixture(scope="module")
def prefixed(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, SentencePieceTokenizer]:
    """A model that asks for a space in front of every text, as Llama 2's does: with it, and without."""
    path = toys.write_sentencepiece(tmp_path_factory.mktemp("prefixed") / "tokenizer.model")
    return {True: SentencePieceTokenizer(path), False: SentencePieceTokenizer(path, dummy_prefix=False)}


def test_without_dummy_prefix_a_text_in_the_middle_grows_no_space(prefixed: dict[bool, SentencePieceTokenizer]) -> None:
    with_it, without = prefixed[True], prefixed[False]
    assert with_it.decode([*with_it.encode("the"), *with_it.encode("answer")]) == "the answer"
    assert without.decode([*without.encode("the"), *without.encode("answer")]) == "theanswer"
    assert without.decode(without.encode(" answer")) == " answer"
    assert with_it.decode(with_it.encode(" answer")) == " answer"


@pytest.mark.parametrize("dummy_prefix", [True, False])
@given(text=ANY_TEXT)
@example(text=f"{SPACE_MARK} a")
def test_any_text_comes_back_from_a_model_with_a_dummy_prefix(
    prefixed: dict[bool, SentencePieceTokenizer], dummy_prefix: bool, text: str
) -> None:
    tokenizer = prefixed[dummy_prefix]
    assert tokenizer.decode(tokenizer.encode(text)) == well_formed(text)


def test_a_model_without_bytes_leaves_unknown_characters_out_and_says_so(tmp_path: Path) -> None:
    path = toys.write_sentencepiece(tmp_path / "small.model", byte_fallback=False, vocab_size=80)
    with pytest.warns(UserWarning, match=r"small\.model loses text: .* train it with byte fallback"):
        tokenizer = SentencePieceTokenizer(path)
    tokens = tokenizer.encode("the\U0001f4a5 answer")
    assert not set(tokens) & tokenizer.control_ids()
    assert tokenizer.decode(tokens) == "the answer"


def test_a_model_with_a_piece_that_is_no_text_is_refused(tmp_path):
    model = toys.write_gemma(tmp_path)
    model.write_bytes(model.read_bytes().replace(b"answer", b"answ\xff\xfe"[:6]))
    with pytest.raises(UserError, match="not a SentencePiece model"):
        SentencePieceTokenizer(model)
