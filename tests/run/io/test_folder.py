import json
import os
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sml_jax.common.errors import UserError
from sml_jax.run.io import RunFolder, to_json


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_metrics_line_is_on_disk_at_once(tmp_path):
    folder = RunFolder(tmp_path / "new" / "run")
    values = {
        "loss": jnp.float32(0.5),
        "half": jnp.bfloat16(1.5),
        "n": np.int64(3),
        "bad": float("nan"),
        "ratio": jnp.inf,
    }
    folder.log_metrics(1, "online", values)
    assert lines(folder.metrics_path) == [
        {"step": 1, "stage": "online", "loss": 0.5, "half": 1.5, "n": 3, "bad": None, "ratio": None}
    ]
    folder.close()
    assert list(folder.tensorboard_path.glob("events*"))


def test_a_metric_is_a_scalar_with_a_name_of_its_own(tmp_path):
    with RunFolder(tmp_path) as folder:
        with pytest.raises(ValueError, match="'loss' is not a scalar"):
            folder.log_metrics(1, "online", {"loss": np.zeros(3)})
        with pytest.raises(ValueError, match="stage"):
            folder.log_metrics(1, "online", {"stage": 1})
    assert not (tmp_path / "metrics.jsonl").exists()


@pytest.mark.parametrize("torn", ['{"step": 3, "sta', "x" * 200_000])
def test_a_torn_last_line_goes_on_reopening(tmp_path, torn):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "stage": "a"}\n{"step": 2, "stage": "a"}\n' + torn)
    with RunFolder(tmp_path) as folder:
        folder.log_metrics(3, "a", {})
    assert [line["step"] for line in lines(path)] == [1, 2, 3]


def test_a_file_that_is_one_torn_line(tmp_path):
    (tmp_path / "dialogues.jsonl").write_text('{"step"')
    with RunFolder(tmp_path) as folder:
        folder.append_dialogues([{"step": 0}])
    assert lines(tmp_path / "dialogues.jsonl") == [{"step": 0}]


def test_a_resumed_run_does_not_double_steps(tmp_path):
    with RunFolder(tmp_path) as folder:
        for step in range(1, 6):
            folder.log_metrics(step, "online", {"loss": step})
            folder.append_dialogues([{"step": step, "problem_id": "p"}])
            if step == 3:
                positions = folder.log_lengths()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6')
    with RunFolder(tmp_path) as folder:
        assert folder.rewind(positions, 3) == []
        assert [line["step"] for line in lines(folder.dialogues_path)] == [1, 2, 3]
        for step in (4, 5):
            folder.log_metrics(step, "online", {"loss": 10 * step})
        assert [(line["step"], line["loss"]) for line in lines(folder.metrics_path)] == [
            (1, 1), (2, 2), (3, 3), (4, 40), (5, 50)
        ]  # fmt: skip
    # The resumed run's own event file tells TensorBoard from which step on to hide what came before.
    assert _purged_step(folder.tensorboard_path) == 4


def _purged_step(path: Path) -> int:
    from tensorboardX.proto.event_pb2 import Event, SessionLog

    for file in path.glob("events*"):
        data, start = file.read_bytes(), 0
        while start < len(data):  # records: length u64, crc u32, event, crc u32
            size = int.from_bytes(data[start : start + 8], "little")
            event = Event.FromString(data[start + 12 : start + 12 + size])
            if event.session_log.status == SessionLog.START:
                return event.step
            start += size + 16
    return -1


def test_rewinding_a_new_folder_does_nothing(tmp_path):
    with RunFolder(tmp_path) as folder:
        assert folder.log_lengths() == {"metrics.jsonl": 0, "dialogues.jsonl": 0}
        assert folder.rewind({}, -1) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("cut", [0, 5, 13])
