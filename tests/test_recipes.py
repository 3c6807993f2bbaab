"""The recipes: each reads, says how it is run, and runs in little; JSON-lines files go through the same program."""

import json
import re
from pathlib import Path

import pytest
from family_toys import teach, write_family_model

from sml_jax.cli.main import main
from sml_jax.gin_config.load import load_experiment
from sml_jax.tasks import JsonlTask

ROOT = Path(__file__).resolve().parents[1]
RECIPES = sorted((ROOT / "gin" / "recipes").glob("*.gin"))
PAPER = [recipe for recipe in RECIPES if re.match(r"(math|code)_", recipe.name)]
WORDS = [recipe for recipe in RECIPES if recipe.name.startswith("smollm2_words_")]
POCKET = [recipe for recipe in RECIPES if re.match(r"pocket_(math|code)_", recipe.name)]

# What a recipe must be given, and what makes it small. An override must name something that the recipe knows.
FILES = ["TRAIN_PATH={data}", "TEST_PATH={data}"]
SMALL = {
    "online": ["STEPS=1", "Online.problems_per_step=4", "Online.group_size=4", "Online.micro_batch_size=8"],
    "single_rl": ["STEPS=1", "Online.problems_per_step=4", "Online.group_size=4", "Online.micro_batch_size=8"],
    "offline": ["PROBLEMS=24", "Offline.epochs=1", "Offline.batch=32", "Offline.micro_batch_size=16"],
    "single_sft": ["PROBLEMS=24", "SAMPLES=4", "Offline.epochs=1", "Offline.batch=32", "Offline.micro_batch_size=16"],
}
SMALL["qpriming"] = [*SMALL["online"], *SMALL["offline"]]
STAGES = {name: {name} for name in SMALL} | {"qpriming": {"qpriming", "online"}}


def train(recipe: Path, workdir: Path, *bindings: str) -> dict:
    """Runs a recipe through the command line; returns its `eval.json`."""
    argv = ["train", f"--gin_file={recipe}", f"--workdir={workdir}", *(f"--gin.{text}" for text in bindings)]
    assert main(argv) == 0
    return json.loads((workdir / "eval.json").read_text())


