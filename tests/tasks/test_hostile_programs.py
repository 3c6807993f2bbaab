"""Programs that try to pass without solving, to get out, or to stay: each is judged incorrect, and leaves no trace.

All of them behind the strongest walls that this machine has. Behind the others, and 500 in a row (about 8 minutes):
    pytest -m slow tests/tasks/test_hostile_programs.py
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from hostile_messages import HANDING, MESSAGES, STOPPING, STOPS, WIRE
from hostile_programs import CONTAINED, FORGED
from hostile_values import SETUP, TRICKS

from sml_jax.tasks import Limits, Verdict, run_tests
from sml_jax.tasks.code.cases import run_cases
from sml_jax.tasks.code.problem import CallCase, IoCase
from sml_jax.tasks.code.sandbox import protection as protection_module
from sml_jax.tasks.code.sandbox.walls import Walls, possible_walls

TESTS = ("assert f(3) == 10", "assert abs(f(4) - 17) < 1e-6", "assert f(0) in (1,)", "assert not f(5) != 26")
LIMITS = Limits(wall_s=2.0, cpu_s=1, memory_bytes=1 << 29)
PROGRAMS = {**FORGED, **CONTAINED, **MESSAGES}
ESCAPED = "sml_jax_escaped"
REPOSITORY = Path(__file__).parents[2]
WAYS = [walls for walls in possible_walls() if not walls.weak]

pytestmark = pytest.mark.skipif(not WAYS, reason="this machine has no walls to offer")


class Outside:
    """What programs may not reach: files, sockets that nobody may call, and this process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "secret").write_text("s3cret")
        self.stat = (folder / "secret").stat()
        self.tcp = socket.create_server(("127.0.0.1", 0))
        self.port = self.tcp.getsockname()[1]
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind(("127.0.0.1", self.port))
        self.named, self.abstract = (socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) for _ in range(2))
        self.named.bind(str(folder / "socket"))
        self.abstract.bind(f"\0sml_jax_{self.port}")
        for one in (self.named, self.abstract):
            one.listen()
        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER: a process that gets away becomes our child
        self.before = self.held()

    def fill(self, code: str) -> str:
        words = {"OUT": str(self.folder), "PORT": str(self.port), "PARENT": str(os.getpid())}
        words |= {"HOME": os.path.expanduser("~"), "REPO": str(REPOSITORY)}
        for word, value in words.items():
            code = code.replace(word, value)
        return code

    def held(self) -> tuple[int, set[str]]:
        """(open files, children) of this process."""
        children = ""
        for thread in os.listdir("/proc/self/task"):
            with contextlib.suppress(FileNotFoundError):  # a thread that ended meanwhile
                children += Path(f"/proc/self/task/{thread}/children").read_text()
        return len(os.listdir("/proc/self/fd")), set(children.split())

    def check(self) -> None:
        """Fails where something got out or stayed."""
        assert self.held() == self.before
        called = select.select([self.tcp, self.udp, self.named, self.abstract], [], [], 0)[0]
        assert called == []
        assert sorted(one.name for one in self.folder.iterdir()) == ["secret", "socket"]
        now = (self.folder / "secret").stat()
        kept = ("st_size", "st_mode", "st_uid", "st_nlink", "st_mtime_ns")
        assert [getattr(now, name) for name in kept] == [getattr(self.stat, name) for name in kept]
        places = ("/tmp", "/var/tmp", "/dev/shm", "/", os.path.expanduser("~"), str(REPOSITORY), "/work", os.getcwd())
        assert [place for place in places if os.path.exists(os.path.join(place, ESCAPED))] == []

    def close(self) -> None:
        for one in (self.tcp, self.udp, self.named, self.abstract):
            one.close()


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Outside]:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    (tmp_path / "out").mkdir()
    protection_module.strongest_walls()
    surroundings = Outside(tmp_path / "out")
    yield surroundings
    surroundings.check()
    surroundings.close()
    assert list(scratch.iterdir()) == []


