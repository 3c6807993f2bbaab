"""The POMDP: who speaks next, what each side may see, and what a rollout leaves."""

from sml_jax.dialogue.framing import Framing, MessageFraming
from sml_jax.dialogue.prompts import Prompts
from sml_jax.dialogue.records import dialogue_record
from sml_jax.dialogue.rollout import Played, play, rollout
from sml_jax.dialogue.rules import DialogueRules, LeakGuard, QuestionInjection
from sml_jax.dialogue.statistics import dialogue_statistics
from sml_jax.dialogue.teacher import NoReply, Reply, Request, RolloutSetup, Teacher, TeacherSpec
from sml_jax.dialogue.teacher_store import ReplyRecord, TeacherStore
from sml_jax.dialogue.teachers import (
    Doubt,
    Feedback,
    Function,
    LanguageTeacher,
    Misleading,
    Play,
    Remote,
    Retry,
    Script,
    Scripted,
    Self,
    Shuffled,
    Uninformed,
)
from sml_jax.dialogue.transcript import Dialogue, Transcript
from sml_jax.tasks.leaks import leaks

__all__ = [
    "Dialogue",
    "DialogueRules",
    "Doubt",
    "Feedback",
    "Framing",
    "Function",
    "LanguageTeacher",
    "LeakGuard",
    "MessageFraming",
    "Misleading",
    "NoReply",
    "Play",
    "Played",
    "Prompts",
    "QuestionInjection",
    "Remote",
    "Reply",
    "ReplyRecord",
    "Request",
    "Retry",
    "RolloutSetup",
    "Script",
    "Scripted",
    "Self",
    "Shuffled",
    "Teacher",
    "TeacherSpec",
    "TeacherStore",
    "Transcript",
    "Uninformed",
    "dialogue_record",
    "dialogue_statistics",
    "leaks",
    "play",
    "rollout",
]
