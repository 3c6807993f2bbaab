"""A toy task, a tiny model that says a few tokens, and rows that say what a test tells them to."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import jax
import numpy as np

from sml_jax.dialogue.context_budget import required_length
from sml_jax.dialogue.framing import Framing
from sml_jax.dialogue.rules import DialogueRules
from sml_jax.engine.context_batch import ContextBatch
from sml_jax.engine.engine import Engine
from sml_jax.engine.sampling import Sampling
from sml_jax.engine.turns import Utterance
from sml_jax.models.config import DecoderConfig
from sml_jax.models.decoder import Decoder
from sml_jax.tasks.leaks import leaks
from sml_jax.tasks.problems.types import Problem, Turn, Verdict
from sml_jax.text.chat import ChatFormat

# Where the models of each side speak, for tests that put others in their place.
STUDENT_MODULES = ("sml_jax.dialogue.student_side",)
TEACHER_MODULES = ("sml_jax.dialogue.language_teacher", "sml_jax.dialogue.question_writer")

WORDS = ("my answer is ", "part ", " is right", "?")


@dataclass(frozen=True)
class DigitTask:
    """The answer is a digit; whoever writes that digit anywhere has solved it, a text with any digit is an attempt.

    `secret` and `report` are private words, static and dynamic, each with the problem's letter after it. With `easy`,
    only the right digit is an attempt, so that a random text may pass for a question.
    """

    secret: str = "the answer is "
    report: str = "got "
    easy: bool = False
    name: str = "digits"

    def problems(self, split: str = "train") -> list[Problem]:
        return [Problem(f"p{c}", f"find {c}", str(i), domain="toy") for i, c in enumerate("abcdefgh")]

    def letter(self, problem: Problem) -> str:
        return problem.id[-1]

    def verify(self, items: Sequence[tuple[Problem, str]]) -> list[Verdict]:
        digits = {p.id: p.answer if self.easy else "0123456789" for p, _ in items}
        return [
            # The detail names the problem that it was given for.
            Verdict(p.answer in said, any(c in digits[p.id] for c in said), f"{self.letter(p)}: {said}")
            for p, said in items
        ]

    def static_knowledge(self, problem: Problem) -> str:
        return f"{self.secret}{self.letter(problem)}" if self.secret else ""

    def dynamic_knowledge(self, problem: Problem, verdict: Verdict | None) -> str:
        return f"{self.report}{self.letter(problem)} {verdict.detail}" if self.report and verdict is not None else ""

    def reply(self, problem: Problem, conversation: Sequence[Turn], verdict: Verdict) -> str:
        return f"no, {conversation[-1].text} is wrong"

    def leaks(self, problem: Problem, teacher_text: str, public_text: str) -> bool:
        return leaks(problem.answer, teacher_text, public_text)


@dataclass(frozen=True)
class FailingTask(DigitTask):
    """Runs `fails(items, number of the call)` before it judges; `calls` holds the problem ids of each call."""

    fails: Callable[[Sequence[tuple[Problem, str]], int], None] = lambda items, call: None
    calls: list[list[str]] = field(default_factory=list)

    def verify(self, items: Sequence[tuple[Problem, str]]) -> list[Verdict]:
        self.calls.append([problem.id for problem, _ in items])
        self.fails(items, len(self.calls))
        return super().verify(items)


def one_device_mesh() -> jax.sharding.Mesh:
    return jax.sharding.Mesh(np.array(jax.devices()[:1]).reshape(1, 1, 1), ("data", "fsdp", "tensor"))


def tiny_model(chat: ChatFormat, max_length: int = 512) -> Decoder:
    """Untied, so that a token does not mostly follow itself."""
    return Decoder(
        DecoderConfig(
            vocab_size=chat.tokenizer.vocab_size,
            embed_dim=16,
            layers=2,
            heads=2,
            kv_heads=1,
            head_dim=8,
            mlp_dim=32,
            max_length=max_length,
            tied_embeddings=False,
        )
    )


def tiny_engine(
    model: Decoder,
    chat: ChatFormat,
    task: DigitTask,
    rules: DialogueRules,
    rows: int,
    sampling: Sampling | None = None,
    chunks: tuple[int, ...] = (32,),
) -> Engine:
    """Says digits, a few phrases, and the end; two programs to compile."""
    speakable = {*chat.stop_ids, *(t for text in (*WORDS, "4", "5", "0", "1", "2", "3") for t in chat.text(text))}
    length = required_length(chat, task, task.problems(), rules)
    return Engine(
        model,
        max_concurrent=rows,
        max_length=length,
        max_new_tokens=max(rules.student_tokens, rules.teacher_tokens),
        stop_ids=chat.stop_ids,
        suppressed_ids=sorted(set(range(chat.tokenizer.vocab_size)) - speakable),
        sampling=sampling,
        chunk_sizes=chunks,
        capacities=(length,),
        mesh=one_device_mesh(),
    )


@dataclass(frozen=True)
class Heard:
    """One turn that was asked for: who was to speak, in which dialogue and draw, after which tokens."""

    role: str
    dialogue: int
    context: tuple[int, ...]
    salt: int
    limit: int


@dataclass
class Stage:
    """What was asked of the stand-ins."""

    heard: list[Heard] = field(default_factory=list)

    def of(self, role: str, dialogue: int | None = None) -> list[Heard]:
        return [h for h in self.heard if h.role == role and dialogue in (None, h.dialogue)]


Say = Callable[[Heard], str | list[int]]


def stand_in(framing: Framing, say: Say, stage: Stage, role: str | None = None) -> type[ContextBatch]:
    """Rows whose turns are what `say` says; a turn over its limit is cut, as a sampled one is.

    Whose turn it is stands in the context's last token, unless `role` is given.
    """
    roles = {}
    if isinstance(framing, ChatFormat):
        roles = {framing.open_student[-1]: "student", framing.open_teacher[-1]: "teacher", framing.ask[-1]: "writer"}

    class SpeakingRows(ContextBatch):
        def dispatch(self, stop_fraction: float = 1.0) -> None:
            pass

        def collect(self) -> dict[int, Utterance]:
            utterances = {}
            for row in sorted(self._turns):
                turn, context = self._turns.pop(row), self.context(row)
                heard = Heard(
                    role or roles[context[-1]],
                    int(self._dialogue_ids[row]),
                    tuple(context),
                    turn.salt,
                    turn.tokens_left,
                )
                stage.heard.append(heard)
                said = say(heard)
                whole = [*(framing.text(said) if isinstance(said, str) else said), *framing.stop_ids[:1]]
                tokens = tuple(whole[: turn.tokens_left])
                context.extend(tokens)
                numbers = tuple(-float(i + 1) for i in range(len(tokens)))
                utterances[row] = Utterance(
                    tokens, numbers, tuple(2 * n for n in numbers), len(whole) <= turn.tokens_left
                )
            return utterances

    return SpeakingRows


def put_on_stage(monkeypatch, framing: Framing, say: Say, student: bool = True) -> Stage:
    """Replaces the models of teacher and question writer, and the student's unless told otherwise, by stand-ins.

    Where the framing opens all turns alike, everything but the student's rows counts as the teacher's.
    """
    stage = Stage()
    alike = not isinstance(framing, ChatFormat)
    modules = dict.fromkeys(TEACHER_MODULES, "teacher") | (dict.fromkeys(STUDENT_MODULES, "student") if student else {})
    for module, role in modules.items():
        monkeypatch.setattr(f"{module}.ContextBatch", stand_in(framing, say, stage, role if alike else None))
    return stage
