"""The families' formats against renderings of their public templates, written out by hand."""

import functools
import json
from pathlib import Path

import pytest
import tokenizers
from hypothesis import example, given
from hypothesis import strategies as st

from sml_jax.common.errors import UserError
from sml_jax.text.families import families, family_of, message_format
from sml_jax.text.messages import MessageFormat
from sml_jax.text.tokenizer import Tokenizer

KIND = {
    "gemma": "gemma_json",
    "gemma4": "gemma4",
    "llama3": "llama",
    "qwen2_5": "qwen",
    "qwen3": "qwen",
    "qwen3_5": "qwen",
    "chatml": "qwen",
}
CHAT = [
    ("user", "What is 12 times 34?"),
    ("model", "The answer is 408."),
    ("user", "Is that right?\n\nTry again."),
    ("model", "I think so: 400 + 8"),
]

# What https://huggingface.co/{google/gemma-2-9b-it, google/gemma-4-E2B-it, meta-llama/Meta-Llama-3-8B-Instruct,
# Qwen/Qwen2.5-7B-Instruct, Qwen/Qwen3-8B} render of CHAT with the generation prompt behind it; Llama 3.1 and Qwen 2.5
# with a system message of their own in front, see the tests of that.
RENDERED = {
    "gemma": (
        "<bos><start_of_turn>user\nWhat is 12 times 34?<end_of_turn>\n"
        "<start_of_turn>model\nThe answer is 408.<end_of_turn>\n"
        "<start_of_turn>user\nIs that right?\n\nTry again.<end_of_turn>\n"
        "<start_of_turn>model\nI think so: 400 + 8<end_of_turn>\n"
        "<start_of_turn>model\n"
    ),
    "gemma4": (
        "<bos><|turn>user\nWhat is 12 times 34?<turn|>\n"
        "<|turn>model\nThe answer is 408.<turn|>\n"
        "<|turn>user\nIs that right?\n\nTry again.<turn|>\n"
        "<|turn>model\nI think so: 400 + 8<turn|>\n"
        "<|turn>model\n"
    ),
    "llama3": (
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nWhat is 12 times 34?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nThe answer is 408.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nIs that right?\n\nTry again.<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nI think so: 400 + 8<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
    ),
    "chatml": (
        "<|im_start|>user\nWhat is 12 times 34?<|im_end|>\n"
        "<|im_start|>assistant\nThe answer is 408.<|im_end|>\n"
        "<|im_start|>user\nIs that right?\n\nTry again.<|im_end|>\n"
        "<|im_start|>assistant\nI think so: 400 + 8<|im_end|>\n"
        "<|im_start|>assistant\n"
    ),
}
RENDERED["qwen2_5"] = RENDERED["qwen3"] = RENDERED["chatml"]


def library(model_folders: dict[str, Path], family: str) -> tokenizers.Tokenizer:
    """The family's toy as the library has it: controls that a text spells are controls."""
    return _library(model_folders[KIND[family]] / "tokenizer.json")


@functools.cache
def _library(path: Path) -> tokenizers.Tokenizer:
    return tokenizers.Tokenizer.from_file(str(path))


def tokens_of(chat: MessageFormat, messages: list[tuple[str, str]], system: str = "") -> list[int]:
    """A context up to the model's next opening."""
    tokens = list(chat.begin)
    if system:
        tokens += chat.message("system", system)
    for speaker, text in messages:
        tokens += chat.message(speaker, text)
    return [*tokens, *chat.open_model]


@pytest.mark.parametrize("family", ["gemma", "gemma4", "llama3", "qwen2_5", "chatml"])
def test_pieces_are_the_tokens_of_the_public_rendering(model_folders, kinds: dict[str, Tokenizer], family: str) -> None:
    expected = library(model_folders, family).encode(RENDERED[family], add_special_tokens=False).ids
    assert tokens_of(message_format(family, kinds[KIND[family]]), CHAT) == expected


def test_gemmas_model_file_gives_the_same(model_folders, kinds: dict[str, Tokenizer]) -> None:
    expected = library(model_folders, "gemma").encode(RENDERED["gemma"]).ids
    assert tokens_of(message_format("gemma", kinds["gemma"]), CHAT) == expected


