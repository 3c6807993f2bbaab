"""Programs that try to pass without solving, to get out, or to stay. `OUT`, `PORT`, `PARENT` and `HOME` are filled in.

Each is asked for `f(x) == x * x + 1` and answers wrongly, so a verdict of "correct" is a hole.
"""

# ruff: noqa: E501
from __future__ import annotations

WRONG = "\ndef f(x): return 0\n"
ESCAPE = "\ndef f(x): return 0\nimport os\ndef attempt(step):\n    try: step()\n    except BaseException: pass\n"
EQUAL = """
class Same(BASE):
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __hash__(self): return 0
    def __lt__(self, other): return True
    __le__ = __gt__ = __ge__ = __contains__ = __lt__
    def __sub__(self, other): return self
    __rsub__ = __add__ = __radd__ = __mul__ = __abs__ = __sub__
    def __abs__(self): return 0.0
    def __bool__(self): return True
    def __instancecheck__(self, other): return True
    def __getattr__(self, name): return self
    def __call__(self, *a, **k): return self
def f(x): return Same()
"""


def _function(body: str) -> str:
    return "def f(x):\n" + "".join(f"    {line}\n" for line in body.strip().splitlines())


FORGED = {
    "sys_exit": "import sys\nsys.exit(0)",
    "os_exit": "import os\nos._exit(0)",
    "sys_exit_in_call": _function("import sys\nsys.exit(0)"),
    "os_exit_in_call": _function("import os\nos._exit(0)"),
    "equal_object": EQUAL.replace("(BASE)", ""),
    "equal_int": EQUAL.replace("BASE", "int"),
    "equal_str": EQUAL.replace("BASE", "str"),
    "equal_list": EQUAL.replace("BASE", "list"),
    "equal_dict": EQUAL.replace("BASE", "dict"),
    "equal_float": EQUAL.replace("BASE", "float"),
    "equal_tuple": EQUAL.replace("BASE", "tuple"),
    "equal_exception": EQUAL.replace("BASE", "Exception"),
    "equal_metaclass": EQUAL.replace("BASE", "type").replace("Same()", "Same('A', (), {})"),
    "equal_inside": EQUAL.replace("(BASE)", "") + "def f(x): return [Same()]",
    "mock_any": "from unittest import mock\ndef f(x): return mock.ANY",
    "mock_magic": "from unittest import mock\ndef f(x):\n    m = mock.MagicMock()\n    m.__eq__.return_value = True\n    return m",
    "f_is_a_class": EQUAL.replace("(BASE)", "")
    .replace("def f(x): return Same()", "f = Same")
    .replace("def __eq__", "def __init__(self, *a): pass\n    def __eq__"),
    "f_is_an_instance": EQUAL.replace("(BASE)", "").replace("def f(x): return Same()", "f = Same()"),
    "zero_made_by_minus": "class Z(float):\n    own = 1\nclass A:\n    def __sub__(s, o): return Z(0.0)\n    __rsub__ = __sub__\n"
    "def f(x): return 10 if x == 3 else A()",
    "too_many_values": "import os\nfor n in range(3, 65):\n    try: os.write(n, b'656e64 73746f70706564\\n' + b'76616c7565 6a736f6e 30 30\\n' * 9)\n"
    "    except OSError: pass" + WRONG,
    "line_of_its_own": "import os\nfor n in range(3, 65):\n    try: os.write(n, b'656e64 6572726f72 0a0a 0a ' + b'39' * 5000 + b' 39\\n')\n"
    "    except OSError: pass\nos._exit(1)",
    "class_lies": "class A:\n    @property\n    def __class__(self): return int\n    def __eq__(self, o): return True\n"
    "def f(x): return A()",
    "builtins_patched": "import builtins\nfor n in ('all', 'any', 'isinstance', 'print', 'abs', 'sorted', 'sum', 'round'):\n"
    "    setattr(builtins, n, lambda *a, **k: True)" + WRONG,
    "assertion_error_patched": "import builtins\nclass Never(BaseException):\n    def __new__(c, *a): import os; os._exit(0)\n"
    "builtins.AssertionError = Never" + WRONG,
    "import_patched": "import builtins\nbuiltins.__import__ = lambda *a, **k: 1\nbuiltins.exec = builtins.compile = print"
    + WRONG,
    "names_of_builtins": "def all(x): return True\nany = abs = len = sorted = isinstance = all\nAssertionError = SystemExit"
    + WRONG,
    "space_names": "__builtins__ = {}\n__name__ = 'tests'\n__import__ = None" + WRONG,
    "printed_verdict": "print('passed\\nall 3 tests passed\\n{\"correct\": true}')" + WRONG,
    "verdict_on_every_file": "import os\nfor n in range(65):\n    try: os.write(n, b'656e64 706173736564\\n')\n"
    "    except OSError: pass" + WRONG,
    "verdict_on_every_file_and_exit": "import os\nfor n in range(65):\n    try: os.write(n, b'656e64 706173736564\\n')\n"
    "    except OSError: pass\nos._exit(0)",
    "reply_forged": "import os\nm = b'0\\nB-1 1:1'\nfor n in range(3, 65):\n    try: os.write(n, (len(m) + 1).to_bytes(8, 'little') "
    "+ b'!' + m)\n    except OSError: pass" + WRONG,
    "frames_walked": _function(
        "import sys\nat = sys._getframe()\nwhile at:\n    for v in [*at.f_locals.values(), *at.f_globals.values()]:\n"
        "        if 'assert' in str(v)[:10000] and 'f(' in str(v): return 10\n    at = at.f_back\nreturn 0"
    ),
    "gc_searched": _function(
        "import gc\nfor o in gc.get_objects():\n    if isinstance(o, (list, tuple, dict)) and f'assert f({x}) == {x * x + 1}' in str(o)[:5000]:"
        "\n        return x * x + 1\nreturn 0"
    ),
    "memory_searched": _function(
        "import ctypes, re\nfor line in open('/proc/self/maps'):\n    a, b = [int(n, 16) for n in line.split()[0].split('-')]\n"
        "    if f'assert f({x}) == {x * x + 1}'.encode() in ctypes.string_at(a, b - a): return x * x + 1\nreturn 0"
    ),
    "trace_set": "import sys\ndef t(*a): return t\nsys.settrace(t)\nsys.setprofile(t)\nimport threading\nthreading.settrace(t)"
    + WRONG,
    "modules_poisoned": "import sys\nclass M(dict):\n    def __getattr__(s, n): return lambda *a, **k: True\n"
    "sys.modules.update({n: M() for n in ('math', 'os', 'unittest', 'json', 'marshal', 'operator')})" + WRONG,
    "import_hook": "import sys\nclass H:\n    def find_spec(s, n, *a): import os; os._exit(0)\nsys.meta_path.insert(0, H())"
    + WRONG,
    "atexit_handler": "import atexit, os\natexit.register(os._exit, 0)" + WRONG,
    "del_exits": "class D:\n    def __del__(s): import os; os._exit(0)\ndef f(x):\n    D()\n    return 0",
    "assertion_raised": _function("raise AssertionError('all 3 tests passed')"),
    "assertion_swallowed": "import sys\nsys.excepthook = lambda *a: None\nimport threading\nthreading.excepthook = print"
    + WRONG,
    "stop_iteration": _function("raise StopIteration(10)"),
    "generator_exit": _function("raise GeneratorExit"),
    "keyboard_interrupt": _function("raise KeyboardInterrupt"),
    "hostile_str": "class E(Exception):\n    def __str__(s): import os; os._exit(0)\n    __repr__ = __str__\ndef f(x): raise E(E())",
    "hostile_repr": "class E:\n    def __repr__(s): raise SystemExit(0)\n    __str__ = __repr__\ndef f(x): return E()",
    "nan": _function("return float('nan')"),
    "array_of_all": "def f(x):\n    import numpy as np\n    return np.arange(30)",
    "endless_generator": _function("while True: yield x"),
    "recorded_answers": "seen = {}\ndef f(x): return seen.setdefault(x, x)",
    "argument_lent_back": _function("return x"),
    "mutates_constants": "import ctypes\ndef f(x):\n    ctypes.memset(id(10) + 24, 0, 4)\n    return 0",
    "thread_changes_the_result": "import threading, time\ndef f(x):\n    r = [0]\n"
    "    def late():\n        for n in range(10**9): r[0] = n % 50\n    threading.Thread(target=late, daemon=True).start()\n    return r",
    "coroutine": "async def f(x): return x * x + 1",
    "signal_in_the_judge": "import os, signal\nfor p in range(1, 50):\n    try: os.kill(p, signal.SIGKILL)\n"
    "    except OSError: pass" + WRONG,
    "proc_parent_files": ESCAPE
    + "for p in (os.getppid(), PARENT):\n    for n in ('environ', 'mem', 'cmdline', 'maps'):\n"
    "        try: open(f'/proc/{p}/{n}', 'rb').read(9); f = lambda x: x * x + 1\n        except OSError: pass",
    "secrets_read": ESCAPE
    + "for p in ('/etc/passwd', '/etc/shadow', 'HOME/.ssh/id_rsa', 'OUT/secret', '/proc/self/environ', "
    "'/proc/self/mem', '/proc/1/cmdline', '/proc/self/fd/3', 'REPO/README.md', 'REPO/tests/tasks/hostile_programs.py'):\n"
    "    try: open(p, 'rb').read(9); f = lambda x: x * x + 1\n    except OSError: pass",
}
"""Those that try for the verdict."""

