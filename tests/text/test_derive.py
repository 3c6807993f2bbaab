"""Chat formats from the models' own templates: the pieces, the system texts, and what cannot be written as pieces."""

import json
from pathlib import Path

import pytest

from sml_jax.common.errors import UserError
from sml_jax.text import derive
from sml_jax.text.formats import model_format, template_format
from sml_jax.text.jinja_template import PublicTemplate
from sml_jax.text.messages import MessageFormat
from sml_jax.text.pieces import ChatPieces
from sml_jax.text.tokenizer import Tokenizer

TEMPLATES = {path.stem: path.read_text() for path in (Path(__file__).parent / "templates").glob("*.jinja")}
CHATML = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
ASKS = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
# In the manner of Llama 3.1 (a system message with a date, always) and of Gemma 3 (system text in the user's message).
LLAMA = (
    "{{ bos_token }}{% set date = date_string | default(strftime_now('%d %b %Y') if strftime_now is defined "
    "else '26 Jul 2024') %}{% if messages[0].role == 'system' %}{% set said = messages[0].content | trim %}"
    "{% set messages = messages[1:] %}{% else %}{% set said = '' %}{% endif %}"
    "{{ '<|start_header_id|>system<|end_header_id|>\n\nToday Date: ' + date + '\n\n' + said + '<|eot_id|>' }}"
    "{% for m in messages %}{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\n\n' + m.content | trim }}"
    "{{ '<|eot_id|>' }}{% endfor %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}"
)
GEMMA = (
    "{{ bos_token }}{% set head = '' %}{% if messages[0].role == 'system' %}"
    "{% set head = messages[0].content + '\n\n' %}{% set messages = messages[1:] %}{% endif %}"
    "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('turns') }}"
    "{% endif %}{{ '<start_of_turn>' + ('model' if m.role == 'assistant' else m.role) + '\n' }}"
    "{{ (head if loop.first else '') + m.content | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)


def derived(tokenizer: Tokenizer, source: str, thinking: bool = False, **special_tokens: str) -> MessageFormat:
    return template_format(PublicTemplate(source, special_tokens, "the template"), tokenizer, thinking=thinking)


SMOLLM = "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
QWEN = "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n"
PIECES = {
    "smollm2": {"default_start": SMOLLM + "<|im_start|>user\n"},
    "qwen2_5": {"default_start": QWEN + "<|im_start|>user\n"},
    "qwen3": {
        "model": "<|im_start|>assistant\n<think>\n\n</think>\n\n",
        "earlier_model": "<|im_start|>assistant\n",
    },
}


@pytest.mark.parametrize("name", [*PIECES])
def test_the_pieces_of_published_templates(kinds: dict[str, Tokenizer], name: str) -> None:
    shared = {
        "user": "<|im_start|>user\n",
        "model": "<|im_start|>assistant\n",
        "stop": "<|im_end|>",
        "after": "\n",
        "system_start": "<|im_start|>system\n",
        "system_end": "<|im_end|>\n<|im_start|>user\n",
    }
    # SmolLM2 calls the opening of every message its begin token, which opens no context.
    chat = derived(kinds["qwen"], TEMPLATES[name], bos_token="<|im_start|>", eos_token="<|im_end|>")
    assert chat.pieces == ChatPieces(**{**shared, **PIECES[name]})
    assert chat.stop_ids == tuple(map(kinds["qwen"].control, ("<|im_end|>", "<|endoftext|>")))


def test_a_template_that_always_writes_a_system_message_has_its_own_fixed_date(kinds: dict[str, Tokenizer]) -> None:
    chat = derived(kinds["llama"], LLAMA, bos_token="<|begin_of_text|>")
    header = "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nToday Date: 26 Jul 2024\n\n"
    assert chat.pieces == ChatPieces(
        user="<|start_header_id|>user<|end_header_id|>\n\n",
        model="<|start_header_id|>assistant<|end_header_id|>\n\n",
        stop="<|eot_id|>",
        begin="<|begin_of_text|>",
        default_start=f"{header}<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n",
        system_start=header,
        system_end="<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n",
        stripped=frozenset({"system", "user", "model"}),
    )


@pytest.mark.parametrize("takes_system", [True, False])
def test_a_template_without_system_messages_has_the_text_in_front_of_the_users(kinds, takes_system: bool) -> None:
    # Gemma 2's template refuses a system message, so the text stands where Gemma 3's puts it.
    source = (
        GEMMA if takes_system else GEMMA.replace("{% set head = m", "{{ raise_exception('no system') }}{% set x = m")
    )
    chat = derived(kinds["gemma_json"], source, bos_token="<bos>")
    pieces = chat.pieces
    assert (pieces.begin, pieces.user, pieces.model) == ("<bos>", "<start_of_turn>user\n", "<start_of_turn>model\n")
    assert (pieces.stop, pieces.after, pieces.stripped) == ("<end_of_turn>", "\n", frozenset({"user", "model"}))
    assert not pieces.has_system_message and pieces.system_end == "\n\n"
    assert chat.utterance(chat.opening(" Q", " S ")) == "user\n S \n\nQ"


def text_of(chat: MessageFormat, system: str | None) -> str:
    return chat.utterance([*chat.opening("Q", system), *chat.model_turn])


def test_the_system_text_is_the_templates_own_or_none_or_ones_own(kinds: dict[str, Tokenizer]) -> None:
    chat = derived(kinds["qwen"], TEMPLATES["qwen2_5"])
    own = "system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.\n"
    assert text_of(chat, None) == f"{own}user\nQ\nassistant\n"
    assert text_of(chat, "") == "user\nQ\nassistant\n"
    assert text_of(chat, "Be kind.") == "system\nBe kind.\nuser\nQ\nassistant\n"


def test_thinking_is_the_templates_choice(kinds: dict[str, Tokenizer]) -> None:
    tokenizer = kinds["qwen"]
    thinking, plain = (derived(tokenizer, TEMPLATES["qwen3"], thinking=on) for on in (True, False))
    assert thinking.think == (tokenizer.control("<think>"), tokenizer.control("</think>")) and plain.think is None
    assert thinking.pieces.earlier_model is None and thinking.pieces.model == "<|im_start|>assistant\n"
    with pytest.raises(UserError, match=r"the template has no thinking .*: set FamilyChat\.thinking to False"):
        derived(tokenizer, TEMPLATES["qwen2_5"], thinking=True)


def test_a_template_that_opens_every_reply_with_thinking(kinds: dict[str, Tokenizer]) -> None:
    source = CHATML + "{% if '</think>' %}{{ '<|im_start|>assistant\n<think>\n' }}{% endif %}"
    with pytest.raises(UserError, match=r"cannot answer without: set FamilyChat\.thinking to True"):
        derived(kinds["qwen"], source)
    chat = derived(kinds["qwen"], source, thinking=True)
    assert chat.think is not None and chat.pieces.opens_thinking
    thought, said = chat.text("hm"), chat.text("8")
    assert chat.spoken([*thought, chat.think[1], *said]) == said
    # Cut off inside the block that the prompt opened: nothing was said.
    assert chat.spoken(thought) == []


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (CHATML + "{% if %}" + ASKS, "is no Jinja template"),
        ("{{ messages.nothing.at_all }}", "fails on a chat"),
        ("{{ raise_exception('not today') }}", "fails on a chat: not today"),
        ("{{ strftime_now('%Y') }}" + CHATML + ASKS, "fails on a chat: 'strftime_now' is undefined"),
        ("{% set messages = messages[-1:] %}" + CHATML + ASKS, "leaves out a message"),
        (CHATML + CHATML + ASKS, "leaves out a message, repeats it"),
        (
            (CHATML + ASKS).replace("<|im_", "@"),
            r"ends a reply with '@end\|>\\n@start.*no control token",
        ),
        (CHATML.replace("'<|im_end|>", "' .<|im_end|>") + ASKS, r"writes ' \.' between a reply and its end"),
        (CHATML.replace("{{", "{{ loop.index }}{{", 1) + ASKS, "around the first and the second reply"),
        (CHATML + ASKS.replace("assistant", "helper"), "opens the last reply with .* and earlier ones with"),
        ("{{ messages | length }}" + CHATML + ASKS, r"writes '.*' in a chat of \d messages, where its other chats"),
        (CHATML.replace("m.content", "m.content | upper") + ASKS, "leaves out a message"),
        (CHATML.replace("m.content", "m.content | replace('&', 'and')") + ASKS, r"writes '.*Hm and <b>no.*' in a chat"),
    ],
)
def test_what_cannot_be_written_as_pieces_says_why(kinds: dict[str, Tokenizer], source: str, reason: str) -> None:
    with pytest.raises(UserError, match=reason) as error:
        derived(kinds["qwen"], source)
    assert "\n" not in str(error.value)


