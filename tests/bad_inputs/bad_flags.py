"""Bad command lines."""

from __future__ import annotations

from collections.abc import Callable

from bad_files import Bad, Files

RECIPE = "--gin_file=gin/recipes/pocket_math_online.gin"
Argv = Callable[[Files], list[str]]


def train(*flags: str) -> Argv:
    return lambda f: ["train", RECIPE, f"--workdir={f['run']}", *flags]


def evaluate(*flags: str) -> Argv:
    return lambda f: ["evaluate", RECIPE, f"--workdir={f['run']}", *flags]


def convert(*flags: str) -> Argv:
    return lambda f: ["convert", "--from=pocket", f"--to={f['to']}", *flags]


TABLE = {
    "no program": Bad(lambda f: [], "name a program first", "see sml-jax --help"),
    "a misspelt program": Bad(lambda f: ["trian"], "no program 'trian'", "did you mean train"),
    "a flag before the program": Bad(lambda f: ["--workdir=x", "train"], "name a program first", "train|evaluate"),
    "no gin file": Bad(lambda f: ["train", f"--workdir={f['run']}"], "train needs", "--gin_file=gin/recipes/"),
    "no workdir": Bad(lambda f: ["train", RECIPE], "train needs --workdir", "see sml-jax train --help"),
    "an empty gin file flag": Bad(train("--gin_file="), "--gin_file needs a file", "write --gin_file=FILE"),
    "a gin file behind a space": Bad(train("--gin_file", "x.gin"), "--gin_file needs a file", "with = and no space"),
    "an empty workdir": Bad(lambda f: ["train", RECIPE, "--workdir="], "--workdir is empty", "write --workdir=VALUE"),
    "a workdir without a value": Bad(lambda f: ["train", RECIPE, "--workdir"], "--workdir: expected", "--help"),
    "two workdirs": Bad(train("--workdir=y"), "--workdir is given twice", "give it once"),
    "a misspelt flag": Bad(train("--workdri=x"), "unknown argument --workdri=x", "did you mean --workdir"),
    "a value of a recipe as a flag": Bad(train("--STEPS=5"), "unknown argument --STEPS=5", "by --gin.NAME=VALUE"),
    "a stray word": Bad(train("quick"), "unknown argument quick", "flags are written --name=value"),
    "a binding without dashes": Bad(train("gin.STEPS=5"), "argument gin.STEPS=5", "by --gin.NAME=VALUE"),
    "a binding with one dash": Bad(train("-gin.STEPS=5"), "argument -gin.STEPS=5", "by --gin.NAME=VALUE"),
    "a binding behind a space": Bad(train("--gin", "STEPS=5"), "argument --gin", "by --gin.NAME=VALUE"),
    "a binding without a value": Bad(train("--gin.STEPS"), "--gin.STEPS needs a value", "write --gin.STEPS=VALUE"),
    "a binding with an empty value": Bad(train("--gin.STEPS="), "--gin.STEPS needs a value", "write --gin.STEPS=VALUE"),
    "a binding without a name": Bad(train("--gin.=5"), "--gin. is no gin name", "write --gin.MACRO=VALUE"),
    "a flag of another program": Bad(train("--checkpoint=x"), "--checkpoint=x", "there is .*--workdir"),
    "no checkpoint": Bad(evaluate(), "evaluate needs --checkpoint", "see sml-jax evaluate --help"),
    "an empty checkpoint": Bad(evaluate("--checkpoint="), "--checkpoint is empty", "write --checkpoint=VALUE"),
    "two checkpoints": Bad(evaluate("--checkpoint=a", "--checkpoint=b"), "--checkpoint is given twice", "once"),
    "nothing to convert": Bad(lambda f: ["convert"], "needs --from=DIR and --to=DIR", "see sml-jax convert --help"),
    "nowhere to convert to": Bad(lambda f: ["convert", "--from=pocket"], "needs --to=DIR", "see sml-jax convert"),
    "convert from an empty name": Bad(lambda f: ["convert", "--from=", "--to=x"], "--from is empty", "write --from="),
    "convert to another type": Bad(convert("--dtype=float16"), "--dtype is 'float16'", "takes float32 or bfloat16"),
    "convert to no family": Bad(convert("--family=gpt2"), "--family is 'gpt2'", "it takes gemma2"),
    "convert to a family that it is none of": Bad(
        convert("--family=gemma2"), "a gemma2 model cannot", "activation='silu'"
    ),
    "a family where none is written": Bad(
        lambda f: f.convert(f.hugging_face, "--family=qwen3"), "--family says which", "leave --family out"
    ),
    "overwrite in other words": Bad(convert("--overwrite=yes"), "--overwrite is 'yes'", "takes true or false"),
    "convert with a binding": Bad(convert("--gin.STEPS=5"), "unknown argument --gin.STEPS=5", "there is --adapters="),
    "a tokenizer from nowhere": Bad(
        convert("--tokenizer_from=nowhere"), "--tokenizer_from: nowhere", "give the model's"
    ),
    "a tokenizer from a folder without one": Bad(
        lambda f: f.convert("pocket", f"--tokenizer_from={f.folder}"),
        "is no folder with a tokenizer",
        "give the model's",
    ),
    "convert to a file": Bad(
        lambda f: ["convert", "--from=pocket", f"--to={f.write('x', '')}"], "x is a file", "name a folder"
    ),
    "convert to below a file": Bad(
        lambda f: ["convert", "--from=pocket", f"--to={f.write('x', '')}/y"], "cannot write to .*x", "name a folder"
    ),
    "convert to a folder that is not empty": Bad(
        lambda f: ["convert", "--from=pocket", f"--to={f.write('x/y', '').parent}"],
        "x is not empty",
        "--overwrite=true",
    ),
}
