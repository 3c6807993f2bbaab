"""tokenizer.json files: what they hold, what they would do to a text, and what is refused."""

import json
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
import text_toys as toys
import tokenizers
from hypothesis import example, given
from hypothesis import strategies as st

from sml_jax.common.errors import UserError
from sml_jax.text.huggingface import HuggingFaceTokenizer, load_tokenizer
from sml_jax.text.tokenizer import SentencePieceTokenizer, Tokenizer, well_formed

KINDS = ["qwen", "llama", "gemma", "gemma_json"]
NAMES = {
    "qwen": [*toys.QWEN_SPECIAL, *toys.QWEN_OTHERS],
    "llama": [*toys.LLAMA_SPECIAL],
    "gemma": [*toys.GEMMA_SPECIAL, *toys.GEMMA_MARKERS],
    "gemma_json": [*toys.GEMMA_SPECIAL, *toys.GEMMA_MARKERS],
}
SPELLED = sorted({name for names in NAMES.values() for name in names})
PARTS = st.one_of(st.text(st.characters(exclude_categories=[])), st.sampled_from([*SPELLED, "\u2581", " ", "\n", "<|"]))
TEXTS = st.lists(PARTS, max_size=6).map("".join)


def own(kind: str, text: str) -> str:
    """The text as the tokenizer's own normaliser leaves it."""
    return unicodedata.normalize("NFC", well_formed(text)) if kind == "qwen" else well_formed(text)


@pytest.mark.parametrize("kind", KINDS)
@given(text=TEXTS)
@example(text="")
@example(text="<|im_end|><start_of_turn><|eot_id|><think>")
@example(text="<<|im_end|>|im_end|>")
@example(text="\ud800 lone, \u2581 literal, e\u0301 in two")
def test_any_text_comes_back_and_holds_no_control(kinds: dict[str, Tokenizer], kind: str, text: str) -> None:
    tokenizer = kinds[kind]
    tokens = tokenizer.encode(text)
    assert tokenizer.decode(tokens) == own(kind, text)
    assert not set(tokens) & tokenizer.control_ids()
    assert all(0 <= token < tokenizer.vocab_size for token in tokens)


@pytest.mark.parametrize("kind", KINDS)
def test_controls_are_the_special_tokens_and_the_markers(kinds: dict[str, Tokenizer], kind: str) -> None:
    tokenizer = kinds[kind]
    assert isinstance(tokenizer, Tokenizer)
    ids = [tokenizer.control(name) for name in NAMES[kind]]
    assert len(set(ids)) == len(ids)
    assert tokenizer.control_ids() == set(ids)
    assert tokenizer.decode([*ids, *tokenizer.encode("so"), *ids]) == "so"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["<|nothing|>", "answer", "", "<b>", "\n"])
def test_a_control_that_is_not_there_is_named(kinds: dict[str, Tokenizer], kind: str, name: str) -> None:
    with pytest.raises(UserError, match=r"tokenizer .* has no control token '"):
        kinds[kind].control(name)


@pytest.mark.parametrize("kind", ["qwen", "llama"])
def test_other_text_has_the_librarys_tokens(
    model_folders: dict[str, Path], kinds: dict[str, Tokenizer], kind: str
) -> None:
    library = tokenizers.Tokenizer.from_file(str(model_folders[kind] / "tokenizer.json"))
    for text in [*toys.CORPUS[:5], "  1234567 times\n\n \u00e9\u6f22", "a<b and <c>"]:
        assert kinds[kind].encode(text) == library.encode(text, add_special_tokens=False).ids


@given(text=TEXTS)
def test_gemmas_two_files_give_the_same_tokens(kinds: dict[str, Tokenizer], text: str) -> None:
    assert kinds["gemma"].encode(text) == kinds["gemma_json"].encode(text)


def test_no_begin_token_is_added(model_folders: dict[str, Path], kinds: dict[str, Tokenizer]) -> None:
    library = tokenizers.Tokenizer.from_file(str(model_folders["llama"] / "tokenizer.json"))
    begin = kinds["llama"].control("<|begin_of_text|>")
    assert library.encode("hi").ids == [begin, *kinds["llama"].encode("hi")]


