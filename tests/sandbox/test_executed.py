"""Executed lines: what each call ran, as far as the program tells it; it can lie, but not hang, grow or decide anything."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlx_selfdebug.sandbox import Executed, ExecutedCall, Limits, TestRunner
from mlx_selfdebug.sandbox.executed import MAX_CALLS, MAX_COUNT, MAX_LINES, failing_shares
from mlx_selfdebug.sandbox.grading.traced import CallLog
from mlx_selfdebug.sandbox.processes import launch
from mlx_selfdebug.sandbox.wire import codec
from mlx_selfdebug.values.checks import Checks

SIGN = "def f(x):\n    if x < 0:\n        return -1\n    return 0\n"
_SAY = """
import os
def say(body, kind=11): os.write(3, bytes([kind]) + (7).to_bytes(8, "little") + len(body).to_bytes(4, "little") + body)
"""


def executed(runner: TestRunner, source: str, *asserts: str, entry: str = "f", **options: Any) -> Executed:
    return runner.submit_traced(source, Checks.from_asserts(asserts), entry, **options).result()


def brief(found: Executed) -> list[tuple[dict[int, int], bool]]:
    return [(dict(call.lines), call.passed) for call in found.calls]


def test_each_call_has_its_lines_and_whether_its_check_passed(runner: TestRunner) -> None:
    found = executed(runner, SIGN, "assert f(-2) == -1", "assert f(2) == 1", "assert f(0) == 0")
    assert brief(found) == [({2: 1, 3: 1}, True), ({2: 1, 4: 1}, False), ({2: 1, 4: 1}, True)]


def test_lines_are_counted_as_often_as_they_run(runner: TestRunner) -> None:
    source = "def g(n):\n    return n\ndef f(n):\n    total = 0\n    for i in range(n):\n        total += g(i)\n    return total\n"
    assert brief(executed(runner, source, "assert f(3) == 3")) == [({4: 1, 5: 4, 6: 3, 2: 3, 7: 1}, True)]


def test_loading_is_apart_and_the_prelude_is_not_counted(runner: TestRunner) -> None:
    found = executed(
        runner, "N = 2\ndef f(x):\n    return g(x)\n", "assert f(1) == 3", prelude="def g(x):\n    return x + N\n"
    )
    assert (found.loading, brief(found)) == ({1: 1, 2: 1}, [({3: 1}, True)])


def test_an_endless_loop_shows_itself_and_the_checks_go_on(runner: TestRunner) -> None:
    source = "def f(x):\n    while x:\n        x = x\n    return 0\n"
    found = executed(runner, source, "assert f(1) == 1", "assert f(0) == 0")
    assert [(set(call.lines), call.passed, call.stopped) for call in found.calls] == [
        ({2, 3}, False, True),
        ({2, 4}, True, False),
    ]


def test_an_endless_loop_while_loading_shows_itself(runner: TestRunner) -> None:
    assert set(executed(runner, "x = 1\nwhile x:\n    x = x\n", "assert f(1)").loading) == {1, 2, 3}


@pytest.mark.parametrize(
    "last",
    [
        "sum(iter(int, 1))",
        "__import__('os')._exit(0)",
        "__import__('os').kill(__import__('os').getpid(), 11)",
        "__import__('time').sleep(1000)",
    ],
)
def test_a_call_that_dies_or_hangs_in_a_line_shows_the_lines_until_then(runner: TestRunner, last: str) -> None:
    source = f"def f(x):\n    if x:\n        {last}\n    return 0\n"
    found = executed(runner, source, "assert f(0) == 0", "assert f(1) == 0", wall_s=1.0)
    assert [(set(call.lines), call.passed, call.stopped) for call in found.calls] == [
        ({2, 4}, True, False),
        ({2, 3}, False, True),
    ]


def test_a_program_that_swallows_its_end_is_ended_by_the_time(runner: TestRunner) -> None:
    source = (
        "def f():\n    while True:\n        try:\n            while True: pass\n        except BaseException: pass\n"
    )
    found = executed(runner, source, "assert f()", wall_s=1.0)
    assert [(set(call.lines) >= {2, 3, 4}, call.stopped) for call in found.calls] == [(True, True)]


def test_the_calls_before_a_check_belong_to_it(runner: TestRunner) -> None:
    found = executed(runner, SIGN, "x = f(1)\ny = f(-1)", "assert x == 0", "assert y == 5", "assert f(2) == 0", "f(3)")
    assert [call.passed for call in found.calls] == [False, False, True, True]


def test_a_statement_that_raises_fails_the_calls_before_it(runner: TestRunner) -> None:
    assert [call.passed for call in executed(runner, SIGN, "assert f(1) == 0", "f(2)[0]").calls] == [True, False]


def test_expected_exceptions_and_caught_asserts_keep_their_meaning(runner: TestRunner) -> None:
    source = "def f(x):\n    if x > 1:\n        raise ValueError\n    return x\n"
    raises, caught = (
        "with raises(ValueError):\n    f({})",
        "try:\n    assert f(0) == 9\nexcept AssertionError:\n    pass",
    )
    found = executed(runner, source, raises.format(2), raises.format(1), caught, "assert f(1) == 1")
    assert [call.passed for call in found.calls] == [True, False, True, True]


def test_checks_without_an_assert_pass_by_coming_to_their_end(runner: TestRunner) -> None:
    assert brief(executed(runner, SIGN, "f(1)")) == [({2: 1, 4: 1}, True)]


def test_methods_and_generators_run_their_lines_when_they_are_used(runner: TestRunner) -> None:
    source = "class Box:\n    def __init__(self, x):\n        self.x = x\n    def each(self):\n        yield self.x\n"
    found = executed(runner, source, "b = Box(3)", "assert list(b.each()) == [3]", entry="Box")
    assert [set(call.lines) for call in found.calls if set(call.lines) & {3, 5}] == [{3}, {5}]
    assert all(call.passed for call in found.calls)


def test_calls_within_calls_back_come_after_the_call_they_are_made_in(runner: TestRunner) -> None:
    source = "def f(g):\n    if g is None:\n        return 1\n    x = g()\n    return x\n"
    assert brief(executed(runner, source, "assert f(lambda: f(None)) == 1")) == [
        ({2: 1, 4: 1, 5: 1}, True),
        ({2: 1, 3: 1}, True),
    ]


def test_each_case_of_a_program_is_a_call(runner: TestRunner) -> None:
    checks = Checks.from_io([("1\n", "1\n"), ("-1\n", "1\n")])
    found = runner.submit_traced("x = int(input())\nif x < 0:\n    x = x\nprint(x)\n", checks, "").result()
    assert brief(found) == [({1: 1, 2: 1, 4: 1}, True), ({1: 1, 2: 1, 3: 1, 4: 1}, False)]


def test_no_more_calls_are_kept_than_said(runner: TestRunner) -> None:
    found = executed(runner, SIGN, "for i in range(100):\n    assert f(i) == 0")
    assert len(found.calls) == MAX_CALLS
    assert all(call.passed for call in found.calls)


def test_a_program_that_does_not_load_ran_nothing(runner: TestRunner) -> None:
    assert executed(runner, "def f(", "assert f(1)") == Executed()


def test_broken_checks_give_nothing(runner: TestRunner) -> None:
    assert runner.submit_traced(SIGN, Checks("def check(candidate)\n"), "f").result() == Executed()


@pytest.mark.parametrize(
    "lie", ["b''", "b'x' * 99", "b'N'", "b'D' + b'\\xff' * 4", "b'd\\1\\0\\0\\0i\\1\\0\\0\\0\\x63i\\1\\0\\0\\0\\5'"]
)
def test_lies_are_bounded_or_ignored(runner: TestRunner, lie: str) -> None:
    found = executed(runner, f"{_SAY}def f(x):\n    say({lie})\n    return x\n", "assert f(1) == 1")
    assert [(set(call.lines) <= {3, 5, 6}, call.passed) for call in found.calls] == [(True, True)]


def test_a_flood_of_lies_ends_with_the_time(runner: TestRunner) -> None:
    found = executed(runner, f"{_SAY}def f(x):\n    while True: say(b'N')\n", "assert f(1)", wall_s=1.0)
    assert [call.passed for call in found.calls] == [False]


def test_who_says_lines_without_being_asked_breaks_the_protocol(runner: TestRunner) -> None:
    checks = Checks.from_asserts(["assert f(1) == 1"])
    assert runner.run(f"{_SAY}def f(x):\n    say(b'N')\n    return x\n", checks, "f").outcome == "protocol_error"


def test_a_traced_run_leaves_the_next_one_untraced(runner: TestRunner) -> None:
    executed(runner, SIGN, "assert f(1) == 0")
    source = "import sys\ndef f(): return sys.gettrace() is None"
    assert all(runner.run(source, Checks.from_asserts(["assert f()"]), "f").passed for _ in range(6))


def test_the_run_is_as_confined_as_any(runner: TestRunner) -> None:
    source = "import os\ndef f():\n    os.fork()\n    return 1\n"
    assert [call.passed for call in executed(runner, source, "assert f() == 1").calls] == [False]


def test_a_machine_that_cannot_run_it_gives_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with TestRunner(workers=1, limits=Limits(wall_s=1)) as alone:
        monkeypatch.setattr(launch, "zygote_command", lambda _: [sys.executable, "-c", "raise SystemExit('lost')"])
        assert executed(alone, SIGN, "assert f(1) == 0") == Executed()


numbers = st.integers(-3, 1 << 40)
values = st.one_of(
    numbers, st.none(), st.text(max_size=3), st.dictionaries(numbers, numbers, max_size=9), st.lists(numbers)
)
events = st.one_of(
    values.map(codec.encode),
    st.binary(max_size=20),
    st.dictionaries(st.one_of(numbers, st.booleans()), values, max_size=5).map(codec.encode),
    st.sampled_from(["asked", "answered", "passed", "failed"]),
)


@given(st.lists(events, max_size=30))
def test_whatever_is_said_the_log_stays_what_can_be_read_back(said: list[Any]) -> None:
    log, depth = CallLog(20), 0
    for event in said:
        if event == "asked":
            log.begin_request()
            depth += 1
        elif event == "answered" and depth:
            log.end_request(alive=True)
            depth -= 1
        elif type(event) is bytes:
            log.add_report(event)
        else:
            log.add_check(passed=event == "passed")
    found = log.executed()
    assert Executed.from_tuple(found.to_tuple()) == found
    assert all(1 <= line <= 20 for call in found.calls for line in call.lines)


@pytest.mark.parametrize(
    "data",
    [
        None,
        ({},),
        ({}, []),
        ({0: 1}, ()),
        ({1: 0}, ()),
        ({True: 1}, ()),
        ({}, (({}, 1, False),)),
        ({}, (({}, True),)),
        ({}, (({1: "1"}, True, False),)),
        (dict.fromkeys(range(1, MAX_LINES + 2), 1), ()),
        ({}, (({}, True, False),) * (MAX_CALLS + 1)),
    ],
)
def test_what_a_grader_may_not_say_is_refused(data: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        Executed.from_tuple(data)


def test_values_are_compared_by_what_they_hold() -> None:
    assert Executed((ExecutedCall({1: MAX_COUNT}, True),)) == Executed((ExecutedCall({1: MAX_COUNT}, True),))


CALLS = Executed(
    (ExecutedCall({2: 1, 3: 1}, False), ExecutedCall({2: 1, 4: 1}, True), ExecutedCall({2: 5, 3: 2}, False))
)


def test_the_share_of_failing_calls_that_ran_a_line_is_counted() -> None:
    assert failing_shares(CALLS) == {2: 1.0, 3: 1.0}
    assert failing_shares(Executed((ExecutedCall({1: 1}, True),))) is None
