"""Programs that tests start in several processes: `process_programs.py NAME HOST:PORT N I OUT [ARGUMENT ...]`.

Each program is a function of the arguments that follow, and its result is written to OUT.I as JSON. Shapes are not
checked here, so that a process starts in half the time.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

os.environ["JAX_PLATFORMS"] = "cpu"
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sml_jax.cli.main import run_program
from sml_jax.common.errors import UserError
from sml_jax.distributed import heartbeats, membership, processes
from sml_jax.distributed.membership import ProcessGroup, join_group

LOST_AFTER = 8.0  # seconds; the default would make the tests wait longer


def words() -> Any:
    """The results of every function with which processes pass values to each other."""
    me = processes.process_id()
    results: dict[str, Any] = {
        "count": processes.process_count(),
        "primary": processes.is_primary(),
        "exchange": [processes.all_gather({"from": me, "round": n}) for n in range(3)],
        "long": [len(text) for text in processes.all_gather("x" * 1_000_000 * (me + 1))],
        "broadcast": processes.broadcast(f"of {me}"),
        "any": [processes.any_process(False), processes.any_process(me == 1)],
        "shared": processes.map_across_processes(
            lambda items: [[i, me] for i in items], [10, 11, 12, 13, 14], list, tuple
        ),
    }
    print("said by", me)

    # Errors reach every process, whichever has them.

    def fail(items: Any) -> Any:
        if me == 1:
            raise OSError("no such disk")
        return items

    try:
        processes.map_across_processes(fail, [1, 2], int, int)
    except RuntimeError as error:
        results["share"] = str(error)
        # The note holds the traceback of the process that failed.
        results["line"] = 'raise OSError("no such disk")' in error.__notes__[0]
    try:
        processes.assert_equal("the recipe", "same" if me < 1 else "other")
    except UserError as error:
        results["agree"] = str(error)
    return results


def error(kind: str, where: str) -> None:
    """Raises an error in process `where`, or in "all"; the other processes wait for ever."""
    if where == "all" or int(where) == processes.process_id():
        raise {"user": UserError, "key": KeyError}[kind]("the disk is missing")
    processes.all_gather(None)


def folder(path: str, shared: str) -> list[str]:
    """Writes to a run's folder that all processes share, or to one each; returns what the folder holds."""
    from sml_jax.run.io.shared import open_folder

    with open_folder(Path(path) / ("" if shared == "shared" else str(processes.process_id()))) as opened:
        opened.write_config(f"of {processes.process_id()}")
        opened.log_metrics(1, "online", {"of": processes.process_id()})
        opened.append_dialogues([{"of": processes.process_id()}])
        opened.write_eval({"of": processes.process_id()})
        opened.forget_evaluation()
        processes.all_gather(None)
        results = [opened.config_path.read_text(), opened.metrics_path.read_text(), opened.dialogues_path.read_text()]
        return [*results, opened.eval_path.read_text(), *sorted(p.name for p in opened.path.iterdir())]


def waits(how: str) -> None:
    """Waits for the peers for ever: in the store, in a collective, or only by its own clock."""
    import jax
    import jax.numpy as jnp

    mesh = jax.make_mesh((jax.device_count(),), ("x",))
    whole = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    total = jax.jit(lambda x: x.sum() + 0.0 * x, out_shardings=whole)
    from sml_jax.sharding import put_global

    split = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("x"))
    numbers = put_global(jnp.arange(6.0), split)
    # A first collective, so that all have compiled it before one of them is lost.
    jax.device_get(total(numbers))
    while True:
        if how == "store":
            processes.all_gather(None)
        elif how == "collective":
            jax.device_get(total(numbers))
        else:
            time.sleep(0.05)
        (Path(sys.argv[5]).parent / f"going.{processes.process_id()}").touch()


