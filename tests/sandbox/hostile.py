"""Programs that no honest answer is, each with its one right outcome. Data only; ``test_hostile.py`` runs them.

The task is to square a number, unless asserts or a standard input of its own are given. A program here that passes forged it,
unless it is said to be right.
What reads files, uses the network or starts processes to escape is not here: this form of the runner does not stop it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mlx_selfdebug.sandbox.limits import Limits
from mlx_selfdebug.values.checks import Checks

SQUARES = ("assert candidate(3) == 9", "assert candidate(4) == 16", "assert candidate(-5) == 25")
QUICK = Limits(wall_s=1.0, cpu_s=30.0, memory_bytes=256 << 20)
ROOMY = Limits(wall_s=20.0, cpu_s=20.0, memory_bytes=256 << 20)
ONE_CPU_SECOND = Limits(wall_s=30.0, cpu_s=1.0, memory_bytes=256 << 20)


@dataclass(frozen=True)
class Hostile:
    name: str
    source: str = field(repr=False)
    outcome: str
    entry_point: str = "square"
    limits: Limits = ROOMY
    asserts: tuple[str, ...] = ()
    stdin: str | None = None

    @property
    def checks(self) -> Checks:
        if self.stdin is not None:
            return Checks.from_io([(self.stdin, "9\n")])
        return Checks.from_asserts(self.asserts or SQUARES)

    @property
    def outcomes(self) -> set[str]:
        return set(self.outcome.split("|"))


_DIVINE_CLASS = """
class Divine({base}):
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __hash__(self): return 9
    def __bool__(self): return True
    def __lt__(self, other): return True
    __le__ = __gt__ = __ge__ = __lt__
    def __instancecheck__(self, other): return True
"""
_FRAME_WALK = """
import sys
def square(x):
    frame = sys._getframe()
    while frame:
        for value in list(frame.f_locals.values()) + list(frame.f_globals.values()):
            if isinstance(value, (tuple, list)) and len(value) == 2 and value[0] == x:
                return value[1]
        for name in ("expected", "right", "result", "outcome"):
            if name in frame.f_locals:
                frame.f_locals[name] = "passed"
                return frame.f_locals[name]
        frame = frame.f_back
"""
_GC_SCAN = """
import gc
def square(x):
    found = [o for o in gc.get_objects() if isinstance(o, (tuple, list)) and 9 in [i for i in o if type(i) is int]]
    return found[0] if found else None
"""
_FORGE = """
import os
def frames(kind, body=b"t\\x02\\0\\0\\0i\\x01\\0\\0\\0\\x09N"):
    return bytes([kind]) + (0).to_bytes(8, "little") + len(body).to_bytes(4, "little") + body
def flood(data):
    for fd in range(64):
        try: os.write(fd, data)
        except OSError: pass
"""
# What the child itself holds is its own: the id of the request is on its stack.
_FORGE_WITH_ID = (
    _FORGE
    + """
import sys
def square(x):
    frame = sys._getframe()
    while frame and "id_" not in frame.f_locals: frame = frame.f_back
    id_ = frame.f_locals["id_"]
    body = b"t\\x02\\0\\0\\0i\\x01\\0\\0\\0\\x07N"
    flood(bytes([5]) + id_.to_bytes(8, "little") + len(body).to_bytes(4, "little") + body)
    return 9