def test_qwen3_thinking(model_folders, kinds: dict[str, Tokenizer]) -> None:
    """The prompt of a first turn; the public template takes thinking out of earlier turns, see docs/chat_formats.md."""
    encode = library(model_folders, "qwen3").encode
    asked = "<|im_start|>user\nWhat is 12 times 34?<|im_end|>\n<|im_start|>assistant\n"
    on, off = (message_format("qwen3", kinds["qwen"], thinking=thinking) for thinking in (True, False))
    assert tokens_of(on, CHAT[:1]) == encode(asked).ids
    assert tokens_of(off, CHAT[:1]) == encode(asked + "<think>\n\n</think>\n\n").ids
    assert on.think == (kinds["qwen"].control("<think>"), kinds["qwen"].control("</think>"))
    assert off.think is None
    assert set(on.think) <= set(off.suppressed_ids())
    # A turn of the model's is what it was opened with and what it said: contexts are only appended to.
    said = "<|im_start|>assistant\n<think>\n\n</think>\n\n8<|im_end|>\n"
    assert off.message("model", "8") == encode(said).ids


def test_gemma4_thinking(model_folders, kinds: dict[str, Tokenizer]) -> None:
    """A marker in the system's message lets the model think; its thoughts stand in a channel before the answer."""
    tokenizer, encode = kinds["gemma4"], library(model_folders, "gemma4").encode
    on, off = (message_format("gemma4", tokenizer, thinking=thinking) for thinking in (True, False))
    turn = "<|turn>user\nhi<turn|>\n<|turn>model\n"
    assert [*off.opening("hi"), *off.model_turn] == encode("<bos>" + turn).ids
    head = "<bos><|turn>system\n<|think|>\n"
    assert [*on.opening("hi"), *on.model_turn] == encode(f"{head}<turn|>\n{turn}").ids
    assert [*on.opening("hi", " You help.\n"), *on.model_turn] == encode(f"{head}You help.<turn|>\n{turn}").ids
    assert on.think == (tokenizer.control("<|channel>"), tokenizer.control("<channel|>")) and off.think is None
    assert set(on.think) <= set(off.suppressed_ids()) and not set(on.think) & set(on.suppressed_ids())
    # The other side reads what stands behind the channel.
    sampled = encode("<|channel>thought\nis it 408?\n<channel|>408<turn|>").ids
    assert on.utterance(on.spoken(sampled)) == "408"


def test_qwen3_5_opens_the_block_of_thinking_itself(model_folders, kinds: dict[str, Tokenizer]) -> None:
    encode = library(model_folders, "qwen3_5").encode
    asked = "<|im_start|>user\nWhat is 12 times 34?<|im_end|>\n<|im_start|>assistant\n"
    on, off = (message_format("qwen3_5", kinds["qwen"], thinking=thinking) for thinking in (True, False))
    assert tokens_of(on, [("user", " What is 12 times 34?\n")]) == encode(asked + "<think>\n").ids
    assert tokens_of(off, CHAT[:1]) == encode(asked + "<think>\n\n</think>\n\n").ids
    # Inside of the block that the prompt opened nothing is said; behind its end everything is.
    assert on.spoken(on.text("400 and")) == [] and off.spoken(off.text("408")) == off.text("408")
    assert on.think is not None and on.spoken([*on.text("hm"), on.think[1], *on.text("408")]) == on.text("408")


LLAMA_TURN = "<|start_header_id|>user<|end_header_id|>\n\nhi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
CHATML_TURN = "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"


@pytest.mark.parametrize(
    "family, system, rendered",
    [
        ("llama3", None, "<|begin_of_text|>" + LLAMA_TURN),
        ("llama3", "", "<|begin_of_text|>" + LLAMA_TURN),
        (
            "llama3",
            " You help.\n",
            f"<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nYou help.<|eot_id|>{LLAMA_TURN}",
        ),
        (
            "qwen2_5",
            None,
            "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n"
            + CHATML_TURN,
        ),
        ("qwen2_5", "", CHATML_TURN),
        ("qwen2_5", " You help.\n", f"<|im_start|>system\n You help.\n<|im_end|>\n{CHATML_TURN}"),
        ("chatml", None, CHATML_TURN),
        ("gemma", None, "<bos><start_of_turn>user\nhi<end_of_turn>\n<start_of_turn>model\n"),
        ("gemma", "", "<bos><start_of_turn>user\nhi<end_of_turn>\n<start_of_turn>model\n"),
    ],
)
def test_the_system_text_is_the_templates_own_or_none_or_ones_own(
    model_folders, kinds, family: str, system: str | None, rendered: str
) -> None:
    chat = message_format(family, kinds[KIND[family]])
    expected = library(model_folders, family).encode(rendered, add_special_tokens=False).ids
    assert [*chat.opening("hi", system), *chat.model_turn] == expected


