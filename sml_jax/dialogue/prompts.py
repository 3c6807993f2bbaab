"""Prompts: plain text files with named fields, `{{question}}`, and optional parts, `{{#name}}...{{/name}}`."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from sml_jax.common.errors import UserError
from sml_jax.common.paths import user_path

FOLDER = Path(__file__).parent.parent / "prompts"

# The shipped prompts that have a counterpart for small models.
_BRIEF = {
    **{f"{role}_{kind}": f"{role}_brief_{kind}" for role in ("student", "teacher") for kind in ("math", "code")},
    **{f"teacher_plain_{kind}": f"teacher_brief_{kind}" for kind in ("math", "code")},
    "verifier_says": "verifier_brief",
}

# A field, or one end of an optional part: `{{name}}`, `{{#name}}`, `{{/name}}`.
_FIELD = re.compile(r"\{\{([#/]?)\s*(\w+)\s*\}\}")
# A whole optional part. A newline after either mark belongs to the mark, so that marks may stand on lines of their own.
_PART = re.compile(r"\{\{#\s*(\w+)\s*\}\}\n?(.*?)\{\{/\s*\1\s*\}\}\n?", re.DOTALL)


@dataclass(frozen=True)
class Prompts:
    """The text around problem, utterances and private knowledge in contexts of chat models.

    Each prompt is the name of a file that ships with the package (`sml_jax/prompts/NAME.txt`), or the path of a file of
    the user's. A field `{{name}}` is replaced by its text; a part `{{#name}}...{{/name}}` is left out where that text
    is empty.

    Attributes:
      student: the student's first message. Field: question (required).
      teacher: the teacher's instructions. Fields: question (required), knowledge.
      says: how the teacher is shown each student turn. Field: utterance (required, once).
      verifier: how the teacher is shown the verifier's words on that turn. Field: verifier (required, once).
      question: asks for the question that Q-priming puts in place of a student turn. No fields.
      student_system, teacher_system: system texts (not files), "" for none. None for what the model's own chat
        template has in a chat without a system message: Qwen 2.5 and SmolLM2 were trained with such a text.
      feedback_tag: only what the teacher writes within `<tag>...</tag>` goes to the student, so that the teacher may
        think first. A turn without such a block is sampled again, and replaced if that does not help. "" for no tag:
        the whole turn then goes to the student.

    Raises:
      UserError: a file is missing or has other fields, or the teacher's prompt does not mention the tag.
    """

    student: str = "student_math"
    teacher: str = "teacher_math"
    says: str = "student_says"
    verifier: str = "verifier_says"
    question: str = "ask_question"
    student_system: str | None = None
    teacher_system: str | None = None
    feedback_tag: str = "feedback"

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z_]*", self.feedback_tag):
            raise UserError(f"prompts: feedback_tag is {self.feedback_tag!r}; give letters alone, or '' for no tag")
        # Reading every file now makes a mistake known before a run begins.
        _load(self.student, ("question",), ("question",))
        teacher_text = _load(self.teacher, ("question",), ("question", "knowledge"))
        _load(self.says, ("utterance",), ("utterance",))
        _load(self.verifier, ("verifier",), ("verifier",))
        _load(self.question, (), ())
        if self.feedback_tag and f"<{self.feedback_tag}>" not in teacher_text + (self.teacher_system or ""):
            raise UserError(
                f"prompts: the teacher's prompt {self.teacher!r} never mentions <{self.feedback_tag}>, within which "
                "its words to the student must stand: mention it, or set Prompts.feedback_tag to ''"
            )

    def brief(self) -> Prompts:
        """These prompts with the shipped ones for large models replaced by those that a small model can follow.

        A model of 0.1 to 0.5 B parameters forgets a feedback tag and most of a long instruction. So the brief prompt of
        the teacher asks for the reply alone, without a tag. Prompts of the user's own stay as they are.
        """
        changes = {} if self.teacher not in _BRIEF else {"teacher": _BRIEF[self.teacher], "feedback_tag": ""}
        student, verifier = _BRIEF.get(self.student, self.student), _BRIEF.get(self.verifier, self.verifier)
        return dataclasses.replace(self, student=student, verifier=verifier, **changes)

    def for_student(self, question: str) -> str:
        """The text of the student's first message: the prompt `student` with the problem filled in."""
        return fill(_load(self.student, ("question",), ("question",)), question=question)

    def for_teacher(self, question: str, knowledge: str) -> str:
        """The text of the teacher's instructions: the prompt `teacher`, filled in.

        Args:
          question: the problem.
          knowledge: what the teacher alone knows, "" for nothing.
        """
        template = _load(self.teacher, ("question",), ("question", "knowledge"))
        return fill(template, question=question, knowledge=knowledge)

    def around_student(self) -> tuple[str, str]:
        """The two texts before and after a student turn in the teacher's context, from the prompt `says`."""
        return _around(_load(self.says, ("utterance",), ("utterance",)), "utterance")

    def around_verifier(self) -> tuple[str, str]:
        """The two texts before and after the verifier's words in the teacher's context."""
        return _around(_load(self.verifier, ("verifier",), ("verifier",)), "verifier")

    def for_question(self) -> str:
        """The request for a question that Q-priming's question writer reads: the prompt `question`."""
        return _load(self.question, (), ())