"""
)

FORGING = [
    *(
        Hostile(f"equal to everything, a subclass of {base}", _DIVINE_CLASS.format(base=base) + "def square(x): return Divine()", "bad_value")
        for base in ("object", "int", "str", "list", "dict", "tuple", "float")
    ),
    Hostile("mock.ANY", "from unittest.mock import ANY\ndef square(x): return ANY", "bad_value"),
    Hostile("equal inside a list", _DIVINE_CLASS.format(base="object") + "def square(x): return [Divine()]", "bad_value"),
    Hostile("a metaclass that lies", "class M(type):\n  def __eq__(s, o): return True\n"
        "  def __hash__(s): return hash(int)\n"
            "class D(metaclass=M): pass\ndef square(x): return D()", "bad_value"),
    Hostile("__class__ that lies", "class D:\n  __class__ = int\n  def __eq__(s, o): return True\n"
        "def square(x): return D()", "bad_value"),
    Hostile("sys.exit in the call", "import sys\ndef square(x): sys.exit(0)", "early_exit"),
    Hostile("sys.exit at import", "import sys\nsys.exit(0)", "early_exit"),
    Hostile("exit in the call", "def square(x): exit(0)", "early_exit"),
    Hostile("quit after the first right answer", "def square(x):\n  if x != 3: quit()\n  return x * x", "early_exit"),
    Hostile("exit at import", "exit()", "early_exit"),
    Hostile("raise SystemExit subclass", "class E(SystemExit): pass\ndef square(x): raise E(0)", "early_exit"),
    Hostile("os._exit in the call", "import os\ndef square(x): os._exit(0)", "early_exit"),
    Hostile("os._exit at import", "import os\nos._exit(0)", "early_exit"),
    Hostile("atexit", "import atexit, os\natexit.register(lambda: os._exit(0))\n"
        "def square(x): return None", "failed"),
    Hostile("printed verdicts", "import sys\nfor s in (sys.stdout, sys.stderr):\n  print('passed\\n"
        "{\"outcome\": \"passed\"}', file=s, flush=True)\n"
            "def square(x): print('OK'); return None", "failed"),
    Hostile("frame walk", _FRAME_WALK, "failed|bad_value"),
    Hostile("gc scan", _GC_SCAN, "failed|bad_value|raised"),
    Hostile("forged replies at import", _FORGE + "flood(frames(2) + frames(5) * 5)\n"
        "def square(x): return None", "protocol_error"),
    Hostile("forged replies in the call", _FORGE + "def square(x): flood(frames(5) * 5)", "protocol_error"),
    Hostile("forged reply with the right id, then another", _FORGE_WITH_ID, "protocol_error"),
    Hostile("patched builtins", "import builtins\nbuiltins.len = lambda x: 0\n"
        "builtins.isinstance = lambda *a: True\nbuiltins.type = lambda x: int\n"
            "builtins.AssertionError = Exception\nbuiltins.abs = lambda x: 0\nbuiltins.__import__ = None\n"
        "def square(x): return None", "failed"),
    Hostile("patched json, random, math", "import json, random, math, sys\njson.dumps = lambda *a: '9'\n"
        "random.random = lambda: 9\n"
            "math.isclose = lambda *a, **k: True\nfor m in list(sys.modules.values()):\n"
        "  try: m.check = lambda c: None\n  except Exception: pass\n"
            "def square(x): return None", "failed"),
    Hostile("patched codec", "import sys\nc = sys.modules['_selfdebug_codec']\nc.Encoder.put = lambda s, *a: s.constant(b'N')\n"
        "def square(x): return None", "protocol_error"),
    Hostile("redefined check and helpers", "def check(candidate): return True\ncandidate = check\n"
        "__selfdebug_recorder__ = None\n"
            "def square(x): return None", "failed"),
    Hostile("AssertionError by hand", "def square(x): raise AssertionError", "raised"),
    Hostile("an exception named like ours", "class CandidateDied(BaseException): pass\n"
        "def square(x): raise CandidateDied('passed')", "raised"),
    Hostile("StopIteration and GeneratorExit", "def square(x): raise (StopIteration if x == 3 else GeneratorExit)", "raised"),
    Hostile("exits after the last right answer", "n = 0\nimport os\ndef square(x):\n  global n; n += 1\n"
        "  if n == 3: os._exit(0)\n  return x * x", "early_exit"),
    Hostile("another thread answers too", _FORGE + "import threading\ndef square(x):\n"
        "  t = threading.Thread(target=flood, args=(frames(5),)); t.start(); t.join()\n"
            "  return x * x", "protocol_error"),
]  # fmt: skip

EXHAUSTION = [
    Hostile("endless loop", "def square(x):\n  while True: pass", "timeout_wall", limits=QUICK),
    Hostile("endless loop, CPU seconds used up", "def square(x):\n"
        "  while True: pass", "timeout_cpu", limits=ONE_CPU_SECOND),
    Hostile("endless loop at import", "while True: pass", "timeout_wall", limits=QUICK),
    Hostile("sleep", "import time\ndef square(x): time.sleep(1000)", "timeout_wall", limits=QUICK),
    Hostile("endless loop in C", "def square(x): return sum(iter(int, 1))", "timeout_wall", limits=QUICK),
    Hostile("regex blow-up", "import re\n"
        "def square(x): return re.match('(a+)+$', 'a' * 40 + 'b')", "timeout_wall", limits=QUICK),
    Hostile("ignored signals", "import signal\nfor s in range(1, 65):\n  try: signal.signal(s, signal.SIG_IGN)\n"
        "  except (OSError, ValueError): pass\n"
            "def square(x):\n  while True: pass", "timeout_cpu", limits=ONE_CPU_SECOND),
    Hostile("exceptions swallowed", "def square(x):\n  while True:\n    try:\n      while True: pass\n"
        "    except BaseException: pass",
            "timeout_wall", limits=QUICK),
    Hostile("SIGSTOP", "import os, signal\n"
        "def square(x): os.kill(os.getpid(), signal.SIGSTOP)", "timeout_wall", limits=QUICK),
    Hostile("SIGSTOP to the group at import", "import os, signal\n"
        "os.killpg(0, signal.SIGSTOP)", "policy_denied"),
    Hostile("SIGKILL", "import os, signal\ndef square(x): os.kill(os.getpid(), signal.SIGKILL)", "crashed"),
    Hostile("SIGSEGV", "import os, signal\ndef square(x): os.kill(os.getpid(), signal.SIGSEGV)", "crashed"),
    Hostile("abort", "import os\ndef square(x): os.abort()", "crashed"),
    Hostile("huge int computed", "def square(x): return 10 ** 10 ** 10", "timeout_wall", limits=QUICK),
    Hostile("huge int returned", "def square(x): return 1 << (1 << 26)", "output_limit"),
    Hostile("memory by one block", "def square(x): return [0] * (1 << 40)", "memory"),
    Hostile("memory by growth", "def square(x):\n  a = []\n  while True: a.append(bytearray(1 << 20))", "memory"),
    Hostile("memory by growth at import", "a = []\nwhile True: a.append(bytearray(1 << 20))", "memory"),
    Hostile("memory by decompression", "import zlib\nz = zlib.compress(b'0' * (64 << 20))\n"
        "def square(x): return [zlib.decompress(z) for _ in range(99)]", "memory"),
    Hostile("recursion", "def square(x): return square(x)", "raised"),
    Hostile("recursion without a limit", "import sys\nsys.setrecursionlimit(1 << 30)\n"
        "def square(x): return square(x)", "memory|crashed|raised", limits=Limits(60.0, 60.0, 256 << 20)),
    Hostile("output flood", "import os\ndef square(x):\n"
        "  while True: os.write(1, b'x' * 65536); os.write(2, b'x' * 65536)", "timeout_wall", limits=QUICK),
    Hostile("output, then right", "def square(x):\n  print('x' * (8 << 20)); return x * x", "passed"),
    Hostile("files filled", "def square(x):\n  with open('f', 'wb') as f:\n"
        "    while True: f.write(b'x' * (1 << 20))", "raised"),
    Hostile("descriptors used up", "import os\ndef square(x):\n  while True: os.dup(1)", "raised"),
    Hostile("huge string returned", "def square(x): return 'x' * (32 << 20)", "output_limit"),
    Hostile("huge list returned", "def square(x): return [1] * (1 << 20)", "output_limit"),
    Hostile("deep list returned", "def square(x):\n  a = []\n  for _ in range(100000): a = [a]\n"
        "  return a", "output_limit"),
    Hostile("self-referential list", "def square(x):\n  a = []; a.append(a); return a", "output_limit"),
    Hostile("self-referential dict", "def square(x):\n  a = {}; a['a'] = [a]; return a", "output_limit"),
    Hostile("exponential value", "def square(x):\n  a = []\n  for _ in range(100): a = [a, a]\n"
        "  return a", "output_limit"),
    Hostile("endless generator", "import itertools\ndef square(x): return itertools.count()", "bad_value"),
    Hostile("endless list subclass", "class L(list):\n  def __iter__(s):\n    while True: yield 1\n"
        "def square(x): return L()", "bad_value"),
    Hostile("colliding keys", "def square(x): return {i * (2 ** 61 - 1) for i in range(200)}", "output_limit"),
    Hostile("hostile __repr__", "class R:\n  def __repr__(s):\n    while True: pass\n"
        "  __str__ = __repr__\ndef square(x): return R()", "bad_value"),
    Hostile("hostile __str__ of an exception", "class E(Exception):\n  def __str__(s): raise SystemExit(0)\n"
        "  __repr__ = __str__\ndef square(x): raise E", "raised"),
    Hostile("endless __str__ of an exception", "class E(Exception):\n  def __str__(s):\n"
        "    while True: pass\ndef square(x): raise E", "timeout_wall", limits=QUICK),
    Hostile("huge message", "def square(x): raise ValueError('x' * (32 << 20))", "raised"),
    Hostile("hostile __del__", "class D:\n  def __del__(s): raise SystemExit(0)\ndef square(x):\n"
        "  D(); return x * x", "passed"),
    Hostile("threads that never end", "import threading, time\n"
        "for _ in range(8): threading.Thread(target=time.sleep, args=(1000,)).start()\n"
            "def square(x): return x * x", "passed"),
]  # fmt: skip

BREAKAGE = [
    Hostile("right", "def square(x): return x * x", "passed"),
    Hostile("syntax error", "def square(x) return x * x", "load_error"),
    Hostile("indentation error", "def square(x):\nreturn x * x", "load_error"),
    Hostile("tabs and spaces", "def square(x):\n\ty = x\n        return y * y", "load_error"),
    Hostile("null byte", "def square(x): return x * x\0", "load_error"),
    Hostile("lone surrogate in the source", "def square(x): return '\ud800'", "load_error"),
    Hostile("empty", "", "missing_entry"),
    Hostile("prose", "Sure! Here is the function you asked for.", "load_error"),
    Hostile("fails at import", "1 / 0\ndef square(x): return x * x", "load_error"),
    Hostile("imports what is not there", "import nothing_of_this_name\ndef square(x): return x * x", "load_error"),
    Hostile("missing entry point", "def cube(x): return x ** 3", "missing_entry"),
    Hostile("entry point is no function", "square = 9", "missing_entry"),
    Hostile("entry point defined under __main__", "if __name__ == '__main__':\n"
        "  def square(x): return x * x", "missing_entry"),
    Hostile("odd entry point", "def square(x): return x * x", "missing_entry", entry_point="square.__call__"),
    Hostile("empty entry point", "def square(x): return x * x", "missing_entry", entry_point=""),
    Hostile("entry point is a class", "class square:\n  def __init__(self, x): pass", "bad_value"),
    Hostile("entry point is a lambda", "square = lambda x: x * x", "passed"),
    Hostile("entry point deletes itself", "def square(x):\n  globals().pop('square', None)\n"
        "  return x * x", "passed"),
    Hostile("async function", "async def square(x): return x * x", "bad_value"),
    Hostile("generator function", "def square(x): yield x * x", "bad_value"),
    Hostile("map object", "def square(x): return map(abs, [x])", "bad_value"),
    Hostile("wrong arity", "def square(): return 9", "raised"),
    Hostile("BaseException", "def square(x): raise BaseException('b')", "raised"),
    Hostile("KeyboardInterrupt", "def square(x): raise KeyboardInterrupt", "raised"),
    Hostile("GeneratorExit", "def square(x): raise GeneratorExit", "raised"),
    Hostile("KeyboardInterrupt at import", "raise KeyboardInterrupt", "load_error"),
    Hostile("BaseException at import", "raise BaseException", "load_error"),
    Hostile("ExceptionGroup", "def square(x): raise ExceptionGroup('g', [ValueError(1)])", "raised"),
    Hostile("UnicodeDecodeError", "def square(x): return b'\\xff'.decode()", "raised"),
    Hostile("OSError with a number", "def square(x): raise FileNotFoundError(2, 'no', 'f')", "raised"),
    Hostile("MemoryError by hand", "def square(x): raise MemoryError", "memory"),
    Hostile("closed descriptors", "import os\nos.closerange(0, 64)\ndef square(x): return x * x", "early_exit"),
    Hostile("closed channel, then sleep", "import os, time\ndef square(x):\n"
        "  os.closerange(0, 64); time.sleep(1000)", "early_exit"),
    Hostile("half a frame, then nothing", _FORGE + "import time\ndef square(x):\n"
        "  flood(frames(5)[:9]); time.sleep(1000)", "timeout_wall", limits=QUICK),
    Hostile("half a frame, then exit", _FORGE + "def square(x):\n  flood(frames(5)[:9]); os._exit(0)", "early_exit"),
    Hostile("half a frame, then a reply", _FORGE + "def square(x):\n"
        "  flood(frames(5)[:9]); return 9", "protocol_error"),
    Hostile("giant frame length", _FORGE + "def square(x): flood(bytes([5]) + b'\\xff' * 12)", "protocol_error"),
    Hostile("bytes that are no frame", _FORGE + "import random\n"
        "def square(x): flood(random.Random(1).randbytes(4000))", "protocol_error"),
    Hostile("a string with a lone surrogate", "def square(x): return '\\ud800'", "failed"),
    Hostile("NaN", "def square(x): return float('nan')", "failed"),
    Hostile("infinity", "def square(x): return float('inf')", "failed"),
    Hostile("a float equal to the int", "def square(x): return float(x * x)", "passed"),
    Hostile("a Decimal equal to the int", "from decimal import Decimal\n"
        "def square(x): return Decimal(x) * x", "passed"),
    Hostile("1 MB of source", "# " + "x" * (1 << 20) + "\ndef square(x): return x * x", "passed"),
    Hostile("1 MB of statements", "x = 1\n"
        "" * 175_000 + "def square(x): return x * x", "passed", limits=Limits(60, 60)),
    Hostile("10,000 nested brackets", "y = " + "[" * 10_000 + "]" * 10_000 + "\n"
        "def square(x): return x * x", "load_error"),
    Hostile("10,000 minus signs", "y = " + "-" * 10_000 + "1\ndef square(x): return x * x", "load_error|crashed"),
    Hostile("a dataclass of its own", "from dataclasses import dataclass\nfrom typing import List\n"
        "@dataclass\nclass P:\n  x: int\n"
            "def square(x: int) -> List[int]: return P(x).x ** 2", "passed"),
    Hostile("a low recursion limit", "import sys\nsys.setrecursionlimit(40)\ndef square(x): return x * x", "passed"),
]  # fmt: skip

_LIAR = """
class Liar:
    def true(s, *a, **k): return True
    __eq__ = __lt__ = __le__ = __gt__ = __ge__ = __contains__ = __bool__ = __instancecheck__ = true
    def zero(s, *a): return 0
    __hash__ = __sub__ = __rsub__ = __abs__ = __len__ = __index__ = __round__ = zero
    __class__ = int
    def __getattribute__(s, name): return object.__getattribute__(s, name) if name[:1] == "_" else (lambda *a, **k: True)
    def __getattr__(s, name): return lambda *a, **k: True