def test_gemma_has_its_system_text_in_front_of_the_users(model_folders, kinds: dict[str, Tokenizer]) -> None:
    chat = message_format("gemma", kinds["gemma_json"])
    assert not chat.pieces.has_system_message
    expected = "<bos><start_of_turn>user\nYou help.\n\nhi<end_of_turn>\n<start_of_turn>model\n"
    assert [*chat.opening("hi", "You help."), *chat.model_turn] == library(model_folders, "gemma").encode(expected).ids


TEXTS = st.text(st.characters(exclude_characters="<[\u2581", exclude_categories=["Cs"]))


@pytest.mark.parametrize("family", ["gemma", "llama3", "chatml"])
@given(texts=st.lists(TEXTS, min_size=1, max_size=3))
@example(texts=["  the answer ", "ends with newlines\n\n", "\n\nbegins with newlines"])
def test_pieces_are_the_renderings_tokens_for_any_text(model_folders, kinds, family: str, texts: list[str]) -> None:
    chat = message_format(family, kinds[KIND[family]])
    opening, close = {
        "gemma": ("<start_of_turn>user\n", "<end_of_turn>\n"),
        "llama3": ("<|start_header_id|>user<|end_header_id|>\n\n", "<|eot_id|>"),
        "chatml": ("<|im_start|>user\n", "<|im_end|>\n"),
    }[family]
    written = [text if family == "chatml" else text.strip() for text in texts]
    rendered = "".join(f"{opening}{text}{close}" for text in written)
    ours = [token for text in texts for token in chat.message("user", text)]
    assert ours == library(model_folders, family).encode(rendered, add_special_tokens=False).ids


def test_a_message_that_begins_with_newlines_joins_them_to_its_opening_as_the_template_does(
    model_folders, kinds: dict[str, Tokenizer]
) -> None:
    chat = message_format("chatml", kinds["qwen"])
    encode = library(model_folders, "chatml").encode
    assert chat.message("user", "\nhi") == encode("<|im_start|>user\n\nhi<|im_end|>\n").ids
    assert chat.message("user", "\nhi")[: len(chat.open_user)] != list(chat.open_user)
    # What is appended in tokens is cut there: a context only grows.
    assert chat.next_user == tuple(encode("\n<|im_start|>user\n").ids)


@pytest.mark.parametrize("family", [*KIND])
@given(texts=st.lists(st.text(), max_size=3), more=st.text())
def test_contexts_only_grow(kinds, family: str, texts: list[str], more: str) -> None:
    chat = message_format(family, kinds[KIND[family]])
    context: list[int] = list(chat.begin)
    for text in texts:
        context += chat.message("user", text)
    longer = [*context, *chat.message("user", more)]
    assert longer[: len(context)] == context
    controls = kinds[KIND[family]].control_ids()
    per_message = sum(token in controls for token in chat.message("user", ""))
    assert sum(token in controls for token in longer) == len(chat.begin) + per_message * (len(texts) + 1)


@pytest.mark.parametrize(
    "family, ends",
    [
        ("gemma", ["<end_of_turn>", "<eos>"]),
        ("llama3", ["<|eot_id|>", "<|end_of_text|>", "<|eom_id|>"]),
        ("qwen2_5", ["<|im_end|>", "<|endoftext|>"]),
        ("qwen3", ["<|im_end|>", "<|endoftext|>"]),
        ("chatml", ["<|im_end|>", "<|endoftext|>"]),
    ],
)
def test_ends(kinds: dict[str, Tokenizer], family: str, ends: list[str]) -> None:
    tokenizer = kinds[KIND[family]]
    assert message_format(family, tokenizer).stop_ids == tuple(tokenizer.control(name) for name in ends)


