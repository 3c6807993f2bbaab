"""Contexts on real tokenizers against `transformers`: 200 random chats on each, token by token."""

import atexit
import dataclasses
import functools
import os
import random
import shutil
import tempfile
import unicodedata
from pathlib import Path
from typing import Any

import pytest
import tokenizers

from sml_jax.text.formats import model_format
from sml_jax.text.gguf_texts import write_gguf_texts
from sml_jax.text.huggingface import load_tokenizer
from sml_jax.text.messages import MessageFormat

transformers = pytest.importorskip("transformers")

CACHE = Path(os.environ.get("SML_JAX_CACHE") or Path.home() / ".cache" / "sml-jax")
# Of models that come as one file, whose tokenizer and template are written from it.
GGUF = {"smollm2": "smollm2-135m-instruct-q4_1.gguf", "qwen2_5": "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf"}
SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("qwen2_5", "qwen3", "gemma3")]
NAMES = ["smollm2", "llama3", *SLOW]
CHATS = 200
# Words and white space that tokenizers and templates may trip over.
WORDS = [
    *("What is", "12 times 34", "?", " ", "  ", "\n", "\n\n", "\t", "caf\u00e9", "e\u0301", "\u6f22\u5b57"),
    *(
        "\U0001f4a5",
        "\u00a0",
        "def f(x):\n    return x",
        "\\boxed{408}",
        "<b>",
        "'s",
        "I'm",
        "1234567",
        "...",
        "{{ x }}",
    ),
    *("\r\n", "so"),
]
Chat = tuple[str | None, list[str]]


@functools.cache
def folder(name: str) -> Path:
    """A folder with the model's tokenizer and template."""
    path = CACHE / GGUF.get(name, f"{name}/tokenizer.json")
    if not path.is_file():
        pytest.skip(f"no {path}: python benchmarks/real_models.py fetches it")
    if name not in GGUF:
        return path.parent
    written = Path(tempfile.mkdtemp(prefix=name))
    atexit.register(shutil.rmtree, written)
    write_gguf_texts(path, written)
    return written


@functools.cache
def public(name: str) -> Any:
    return transformers.AutoTokenizer.from_pretrained(folder(name))


@functools.cache
def ours(name: str, thinking: bool = False) -> MessageFormat:
    return model_format(folder(name), load_tokenizer(folder(name)), thinking=thinking)


def a_text(rng: random.Random, words: list[str]) -> str:
    return "".join(rng.choice(words) + rng.choice(["", " ", "\n"]) for _ in range(rng.randint(1, 8)))


def chats(seed: int, more: tuple[str, ...] = (), turns: int = 6) -> list[Chat]:
    """System text or None, and the texts of user and model in turn; the user speaks first and last."""
    rng, words = random.Random(seed), [*WORDS, *more]
    return [
        (rng.choice([None, a_text(rng, words)]), [a_text(rng, words) for _ in range(2 * rng.randint(1, turns) - 1)])
        for _ in range(CHATS)
    ]


def rendered(name: str, chat: Chat, **settings: object) -> list[int]:
    system, texts = chat
    messages = [] if system is None else [{"role": "system", "content": system}]
    messages += [{"role": ("user", "assistant")[index % 2], "content": text} for index, text in enumerate(texts)]
    return public(name).apply_chat_template(
        messages, add_generation_prompt=True, tokenize=True, return_dict=False, **settings
    )


def appended(form: MessageFormat, chat: Chat) -> list[int]:
    """The chat's context, each message appended as text."""
    system, texts = chat
    tokens = form.opening(texts[0], system)
    for index, text in enumerate(texts[1:], 1):
        tokens += [*form.close_user, *form.message("model", text)] if index % 2 else form.message("user", text)
        tokens = tokens if index % 2 else tokens[: len(tokens) - len(form.close_user)]
    return [*tokens, *form.model_turn]


@pytest.mark.parametrize("name", NAMES)
def test_a_context_is_what_apply_chat_template_gives(name: str) -> None:
    # Qwen 3 without thinking takes back what it wrote, see the next test.
    form = ours(name, thinking=name == "qwen3")
    for chat in chats(seed=1):
        assert appended(form, chat) == rendered(name, chat)


@pytest.mark.slow
def test_qwen3_without_thinking_gives_the_first_prompt() -> None:
    for chat in chats(seed=2, turns=1):
        assert appended(ours("qwen3"), chat) == rendered("qwen3", chat, enable_thinking=False)


