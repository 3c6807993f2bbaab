"""What a person gets wrong on the command line: exit code 2 and one line that names the thing and the cure."""

import json

import pytest

from sml_jax.cli import main

RECIPE = "--gin_file=gin/recipes/pocket_math_online.gin"
JSONL = "--gin_file=gin/recipes/jsonl_online.gin"

# A recipe without a model in it, for mistakes that are found before any is made.
PLAIN = """
from __gin__ import dynamic_registration
from sml_jax import experiment
from sml_jax.engine import sampling
from sml_jax.models import config
from sml_jax.pocket import world
from sml_jax.stages import bases
from sml_jax.stages import chats
include 'gin/stages/online.gin'
experiment.Experiment.task = @world.PocketMath()
experiment.Experiment.base = @bases.RandomWeights()
experiment.Experiment.chat = @chats.RoleChat()
bases.RandomWeights.config = @config.DecoderConfig()
config.DecoderConfig.vocab_size = %VOCABULARY
config.DecoderConfig.width = 16
config.DecoderConfig.layers = 1
config.DecoderConfig.heads = 2
config.DecoderConfig.kv_heads = 1
config.DecoderConfig.head_dim = 8
config.DecoderConfig.hidden = 16
config.DecoderConfig.max_length = 256
sampling.Sampling.temperature = 1.0
VOCABULARY = 388
"""

# Flags, and words that the line must hold: what is wrong, then the cure.
MISTAKES = {
    "misspelt macro": ([RECIPE, "--gin.STEP=1"], "--gin.STEP", "did you mean STEPS"),
    "misspelt parameter": ([RECIPE, "--gin.Online.group_sise=4"], "group_sise", "did you mean group_size"),
    "misspelt thing": ([RECIPE, "--gin.Onlin.steps=4"], "Onlin", "did you mean online.Online"),
    "misspelt file": (["--gin_file=gin/recipes/pocket_math_onlin.gin"], "pocket_math_onlin", "pocket_math_online.gin"),
    "misspelt flag": ([RECIPE, "--workdirr=x"], "--workdirr", "did you mean --workdir"),
    "no recipe": ([], "--gin_file=gin/recipes/..."),
    "no base": ([RECIPE, "--gin.Pretrained.path=nowhere"], "no model at", "nowhere", "give a folder that holds"),
    "another tokenizer's base": (["PLAIN", "--gin.VOCABULARY=100"], "100 tokens but the tokenizer has 388", "give the"),
    "too many turns": ([RECIPE, "--gin.DialogueRules.max_turns=400"], "max_length is 512", "fewer turns"),
    "a short context": (["PLAIN", "--gin.DecoderConfig.max_length=64"], "max_length is 64", "fewer turns"),
    "no tokenizer": (["PLAIN", "--gin.RoleChat.tokenizer=no.model"], "no tokenizer at no.model", "give the path"),
    "a recipe for a tokenizer": (["PLAIN", "--gin.RoleChat.tokenizer=README.md"], "README.md is not a Sentence"),
    "no data given": ([JSONL], "a value is required", "--gin.TRAIN_PATH=... --gin.TEST_PATH=..."),
    "no data there": ([JSONL, "--gin.TRAIN_PATH=no.jsonl", "--gin.TEST_PATH=no.jsonl"], "cannot read no.jsonl", "give"),
    "a wrong arm": ([RECIPE, "--gin.math/Suite.arms=('feedbak',)"], "no arm 'feedbak'", "take some of feedback, retry"),
    "an arm without its comma": ([RECIPE, "--gin.math/Suite.arms=('retry')"], "arms is 'retry'", "tuple[str, ...]"),
    "a wrong teacher": (["PLAIN", "--gin.Experiment.teacher_arm=kind"], "no arm 'kind'", "take some of"),
    "a group of one": (["PLAIN", "--gin.Online.group_size=1"], "group_size is 1", "needs 2"),
    "no turns": ([RECIPE, "--gin.DialogueRules.max_turns=0"], "max_turns is 0", "at least 1"),
    "no rows": (["PLAIN", "--gin.Experiment.rows=0"], "rows is 0", "at least 1"),
    "no problems": (["PLAIN", "--gin.Online.problems=0"], "problems is 0", "at least 1"),
    "a discount": (["PLAIN", "--gin.Online.discount=1.7"], "discount is 1.7", "0 to 1"),
    "an aggregation": (["PLAIN", "--gin.Online.aggregation=mean"], "aggregation is 'mean'", "'sequence', 'token'"),
    "text for a number": (["PLAIN", "--gin.Online.steps='a'"], "Online.steps is 'a'", "it takes int"),
    "text for a macro": (["PLAIN", "--gin.STEPS=many"], "--gin.STEPS", "Online.steps is 'many'", "it takes int"),
    "a fraction of a step": (["PLAIN", "--gin.STEPS=1e3"], "is 1000.0", "it takes int"),
    "a rate in words": (["PLAIN", "--gin.adamw.learning_rate=fast"], "learning_rate is 'fast'", "it takes float"),
    "a negative rate": (["PLAIN", "--gin.online/adamw.learning_rate=-1.0"], "learning_rate is -1.0", "at least 0"),
    "a number for a thing": (["PLAIN", "--gin.Online.optimizer=3"], "Online.optimizer is 3", "GradientTransformation"),
    "a negative clip": (["PLAIN", "--gin.PolicyLoss.clip_low=-0.1"], "clip_low is -0.1", "0 or a positive number"),
    "heads": (["PLAIN", "--gin.DecoderConfig.kv_heads=3"], "multiple of kv_heads"),
}  # fmt: skip


