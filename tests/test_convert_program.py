"""`sml-jax convert`: both ways, and what it refuses before it works. The families themselves: models/test_parity.py."""

import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

from sml_jax.cli import main as cli
from sml_jax.models import Decoder, DecoderConfig, init_params, load_model, save_hf, save_model

CONFIG = DecoderConfig(vocab_size=11, embed_dim=8, layers=2, heads=2, kv_heads=1, head_dim=4, mlp_dim=12, max_length=32)


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> tuple[Path, Path]:
    """A finished run's folder, and the same model as a Hugging Face folder with a tokenizer."""
    base = tmp_path_factory.mktemp("models")
    params = init_params(Decoder(CONFIG), jax.random.key(0))
    save_model(base / "run" / "checkpoints" / "final", CONFIG, params)
    save_hf(base / "hf", CONFIG, params)
    (base / "hf" / "tokenizer.json").write_text("{}")
    (base / "hf" / "generation_config.json").write_text('{"eos_token_id": [1, 2]}')
    return base / "run", base / "hf"


def convert(*argv: str) -> int:
    return cli.main(["convert", *argv])


def test_from_hugging_face_and_back(folders, tmp_path: Path, capsys) -> None:
    _, hf = folders
    assert convert(f"--from={hf}", f"--to={tmp_path / 'ours'}") == 0
    out = capsys.readouterr().out
    assert "20/20" in out and out.endswith("ours: a model folder of sml-jax\n")
    model, params = load_model(tmp_path / "ours")
    assert model.config == CONFIG
    jax.tree.map(np.testing.assert_array_equal, params, load_model(hf)[1])
    assert (tmp_path / "ours" / "tokenizer.json").read_text() == "{}"

    assert convert(f"--from={tmp_path / 'ours'}", f"--to={tmp_path / 'theirs'}") == 0
    assert capsys.readouterr().out.endswith("theirs: a Hugging Face folder\n")
    values = json.loads((tmp_path / "theirs" / "config.json").read_text())
    assert values["model_type"] == "llama" and values["eos_token_id"] == [1, 2]
    before, after = (load_file(folder / "model.safetensors") for folder in (hf, tmp_path / "theirs"))
    assert {name: values.tobytes() for name, values in before.items()} == {
        name: values.tobytes() for name, values in after.items()
    }
    assert {file.name for file in tmp_path.iterdir()} == {"ours", "theirs"}


def test_a_run_in_another_type_with_a_tokenizer_from_elsewhere(folders, tmp_path: Path) -> None:
    run, hf = folders
    flags = (f"--from={run}", f"--to={tmp_path / 'hf'}", "--dtype=bfloat16", f"--tokenizer_from={hf}", "--family=llama")
    assert convert(*flags) == 0
    assert {str(values.dtype) for values in load_file(tmp_path / "hf" / "model.safetensors").values()} == {"bfloat16"}
    assert (tmp_path / "hf" / "tokenizer.json").exists()
    assert convert(f"--from={tmp_path / 'hf'}", f"--to={tmp_path / 'ours'}", "--dtype=float32") == 0
    assert load_model(tmp_path / "ours")[0].config.param_dtype == "float32"


def test_a_folder_without_a_tokenizer_says_so(folders, tmp_path: Path, capsys) -> None:
    run, _ = folders
    assert convert(f"--from={run}", f"--to={tmp_path / 'hf'}") == 0
    last_line = capsys.readouterr().out.splitlines()[-1]
    assert (
        last_line.startswith("warning: ") and "no tokenizer" in last_line and "give --tokenizer_from=DIR" in last_line
    )
    # A run of a chat model has kept its tokenizer, its chat template and the settings of generation.
    final = tmp_path / "run" / "checkpoints" / "final"
    shutil.copytree(run, tmp_path / "run")
    (final / "tokenizer.json").write_text("{}")
    (final / "chat_template.jinja").write_text("{{ messages }}")
    (final / "generation_config.json").write_text('{"eos_token_id": 3}')
    assert convert(f"--from={tmp_path / 'run'}", f"--to={tmp_path / 'chat'}") == 0
    assert "warning" not in capsys.readouterr().out
    names = {"tokenizer.json", "chat_template.jinja", "generation_config.json"}
    assert names <= {file.name for file in (tmp_path / "chat").iterdir()}


def test_what_is_there_is_replaced_only_when_told(folders, tmp_path: Path, capsys) -> None:
    _, hf = folders
    (tmp_path / "to").mkdir()
    (tmp_path / "to" / "mine").write_text("")
    assert convert(f"--from={hf}", f"--to={tmp_path / 'to'}") == 2
    assert "is not empty" in capsys.readouterr().err and (tmp_path / "to" / "mine").exists()
    assert convert(f"--from={hf}", f"--to={tmp_path / 'to'}", "--overwrite=true") == 0
    assert not (tmp_path / "to" / "mine").exists() and (tmp_path / "to" / "model.json").exists()


@pytest.mark.parametrize(
    ("flags", "part"),
    [
        ((), "needs --from=DIR and --to=DIR"),
        (("--from={hf}",), "needs --to=DIR"),
        (("--from={hf}", "--to={to}", "--dtype=float16"), "--dtype is 'float16'; it takes float32 or bfloat16"),
        (("--from={hf}", "--to={to}", "--overwrite=yes"), "--overwrite is 'yes'"),
        (("--from={hf}", "--to={to}", "--form=x"), "unknown argument --form=x; did you mean --from?"),
        (("--from={hf}", "{to}"), "flags are written --name=value"),
        (("--from={hf}", "--to={to}", "--family=llama"), "leave --family out"),
        (("--from={run}", "--to={to}", "--family=gemma2"), "a gemma2 model cannot have"),
        (("--from={run}", "--to={to}", "--tokenizer_from={to}"), "--tokenizer_from: "),
        (("--from={to}", "--to={to}"), "no model at"),
        (("--from={hf}", "--to={hf}/config.json"), "is a file"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(folders, tmp_path: Path, capsys, flags: tuple, part: str) -> None:
    run, hf = folders
    assert convert(*(flag.format(run=run, hf=hf, to=tmp_path / "to") for flag in flags)) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and part in err and not list(tmp_path.iterdir())


def test_help(capsys) -> None:
    assert convert("--help") == 0
    out = capsys.readouterr().out
    assert all(part in out for part in ["--from", "--to", "--tokenizer_from", "finished run"])