def test_templates_cannot_reach_out_of_their_sandbox(kinds: dict[str, Tokenizer]) -> None:
    for source in ("{{ ''.__class__.__mro__ }}", "{{ messages.append(1) }}", "{{ cycler.__init__.__globals__ }}"):
        with pytest.raises(UserError, match="fails on a chat"):
            derived(kinds["qwen"], source + CHATML + ASKS)


def test_generation_blocks_and_json_are_written_as_transformers_writes_them() -> None:
    template = PublicTemplate("{% generation %}{{ messages | tojson }}{% endgeneration %}", {}, "it")
    assert template.render([("user", "<é>")]) == '[{"role": "user", "content": "<é>"}]'


@pytest.fixture
def smollm(model_folders: dict[str, Path], tmp_path: Path) -> Path:
    """A folder like SmolLM2's: Llama's model_type, and a template of its own."""
    (tmp_path / "tokenizer.json").write_bytes((model_folders["qwen"] / "tokenizer.json").read_bytes())
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    settings = {"chat_template": TEMPLATES["smollm2"], "eos_token": {"content": "<tool_call>"}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    return tmp_path


def test_a_models_own_template_counts_and_not_its_model_type(smollm: Path, kinds: dict[str, Tokenizer]) -> None:
    tokenizer = kinds["qwen"]
    chat = model_format(smollm, tokenizer)
    assert text_of(chat, None).startswith("system\nYou are a helpful AI assistant named SmolLM")
    ends = [tokenizer.control(name) for name in ("<|im_end|>", "<tool_call>", "<|endoftext|>")]
    assert list(chat.stop_ids) == ends
    # A family that is named by hand comes first.
    assert text_of(model_format(smollm, tokenizer, "chatml"), None) == "user\nQ\nassistant\n"
    with pytest.raises(UserError, match=r"the llama3 chat format needs <\|eot_id\|>"):
        model_format(smollm, tokenizer, "llama3")


def test_where_a_template_is_found(smollm: Path, kinds: dict[str, Tokenizer]) -> None:
    tokenizer, path = kinds["qwen"], smollm / "tokenizer_config.json"
    settings = json.loads(path.read_text())
    several = [{"name": "tool_use", "template": "x"}, {"name": "default", "template": TEMPLATES["qwen2_5"]}]
    path.write_text(json.dumps({**settings, "chat_template": several}))
    assert "You are Qwen" in text_of(model_format(smollm, tokenizer), None)
    (smollm / "chat_template.jinja").write_text(CHATML + ASKS)
    assert text_of(model_format(smollm, tokenizer), None) == "user\nQ\nassistant\n"
    (smollm / "chat_template.jinja").unlink()
    path.write_text("{}")
    with pytest.raises(UserError, match=r"the llama3 chat format needs .* set FamilyChat\.family to another format"):
        model_format(smollm, tokenizer)
    (smollm / "config.json").unlink()
    with pytest.raises(UserError, match=r"holds no chat template.*chat_template\.jinja there, or set FamilyChat\.fam"):
        model_format(smollm, tokenizer)


@pytest.mark.parametrize(
    ("cpu_seconds", "source", "reason"),
    [
        (1, "{% for a in range(9999) %}" * 3 + "{% endfor %}" * 3, "has not come to an end after 1 seconds"),
        (
            20,
            "{% set n = namespace(x='x') %}{% for a in range(99) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
            "of memory",
        ),
    ],
)
def test_a_template_that_never_ends_or_grows_is_refused(
    smollm: Path, kinds: dict[str, Tokenizer], monkeypatch, cpu_seconds: int, source: str, reason: str
) -> None:
    monkeypatch.setattr(derive, "_CPU_SECONDS", cpu_seconds)
    (smollm / "chat_template.jinja").write_text(source)
    with pytest.raises(UserError, match=rf"chat_template\.jinja .*{reason}.*fetch it again"):
        model_format(smollm, kinds["qwen"])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ('{"chat_template": 5}', r'"chat_template" is no text'),
        ('{"chat_template": [{"name": "rag", "template": "x"}]}', r'is named "default": write the one to use into'),
        ('{"chat_template": [5]}', r'is named "default"'),
        ("[]", "is not a JSON object"),
        ("{", "is not a JSON file"),
    ],
)
def test_a_damaged_file_is_named(smollm: Path, kinds: dict[str, Tokenizer], content: str, reason: str) -> None:
    (smollm / "tokenizer_config.json").write_text(content)
    with pytest.raises(UserError, match=r"tokenizer_config\.json.*" + reason):
        model_format(smollm, kinds["qwen"])
    (smollm / "tokenizer_config.json").write_text("{}")
    (smollm / "chat_template.jinja").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match=r"chat_template\.jinja is not a text file"):
        model_format(smollm, kinds["qwen"])
