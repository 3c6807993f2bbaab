"""How each side's context is written in tokens: the one place that knows what a turn looks like to which side."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from sml_jax.dialogue.prompts import Prompts
from sml_jax.text.messages import MessageFormat
from sml_jax.text.tokenizer import Tokenizer


@runtime_checkable
class Framing(Protocol):
    """Writes a dialogue as tokens, for each side. A context is only ever appended to.

    The student's context is `student_opening`, a sampled turn, `student_hears`, a sampled turn, ...; the teacher's is
    `teacher_opening`, then for each turn `teacher_hears`, `teacher_reads`, `teacher_begins`, a sampled reply,
    `teacher_ends`. Private knowledge enters by `teacher_opening` and `teacher_reads` alone.
    `sml_jax.text.chat.ChatFormat` is one framing (a control token marks each part), `MessageFraming` another.
    """

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer of both sides."""
        ...

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """Ids of the tokens that end a sampled turn. The rollout closes turns that it writes itself with the first."""
        ...

    # The student's context.

    def student_opening(self, question: str) -> list[int]:
        """The tokens that open the student's context: the problem, and the opening of the student's first turn."""
        ...

    def student_hears(self, reply: Sequence[int]) -> list[int]:
        """The tokens that follow a student turn in the student's context: the teacher's reply, the next turn's opening.

        Args:
          reply: the teacher's reply as tokens. The student turn's end is not in the result: the context has it already.
        """
        ...

    # The teacher's context.

    def teacher_opening(self, question: str, knowledge: str) -> list[int]:
        """The tokens that open the teacher's context, up to where the student's first turn is appended.

        Args:
          question: the problem.
          knowledge: what the teacher alone knows from the start, "" for nothing.
        """
        ...

    def teacher_hears(self, student_turn: Sequence[int]) -> list[int]:
        """The student's turn (tokens without its end) as it is written in the teacher's context."""
        ...

    def teacher_reads(self, private: str, limit: int | None = None) -> list[int]:
        """The verifier's words on the student's turn, as they are written in the teacher's context.

        Args:
          private: the words; for "" the result is empty.
          limit: largest number of tokens of the words themselves, after which they are cut; None for no limit.
        """
        ...

    def teacher_begins(self) -> list[int]:
        """The tokens that open the teacher's turn in its own context."""
        ...

    def teacher_ends(self) -> list[int]:
        """The tokens that close the teacher's turn, up to where the student's next turn is appended."""
        ...

    def asks_question(self) -> list[int]:
        """The tokens that make the question writer write a question that the student could have asked (Q-priming).

        They take the place of `teacher_begins`.
        """
        ...

    # Texts and sampled turns.

    def text(self, text: str) -> list[int]:
        """Plain text as tokens. If it holds the text of a control token, that becomes plain tokens too."""
        ...

    def utterance(self, tokens: Sequence[int]) -> str:
        """The text of a turn's tokens, without the turn's end if that is among them."""
        ...

    def spoken(self, tokens: Sequence[int]) -> list[int]:
        """The tokens of a sampled turn that the other side may read: all but its end and its thinking."""
        ...

    def feedback(self, tokens: Sequence[int]) -> list[int] | None:
        """The tokens of a sampled teacher turn that go to the student; None if the teacher marked no feedback."""
        ...

    def earlier_turn(self, tokens: Sequence[int]) -> tuple[int, list[int]] | None:
        """What becomes of a sampled turn in its speaker's own context when the other side has answered.

        Args:
          tokens: the turn, with or without its end.

        Returns:
          None if it stays as it is, so that contexts only grow. Otherwise the number of tokens at the end of what
          opened the turn that are taken back, and the tokens that stand in place of these and the turn, without its
          end.
        """
        ...

    def suppressed_ids(self) -> tuple[int, ...]:
        """Ids of the tokens that neither side may sample."""
        ...


def around_reply(framing: Framing) -> tuple[list[int], list[int]]:
    """The tokens of `framing.student_hears` that stand before a reply, and those that stand behind it.

    The student's own model can write a reply between the two, as the arm `self_critique` does.
    """
    # A number that is no token's id marks the place of the reply.
    written = framing.student_hears([_PLACE])
    at = written.index(_PLACE)
    return written[:at], written[at + 1 :]


_PLACE = -1


