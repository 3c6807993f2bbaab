"""Chat formats and framings: contexts that only grow, turns that nobody's words open or close, prompts filled."""

from __future__ import annotations

import tempfile
from functools import lru_cache
from pathlib import Path

from fuzz.campaign import Target, allowed
from fuzz.source import Source, broken, dumps, odd_value
from fuzz.targets.tokenizer import tokenizers
from fuzz.toys import toys
from sml_jax.common.errors import UserError
from sml_jax.dialogue.framing import Framing, MessageFraming, marked
from sml_jax.dialogue.prompts import FOLDER, Prompts, fill
from sml_jax.text.chat import simple_format
from sml_jax.text.families import families, family_of, message_format

_toys = toys("text/text_toys")
# The tokenizer of the tests that stands for each family's.
_KIND = {
    "gemma": "gemma",
    "gemma4": "gemma4",
    "llama3": "llama",
    "qwen2_5": "qwen",
    "qwen3": "qwen",
    "qwen3_5": "qwen",
    "chatml": "qwen",
}
_WORDS = (
    *("<feedback>", "</feedback>", "<think>", "</think>", "{{question}}", "{{#knowledge}}", "{{/knowledge}}", "{{"),
    *("}}", "{{knowledge}}", "{{utterance}}", "\\1", "\\g<0>", "the answer is", "42", "\n\n", "Student:", "Tutor:"),
    *(*_toys.QWEN_SPECIAL, *_toys.LLAMA_SPECIAL, *_toys.GEMMA_MARKERS, *_toys.GEMMA_SPECIAL, "<end>", "<private>"),
    *("<student>",),
)
# A text that only the teacher may read.
_SECRET = "ZQ7X"


@lru_cache(maxsize=1)
def _framings() -> dict[str, Framing]:
    framings: dict[str, Framing] = {"pocket": simple_format(tokenizers()["pocket"])}
    prompts = {
        "math": Prompts(),
        "plain": Prompts(teacher="teacher_plain_math", feedback_tag="", student_system="Be brief."),
        "system": Prompts(student="student_code", teacher="teacher_code", teacher_system="You are a tutor.\n"),
    }
    for family, kind in _KIND.items():
        for name, prompt in prompts.items():
            framings[f"{family} {name}"] = MessageFraming(message_format(family, tokenizers()[kind]), prompt)
    # A family that thinks aloud, and one whose tokenizer comes as JSON.
    thinking = message_format("qwen3", tokenizers()["qwen"], thinking=True)
    framings["qwen3 thinking"] = MessageFraming(thinking, prompts["math"])
    framings["gemma json"] = MessageFraming(message_format("gemma", tokenizers()["gemma_json"]), prompts["math"])
    return framings


def _allowed_ids(framing: Framing) -> list[int]:
    return sorted(set(range(framing.tokenizer.vocab_size)) - set(framing.suppressed_ids()))


def _sampled(source: Source, framing: Framing) -> list[int]:
    """A turn as it may be sampled: text, with ends and other tokens anywhere among it."""
    tokens: list[int] = []
    allowed_ids = _allowed_ids(framing)
    for _ in range(source.integer(0, 6)):
        kind = source.integer(0, 3)
        if kind == 0:
            tokens += framing.text(source.text(_WORDS, 6, 80))
        elif kind == 1:
            tokens.append(source.pick(framing.stop_ids))
        else:
            tokens += [source.pick(allowed_ids) for _ in range(source.integer(0, 8))]
    return tokens


def _grows(context: list[int], piece: list[int]) -> None:
    """Appends a piece to a context, after a look at its tokens."""
    assert all(type(token) is int for token in piece), "a piece holds something else than numbers"
    context += piece


