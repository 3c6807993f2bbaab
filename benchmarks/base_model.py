"""Measures the shipped base model: `python benchmarks/base_model.py [MODEL_FOLDER]`.

It prints for each pocket task the success at turns 1 to 4, with the model itself as teacher and with one that only says
to try again, and how often the model, as teacher, says what the scripted teacher would have said.
"""

import sys

from agreement import teacher_agreement

from sml_jax.cli.main import run_program
from sml_jax.dialogue import DialogueRules, LanguageTeacher, Retry, play
from sml_jax.engine import Engine
from sml_jax.evaluate import success_at_turn
from sml_jax.models import load_model
from sml_jax.pocket import ASSETS
from sml_jax.pocket.world import pocket_task
from sml_jax.text import SentencePieceTokenizer, simple_format

TASKS = ("pocket_math", "pocket_code", "pocket_math_underspecified", "pocket_code_underspecified")
PROBLEMS, TURNS, SEED = 384, 4, 3


def main(argv: list[str]) -> int:
    # The model plays student and teacher, so one engine serves both sides.
    model, params = load_model(argv[0] if argv else "pocket")
    chat = simple_format(SentencePieceTokenizer(ASSETS / "pocket.model"))
    rules = DialogueRules(max_turns=TURNS, student_tokens=10, teacher_tokens=14, private_tokens=16)
    engine = Engine(
        model,
        max_concurrent=128,
        max_length=256,
        max_new_tokens=14,
        stop_ids=chat.stop_ids,
        suppressed_ids=chat.suppressed_ids(),
    )
    # The same problems, seed and rules for both teachers, so that only the teacher differs.
    for name in TASKS:
        task = pocket_task(name)
        problems = task.problems("test")[:PROBLEMS]
        for arm, teacher in {"feedback": LanguageTeacher(engine, params), "retry": Retry()}.items():
            played = play(task, problems, chat, engine, params, teacher, rules, seed=SEED, arm=arm)
            rates = " ".join(f"{100 * s:5.1f}" for s in success_at_turn(played.transcript.solved_turn, TURNS))
            line = f"{name:28} {arm:9} success at turns 1 to {TURNS}, %: {rates}"
            # Only the informed teacher has the scripted one's knowledge, so only its replies are compared.
            if arm == "feedback":
                agreed, replies = teacher_agreement(task, played.dialogues)
                line += f"   teacher agrees {agreed} of {replies}"
            print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(run_program(main, sys.argv[1:]))
