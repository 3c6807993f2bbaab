"""Tokenizers of GGUF files: the same tokens as the tokenizer.json files that they were made of, and what is refused."""

import json
from pathlib import Path
from typing import Any

import gguf
import pytest
import sentencepiece
import tokenizers

from sml_jax.cli import main as cli
from sml_jax.common.errors import UserError
from sml_jax.common.gguf_header import read_gguf
from sml_jax.dialogue.prompts import Prompts
from sml_jax.run.chats import FamilyChat
from sml_jax.text.gguf_texts import write_gguf_texts
from sml_jax.text.gguf_tokenizer import tokenizer_spec
from sml_jax.text.huggingface import HuggingFaceTokenizer, load_tokenizer
from sml_jax.text.tokenizer import SentencePieceTokenizer
from sml_jax.text.tokenizer_json import LLAMA3_PATTERN, QWEN_PATTERN, is_usual, plain

LINES = [
    "Solve 48 + 24: it's 72.",
    "def add(a, b):\n    return a + b",
    "na\u00efve caf\u00e9, \u6f22\u5b57!",
    "the of and",
] * 5
TEXTS = [
    *LINES[:4],
    " two  spaces\n\n\n and <|im_end|>, <b>bold</b> <end_of_turn>",
    "2024 it'LL a\u0301 \U0001f4a5\u2581\r\n\t x",
    "\n" * 5 + " " * 7,
]
CONTROL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
NORMAL, USER_DEFINED, UNUSED = gguf.TokenType.NORMAL, gguf.TokenType.USER_DEFINED, gguf.TokenType.UNUSED
PLAIN = Prompts(student="student_plain", teacher="teacher_plain_math", feedback_tag="")
TEMPLATE = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"


def write(path: Path, tokens: list[str], types: list[int], architecture: str = "qwen2", **settings: Any) -> Path:
    """Writes a GGUF file with a tokenizer and without a model."""
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    for name, value in settings.items():
        key = name if name == "chat_template" else f"ggml.{name}"
        add = {bool: writer.add_bool, int: writer.add_uint32, str: writer.add_string, list: writer.add_array}
        add[type(value)](f"tokenizer.{key}", value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def byte_level(tmp_path: Path, pre_tokenizer: Any) -> tuple[tokenizers.Tokenizer, list[str], list[str]]:
    """A small byte-level BPE tokenizer with three control tokens; its tokens and merges."""
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer, made.decoder = pre_tokenizer, tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=330, special_tokens=CONTROL, initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet()
    )
    made.train_from_iterator(LINES, trainer)
    model = json.loads(made.to_str())["model"]
    return made, sorted(model["vocab"], key=model["vocab"].get), [" ".join(merge) for merge in model["merges"]]


def split(pattern: str) -> Any:
    parts = tokenizers.pre_tokenizers
    return parts.Sequence(
        [parts.Split(tokenizers.Regex(pattern), "isolated"), parts.ByteLevel(add_prefix_space=False, use_regex=False)]
    )


def gpt2(*before: Any) -> Any:
    parts = tokenizers.pre_tokenizers
    return parts.Sequence([*before, parts.ByteLevel(add_prefix_space=False)])


PRE_TOKENIZERS = {
    "qwen2": split(QWEN_PATTERN),
    "llama-bpe": split(LLAMA3_PATTERN),
    "smollm": gpt2(tokenizers.pre_tokenizers.Digits(individual_digits=True)),
    "gpt-2": gpt2(),
}


@pytest.mark.parametrize("name", PRE_TOKENIZERS)
def test_byte_level_tokens_are_those_of_the_tokenizer_that_the_file_was_made_of(name: str, tmp_path: Path) -> None:
    made, tokens, merges = byte_level(tmp_path, PRE_TOKENIZERS[name])
    types = [3] * 3 + [1] * (len(tokens) - 3)
    # The converter fills the vocabulary up to the rows of the embedding.
    path = write(
        tmp_path / "model.gguf", [*tokens, "<think>", "[PAD9]"], [*types, 4, 5], model="gpt2", pre=name, merges=merges
    )
    made.encode_special_tokens = True
    if name == "qwen2":
        made.normalizer = tokenizers.normalizers.NFC()
    tokenizer = HuggingFaceTokenizer(path)
    assert is_usual(plain(tokenizer_spec(read_gguf(path)), path))
    assert [tokenizer.control(control) for control in CONTROL] == [0, 1, 2]
    assert tokenizer.vocab_size == tokenizer.control("<think>") + 1 == len(tokens) + 1
    for text in TEXTS:
        assert tokenizer.encode(text) == made.encode(text).ids
        assert tokenizer.decode(tokenizer.encode(text)) == made.decode(made.encode(text).ids)