def _check_dialogue(source: Source) -> None:
    framing = _framings()[source.pick(tuple(_framings()))]
    controls = framing.tokenizer.control_ids()
    question = source.text(_WORDS, 10, 300)
    knowledge = _SECRET + source.text(_WORDS, 10, 300)
    student, teacher = framing.student_opening(question), framing.teacher_opening(question, knowledge)

    def marks(tokens: list[int]) -> list[int]:
        return [token for token in tokens if token in controls]

    # No words, whoever wrote them, open or close a turn.
    plain = marks(framing.student_opening("1")), marks(framing.teacher_opening("1", "2"))
    assert (marks(student), marks(teacher)) == plain, "a question or an answer opens or closes a turn"
    turn_marks, reply_marks = marks(framing.student_hears([])), marks(framing.teacher_hears([]))
    for _ in range(source.integer(0, 4)):
        # The student speaks, and the teacher hears it.
        sampled = _sampled(source, framing)
        spoken = framing.spoken(sampled)
        assert controls.isdisjoint(spoken), "a control token goes over to the other side"
        assert isinstance(framing.utterance(sampled), str)
        _grows(teacher, framing.teacher_hears(spoken))
        assert marks(framing.teacher_hears(spoken)) == reply_marks
        # The teacher reads what is private.
        private = source.pick(("", _SECRET + source.text(_WORDS, 8, 200)))
        limit = source.pick((None, 0, 1, 5, 100))
        read = framing.teacher_reads(private, limit)
        assert private or not read
        assert marks(read) == marks(framing.teacher_reads("x")) or not private
        _grows(teacher, read)
        _grows(teacher, framing.teacher_begins() if source.flag(4) else framing.asks_question())
        # Its reply goes over to the student, without what it only thought.
        reply = _sampled(source, framing)
        feedback = framing.feedback(reply)
        assert feedback is None or controls.isdisjoint(feedback), "a control token goes over to the student"
        _grows(teacher, [*reply, *framing.teacher_ends()])
        piece = framing.student_hears(feedback or [])
        assert marks(piece) == turn_marks, "a reply opens or closes a turn"
        _grows(student, [*sampled, *framing.stop_ids[:1], *piece])
    public_text = question + framing.utterance(student)
    assert _SECRET not in framing.utterance(framing.student_opening("1"))
    assert all(0 <= token < framing.tokenizer.vocab_size for token in (*student, *teacher)), public_text[:80]


def _check_any_tokens(source: Source) -> None:
    """Tokens that nobody may sample reach these too: from elsewhere, or from a model of another vocabulary."""
    framing = _framings()[source.pick(tuple(_framings()))]
    tokens = [source.integer(0, framing.tokenizer.vocab_size - 1) for _ in range(source.integer(0, 40))]
    assert isinstance(framing.utterance(tokens), str)
    assert not set(framing.spoken(tokens)) & set(framing.stop_ids)
    framing.feedback(tokens)
    text, tag = source.text(_WORDS, 20, 2000), source.pick(("feedback", "a", "think"))
    content = marked(text, tag)
    assert content is None or (content == content.strip() != "" and content in text)


def _check_prompts(source: Source) -> None:
    shipped = {path.stem: path.read_bytes() for path in sorted(FOLDER.glob("*.txt"))}
    which = source.pick(("student", "teacher", "says", "verifier", "question"))
    content = shipped[getattr(Prompts(), which)]
    content += source.text(_WORDS, 6, 100).encode("utf-8", "surrogatepass") if source.flag() else b""
    question, knowledge = source.text(_WORDS, 10, 200), source.text(_WORDS, 10, 200)
    # A damaged prompt file, or a name that may be none.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "prompt.txt"
        path.write_bytes(broken(source, content))
        name = source.pick((str(path), source.text(("~", "/", "student_math", "."), 4, 40)))
        prompts = allowed(lambda: Prompts(**{which: name}))
        if isinstance(prompts, UserError):
            return
        asked, told = prompts.for_student(question), prompts.for_teacher(question, knowledge)
        assert question in asked and question in told
        assert knowledge not in ("x",) and isinstance(prompts.around_student() + prompts.around_verifier(), tuple)
        assert isinstance(prompts.for_question(), str)
        template = path.read_text(encoding="utf-8").strip() if name == str(path) and which == "teacher" else ""
    # What is filled in stands there as it is, whatever it looks like.
    if template:
        marked_up = fill(template, question="\ue000", knowledge="\ue001" if knowledge else "")
        assert told == "".join({"\ue000": question, "\ue001": knowledge}.get(c, c) for c in marked_up) or (
            "\ue000" in template or "\ue001" in template
        )


def _check_folder(source: Source) -> None:
    """The families' look at config.json and generation_config.json."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for name, key in (("config.json", "model_type"), ("generation_config.json", "eos_token_id")):
            value = {key: source.pick(("qwen3", "llama", 5, 400, [401, 402], odd_value(source)))}
            content = dumps(odd_value(source) if source.flag(6) else value).encode()
            (folder / name).write_bytes(broken(source, content) if source.flag(3) else content)
        allowed(lambda: family_of(folder))
        family = source.pick(families())
        allowed(lambda: message_format(family, tokenizers()[_KIND[family]], folder))


def check(source: Source) -> None:
    """One case."""
    source.pick((_check_dialogue, _check_dialogue, _check_any_tokens, _check_prompts, _check_folder))(source)


def target() -> Target:
    """The chat layer."""
    _framings()
    return Target("chat", check, cpu_s=20.0)
