"""How a recipe names a tokenizer and a chat template."""

import pytest
from family_toys import write_family_model
from run_toys import write_tokenizer

from sml_jax.common.errors import UserError
from sml_jax.dialogue.framing import Framing, MessageFraming
from sml_jax.dialogue.prompts import Prompts
from sml_jax.run.chats import FamilyChat, RoleChat
from sml_jax.text.chat import ChatFormat


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_family_model(tmp_path_factory.mktemp("family") / "model")


def test_roles_ship_with_the_package(tmp_path) -> None:
    framing = RoleChat().framing()
    assert isinstance(framing, ChatFormat) and isinstance(framing, Framing) and RoleChat().padding == 0
    toy_framing = RoleChat(str(write_tokenizer(tmp_path / "own.model"))).framing()
    assert toy_framing.tokenizer.vocab_size != framing.tokenizer.vocab_size
    with pytest.raises(UserError, match=r"bind Experiment\.chat to a FamilyChat"):
        RoleChat().framing(Prompts())


def test_the_family_is_told_by_the_folder(folder) -> None:
    chat = FamilyChat(str(folder))
    framing = chat.framing()
    assert isinstance(framing, MessageFraming) and isinstance(framing, Framing)
    opening = framing.student_opening("1 + 1?")
    assert opening[0] == framing.tokenizer.control("<|im_start|>")
    assert framing.stop_ids == tuple(map(framing.tokenizer.control, ("<|im_end|>", "<|endoftext|>")))
    assert "1 + 1?" in framing.utterance(opening)
    assert framing.utterance(FamilyChat(str(folder / "tokenizer.json")).framing().student_opening("1 + 1?")) == (
        framing.utterance(opening)
    )


def test_a_suite_may_have_other_prompts(folder) -> None:
    code = Prompts(student="student_code", teacher="teacher_code")
    chat = FamilyChat(str(folder), prompts=Prompts(student="student_plain"))
    assert "Python" in chat.framing(code).utterance(chat.framing(code).student_opening("task"))
    assert "Python" not in chat.framing().utterance(chat.framing().student_opening("task"))


def test_thinking_is_a_choice(folder) -> None:
    plain, thinking = FamilyChat(str(folder)).framing(), FamilyChat(str(folder), thinking=True).framing()
    marker = plain.tokenizer.control("</think>")
    assert marker in plain.student_opening("Q") and marker not in thinking.student_opening("Q")
    assert marker in plain.suppressed_ids() and marker not in thinking.suppressed_ids()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"family": "qwen9"}, "qwen9"),
        ({"family": "llama3"}, "the llama3 chat format needs .*eot_id"),
        ({"tokenizer": "nowhere"}, "nowhere"),
    ],
)
def test_what_cannot_be_is_named(folder, settings: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        FamilyChat(**{"tokenizer": str(folder), **settings}).framing()
