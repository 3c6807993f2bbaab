"""How a recipe names a tokenizer and a chat template."""

import dataclasses

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


def test_small_models_have_brief_prompts(folder, tmp_path, caplog) -> None:
    brief, long = (FamilyChat(str(folder), brief_prompts=choice).framing() for choice in (True, False))
    by_size = FamilyChat(str(folder)).framing()
    assert isinstance(brief, MessageFraming) and isinstance(long, MessageFraming)
    assert by_size.student_opening("Q") == brief.student_opening("Q") != long.student_opening("Q")
    assert (brief.prompts.feedback_tag, long.prompts.feedback_tag) == ("", "feedback")
    assert " parameters: brief prompts take the place" in caplog.text
    # A tokenizer alone does not tell a size, and prompts of one's own stay.
    (tmp_path / "tokenizer.json").write_bytes((folder / "tokenizer.json").read_bytes())
    unknown = FamilyChat(str(tmp_path), family="qwen3").framing()
    assert unknown.student_opening("Q") == long.student_opening("Q")
    own = Prompts(student="student_plain", teacher="teacher_plain_math", feedback_tag="")
    assert own.brief() == dataclasses.replace(own, teacher="teacher_brief_math", verifier="verifier_brief")
    assert Prompts(student="student_code", teacher="teacher_code").brief() == Prompts(
        student="student_brief_code", teacher="teacher_brief_code", verifier="verifier_brief", feedback_tag=""
    )


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