CONTAINED = {
    "writes_outside": ESCAPE + "for p in ('OUT', '/tmp', '/var/tmp', '/dev/shm', '/', '..', 'HOME', 'REPO', '/work'):\n"
    "    attempt(lambda: open(p + '/sml_jax_escaped', 'w').write('x'))\n    attempt(lambda: os.mkdir(p + '/sml_jax_escaped'))",
    "overwrites": ESCAPE
    + "attempt(lambda: open('OUT/secret', 'a').write('x'))\nattempt(lambda: os.truncate('OUT/secret', 0))\n"
    "attempt(lambda: os.unlink('OUT/secret'))\nattempt(lambda: os.rename('OUT/secret', 'mine'))\n"
    "attempt(lambda: os.chmod('OUT/secret', 0o777))\nattempt(lambda: os.utime('OUT/secret', (1, 1)))\n"
    "attempt(lambda: os.setxattr('OUT/secret', 'user.x', b'x'))\nattempt(lambda: os.chown('OUT/secret', 1, 1))",
    "symlinks": ESCAPE
    + "attempt(lambda: os.symlink('OUT', 'link'))\nattempt(lambda: open('link/sml_jax_escaped', 'w'))\n"
    "attempt(lambda: os.link('OUT/secret', 'hard'))\nattempt(lambda: open('hard', 'a').write('x'))",
    "deep_folders": ESCAPE
    + "def dig():\n    for n in range(3000):\n        os.mkdir('d'); os.chdir('d')\nattempt(dig)",
    "fork_bomb": ESCAPE + "def bomb():\n    while True: os.fork()\nattempt(bomb)",
    "os_system": ESCAPE + "attempt(lambda: os.system('touch OUT/sml_jax_escaped; sleep 987 &'))",
    "subprocess": ESCAPE
    + "import subprocess\nattempt(lambda: subprocess.Popen(['sleep', '987'], start_new_session=True))",
    "multiprocessing": ESCAPE + "import multiprocessing as m\nimport time\n"
    "attempt(lambda: m.get_context('fork').Process(target=time.sleep, args=(987,)).start())",
    "daemon": ESCAPE + "def away():\n    if os.fork(): return\n    os.setsid()\n    if os.fork(): os._exit(0)\n"
    "    import time\n    time.sleep(987)\nattempt(away)",
    "vfork_clone": ESCAPE
    + "import ctypes\nc = ctypes.CDLL(None)\nfor n in (56, 57, 58, 435, 220):\n    c.syscall(n, 17, 0, 0, 0, 0)",
    "exec": ESCAPE + "attempt(lambda: os.execv('/bin/sh', ['sh', '-c', 'touch OUT/sml_jax_escaped; sleep 987']))",
    "exec_python": ESCAPE
    + "import sys\nattempt(lambda: os.execv(sys.executable, [sys.executable, '-c', 'import time; time.sleep(9)']))",
    "tcp": ESCAPE + "import socket\nattempt(lambda: socket.create_connection(('127.0.0.1', PORT), 1).send(b'x'))",
    "udp": ESCAPE
    + "import socket\nattempt(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', PORT)))",
    "unix_sockets": ESCAPE
    + "import socket\nfor a in ('OUT/socket', chr(0) + 'sml_jax_PORT'):\n    attempt(lambda: socket.socket("
    "socket.AF_UNIX).connect(a))\n    attempt(lambda: socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)[0].sendto(b'x', a))",
    "dns": ESCAPE + "import socket\nattempt(lambda: socket.getaddrinfo('example.com', 80))",
    "raw_socket_call": ESCAPE
    + "import ctypes\nc = ctypes.CDLL(None)\ns = c.syscall(41, 2, 1, 0)\nc.syscall(42, s, bytes([2, 0, PORT >> 8, "
    "PORT & 255, 127, 0, 0, 1] + [0] * 8), 16)\nc.syscall(425, 8, bytes(120))",
    "ptrace": ESCAPE
    + "import ctypes\nc = ctypes.CDLL(None)\nfor p in (1, 2, PARENT, os.getppid()):\n    c.ptrace(16, p, 0, 0)\n"
    "    c.syscall(310, p, bytes(16), 1, bytes(16), 1, 0)",
    "kill_parent": ESCAPE
    + "for p in (PARENT, os.getppid(), -1, 0, -PARENT, 1):\n    for s in (15, 9):\n        attempt(lambda: os.kill(p, s))",
    "kill_by_owner_of_file": ESCAPE + "import fcntl\nr, w = os.pipe()\nattempt(lambda: fcntl.fcntl(r, 10, 9))\n"
    "attempt(lambda: fcntl.fcntl(r, 8, PARENT))\nattempt(lambda: fcntl.fcntl(r, 4, 0o20000))\nattempt(lambda: os.write(w, b'x'))",
    "ignores_signals": "import signal\nfor s in range(1, 65):\n    try: signal.signal(s, signal.SIG_IGN)\n    except (OSError, ValueError): "
    "pass\nwhile True: pass",
    "signal_handlers": "import signal\ndef again(*a):\n    while True: pass\nfor s in (signal.SIGXCPU, signal.SIGTERM, signal.SIGALRM):\n"
    "    signal.signal(s, again)\nwhile True: pass",
    "memory_bomb": "a = []\nwhile True: a.append(bytearray(1 << 24))",
    "huge_list": _function("return [0] * 10**10"),
    "huge_int": _function("return 1 << (1 << 33)"),
    "huge_reply": _function("return 'x' * (1 << 28)"),
    "huge_output": "import sys\nwhile True: sys.stdout.write('x' * (1 << 20))",
    "file_exhaustion": ESCAPE
    + "a = []\ndef more():\n    while True: a.append(os.pipe())\nattempt(more)\nraise OSError",
    "disk_filled": ESCAPE
    + "def fill():\n    for n in range(10**6): open(f'f{n}', 'wb').write(bytes(1 << 20))\nattempt(fill)",
    "many_files": ESCAPE + "def fill():\n    for n in range(10**7): open(f'f{n}', 'wb').close()\nattempt(fill)",
    "dev_shm_filled": ESCAPE + "attempt(lambda: open('/dev/shm/sml_jax_escaped', 'wb').write(bytes(1 << 19)))\n"
    "attempt(lambda: os.memfd_create('x'))",
    "loop": "while True: pass",
    "loop_in_c": "x = 9**9**9\ndef f(x): return 0",
    "regex": "import re\nre.match('(a*)*$', 'a' * 64 + 'b')",
    "sleep": "import time\ntime.sleep(987)",
    "stop": "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)",
    "recursion": "import sys\nsys.setrecursionlimit(10**9)\ndef f(x): return f(x)\nf(1)",
    "crash": "import ctypes\nctypes.string_at(0)",
    "memory_corrupted": "import ctypes\nctypes.memset(id(int), 255, 400)" + WRONG,
    "threads_stay": ESCAPE
    + "import threading, time\nfor n in range(20):\n    threading.Thread(target=time.sleep, args=(987,)).start()",
    "thread_bomb": ESCAPE
    + "import threading, time\nthreading.stack_size(65536)\ndef bomb():\n    while True: threading.Thread("
    "target=time.sleep, args=(987,), daemon=True).start()\nattempt(bomb)",
    "flood": "import os\nwhile True:\n    for n in range(3, 65):\n        try: os.write(n, b'x' * 4000)\n        except OSError: pass",
    "flood_of_requests": "import os\nm = b'0\\nN-1 0:'\nwhile True:\n    for n in range(3, 65):\n"
    "        try: os.write(n, (len(m) + 1).to_bytes(8, 'little') + b'?' + m)\n        except OSError: pass",
    "reply_bomb": _function("a = []\nfor n in range(10**6): a = [a, a]\nreturn a"),
    "reply_nested_tuples": _function("a = ()\nfor n in range(10**5): a = (a,)\nreturn a"),
    "reply_never_ends": "import os\nfor n in range(3, 65):\n    try: os.write(n, (1 << 23).to_bytes(8, 'little') + b'!')\n"
    "    except OSError: pass\nimport time\ntime.sleep(987)",
    "reply_of_numbers": "import os\nm = b'0\\nl-1 3:0 1' + b'I-1 8000000:' + b'9 ' * 4000000\nfor n in range(3, 65):\n"
    "    try: os.write(n, (len(m) + 1).to_bytes(8, 'little') + b'!' + m)\n    except OSError: pass" + WRONG,
    "callback_loop": "def f(x):\n    while True: f.__call__(x)",
    "limits_changed": ESCAPE
    + "import resource\nfor n in range(16):\n    attempt(lambda: resource.setrlimit(n, (-1, -1)))\n"
    "attempt(lambda: resource.prlimit(PARENT, resource.RLIMIT_NOFILE, (3, 3)))\nwhile True: pass",
    "prctl": ESCAPE + "import ctypes\nc = ctypes.CDLL(None)\nfor o in range(80): c.prctl(o, 0, 0, 0, 0)\nc.prctl(1, 0)",
    "nice": ESCAPE + "attempt(lambda: os.nice(-20))\nattempt(lambda: os.setpriority(0, PARENT, 19))\n"
    "attempt(lambda: os.sched_setaffinity(PARENT, {0}))",
    "namespaces": ESCAPE + "import ctypes\nc = ctypes.CDLL(None)\nc.unshare(0x10000000)\nc.unshare(0x20000)\n"
    "c.mount(b'x', b'/', b'tmpfs', 0, 0)\nc.chroot(b'/')\nc.setuid(0)",
    "other_calls": ESCAPE + "import ctypes\nc = ctypes.CDLL(None)\nfor n in range(41, 470):\n"
    "    if n not in (48, 60, 61, 73, 74, 75, 77, 231, 34, 45): c.syscall(n, 0, 0, 0, 0, 0, 0)\n"
    "    c.syscall(0x40000000 + n, 0, 0, 0, 0, 0, 0)",
    "marshal_and_pickle": "class P:\n    def __reduce__(s): import os; return os.system, ('touch OUT/sml_jax_escaped',)\n"
    "def f(x): return [P(), compile('1', '', 'eval'), P]",
}
"""Those that try to get out or to stay."""