@pytest.fixture
def fails(tmp_path, capsys):
    """Runs a program that must fail as a user's mistake does; returns its line."""

    def run(program: str, *argv: str, workdir: str = "run") -> str:
        plain = tmp_path / "plain.gin"
        plain.write_text(PLAIN)
        flags = [f"--gin_file={plain}" if flag == "PLAIN" else flag for flag in argv]
        assert main([program, *flags, f"--workdir={tmp_path / workdir}"]) == 2
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1 and lines[0].startswith("sml-jax: error: "), lines
        return lines[0]

    return run


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistake(mistake, fails):
    flags, *words = MISTAKES[mistake]
    line = fails("train", *flags)
    assert [word for word in words if word not in line] == [], line


def test_no_suites_to_evaluate(fails):
    line = fails("evaluate", "PLAIN", "--checkpoint=somewhere")
    assert "no suites" in line and "Experiment.suites" in line


def test_no_checkpoint_to_evaluate(fails, tmp_path):
    line = fails("evaluate", RECIPE, f"--checkpoint={tmp_path / 'nowhere'}")
    assert "no model at" in line and "nowhere" in line and "finished run's folder" in line


def test_a_model_folder_that_was_broken(fails, tmp_path):
    (tmp_path / "model.json").write_text("{")
    assert "model.json" in fails("train", RECIPE, f"--gin.Pretrained.path={tmp_path}")
    (tmp_path / "model.json").write_text(json.dumps({"vocab_size": 388, "depth": 3}))
    assert "unknown fields ['depth']" in fails("train", RECIPE, f"--gin.Pretrained.path={tmp_path}")


def test_a_workdir_that_is_a_file(fails, tmp_path):
    (tmp_path / "taken").write_text("")
    line = fails("train", "PLAIN", workdir="taken")
    assert "cannot write to workdir" in line and "taken" in line and "--workdir" in line


def test_a_workdir_of_another_configuration(fails, tmp_path):
    """The checkpoint of a wider model; see also test_experiment for a run that trains."""
    import jax

    from sml_jax.learn.update import init_state
    from sml_jax.recipes import load_experiment
    from sml_jax.runio.folder import RunFolder
    from sml_jax.stages.saver import Place, Saver

    plain = tmp_path / "plain.gin"
    plain.write_text(PLAIN)
    experiment, _ = load_experiment([str(plain)], ["DecoderConfig.width=32"])
    with RunFolder(tmp_path / "run") as folder:
        saver = Saver(folder.checkpoints_path / "steps")
        work = experiment._workbench(folder, saver)
        saver.save(Place(0, 5, 5), jax.block_until_ready(init_state(work.params, experiment.stages[0].optimizer)))
        saver.close()
    line = fails("train", "PLAIN")
    assert "checkpoint of step 5 does not fit this configuration" in line and "another --workdir" in line


def test_a_bad_row_of_data(fails, tmp_path):
    data = tmp_path / "data.jsonl"
    data.write_text('{"question": "What is 1 + 1?", "reply": "2"}\n')
    line = fails("train", JSONL, f"--gin.TRAIN_PATH={data}", f"--gin.TEST_PATH={data}")
    assert f"{data}:1" in line and 'no field "answer"' in line and "answer_field" in line
