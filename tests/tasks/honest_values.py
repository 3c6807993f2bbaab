"""More programs that must pass over the wire, by what they hand over and return: (name, code, tests)."""

# ruff: noqa: E501
from __future__ import annotations

OPERATORS = [
    (
        "only_iadd",
        "class A:\n    def __init__(self): self.total=0\n    def __iadd__(self,x): self.total+=x; return self",
        ["a=A()\na+=5\na+=2\nassert a.total==7", "a=b=A()\na+=1\nassert a is b and b.total==1"],
    ),
    (
        "reversed_by_its_own_method",
        "class R:\n    def __init__(self): self.calls=0\n    def __reversed__(self):\n        self.calls+=1\n        yield 2\n        yield 1",
        [
            "r=R()\nassert list(reversed(r))==[2,1] and r.calls==1",
            "i=reversed(R())\nassert next(i)==2 and list(i)==[1]",
        ],
    ),
    (
        "reversed_by_length_and_items",
        "class S:\n    def __init__(self,*xs): self.xs=xs\n    def __len__(self): return len(self.xs)\n    def __getitem__(self,i): return self.xs[i]\nclass L(list): pass\nclass D(dict): pass",
        [
            "assert list(reversed(S(1,'a',None)))==[None,'a',1]",
            "assert list(reversed(L([1,2])))==[2,1] and list(reversed(D(a=1,b=2)))==['b','a']",
        ],
    ),
    (
        "not_to_be_reversed",
        "class N:\n    def __iter__(self): return iter([1,2])\ndef gen(): yield 1",
        ["for thing in (N(), gen(), {1}):\n    try: reversed(thing); assert False\n    except TypeError: pass"],
    ),
    (
        "only_iadd_of_items",
        "class Bag:\n    def __init__(self): self.items=[]\n    def __iadd__(self,x): self.items.append(x); return self\n    def __len__(self): return len(self.items)\n    def __iter__(self): return iter(self.items)",
        ["b=Bag()\nb+='x'\nb+=[1]\nassert b.items==['x',[1]] and len(b)==2 and list(b)==['x',[1]] and 'x' in b"],
    ),
    (
        "each_in_place_operator",
        "import operator\nclass A:\n    def __init__(self): self.seen=[]\n"
        + "".join(
            f"    def __i{name}__(self,x): self.seen.append(('{name}',x)); return self\n"
            for name in [
                "add",
                "sub",
                "mul",
                "truediv",
                "floordiv",
                "mod",
                "matmul",
                "pow",
                "lshift",
                "rshift",
                "and",
                "or",
                "xor",
            ]
        ),
        [
            "a=A()\n"
            + "\n".join(f"a{sign}=2" for sign in ["+", "-", "*", "/", "//", "%", "@", "**", "<<", ">>", "&", "|", "^"])
            + "\nassert [n for n,_ in a.seen]=='add sub mul truediv floordiv mod matmul pow lshift rshift and or xor'.split()"
        ],
    ),
    (
        "in_place_of_both_kinds",
        "class S:\n    def __init__(self,*xs): self.xs=set(xs)\n    def __isub__(self,o): self.xs-=o; return self\n    def __ior__(self,o): self.xs|=o.xs if isinstance(o,S) else o; return self\n    def __eq__(self,o): return self.xs==o.xs\n    def __hash__(self): return 0",
        [
            "s=S(1,2,3)\ns-={1}\nassert s.xs=={2,3}",
            "s=S(1)\ns|=S(2)\nassert s==S(1,2) and s.xs=={1,2}",
            "s=S()\ns|={4}\nassert 4 in s.xs",
        ],
    ),
    (
        "in_place_without_its_own",
        "class V:\n    def __init__(self,x): self.x=x\n    def __add__(self,o): return V(self.x+(o.x if isinstance(o,V) else o))\n    __radd__=__add__\n    def __eq__(self,o): return self.x==o.x",
        ["v=w=V(1)\nv+=2\nassert v.x==3 and w.x==1", "v=V(1)\nv+=V(2)\nassert v==V(3)"],
    ),
    (
        "in_place_on_a_list_of_its_own",
        "class L(list):\n    def total(self): return sum(self)\ndef f(): return L([1,2])",
        ["x=f()\nx+=[3]\nassert x==[1,2,3] and x.total()==6", "x=y=f()\nx*=2\nassert x==[1,2,1,2] and y is x"],
    ),
    (
        "list_takes_items_of_an_object",
        "class A:\n    def __iter__(self): return iter([1,2])",
        ["x=[0]\nx+=A()\nassert x==[0,1,2]"],
    ),
    (
        "operators_of_a_named_tuple",
        "from typing import NamedTuple\nclass V(NamedTuple):\n    x:int\n    y:int\n    def __add__(self,o): return V(self.x+o.x,self.y+o.y)",
        ["assert V(1,2)+V(3,4)==V(4,6)==(4,6)"],
    ),
]
"""Operators that change an object in place, and those that a class of plain data has of its own."""

