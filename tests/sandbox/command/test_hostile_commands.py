"""No hostile command gets out, changes anything outside, or leaves a process behind; each ends as it has to."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest

from mlx_selfdebug.sandbox import run_confined
from tests.sandbox.command.corpus import ATTEMPTS, PROGRAMS, SUITES, Hostile
from tests.sandbox.command.running import (
    Outside,
    not_contained,
    outside,
    run_all,
    statuses_of,
    statuses_unconfined,
)
from tests.sandbox.test_escapes import python_of_others

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="the programs use Linux's ways out")]
ROOT = Path(__file__).parents[3]
# What is to be reached is not there on every machine, or for root alone.
MAY_LACK = {
    "reads the memory of a process outside", "sets an attribute outside", "connects by IPv6", "sends datagrams over a pair",
    "moves a file outside into its folder", "fetches a page",
}  # fmt: skip


@pytest.fixture(scope="module")
def there() -> Iterator[Outside]:
    with outside() as found:
        yield found


@pytest.fixture(scope="module")
def statuses(there: Outside) -> dict[str, int]:
    return statuses_of(ATTEMPTS, sys.executable, there)


@pytest.fixture(scope="module")
def wrong(there: Outside) -> dict[str, Future[tuple[str, ...]]]:
    return run_all(PROGRAMS, sys.executable, there)


@pytest.mark.parametrize("attempt", ATTEMPTS, ids=lambda attempt: attempt.name)
def test_an_attempt_fails_as_it_has_to(attempt: Hostile, statuses: dict[str, int]) -> None:
    assert not_contained([attempt], statuses) == {}


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
def test_a_program_ends_as_it_has_to(program: Hostile, wrong: dict[str, Future[tuple[str, ...]]]) -> None:
    assert wrong[program.name].result() == ()


def test_nothing_outside_has_changed_and_nobody_was_reached(
    statuses: dict[str, int], wrong: dict[str, Future[tuple[str, ...]]], there: Outside
) -> None:
    assert all(future.exception() is None for future in wrong.values())
    assert there.changes() == []


def test_the_attempts_on_what_is_outside_succeed_where_nothing_is_in_force() -> None:
    """Otherwise their failing would mean nothing. The others would do harm to this machine."""
    failed = {}
    for attempt in (each for each in ATTEMPTS if "x['" in each.source and "x['folder']" not in each.source):
        with outside() as there:
            failed |= {
                name: status for name, status in statuses_unconfined([attempt], sys.executable, there).items() if status
            }
    assert failed.keys() <= MAY_LACK


@pytest.mark.parametrize("name", SUITES)
def test_a_suite_changes_neither_pytest_nor_what_is_outside(name: str, there: Outside, tmp_path: Path) -> None:
    (tmp_path / "test_suite.py").write_text(SUITES[name])
    done = run_confined([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"], folder=tmp_path)
    assert done.ending == "exited", done
    assert "REPLACED" not in done.stdout
    assert there.changes() == []


def test_the_corpus_has_at_least_100_programs_of_different_names() -> None:
    names = [each.name for each in (*ATTEMPTS, *PROGRAMS)] + list(SUITES)
    assert len(set(names)) == len(names) >= 100


def test_all_is_the_same_for_another_user() -> None:
    command = [python_of_others(), "-m", "tests.sandbox.command.as_other_user"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found.pop("uid") != 0
    assert found == {"level": "full", "not contained": {}, "wrong": {}, "outside": []}