def upstream_files(folder: Path) -> list[str]:
    """A few rows in the form of the public files, all with the same answer; the bindings that name them."""
    math = [
        {"problem": f"What is {i} + 7 - {i}?", "solution": "It is 7.", "answer": "7", "difficulty": 2.0, "domain": []}
        for i in range(540)
    ]
    code = [
        {
            "id": str(i),
            "input": f"Write a function f(x) that returns 7, whatever x is, even {i}.",
            "output": "def f(x):\n    return 7",
            "unit_tests": json.dumps([f"assert f({i}) == 7"]),
            "average_test_score": "1.0",
        }
        for i in range(48)
    ]
    contest = [
        {
            "question_title": "seven",
            "question_content": f"Print 7, whatever you read, even {i}.",
            "platform": "atcoder",
            "question_id": f"q{i}",
            "contest_id": "c",
            "contest_date": "2024-08-01T00:00:00",
            "starter_code": "",
            "difficulty": "easy",
            "public_test_cases": json.dumps([{"input": f"{i}", "output": "7", "testtype": "stdin"}]),
            "private_test_cases": json.dumps([]),
            "metadata": "{}",
        }
        for i in range(4)
    ]
    bindings = []
    for name, rows in (("OMNI_MATH", math), ("OPEN_CODE_INSTRUCT", code), ("LIVE_CODE_BENCH", contest)):
        path = folder / f"{name.lower()}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        bindings.append(f"{name}={path}")
    return bindings


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def check_folder(workdir: Path, results: dict, suites: dict[str, tuple[str, ...]], problems: int, turns: int) -> None:
    """The promised layout: suite, policy, arm, and in each the success at every turn with its interval."""
    assert {name: tuple(of["base"]) for name, of in results.items()} == suites
    for of in results.values():
        assert set(of) == {"base", "trained"} and set(of["base"]) == set(of["trained"])
        for entry in [*of["base"].values(), *of["trained"].values()]:
            assert entry["n"] == problems and len(entry["success_at_turn"]) == len(entry["ci95"]) == turns
            for at, (low, high) in zip(entry["success_at_turn"], entry["ci95"], strict=True):
                assert 0 <= low <= at <= high <= 1
    for name in ("config.gin", "metrics.jsonl", "dialogues.jsonl", "checkpoints/final/model.json", "tensorboard"):
        assert (workdir / name).exists(), name
    evaluated = [line for line in lines(workdir / "dialogues.jsonl") if "suite" in line]
    assert len(evaluated) == problems * 2 * sum(len(arms) for arms in suites.values())


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_reads_and_its_head_says_how_to_run_it(recipe, tmp_path):
    head = "".join(line for line in recipe.read_text().splitlines(True) if line.startswith("#"))
    command = re.search(r"sml-jax train ((?:--gin_file=\S+ )+)--workdir=\S+", head)
    assert command, head
    files = re.findall(r"=(\S+)", command[1])
    assert files[-1] == f"gin/recipes/{recipe.name}"
    assert re.search(r"^# Cost", head, re.MULTILINE), head
    data = tmp_path / "data.jsonl"
    data.write_text('{"question": "1 + 1?", "answer": "2"}\n')
    required = [binding.format(data=data) for binding in FILES if "TRAIN_PATH" in head]
    if recipe.stem == "own_rows":
        required = [f"ROWS_FILE={data}", f"MODEL={tmp_path}"]
    if recipe in PAPER:
        required = [*upstream_files(tmp_path), f"MODEL={tmp_path}"]
    if recipe in WORDS:
        required = [f"MODEL={tmp_path}", f"TOKENIZER={tmp_path}"]
    experiment, _ = load_experiment(files, [text for text in required if text.partition("=")[0] in head])
    assert experiment.stages and all(stage.name for stage in experiment.stages)


@pytest.mark.parametrize(
    "recipe",
    [pytest.param(r, marks=pytest.mark.slow, id=r.stem) for r in POCKET],
)
def test_a_pocket_recipe_in_little(recipe, tmp_path):
    _, domain, kind = recipe.stem.split("_", 2)
    results = train(
        recipe, tmp_path, *SMALL[kind], "EVAL_PROBLEMS=4", "Suite.max_turns=3", "Experiment.max_concurrent=16"
    )
    other = {"math": "code", "code": "math"}[domain]
    suites = {
        f"pocket_{domain}": ("feedback", "retry", "self", "shuffled", "uninformed"),
        f"pocket_{other}": ("feedback", "retry"),
        f"pocket_{domain}_underspecified": ("feedback",),
    }
    check_folder(tmp_path, results, suites, problems=4, turns=3)
    logged = lines(tmp_path / "metrics.jsonl")
    assert {line["stage"] for line in logged if not line["stage"].endswith("_rollout")} == {*STAGES[kind], "evaluation"}
    assert f"Experiment.task = @world.Pocket{domain.capitalize()}()" in (tmp_path / "config.gin").read_text()


@pytest.fixture(scope="session")
def chat_model(tmp_path_factory):
    """A chat model that mostly says 7, or a program that returns it."""
    folder = tmp_path_factory.mktemp("chat")
    source = write_family_model(folder / "random")
    replies = {"math": "The answer is \\boxed{7}.", "code": "```python\ndef f(x):\n    return 7\n```"}
    questions = {"math": "What is 2 + 7 - 2?", "code": "Write a function f(x) that returns 7."}
    return teach(source, folder / "taught", [(questions[kind], reply) for kind, reply in replies.items()])