ERRORS = [
    (
        "attributes_of_an_error",
        "class E(Exception):\n    def __init__(self,code,items): super().__init__(f'code {code}'); self.code=code; self.items=items\ndef f(): raise E(3,['a'])",
        [
            "try:\n    f()\n    assert False\nexcept E as e:\n    assert e.code==3 and e.items==['a'] and str(e)=='code 3'"
        ],
    ),
    (
        "methods_and_properties_of_an_error",
        "class E(ValueError):\n    limit=9\n    def __init__(self,x): self.x=x\n    @property\n    def double(self): return 2*self.x\n    def describe(self,word): return f'{word} {self.x}'\ndef f(): raise E(3)",
        [
            "try:\n    f()\n    assert False\nexcept E as e:\n    assert e.double==6 and e.describe('no')=='no 3' and e.limit==9 and e.x==3 and not hasattr(e,'y')"
        ],
    ),
    (
        "attributes_of_a_builtin_error",
        "def f():\n    e=ValueError('no')\n    e.field='x'\n    raise e",
        ["try:\n    f()\nexcept ValueError as e:\n    assert e.field=='x'"],
    ),
    (
        "names_that_builtin_errors_have",
        "class F(AttributeError):\n    def __init__(self,name): self.name=name\nclass C(OSError):\n    def __init__(self): self.errno=7\ndef f(): raise F('q')\ndef g(): raise C",
        [
            "try:\n    f()\nexcept F as e:\n    assert e.name=='q'",
            "try:\n    g()\nexcept OSError as e:\n    assert e.errno==7",
        ],
    ),
    (
        "cause_of_an_error",
        "class E(Exception): pass\ndef f():\n    try: int('x')\n    except ValueError as e: raise E('bad') from e",
        [
            "try:\n    f()\nexcept E as e:\n    assert isinstance(e.__cause__,ValueError) and 'invalid literal' in str(e.__cause__)"
        ],
    ),
    (
        "error_in_a_hierarchy",
        "class A(Exception): pass\nclass B(A):\n    def __init__(self,n): super().__init__(n); self.n=n\ndef f(): raise B(2)",
        ["try:\n    f()\nexcept A as e:\n    assert e.n==2 and isinstance(e,B) and e.args==(2,)"],
    ),
    (
        "error_returned",
        "class E(Exception):\n    def __init__(self): self.code=5\ndef f(): return E()\ndef g(e): return e.code",
        ["assert f().code==5 and g(f())==5"],
    ),
    ("exit_code", "import sys\ndef f(): sys.exit(2)", ["try:\n    f()\nexcept SystemExit as e:\n    assert e.code==2"]),
    (
        "stop_iteration_is_caught",
        "class P:\n    def __init__(self,xs): self.it=iter(xs)\n    def peek(self): return next(self.it)\ndef g():\n    x=yield 1\n    return x",
        [
            "p=P([1])\nassert p.peek()==1\ntry:\n    p.peek()\n    assert False\nexcept StopIteration: pass",
            "import unittest\nclass T(unittest.TestCase):\n    def test(self):\n        with self.assertRaises(StopIteration): P([]).peek()\nT('test').debug()",
            "c=g()\nnext(c)\ntry:\n    c.send(4)\nexcept (ValueError,StopIteration) as e:\n    assert e.value==4\nelse: assert False",
            "i=iter([])\ntry: next(i)\nexcept StopIteration as e: assert e.value is None",
        ],
    ),
    (
        "errors_of_a_test",
        "def f(g,n):\n    for i in range(n):\n        try: return g()\n        except ValueError: pass\n    raise RuntimeError('too often')",
        [
            "class Mine(ValueError): pass\nn=[]\ndef g():\n    n.append(1)\n    if len(n)<3: raise Mine('x')\n    return 5\nassert f(g,5)==5"
        ],
    ),
    (
        "error_of_a_test_raised_by_the_code",
        "def f(kind): raise kind('x')",
        ["class Mine(Exception): pass\ntry:\n    f(Mine)\n    assert False\nexcept Mine as e: assert e.args==('x',)"],
    ),
    (
        "context_manager_hears_of_errors",
        "class S:\n    def __enter__(self): return self\n    def __exit__(self,k,e,t): self.kind=k; return k is ValueError",
        [
            "with S() as s: raise ValueError\nassert s.kind is ValueError",
            "try:\n    with S(): raise KeyError\n    assert False\nexcept KeyError: pass",
        ],
    ),
]
"""What a test reads of errors of the code, and the code of errors of a test."""