def test_a_log_that_has_become_shorter_is_named(tmp_path, cut):
    """What is left of it is whole lines."""
    with RunFolder(tmp_path) as folder:
        folder.append_dialogues([{"step": 1}, {"step": 2}])
        positions = folder.log_lengths()
    assert positions["dialogues.jsonl"] == 24
    os.truncate(folder.dialogues_path, cut)
    (sentence,) = folder.rewind(positions, 2)
    assert sentence == f"{folder.dialogues_path} has lost {24 - cut // 12 * 12} bytes that it had at the checkpoint"
    assert lines(folder.dialogues_path) == [{"step": 1}][: cut // 12]


def logged(path: Path, steps: range) -> tuple[dict[str, int], list[bytes]]:
    """Logs steps; returns the logs' lengths, as a checkpoint holds them, and the lines of `dialogues.jsonl`."""
    with RunFolder(path) as folder:
        for step in steps:
            folder.log_metrics(step, "online", {})
            folder.append_dialogues([{"step": step}])
        return folder.log_lengths(), folder.dialogues_path.read_bytes().splitlines(keepends=True)


@pytest.mark.parametrize("name", ["metrics.jsonl", "dialogues.jsonl"])
def test_a_log_that_is_missing_is_named(tmp_path, name):
    positions, _ = logged(tmp_path, range(1, 4))
    (tmp_path / name).unlink()
    sentences = RunFolder(tmp_path).rewind(positions, 3)
    assert sentences == [f"{tmp_path / name} is missing; it had {positions[name]} bytes at the checkpoint"]


@pytest.mark.parametrize(
    ("damaged", "lost_lines"),
    [
        ([b"rubbish\n"], 0),
        ([b'{"step": 2\n', b"\n", b"3\n"], 0),
        ([b"\0" * 11 + b"\n"], 1),
        ([b"\0" * 24], 2),
        ([b'{"step": 2}{"step": 3}\n'], 0),
        ([b"\xff\xfe\n"], 0),
        ([b"[" * 100_000 + b"\n"], 0),
    ],
    ids=["rubbish", "three", "zeros", "zeros over two lines", "two records", "no text", "deep"],
)
def test_damaged_lines_are_set_aside_and_counted(tmp_path, damaged, lost_lines):
    """In the middle of a log: all lines around them stay, and no byte is lost."""
    _, written = logged(tmp_path, range(1, 6))
    path = tmp_path / "dialogues.jsonl"
    before = b"".join(written[:1] + damaged + written[1 + lost_lines :])
    path.write_bytes(before + b'{"step": 6}\n')
    positions = {"dialogues.jsonl": len(before), "metrics.jsonl": (tmp_path / "metrics.jsonl").stat().st_size}
    (sentence,) = RunFolder(tmp_path).rewind(positions, 5)
    # Zeros without an end of line swallow the line behind them.
    ends_within = not damaged[-1].endswith(b"\n")
    aside = b"".join(damaged) + (written[1 + lost_lines] if ends_within else b"")
    assert (tmp_path / "dialogues.jsonl.damaged").read_bytes() == aside
    assert path.read_bytes() == b"".join(written[:1] + written[1 + lost_lines + ends_within :])
    assert sentence == (
        f"lines of {path} that are no JSON objects now lie in {path}.damaged: {len(damaged)}, of {len(aside)} bytes "
        "together; the first was line 2"
    )


def test_damage_twice_loses_nothing_and_is_said_once_each(tmp_path):
    path = tmp_path / "dialogues.jsonl"
    for number in (1, 2):
        content = b'{"step": 1}\n' + b"bad %d\n" % number + b'{"step": 2}\n'
        path.write_bytes(content)
        assert len(RunFolder(tmp_path).rewind({path.name: len(content)}, 2)) == 1
        assert path.read_bytes() == b'{"step": 1}\n{"step": 2}\n'
    assert (tmp_path / "dialogues.jsonl.damaged").read_bytes() == b"bad 1\nbad 2\n"
    # Started again from the same checkpoint, before the next one: the log is shorter than it says, for a reason.
    (sentence,) = RunFolder(tmp_path).rewind({path.name: len(content)}, 2)
    assert sentence == (
        f"{path} has lost 6 bytes that it had at the checkpoint (dialogues.jsonl.damaged beside it holds lines that "
        "were taken out of it)"
    )


@pytest.mark.parametrize("lost", ["its end", "all", "a damaged line"])
def test_an_older_checkpoint_doubles_no_step_of_a_log_that_became_shorter(tmp_path, lost):
    """Its byte offsets are of the log as it was, so records are cut by their steps too."""
    positions = {step: logged(tmp_path, range(step, step + 1))[0] for step in range(1, 7)}
    path = tmp_path / "metrics.jsonl"
    content = path.read_bytes()
    if lost == "a damaged line":
        path.write_bytes(b"#" + content[1:])
    else:
        os.truncate(path, 0 if lost == "all" else positions[4]["metrics.jsonl"])
    assert RunFolder(tmp_path).rewind(positions[6], 6)
    with RunFolder(tmp_path) as folder:
        for step in (7, 8):
            folder.log_metrics(step, "online", {})
    # The checkpoint of step 6 turns out to be damaged: the run goes on after step 5.
    RunFolder(tmp_path).rewind(positions[5], 5)
    kept = {"its end": [1, 2, 3, 4], "all": [], "a damaged line": [2, 3, 4, 5]}[lost]
    assert [line["step"] for line in lines(path)] == kept


def test_a_repair_that_cannot_be_written_changes_nothing(tmp_path):
    path = tmp_path / "dialogues.jsonl"
    path.write_bytes(b"bad\n{}\n")
    (tmp_path / "dialogues.jsonl.damaged").mkdir()
    with pytest.raises(UserError, match=r"dialogues\.jsonl.*Is a directory"):
        RunFolder(tmp_path).rewind({path.name: 7}, 2)
    assert path.read_bytes() == b"bad\n{}\n"


@pytest.mark.parametrize("line", ["rubbish", "[1"])
def test_a_foreign_line_is_named(tmp_path, line):
    (tmp_path / "dialogues.jsonl").write_text(f'{{"step": 1}}\n{line}\n')
    with pytest.raises(UserError, match=r"dialogues\.jsonl line 2 .*remove"):
        RunFolder(tmp_path).forget_evaluation()


def test_eval_is_replaced_whole(tmp_path):
    folder = RunFolder(tmp_path)
    folder.write_eval({"suite": {"base": {"feedback": {"ci95": np.array([[0.0, np.nan]]), "n": np.int32(2)}}}})
    results = {"suite": {"base": {"feedback": {"ci95": [[0.0, None]], "n": 2}}}}
    assert json.loads(folder.eval_path.read_text()) == results
    with pytest.raises(TypeError, match="object"):
        folder.write_eval({"suite": object()})
    assert json.loads(folder.eval_path.read_text()) == results
    assert [path.name for path in tmp_path.iterdir()] == ["eval.json"]


def test_config(tmp_path):
    folder = RunFolder(tmp_path)
    folder.write_config("old, and longer")
    folder.write_config("train.seed = 0\n")
    assert folder.config_path.read_text() == "train.seed = 0\n"


def test_a_workdir_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(UserError, match=r"cannot write to workdir .* give --workdir"):
            RunFolder(path)


def test_a_workdir_that_cannot_be_written_to(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    with pytest.raises(UserError, match="Permission denied"):
        RunFolder(tmp_path)


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text()


@given(st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)))
def test_any_nested_value_survives_json(value):
    plain = to_json(value)
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain


@pytest.mark.parametrize(
    "line",
    [b"\xff", b"[" * 100_000, b"3", b'"suite"', b"[1]", b"{}\r{}"],
    ids=["no text", "deep", "3", "text", "list", "two"],
)
def test_a_line_that_is_no_record_is_named_and_nothing_is_lost(tmp_path, line):
    with RunFolder(tmp_path) as folder:
        content = b'{"step": 1}\n' + line + b"\n"
        folder.dialogues_path.write_bytes(content)
        with pytest.raises(UserError, match="line 2 is no record of a dialogue"):
            folder.forget_evaluation()
        assert folder.dialogues_path.read_bytes() == content


def test_lines_that_are_kept_are_kept_byte_for_byte(tmp_path):
    with RunFolder(tmp_path) as folder:
        folder.dialogues_path.write_bytes(b'{"step": 1}\r\n{"suite": "x"}\n {}\n{"torn')
        folder.forget_evaluation()
        assert folder.dialogues_path.read_bytes() == b'{"step": 1}\r\n {}\n'
