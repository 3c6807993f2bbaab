"""Two processes and one folder: who holds it, who is refused, and what a killed, stopped or unseen holder leaves."""

import contextlib
import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sml_jax.common.errors import UserError
from sml_jax.run.io import RunFolder, lock
from sml_jax.run.io.lock import FolderLock
from sml_jax.run.io.process_identity import is_alive, this_process
from sml_jax.run.io.shared import open_folder

SILENCE = 2.0
# Where the holder runs, and what the disk knows.
PLACES = pytest.mark.parametrize(
    "flags",
    [(), ("--no_flock",), ("--elsewhere",), pytest.param(("--elsewhere", "--no_flock"), marks=pytest.mark.extra)],
    ids=" ".join,
)


class Holder:
    """A process of `lock_programs.py`."""

    def __init__(self, path, *flags):
        command = [sys.executable, str(Path(__file__).with_name("lock_programs.py")), str(path), *flags]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.pid = self.process.pid

    def line(self):
        return self.process.stdout.readline().strip()

    def asked(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self.line()

    def kill(self):
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def start(tmp_path):
    """Starts a holder of `run.lock`; the disk of this process is the same."""
    with contextlib.ExitStack() as stack:

        def started(*flags):
            holder = Holder(tmp_path / "run.lock", *flags)
            stack.callback(holder.kill)
            return holder

        yield started


@pytest.fixture
def newcomer(tmp_path, monkeypatch, request):
    """A lock that this process asks for, on the same kind of disk as the holder's."""
    if "--no_flock" in request.getfixturevalue("flags"):
        monkeypatch.setattr(lock, "_flock", lambda descriptor: None)
    with contextlib.ExitStack() as stack:
        folder_lock = FolderLock(tmp_path / "run.lock", 0.1, SILENCE)
        stack.callback(folder_lock.release)
        yield folder_lock


@PLACES
def test_a_live_holder_is_named_and_left_alone(start, newcomer, flags):
    holder = start(*flags)
    assert holder.line() == "held"
    host = "far" if "--elsewhere" in flags else socket.gethostname()
    with pytest.raises(UserError, match=rf"is held by process {holder.pid} on host {host}.* give another --workdir"):
        newcomer.acquire()
    assert holder.asked() == "still held"


@PLACES
def test_a_killed_holder_blocks_nobody(start, newcomer, flags, capsys):
    holder = start(*flags)
    assert holder.line() == "held"
    holder.kill()
    began = time.monotonic()
    newcomer.acquire()
    waited, printed = time.monotonic() - began, capsys.readouterr().out
    if "--elsewhere" in flags:
        assert SILENCE <= waited < SILENCE + 2
        assert f"names process {holder.pid} on host far, which cannot be looked up from here: waiting up to" in printed
        assert f"no heartbeat of process {holder.pid} on host far for 2 seconds: its lock is taken over" in printed
    else:
        assert waited < 1 and not printed
    newcomer.check()


@pytest.mark.extra
@PLACES
def test_a_suspended_holder(start, newcomer, flags):
    """One that can be seen blocks; one that cannot is taken over, and told so when it goes on."""
    holder = start(*flags)
    assert holder.line() == "held"
    os.kill(holder.pid, signal.SIGSTOP)
    taken_over = flags == ("--elsewhere", "--no_flock")
    if taken_over:
        newcomer.acquire()
    else:
        words = "no heartbeat for 2 seconds" if "--elsewhere" in flags else "two runs would mix"
        with pytest.raises(UserError, match=rf"is held by process {holder.pid} .*{words}"):
            newcomer.acquire()
    os.kill(holder.pid, signal.SIGCONT)
    time.sleep(0.5)
    if taken_over:
        assert f"lost: process {os.getpid()} on host {socket.gethostname()} has taken over" in holder.asked()
        holder.process.communicate("")
        newcomer.check()
    else:
        assert holder.asked() == "still held"


@pytest.mark.parametrize("flags", [()])
def test_a_child_that_a_killed_holder_left_behind_keeps_nothing(start, newcomer, flags):
    holder = start("--fork")
    child = int(holder.line())
    assert holder.line() == "held"
    os.kill(holder.pid, signal.SIGKILL)
    holder.process.wait()
    newcomer.acquire()
    os.kill(child, signal.SIGKILL)


@pytest.mark.extra
def test_of_five_that_begin_at_once_one_holds(start, tmp_path):
    """Also where a killed holder has left its lock."""
    killed = start()
    assert killed.line() == "held"
    killed.kill()
    holders = [start(f"--after={tmp_path / 'go'}") for _ in range(5)]
    assert [holder.line() for holder in holders] == ["ready"] * 5
    (tmp_path / "go").touch()
    lines = [holder.line() for holder in holders]
    (one,) = (holder for holder, line in zip(holders, lines, strict=True) if line == "held")
    assert sum(line.startswith("refused: ") for line in lines) == 4
    assert one.asked() == "still held"


def test_a_lock_goes_when_it_is_released(tmp_path):
    for _ in range(2):
        folder_lock = FolderLock(tmp_path / "run.lock")
        folder_lock.acquire()
        named = json.loads((tmp_path / "run.lock").read_text())
        assert (named["host"], named["pid"]) == (socket.gethostname(), os.getpid())
        folder_lock.release()
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("change", [{"start_ticks": 5}, {"pid": 2**22 + 1}])
def test_another_process_with_the_same_number_is_not_the_holder(tmp_path, change):
    """A process id is given again in time."""
    left_behind = dataclasses.asdict(dataclasses.replace(this_process(), **change))
    (tmp_path / "run.lock").write_text(json.dumps(left_behind))
    folder_lock = FolderLock(tmp_path / "run.lock")
    folder_lock.acquire()
    folder_lock.release()


def test_what_can_be_known_of_a_process():
    here = this_process()
    assert is_alive(here) is True
    assert is_alive(dataclasses.replace(here, host="its name does not matter")) is True
    assert is_alive(dataclasses.replace(here, start_ticks=here.start_ticks + 1)) is False
    for elsewhere in ({"boot": "another"}, {"pid_namespace": "pid:[1]"}):
        assert is_alive(dataclasses.replace(here, **elsewhere)) is None
    ended = subprocess.Popen(["true"])
    os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)  # it stays as a zombie
    assert is_alive(dataclasses.replace(here, pid=ended.pid, start_ticks=-1)) is False
    ended.wait()
    assert is_alive(dataclasses.replace(here, pid=ended.pid, start_ticks=-1)) is False


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\0" * 300, b"\xff", b"[]", b"3", b"{}", b'{"pid": 1e999}', b"[" * 5000, b"x" * 9000]
    + [json.dumps({**dataclasses.asdict(this_process()), "pid": pid}).encode() for pid in (-1, 0, 2**70)],
    ids=range(13),
)
def test_a_damaged_lock_blocks_nobody(tmp_path, content, capsys):
    path = tmp_path / "run.lock"
    path.write_bytes(content)
    folder_lock = FolderLock(path, silence=0.3)
    folder_lock.acquire()
    assert json.loads(path.read_text())["pid"] == os.getpid()
    assert ("no heartbeat of an unknown process" in capsys.readouterr().out) == bool(content)
    folder_lock.release()


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, lambda path: os.symlink("elsewhere", path)])
def test_what_is_no_file_is_refused(tmp_path, make):
    make(tmp_path / "run.lock")
    with pytest.raises(UserError, match=r"run\.lock"):
        FolderLock(tmp_path / "run.lock").acquire()
    assert [path.name for path in tmp_path.iterdir()] == ["run.lock"]


