"""Objects of the candidate's own: what checks can do with them, and that none of it forges a pass."""

from __future__ import annotations

import pytest

from mlx_selfdebug.sandbox import Limits, TestRunner, Verdict
from mlx_selfdebug.values.checks import Checks

STACK = """
class Stack:
    def __init__(self, *items): self.items = list(items)
    def push(self, x): self.items.append(x)
    def pop(self): return self.items.pop()
    def __len__(self): return len(self.items)
    def __getitem__(self, i): return self.items[i]
    def __setitem__(self, i, x): self.items[i] = x
    def __delitem__(self, i): del self.items[i]
    def __contains__(self, x): return x in self.items
    def __iter__(self): return iter(self.items)
    def __reversed__(self): return reversed(self.items)
    def __repr__(self): return f"Stack({self.items})"
    def __str__(self): return "a stack"
    def __eq__(self, other): return isinstance(other, Stack) and self.items == other.items
    def __lt__(self, other): return self.items < other.items
    def __add__(self, other): return Stack(*self.items, *(other.items if isinstance(other, Stack) else [other]))
    def __iadd__(self, other): self.items.append(other); return self
    def __enter__(self): self.items.append("in"); return self
    def __exit__(self, *error): self.items.append(error[0].__name__ if error[0] else "out"); return True
    def __abs__(self): return len(self.items)
    def __float__(self): return 0.5
    def __format__(self, spec): return spec * 2
    def __call__(self, n): return n + 1
    def copy_of(self, other): self.items = list(other.items)
    @property
    def top(self): return self.items[-1]
    def me(self): return self
"""


def judged(runner: TestRunner, source: str, *asserts: str, entry: str = "f") -> Verdict:
    return runner.run(source, Checks.from_asserts(asserts), entry)


@pytest.mark.parametrize(
    "text",
    [
        "s.push(1)\nassert s.pop() == 1",
        "assert len(s) == 0",
        "s.push(5)\nassert s.items == [5]\nassert s[0] == 5\nassert s[-1:] == [5]",
        "s.push(5)\ns[0] = 6\nassert s.items == [6]\ndel s[0]\nassert len(s) == 0",
        "s.push(2)\nassert 2 in s\nassert 3 not in s",
        "s.push(2)\ns.push(3)\nassert [x for x in s] == [2, 3]\nassert list(reversed(s)) == [3, 2]\nassert sum(s) == 5",
        "assert str(s) == 'a stack'\nassert repr(s) == 'Stack([])'\nassert f'{s:ab}' == 'abab'",
        "s.push(4)\nassert s.top == 4\nassert s.me() is s\nassert s.me() == s",
        "assert Stack(1) == Stack(1)\nassert Stack(1) != Stack(2)\nassert Stack(1) < Stack(2)\nassert not Stack(1) > Stack(2)",
        "assert (Stack(1) + Stack(2)).items == [1, 2]\nassert (Stack(1) + 7).items == [1, 7]",
        "t = s\ns += 9\nassert s is t\nassert t.items == [9]",
        "with s as inner:\n    inner.push(1)\nassert s.items == ['in', 1, 'out']",
        "with s:\n    raise KeyError('k')\nassert s.items == ['in', 'KeyError']",
        "s.items = [1, 2]\nassert len(s) == 2\nassert abs(s) == 2\nassert float(s) == 0.5\nassert s(3) == 4",
        "other = Stack(8)\ns.copy_of(other)\nassert s.items == [8]",
        "assert not hasattr(s, 'nothing')\nassert hasattr(s, 'push')\nassert getattr(s, 'nothing', 3) == 3",
        "assert isinstance(s, Stack)\nassert not isinstance(s, int)\nassert callable(s.push)",
        "import copy\nt = copy.deepcopy(s)\nt.push(1)\nassert len(s) == 0\nassert len(t) == 1",
        "it = iter(Stack(1, 2))\nassert next(it) == 1\nassert next(it) == 2\nassert next(it, 'end') == 'end'",
        "assert 'push' in dir(s)\nassert vars(s) == {'items': []}",
        "with raises(IndexError):\n    s.pop()",
        "try:\n    s.pop()\n    assert False\nexcept IndexError:\n    pass",
    ],
)  # fmt: skip
def test_objects_can_be_used_as_in_python(runner: TestRunner, text: str) -> None:
    verdict = judged(runner, STACK, "s = Stack()", *text.split("\n\n"), entry="Stack")
    assert verdict.passed, verdict