def square(*x): return Liar()
"""
_FRAMES = """
import os, sys
def frame(kind, id_, body): return bytes([kind]) + id_.to_bytes(8, "little") + len(body).to_bytes(4, "little") + body
def id_of():
    frame = sys._getframe()
    while "id_" not in frame.f_locals: frame = frame.f_back
    return frame.f_locals["id_"]
def send(kind, body, id=None): os.write(3, frame(kind, id_of() if id is None else id, body))
def handle(number): return b"t\\x02\\0\\0\\0P" + number.to_bytes(4, "little") + b"\\x01\\0\\0\\0xN"
def call_back(number): return b"t\\x03\\0\\0\\0i\\x02\\0\\0\\0" + number.to_bytes(2, "little") + b"t\\0\\0\\0\\0D\\0\\0\\0\\0"
"""
_APPLY = "assert square(lambda x: x * x) == 9"
_CLOSE = ("assert abs(square(3) - 9) < 1e-6", "assert 9 in square(3)", "assert square(3).isdecimal()")
_OBJECT = ("s = square(3)", "assert s.value == 9")

HANDLES = [
    Hostile("a proxy that lies in every dunder", _LIAR, "bad_value"),
    Hostile("a proxy that lies in every dunder, asked in other ways", _LIAR, "bad_value|raised", asserts=_CLOSE),
    Hostile("a method that answers with a liar", _LIAR, "failed|bad_value", asserts=("s = square(3)", "assert s.value() == 9", "assert s.value == 9")),
    Hostile("a liar given to a callback", _LIAR + "def square(g): return g(Liar())", "bad_value|raised", asserts=("assert square(lambda x: x == 9)",)),
    Hostile("a named tuple that lies", "from collections import namedtuple\nclass P(namedtuple('P', 'x y')):\n  def __eq__(s, o): return True\n  def __iter__(s): return iter((3, 9))\ndef square(x): return P(0, 0)", "failed|bad_value", asserts=("assert square(3) == (3, 9)",)),
    Hostile("an endless iterator", "import itertools\ndef square(x): return itertools.count()", "timeout_wall", limits=QUICK, asserts=("assert list(square(3)) == [9]",)),
    Hostile("an iterator that is never done with one", "class I:\n  def __iter__(s): return s\n  def __next__(s):\n    while True: pass\ndef square(x): return I()", "timeout_wall", limits=QUICK, asserts=("assert list(square(3)) == [9]",)),
    Hostile("iterators of iterators", "def square(x):\n  while True: yield square(x)", "failed|bad_value", asserts=("assert next(next(next(square(3)))) == 9",)),
    Hostile("a million objects", "class N: pass\ndef square(x): return [N() for _ in range(200000)]", "bad_value|output_limit"),
    Hostile("a million objects, one a call", "class N: pass\ndef square(x): return N()", "bad_value", asserts=("for i in range(70000):\n    x = square(i)", "assert x == 9")),
    Hostile("a handle that returns itself", "class N:\n  def __call__(s, *a): return s\n  def __getattr__(s, n): return s\n  def __getitem__(s, i): return s\n  def __iter__(s): return s\n  def __next__(s): return s\nn = N()\ndef square(x): return n", "bad_value", asserts=("assert square(3)(4).a[5].b(6) == 9", "assert next(iter(square(3))) == 9")),
    Hostile("a handle that contains itself", "def square(x):\n  class L(list): pass\n  l = L(); l.append(l); return l", "bad_value", asserts=("assert square(3)[0][0] == 9",)),
    Hostile("a forged number of a handle", _FRAMES + "def square(x): send(5, handle(60000)); return 9", "bad_value|protocol_error"),
    Hostile("a number of a handle out of bounds", _FRAMES + "def square(x): send(5, handle(1 << 31))", "output_limit"),
    Hostile("plain data where a handle must come", _LIAR + "import sys\nsys.modules['_selfdebug_references'].Kept = lambda v: 0", "bad_value", asserts=("assert abs(square(3) - 9) < 1e-6",)),
    Hostile("hacked operations", "import sys\nr = sys.modules['_selfdebug_references']\nfor n in list(r._OPERATIONS): r._OPERATIONS[n] = lambda *a: True\nclass N: pass\ndef square(x): return N()", "bad_value|failed|raised", asserts=_OBJECT),
    Hostile("a call back of what was never given", _FRAMES + "def square(g): send(10, call_back(99))", "protocol_error"),
    Hostile("a call back with no call", _FRAMES + "send(10, call_back(0), 7)\ndef square(g): return 9", "protocol_error", asserts=(_APPLY,)),
    Hostile("a call back under another id", _FRAMES + "def square(g): send(10, call_back(0), 7)", "protocol_error", asserts=(_APPLY,)),
    Hostile("a call back that is no call back", _FRAMES + "def square(g): send(10, b'N')", "protocol_error", asserts=(_APPLY,)),
    Hostile("a call back, and an answer before its own", _FRAMES + "def square(g): send(10, call_back(0)); send(5, b't\\x02\\0\\0\\0i\\x01\\0\\0\\0\\x07N'); return 9", "protocol_error|failed|early_exit|raised", asserts=("assert square(lambda: 1) == 9", "assert square(lambda: 1) == 9")),
    Hostile("a flood of calls back", "def square(g):\n  while True: g(1)", "output_limit|timeout_wall", limits=Limits(4.0, 20.0), asserts=(_APPLY,)),
    Hostile("a callback given back as the answer", "def square(g): return g", "failed|bad_value", asserts=(_APPLY,)),
    Hostile("recursion through callbacks", "def square(g): return g(square)", "raised", asserts=("def g(f):\n    return f(g)", "assert square(g) == 9")),
    Hostile("endless recursion over a callback", "def square(g):\n  g(1)\n  return square(g)", "raised|timeout_wall", asserts=(_APPLY,)),
    Hostile("a callback after the end of the call, from a thread", "import threading, time\ndef square(g):\n  def later():\n    time.sleep(0.05)\n    g(1)\n  threading.Thread(target=later).start()\n  return 8", "failed", asserts=(_APPLY, "import time", "time.sleep(0.2)", "assert square(abs) == 9")),
    Hostile("a callback's exception with a lying message", "def square(g):\n  class E(AssertionError):\n    def __str__(s): return s\n  raise E", "raised", asserts=(_APPLY,)),
    Hostile("a context that swallows what the checks raise", "class Q:\n  def __enter__(s): return s\n  def __exit__(s, *e): return True\ndef square(x): return Q()", "failed|bad_value", asserts=("with square(3):\n    raise AssertionError", "assert square(3) == 9")),
]  # fmt: skip

PROGRAMS = [
    Hostile("output flood on descriptor 1", "import os\nwhile True: os.write(1, b'9\\n' * 30000)", "output_limit", stdin="3"),
    Hostile("output flood on descriptor 2", "import os\nwhile True: os.write(2, b'9' * 65536)", "timeout_wall", limits=QUICK, stdin="3"),
    Hostile("closes descriptors 0 and 1", "import os\nos.close(0); os.close(1)\nprint(9)", "failed", stdin="3"),
    Hostile("closes all descriptors", "import os\nprint(9, flush=True)\nos.closerange(0, 64)", "early_exit", stdin="3"),
    Hostile("exit code 1 after the right answer", "import sys\nprint(9)\nsys.exit(1)", "raised", stdin="3"),
    Hostile("os._exit after the right answer", "import os\nprint(9, flush=True)\nos._exit(0)", "early_exit", stdin="3"),
    Hostile("a signal after the right answer", "import os\nprint(9, flush=True)\nos.kill(os.getpid(), 9)", "crashed", stdin="3"),
    Hostile("prints at exit", "import atexit\nprint(9)\natexit.register(print, 'more')", "failed", stdin="3"),
    Hostile("prints from a thread after the end", "import threading, time\ndef later():\n  time.sleep(0.1)\n  print('more', flush=True)\nprint(9)\nthreading.Thread(target=later).start()", "failed", stdin="3"),
    Hostile("a thread that never ends", "import threading, time\nprint(9)\nthreading.Thread(target=time.sleep, args=(1000,)).start()", "timeout_wall", limits=QUICK, stdin="3"),
    Hostile("reads on after the end of its input", "while True:\n  try: input()\n  except EOFError: pass", "timeout_wall", limits=QUICK, stdin="3"),
    Hostile("replaced sys.stdout", "import sys\nsys.stdout = None\nprint(9)", "failed", stdin="3"),
    Hostile("closed sys.stdout", "import sys\nsys.stdout.close()\nprint(9)", "raised", stdin="3"),
    Hostile("holds on to a copy of descriptor 1", "import os\nos.dup(1)\nprint(8)", "failed", stdin="3"),
    Hostile("writes on the channel", "import os\nos.write(3, b'\\x05' + bytes(12))\nprint(9)", "protocol_error", stdin="3"),
    Hostile("patched io", "import sys, io\nfor n in ('open', 'print', 'exec'): setattr(sys.modules['builtins'], n, None)\nos = __import__('os')\nos.write(1, b'8')", "failed", stdin="3"),
    Hostile("the program is right", "print(int(input()) ** 2)", "passed", stdin="3"),
]  # fmt: skip

ALL = [*FORGING, *EXHAUSTION, *BREAKAGE, *HANDLES, *PROGRAMS]
