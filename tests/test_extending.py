"""The examples of docs/extending.md run as they stand there, on a tiny model."""

from __future__ import annotations

import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
import pytest

from sml_jax.cli.train import main as train
from sml_jax.sharding import AXES

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "extending.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n# (\S+)\n(.*?)^```$", PAGE, re.S | re.M)
# In place of the pocket world's base model, and a few short dialogues: what an example adds is all that matters here.
TINY = """
from __gin__ import dynamic_registration
from sml_jax.run import experiment
from sml_jax.run import base_models
from sml_jax.dialogue import rules
from sml_jax.evaluate import suites
from sml_jax.models import config

experiment.Experiment.base = @base_models.RandomWeights()
experiment.Experiment.max_concurrent = 8
experiment.Experiment.samples_shown = 0
experiment.Experiment.evaluate_every = None
base_models.RandomWeights.config = @config.DecoderConfig()
config.DecoderConfig.vocab_size = 388
config.DecoderConfig.embed_dim = 16
config.DecoderConfig.layers = 1
config.DecoderConfig.heads = 2
config.DecoderConfig.kv_heads = 1
config.DecoderConfig.head_dim = 8
config.DecoderConfig.mlp_dim = 16
config.DecoderConfig.max_length = 512
rules.DialogueRules.max_turns = 2
suites.Suite.problems = 2
suites.Suite.max_turns = 2
"""
# A task in the place of pocket_math's that a model without any learning solves half of the time.
EASY_TASK = """
from sml_jax.pocket.world import PocketMath
from sml_jax.tasks import Verdict

class Easy(PocketMath):
    def verify(self, items):
        return [Verdict(sum(map(ord, utterance)) % 2 == 0, True) for _, utterance in items]
"""
EASY = """
from __gin__ import dynamic_registration
from sml_jax.run import experiment
import easy

experiment.Experiment.task = @easy.Easy()
experiment.Experiment.suites = []
easy.Easy.train_size = 50
"""


@pytest.fixture
def examples(tmp_path, monkeypatch):
    """The files of the page, in a folder that Python finds. One device compiles faster than eight."""
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:1]).reshape(1, 1, 1), AXES)
    monkeypatch.setattr("sml_jax.run.experiment.make_mesh", lambda *sizes: mesh)
    for _, name, text in BLOCKS:
        if "/" not in name:
            (tmp_path / name).write_text(text)
    for name, text in {"tiny.gin": TINY, "easy.py": EASY_TASK, "easy.gin": EASY}.items():
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(ROOT)
    yield tmp_path
    for _, name, _ in BLOCKS:
        sys.modules.pop(Path(name).stem, None)


def run(folder: Path, names: Sequence[str], *settings: str) -> tuple[list[dict], list[dict], dict]:
    """Trains the gin files `names`. Returns metrics, dialogues and eval.json; the last is empty without suites."""
    work = folder / "run"
    flags = [f"--gin_file={folder / name}.gin" for name in (*names, "tiny")]
    assert train([*flags, f"--workdir={work}", *(f"--gin.{setting}" for setting in settings)]) == 0
    metrics, dialogues = (
        [json.loads(line) for line in (work / file).read_text().splitlines()]
        for file in ("metrics.jsonl", "dialogues.jsonl")
    )
    evaluation = work / "eval.json"
    return metrics, dialogues, json.loads(evaluation.read_text()) if evaluation.exists() else {}


SMALL = ("STEPS=1", "Online.problems_per_step=2", "Online.group_size=2")
FEW = ("PocketMath.train_size=50", "PocketMath.test_size=10")


def replies(dialogues: list[dict], arm: str) -> list[str]:
    """What the teacher said behind the student's turns."""
    return [turn["text"] for one in dialogues if one["arm"] == arm for turn in one["turns"][2::2]]


