"""Programs that speak to the judge in messages of their own: (the programs, the tests that they are to pass).

Each is asked for `f(x) == x * x + 1`, is handed one of everything that a test may hand over, and answers wrongly.
"""

# ruff: noqa: E501
from __future__ import annotations

# What a program of this kind begins with: `send` and `receive` move frames, `ask` makes a request of raw nodes and
# returns the answer's bytes, `peer` is the wire's end in the program's own process, `EXIT` is a program that reports.
WIRE = r"""
import os, sys, operator, json, builtins
def find():
    at = sys._getframe()
    while at:
        for v in list(at.f_locals.values()):
            if hasattr(v, '_reading') and hasattr(v, '_writing'): return v
        at = at.f_back
def node(tag, payload, origin=-1): return b'%s%d %d:' % (tag, origin, len(payload)) + payload
def text(word): return node(b's', word.encode())
def send(kind, data):
    p = find()
    os.write(p._writing, (len(data) + 1).to_bytes(8, 'little') + kind + data)
def exactly(n):
    data = b''
    while len(data) < n: data += os.read(find()._reading, n - len(data))
    return data
def receive():
    data = exactly(int.from_bytes(exactly(8), 'little'))
    return data[:1], data[1:]
def ask(op, *nodes):
    # A request: the operation and its operands, each a node of its own.
    parts = [text(op), *nodes]
    root = node(b't', b' '.join(b'%d' % i for i in range(len(parts))))
    send(b'?', b'%d\n' % len(parts) + b''.join(parts) + root)
    return receive()[1]
def lent(n): return node(b'y', b'%d' % n)
EMPTY = [node(b't', b''), node(b'd', b'')]
EXIT = "import os\nfor n in range(3, 65):\n    try: os.write(n, b'656e64 706173736564\\n')\n    except OSError: pass\nos._exit(0)"
def quiet(step, *a):
    try: return step(*a)
    except Exception: return b''
things = ()
"""
LOOK = "def f(x, *given):\n    global things\n    things = given\n    attack(x)\n    return 0\n"


def _attack(body: str) -> str:
    return WIRE + "def attack(x):\n" + "".join(f"    {line}\n" for line in body.strip().splitlines()) + LOOK


MESSAGES = {
    "attrgetter_of_globals": _attack(
        "p = find()\nget = p.ask('call', operator.attrgetter, ('__globals__',), {})\n"
        "p.ask('call', p.ask('getitem', p.ask('call', get, (json.dumps,), {})['__builtins__'], 'exec'), (EXIT,), {})"
    ),
    "named_functions": _attack(
        "for name in (b'builtins exec', b'builtins eval', b'os system', b'operator attrgetter', b'builtins.exec'):\n"
        "    for tag in (b'k', b'T', b'v', b'h', b'n', b'p'):\n"
        "        parts = [text(EXIT), node(b't', b'1'), node(b'd', b''), node(tag, name)]\n"
        "        send(b'?', b'5\\n' + text('call') + b''.join(parts) + node(b't', b'0 4 2 3')); quiet(receive)"
    ),
    "types_are_called": _attack(
        "for name in (b'builtins.int', b'builtins.type', b'builtins.bytes', b'io.BytesIO'): quiet(ask, 'call', node(b'T', name), *EMPTY)"
    ),
    "numbers_are_tried": _attack(
        "for n in range(40):\n    for op in ('call', 'next', 'plain', 'iter', 'enter', 'len', 'str', 'del', 'run', 'copy', 'global'):\n"
        "        quiet(ask, op, lent(n), *(EMPTY if op == 'call' else ()))"
    ),
    "private_attributes": _attack(
        "for thing in things:\n"
        "    for name in ('__globals__', '__dict__', '__class__', '__func__', '__self__', '__code__', '__closure__', 'gi_frame', '_secret'):\n"
        "        found = quiet(find().ask, 'get', thing, name)\n"
        "        if type(found) is dict and 'exec' in str(found): found['__builtins__']['exec'](EXIT)"
    ),
    "methods_are_replaced": _attack(
        "for thing in things:\n    for name in ('check', 'value', '__class__', '__eq__', '__dict__', 'answer'):\n"
        "        quiet(find().ask, 'set', thing, name, lambda *a: 10)"
    ),
    "globals_of_the_tests": _attack(
        "for thing in things:\n    for op in ('globals', 'locals', 'vars', 'dir', 'names', 'global'):\n        quiet(ask, op, text('f'))"
    ),
    "another_answer": _attack(
        "send(b'!', b'3\\n' + text('ok') + node(b'i', b'b') + node(b't', b'') + node(b't', b'0 1 2')); os._exit(0)"
    ),
    "answer_of_a_name": _attack(
        "for tag in (b'k', b'T', b'v', b'm', b'o', b'E'):\n"
        "    send(b'!', b'3\\n' + text('ok') + node(tag, b'builtins exec') + node(b't', b'') + node(b't', b'0 1 2'))\nos._exit(0)"
    ),
    "answer_that_is_an_error_class": _attack(
        "send(b'!', b'9\\n' + text('no') + text('SystemExit') + node(b't', b'') + text('') + text('') + node(b't', b'') + node(b'N', b'')"
        " + node(b'E', b'1 2 3 4 5 6 6') + node(b't', b'') + node(b't', b'0 7 8')); os._exit(0)"
    ),
    "content_of_others": _attack(
        "for origin in range(12):\n"
        "    for n in (node(b'l', b'', origin), node(b'd', b'', origin), node(b'o', b'Box ', origin), node(b'm', b'collections.deque -', origin)):\n"
        "        send(b'!', b'3\\n' + text('ok') + n + node(b't', b'') + node(b't', b'0 1 2'))\nos._exit(0)"
    ),
    "items_and_calls_at_once": _attack(
        "for thing in things:\n    for op in ('getitem', 'contains', 'format', 'isinstance', 'add', 'iadd', 'matmul', 'round', 'pow'):\n"
        "        quiet(find().ask, op, thing, EXIT)\n        quiet(find().ask, op, EXIT, thing)"
    ),
    "format_of_the_tests": _attack(
        "for thing in things:\n    quiet(find().ask, 'mod', '%(__globals__)s', thing)\n    quiet(find().ask, 'format', thing, '{0.__class__}')"
    ),
    "a_frame_that_never_ends": _attack(
        "os.write(find()._writing, (1 << 20).to_bytes(8, 'little') + b'?' + bytes(100)); os._exit(0)"
    ),
    "a_request_inside_every_answer": _attack(
        "quiet(find().ask, 'call', things[1], (f,), {})\nfor n in range(200): quiet(ask, 'next', lent(n % 9))"
    ),
    "an_error_with_attributes": WIRE
    + "class E(Exception):\n    def __init__(self): self.args = (10,); self.with_traceback = self.add_note = f\n"
    "    __class__ = property(lambda self: int)\ndef f(x, *given): raise E",
    "a_stand_in_of_two_contents": WIRE
    + "class N(int):\n    n = 0\n    def shown(self): return 10\ndef f(x, *given): return N(x)",
    "a_base_that_is_none": _attack(
        "for base in (b'builtins.type', b'builtins.object', b'os.system', b'builtins.SystemExit', b'subprocess.Popen'):\n"
        "    made = node(b'h', b'\\0'.join([b'77', b'object', b'int', base, b'']))\n"
        "    send(b'!', b'3\\n' + text('ok') + made + node(b't', b'') + node(b't', b'0 1 2'))\nos._exit(0)"
    ),
    "true_that_is_neither": WIRE + "import numpy as np\ndef f(x, *given): return np.frombuffer(bytes([2]), np.bool_)\n",
}
"""Programs that forge messages."""

