"""Programs with tests that they pass in one interpreter, and must pass over the wire: (name, code, tests)."""

# ruff: noqa: E501
from __future__ import annotations

HONEST = [
    (
        "class_in_tests",
        "class Stack:\n    def __init__(self): self.items=[]\n    def push(self,x): self.items.append(x)\n    def pop(self): return self.items.pop()\n    def __len__(self): return len(self.items)\n    def __contains__(self,x): return x in self.items\n    def __iter__(self): return iter(self.items)",
        [
            "s=Stack(); s.push(1); s.push(2)\nassert s.items==[1,2] and len(s)==2 and 2 in s and list(s)==[1,2]\nassert s.pop()==2\nassert isinstance(s, Stack)"
        ],
    ),
    (
        "vector",
        "class V:\n    def __init__(self,x,y): self.x,self.y=x,y\n    def __add__(self,o): return V(self.x+o.x,self.y+o.y)\n    def __mul__(self,k): return V(self.x*k,self.y*k)\n    __rmul__=__mul__\n    def __eq__(self,o): return (self.x,self.y)==(o.x,o.y)\n    def __repr__(self): return f'V({self.x}, {self.y})'\n    def __hash__(self): return hash((self.x,self.y))\n    def __abs__(self): return (self.x**2+self.y**2)**.5",
        [
            "assert V(1,2)+V(1,1)==V(2,3)",
            "assert repr(V(1,2))=='V(1, 2)' and str(2*V(1,2)*1)=='V(2, 4)'",
            "assert abs(V(3,4))==5.0",
            "assert len({V(1,1),V(1,1)})==1",
            "assert (V(1,2)*3).y==6",
            "assert sorted([3,1])==[1,3]",
        ],
    ),
    (
        "mutate",
        "def f(a):\n    a.sort()\n    a[0:0]=[0]\n    return a",
        ["x=[3,1,2]\ny=f(x)\nassert x==[0,1,2,3] and y is x"],
    ),
    (
        "mutate_nested",
        "def f(g):\n    g[0][1]=9\n    g.append([7])",
        ["g=[[1,2],[3,4]]\nr=g[0]\nf(g)\nassert g==[[1,9],[3,4],[7]] and g[0] is r"],
    ),
    ("mutate_dict", "def f(d):\n    d['a'].add(3)\n    d['b']=1", ["d={'a':{1}}\nf(d)\nassert d=={'a':{1,3},'b':1}"]),
    (
        "callback",
        "def f(g,xs): return [g(x) for x in xs]",
        ["assert f(lambda x:x+1,[1,2])==[2,3]", "n=[]\nassert f(n.append,[1,2])==[None,None] and n==[1,2]"],
    ),
    (
        "callback_raises",
        "def f(g):\n    try: g()\n    except ValueError as e: return str(e)",
        ["def bad(): raise ValueError('no')\nassert f(bad)=='no'"],
    ),
    (
        "sorted_key",
        "def f(xs,key=None): return sorted(xs,key=key)",
        ["assert f([3,-4,1],key=abs)==[1,3,-4]", "assert f([3,-4,1],key=lambda x:-x)==[3,1,-4]"],
    ),
    (
        "generator",
        "def f(n):\n    for i in range(n): yield i*i",
        ["assert list(f(4))==[0,1,4,9]", "g=f(3)\nassert next(g)==0 and next(g)==1", "assert sum(f(4))==14"],
    ),
    (
        "infinite_gen",
        "from itertools import islice\ndef f():\n    i=0\n    while True:\n        yield i\n        i+=1",
        ["import itertools\nassert list(itertools.islice(f(),5))==[0,1,2,3,4]"],
    ),
    (
        "numpy",
        "import numpy as np\ndef f(a): return np.array(a)*2",
        [
            "import numpy as np\nassert (f([1,2])==np.array([2,4])).all()",
            "assert np.allclose(f([1.5]),[3.0])",
            "assert f(np.ones((2,2))).shape==(2,2)",
            "assert f([1,2]).tolist()==[2,4]",
        ],
    ),
    ("np_mutate", "def f(a): a[0]=7", ["import numpy as np\na=np.zeros(3)\nf(a)\nassert a[0]==7"]),
    (
        "custom_exc",
        "class MyError(ValueError): pass\ndef f(x):\n    if x<0: raise MyError('neg')\n    return x",
        [
            "try:\n    f(-1)\n    assert False\nexcept MyError as e:\n    assert str(e)=='neg' and isinstance(e,ValueError)",
            "try:\n    f(-1)\nexcept ValueError: pass\nelse: assert False",
        ],
    ),
    ("exc", "def f(x): return 1//x", ["try:\n    f(0); assert False\nexcept ZeroDivisionError: pass"]),
    (
        "dataclass",
        "from dataclasses import dataclass\n@dataclass(order=True)\nclass P:\n    a:int\n    b:str='x'",
        [
            "assert P(1)==P(1,'x') and P(1)!=P(2) and P(1)<P(2)",
            "assert P(1).a==1 and repr(P(1))==\"P(a=1, b='x')\"",
            "from dataclasses import asdict",
        ],
    ),
    (
        "namedtuple",
        "from collections import namedtuple\nP=namedtuple('P','x y')\ndef f(): return P(1,2)",
        [
            "assert f()==(1,2) and f().x==1",
            "a,b=f()\nassert a+b==3",
            "assert [f()]==[(1,2)]",
            "assert f()[1]==2 and len(f())==2",
        ],
    ),
    (
        "intenum",
        "import enum\nclass C(enum.IntEnum):\n    R=1\n    G=2\ndef f(): return C.R",
        ["assert f()==C.R and f()==1 and f().name=='R' and f()!=C.G", "assert C.G.value==2"],
    ),
    (
        "enum",
        "import enum\nclass C(enum.Enum):\n    R=1\n    G=2\ndef f(): return C.R",
        [
            "assert f()==C.R and f() is C.R and f()!=C.G",
            "assert [c.name for c in C]==['R','G']",
            "assert C['R']==C.R and C(2)==C.G",
        ],
    ),
    (
        "recursion",
        "import sys\nsys.setrecursionlimit(10**4)\ndef f(n): return 0 if n==0 else 1+f(n-1)",
        ["assert f(3000)==3000"],
    ),
    (
        "counter",
        "from collections import Counter,defaultdict,deque,OrderedDict\ndef f(s): return Counter(s)\ndef g():\n    d=defaultdict(list); d['a'].append(1); return d\ndef h(): return deque([1,2],maxlen=3)\ndef o(): return OrderedDict(a=1)",
        [
            "assert f('aab')=={'a':2,'b':1} and f('aab').most_common(1)==[('a',2)]",
            "assert g()=={'a':[1]}",
            "assert list(h())==[1,2]",
            "assert o()=={'a':1}",
            "assert Counter('a')==f('a')",
        ],
    ),
    (
        "decimal",
        "from decimal import Decimal\nfrom fractions import Fraction\nimport datetime\ndef f(): return Decimal('1.10'),Fraction(1,3),datetime.date(2020,1,2),datetime.timedelta(days=1),datetime.datetime(2020,1,1,tzinfo=datetime.timezone.utc)",
        [
            "from decimal import Decimal\nfrom fractions import Fraction\nimport datetime\nassert f()==(Decimal('1.1'),Fraction(1,3),datetime.date(2020,1,2),datetime.timedelta(days=1),datetime.datetime(2020,1,1,tzinfo=datetime.timezone.utc))"
        ],
    ),
    (
        "plain",
        "def f(): return (1,2.5,'é',b'x',None,True,1j,{1,2},frozenset([3]),{'k':(1,)},range(3),-0.0,10**30,'\\ud800',bytearray(b'q'))",
        [
            "assert f()==(1,2.5,'é',b'x',None,True,1j,{1,2},frozenset([3]),{'k':(1,)},range(3),-0.0,10**30,'\\ud800',bytearray(b'q'))",
            "assert type(f()[5]) is bool",
        ],
    ),
    (
        "threads",
        "import threading\nfrom concurrent.futures import ThreadPoolExecutor\ndef f(xs):\n    with ThreadPoolExecutor(4) as p: return list(p.map(lambda x:x*2,xs))",
        ["assert f([1,2,3])==[2,4,6]"],
    ),
    (
        "asyncio",
        "import asyncio\nasync def f(x):\n    await asyncio.sleep(0.01)\n    return x+1",
        ["import asyncio\nassert asyncio.run(f(1))==2"],
    ),
    ("asyncio_in", "import asyncio\nasync def g(x): return x\ndef f(x): return asyncio.run(g(x))", ["assert f(1)==1"]),
    ("globals", "seen=[]\ndef f(x): seen.append(x)", ["f(1)\nassert seen==[1]", "f(2)\nassert seen==[1,2]"]),
    (
        "imports_of_code",
        "import math\nfrom typing import List\nfrom collections import Counter\ndef f(): return math.pi",
        ["assert f()==math.pi", "x: List[int]=[1]", "assert Counter('a')['a']==1"],
    ),
    (
        "context",
        "class C:\n    def __enter__(s): s.on=True; return s\n    def __exit__(s,*a): s.on=False",
        ["with C() as c: assert c.on\nassert not c.on"],
    ),
    (
        "property",
        "class A:\n    def __init__(self): self._x=1\n    @property\n    def x(self): return self._x\n    @x.setter\n    def x(self,v): self._x=v*2\n    @staticmethod\n    def s(): return 5\n    @classmethod\n    def c(cls): return cls()",
        ["a=A(); a.x=4\nassert a.x==8 and A.s()==5 and A.c().x==1", "a._x=3\nassert a.x==3"],
    ),
    (
        "linked",
        "class Node:\n    def __init__(self,v,n=None): self.v=v; self.n=n\ndef rev(h):\n    p=None\n    while h: h.n,p,h=p,h,h.n\n    return p",
        ["a=Node(1,Node(2,Node(3)))\nr=rev(a)\nout=[]\nwhile r:\n    out.append(r.v); r=r.n\nassert out==[3,2,1]"],
    ),
    (
        "file",
        "def f(p,t):\n    with open(p,'w') as h: h.write(t)\n    return open(p).read()",
        ["assert f('a.txt','hi')=='hi'\nassert open('a.txt').read()=='hi'"],
    ),
    (
        "tempdir",
        "import tempfile,os\ndef f():\n    with tempfile.TemporaryDirectory() as d:\n        p=os.path.join(d,'x'); open(p,'w').write('1'); return os.listdir(d)",
        ["assert f()==['x']"],
    ),
    ("kw", "def f(a,*,b=2,**k): return a+b+sum(k.values())", ["assert f(1,b=3,c=4)==8"]),
    ("none_sort", "def sort(x): return sorted(x)", ["assert sort([2,1])==[1,2]"]),
    (
        "random",
        "import random\ndef f():\n    random.seed(1)\n    return random.random()",
        ["import random\nrandom.seed(1)\nassert f()==random.random()"],
    ),
    (
        "decorated",
        "import functools\n@functools.lru_cache(None)\ndef f(n): return n if n<2 else f(n-1)+f(n-2)",
        ["assert f(50)==12586269025", "assert f.cache_info().hits>0"],
    ),
    (
        "closures",
        "def make(n): return lambda x:x+n",
        [
            "assert make(2)(3)==5",
            "g=make(1)\nassert [g(i) for i in range(3)]==[1,2,3]",
            "assert list(map(make(1),[1]))==[2]",
        ],
    ),
    (
        "str_methods",
        "class S(str):\n    def shout(self): return self.upper()+'!'\ndef f(): return S('a')",
        ["assert f()=='a' and f().shout()=='A!' and f()+'b'=='ab'"],
    ),
    ("type", "def f(x): return type(x)", ["assert f(1) is int and f([])==list"]),
    ("types_returned", "def f(): return ValueError('x')", ["e=f()\nassert isinstance(e,ValueError) and str(e)=='x'"]),
    (
        "test_class",
        "def f(o): return o.area()*2+o.n",
        ["class Sq:\n    n=1\n    def area(self): return 4\nassert f(Sq())==9"],
    ),
    (
        "unittest",
        "def f(x): return x+1",
        [
            "import unittest\nclass T(unittest.TestCase):\n    def test(self): self.assertEqual(f(1),2)\nr=unittest.TextTestRunner(stream=open('/dev/null','w')).run(unittest.defaultTestLoader.loadTestsFromTestCase(T))\nassert r.wasSuccessful() and r.testsRun==1"
        ],
    ),
    (
        "big",
        "def f(n): return [[i,i+1] for i in range(n)]",
        ["r=f(50000)\nassert len(r)==50000 and r[-1]==[49999,50000]"],
    ),
    ("stringio", "import io,contextlib\ndef f(): print('hello')\n", ["pass"]),
    (
        "re_match",
        "import re\ndef f(s): return re.match(r'(a+)',s)",
        ["assert f('aab').group(1)=='aa' and f('b') is None"],
    ),
    (
        "itertools",
        "import itertools\ndef f(): return itertools.permutations([1,2])\ndef m(): return map(str,[1])\ndef z(): return zip([1],[2])\ndef k(): return {'a':1}.keys()",
        [
            "assert list(f())==[(1,2),(2,1)] and list(m())==['1'] and list(z())==[(1,2)]",
            "assert list(k())==['a'] and 'a' in k()",
        ],
    ),
    (
        "partial_order",
        "import functools\n@functools.total_ordering\nclass A:\n    def __init__(s,v): s.v=v\n    def __eq__(s,o): return s.v==o.v\n    def __lt__(s,o): return s.v<o.v",
        ["assert sorted([A(3),A(1)])[0].v==1 and max(A(1),A(2)).v==2"],
    ),
    ("sum_name", "def sum(a,b): return a+b", ["assert sum(1,2)==3"]),
    (
        "copy",
        "class A:\n    def __init__(s): s.l=[1]",
        ["import copy\na=A(); b=copy.deepcopy(a); b.l\nassert b is not a and b.l==[1]"],
    ),
]

SETUP = "class ListNode:\n    def __init__(self, val=0, next=None):\n        self.val=val\n        self.next=next\n    def items(self):\n        out=[]; n=self\n        while n: out.append(n.val); n=n.next\n        return out\ndef build(xs):\n    h=None\n    for x in reversed(xs): h=ListNode(x,h)\n    return h\n"
REVERSE = "def rev(h):\n    p=None\n    while h: h.next,p,h=p,h,h.next\n    return p\n"
OWN_CLASS = "class ListNode:\n    def __init__(self, val=0, next=None): self.val=val; self.next=next\ndef rev(h):\n    p=None\n    while h: p=ListNode(h.val,p); h=h.next\n    return p\n"