def own_teacher(tokenizer: str) -> list[Any]:
    """A teacher whose replies differ between processes in text and time; what becomes of six dialogues."""
    from run_toys import RULES, ToyTask

    from sml_jax.dialogue.live import LiveDialogue
    from sml_jax.dialogue.script_teacher import Function, ThreadedTeacher
    from sml_jax.dialogue.teacher_side import TeacherSide
    from sml_jax.run.chats import RoleChat
    from sml_jax.tasks.problems.types import Turn, Verdict

    me, task, framing = processes.process_id(), ToyTask(), RoleChat(tokenizer).framing()

    def reply(task, problem, conversation, verdict):
        time.sleep(0.02 * (int(problem.id[-1]) * (me + 2) % 7))
        if problem.id == "train4":
            raise ConnectionError("no endpoint")
        return "ab"[me]

    side = TeacherSide(ThreadedTeacher(Function(reply), task), task, framing, RULES)
    lives = [LiveDialogue(i, i, i, problem, problem) for i, problem in enumerate(task.problems("train")[:6])]
    for live in lives:
        live.open(framing, "")
        live.turns.append(Turn("student", "1"))
        live.verdicts.append(Verdict(False, True))
    side.start(lives)
    order: list[int] = []
    while len(order) < 5:
        side.wait(idle=True)
        order += [live.id for live in side.collect()]
    return [order, [live.turns[-1].text for live in lives], [live.dropped for live in lives]]


def run(workdir: str, home: str, layout: str, death: str = "") -> None:
    """A whole toy run: a language model teaches; Q-priming, online SML, evaluation.

    Args:
      layout: sizes of `data`, `fsdp` and `tensor`. death: WHERE:N:P kills process P at its Nth decoding ("rollout") or
        its Nth micro-batch ("update").
    """
    from run_toys import OPTIMIZER, ToyTask, toy_experiment

    from sml_jax.dialogue.rules import QuestionInjection
    from sml_jax.dialogue.teachers import Feedback
    from sml_jax.evaluate.suites import Suite
    from sml_jax.models.config import DecoderConfig
    from sml_jax.run.base_models import RandomWeights
    from sml_jax.run.stages import Offline, Online

    injection = QuestionInjection(0.5)
    sizes = {"vocab_size": 16, "embed_dim": 16, "layers": 1, "heads": 8, "kv_heads": 8, "head_dim": 2, "mlp_dim": 16}
    experiment = toy_experiment(
        Path(home) / "toy.model",
        [
            Offline(
                OPTIMIZER,
                problems=4,
                samples=4,
                epochs=1,
                batch=8,
                micro_batch_size=8,
                problems_per_chunk=2,
                injection=injection,
            ),
            Online(OPTIMIZER, steps=4, problems_per_step=4, group_size=4, micro_batch_size=8),
        ],
        suites=[Suite(ToyTask(), problems=6, max_turns=2)],
        base=RandomWeights(DecoderConfig(**sizes, max_length=128, tied_embeddings=False)),
        teacher=Feedback(),
        checkpoint_every=1,
        **dict(zip(("data", "fsdp", "tensor"), map(int, layout.split(",")), strict=True)),
    )
    if death:
        _die_at(*death.split(":"))
    experiment.train(Path(workdir), "# toy\n")


def _die_at(where: str, number: str, process: str) -> None:
    """Makes this process kill itself at a call of its work, if it is the one meant; see `run`."""
    from sml_jax.engine.engine import Engine
    from sml_jax.learn import update

    if int(process) != processes.process_id():
        return
    owner, name = {"rollout": (Engine, "decode"), "update": (update, "shard_rows")}[where]
    original, calls_left = getattr(owner, name), iter(range(1, int(number)))

    def dies(*args: Any) -> Any:
        if next(calls_left, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*args)

    setattr(owner, name, dies)


PROGRAMS = {"words": words, "error": error, "waits": waits, "folder": folder, "own_teacher": own_teacher, "run": run}


def main(argv: Any) -> int:
    name, address, count, me, out, *rest = argv
    group = ProcessGroup(address, int(count), int(me)) if int(count) > 1 else ProcessGroup()
    # "alone" never gets to its program: its peer does not come.
    if name == "alone":
        membership._START_TIMEOUT = 3
    with join_group(group, LOST_AFTER if name != "run" else heartbeats.LOST_AFTER):
        result = PROGRAMS[name](*rest)
        Path(f"{out}.{me}").write_text(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(run_program(main, sys.argv[1:]))