def test_a_wrong_object_fails_with_facts(runner: TestRunner) -> None:
    verdict = judged(runner, STACK, "s = Stack()", "s.push(1)", "assert s.pop() == 2", entry="Stack")
    failure = verdict.failures[0]
    assert (verdict.outcome, failure.expected, failure.got) == ("failed", "2", "1")


def test_an_objects_exception_is_the_candidates(runner: TestRunner) -> None:
    verdict = judged(runner, STACK, "s = Stack()", "assert s.pop() == 2", entry="Stack")
    assert verdict.outcome == "raised"
    assert verdict.failures[0].error is not None
    assert verdict.failures[0].error.type == "IndexError"


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("def f(n):\n  for i in range(n): yield i", "assert list(f(3)) == [0, 1, 2]"),
        ("def f(n): return map(str, range(n))", "assert [*f(2)] == ['0', '1']"),
        ("def f(n): return {1: 2}.items()", "assert sorted(f(1)) == [(1, 2)]"),
        ("def f(x): return lambda y: x + y", "assert f(1)(2) == 3"),
        ("def f(x): return lambda y: lambda z: x + y + z", "assert f(1)(2)(3) == 6"),
        ("from collections import namedtuple\nP = namedtuple('P', 'x y')\ndef f(): return P(1, 2)", "assert f() == (1, 2)\nassert (1, 2) == f()\nassert f() != (1, 3)\nassert f().x == 1\nassert f()[1] == 2\na, b = f()\nassert (a, b) == (1, 2)"),
        ("import enum\nclass C(enum.Enum):\n  RED = 1\ndef f(n): return C(n)", "assert f(1).name == 'RED'\nassert f(1).value == 1\nassert f(1) is f(1)"),
        ("from dataclasses import dataclass\n@dataclass\nclass P:\n  x: int\ndef f(n): return [P(n), {'a': P(2)}]", "assert [f(1)[0].x, f(1)[1]['a'].x] == [1, 2]"),
        ("class N:\n  def __init__(s, v): s.v = v\ndef f(): return {N(1), N(2)}, {N(3): 4}", "nodes, d = f()\nassert sorted(n.v for n in nodes) == [1, 2]\nassert [k.v for k in d] == [3]"),
        ("class N: pass\nn = N()\ndef f(x=None): return x is n if x else n", "assert f(f())"),
        ("def f(g):\n  def w(*a): return g(*a) * 2\n  return w", "assert f(lambda a, b: a + b)(1, 2) == 6"),
    ],
)  # fmt: skip
def test_values_that_are_not_plain_can_be_used_by_what_they_do(runner: TestRunner, source: str, text: str) -> None:
    verdict = judged(runner, source, text)
    assert verdict.passed, verdict