@pytest.fixture(scope="module")
def sentencepiece_file(tmp_path_factory) -> tuple[Path, Path]:
    """A SentencePiece BPE model in the manner of Gemma, and a GGUF file of it."""
    folder = tmp_path_factory.mktemp("sentencepiece")
    (folder / "text").write_text("\n".join(" ".join(LINES).splitlines()))
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "text"),
        model_prefix=str(folder / "tokenizer"),
        vocab_size=400,
        model_type="bpe",
        byte_fallback=True,
        hard_vocab_limit=False,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        add_dummy_prefix=False,
        user_defined_symbols=["\n\n", "\n", "  ", "<end_of_turn>", "<b>"],
        minloglevel=2,
    )
    processor = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    pieces, types, scores = [], [], []
    for i in range(processor.get_piece_size()):
        piece = processor.id_to_piece(i)
        control, byte = processor.is_control(i), processor.is_byte(i)
        is_added = piece in ("\n\n", "\n", "\u2581\u2581", "<end_of_turn>", "<b>")
        types.append(2 if processor.is_unknown(i) else 3 if control else 6 if byte else 4 if is_added else 1)
        pieces.append(piece.replace("\u2581", " ") if is_added else piece)
        scores.append(-1000.0 if types[-1] != 1 else processor.get_score(i))
    settings = dict(unknown_token_id=0, bos_token_id=1, eos_token_id=2, add_space_prefix=False, scores=scores)
    return folder / "tokenizer.model", write(
        folder / "model.gguf", pieces, types, "gemma3", model="llama", pre="default", **settings
    )


def test_sentencepiece_tokens_are_those_of_the_model_file(sentencepiece_file: tuple[Path, Path]) -> None:
    model, path = sentencepiece_file
    tokenizer, expected = HuggingFaceTokenizer(path), SentencePieceTokenizer(model)
    assert tokenizer.control("<end_of_turn>") == expected.control("<end_of_turn>")
    assert tokenizer.vocab_size == expected.vocab_size and tokenizer.control_ids() == expected.control_ids()
    for text in TEXTS:
        assert tokenizer.encode(text) == expected.encode(text), text
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_the_files_of_a_folder(tmp_path: Path) -> None:
    _, tokens, merges = byte_level(tmp_path, PRE_TOKENIZERS["llama-bpe"])
    types = [3] * 3 + [1] * (len(tokens) - 3)
    ids = dict(bos_token_id=0, eos_token_id=2, eot_token_id=0, padding_token_id=0)
    path = write(
        *(tmp_path / "model.gguf", tokens, types, "llama"),
        **dict(model="gpt2", pre="llama-bpe", merges=merges, chat_template=TEMPLATE, **ids),
    )
    folder = tmp_path / "folder"
    folder.mkdir()
    assert set(write_gguf_texts(path, folder)) == {file.name for file in folder.iterdir()}
    assert (folder / "chat_template.jinja").read_text() == TEMPLATE
    read = {
        name: json.loads((folder / name).read_text()) for name in ("generation_config.json", "tokenizer_config.json")
    }
    assert read["generation_config.json"] == {"bos_token_id": 0, "pad_token_id": 0, "eos_token_id": [2, 0]}
    named = {name: text for name, text in read["tokenizer_config.json"].items() if name.endswith("_token")}
    assert named == {"bos_token": CONTROL[0], "eos_token": CONTROL[2], "pad_token": CONTROL[0]}
    ours = load_tokenizer(folder)
    for text in TEXTS:
        assert ours.encode(text) == HuggingFaceTokenizer(path).encode(text)
    transformers = pytest.importorskip("transformers", reason="the live comparison needs transformers")
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    # Llama 3 begins every text with its begin token.
    assert theirs.encode(TEXTS[0]) == [0, *ours.encode(TEXTS[0])]
    assert theirs.apply_chat_template([{"role": "user", "content": "Hi"}], tokenize=False) == (
        "<|im_start|>user\nHi<|im_end|>\n"
    )