def test_a_lock_that_was_removed_ends_its_run(tmp_path):
    with open_folder(tmp_path) as folder:
        (tmp_path / "run.lock").unlink()
        with pytest.raises(UserError, match=r"run\.lock was removed while this run held it"):
            folder.log_metrics(1, "online", {})


def test_a_run_that_was_taken_over_writes_nothing_more(tmp_path):
    with open_folder(tmp_path) as folder:
        folder.log_metrics(1, "online", {"loss": 0.5})
        folder.append_dialogues([{"step": 1}])
        folder.write_eval({})
        before = {path: path.read_bytes() for path in tmp_path.glob("*.json*")}
        other = json.dumps({**dataclasses.asdict(this_process()), "host": "far", "pid": 7})
        (tmp_path / "run.lock").write_text(other)
        writes = (
            lambda: folder.log_metrics(2, "online", {}),
            lambda: folder.append_dialogues([{"step": 2}]),
            lambda: folder.write_eval({"suite": 1}),
            lambda: folder.write_config(""),
            lambda: folder.rewind({}, -1),
            folder.forget_evaluation,
            folder.log_lengths,
        )
        for write in writes:
            with pytest.raises(UserError, match="process 7 on host far has taken over"):
                write()
        assert {path: path.read_bytes() for path in tmp_path.glob("*.json*")} == before
    # The other's lock stays, and a folder that is only looked at has none.
    assert (tmp_path / "run.lock").read_text() == other
    with RunFolder(tmp_path):
        pass


def test_a_folder_is_free_after_an_error(tmp_path):
    with pytest.raises(KeyError), open_folder(tmp_path):
        raise KeyError
    with open_folder(tmp_path), pytest.raises(UserError, match=f"is held by process {os.getpid()}"):
        open_folder(tmp_path)
    with open_folder(tmp_path):
        pass