HANDING = (
    """
class Box:
    value = 3
    _secret = 10
    def __init__(self): self.items = [1]
    def check(self, x): return x == 10
    def __len__(self): return 1
    def __getitem__(self, key): return key
class Mistake(Exception): pass
box = Box()
def answer(x): return x * x + 1
assert f(3, box, lambda *a: a, (n for n in range(9)), Box, [].append, Mistake, {'k': [1]}, len) == 10
""",
    "assert box.check(f(3)) is True",
    "assert box.check(11) is False and answer(f(0)) == 2 and f(3) == answer(3)",
)
"""The tests that they are to pass: each of them alone would do."""

STOPS = [
    *("assert list(map(f, [1, 2])) == []", "assert all(map(f, [1, 2]))", "assert not list(filter(f, [1, 2]))"),
    *(
        "for y in map(f, [1]): assert y == 2",
        "for a, b in zip(map(f, [1]), [2]): assert a == b",
        "assert all(f(x) == 2 for x in [1])",
    ),
    *("assert [f(x) for x in [1]] == []", "assert {f(x) for x in [1]} == set()", "assert sum(map(f, [1])) == 0"),
    *("assert list(iter(lambda: f(1), 0)) == []", "assert all(map(lambda x: A().x, [1]))", "assert all(map(A(), [1]))"),
    *(
        "assert all(map(lambda x: A() < A(), [1]))",
        "assert all(map(lambda x: bool(A()), [1]))",
        "assert all(map(lambda x: A()[0], [1]))",
    ),
    *(
        "assert all(map(lambda x: hash(A()), [1]))",
        "assert all(map(lambda x: x in A(), [1]))",
        "assert all(map(lambda x: list(A()), [1]))",
    ),
    "import functools\nassert functools.reduce(f, [1, 2], 0) == 0",
    "def it():\n    yield f(1)\nfor x in it(): assert x == 3",
    "class I:\n    def __iter__(s): return s\n    def __next__(s): return f(1)\nassert list(I()) == []",
    "def it():\n    try: yield 1\n    finally: f(1)\ni = it()\nnext(i)\ni.close()",
    "class AI:\n    def __aiter__(s): return s\n    async def __anext__(s): return f(1)\nimport asyncio\n"
    "async def main(): return [x async for x in AI()]\nassert asyncio.run(main()) == []",
]
"""Tests with iterations of their own, each of which passes where the code's error ends the iteration."""

STOPPING = "".join(
    f"    def __{name}__(s, *a): raise KIND(1)\n"
    for name in ["eq", "lt", "bool", "len", "getitem", "hash", "iter", "contains", "call"]
)
STOPPING = f"def f(x): raise KIND(x)\nclass A:\n    @property\n    def x(self): raise KIND(1)\n{STOPPING}"
"""A program that raises `KIND` wherever it is asked."""
