"""Prompts: plain text files with named fields, `{{question}}`, and optional parts, `{{#name}}...{{/name}}`."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from sml_jax.common.paths import user_path
from sml_jax.errors import UserError

FOLDER = Path(__file__).parent.parent / "prompts"

_FIELD = re.compile(r"\{\{([#/]?)\s*(\w+)\s*\}\}")
_PART = re.compile(r"\{\{#\s*(\w+)\s*\}\}\n?(.*?)\{\{/\s*\1\s*\}\}\n?", re.DOTALL)


@dataclass(frozen=True)
class Prompts:
    """What stands around problem, utterances and private knowledge in contexts of chat models.

    Each prompt is the name of a file that ships with the package (`sml_jax/prompts/NAME.txt`) or the path of one's own.
    A field `{{name}}` is replaced by its text; a part `{{#name}}...{{/name}}` stands only where that text is not empty.

    Attributes:
      student: the student's first message. Field: question (needed).
      teacher: the teacher's instructions. Fields: question (needed), knowledge.
      says: how the teacher is shown each student turn. Field: utterance (needed, once).
      verifier: how it is shown the verifier's words on that turn. Field: verifier (needed, once).
      question: asks for the question that Q-priming puts in place of a student turn. No fields.
      student_system, teacher_system: system texts (not files), "" for none.
      feedback_tag: only what the teacher writes within `<tag>...</tag>` goes to the student, so that it may think
        first; a turn without it is sampled again, then replaced. "" for no tag: the whole turn goes over.
    """

    student: str = "student_math"
    teacher: str = "teacher_math"
    says: str = "student_says"
    verifier: str = "verifier_says"
    question: str = "ask_question"
    student_system: str = ""
    teacher_system: str = ""
    feedback_tag: str = "feedback"

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z_]*", self.feedback_tag):
            raise UserError(f"prompts: feedback_tag is {self.feedback_tag!r}; give letters alone, or '' for no tag")
        _load(self.student, ("question",), ("question",))
        teacher = _load(self.teacher, ("question",), ("question", "knowledge"))
        _load(self.says, ("utterance",), ("utterance",))
        _load(self.verifier, ("verifier",), ("verifier",))
        _load(self.question, (), ())
        if self.feedback_tag and f"<{self.feedback_tag}>" not in teacher + self.teacher_system:
            raise UserError(
                f"prompts: the teacher's prompt {self.teacher!r} never mentions <{self.feedback_tag}>, within which "
                "its words to the student must stand: mention it, or set Prompts.feedback_tag to ''"
            )

    def for_student(self, question: str) -> str:
        """The student's first message."""
        return fill(_load(self.student, ("question",), ("question",)), question=question)

    def for_teacher(self, question: str, knowledge: str) -> str:
        """The teacher's instructions, with what it alone knows."""
        template = _load(self.teacher, ("question",), ("question", "knowledge"))
        return fill(template, question=question, knowledge=knowledge)

    def around_student(self) -> tuple[str, str]:
        """What stands before and after a student turn in the teacher's context."""
        return _around(_load(self.says, ("utterance",), ("utterance",)), "utterance")

    def around_verifier(self) -> tuple[str, str]:
        """What stands before and after the verifier's words in the teacher's context."""
        return _around(_load(self.verifier, ("verifier",), ("verifier",)), "verifier")

    def for_question(self) -> str:
        """The request for a question."""
        return _load(self.question, (), ())


def load_prompt(name: str, *fields: str) -> str:
    """The text of a prompt that holds each of `fields` and no others, for `fill`.

    Args:
      name: of a file that ships with the package, or the path of one's own.

    Raises:
      UserError: there is no such file, or its fields are others.
    """
    return _load(name, fields, fields)


def fill(template: str, **fields: str) -> str:
    """A template with its fields filled in. What a field's text holds is never taken for a field itself."""
    kept = _PART.sub(lambda part: part[2] if fields[part[1]] else "", template)
    return _FIELD.sub(lambda field: fields[field[2]], kept)


def _around(template: str, name: str) -> tuple[str, str]:
    before, _, _, after = _FIELD.split(template)  # one field: text, mark, name, text
    return before, after


@lru_cache(maxsize=256)
def _load(name: str, needed: Collection[str], known: Collection[str]) -> str:
    """A template's text, its fields checked."""
    try:
        path = FOLDER / f"{name}.txt" if re.fullmatch(r"\w+", name) else user_path(name)
        text = path.read_text(encoding="utf-8").strip()
    except UnicodeDecodeError:
        raise UserError(f"prompt {name} is not UTF-8 text: save it as UTF-8") from None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or type(error).__name__
        shipped = ", ".join(sorted(p.stem for p in FOLDER.glob("*.txt")))
        raise UserError(f"no prompt {name!r} ({why}): give a path or one of {shipped}") from None
    found = _FIELD.findall(text)
    for mark, field in found:
        if field not in known:
            fields = ", ".join(f"{{{{{k}}}}}" for k in known) or "none"
            raise UserError(f"prompt {name}: unknown field {{{{{mark}{field}}}}}; its fields are {fields}")
    plain = [field for mark, field in found if not mark]
    for field in needed:
        if field not in plain:
            raise UserError(f"prompt {name} lacks the field {{{{{field}}}}}: write it where that text is to stand")
    if known in (("utterance",), ("verifier",)) and len(found) != 1:
        raise UserError(f"prompt {name} must hold {{{{{known[0]}}}}} once and no optional parts")
    opened = [field for mark, field in found if mark]
    if len(_PART.findall(text)) * 2 != len(opened):
        raise UserError(f"prompt {name}: an optional part is not closed: write {{{{#name}}}}...{{{{/name}}}}")
    return text