@pytest.mark.parametrize(
    "recipe",
    [pytest.param(r, marks=pytest.mark.slow, id=r.stem) for r in PAPER],
)
def test_a_paper_recipe_in_little(recipe, chat_model, tmp_path):
    """Every stage on files of the public form and a chat model on disk, adapters trained, from beginning to end."""
    domain, kind = recipe.stem.split("_", 1)
    files = [text for text in upstream_files(tmp_path) if text.partition("=")[0] in recipe.read_text()]
    # Short prompts make short contexts, and these few programs to compile.
    prompt, scope = tmp_path / "teacher.txt", {"math": "math", "code": "open_code_instruct"}[domain]
    prompt.write_text("Help: {{question}} {{knowledge}} <feedback>")
    for name in {scope, "live_code_bench" if domain == "code" else scope}:
        files += [f"{name}/Prompts.student=student_plain", f"{name}/Prompts.teacher={prompt}"]
    small = [
        "Suite.max_turns=2",
        "Experiment.max_concurrent=16",
        "DialogueRules.max_turns=2",
        "LeakGuard.regenerations=1",
    ]
    sizes = ["EVAL_PROBLEMS=4", "STUDENT_TOKENS=24", "TEACHER_TOKENS=24", "DialogueRules.private_tokens=8"]
    results = train(
        recipe,
        tmp_path / "run",
        *files,
        f"MODEL={chat_model}",
        "Pretrained.config=None",
        "LORA=@config.LoraConfig()",
        *SMALL[kind],
        *small,
        *sizes,
    )
    suite = {"math": "omni_math", "code": "live_code_bench"}[domain]
    arms = ("feedback", "retry", "self", "shuffled", "uninformed")
    check_folder(tmp_path / "run", results, {suite: arms}, problems=4, turns=2)
    logged = lines(tmp_path / "run" / "metrics.jsonl")
    assert {line["stage"] for line in logged if not line["stage"].endswith("_rollout")} == {*STAGES[kind], "evaluation"}
    assert (tmp_path / "run" / "checkpoints" / "adapters" / "adapters.json").is_file()
    said = [d["turns"] for d in lines(tmp_path / "run" / "dialogues.jsonl")]
    assert not any("<|im_" in turn["text"] or "<think>" in turn["text"] for turns in said for turn in turns)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["folder", "gguf"])
def test_own_rows_and_an_own_model_need_no_other_settings(form, tmp_path):
    """Model, rows and folder, and what makes it small; the model's shape and chat format are found by themselves.

    `pytest -m slow tests/test_recipes.py`.
    """
    model = write_family_model(tmp_path / "model")
    if form == "gguf":
        assert main(["convert", f"--from={model}", f"--to={tmp_path / 'model.gguf'}"]) == 0
        model = tmp_path / "model.gguf"
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"question": f"What is {i} + 1?", "answer": i + 1}) + "\n" for i in range(40)))
    small = ["STEPS=1", "PROBLEMS_PER_STEP=2", "STUDENT_TOKENS=8", "TEACHER_TOKENS=8", "MAX_CONCURRENT=8"]
    small += ["EVAL_PROBLEMS=2", "EVAL_TURNS=2", "Online.group_size=4", "DialogueRules.max_turns=2"]
    recipe = ROOT / "gin" / "recipes" / "own_rows.gin"
    results = train(recipe, tmp_path / "run", f"MODEL={model}", f"ROWS_FILE={rows}", *small)
    check_folder(tmp_path / "run", results, {"own_rows": ("feedback", "retry")}, problems=2, turns=2)
    final = tmp_path / "run" / "checkpoints" / "final"
    assert (final / "tokenizer.json").is_file() and (final.parent / "adapters" / "adapters.json").is_file()