VALUES = [
    (
        "missing_keys",
        "class D(dict):\n    def __missing__(self,k): return k*2\ndef f(): return D(a=1)",
        ["d=f()\nassert d['a']==1 and d['bb']=='bbbb' and d=={'a':1} and len(d)==1 and isinstance(d,dict)"],
    ),
    (
        "missing_keys_are_kept",
        "class D(dict):\n    def __missing__(self,k):\n        self[k]=[]\n        return self[k]\n",
        ["d=D()\nd['x'].append(1)\nassert 'x' in d", "assert D(a=2)=={'a':2}"],
    ),
    (
        "default_of_its_own",
        "from collections import defaultdict\ndef f(): return defaultdict(lambda: 7)\ndef g():\n    d=defaultdict(lambda: defaultdict(int))\n    d['a']['b']+=1\n    return d",
        ["d=f()\nassert d['x']==7 and d=={'x':7}", "assert g()=={'a':{'b':1}} and g()['q']['r']==0"],
    ),
    (
        "paths",
        "from pathlib import PurePosixPath,Path,PureWindowsPath\ndef f(): return PurePosixPath('a')/'b'\ndef g(): return [Path('x.txt'),PureWindowsPath('c:/y')]\ndef h(p): return p.suffix,p.parent",
        [
            "from pathlib import PurePosixPath as P, Path, PureWindowsPath\nassert f()==P('a/b') and P('a/b')==f() and f().name=='b' and f() in {P('a/b')}",
            "assert g()==[Path('x.txt'),PureWindowsPath('c:/y')]",
            "assert h(P('q/r.py'))==('.py',P('q'))",
        ],
    ),
    (
        "arrays_of_the_library",
        "from array import array\ndef f(): return array('i',[1,2])\ndef g(a): a.append(3); a[0]=9\ndef h(): return array('d',[.5])",
        [
            "from array import array\nassert f()==array('i',[1,2]) and f().tolist()==[1,2] and f().typecode=='i'",
            "a=array('i',[1])\ng(a)\nassert a==array('i',[9,3])",
            "assert h()==array('d',[.5]) and list(h())==[.5]",
        ],
    ),
    (
        "user_containers",
        "from collections import UserList,UserDict,UserString\ndef f(): return UserList([1,2])\ndef g(): return UserDict(a=1)\ndef h(): return UserString('ab')\nclass S(UserList):\n    def top(self): return self[-1]\ndef k(u): u.append(4); u.data.sort()",
        [
            "from collections import UserList,UserDict,UserString\nassert f()==UserList([1,2])==[1,2] and g()==UserDict(a=1)=={'a':1} and h()==UserString('ab')=='ab'",
            "s=S([1,2])\nassert s==UserList([1,2]) and s==[1,2] and s.top()==2 and len(s)==2 and isinstance(s,UserList)",
            "u=UserList([5])\nk(u)\nassert u==[4,5]",
        ],
    ),
    (
        "counters",
        "from collections import Counter,OrderedDict,deque,ChainMap\nclass C(Counter):\n    def biggest(self): return self.most_common(1)[0][0]\ndef f(s): return C(s)\ndef g(d): d.appendleft(0); d.rotate(1)\ndef h(): return OrderedDict([('b',1),('a',2)])",
        [
            "from collections import Counter,deque,OrderedDict\nassert f('aab')==Counter('aab') and f('aab')=={'a':2,'b':1} and f('aab').biggest()=='a' and f('aab')['z']==0",
            "d=deque([1,2],maxlen=5)\ng(d)\nassert d==deque([2,0,1]) and d.maxlen==5",
            "assert h()==OrderedDict([('b',1),('a',2)]) and h()!=OrderedDict([('a',2),('b',1)]) and list(h())==['b','a']",
        ],
    ),
    (
        "numbers",
        "from fractions import Fraction\nfrom decimal import Decimal\nclass M(Decimal):\n    def cents(self): return int(self*100)\ndef f(): return Fraction(1,3),complex(1,-2),Decimal('NaN'),2**200,float('inf')\ndef g(): return M('1.50')",
        [
            "from fractions import Fraction\nfrom decimal import Decimal\nx=f()\nassert x[0]==Fraction(1,3) and x[0].denominator==3 and x[1]==1-2j and x[2].is_nan() and x[3]==2**200 and x[4]==float('inf')",
            "assert g()==Decimal('1.5') and g().cents()==150 and g()<2 and round(float(g()),1)==1.5 and isinstance(g(),Decimal)",
        ],
    ),
    (
        "ranges_and_slices",
        "def f(): return range(2,9,3)\ndef g(): return slice(1,None,2)\ndef h(r): return list(r)[::-1]",
        [
            "assert f()==range(2,9,3) and f()[1]==5 and g()==slice(1,None,2) and [1,2,3,4][g()]==[2,4] and h(range(3))==[2,1,0]"
        ],
    ),
    (
        "moments",
        "import datetime as d\ndef f(): return d.date(2024,2,29),d.time(1,2,3),d.datetime(2024,1,1,5,tzinfo=d.timezone(d.timedelta(hours=2))),d.timedelta(days=-1,seconds=5)\nclass D(d.date):\n    def quarter(self): return (self.month+2)//3\ndef g(): return D(2024,5,1)",
        [
            "import datetime as d\nassert f()==(d.date(2024,2,29),d.time(1,2,3),d.datetime(2024,1,1,3,tzinfo=d.timezone.utc),d.timedelta(days=-1,seconds=5))",
            "assert g()==d.date(2024,5,1) and g().quarter()==2 and isinstance(g(),d.date) and g()<d.date(2025,1,1)",
        ],
    ),
    (
        "identifiers",
        "import uuid,ipaddress\ndef f(): return uuid.UUID(int=5)\ndef g(s): return ipaddress.ip_address(s)\ndef h(n): return n.num_addresses,[str(x) for x in n]",
        [
            "import uuid,ipaddress\nassert f()==uuid.UUID(int=5) and f().int==5",
            "assert g('10.0.0.1')==ipaddress.ip_address('10.0.0.1') and g('::1').version==6 and h(ipaddress.ip_network('10.0.0.0/31'))==(2,['10.0.0.0','10.0.0.1'])",
        ],
    ),
    (
        "name_spaces",
        "from types import SimpleNamespace as S\ndef f(): return S(a=1,b=S(c=[2]))\ndef g(s): s.n+=1; s.new='x'",
        [
            "from types import SimpleNamespace as S\nassert f()==S(a=1,b=S(c=[2])) and f().b.c==[2]",
            "s=S(n=1)\ng(s)\nassert s==S(n=2,new='x')",
        ],
    ),
    (
        "streams",
        "import io\ndef f(s): return [line.strip() for line in s],s.tell()\ndef g(s): s.write('hi'); print('there',file=s)\ndef h(): return io.StringIO('a\\nb')\ndef k(b): return b.read(2)",
        [
            "import io\nassert f(io.StringIO('a\\nb'))==(['a','b'],3)",
            "s=io.StringIO()\ng(s)\nassert s.getvalue()=='hithere\\n'",
            "assert h().readlines()==['a\\n','b'] and h().getvalue()=='a\\nb'",
            "b=io.BytesIO(b'xyz')\nassert k(b)==b'xy' and b.read()==b'z'",
        ],
    ),
    (
        "bytes_of_all_kinds",
        "def f(): return b'a\\0\\xff',bytearray(b'bc'),memoryview(b'd').tobytes()\ndef g(b): b.extend(b'!'); b[0]=65",
        ["assert f()==(b'a\\0\\xff',bytearray(b'bc'),b'd')", "b=bytearray(b'xy')\ng(b)\nassert b==bytearray(b'Ay!')"],
    ),
    (
        "views",
        "def f(d): return sorted(d.keys()),list(d.values()),d.items()\ndef k(d): return d.keys()\ndef g(ks,vs,its): return 'a' in ks,sum(vs),('a',1) in its,len(its),[x for x in ks]",
        [
            "a,b,c=f({'y':1,'x':2})\nassert a==['x','y'] and b==[1,2] and list(c)==[('y',1),('x',2)]",
            "assert k({1:2,3:4})=={1:0,3:0}.keys()=={1,3}",
            "d={'a':1,'b':2}\nassert g(d.keys(),d.values(),d.items())==(True,3,True,2,['a','b'])",
        ],
    ),
    (
        "enumerations",
        "import enum\nclass C(enum.Enum):\n    R='r'\n    G='g'\n    @property\n    def up(self): return self.value.upper()\nclass F(enum.Flag):\n    A=1\n    B=2\nclass S(str,enum.Enum):\n    X='x'\nclass I(enum.IntEnum):\n    ONE=1\ndef f(): return C.G,F.A|F.B,S.X,I.ONE",
        [
            "c,b,s,i=f()\nassert c is C.G and c.up=='G' and C('r') is C.R and len(C)==2",
            "assert b==F.A|F.B and b.value==3 and s=='x' and s.value=='x' and i==1 and i+1==2 and isinstance(i,int) and i<2",
            "assert {C.R:1}[C.R]==1 and sorted([3,I.ONE,2])==[1,2,3]",
        ],
    ),
    (
        "data_classes",
        "from dataclasses import dataclass,field,astuple,replace\n@dataclass(frozen=True)\nclass P:\n    x:int=0\n    tags:tuple=()\n@dataclass\nclass Q:\n    xs:list=field(default_factory=list)\ndef f(p): return replace(p,x=p.x+1)\ndef t(p): return astuple(p)",
        [
            "p=f(P(1,('a',)))\nassert p==P(2,('a',)) and t(p)==(2,('a',)) and hash(p)==hash(P(2,('a',)))\nassert repr(p)==\"P(x=2, tags=('a',))\"",
            "q=Q()\nq.xs.append(1)\nq.xs=q.xs+[2]\nassert q.xs==[2] or q.xs==[1,2]\ntry:\n    p.x=1\n    assert False\nexcept AttributeError: pass",
        ],
    ),
    (
        "named_tuples",
        "from collections import namedtuple\nP=namedtuple('P','x y',defaults=[5])\ndef f(): return P(1)\ndef g(p): return p.x+p[1],len(p),p==(1,2),list(p),isinstance(p,tuple)",
        [
            "x,y=f()\nassert (x,y)==(1,5) and f()._replace(x=3)==(3,5) and f()._asdict()=={'x':1,'y':5} and P._fields==('x','y') and isinstance(f(),tuple) and f()<(2,)",
            "from collections import namedtuple\nT=namedtuple('T','x y')\nassert g(T(1,2))==(3,2,True,[1,2],True)",
        ],
    ),
    (
        "types",
        "def f(x): return type(x)\ndef g(t): return [t('3'),t.__name__]\nfrom collections import OrderedDict\ndef o(): return OrderedDict(a=1)",
        [
            "from decimal import Decimal\nassert f(1) is int and f('') is str and f(None) is type(None) and f(Decimal(1)) is Decimal and f(ValueError()) is ValueError",
            "assert g(int)==[3,'int'] and g(float)[0]==3.0",
            "assert isinstance(o(),OrderedDict)",
        ],
    ),
    (
        "classes_that_the_code_imports",
        "from collections import Counter,deque\nfrom collections.abc import Iterable,Sequence\nfrom numbers import Number\nfrom typing import List,Optional\ndef f(): return [1]\ndef d(): return deque([1])",
        [
            "assert isinstance(f(),Iterable) and isinstance(f(),Sequence) and not isinstance(f(),Number) and isinstance(d(),deque)",
            "x: Optional[List[int]]=None\nassert Counter('aa')['a']==2",
        ],
    ),
]
"""Types of plain data, of the code and of a test."""

