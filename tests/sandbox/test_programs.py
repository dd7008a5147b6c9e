"""Whole programs: text in, text out, each case a run; every way a program may read and print."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlx_selfdebug.sandbox import Limits, TestRunner, Verdict
from mlx_selfdebug.sandbox.grading.outputs import END, first_difference, outputs_match, shows
from mlx_selfdebug.values.checks import Checks

SUM = Checks.from_io([("1 2\n3\n", "6\n"), ("40\n2\n", "42\n")])


def judged(runner: TestRunner, source: str, checks: Checks = SUM) -> Verdict:
    return runner.run(source, checks, "")


@pytest.mark.parametrize(
    "source",
    [
        "import sys\nprint(sum(map(int, sys.stdin.read().split())))",
        "print(sum(int(x) for line in open(0) for x in line.split()))",
        "import sys\ntotal = 0\nfor line in sys.stdin: total += sum(map(int, line.split()))\nsys.stdout.write(f'{total}\\n')",
        "import sys\nprint(sum(map(int, sys.stdin.buffer.read().split())))",
        "import sys\nprint(sum(map(int, sys.stdin.readline().split() + sys.stdin.readline().split())))",
        "a = input().split() + input().split()\nprint(sum(map(int, a)))",
        "t = 0\ntry:\n  while True: t += sum(map(int, input().split()))\nexcept EOFError: print(t)",
        "import os\nt = sum(map(int, os.read(0, 9999).split()))\nos.write(1, str(t).encode())",
        "import sys\nsys.stdout.buffer.write(str(sum(map(int, open(0).read().split()))).encode())",
        "import sys, io\nsys.stdout = io.TextIOWrapper(open(1, 'wb'))\nprint(sum(map(int, open(0).read().split())))",
        "def main():\n  print(sum(map(int, open(0).read().split())))\nif __name__ == '__main__': main()",
        "import sys\nprint(sum(map(int, open(0).read().split())))\nsys.exit()",
        "import sys\nprint(sum(map(int, open(0).read().split())))\nsys.exit(0)",
        "print(sum(map(int, open(0).read().split())))\nexit()",
        "print(sum(map(int, open(0).read().split())))\nquit(0)\nprint('more')",
        "import threading\ndef main(): print(sum(map(int, open(0).read().split())))\nthreading.Thread(target=main).start()",
        "import atexit\natexit.register(lambda: print(sum(map(int, open(0).read().split()))))",
        "import sys\nprint('to nobody', file=sys.stderr)\nprint(sum(map(int, open(0).read().split())))",
        "import sys\nprint(sum(map(int, open(0).read().split())), flush=True)\nsys.stdin.close(); sys.stdout.close()",
    ],
)  # fmt: skip
def test_every_way_to_read_and_print_works(runner: TestRunner, source: str) -> None:
    verdict = judged(runner, source)
    assert verdict.passed, verdict
    assert (verdict.n_passed, verdict.n_checks) == (2, 2)


def test_a_wrong_line_is_a_fact_with_its_number(runner: TestRunner) -> None:
    checks = Checks.from_io([("", "a\n"), ("2\n", "a\nb\nc\n")])
    failure = judged(runner, "n = open(0).read()\nprint('a')\nif n: print('x')", checks).failures[0]
    assert (failure.check, failure.input) == ("case 2", "2\n")
    assert (failure.expected, failure.expected_kind, failure.got) == ("line 2: b", "text", "line 2: x")


def test_missing_and_further_lines_are_told(runner: TestRunner) -> None:
    checks = Checks.from_io([("", "a\nb\n")])
    failures = [judged(runner, source, checks).failures[0] for source in ("print('a')", "print('a\\nb\\nc')")]
    assert [(f.expected, f.got) for f in failures] == [
        ("line 2: b", "line 2: (end of output)"),
        ("line 3: (end of output)", "line 3: c"),
    ]


def test_an_exit_code_and_an_exception_are_the_programs(runner: TestRunner) -> None:
    checks = Checks.from_io([("", "a\n")])
    error = judged(runner, "import sys\nprint('a')\nsys.exit(3)", checks)
    assert error.outcome == "raised"
    assert error.failures[0].error is not None
    assert (error.failures[0].error.type, error.failures[0].error.message) == ("SystemExit", "exit code 3")
    assert (error.failures[0].error.line, error.failures[0].expected) == (3, "a")
    fault = judged(runner, "print('a')\n1 / 0", checks).failures[0]
    assert fault.error is not None
    assert (fault.error.type, fault.error.line) == ("ZeroDivisionError", 2)


@pytest.mark.parametrize(("call", "said"), [("exit(3)", "exit code 3"), ("quit('no')", "exit code 1: no")])
def test_an_exit_code_of_exit_and_quit_is_the_programs(runner: TestRunner, call: str, said: str) -> None:
    verdict = judged(runner, f"print('a')\n{call}", Checks.from_io([("", "a\n")]))
    assert verdict.outcome == "raised"
    assert verdict.failures[0].error is not None
    assert (verdict.failures[0].error.type, verdict.failures[0].error.message) == ("SystemExit", said)


def test_a_syntax_error_is_a_load_error(runner: TestRunner) -> None:
    assert judged(runner, "print(").outcome == "load_error"


def test_a_large_input_left_unread_and_a_large_output_are_fine(runner: TestRunner) -> None:
    big = "7" * (1 << 20) + "\n"
    assert judged(runner, "print(1)", Checks.from_io([(big, "1\n")])).passed
    assert judged(runner, "print(input())", Checks.from_io([(big, big)])).passed


def test_each_case_is_a_fresh_process(runner: TestRunner) -> None:
    source = "import sys\nsys.n = getattr(sys, 'n', 0) + 1\nprint(sys.n)"
    assert judged(runner, source, Checks.from_io([("", "1\n")] * 3)).passed


def test_an_output_flood_is_stopped() -> None:
    with TestRunner(workers=1, limits=Limits(wall_s=20, output_bytes=1 << 16)) as runner:
        assert judged(runner, "while True: print('x' * 100)").outcome == "output_limit"
        assert judged(runner, "import os\nwhile True: os.write(1, b'x' * 999)").outcome == "output_limit"


@pytest.mark.parametrize(
    ("source", "outcome"),
    [
        ("print(6, flush=True)\nimport os\nos._exit(0)", "early_exit"),
        ("import os\nos.close(0); os.close(1)\nprint(6)", "failed"),
        ("import os\nos.closerange(0, 64)", "early_exit"),
        ("import threading, time\nprint(6)\nthreading.Thread(target=lambda: (time.sleep(0.2), print(7)), daemon=True).start()", "failed"),
        ("import threading, time\nprint(6)\nthreading.Thread(target=lambda: (time.sleep(0.2), print(7))).start()", "failed"),
        ("import os\nfor fd in range(3, 64):\n  try: os.write(fd, b'\\x05' + bytes(12) + b'6')\n  except OSError: pass\nprint(6)", "protocol_error"),
        ("import sys\nsys.exit(True)", "raised"),
        ("raise KeyboardInterrupt", "raised"),
        ("import os\nos.dup(1)\nprint(5)", "failed"),
    ],
)  # fmt: skip
def test_hostile_programs_get_their_one_outcome(runner: TestRunner, source: str, outcome: str) -> None:
    assert judged(runner, source).outcome == outcome


@pytest.mark.parametrize(
    ("got", "expected"),
    [
        ("6", "6\n"), ("6 \n\n", "6"), ("a  b", "a b"), ("1.0", "1.00"), ("1", "1.0"), ("0.3333333", "0.33333333"), ("", "\n"),
        ("1e3", "1000.0"), ("a\r\nb", "a\nb\n"), ("-0.0", "0.0"), ("+0.50", "0.5"), ("5e-1", "0.5"), ("00.5", ".5"), ("100000", "1e5"),
        ("1234567.891", "1234567.9"), ("1234567890", "1.234568e9"), ("1000000.12345679", "1000000.123456789"),
    ],
)  # fmt: skip
def test_texts_that_match(got: str, expected: str) -> None:
    assert outputs_match(got, expected)


@pytest.mark.parametrize(
    ("got", "expected"),
    [("6.0000001", "6"), ("07x", "7x"), ("a\n\nb", "a\nb"), ("nan", "1.0"), ("1.1", "1.0"), ("1 2", "1"), ("inf", "1.0"), ("", "6"), ("1_0", "10"), ("٣", "3"),
     ("00101", "101"), ("101", "00101"), ("+7", "7"), ("7.0", "7"), ("-0", "0"), ("1e2", "100"), ("-1.0", "1.0"), ("1.00001", "1.0"), ("True", "1"), ("0x1", "1")],
)  # fmt: skip
def test_texts_that_do_not_match(got: str, expected: str) -> None:
    assert not outputs_match(got, expected)


@given(st.integers(), st.from_regex(r"[+-]?0*\d{1,3}(\.0*)?(e0)?", fullmatch=True))
def test_only_the_same_digits_match_a_whole_number(number: int, digits: str) -> None:
    assert outputs_match(digits, str(number)) is (digits == str(number))


@given(st.decimals(-(10**9), 10**9, places=2), st.sampled_from(["0.01", "-0.01", "1", "-1"]))
def test_no_close_number_matches_one_with_a_point(number: Decimal, step: str) -> None:
    assert not outputs_match(str(number + Decimal(step)), str(number))
    assert outputs_match(f"{number:.6f}", str(number))


@given(st.lists(st.text("01.-", min_size=1, max_size=4), min_size=2, max_size=4), st.data())
def test_no_output_of_fewer_or_exchanged_words_matches(words: list[str], data: st.DataObject) -> None:
    place = data.draw(st.integers(1, len(words) - 1))
    expected = " ".join(words)
    assert not outputs_match(" ".join(words[:place]), expected)
    assert not outputs_match("\n".join([" ".join(words[:place]), *words[place:]]), expected)
    assert not outputs_match("".join(words), expected)


@given(st.text())
def test_a_text_matches_itself(text: str) -> None:
    assert first_difference(text, text) is None


@given(st.text("1.0a \n", max_size=12), st.text("1.0a \n", max_size=12))
def test_the_lines_before_the_first_difference_match_and_those_at_it_do_not(got: str, expected: str) -> None:
    difference = first_difference(got, expected)
    n_before = difference.line - 1 if difference else 12
    before = ["\n".join(text.split("\n")[:n_before]) for text in (got, expected)]
    assert outputs_match(*before)
    if difference and END not in (difference.got, difference.expected):
        assert not outputs_match(difference.got, difference.expected)


@pytest.mark.parametrize(
    ("got", "expected", "held"),
    [("[1, 2, 3]", "[1, ..., 3]", True), ("<A at 1>", "<A at ...>", True), ("ab", "a...ab", False), ("a  b", "a\nb", True), ("x", "...", True)],
)  # fmt: skip
def test_an_ellipsis_stands_for_anything(got: str, expected: str, held: bool) -> None:
    assert shows(got, expected) is held


def test_cases_are_one_each_and_other_checks_stay_whole() -> None:
    assert [case.source.count("case") for case in SUM.cases()] == [1, 1]
    assert all(case.kind == "program" for case in SUM.cases())
    assert Checks.from_asserts(["assert f(1)"]).cases() == (Checks.from_asserts(["assert f(1)"]),)
    assert not Checks.from_io([])
