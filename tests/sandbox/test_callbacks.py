"""Callables as arguments: called here while the candidate waits, with exceptions and further calls going both ways."""

from __future__ import annotations

import pytest

from mlx_selfdebug.sandbox import Limits, TestRunner, Verdict
from mlx_selfdebug.values.checks import Checks


def judged(runner: TestRunner, source: str, *asserts: str, entry: str = "f", setup: str = "") -> Verdict:
    return runner.run(source, Checks.from_asserts(asserts, setup), entry)


APPLY = "def f(g, *xs): return [g(x) for x in xs]"


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (APPLY, "assert f(lambda x: x + 1, 1, 2) == [2, 3]"),
        (APPLY, "assert f(len, 'ab', []) == [2, 0]"),
        (APPLY, "assert f(str.upper, 'ab') == ['AB']"),
        (APPLY, "seen = []\nf(seen.append, 1, 2)\nassert seen == [1, 2]"),
        ("def f(t, xs): return [x for x in xs if isinstance(x, t)]", "assert f(int, [1, 'a']) == [1]"),
        ("def f(e):\n  try: raise e('x')\n  except ValueError: return 1", "assert f(ValueError) == 1"),
        ("def f(g):\n  try: g()\n  except KeyError as e: return e.args[0]", "def g():\n    raise KeyError('k')\nassert f(g) == 'k'"),
        ("def f(g): return g", "def g(): pass\nassert f(g) is g"),
        ("def f(g): return [g]", "assert f(int) == [int]"),
        ("def f(g, n): return g(f, n - 1) if n else 0", "assert f(lambda again, n: again(lambda a, m: m, n) + 1, 5) == 4"),
        ("def f(g): return g(lambda x: x * 2)", "assert f(lambda double: double(4) + 1) == 9"),
        ("def f(g): return sorted([3, 1, 2], key=g)", "assert f(lambda x: -x) == [3, 2, 1]"),
        ("def f(g, *, key): return g(key=key)", "def g(**names):\n    return names\nassert f(g, key=3) == {'key': 3}"),
        ("class N:\n  def __init__(s, v): s.v = v\ndef f(g): return g(N(3))", "assert f(lambda n: n.v) == 3"),
        ("class N: pass\nn = N()\ndef f(g): return g(n) is n", "assert f(lambda x: x)"),
    ],
)  # fmt: skip
def test_callables_can_be_used_as_in_python(runner: TestRunner, source: str, text: str) -> None:
    verdict = judged(runner, source, text)
    assert verdict.passed, verdict


def test_a_callback_kept_by_an_object_is_called_later(runner: TestRunner) -> None:
    source = "class Events:\n  def __init__(s): s.all = []\n  def on(s, g): s.all.append(g)\n  def emit(s, x): return [g(x) for g in s.all]"
    text = "e = Events()\nseen = []\ne.on(seen.append)\ne.on(lambda x: x + 1)\nassert e.emit(3) == [None, 4]\nassert seen == [3]"
    assert judged(runner, source, text, entry="Events").passed


def test_a_callbacks_exception_comes_back_out_as_its_type(runner: TestRunner) -> None:
    text = "def g(x):\n    raise KeyError('gone')\nwith raises(KeyError) as caught:\n    f(g, 1)\nassert 'gone' in str(caught.value)"
    assert judged(runner, APPLY, text).passed


def test_what_a_failed_assert_of_a_callback_says_stays_here(runner: TestRunner) -> None:
    source = "def f(g):\n  try: g()\n  except BaseException as e: return str(e)"
    text = "def g():\n    raise AssertionError('the secret')\nassert f(g) == ''"
    assert judged(runner, source, text).passed


def test_asserts_within_a_callback_are_counted(runner: TestRunner) -> None:
    verdict = judged(runner, APPLY, "def g(x):\n    assert x == 1\n    return x\nassert f(g, 1, 2) == [1, 2]")
    assert (verdict.outcome, verdict.n_passed, verdict.n_checks) == ("failed", 2, 3)


def test_the_input_of_a_call_survives_its_callbacks(runner: TestRunner) -> None:
    verdict = judged(runner, "def f(n, g): return g(n)", "assert f(3, lambda n: f(n + 1, lambda m: m)) == 9")
    assert verdict.failures[0].input == "3, <lambda>"


@pytest.mark.parametrize(
    "text",
    [
        "assert f(lambda x: undefined_name, 1) == [1]",
        "assert f(lambda x: object(), 1) == [1]",
        "assert f(object()) == []",
    ],
)
def test_broken_callbacks_are_the_checks_fault(runner: TestRunner, text: str) -> None:
    assert judged(runner, APPLY, text).outcome == "infrastructure"


def test_recursion_through_callbacks_is_bounded_on_this_side(runner: TestRunner) -> None:
    verdict = judged(runner, "def f(g): return g()", "def g():\n    return f(g)\nassert f(g) == 1")
    assert verdict.outcome == "raised"
    assert verdict.failures[0].error is not None
    assert verdict.failures[0].error.type == "RecursionError"


def test_a_slow_callback_is_not_the_candidates_time() -> None:
    with TestRunner(workers=1, limits=Limits(wall_s=1.5)) as runner:
        assert judged(runner, APPLY, "import time", "assert f(lambda x: time.sleep(2), 1) == [None]").passed


def test_a_candidate_that_dies_within_a_callback_ends_the_checks(runner: TestRunner) -> None:
    source = "import os\ndef f(g, n):\n  if n: os._exit(3)\n  return g()"
    verdict = judged(
        runner,
        source,
        "def g():\n    try:\n        f(g, 1)\n    except BaseException:\n        return 9\nassert f(g, 0) == 9",
    )
    assert verdict.outcome == "early_exit"


def test_a_callback_from_another_thread_is_refused_in_the_candidate(runner: TestRunner) -> None:
    source = "import threading\ndef f(g):\n  out = []\n  def run():\n    try: out.append(g())\n    except RuntimeError: out.append('refused')\n  t = threading.Thread(target=run); t.start(); t.join()\n  return out"
    assert judged(runner, source, "assert f(lambda: 1) == ['refused']").passed