HANDED_OVER = [
    (
        "functions_of_python",
        "import functools\ndef f(g,*a): return g(*a)\ndef m(g,xs): return list(map(g,xs))\ndef r(g,xs): return functools.reduce(g,xs)",
        [
            "import math,operator,functools\nassert f(len,[1])==1 and f(math.sqrt,4)==2.0 and r(operator.add,[1,2])==3 and f(max,3,4)==4",
            "assert m(str.upper,['a'])==['A'] and m(int.bit_length,[4])==[3] and m('{}!'.format,[1])==['1!'] and m({'a':1}.get,['a','b'])==[1,None]",
            "assert m(operator.itemgetter(1),[(1,2)])==[2] and m(functools.partial(pow,2),[3])==[8] and f(operator.methodcaller('upper'),'a')=='A'",
            "import numpy as np\nassert f(np.sqrt,4.0)==2.0 and f(np.sum,[1,2])==3",
            "import datetime,json\nassert f(json.dumps,[1])=='[1]' and f(datetime.date.fromisoformat,'2024-01-02').day==2 and f(dict.fromkeys,'a')=={'a':None}",
        ],
    ),
    (
        "functions_of_a_test",
        "import functools\ndef wrap(g):\n    @functools.wraps(g)\n    def w(*a,**k): return ('w',g(*a,**k))\n    return w\ndef same(g): return g\ndef cond(g=None): return g() if g else 0",
        [
            "@wrap\ndef add(a,b=1): return a+b\nassert add(1)==('w',2) and add(1,b=5)==('w',6) and add.__name__=='add'",
            "def g(): return 3\nassert same(g) is g and cond(g)==3 and cond()==0",
            "from unittest.mock import Mock\nm=Mock(return_value=4)\nassert cond(m)==4\nm.assert_called_once_with()",
        ],
    ),
    (
        "objects_of_a_test",
        "def f(o):\n    o.n+=1\n    o.new=[o.name]\n    return o.double(),o.area,str(o),o==o,len(o),o[0],[x for x in o],2 in o,o+1,-o\ndef sw(t):\n    if t: t.left,t.right=t.right,t.left; sw(t.left); sw(t.right)\n    return t",
        [
            "class O:\n    name='o'\n    def __init__(self): self.n=1\n    def double(self): return self.n*2\n    @property\n    def area(self): return self.n+10\n    def __str__(self): return 'O!'\n    def __len__(self): return 2\n    def __getitem__(self,i): return [1,2][i]\n    def __contains__(self,x): return x==2\n    def __add__(self,x): return self.n+x\n    def __neg__(self): return -self.n\no=O()\nassert f(o)==(4,12,'O!',True,2,1,[1,2],True,3,-2) and o.n==2 and o.new==['o']",
            "class T:\n    def __init__(self,v,left=None,right=None): self.v=v; self.left=left; self.right=right\nt=sw(T(1,T(2),T(3,T(4))))\nassert t.left.v==3 and t.left.right.v==4 and t.right.v==2",
        ],
    ),
    (
        "classes_of_a_test",
        "def f(c,*a): return c(*a)\ndef g(c,xs): return [isinstance(x,c) for x in xs]\ndef h(c): return [m.name for m in c],c.B.value,c['A'] is c.A\ndef k(d): return sorted(d.items()),d['x'],d.get('q')",
        [
            "class A:\n    def __init__(self,n): self.n=n\na=f(A,3)\nassert isinstance(a,A) and a.n==3 and g(A,[a,1])==[True,False]",
            "import enum\nclass E(enum.Enum):\n    A=1\n    B=2\nassert h(E)==(['A','B'],2,True)",
            "class D(dict):\n    def extra(self): return 1\nassert k(D(x=1,a=2))==([('a',2),('x',1)],1,None)",
        ],
    ),
    (
        "iterators_of_a_test",
        "from itertools import islice\ndef f(it,n): return list(islice(it,n))\ndef g(it): return sum(it)\ndef h(it):\n    for x in it: yield x*2",
        [
            "import itertools\nassert f(itertools.count(),3)==[0,1,2] and g(x*x for x in range(4))==14 and f(iter('abc'),9)==['a','b','c']",
            "def gen():\n    yield 1\n    yield 2\ni=gen()\nassert f(i,1)==[1] and next(i)==2 and list(h(gen()))==[2,4]",
            "assert f(map(str,[1,2]),5)==['1','2'] and f(zip('ab',[1,2]),1)==[('a',1)]",
        ],
    ),
    (
        "iterators_with_a_length",
        "class It:\n    def __init__(self,n): self.n=n\n    def __iter__(self): return self\n    def __next__(self):\n        if not self.n: raise StopIteration\n        self.n-=1\n        return self.n\n    def __len__(self): return self.n\n    def __enter__(self): return self\n    def __exit__(self,*a): return None",
        [
            "i=It(3)\nassert len(i)==3 and next(i)==2 and list(i)==[1,0] and list(i)==[]",
            "with It(2) as i: assert sum(i)==1",
            "assert [x for x in It(3)]==[2,1,0] and list(zip(It(2),'ab'))==[(1,'a'),(0,'b')] and max(It(4))==3",
        ],
    ),
]
"""What a test hands over to the code, to call, read and change."""