@pytest.mark.slow
def test_the_recipes_of_the_word_game_in_little(chat_model, tmp_path):
    """The form first, then online SML from there: `pytest -m slow -k word_game tests/test_recipes.py`."""
    form, online = (ROOT / "gin" / "recipes" / f"smollm2_words_{name}.gin" for name in ("form", "online"))
    argv = ["train", f"--gin_file={form}", f"--workdir={tmp_path / 'form'}", f"--gin.MODEL={chat_model}"]
    assert main([*argv, "--gin.STEPS=3", "--gin.Imitation.problems_per_step=4"]) == 0
    nll = [line["nll"] for line in lines(tmp_path / "form" / "metrics.jsonl")]
    assert len(nll) == 3 and nll[-1] < nll[0]
    model = [f"MODEL={tmp_path / 'form'}", f"TOKENIZER={chat_model}"]
    small = ["STEPS=1", "EVAL_PROBLEMS=2", "Online.problems_per_step=2", "Online.group_size=2", "Suite.max_turns=2"]
    results = train(online, tmp_path / "online", *model, *small)
    check_folder(tmp_path / "online", results, {"secret_word": ("scripted", "retry", "shuffled")}, problems=2, turns=2)
    said = [d["turns"] for d in lines(tmp_path / "online" / "dialogues.jsonl") if d.get("arm") == "retry"]
    assert said and all(turns[2]["text"] == "That is not right. Try again." for turns in said if len(turns) > 2)


@pytest.mark.slow
def test_jsonl_recipe_on_rows_of_gsm8k(real_data, tmp_path):
    """Eight rows to train on, four for evaluation, from beginning to end: `pytest -m slow tests/test_recipes.py`."""
    for split, count in (("train", 8), ("test", 4)):
        rows = (real_data / "gsm8k" / f"{split}.jsonl").read_text(encoding="utf-8").splitlines(True)
        (tmp_path / f"{split}.jsonl").write_text("".join(sorted(rows, key=len)[:count]), encoding="utf-8")
    results = train(
        ROOT / "gin" / "recipes" / "jsonl_online.gin",
        tmp_path / "run",
        f"TRAIN_PATH={tmp_path / 'train.jsonl'}",
        f"TEST_PATH={tmp_path / 'test.jsonl'}",
        *("STEPS=1", "EVAL_PROBLEMS=4", "EVAL_TURNS=2", "STUDENT_TOKENS=16", "Online.problems_per_step=2"),
        *(
            "DialogueRules.max_turns=2",
            "DecoderConfig.embed_dim=32",
            "DecoderConfig.layers=1",
            "Experiment.max_concurrent=8",
        ),
    )
    check_folder(tmp_path / "run", results, {"jsonl": ("feedback", "retry")}, problems=4, turns=2)
    before, line, after = lines(tmp_path / "run" / "metrics.jsonl")
    assert (before["step"], before["stage"], after["stage"]) == (0, "evaluation", "evaluation")
    assert line["stage"] == "online" and line["groups"] == 2
    # The scripted teacher and the question arrive as they are written, whatever their characters.
    questions = {json.loads(row)["question"].strip() for row in (tmp_path / "test.jsonl").open(encoding="utf-8")}
    evaluated = [d for d in lines(tmp_path / "run" / "dialogues.jsonl") if "suite" in d]
    assert {d["turns"][0]["text"] for d in evaluated} == questions


def test_every_gold_answer_of_gsm8k_is_verified(real_data):
    task = JsonlTask(real_data / "gsm8k" / "train.jsonl", test_path=real_data / "gsm8k" / "test.jsonl", name="gsm8k")
    problems = task.problems("test")
    assert len(problems) == 1319 and task.skipped == 0
    right = task.verify([(p, f"After some work, the answer is {p.answer}.") for p in problems])
    assert [p.id for p, verdict in zip(problems, right, strict=True) if not verdict.correct] == []
    wrong = task.verify([(p, f"the answer is {p.answer}1") for p in problems])
    assert [p.id for p, verdict in zip(problems, wrong, strict=True) if verdict.correct or not verdict.attempted] == []