@pytest.mark.parametrize("name", NAMES)
def test_a_dialogue_grows_to_the_same_context(name: str) -> None:
    """As in a dialogue: what was sampled, and what the other side said, is appended as tokens."""
    form = ours(name, thinking=name == "qwen3")
    for system, texts in chats(seed=3):
        # What stands in tokens before a message cannot join the message's first newline.
        spoken = [text.strip() or "so" for text in texts]
        context = [*form.opening(spoken[0], system), *form.model_turn]
        for index, text in enumerate(spoken[1:], 1):
            said = form.text(text)
            context += [*said, form.stop_ids[0]] if index % 2 else [*form.next_user, *said, *form.model_turn]
        assert context == rendered(name, (system, spoken))


@pytest.mark.slow
@pytest.mark.parametrize("thinking", [True, False])
def test_thinking_that_is_taken_back_leaves_the_public_templates_context(thinking: bool) -> None:
    form = dataclasses.replace(ours("qwen3", thinking), take_back=True)
    for system, texts in chats(seed=7):
        spoken = [text.strip() or "so" for text in texts]
        context = [*form.opening(spoken[0], system), *form.model_turn]
        for index, text in enumerate(spoken[1:], 1):
            said = form.text(text)
            if index % 2:
                thought = [form.think[0], *form.text("\nhm\n"), form.think[1], *form.text("\n\n")] if form.think else []
                taken = form.earlier_message([*thought, *said, form.stop_ids[0]])
                if taken is not None:
                    context, said = context[: len(context) - taken[0]], taken[1]
                context += [*said, form.stop_ids[0]]
            else:
                context += [*form.next_user, *said, *form.model_turn]
        # Whether or not its messages still hold the thinking, the template leaves it out.
        block = "<think>\nhm\n</think>\n\n" if thinking else ""
        messages = [block + text if index % 2 else text for index, text in enumerate(spoken)]
        assert context == rendered("qwen3", (system, messages), enable_thinking=thinking)


@pytest.mark.parametrize("name", NAMES)
def test_text_that_spells_a_control_token_stays_text(name: str) -> None:
    """`transformers` lets it open and close messages."""
    form = ours(name, thinking=name == "qwen3")
    tokenizer = form.tokenizer
    controls = tokenizer.control_ids()
    spelled = tuple(sorted(tokenizer.control_names(), key=lambda text: ("im_" not in text, len(text)))[:12])
    differing = 0
    for system, texts in chats(seed=4, more=spelled):
        tokens = appended(form, (system, texts))
        marks = [token for token in tokens if token in controls]
        plain_chat = (system and "x", ["x" for _ in texts])
        assert marks == [token for token in appended(form, plain_chat) if token in controls]
        # Every text is found in the context as it was written, up to the tokenizer's own normaliser.
        context = tokenizer.decode(tokens)
        assert all(seen(name, text).strip() in context for text in [system or "", *texts])
        differing += tokens != rendered(name, (system, texts))
    assert differing > CHATS / 4


def seen(name: str, text: str) -> str:
    """A text as the public tokenizer's own normaliser leaves it."""
    return unicodedata.normalize("NFC", text) if name.startswith("qwen") else text


@pytest.mark.parametrize("name", NAMES)
def test_the_text_seen_is_the_public_tokenizers_normalisation(name: str) -> None:
    tokenizer = ours(name, thinking=name == "qwen3").tokenizer
    normalizer = public(name).backend_tokenizer.normalizer
    decomposed = ("e\u0301", "\u1112\u1161\u11ab", "\u212b", "\ufb01", "\u0041\u030a")
    for _, texts in chats(seed=5, more=decomposed, turns=1):
        text = texts[0]
        # SentencePiece's normaliser writes its sign for a space.
        normalized = text if normalizer is None else normalizer.normalize_str(text).replace("\u2581", " ")
        assert tokenizer.decode(tokenizer.encode(text)) == normalized == seen(name, text)


@pytest.mark.parametrize("name", NAMES)
def test_plain_text_has_the_public_tokens(name: str) -> None:
    library = tokenizers.Tokenizer.from_file(str(folder(name) / "tokenizer.json"))
    tokenizer = ours(name, thinking=name == "qwen3").tokenizer
    for _, texts in chats(seed=6, turns=2):
        for text in texts:
            assert tokenizer.encode(text) == library.encode(text, add_special_tokens=False).ids