@pytest.fixture
def endpoint():
    """A server that answers with the length of the conversation; its requests."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            body = json.dumps({"reply": f"try again {len(asked[-1]['conversation'])}"}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("localhost", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://localhost:{server.server_port}", asked
    server.shutdown()


@pytest.mark.extra
def test_a_teacher_behind_an_endpoint_teaches_and_is_an_arm(examples, endpoint):
    url, asked = endpoint
    _, dialogues, evaluation = run(examples, ["remote_teacher"], *SMALL, *FEW, f"RemoteTeacher.url='{url}'")
    heard = replies(dialogues, "remote")
    assert heard and set(heard) == {"try again 2"}
    assert asked[0]["private"][0].startswith("the answer is ") and asked[0]["conversation"][0]["role"] == "teacher"
    assert list(evaluation["pocket_math"]["base"]) == ["remote", "retry"]


@pytest.mark.extra
def test_a_learning_signal_trains(examples):
    (line,), _, _ = run(examples, ["turn_credit", "easy"], *SMALL)
    assert line["stage"] == "online" and 0 < line["credit"] < 1
    assert line["dialogues_trained"] > 0 and line["gradient_norm"] > 0


def test_credit_grows_towards_the_correct_turn(examples):
    import numpy as np
    from turn_credit import TurnCredit

    from sml_jax.dialogue import Transcript

    # Two dialogues about one problem: two turns of one token, the second one correct; and one turn, unsolved.
    student = np.array([[0, 1, 0, 1], [0, 1, 0, 0]], bool)
    turn = np.array([[0, 1, 0, 2], [0, 1, 0, 0]], np.int32)
    zeros = np.zeros((2, 4), np.float32)
    transcript = Transcript(
        tokens=np.ones((2, 4), np.int32), length=np.array([4, 2], np.int32), student=student, injected=student & False,
        logprob=zeros - 1, sampling_logprob=zeros - 1, turn=turn, teacher=student & False,
        reward=np.array([1.0, 0.0], np.float32),
        solved_turn=np.array([2, 0], np.int32), turns=np.array([2, 1], np.int32), group=np.zeros(2, np.int32),
        dropped=np.zeros(2, bool), max_student_tokens=2,
    )  # fmt: skip
    signal = TurnCredit(discount=0.5)(transcript).policy
    mean = (0.5 + 1.0 + 0.0) / 3
    np.testing.assert_allclose(signal.advantage, [[0, 0.5 - mean, 0, 1 - mean], [0, -mean, 0, 0]], atol=1e-6)
    np.testing.assert_allclose(signal.weights, student / 3, atol=1e-6)


@pytest.mark.extra
def test_a_reward_and_a_loss_train(examples):
    (line,), _, _ = run(examples, ["reward_and_loss", "easy"], *SMALL)
    # Solved dialogues are worth from a half up, for as much as the student said.
    assert 0 < line["success"] / 2 <= line["return"] <= line["success"]
    assert line["weight"] == pytest.approx(1, abs=1e-4) and line["gradient_norm"] > 0


def test_a_stage_runs(examples):
    settings = ("ExpertIteration.steps=2", "ExpertIteration.problems_per_step=2", "ExpertIteration.samples=2")
    metrics, dialogues, _ = run(examples, ["expert_iteration", "easy"], *settings)
    assert [line["step"] for line in metrics] == [1, 2] and len(dialogues) == 4
    assert all(line["stage"] == "expert_iteration" and line["nll"] > 0 for line in metrics)


def test_dates_are_judged_and_guarded(examples):
    from dates import Dates

    task = Dates()
    problem = next(p for p in task.problems("test") if p.answer == "2024-03-05")
    for right in ("2024-03-05", "it is 5 March 2024", "not 2024-03-04 but March 5, 2024"):
        assert task.verify([(problem, right)])[0].correct, right
    for wrong, attempted in (("2024-03-06", True), ("5 March", False), ("2024-13-05", False)):
        verdict = task.verify([(problem, wrong)])[0]
        assert not verdict.correct and verdict.attempted == attempted, wrong
    assert task.leaks(problem, "it is March 5, 2024", "which day?") and not task.leaks(problem, "not 2024-03-04", "")
    assert not task.leaks(problem, "2024-03-05 it is", "is it 5 March 2024?")
    assert not {p.id for p in task.problems("train")} & {p.id for p in task.problems("test")}


@pytest.mark.extra
def test_a_kind_of_answer_is_trained_on(examples):
    _, dialogues, evaluation = run(examples, ["dates"], *SMALL)
    assert set(replies(dialogues, "scripted")) == {"please give a date"}
    assert list(evaluation["dates"]["trained"]) == ["scripted", "retry"]


def test_a_game_remembers_what_is_left(examples):
    from guess_number import Game

    from sml_jax.dialogue import Request
    from sml_jax.tasks import Problem, Turn, Verdict

    game, problem = Game(), Problem("43", "guess a number from 0 to 99", "43")
    for dialogue in (5, 6):
        game.open(dialogue, dialogue, [])
    for said, left in (("is it 60?", "0 to 59"), ("20 or 70", "21 to 59"), ("hm", "21 to 59"), ("10", "21 to 59")):
        turns = (Turn("teacher", problem.question), Turn("student", said))
        game.start([Request(5, 5, problem, turns, Verdict(False, True))])
        assert {key: reply.text for key, reply in game.collect().items()} == {5: f"from {left} are left"}
    assert game.left[6] == (0, 99) and game.collect() == {}


@pytest.mark.extra
def test_an_environment_is_trained_in(examples):
    _, dialogues, evaluation = run(examples, ["guess_number"], *SMALL)
    heard = replies(dialogues, "game")
    assert heard and all(re.fullmatch(r"from \d+ to \d+ are left", text) for text in heard)
    assert list(evaluation["guess_number"]["base"]) == ["game"]


def test_a_tracker_is_handed_every_line(examples, capsys):
    (line,), _, _ = run(examples, ["print_tracker", "easy"], *SMALL)
    printed = [text for text in capsys.readouterr().out.splitlines() if text.startswith("step 1: ")]
    assert printed == [f"step 1: online/success {line['success']:.4g}"]


@pytest.mark.extra
def test_a_family_is_read_and_written(examples):
    """A copy of the package with the page's two files reads a configuration of the family, saves and loads a model."""
    shutil.copytree(ROOT / "sml_jax", examples / "sml_jax", ignore=shutil.ignore_patterns("__pycache__"))
    for _, name, text in BLOCKS:
        target = examples / name
        if not name.startswith("sml_jax/"):
            continue
        if target.exists():
            # Lines of an existing file replace those that begin like them.
            lines = target.read_text().splitlines()
            for line in filter(None, text.splitlines()):
                beginning = re.match(r"from \S+ import |\w+ = ", line)[0]
                (place,) = [number for number, old in enumerate(lines) if old.startswith(beginning)]
                lines[place] = line
            text = "\n".join(lines) + "\n"
        target.write_text(text)
    script = """
import json, pathlib, jax, jax.numpy as jnp, sml_jax
from sml_jax.models import Decoder, init_params
from sml_jax.models.hf.config import config_from_hf
from sml_jax.models.hf.save import save_hf
fields = {"model_type": "gemma", "architectures": ["GemmaForCausalLM"], "vocab_size": 64, "hidden_size": 16,
          "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
          "head_dim": 8, "max_position_embeddings": 64, "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
          "hidden_act": "gelu_pytorch_tanh", "hidden_activation": "gelu_pytorch_tanh", "tie_word_embeddings": True,
          "attention_bias": False, "attention_dropout": 0.0, "torch_dtype": "float32"}
config = config_from_hf(fields)
assert config.norm_plus_one and config.embedding_scale and not config.post_norms, config
model = Decoder(config)
params = init_params(model, jax.random.key(0))
save_hf(pathlib.Path("saved"), config, params)
again, loaded = sml_jax.load_model("saved")
tokens = jnp.arange(12)[None]
assert jnp.array_equal(model.apply(params, tokens), again.apply(loaded, tokens))
assert json.loads(pathlib.Path("saved/config.json").read_text())["model_type"] == "gemma"
print(sml_jax.__file__)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=examples, env={**os.environ, "PYTHONPATH": str(examples)},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == str(examples / "sml_jax" / "__init__.py")


def test_every_example_is_complete_and_short():
    sections = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", PAGE, re.S | re.M))
    assert list(sections) == [
        "A teacher",
        "A learning signal",
        "A stage",
        "A family",
        "A kind of answer",
        "An environment",
        "A tracker",
    ]
    for title, text in sections.items():
        code = [
            block
            for language, _, block in re.findall(r"^```(\w+)\n# (\S+)\n(.*?)^```$", text, re.S | re.M)
            if language == "python"
        ]
        assert code and len(code[0].splitlines()) <= 60, title
