"""Starting a test's program in several processes on this machine, and seeing them end."""

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

PROGRAM = Path(__file__).with_name("process_programs.py")


@dataclass
class Ended:
    """A process's end: exit code, what it printed, and the moment (of `time.monotonic`)."""

    code: int
    out: str
    err: str
    at: float


@dataclass
class Started:
    """A running process; its output goes to files of its name in `folder`."""

    process: subprocess.Popen
    folder: Path
    name: str

    def text(self, stream: str) -> str:
        return (self.folder / f"{self.name}.{stream}").read_text(errors="replace")


@contextlib.contextmanager
def started(folder: Path, commands: Sequence[Sequence[str]], devices: int = 2) -> Iterator[list[Started]]:
    """Starts each command as a Python process with some simulated devices; all are killed at the end of the body."""
    folder.mkdir(parents=True, exist_ok=True)
    flags = f"--xla_force_host_platform_device_count={devices}"
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}
    running: list[Started] = []
    try:
        for number, command in enumerate(commands):
            with (folder / f"{number}.out").open("w") as out, (folder / f"{number}.err").open("w") as err:
                process = subprocess.Popen([sys.executable, *command], env=environment, stdout=out, stderr=err)
            running.append(Started(process, folder, str(number)))
        yield running
    finally:
        for process in running:
            process.process.kill()
            process.process.wait()


def ends(running: Sequence[Started], within: float) -> list[Ended]:
    """How the processes ended; fails, with what they printed, if one has not after `within` seconds."""
    until, ended = time.monotonic() + within, {}
    while len(ended) < len(running):
        # The moment of each end is noted, so poll all of them often and wait for none.
        for started in running:
            if started.name not in ended and (code := started.process.poll()) is not None:
                ended[started.name] = Ended(code, started.text("out"), started.text("err"), time.monotonic())
        if time.monotonic() > until:
            hanging = [started for started in running if started.name not in ended]
            raise AssertionError(
                "\n".join(f"process {s.name} runs on:\n{s.text('out')}{s.text('err')}" for s in hanging)
            )
        time.sleep(0.02)
    return [ended[started.name] for started in running]


def commands(name: str, count: int, out: Path, *arguments: str) -> list[list[str]]:
    """A program of `process_programs` in `count` processes."""
    address = f"localhost:{free_port()}"
    return [[str(PROGRAM), name, address, str(count), str(me), str(out), *arguments] for me in range(count)]


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as listening:
        listening.bind(("localhost", 0))
        return int(listening.getsockname()[1])


def wait_until(files: Sequence[Path], running: Sequence[Started], within: float = 120) -> None:
    """Waits until all files exist; fails if a process ends before."""
    until = time.monotonic() + within
    while not all(path.exists() for path in files):
        ended = [started for started in running if started.process.poll() is not None]
        assert not ended, "".join(started.text("out") + started.text("err") for started in ended)
        assert time.monotonic() < until, f"none of {files}"
        time.sleep(0.05)
