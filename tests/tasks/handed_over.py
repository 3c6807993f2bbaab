"""One object of every kind that a test might hand over, and what a message may do with each."""

from __future__ import annotations

# What a test might hand over, of every kind: each name that does not begin with an underscore is one object.
TESTS_TEXT = """
import dataclasses, enum, functools, io, operator, os, re, subprocess, sys, threading, unittest, weakref
import collections as _collections
from unittest import mock as _mock

_seen = []
def function(*a, **k): return 'called'
def _generate(): yield 1
class _Base:
    kept = 'kept'
    def method(self, *a): return 'method'
class plain_class(_Base):
    def __init__(self, *a): self.n = 1; self.module = os; self.exit = os._exit; self.klass = subprocess.Popen
    @property
    def computed(self): return self.n + 1
    @computed.setter
    def computed(self, value): self.n = value
    def __add__(self, other): return 'added'
    def __len__(self): return 2
    def __enter__(self): return 'entered'
    def __exit__(self, *a): return False
class slotted_class:
    __slots__ = ('n',)
    def __init__(self): self.n = 1
class dict_class(dict):
    def extra(self): return 'extra'
class error_class(LookupError, subprocess.SubprocessError): pass
class enum_class(enum.Enum):
    RED = 1
class thread_class(threading.Thread):
    n = 1
class case_class(unittest.TestCase):
    n = 1
    def test(self): _seen.append('ran')
class popen_class(subprocess.Popen):
    n = 1
    def __init__(self): pass
    def __del__(self): pass
class callable_class:
    def __call__(self, *a): return 'called'
class catch_all_class:
    def __getattr__(self, name): return 'caught ' + name
tuple_class = _collections.namedtuple('tuple_class', 'n')
data_class = dataclasses.make_dataclass('data_class', [('n', int, 1)])
data_class.__module__ = 'tests'
plain_object, slotted_object, dict_object, enum_object = plain_class(), slotted_class(), dict_class(a=1), enum_class.RED
thread_object, case_object, popen_object = thread_class(), case_class('test'), popen_class()
callable_object = callable_class()
catch_all_object, tuple_object, data_object = catch_all_class(), tuple_class(1), data_class()
closure = (lambda kept: lambda *a: kept)('called')
bound_method, bound_builtin, bound_of_a_class = plain_object.method, [].append, dict_class.fromkeys
partial, cached, key = functools.partial(function), functools.cache(function), operator.itemgetter(0)
pattern_method = re.compile('a').match
generator, iterator, mapped, stream = _generate(), iter([1, 2]), map(str, [1, 2]), open(os.devnull)
lock, pattern, mocked, view = threading.Lock(), re.compile('a'), _mock.Mock(), memoryview(b'a')
code, frame, weak, property_itself = function.__code__, sys._getframe(), weakref.ref(plain_object), plain_class.computed
environment, stdout_method, loader = os.environ, sys.stdout.write, unittest.defaultTestLoader.loadTestsFromName
try: 1 / 0
except ZeroDivisionError as _error: traceback = _error.__traceback__
"""
CALLABLE = {
    *("function", "closure", "bound_method", "bound_builtin", "bound_of_a_class", "partial", "cached", "key"),
    *("pattern_method", "mocked", "callable_object", "weak", "stdout_method", "loader"),
}
ITERATORS = {"generator", "iterator", "mapped", "stream"}
OBJECTS = {
    *("plain_object", "slotted_object", "dict_object", "enum_object", "thread_object", "case_object", "popen_object"),
    *("callable_object", "catch_all_object", "tuple_object", "data_object"),
}
CLASSES = {
    *("plain_class", "slotted_class", "dict_class", "enum_class", "thread_class", "case_class", "popen_class"),
    *("callable_class", "catch_all_class", "tuple_class", "data_class"),
}
# Attributes of an object or class that its tests' classes show, and no others.
READABLE: dict[str, set[str]] = {
    **{
        f"{kind}_{what}": {"n"}
        for kind in ("slotted", "thread", "case", "popen", "tuple", "data")
        for what in ("object",)
    },
    **{f"{kind}_class": {"n"} for kind in ("slotted", "thread", "case", "popen", "tuple", "data")},
    "plain_object": {"n", "kept", "method", "computed", "module", "exit", "klass"},
    "plain_class": {"kept", "method", "computed"},
    "dict_object": {"extra", "items", "update", "fromkeys"},
    "dict_class": {"extra", "items", "update", "fromkeys"},
    "enum_object": {"name", "value", "RED"},
    "enum_class": {"RED"},
}
CAUGHT = {"catch_all_object"}  # its class computes every public attribute
NAMES = [
    *(
        "n",
        "kept",
        "method",
        "computed",
        "module",
        "exit",
        "klass",
        "extra",
        "items",
        "update",
        "fromkeys",
        "name",
        "value",
    ),
    *(
        "RED",
        "run",
        "start",
        "debug",
        "kill",
        "communicate",
        "args",
        "assertEqual",
        "func",
        "keywords",
        "mro",
        "format",
    ),
    *(
        "gi_frame",
        "gi_code",
        "cr_frame",
        "cr_code",
        "f_globals",
        "f_back",
        "f_builtins",
        "f_locals",
        "tb_frame",
        "co_code",
    ),
    *("fget", "buffer", "read", "write", "close", "cache_clear", "cache_info", "return_value", "side_effect", "search"),
    *(
        "__class__",
        "__dict__",
        "__globals__",
        "__builtins__",
        "__func__",
        "__self__",
        "__code__",
        "__closure__",
        "__init__",
    ),
    *("__subclasses__", "__reduce_ex__", "__getattribute__", "__setattr__", "__wrapped__", "__mro__", "__bases__"),
    *(
        "__base__",
        "__module__",
        "__call__",
        "__get__",
        "__new__",
        "__init_subclass__",
        "__traceback__",
        "_private",
        "",
        "a b",
    ),
]
OTHERS = {"environment", "frame", "code", "traceback"}
"""Of everything handed over, the objects that allow no more than to be told apart and written down, for example."""