def test_a_chat_with_a_file(tmp_path: Path) -> None:
    _, tokens, merges = byte_level(tmp_path, PRE_TOKENIZERS["qwen2"])
    types = [3] * 3 + [1] * (len(tokens) - 3)
    settings = dict(model="gpt2", pre="qwen2", merges=merges, eos_token_id=2, bos_token_id=0)
    path = write(tmp_path / "model.gguf", tokens, types, **settings)
    framing = FamilyChat(str(path)).framing()
    opening = framing.student_opening("Is 7 odd?")
    assert HuggingFaceTokenizer(path).decode(opening).count("Is 7 odd?") == 1 and 1 in opening
    assert framing.stop_ids[0] == 2


def test_a_files_own_template_counts_and_is_named_where_it_cannot_be_used(tmp_path: Path) -> None:
    _, tokens, merges = byte_level(tmp_path, PRE_TOKENIZERS["qwen2"])
    types = [3] * 3 + [1] * (len(tokens) - 3)
    settings = dict(model="gpt2", pre="qwen2", merges=merges, eos_token_id=2, bos_token_id=0)
    # The file is of Llama's architecture, and the chat is none of Llama's.
    asks = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    path = write(tmp_path / "a.gguf", tokens, types, "llama", **settings, chat_template=TEMPLATE + asks)
    opening = FamilyChat(str(path), prompts=PLAIN).framing().student_opening("Is 7 odd?")
    assert HuggingFaceTokenizer(path).decode(opening) == "user\nIs 7 odd?\nassistant\n"
    path = write(tmp_path / "b.gguf", tokens, types, "llama", **settings, chat_template=TEMPLATE)
    with pytest.raises(UserError, match=rf"^{path}/chat_template\.jinja cannot be written as a chat that only grows"):
        FamilyChat(str(path)).framing()


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"model": None}, "it holds no tokenizer"),
        ({"model": "bert"}, "its tokenizer is of kind 'bert'; read are 'gpt2' and 'llama'"),
        ({"pre": "jais"}, "it cuts texts by the rules called 'jais'; known are gpt-2, smollm, qwen2"),
        ({"pre": None}, "it cuts texts by the rules called ''"),
        ({"merges": ["a b c"]}, "its tokenizer has no merges, or some that are no pairs"),
        ({"merges": ["zzz yyy"]}, "is not a tokenizer.json file that works"),
        ({"merges": 7}, "tokenizer.ggml.merges is no list of texts"),
        ({"token_type": [1, 1]}, "tokenizer.ggml.token_type is no list of"),
        ({"model": "llama"}, "its tokenizer has no scores"),
        ({"model": "llama", "scores": [1.0]}, "tokenizer.ggml.scores is no list of"),
    ],
)
def test_what_is_no_tokenizer_is_one_line(changes: dict, part: str, tmp_path: Path) -> None:
    _, tokens, merges = byte_level(tmp_path, PRE_TOKENIZERS["qwen2"])
    settings: dict[str, Any] = dict(model="gpt2", pre="qwen2", merges=merges) | changes
    types = settings.pop("token_type", [3] * 3 + [1] * (len(tokens) - 3))
    present = {name: value for name, value in settings.items() if value is not None}
    with pytest.raises(UserError) as error:
        HuggingFaceTokenizer(write(tmp_path / "model.gguf", tokens, types, **present))
    assert part in str(error.value) and "model.gguf" in str(error.value) and len(str(error.value)) < 500


@pytest.mark.parametrize("name", ["eos_token_id", "bos_token_id", "eot_token_id"])
def test_ids_beyond_the_vocabulary(name: str, tmp_path: Path) -> None:
    _, tokens, merges = byte_level(tmp_path, PRE_TOKENIZERS["qwen2"])
    types = [3] * 3 + [1] * (len(tokens) - 3)
    path = write(tmp_path / "model.gguf", tokens, types, model="gpt2", pre="qwen2", merges=merges, **{name: 10_000})
    with pytest.raises(UserError, match=rf"tokenizer\.ggml\.{name} is 10000; it must be a whole number from 0 to"):
        write_gguf_texts(path, tmp_path)
    assert cli.main(["convert", f"--from={path}", f"--to={tmp_path / 'to'}"]) == 2