def load_prompt(name: str, *fields: str) -> str:
    """Reads a prompt's template and checks its fields. Fill it in with `fill`.

    Args:
      name: the name of a prompt that ships with the package, or the path of a file.
      fields: the fields that it must have; it may have no others.

    Returns:
      The template's text, without spaces around it.

    Raises:
      UserError: there is no such file, or its fields are not `fields`.
    """
    return _load(name, fields, fields)


def fill(template: str, **fields: str) -> str:
    """Fills in a template: `{{name}}` becomes the field's text, and an optional part with an empty field is left out.

    Args:
      template: what `load_prompt` returns.
      fields: the text of each field of the template, by name. Braces within a text are not taken for fields.
    """
    without_empty_parts = _PART.sub(lambda part: part[2] if fields[part[1]] else "", template)
    return _FIELD.sub(lambda field: fields[field[2]], without_empty_parts)


def _around(template: str, name: str) -> tuple[str, str]:
    """The texts before and after the one field of a template."""
    before, _, _, after = _FIELD.split(template)  # one field: text, mark, name, text
    return before, after


@lru_cache(maxsize=256)
def _load(name: str, required: Collection[str], known: Collection[str]) -> str:
    """Reads a template and checks its fields.

    Args:
      name: as for `load_prompt`.
      required: fields that it must have.
      known: fields that it may have.
    """
    try:
        # A single word is a shipped prompt; a file of one's own has a dot or a slash in its name.
        path = FOLDER / f"{name}.txt" if re.fullmatch(r"\w+", name) else user_path(name)
        text = path.read_text(encoding="utf-8").strip()
    except UnicodeDecodeError:
        raise UserError(f"prompt {name} is not UTF-8 text: save it as UTF-8") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        shipped_names = ", ".join(sorted(p.stem for p in FOLDER.glob("*.txt")))
        raise UserError(f"no prompt {name!r} ({reason}): give a path or one of {shipped_names}") from None
    # The marks are "#" at the head of an optional part, "/" at its end, and "" for a field.
    marks = _FIELD.findall(text)
    for mark, field in marks:
        if field not in known:
            known_fields = ", ".join(f"{{{{{k}}}}}" for k in known) or "none"
            raise UserError(f"prompt {name}: unknown field {{{{{mark}{field}}}}}; its fields are {known_fields}")
    fields_present = [field for mark, field in marks if not mark]
    for field in required:
        if field not in fields_present:
            raise UserError(f"prompt {name} lacks the field {{{{{field}}}}}: write it where that text is to stand")
    # These two are split into the text before and after their one field.
    if known in (("utterance",), ("verifier",)) and len(marks) != 1:
        raise UserError(f"prompt {name} must hold {{{{{known[0]}}}}} once and no optional parts")
    part_names = [field for mark, field in marks if mark]
    if len(_PART.findall(text)) * 2 != len(part_names):
        raise UserError(f"prompt {name}: an optional part is not closed: write {{{{#name}}}}...{{{{/name}}}}")
    return text