@pytest.mark.parametrize("several", [True, False])
def test_ends_of_the_generation_config_come_behind_the_familys(kinds, tmp_path: Path, several: bool) -> None:
    tokenizer = kinds["qwen"]
    extra, close = tokenizer.control("<tool_call>"), tokenizer.control("<|im_end|>")
    content = {"eos_token_id": [extra, close] if several else extra}
    (tmp_path / "generation_config.json").write_text(json.dumps(content))
    chat = message_format("qwen3", tokenizer, tmp_path)
    assert chat.stop_ids == (close, tokenizer.control("<|endoftext|>"), extra)
    assert extra not in chat.suppressed_ids()


@pytest.mark.parametrize("content", ["{}", '{"eos_token_id": null}', '{"eos_token_id": []}', None])
def test_a_generation_config_without_ends(kinds, tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "generation_config.json").write_text(content)
    assert message_format("gemma", kinds["gemma"], tmp_path) == message_format("gemma", kinds["gemma"])


@pytest.mark.parametrize(
    "content, message",
    [
        ('{"eos_token_id": 300}', r"generation_config\.json: eos_token_id 300 is no control token"),
        ('{"eos_token_id": [1, 9999]}', r"eos_token_id 9999 is no control token"),
        ('{"eos_token_id": "<eos>"}', r"eos_token_id '<eos>' is no control token"),
        ('{"eos_token_id": true}', r"eos_token_id True is no control token"),
        ("{", r"generation_config\.json is not a JSON file"),
        ("[]", r"generation_config\.json is not a JSON object"),
    ],
)
def test_a_generation_config_that_cannot_be(kinds, tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "generation_config.json").write_text(content)
    with pytest.raises(UserError, match=message):
        message_format("gemma", kinds["gemma"], tmp_path)


@pytest.mark.parametrize(
    "family, kind, token",
    [
        ("gemma", "qwen", "<end_of_turn>"),
        ("llama3", "gemma", r"<\|eot_id\|>"),
        ("qwen3", "llama", r"<\|im_end\|>"),
        ("chatml", "gemma", r"<\|im_end\|>"),
    ],
)
def test_the_tokenizer_of_another_family(kinds, family: str, kind: str, token: str) -> None:
    with pytest.raises(UserError, match=rf"the {family} chat format needs {token}, but tokenizer .* has no control"):
        message_format(family, kinds[kind])


def test_an_unknown_family_and_one_that_does_not_think(kinds: dict[str, Tokenizer]) -> None:
    with pytest.raises(
        UserError, match=r"'qwen': FamilyChat\.family is one of chatml, gemma, gemma4, llama3, qwen2_5, qwen3, qwen3_5"
    ):
        message_format("qwen", kinds["qwen"])
    for family in set(families()) - {"qwen3", "qwen3_5", "gemma4"}:
        with pytest.raises(UserError, match=rf"models of family {family} do not think: set FamilyChat\.thinking to F"):
            message_format(family, kinds[KIND[family]], thinking=True)


def test_families_are_those_tested_here() -> None:
    assert set(families()) == set(KIND)


@pytest.mark.parametrize(
    "kind, family",
    [
        ("gemma2", "gemma"),
        ("gemma3_text", "gemma"),
        ("gemma3", "gemma"),
        ("llama", "llama3"),
        ("qwen2", "qwen2_5"),
        ("qwen3", "qwen3"),
    ],
)
def test_the_family_of_a_folder(tmp_path: Path, kind: str, family: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind}))
    assert family_of(tmp_path) == family


@pytest.mark.parametrize(
    "content, message",
    [
        (
            None,
            r"no chat template, and no config\.json to tell .* set FamilyChat\.family to one of chatml, gemma",
        ),
        ("{}", r"no chat format for model_type None: .* set FamilyChat\.family to one of chatml"),
        ('{"model_type": "mamba"}', r"no chat format for model_type 'mamba'"),
        ('{"model_type": ["llama"]}', r"no chat format for model_type \['llama'\]"),
        ("7", r"config\.json is not a JSON object"),
        ("", r"config\.json is not a JSON file"),
    ],
)
def test_a_folder_of_no_family(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(UserError, match=message):
        family_of(tmp_path)
