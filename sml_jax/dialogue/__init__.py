"""The POMDP: who speaks next, what each side may see, and what a rollout leaves."""

from sml_jax.dialogue.framing import Framing, MessageFraming
from sml_jax.dialogue.prompts import Prompts
from sml_jax.dialogue.rollout import Played, play, rollout
from sml_jax.dialogue.rules import DialogueRules, LeakGuard, QuestionInjection
from sml_jax.dialogue.statistics import dialogue_statistics
from sml_jax.dialogue.teachers import ARMS, LanguageTeacher, RetryTeacher, ScriptedTeacher, Teacher, teacher_for_arm
from sml_jax.dialogue.transcript import Dialogue, Transcript
from sml_jax.tasks.leaks import leaks

__all__ = [
    "ARMS",
    "Dialogue",
    "DialogueRules",
    "Framing",
    "LanguageTeacher",
    "LeakGuard",
    "MessageFraming",
    "Played",
    "Prompts",
    "QuestionInjection",
    "RetryTeacher",
    "ScriptedTeacher",
    "Teacher",
    "Transcript",
    "dialogue_statistics",
    "leaks",
    "play",
    "rollout",
    "teacher_for_arm",
]
