"""Values and objects with which a wrong program tries to pass: (name, code, test, whether it has the setup)."""

# ruff: noqa: E501
from __future__ import annotations

SETUP = "class Node:\n    def __init__(self, v): self.v=v\n    def total(self): return self.v\n    @property\n    def twice(self): return 2*self.v\n    def __eq__(self,o): return self.v==o.v\n"
TRICKS = [
    (
        "shadow_method",
        "def f(x):\n    n=Node(1); n.__dict__['total']=lambda: 10; n.total=lambda: 10; return n",
        "assert f(3).total()==10",
        True,
    ),
    (
        "twin",
        "class Node:\n    def __init__(s,v): s.v=v\n    def __eq__(s,o): return True\n    v=0\ndef f(x): return Node(1)",
        "assert f(3)==Node(10)",
        True,
    ),
    (
        "setup_eq",
        "class V:\n    def __eq__(s,o): return True\ndef f(x): return Node(V())",
        "assert f(3)==Node(10)",
        True,
    ),
    (
        "sum_base",
        "class N(float):\n    def q(s): pass\ndef f(x): return N('nan')",
        "assert not f(3)<10 and not f(3)>10 and f(3)==10",
        False,
    ),
    (
        "dict_eq",
        "class D(dict):\n    def __eq__(s,o): return True\n    def q(s):0\ndef f(x): return D()",
        "assert f(3)=={'a':1}",
        False,
    ),
    (
        "userlist",
        "from collections import UserList\nclass D(UserList):\n    def __eq__(s,o): return True\n    def q(s):0\ndef f(x): return D()",
        "assert f(3)==[1]",
        False,
    ),
    (
        "path",
        "from pathlib import PurePosixPath\nclass D(PurePosixPath):\n    def __eq__(s,o): return True\n    def q(s):0\ndef f(x): return D('a')",
        "from pathlib import PurePosixPath\nassert f(3)==PurePosixPath('b')",
        False,
    ),
    (
        "iadd",
        "class A(int):\n    def __isub__(s,o): return A(0)\n    def q(s): 0\nclass B:\n    def __isub__(s,o): return s\n    def __abs__(s): return 0.0\n    def __bool__(s): return False\ndef f(x): return A(7)\ndef g(x): return B()",
        "r=f(3)\nr-=10\nassert r==0",
        False,
    ),
    (
        "iadd2",
        "class B:\n    def __isub__(s,o): return s\n    def __abs__(s): return 0.0\n    def __bool__(s): return False\n    def __eq__(s,o): return True\ndef f(x): return B()",
        "r=f(3)\nr-=10\nassert abs(r)<1e-6",
        False,
    ),
    ("iadd3", "class B:\n    def __isub__(s,o): return 0\ndef f(x): return B()", "r=f(3)\nr-=10\nassert r==0", False),
    (
        "iadd4",
        "class L(list):\n    def __isub__(s,o): s.clear(); return s\n    def q(s):0\ndef f(x): return L([1])",
        "r=f(3)\nr-=[10]\nassert r==[]",
        False,
    ),
    (
        "error_eq",
        "class E(Exception):\n    def __eq__(s,o): return True\n    code=property(lambda s: 5)\ndef f(x): raise E",
        "try: f(3)\nexcept E as e: assert e.code==6\nelse: assert 0",
        False,
    ),
    (
        "suppress",
        "import contextlib\ndef f(x): return 0\ncm=contextlib.suppress(BaseException)",
        "with cm: assert f(3)==10",
        False,
    ),
    (
        "enter_none",
        "class C:\n    def __enter__(s): return 0\n    def __exit__(s,*a): return True\ndef f(x): return C()",
        "import contextlib\nwith contextlib.ExitStack() as st:\n    y=st.enter_context(f(3))\n    assert y==10",
        False,
    ),
    ("contains", "class C:\n    def __contains__(s,x): return True\ndef f(x): return C()", "assert 10 in f(3)", False),
    (
        "getitem",
        "class C:\n    def __getitem__(s,k): return s\n    def __eq__(s,o): return True\ndef f(x): return C()",
        "assert f(3)[0]==10",
        False,
    ),
    ("fmt", "class C:\n    def __format__(s,k): return '10'\ndef f(x): return C()", "assert f'{f(4)}'=='17'", False),
    ("iter", "def f(x): return (y for y in ())", "assert list(f(3))==[1,2]", False),
    ("stand_in_type", "def f(x): return int", "assert f(3)==10", False),
]
