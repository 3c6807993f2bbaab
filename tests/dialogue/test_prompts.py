"""Prompts as files with named fields: what is filled in, what is refused, and what ships."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sml_jax.common.errors import UserError
from sml_jax.dialogue.prompts import FOLDER, Prompts, fill


def test_fields_and_optional_parts() -> None:
    template = "{{question}}\n{{#knowledge}}\nknown: {{knowledge}}\n{{/knowledge}}\nend"
    assert fill(template, question="Q", knowledge="K") == "Q\nknown: K\nend"
    assert fill(template, question="Q", knowledge="") == "Q\nend"


@given(st.text(), st.text())
def test_what_a_field_holds_is_never_taken_for_a_field(question: str, knowledge: str) -> None:
    question = f"{question}{{{{knowledge}}}}{{{{#knowledge}}}}\\1"
    assert fill("a {{question}} b", question=question, knowledge=knowledge) == f"a {question} b"


def test_braces_of_latex_and_code_are_left_alone() -> None:
    assert fill(r"write \boxed{x} or {question} {{question}}", question=r"\frac{1}{2}") == (
        r"write \boxed{x} or {question} \frac{1}{2}"
    )


@pytest.mark.parametrize(
    "prompts",
    [
        Prompts(),
        Prompts(student="student_code", teacher="teacher_code"),
        Prompts(student="student_plain", teacher="teacher_plain_math", feedback_tag=""),
        Prompts(teacher="teacher_plain_code", feedback_tag=""),
    ],
)
def test_the_prompts_that_ship(prompts: Prompts) -> None:
    assert "find x" in prompts.for_student("find x")
    teacher_context, ignorant = prompts.for_teacher("find x", "the answer is 7"), prompts.for_teacher("find x", "")
    assert "the answer is 7" in teacher_context and "Private, for you alone" in teacher_context
    assert "find x" in ignorant and "Private, for you alone" not in ignorant
    for text in (teacher_context, ignorant, prompts.for_student("x"), prompts.for_question()):
        assert text == text.strip() and "{{" not in text and not re.search(r"\n{3}", text)
    assert all("{{" not in part for part in (*prompts.around_student(), *prompts.around_verifier()))


def test_every_shipped_file_is_one_that_a_prompt_can_be() -> None:
    kinds = {"student", "teacher", "verifier", "ask", "user", "label"}
    assert {path.stem.split("_")[0] for path in FOLDER.glob("*.txt")} == kinds


def test_a_file_of_ones_own(tmp_path) -> None:
    path = tmp_path / "mine.txt"
    path.write_text("\nSolve: {{ question }}!\n\n")
    assert Prompts(student=str(path)).for_student("1+1") == "Solve: 1+1!"


@pytest.mark.parametrize(
    ("settings", "text", "message"),
    [
        ({"student": "student_maths"}, None, r"no prompt 'student_maths' .*give a path or one of .*student_math"),
        ({"student": "FILE"}, "solve it", r"lacks the field \{\{question\}\}"),
        ({"student": "FILE"}, "{{question}} {{answer}}", r"unknown field \{\{answer\}\}; its fields are \{\{question"),
        ({"teacher": "FILE"}, "{{question}} {{#knowledge}} <feedback>", "optional part is not closed"),
        ({"teacher": "FILE"}, "{{question}} help them", "never mentions <feedback>"),
        ({"says": "FILE"}, "{{utterance}} {{utterance}}", "once and no optional parts"),
        ({"verifier": "FILE"}, "{{#verifier}}{{verifier}}{{/verifier}}", "once and no optional parts"),
        ({"question": "FILE"}, "ask about {{question}}", r"unknown field .*its fields are none"),
        ({"feedback_tag": "a b"}, None, "give letters alone"),
    ],
)
def test_what_cannot_be_is_named(tmp_path, settings: dict, text: str | None, message: str) -> None:
    path = tmp_path / "mine.txt"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=message):
        Prompts(**{name: str(path) if value == "FILE" else value for name, value in settings.items()})


def test_a_file_that_is_no_text(tmp_path) -> None:
    (tmp_path / "mine.txt").write_bytes(b"\xff\xfe{{question}}")
    with pytest.raises(UserError, match="is not UTF-8 text: save it as UTF-8"):
        Prompts(student=str(tmp_path / "mine.txt"))
