"""Our contexts against `transformers`, which renders Jinja templates and tokenises the whole chat anew."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from sml_jax.text.families import message_format
from sml_jax.text.formats import model_format
from sml_jax.text.tokenizer import Tokenizer

transformers = pytest.importorskip("transformers")
pytest.importorskip("jinja2")

# What the public templates do to plain chats, in our words; theirs handle tools and images besides. Sources as in
# sml_jax/text/families.py.
TURN = "{% for m in messages %}"
GEMMA = (
    "{{ '<bos>' }}"
    + TURN
    + "{{ '<start_of_turn>' + ('model' if m.role == 'assistant' else m.role) + '\n' + m.content | trim }}"
    + "{{ '<end_of_turn>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
GEMMA4 = (
    "{{ '<bos>' }}{% if enable_thinking | default(false) or messages[0].role == 'system' %}{{ '<|turn>system\n' }}"
    + "{% if enable_thinking | default(false) %}{{ '<|think|>\n' }}{% endif %}"
    + "{% if messages[0].role == 'system' %}{{ messages[0].content | trim }}"
    + "{% set messages = messages[1:] %}{% endif %}{{ '<turn|>\n' }}{% endif %}"
    + TURN
    + "{% set said = m.content.split('<channel|>')[-1] if m.role == 'assistant' else m.content %}"
    + "{{ '<|turn>' + ('model' if m.role == 'assistant' else m.role) + '\n' + said | trim + '<turn|>\n' }}"
    + "{% endfor %}{% if add_generation_prompt %}{{ '<|turn>model\n' }}{% endif %}"
)
LLAMA3 = (
    "{{ '<|begin_of_text|>' }}"
    + TURN
    + "{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\n\n' + m.content | trim + '<|eot_id|>' }}{% endfor %}"
    + "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
CHATML = (
    TURN
    + "{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    + "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# A first prompt, and later ones, where the thinking of earlier turns is gone.
QWEN3 = (
    TURN
    + "{% set said = m.content.split('</think>')[-1].lstrip('\n') if m.role == 'assistant' else m.content %}"
    + "{{ '<|im_start|>' + m.role + '\n' + said + '<|im_end|>\n' }}{% endfor %}"
    + "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
    + "{% if enable_thinking is defined and not enable_thinking %}{{ '<think>\n\n</think>\n\n' }}{% endif %}{% endif %}"
)
# The block of thinking is opened, or closed again, by the prompt; texts are stripped; earlier turns lose theirs.
QWEN3_5 = (
    TURN
    + "{% set said = m.content | trim %}{% if m.role == 'assistant' %}"
    + "{% set said = said.split('</think>')[-1].lstrip('\n') %}{% endif %}"
    + "{{ '<|im_start|>' + m.role + '\n' + said + '<|im_end|>\n' }}{% endfor %}"
    + "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n<think>\n' }}"
    + "{% if enable_thinking is defined and not enable_thinking %}{{ '\n</think>\n\n' }}{% endif %}{% endif %}"
)
TEMPLATES = {
    "gemma": ("gemma_json", GEMMA),
    "gemma4": ("gemma4", GEMMA4),
    "llama3": ("llama", LLAMA3),
    "qwen2_5": ("qwen", CHATML),
    "chatml": ("qwen", CHATML),
}
CHAT = [
    {"role": "user", "content": "Solve it: 12 times 34?\n\nShow your work."},
    {"role": "assistant", "content": "12 * 34 = 408.\n- so the answer is \\boxed{408}"},
    {"role": "user", "content": "  Hm, is that\tright? \u00e9\u6f22\U0001f4a5"},
]


def rendered(folder: Path, template: str, chat: list[dict[str, str]], **more: Any) -> list[int]:
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
    return tokenizer.apply_chat_template(
        chat, chat_template=template, add_generation_prompt=True, tokenize=True, return_dict=False, **more
    )


@pytest.mark.parametrize("family", [*TEMPLATES])
@pytest.mark.parametrize("turns", [1, 3])
def test_a_chat_has_the_tokens_that_transformers_gives_it(
    model_folders: dict[str, Path], kinds: dict[str, Tokenizer], family: str, turns: int
) -> None:
    kind, template = TEMPLATES[family]
    chat = message_format(family, kinds[kind])
    trims = family in ("gemma", "gemma4", "llama3")
    ours = list(chat.begin)
    for message in CHAT[:turns]:
        text = message["content"].strip() if trims else message["content"]
        ours += chat.message("user" if message["role"] == "user" else "model", text)
    ours += chat.open_model
    assert ours == rendered(model_folders[kind], template, CHAT[:turns])


@pytest.mark.parametrize("thinking", [True, False])
@pytest.mark.parametrize("own", [True, False], ids=["its own template", "the shipped format"])
def test_gemma4s_turns_with_and_without_thinking(
    model_folders: dict[str, Path], kinds: dict[str, Tokenizer], tmp_path: Path, thinking: bool, own: bool
) -> None:
    if own:
        (tmp_path / "chat_template.jinja").write_text(GEMMA4)
        chat = model_format(tmp_path, kinds["gemma4"], thinking=thinking)
    else:
        chat = message_format("gemma4", kinds["gemma4"], thinking=thinking)
    for system in (None, " Be brief.\n"):
        ours = [*chat.opening(CHAT[0]["content"], system), *chat.model_turn]
        for said, heard in zip(CHAT[1::2], CHAT[2::2], strict=False):
            ours += [*kinds["gemma4"].encode(said["content"]), chat.stop_ids[0]]
            ours += [*chat.next_user, *chat.text(heard["content"].strip()), *chat.model_turn]
        messages = [*([] if system is None else [{"role": "system", "content": system}]), *CHAT]
        messages = messages if messages[-1]["role"] == "user" else messages[:-1]
        assert ours == rendered(model_folders["gemma4"], GEMMA4, messages, enable_thinking=thinking)


@pytest.mark.parametrize("thinking", [True, False])
def test_qwen3s_first_turn(model_folders: dict[str, Path], kinds: dict[str, Tokenizer], thinking: bool) -> None:
    chat = message_format("qwen3", kinds["qwen"], thinking=thinking)
    ours = [*chat.begin, *chat.message("user", CHAT[0]["content"]), *chat.open_model]
    assert ours == rendered(model_folders["qwen"], QWEN3, CHAT[:1], enable_thinking=thinking)


@pytest.mark.parametrize("thinking", [True, False])
def test_qwen3s_public_template_takes_back_what_stood_in_the_context(
    model_folders: dict[str, Path], kinds: dict[str, Tokenizer], thinking: bool
) -> None:
    """Why ours differs from the second turn on: the public prompt of turn two does not begin with that of turn one."""
    chat = message_format("qwen3", kinds["qwen"], thinking=thinking)
    sampled = "<think>\nis it 408?\n</think>\n\n408" if thinking else "408"
    first = rendered(model_folders["qwen"], QWEN3, CHAT[:1], enable_thinking=thinking)
    then = [CHAT[0], {"role": "assistant", "content": sampled}, CHAT[2]]
    second = rendered(model_folders["qwen"], QWEN3, then, enable_thinking=thinking)
    before = transformers.PreTrainedTokenizerFast(tokenizer_file=str(model_folders["qwen"] / "tokenizer.json"))
    context = [*first, *before.encode(sampled + "<|im_end|>\n", add_special_tokens=False)]
    assert second[: len(context)] != context
    ours = [*chat.begin, *chat.message("user", CHAT[0]["content"]), *chat.open_model]
    assert ours == first
    # What the other side reads of that turn is what the public template keeps of it.
    said = chat.spoken(before.encode(sampled + "<|im_end|>", add_special_tokens=False))
    assert chat.utterance(said) == "408"


@pytest.mark.parametrize("thinking", [True, False])
def test_qwen3_5_token_by_token(
    model_folders: dict[str, Path], kinds: dict[str, Tokenizer], tmp_path: Path, thinking: bool
) -> None:
    """The shipped format, and the one that is derived from the template: both as `transformers` renders it."""
    (tmp_path / "chat_template.jinja").write_text(QWEN3_5)
    formats = [message_format("qwen3_5", kinds["qwen"], thinking=thinking)]
    formats.append(model_format(tmp_path, kinds["qwen"], thinking=thinking))
    system = {"role": "system", "content": " You help.\n"}
    for shipped in formats:
        chat = dataclasses.replace(shipped, take_back=True)
        for first, given in ((None, []), ("You help.", [system])):
            opening = [*chat.opening(CHAT[0]["content"], first or ""), *chat.model_turn]
            assert opening == rendered(model_folders["qwen"], QWEN3_5, [*given, CHAT[0]], enable_thinking=thinking)
            # The second prompt: what was sampled has lost its thinking, and the opening its block.
            sampled = [*chat.text("is it 408?"), *([chat.think[1]] if chat.think else []), *chat.text("408")]
            taken, kept = chat.earlier_message([*sampled, chat.stop_ids[0]])
            context = [*opening[: len(opening) - taken], *kept, chat.stop_ids[0], *chat.next_user]
            context += [*chat.text(CHAT[2]["content"].strip()), *chat.model_turn]
            said = "<think>\nis it 408?\n</think>\n\n408" if thinking else "is it 408?408"
            turns = [*given, CHAT[0], {"role": "assistant", "content": said}, CHAT[2]]
            assert context == rendered(model_folders["qwen"], QWEN3_5, turns, enable_thinking=thinking)