IN_PARIS = """
from datetime import datetime, time, timedelta, timezone, tzinfo
class Zone(tzinfo):
    key = "Europe/Paris"
    def utcoffset(self, moment): return timedelta(hours=2)
    def dst(self, moment): return None
    def tzname(self, moment): return "CEST"
PARIS = Zone()
"""


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("from datetime import *\ndef f(): return datetime(2024, 7, 1, tzinfo=timezone.utc)", "assert f() == datetime(2024, 7, 1, tzinfo=timezone.utc)\nassert f().tzinfo is timezone.utc\nassert f() < datetime(2024, 7, 2, tzinfo=timezone.utc)"),
        ("from datetime import *\ndef f(): return datetime(2024, 7, 1, 2, tzinfo=timezone(timedelta(hours=2), 'X'))", "assert f() == datetime(2024, 7, 1, tzinfo=timezone.utc)\nassert f().isoformat() == '2024-07-01T02:00:00+02:00'\nassert f().tzname() == 'X'"),
        (IN_PARIS + "def f(): return datetime(2024, 7, 1, 2, tzinfo=PARIS)", "assert f() == datetime(2024, 7, 1, tzinfo=timezone.utc)\nassert f() != datetime(2024, 7, 1, 2, tzinfo=timezone.utc)\nassert f() != datetime(2024, 7, 1, 2)"),
        (IN_PARIS + "def f(): return datetime(2024, 7, 1, 2, tzinfo=PARIS)", "assert f().tzinfo.key == 'Europe/Paris'\nassert f().isoformat() == '2024-07-01T02:00:00+02:00'"),
        (IN_PARIS + "def f(): return [{'at': datetime(2024, 7, 1, 2, tzinfo=PARIS)}]", "assert f() == [{'at': datetime(2024, 7, 1, tzinfo=timezone.utc)}]"),
        ("def f(): return {'a': 1}.keys()", "assert f() == {'a'}\nassert f() != {'b'}"),
        ("def f(): return {'a': 1}.items()", "assert f() == {('a', 1)}"),
    ],
)  # fmt: skip
def test_what_stands_for_plain_data_is_compared_with_it(runner: TestRunner, source: str, text: str) -> None:
    checks = Checks.from_asserts([text], "from datetime import datetime, timedelta, timezone")
    verdict = runner.run(source, checks, "f")
    assert verdict.passed, verdict


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (IN_PARIS + "def f(): return datetime(2024, 7, 1, tzinfo=PARIS)", "assert f() == datetime(2024, 7, 1, tzinfo=timezone.utc)"),
        (IN_PARIS + "def f(): return datetime(2024, 7, 1, tzinfo=PARIS)", "assert f() == datetime(2024, 7, 1)"),
        ("def f(): return {'a': 1}.keys()", "assert f() == ['a']"),
        ("from collections import namedtuple\ndef f(): return namedtuple('P', 'x')(1)", "assert f() == [1]"),
        ("from collections import namedtuple\ndef f(): return namedtuple('P', 'x')(1)", "assert f() == (True, True)"),
        ("from collections import namedtuple\nclass P(namedtuple('P', 'x')):\n  def __sub__(s, o): return P(0)\ndef f(): return P(1)", "assert f() - 9 == (0,)"),
    ],
)  # fmt: skip
def test_what_stands_for_other_plain_data_does_not_pass(runner: TestRunner, source: str, text: str) -> None:
    checks = Checks.from_asserts([text], "from datetime import datetime, timezone")
    assert runner.run(source, checks, "f").outcome in ("failed", "bad_value")


LIAR = """
class Liar:
    items = []
    def __init__(s, *a): pass
    def yes(s, *a): return True
    def zero(s, *a): return 0
    __eq__ = __lt__ = __le__ = __gt__ = __ge__ = __contains__ = isdigit = startswith = issubset = is_integer = yes
    def __ne__(s, o): return False
    def __hash__(s): return 9
    def __bool__(s): return True
    __sub__ = __rsub__ = __xor__ = __mod__ = __abs__ = __int__ = __index__ = __round__ = __floordiv__ = zero
    def __float__(s): return 0.0
    get = count = index = real = yes
    def __iter__(s): return iter([])
    def all(s): return True
    def max(s): return 0
    __class__ = int
def f(*a): return Liar()
"""


