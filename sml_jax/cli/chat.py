"""`sml-jax chat`: a person talks with a model in the terminal, as its teacher or as its student."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sml_jax.cli.flags import ProgramFlag, choice, parse_program_flags
from sml_jax.common.errors import UserError
from sml_jax.common.paths import user_path

if TYPE_CHECKING:
    from sml_jax.run.chat_dialogue import ChatModel
    from sml_jax.run.experiment import Experiment

DESCRIPTION = """Talks with a model in the terminal: you teach it while it tries to solve a problem, or it teaches you.

--checkpoint is a run's folder, whose config.gin says the task, the chat format and the sampling; or one of its
checkpoints, such as RUN/checkpoints/best; or any model folder, with --gin_file for a recipe, or without one for
problems that you type in.

You type what you say, or one of these:
  /retry            the model's turn (or yours, as the student) is taken back and taken anew
  /problem          the next problem of the task
  /problem Q        the problem Q; /problem Q = A says its answer A too, by which turns are judged
  /save             adds the dialogue to --save_to, in the format of dialogues.jsonl
  /help, /quit      Ctrl-D quits too; Ctrl-C stops a reply that is being sampled, and elsewhere quits"""

FLAGS = (
    ProgramFlag("checkpoint", "the model: a run's folder, a model folder or 'pocket'", required=True),
    ProgramFlag(
        "you", "your side: teacher (the default) or student", type=choice("teacher", "student"), default="teacher"
    ),
    ProgramFlag("problem", "the first problem, 'Q' or 'Q = A'; without it, the task's first one"),
    ProgramFlag(
        "split", "the task's problems: test (the default) or train", type=choice("test", "train"), default="test"
    ),
    ProgramFlag("turns", "the most turns of the student in a dialogue (default: 10)", type=int, default=10),
    ProgramFlag("temperature", "of the sampling, 0 for the likeliest token (default: the recipe's)", type=float),
    ProgramFlag("seed", "of the sampling (default: 0)", type=int, default=0),
    ProgramFlag("save_to", "the file that /save adds to (default: chat.jsonl)", default="chat.jsonl"),
)


def main(argv: Sequence[str]) -> int:
    """`sml-jax chat`: a conversation between a person and a model.

    Args:
      argv: the arguments, without the program's name.

    Returns:
      The exit code 0.

    Raises:
      UserError: a flag, the recipe or the model is wrong.
    """
    flags = parse_program_flags("sml-jax chat", DESCRIPTION, argv, FLAGS, workdir=False, gin_required=False)
    if flags.turns < 1:
        raise UserError(f"--turns is {flags.turns}; it must be at least 1")
    # After the flags, so that --help and a misspelt flag need not wait for JAX.
    from sml_jax.cli.chat_terminal import Terminal
    from sml_jax.common.compilation_cache import keep_executables
    from sml_jax.gin_config.load import load_experiment

    keep_executables()
    # A run says itself how it was trained. The shipped model has a recipe of its own.
    files = list(flags.gin_files)
    config_path = _run_config(user_path(flags.checkpoint).absolute())
    if not files and config_path is not None:
        files = [str(config_path)]
    elif not files and flags.checkpoint == "pocket":
        files = ["gin/tasks/pocket_math.gin"]
    if flags.gin_bindings and not files:
        raise UserError("--gin.NAME overrides a recipe's value, and there is no recipe: give one with --gin_file")
    experiment = load_experiment(files, flags.gin_bindings)[0] if files else _experiment_of_folder(flags.checkpoint)
    model = _load(experiment, flags.checkpoint, flags.turns, flags.temperature, flags.seed)
    problems = model.task.problems(flags.split)
    terminal = Terminal(model, problems, flags.you, user_path(flags.save_to), flags.checkpoint)
    terminal.run(flags.problem)
    return 0


def _run_config(checkpoint: Path) -> Path | None:
    """The `config.gin` of a run, given its folder or a folder in its `checkpoints/`; None if there is none."""
    run_folders = [parent.parent for parent in checkpoint.parents if parent.name == "checkpoints"]
    paths = [folder / "config.gin" for folder in (checkpoint, *run_folders)]
    return next((path for path in paths if path.is_file()), None)


def _experiment_of_folder(checkpoint: str) -> Experiment:
    """What is assumed of a model folder without a recipe: a chat model, and mathematics that is typed in."""
    from sml_jax.dialogue.rules import DialogueRules
    from sml_jax.run.base_models import Pretrained
    from sml_jax.run.chats import FamilyChat
    from sml_jax.run.experiment import Experiment
    from sml_jax.tasks.math.task import MathTask

    return Experiment(
        task=MathTask("typed", {"train": (), "test": ()}),
        base=Pretrained(checkpoint),
        chat=FamilyChat(checkpoint),
        rules=DialogueRules(student_tokens=512, teacher_tokens=256, private_tokens=128),
    )


def _load(experiment: Experiment, checkpoint: str, turns: int, temperature: float | None, seed: int) -> ChatModel:
    """Loads the model, and makes an engine that samples a few tokens at a time."""
    import dataclasses

    from sml_jax.dialogue.context_budget import TurnCosts
    from sml_jax.engine.engine import Engine
    from sml_jax.models.config import run_settings
    from sml_jax.models.hf.checkpoint import load_model
    from sml_jax.models.lora import merge_lora
    from sml_jax.run.chat_dialogue import ChatModel
    from sml_jax.run.typed_problems import TypedProblems
    from sml_jax.sharding import make_mesh, num_row_shards

    mesh = make_mesh(experiment.data, experiment.fsdp, experiment.tensor)
    base = dataclasses.replace(experiment.base, lora=None)
    model, params = merge_lora(*load_model(checkpoint, mesh, run_settings(base.model_config())))
    framing = experiment.chat.framing()
    vocabulary = framing.tokenizer.vocab_size
    if not 0 <= model.config.vocab_size - vocabulary <= experiment.chat.padding:
        raise UserError(
            f"the model at {checkpoint} has {model.config.vocab_size} tokens, and the tokenizer {vocabulary}: give the "
            "recipe that it came from with --gin_file"
        )
    # A dialogue ends where the context is full, so a long one costs memory only as it grows.
    length = min(model.config.max_length, _MAX_CONTEXT)
    rules = dataclasses.replace(experiment.rules, max_turns=turns, injection=None, max_context=length)
    sampling = experiment.sampling
    if temperature is not None:
        sampling = dataclasses.replace(sampling, temperature=temperature)
    engine = Engine(
        model,
        max_concurrent=num_row_shards(mesh),
        max_length=length,
        max_new_tokens=max(rules.student_tokens, rules.teacher_tokens),
        stop_ids=framing.stop_ids,
        suppressed_ids=framing.suppressed_ids(),
        sampling=sampling,
        decode_steps=_STREAMED_TOKENS,
        max_rewind=TurnCosts.under(framing, rules).max_rewind,
        mesh=mesh,
    )
    return ChatModel(TypedProblems(experiment.task), framing, engine, params, rules, seed)


_MAX_CONTEXT = 8192  # tokens
_STREAMED_TOKENS = 4  # that appear at once
