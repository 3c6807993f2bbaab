"""Bad gin files, and names and values in them that are of another kind than they should be."""

from __future__ import annotations

from collections.abc import Callable

from bad_files import Bad, Files

Argv = Callable[[Files], list[str]]


def given(*bindings: str) -> Argv:
    """Bindings on the command line."""
    return lambda f: f.train(*bindings)


def line(text: str) -> Argv:
    """Lines of a second gin file, from its second on."""
    return lambda f: f.train(gin=text)


def alone(content: str | bytes) -> Argv:
    """A gin file of this content and no other."""
    return lambda f: f.train(recipe=str(f.write("mine.gin", content)))


def circle(f: Files) -> list[str]:
    first, second = f["a.gin"], f["b.gin"]
    f.write("a.gin", f"include '{second}'\n")
    f.write("b.gin", f"include '{first}'\n")
    return f.train(recipe=str(first))


HEAD = "from __gin__ import dynamic_registration\n"
ONLINE = "from sml_jax.run.stages import online\n"
MENDED = "Mend this line: "
FILES = {
    "no such gin file": Bad(
        lambda f: f.train(recipe="gin/recipes/pocket_meth_online.gin"),
        "no gin file .*meth",
        "nearest are .*math_online",
    ),
    "a folder for a gin file": Bad(lambda f: f.train(recipe="gin/recipes"), "'gin/recipes' is a folder", "name a file"),
    "a binary gin file": Bad(alone(bytes(range(256))), "mine.gin is not UTF-8", "give a gin file, saved as UTF-8"),
    "a gin file in UTF-16": Bad(alone("STEPS = 3\n".encode("utf-16")), "mine.gin is not UTF-8", "saved as UTF-8"),
    "a gin file with a BOM": Bad(alone(b"\xef\xbb\xbf" + HEAD.encode()), "mine.gin begins with", "UTF-8 without one"),
    "an empty gin file": Bad(alone(""), "no --gin_file configures experiment.Experiment", "give a recipe"),
    "a gin file that is JSON": Bad(alone('{"steps": 3}'), "mine.gin:1: not gin", MENDED),
    "a gin file that is YAML": Bad(alone("steps: 3\n"), "mine.gin:1: not gin", MENDED + "steps: 3"),
    "no value": Bad(line("STEPS ="), "mine.gin:2: not gin: Unable to parse value", MENDED + "STEPS ="),
    "two equals signs": Bad(line("STEPS == 3"), "mine.gin:2: not gin", MENDED + "STEPS == 3"),
    "a word without quotes": Bad(line("X = many"), "mine.gin:2: not gin: many is no value", "text stands in quotes"),
    "an expression": Bad(line("STEPS = 3 + 4"), "mine.gin:2: not gin", MENDED + r"STEPS = 3 \+ 4"),
    "an open bracket": Bad(line("X = [1, 2\nSTEPS = 3"), "mine.gin:3: not gin", "Expected ',' or ']'"),
    "an open text": Bad(line("X = '''abc\nSTEPS = 3"), "mine.gin: not gin", "quote that is never closed"),
    "an include of nothing": Bad(
        line("include 'gin/stages/onlin.gin'"), "mine.gin:2: no gin file", "nearest are .*online"
    ),
    "an include of a folder": Bad(line("include 'gin/stages'"), "mine.gin:2: 'gin/stages' is a folder", "name a file"),
    "includes in a circle": Bad(circle, r"b.gin: includes .*a.gin, which includes it", "remove one of the two"),
    "no dynamic registration": Bad(
        alone(ONLINE + "online.Online.steps = 3\n"), "mine.gin:2: no configurable", "is `from __gin__ .*missing"
    ),
}
NAMES = {
    "a misspelt macro": Bad(given("STEP=1"), "--gin.STEP: no macro", "did you mean STEPS"),
    "a misspelt parameter": Bad(given("Online.group_sise=4"), "no parameter 'group_sise'", "did you mean group_size"),
    "a misspelt class": Bad(given("Onlin.steps=4"), "no configurable 'Onlin'", "did you mean online.Online"),
    "a misspelt module": Bad(
        line("from sml_jax.run.stages import onlin"), "mine.gin:2: no module", "did you mean .*online"
    ),
    "a package that is not there": Bad(line("import sml_jacks"), "no module 'sml_jacks'", "is it installed"),
    "a class in place of a module": Bad(
        line("from sml_jax.run.stages.online import Online"), "Online is no module", "write online.Online"
    ),
    "an unknown stage": Bad(given("Experiment.stages=[@onlin.Onlin()]"), "no imported name 'onlin'", "mean online"),
    "a macro without a value": Bad(line(ONLINE + "online.Online.steps = %N"), "macro %N has no value", "add --gin.N="),
    "a macro that is itself": Bad(line("STEPS = %STEPS"), "%STEPS stands for itself", "give it a value"),
    "macros in a circle": Bad(line("A = %B\nB = %A\nSTEPS = %A"), "%A stands for itself", "give it a value"),
    "what is required": Bad(
        lambda f: f.train(recipe="gin/recipes/jsonl_online.gin"), "jsonl.gin:32.* is required", "add --gin.TRAIN_PATH="
    ),
    "a scope that nothing has": Bad(given("nobody/Online.steps=3"), "no scope 'nobody'", "there is online"),
    "an override without effect": Bad(
        given("adamw.learning_rate=0.1"), "set this by a narrower name", r"--gin.online/optimizers.adamw.learning_rate="
    ),
    "a thing out of reach": Bad(given("corpus.Corpus.steps=3"), "no configurable 'corpus.Corpus'", "there is .*Online"),
    "no task": Bad(
        lambda f: f.train(recipe="gin/stages/online.gin"),
        "Experiment is not given 'task'",
        "add --gin.Experiment.task=",
    ),
    "no stages": Bad(given("Experiment.stages=[]"), "has no stages to train", "bind experiment.Experiment.stages"),
    "nothing to evaluate": Bad(lambda f: f.evaluate(f.run, "Experiment.suites=[]"), "no suites", "bind .*suites"),
}