class MessageFraming:
    """Writes dialogues in the chat template of a model family, with prompts around the texts.

    In its own context each side is the model, and the other side is the user. Templates want user and model to
    alternate, so the teacher's first user message holds its instructions, the problem, its private knowledge and the
    student's first turn. The methods are those of `Framing`.

    Args:
      messages: the token pieces of the family's template.
      prompts: the text around problem, utterances and private knowledge.
    """

    def __init__(self, messages: MessageFormat, prompts: Prompts):
        self.messages, self.prompts = messages, prompts
        self._before_student, self._after_student = prompts.around_student()

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer of both sides."""
        return self.messages.tokenizer

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """Ids of the tokens that end a sampled turn; see `Framing.stop_ids`."""
        return self.messages.stop_ids

    def student_opening(self, question: str) -> list[int]:
        """The system text if there is one, the problem in a user message, and the opening of a model message."""
        m = self.messages
        return [*m.opening(self.prompts.for_student(question), self.prompts.student_system), *m.model_turn]

    def student_hears(self, reply: Sequence[int]) -> list[int]:
        """What closes the student's message, the reply as a user message, and the opening of a model message."""
        # The student's turn was closed with its end; some formats have a newline behind that.
        return [*self.messages.next_user, *reply, *self.messages.model_turn]

    def teacher_opening(self, question: str, knowledge: str) -> list[int]:
        """The system text if there is one, and a user message with the teacher's prompt that is not closed yet."""
        # The message stays open: the student's first turn becomes its last paragraph.
        prompt = self.prompts.for_teacher(question, knowledge)
        return [*self.messages.opening(prompt, self.prompts.teacher_system, whole=False), *self._blank_line()]

    def teacher_hears(self, student_turn: Sequence[int]) -> list[int]:
        """The student's turn between the two texts of the prompt `says`, within the open user message."""
        return [*self.messages.text(self._before_student), *student_turn, *self.messages.text(self._after_student)]

    def teacher_reads(self, private: str, limit: int | None = None) -> list[int]:
        """The verifier's words in the prompt `verifier`, after a blank line; see `Framing.teacher_reads`."""
        if not private:
            return []
        # The verifier's words are cut and not the prompt around them.
        text_before, text_after = self.prompts.around_verifier()
        private_tokens = self.messages.text(private)[:limit]
        return [*self._blank_line(), *self.messages.text(text_before), *private_tokens, *self.messages.text(text_after)]

    def teacher_begins(self) -> list[int]:
        """Closes the user message and opens the teacher's, as a message of the model."""
        return list(self.messages.model_turn)

    def teacher_ends(self) -> list[int]:
        """Closes the teacher's message and opens a user message, for the student's next turn."""
        return [self.messages.stop_ids[0], *self.messages.next_user]

    def asks_question(self) -> list[int]:
        """The request for a question as the end of the user message, and the opening of a model message."""
        return [*self._blank_line(), *self.messages.text(self.prompts.for_question()), *self.teacher_begins()]

    def text(self, text: str) -> list[int]:
        """Plain text as tokens; see `Framing.text`."""
        return self.messages.text(text)

    def utterance(self, tokens: Sequence[int]) -> str:
        """The text of a turn's tokens, without the turn's end."""
        return self.messages.utterance(tokens)

    def spoken(self, tokens: Sequence[int]) -> list[int]:
        """The tokens of a sampled turn without its end and its thinking."""
        return self.messages.spoken(tokens)

    def feedback(self, tokens: Sequence[int]) -> list[int] | None:
        """The tokens within the last feedback tag, None without such a block; all spoken tokens if no tag is set."""
        spoken_tokens = self.messages.spoken(tokens)
        if not self.prompts.feedback_tag:
            return spoken_tokens
        # The tag may be split over tokens in any way, so it is looked for in the text.
        feedback_text = marked(self.messages.utterance(spoken_tokens), self.prompts.feedback_tag)
        return None if feedback_text is None else self.messages.text(feedback_text)

    def earlier_turn(self, tokens: Sequence[int]) -> tuple[int, list[int]] | None:
        """What becomes of a turn when the other side has answered: None, or a turn without its thinking."""
        return self.messages.earlier_message(tokens)

    def suppressed_ids(self) -> tuple[int, ...]:
        """Ids of the tokens that neither side may sample."""
        return self.messages.suppressed_ids()

    def _blank_line(self) -> list[int]:
        return self.messages.text("\n\n")


def marked(text: str, tag: str) -> str | None:
    """The stripped text of the last `<tag>` block that is closed; None if there is none, or only blanks in it.

    A block ends at the first closing tag behind its opening one, so that what a model writes to itself behind a block
    stays private, whatever stray tags follow. A closing tag counts in any case and spacing and without its ">", since
    a block that ends early costs a few words, and one that ends late gives private ones away.
    """
    closings = list(re.finditer(rf"<\s*/\s*{tag}(?![a-z_])", text, re.IGNORECASE))
    if not closings:
        return None
    # The last block counts: a model may mention the tag while it thinks.
    start = text.rfind(f"<{tag}>", 0, closings[-1].start())
    if start < 0:
        return None
    content = start + len(tag) + 2
    end = next(closing.start() for closing in closings if closing.start() >= content)
    return text[content:end].strip() or None