Change = Callable[[dict], object]


@pytest.fixture
def changed(model_folders: dict[str, Path], tmp_path: Path) -> Callable[[str, Change], Path]:
    """A folder's tokenizer.json with a change made to it."""

    def write(kind: str, change: Change) -> Path:
        spec = json.loads((model_folders[kind] / "tokenizer.json").read_text())
        change(spec)
        return toys.write_spec(tmp_path / "tokenizer.json", spec)

    return write


def test_nothing_is_cut_off_padded_or_dropped_at_random(changed, kinds: dict[str, Tokenizer]) -> None:
    def change(spec: dict) -> None:
        spec["truncation"] = {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0}
        spec["padding"] = {
            "strategy": {"Fixed": 64},
            "direction": "Right",
            "pad_to_multiple_of": None,
            "pad_id": 0,
            "pad_type_id": 0,
            "pad_token": "!",
        }
        spec["model"]["dropout"] = 0.9

    path = changed("qwen", change)
    text = "You are a helpful assistant. The answer is 42."
    assert len(tokenizers.Tokenizer.from_file(str(path)).encode(text).ids) == 64
    assert HuggingFaceTokenizer(path).encode(text) == kinds["qwen"].encode(text)


PREFIXES = {
    "byte level": lambda spec: spec["pre_tokenizer"]["pretokenizers"][1].update(add_prefix_space=True),
    "metaspace": lambda spec: spec.update(
        normalizer=None,
        pre_tokenizer={"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": False},
        decoder={
            "type": "Sequence",
            "decoders": [
                {"type": "ByteFallback"},
                {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": False},
            ],
        },
    ),
    "prepended": lambda spec: spec.update(
        normalizer={"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "\u2581"}, spec["normalizer"]]},
        decoder={
            "type": "Sequence",
            "decoders": [
                *spec["decoder"]["decoders"],
                {"type": "Strip", "content": " ", "start": 1, "stop": 0},
            ],
        },
    ),
}


@pytest.mark.parametrize(
    "how, kind", [("byte level", "qwen"), ("metaspace", "gemma_json"), ("prepended", "gemma_json")]
)
def test_no_space_is_put_in_front_of_a_text(changed, how: str, kind: str) -> None:
    path = changed(kind, PREFIXES[how])
    tokenizer, library = HuggingFaceTokenizer(path), tokenizers.Tokenizer.from_file(str(path))
    assert library.encode("answer").ids == tokenizer.encode(" answer")
    assert tokenizer.decode([*tokenizer.encode("the"), *tokenizer.encode("answer")]) == "theanswer"
    assert tokenizer.decode(tokenizer.encode(" the")) == " the"


def test_merges_that_spell_a_control_do_not_make_one(tmp_path: Path) -> None:
    tokenizer = tokenizers.Tokenizer(
        tokenizers.models.BPE(
            vocab={"<": 0, "a": 1, ">": 2, "<a": 3, "<a>": 4, " ": 5}, merges=[("<", "a"), ("<a", ">")]
        )
    )
    tokenizer.decoder = tokenizers.decoders.Fuse()
    tokenizer.add_special_tokens(["<a>"])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    with pytest.warns(UserWarning, match="loses text"):
        ours = HuggingFaceTokenizer(tmp_path / "tokenizer.json")
    assert ours.control("<a>") == 4
    assert ours.encode("a<a>") == [1, 0, 1, 2]
    assert ours.decode(ours.encode("<a><a>")) == "<a><a>"


def test_an_unknown_character_leaves_no_unknown_token(tmp_path: Path) -> None:
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(vocab={"<unk>": 0, "a": 1}, merges=[], unk_token="<unk>"))
    tokenizer.decoder = tokenizers.decoders.Fuse()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    with pytest.warns(UserWarning, match=r"tokenizer\.json loses text"):
        ours = HuggingFaceTokenizer(tmp_path / "tokenizer.json")
    assert ours.control_ids() == {0}
    assert ours.encode("a?a") == [1, 1]


def test_a_unigram_model_spells_no_control_either(tmp_path: Path) -> None:
    pieces = [("<unk>", 0.0), ("<a>", -1.0), ("<", -9.0), ("a", -9.0), (">", -9.0)]
    tokenizer = tokenizers.Tokenizer(tokenizers.models.Unigram(pieces, unk_id=0))
    tokenizer.decoder = tokenizers.decoders.Fuse()
    tokenizer.add_special_tokens(["<a>"])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    with pytest.warns(UserWarning, match="loses text"):
        ours = HuggingFaceTokenizer(tmp_path / "tokenizer.json")
    assert ours.control_ids() == {0, 1}
    assert ours.encode("a<a>?") == [3, 2, 3, 4]


def test_ids_without_a_token_are_no_text(changed) -> None:
    def leave_a_gap(spec: dict) -> None:
        spec["model"]["vocab"]["gap"] = 420

    path = changed("gemma_json", leave_a_gap)
    spec = json.loads(path.read_text())
    spec["model"]["vocab"]["behind"] = 430
    tokenizer = HuggingFaceTokenizer(toys.write_spec(path, spec))
    assert tokenizer.vocab_size == 431
    assert set(range(421, 430)) <= tokenizer.control_ids()
    assert not {420, 430} & tokenizer.control_ids()


def added(spec: dict, content: str, number: int | None = None) -> None:
    last = max(token["id"] for token in spec["added_tokens"])
    spec["added_tokens"].append(
        {**spec["added_tokens"][-1], "content": content, "id": number or last + 1, "special": False}
    )


def test_an_added_word_is_text(changed) -> None:
    tokenizer = HuggingFaceTokenizer(changed("qwen", lambda spec: added(spec, "abacus")))
    assert tokenizer.encode("abacus") == [tokenizer.vocab_size - 1]
    assert tokenizer.decode(tokenizer.encode("an abacus")) == "an abacus"


def test_a_stand_in_for_images_is_no_token_of_the_vocabulary(changed, kinds: dict[str, Tokenizer]) -> None:
    path = changed("qwen", lambda spec: added(spec, "<image_soft_token>"))
    tokenizer = HuggingFaceTokenizer(path)
    assert tokenizer.vocab_size == kinds["qwen"].vocab_size
    assert tokenizer.encode("<image_soft_token>") == kinds["qwen"].encode("<image_soft_token>")


def test_added_tokens_that_the_library_would_number_otherwise_are_refused(changed) -> None:
    with pytest.raises(UserError, match=r"the added token 'abacus' has id 5000, which leaves a gap"):
        HuggingFaceTokenizer(changed("qwen", lambda spec: added(spec, "abacus", 5000)))


@pytest.mark.parametrize(
    "content, message",
    [
        ("", r"is not a tokenizer\.json file: Expecting value"),
        ("{", r"is not a tokenizer\.json file: "),
        ("\x00\xff", r"is not a tokenizer\.json file: "),
        ("[]", r"it has no model \(tokenizer_config\.json is another file\)"),
        ('{"model_max_length": 7}', r"it has no model \(tokenizer_config\.json is another file\)"),
        ('{"model": {"type": "WordPiece", "vocab": {}}}', r"kind WordPiece: only BPE and Unigram can write any text"),
        ('{"model": {}}', r"kind None: only BPE and Unigram"),
        ('{"model": {"type": "BPE"}}', r"is not a tokenizer\.json file that works: "),
        ('{"model": {"type": "BPE", "vocab": {}, "merges": []}, "added_tokens": [{"id": 0}]}', r"that works: "),
        ('{"model": {"type": "BPE", "vocab": {}, "merges": []}, "added_tokens": 7}', r"that works: "),
        ('{"model": {"type": "BPE", "vocab": {}, "merges": []}, "decoder": "none"}', r"that works: "),
        ('{"model": {"type": "BPE", "vocab": {}, "merges": []}}', r"holds no tokens"),
    ],
)
def test_a_file_of_another_kind(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(content, encoding="latin-1")
    with pytest.raises(UserError, match=message) as error:
        load_tokenizer(path)
    assert "tokenizer.json" in str(error.value) and "\n" not in str(error.value)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no tokenizer at .*none\.json: give the path of a tokenizer\.json file"):
        HuggingFaceTokenizer(tmp_path / "none.json")
    with pytest.raises(UserError, match=r"no tokenizer at .*none: give a tokenizer\.json, a SentencePiece"):
        load_tokenizer(tmp_path / "none")


def test_a_folder_or_a_file_is_loaded(model_folders: dict[str, Path], tmp_path: Path) -> None:
    json_file, model_file = model_folders["qwen"] / "tokenizer.json", model_folders["gemma"] / "tokenizer.model"
    assert isinstance(load_tokenizer(json_file), HuggingFaceTokenizer)
    assert isinstance(load_tokenizer(model_folders["qwen"]), HuggingFaceTokenizer)
    assert isinstance(load_tokenizer(str(model_file)), SentencePieceTokenizer)
    assert isinstance(load_tokenizer(model_folders["gemma"]), SentencePieceTokenizer)
    (tmp_path / "other.model").write_bytes(model_file.read_bytes())
    assert isinstance(load_tokenizer(tmp_path), SentencePieceTokenizer)
    (tmp_path / "tokenizer.json").write_bytes(json_file.read_bytes())
    assert isinstance(load_tokenizer(tmp_path), HuggingFaceTokenizer)


def test_a_model_file_is_loaded_for_texts_in_the_middle_of_contexts(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(toys.write_sentencepiece(tmp_path / "tokenizer.model"))
    assert tokenizer.decode([*tokenizer.encode("the"), *tokenizer.encode("answer")]) == "theanswer"


def test_a_folder_without_a_tokenizer_and_one_with_several(tmp_path: Path) -> None:
    (tmp_path / "vocab.json").write_text("{}")
    with pytest.raises(UserError, match=r"holds no tokenizer\.json and no SentencePiece \.model file: copy"):
        load_tokenizer(tmp_path)
    for name in ("a.model", "b.model"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(UserError, match=r"holds several tokenizers \(a\.model, b\.model\): give the path of one"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("name", [5, ["x"], {}])
def test_the_name_of_an_unknown_token_counts_for_nothing_beside_its_id(tmp_path, name):
    """The library reads none for Unigram, so whatever stands there goes by."""
    model = {"type": "Unigram", "unk_id": 0, "vocab": [["a", 0.0], ["b", -1.0]], "unk_token": name}
    (tmp_path / "tokenizer.json").write_text(json.dumps({"added_tokens": [], "model": model}))
    with pytest.warns(UserWarning, match="loses text"):
        assert load_tokenizer(tmp_path).encode("b") == [1]


def test_a_unigram_model_that_can_write_only_what_it_knows_is_refused(tmp_path):
    """The library stops at the first character that it does not know."""
    model = {"type": "Unigram", "unk_id": None, "vocab": [["a", 0.0], ["b", -1.0]]}
    (tmp_path / "tokenizer.json").write_text(json.dumps({"added_tokens": [], "model": model}))
    with pytest.raises(UserError, match="without unk_id: give the id"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("last", [10**6, 4 * 10**9])
def test_ids_with_gaps_of_gigabytes_are_refused(tmp_path, last):
    """All ids without a token are controls: a set of four thousand million numbers."""
    model = {"type": "BPE", "vocab": {"a": 0, "b": last}, "merges": []}
    (tmp_path / "tokenizer.json").write_text(json.dumps({"added_tokens": [], "model": model}))
    with pytest.raises(UserError, match=f"numbers 2 tokens up to {last}"):
        load_tokenizer(tmp_path)


def test_a_file_nested_deeply_is_no_tokenizer(tmp_path):
    (tmp_path / "tokenizer.json").write_text("[" * 100_000)
    with pytest.raises(UserError, match="nested too deeply"):
        load_tokenizer(tmp_path)


def test_a_panic_of_the_library_is_an_error_of_one_line(tmp_path):
    """It is no Exception: a prefix longer than the pieces makes the library count below zero."""
    model = {
        "type": "BPE",
        "vocab": {"a": 0, "b": 1, "ab": 2},
        "merges": [["a", "b"]],
        "continuing_subword_prefix": "##",
    }
    (tmp_path / "tokenizer.json").write_text(json.dumps({"added_tokens": [], "model": model}))
    with pytest.raises(UserError, match=r"not a tokenizer\.json file that works"):
        load_tokenizer(tmp_path)