@pytest.mark.parametrize(
    "text",
    [
        "assert f(3) == 9", "assert 9 == f(3)", "assert not f(3) != 9", "assert f(3) != 8", "assert f(3) > 8", "assert 8 < f(3)",
        "assert f(3)", "assert not f(3)", "assert f(3) in [9]", "assert f(3) in {9: 1}", "with raises(TypeError):\n    f(3) == 9", "with raises(Exception):\n    f(3) < 9",
        "try:\n    f(3) == 9\n    assert False\nexcept TypeError:\n    pass", "assert f(3) not in {8}", "assert 9 in f(3)",
        "assert abs(f(3) - 9) < 1e-6", "assert abs(9 - f(3)) < 1e-6", "assert f(3) - 9 == 0", "assert (f(3) - 9) <= 0",
        "assert int(f(3) - 9) == 0", "assert float(f(3) - 9) == 0", "assert round(f(3) - 9, 6) == 0", "assert abs(abs(f(3) - 9)) < 1",
        "assert not (f(3) ^ 9)", "assert f(3) % 9 == 0", "assert (f(3) - 9).max() == 0", "assert (f(3) - 9).all()",
        "assert f(3).isdigit()", "assert f(3).get('a') == 1", "assert f(3).count(1) == 1", "assert f(3).index(5)", "assert f(3).real", "assert f(3).startswith('9')", "assert f(3).issubset({9})", "assert isinstance(f(3), int)",
        "assert isinstance(f(3), (int, str))", "from collections.abc import Iterable\nassert isinstance(f(3), Iterable)",
        "assert f(3) == approx(9)", "import math\nassert math.isclose(f(3), 9)", "assert [f(3)] == [9]", "assert {'a': f(3)} == {'a': 9}",
        "assert sorted([f(3), 9]) == [9, 9]", "assert max(f(3), 1) == 9", "assert almost_equal(f(3), 9)", "assert 9 in [f(3)]",
        "import math\nassert math.dist([f(3)], [9]) < 1e-6", "assert sum((a - b) ** 2 for a, b in zip([f(3)], [9])) < 1e-6",
        "assert str(f(3)) == '9'", "assert type(f(3)) is int", "assert f(3) is 9", "assert callable(f(3))",
        "with f(3):\n    raise AssertionError('a check')", "if not f(3):\n    raise AssertionError", "assert f'{f(3)}' == '9'",
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore::SyntaxWarning")
def test_no_lie_of_an_object_passes_where_plain_data_is_expected(runner: TestRunner, text: str) -> None:
    verdict = judged(runner, LIAR, text)
    assert verdict.outcome in ("bad_value", "failed", "raised"), verdict
    assert verdict.n_passed == 0


def test_what_an_operator_learnt_does_not_come_back_through_its_result(runner: TestRunner) -> None:
    source = "class L:\n  def __sub__(s, o): return 0\ndef f(x): return L()\n"
    # The candidate replaces its end of the channel, too: the checks' end insists on a handle.
    hacked = source + "import sys\nsys.modules['_selfdebug_references'].Kept = lambda v: v\n"
    for text in (source, hacked):
        assert judged(runner, text, "assert f(3) - 9 == 0").outcome == "bad_value"


def test_a_failed_check_is_not_swallowed_by_the_candidates_context(runner: TestRunner) -> None:
    source = "class Quiet:\n  def __enter__(s): return s\n  def __exit__(s, *e): return True\ndef f(): return Quiet()"
    assert judged(runner, source, "with f() as q:\n    assert 1 == 2").outcome != "passed"
    assert judged(runner, source, "with f() as q:\n    raise AssertionError").outcome != "passed"


def test_an_endless_iterator_runs_into_a_limit() -> None:
    with TestRunner(workers=1, limits=Limits(wall_s=1)) as runner:
        verdict = judged(runner, "import itertools\ndef f(): return itertools.count()", "assert list(f()) == [1]")
    assert verdict.outcome == "timeout_wall"


def test_iterated_elements_have_a_size_in_all() -> None:
    with TestRunner(workers=1, limits=Limits(wall_s=20, output_bytes=1 << 16)) as runner:
        source = "def f():\n  while True: yield 'x' * 60000"
        assert judged(runner, source, "assert list(f()) == [1]").outcome == "output_limit"


def test_a_length_made_to_fill_the_memory_is_refused(runner: TestRunner) -> None:
    source = "class L:\n  def __len__(s): return 1 << 60\n  def __iter__(s): return iter([1])\ndef f(): return L()"
    assert judged(runner, source, "assert [x for x in f()] == [1]").passed
    assert judged(runner, source, "assert list(f()) == [1]", "assert len(f()) == 1").outcome == "bad_value"


def test_more_objects_than_allowed_come_without_a_handle(runner: TestRunner) -> None:
    source = "class N: pass\ndef f(): return [N() for _ in range(70000)]"
    verdict = judged(runner, source, "assert f()[-1].__class__ == 1", "assert f()[0] == 1")
    assert verdict.outcome in ("bad_value", "failed")


def test_a_default_repr_has_no_address(runner: TestRunner) -> None:
    verdict = judged(runner, "class N: pass\ndef f(): return N()", "assert repr(f()) == ''")
    assert verdict.failures[0].got == "'<candidate.N object>'"


def test_methods_share_a_handle(runner: TestRunner) -> None:
    text = "s = Stack()\nfor i in range(3000):\n    s.push(i)\nassert s.push is s.push\nassert len(s) == 3000"
    assert judged(runner, STACK, text, entry="Stack").passed
