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
    """A process under way."""

    process: subprocess.Popen
    folder: Path
    name: str

    def text(self, stream: str) -> str:
        return (self.folder / f"{self.name}.{stream}").read_text(errors="replace")


@contextlib.contextmanager
def started(folder: Path, commands: Sequence[Sequence[str]], devices: int = 2) -> Iterator[list[Started]]:
    """The commands as processes with that many simulated devices each; none outlives the body."""
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
        for one in running:
            one.process.kill()
            one.process.wait()


def ends(running: Sequence[Started], within: float) -> list[Ended]:
    """How the processes ended; fails, with what they printed, if one has not after `within` seconds."""
    until, found = time.monotonic() + within, {}
    while len(found) < len(running):
        for one in running:
            if one.name not in found and (code := one.process.poll()) is not None:
                found[one.name] = Ended(code, one.text("out"), one.text("err"), time.monotonic())
        if time.monotonic() > until:
            still = [one for one in running if one.name not in found]
            raise AssertionError("\n".join(f"process {o.name} runs on:\n{o.text('out')}{o.text('err')}" for o in still))
        time.sleep(0.02)
    return [found[one.name] for one in running]


def commands(name: str, count: int, out: Path, *arguments: str) -> list[list[str]]:
    """A program of `process_programs` in `count` processes."""
    address = f"localhost:{free_port()}"
    return [[str(PROGRAM), name, address, str(count), str(me), str(out), *arguments] for me in range(count)]


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as listening:
        listening.bind(("localhost", 0))
        return int(listening.getsockname()[1])


def wait_until(there: Sequence[Path], running: Sequence[Started], within: float = 120) -> None:
    """Waits until all files are there; fails if a process ends before."""
    until = time.monotonic() + within
    while not all(path.exists() for path in there):
        gone = [one for one in running if one.process.poll() is not None]
        assert not gone, "".join(one.text("out") + one.text("err") for one in gone)
        assert time.monotonic() < until, f"none of {there}"
        time.sleep(0.05)