def _kind(binding: str, takes: str, cure: str = "") -> Bad:
    """A binding of another kind of value than it takes; the cure says which, or how to write it."""
    names = rf"--gin.{binding.partition('=')[0]}: .* is .*, but it takes"
    return Bad(given(binding), names, f"takes {takes}" + (f".*: {cure}" if cure else ""))


KINDS = {
    binding: _kind(binding, *takes)
    for binding, *takes in (
        ("Online.steps='a'", "int"),
        ("Online.steps=1e3", "int"),
        ("STEPS=many", "int"),  # through the macro
        ("Online.steps=True", "int"),
        ("Online.steps=None", "int"),
        ("Grpo.normalize=1", "bool"),
        ("Grpo.discount=nan", "float"),
        ("online/adamw.learning_rate=fast", "float"),
        ("Experiment.max_concurrent=[128]", "int"),
        ("Experiment.teacher=3", "TeacherSpec", r"write an object, such as @teachers.Feedback\(\)"),
        ("Experiment.teacher='scripted'", "TeacherSpec", r"write an object, such as @teachers.Feedback\(\)"),
        ("Experiment.stages=online", r"Sequence\[Stage\]"),
        ("Experiment.stages=@online.Online()", r"Sequence\[Stage\]", r"write \[@online.Online\(\)\]"),
        ("Experiment.stages=[@online.Online]", r"Sequence\[Stage\]", r"write @online.Online\(\)"),
        ("Experiment.stages=[@suites.Suite()]", r"Sequence\[Stage\]"),
        ("Experiment.stages=[[@online.Online()]]", r"Sequence\[Stage\]"),
        ("Experiment.suites=@suites.Suite()", r"Sequence\[Suite\]", r"write \[@suites.Suite\(\)\]"),
        ("Experiment.task=@suites.Suite()", "Task"),
        ("Experiment.task=@world.PocketMath", "Task", r"write @world.PocketMath\(\)"),
        ("Experiment.task=5", "Task"),
        ("Experiment.task=@experiment.Experiment()", "Task"),
        ("Experiment.base=@online.Online()", r"Pretrained \| RandomWeights"),
        ("Experiment.chat=@base_models.RandomWeights()", r"RoleChat \| FamilyChat"),
        ("Experiment.rules=@sampling.Sampling()", "DialogueRules"),
        ("Online.optimizer=3", "GradientTransformation"),
        ("Online.optimizer=@online/optimizers.adamw", "GradientTransformation", r"write @online/optimizers.adamw\(\)"),
        ("Online.loss=@rules.DialogueRules()", "PolicyLoss"),
        ("RandomWeights.config=@rules.DialogueRules()", "DecoderConfig"),
        ("Suite.arms=('retry',)", r"tuple\[TeacherSpec, ...\]", r"write objects, such as \(@teachers.Feedback\(\)"),
        ("Online.buckets=64", r"tuple\[int, ...\]", r"write \(64,\)"),
        ("DecoderConfig.lora=16", r"LoraConfig \| None"),
    )
}
TABLE = {**FILES, **NAMES, **KINDS}
