"""Dialogues as lists of chat messages, for teachers that read text: the twin of `MessageFraming` without tokens."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from sml_jax.dialogue.framing import marked
from sml_jax.dialogue.prompts import Prompts
from sml_jax.dialogue.teacher import Request

_THINKING = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL)


@dataclass
class _Talk:
    """What the teacher of one dialogue has read and written.

    Attributes:
      private: what it alone learnt about each student turn, "" for nothing.
      written: each of its turns as it wrote it. offered: its latest reply, which may have been refused.
    """

    private: list[str] = field(default_factory=list)
    written: list[str] = field(default_factory=list)
    offered: str = ""


class TeacherMessages:
    """Writes the teacher's side of dialogues as chat messages, in the words of the prompts.

    The teacher is the assistant and the student the user, as in `MessageFraming`: the first user message holds the
    instructions, the problem, the private knowledge and the student's first turn.

    Args:
      prompts: the text around problem, turns and private knowledge.
      redaction: the leak guard's text, which stands in place of refused replies.
    """

    def __init__(self, prompts: Prompts, redaction: str):
        self._prompts, self._redaction = prompts, redaction
        self._around_student, self._around_verifier = prompts.around_student(), prompts.around_verifier()
        self._talks: dict[int, _Talk] = {}

    def for_request(self, request: Request) -> list[dict[str, str]]:
        """The messages of a dialogue up to where the teacher replies.

        Args:
          request: requests of one dialogue must come in their order; one with a `draw` repeats the one before.

        Returns:
          Objects with `role` and `content`.
        """
        student_texts = [turn.text for turn in request.turns[1::2]]
        talk = self._talk(request)
        prompts = self._prompts
        system = [{"role": "system", "content": prompts.teacher_system}] if prompts.teacher_system else []
        instructions = prompts.for_teacher(request.problem.question, request.static_knowledge)
        messages = [*system]
        for index, (student_text, private) in enumerate(zip(student_texts, talk.private, strict=True)):
            parts = [instructions] if index == 0 else []
            parts.append(self._around_student[0] + student_text + self._around_student[1])
            # Private knowledge enters by the instructions and here, and nowhere else.
            if private:
                parts.append(self._around_verifier[0] + private + self._around_verifier[1])
            messages.append({"role": "user", "content": "\n\n".join(parts)})
            if index < len(talk.written):
                messages.append({"role": "assistant", "content": talk.written[index]})
        return messages

    def offered(self, dialogue: int, text: str) -> None:
        """Notes what the teacher wrote as its reply; it becomes its turn unless the leak guard refuses it.

        Args:
          dialogue: its id.
          text: all that the teacher wrote.
        """
        self._talks[dialogue].offered = without_thinking(text)

    def _talk(self, request: Request) -> _Talk:
        """The dialogue's talk, brought up to the request."""
        talk = self._talks.setdefault(request.dialogue, _Talk())
        if request.draw:
            return talk
        if talk.private:
            # The teacher sees its own turn with its notes around the feedback, but a redaction as the student does.
            said = request.turns[-2].text
            talk.written.append(said if said == self._redaction else talk.offered)
        talk.private.append(request.dynamic_knowledge)
        return talk


def without_thinking(text: str) -> str:
    """A model's text without what it thought first, between `<think>` and `</think>`."""
    # Some templates open the thinking in the prompt, so that only its end is in the text.
    return _THINKING.sub("", text.rpartition("</think>")[2]).strip()


def sayable(text: str, tag: str) -> str | None:
    """What of a teacher's text goes to the student.

    Args:
      text: all that the teacher wrote.
      tag: only what stands between `<tag>` and `</tag>` goes over; "" for all but the thinking.

    Returns:
      The text, or None if there is none.
    """
    spoken = without_thinking(text)
    return marked(spoken, tag) if tag else (spoken or None)