def behind(walls: Walls, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the verifier use these walls."""
    monkeypatch.setattr(protection_module, "_strongest", lambda: (walls, ""))


def judge_all(
    programs: dict[str, str],
    outside: Outside,
    workers: int = 4,
    limits: Limits = LIMITS,
    tests: tuple[str, ...] = TESTS,
) -> dict[str, Verdict]:
    def one(name: str) -> Verdict:
        start = time.monotonic()
        verdict = run_tests(outside.fill(programs[name]), tests, limits=limits)
        assert time.monotonic() - start < 60, name
        return verdict

    with ThreadPoolExecutor(workers) as pool:
        return dict(zip(programs, pool.map(one, programs), strict=True))


def passed(verdicts: dict[str, Verdict]) -> list[str]:
    return [name for name, verdict in verdicts.items() if verdict.correct or not verdict.attempted]


def test_there_are_enough_of_them() -> None:
    assert len(PROGRAMS) > 100


def test_those_that_try_for_the_verdict_fail(outside: Outside) -> None:
    assert passed(judge_all(FORGED, outside)) == []


def test_those_that_forge_messages_fail_whatever_a_test_hands_over(outside: Outside) -> None:
    verdicts = judge_all(MESSAGES, outside, tests=HANDING)
    assert passed(verdicts) == []
    verdicts = judge_all(MESSAGES, outside, tests=(HANDING[0].rpartition("assert")[0], HANDING[1]))
    assert passed(verdicts) == []
    right = WIRE + "def f(x, *given): return x * x + 1"
    assert run_tests(right, HANDING, limits=Limits(wall_s=60.0)).correct


@pytest.mark.parametrize(
    "kind", ["StopIteration", "StopAsyncIteration", "GeneratorExit", "KeyboardInterrupt", "SystemExit", "Own"]
)
def test_what_the_code_raises_ends_no_iteration_of_the_judge(kind: str) -> None:
    code = "class Own(StopIteration): pass\n" + STOPPING.replace("KIND", kind)
    # A judge's run of all of them at once: what passes is in `ended`.
    step = "try: exec(text, globals())\n    except BaseException: continue\n    ended.append(text)"
    test = f"ended = []\nfor text in {STOPS!r}:\n    {step}\nassert ended == [], ended"
    assert run_tests(code, [test], limits=Limits(wall_s=60.0)).detail == "all 1 tests passed"
    assert not run_tests(code, [STOPS[0]], limits=Limits(wall_s=60.0)).correct


def test_no_context_manager_of_the_code_swallows_a_failed_assert() -> None:
    code = "class f:\n    def __init__(s, x): s.x = x\n    def __enter__(s): return s.x\n"
    code += "    def __exit__(s, *e): return True"
    assert not run_tests(code, ["with f(3) as y: assert y == 10"]).correct
    assert run_tests(code, ["with f(3) as y: assert y == 3", "with f(3): raise ValueError"]).correct


def test_a_number_does_not_change_between_two_looks() -> None:
    code = WIRE + "class N(int):\n    shown = 1\nlooks = []\ndef f(x):\n    p = find()\n    old = p.perform\n"
    code += "    def perform(op, operands):\n        if op != 'plain': return old(op, operands)\n"
    code += "        looks.append(1)\n        return 10**9 if len(looks) % 2 else -10**9\n"
    code += "    p.perform = perform\n    return N(x)\n"
    assert not run_tests(code, ["assert 4 < f(3) < 6"]).correct
    honest = "class N(int):\n    shown = 1\ndef f(x): return N(x + 2)\n"
    assert run_tests(honest, ["assert 4 < f(3) < 6 and f(3).shown == 1"]).correct


@pytest.mark.parametrize("kind", ["AssertionError", "Exception", "BaseException"])
def test_nothing_of_the_code_catches_a_failed_assert(kind: str) -> None:
    code = f"Mine = {kind}\nMany = (ValueError, {kind})\nclass Bank:\n    Error = {kind}\n    errors = [{kind}]\n"
    code += f"def f(x): return x\nf.Error = {kind}\ndef errors(): return Many"
    caught = ["Mine", "Many", "(KeyError, Mine)", "Bank.Error", "Bank().Error", "Bank.errors[0]", "f.Error", "errors()"]
    test = "try:\n    f(-1)\n    assert False\nexcept CAUGHT:\n    pass"
    # A judge's run of all of them at once: what catches the failure is in `ended`.
    texts = [test.replace("CAUGHT", name) for name in caught]
    texts += [f"import contextlib\nwith contextlib.suppress({name}): assert f(1) == 2" for name in caught[3:6]]
    step = "try: exec(text, globals())\n    except AssertionError: continue\n    ended.append(text)"
    one_by_one = f"ended = []\nfor text in {texts!r}:\n    {step}\nassert ended == [], ended"
    assert run_tests(code, [one_by_one], limits=Limits(wall_s=60.0)).detail == "all 1 tests passed"
    assert not run_tests(code, [texts[1]]).correct
    mine = "class Mine(Exception): pass\nclass Bank:\n    Error = Mine\n"
    for name in ("Mine", "Bank.Error", "(KeyError, Mine)"):
        assert run_tests(mine + "def f(x): raise Mine", [test.replace("CAUGHT", name)]).correct
    assert run_tests(
        f"def f(x): return {kind}", [f"assert issubclass(f(1), {kind}) and f(1).__name__ == '{kind}'"]
    ).correct


def test_values_and_objects_that_pretend_are_no_answers() -> None:
    def one(row: tuple[str, str, str, bool]) -> Verdict:
        return run_tests(row[1], [row[2]], SETUP if row[3] else "", Limits(wall_s=60.0))

    with ThreadPoolExecutor(2) as pool:
        verdicts = dict(zip([row[0] for row in TRICKS], pool.map(one, TRICKS), strict=True))
    assert passed(verdicts) == []


def test_those_that_try_to_get_out_or_stay_are_contained(outside: Outside) -> None:
    assert passed(judge_all(CONTAINED, outside)) == []


def test_a_right_program_passes_beside_them(outside: Outside) -> None:
    programs = {"right": "def f(x): return x * x + 1", "bomb": CONTAINED["memory_bomb"], "loop": CONTAINED["loop"]}
    assert passed(judge_all(programs, outside, limits=Limits(wall_s=60.0, cpu_s=3))) == ["right"]


@pytest.mark.parametrize(
    "name",
    [
        "too_many_values",
        "line_of_its_own",
        "tcp",
        "writes_outside",
        "verdict_on_every_file",
        "disk_filled",
        "equal_int",
    ],
)
def test_cases_are_judged_behind_the_same_walls(name: str, outside: Outside) -> None:
    code = outside.fill(PROGRAMS[name])
    assert not run_cases(code, [CallCase("[3]", "10")], "f", LIMITS).correct
    assert not run_cases(code, [IoCase("3", "10")], limits=LIMITS).correct


def test_values_that_nobody_asked_for_buy_no_time() -> None:
    code = "import os, time\ndef f(x):\n    for second in range(30):\n        for n in range(3, 65):\n"
    code += "            try: os.write(n, b'76616c7565 6a736f6e 3130 3130\\n')\n            except OSError: pass\n"
    code += "        time.sleep(1)\n    return x * x + 1"
    start = time.monotonic()
    assert not run_cases(code, [CallCase("[3]", "10")], "f", LIMITS).correct
    assert time.monotonic() - start < 25


@pytest.mark.slow
@pytest.mark.parametrize("walls", WAYS, ids=lambda walls: walls.name)
def test_behind_every_kind_of_walls(walls: Walls, outside: Outside, monkeypatch: pytest.MonkeyPatch) -> None:
    behind(walls, monkeypatch)
    assert passed(judge_all(PROGRAMS, outside, workers=2)) == []


@pytest.mark.slow
def test_five_hundred_in_a_row_leave_nothing(outside: Outside) -> None:
    names = (list(PROGRAMS) * 5)[:500]
    for start in range(0, 500, 20):
        batch = {f"{start + at} {name}": PROGRAMS[name] for at, name in enumerate(names[start : start + 20])}
        assert passed(judge_all(batch, outside)) == []
        outside.check()
