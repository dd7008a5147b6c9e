"""Attempts are committed in batches, soon, in order, and by a thread that nobody waits for."""

from __future__ import annotations

import gc
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from mlx_selfdebug.errors import StoreError
from mlx_selfdebug.store import Run, read_attempts, reading
from mlx_selfdebug.testing import make_attempt
from mlx_selfdebug.values.pair import Pair

SLACK_S = 1.0  # for a machine that is busy with other things


def samples_on_disk(path: Path) -> list[int]:
    with reading(path) as db:
        return [attempt.sample for attempt in read_attempts(db)]


@pytest.fixture
def full_run(tmp_path: Path) -> Iterator[Run]:
    """A run whose database may not grow any more, as on a full disk; it has a page for a row or two."""

    def limit(db: sqlite3.Connection) -> None:
        pages = db.execute("PRAGMA page_count").fetchone()[0]
        db.execute(f"PRAGMA max_page_count = {pages}").fetchone()

    run = Run(tmp_path / "run")
    run._writer.call(limit)
    yield run
    with suppress(StoreError):
        run.close()


def test_an_attempt_is_on_disk_soon_after_it_was_added(run: Run) -> None:
    run.add_attempt(make_attempt())
    end = time.monotonic() + SLACK_S
    while not samples_on_disk(run.path) and time.monotonic() < end:
        time.sleep(0.005)
    assert samples_on_disk(run.path) == [0]


def test_what_was_added_is_seen_at_once_by_the_same_run(run: Run) -> None:
    for sample in range(20):
        run.add_attempt(make_attempt(sample=sample))
        assert len(run.attempts()) == sample + 1


def test_a_burst_of_attempts_shares_few_commits(run: Run) -> None:
    run.flush()
    before = os.stat(run.path / "run.db-wal").st_size
    for sample in range(256):
        run.add_attempt(make_attempt(sample=sample))
    run.flush()
    pages = (os.stat(run.path / "run.db-wal").st_size - before) / 4096
    assert pages < 256  # each commit writes two pages or more


def test_flush_waits_until_all_is_on_disk(run: Run) -> None:
    for sample in range(10):
        run.add_attempt(make_attempt(sample=sample))
    run.flush()
    assert samples_on_disk(run.path) == list(range(10))


def test_leaving_the_run_stores_what_was_added_last(tmp_path: Path) -> None:
    with Run(tmp_path / "run") as run:
        run.add_attempt(make_attempt())
    assert samples_on_disk(run.path) == [0]


def test_an_interrupted_block_stores_what_was_added_last(tmp_path: Path) -> None:
    def work() -> None:
        with Run(tmp_path / "run") as run:
            run.add_attempt(make_attempt())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert samples_on_disk(tmp_path / "run") == [0]


def test_a_run_nobody_closed_is_stored_when_it_is_collected(tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    run.add_attempt(make_attempt())
    del run
    gc.collect()
    with Run(tmp_path / "run") as again:
        assert len(again.attempts()) == 1


def test_a_program_that_ends_without_closing_its_run_loses_nothing(tmp_path: Path) -> None:
    code = (
        "from mlx_selfdebug.store import Run\nfrom mlx_selfdebug.testing import make_attempt\n"
        f"run = Run({str(tmp_path / 'run')!r})\nrun.add_attempt(make_attempt())\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert samples_on_disk(tmp_path / "run") == [0]


def test_a_forked_child_that_ends_normally_neither_hangs_nor_lets_go_of_the_run(tmp_path: Path) -> None:
    code = (
        "import os, sys, warnings\nfrom mlx_selfdebug.store import Run\nwarnings.simplefilter('ignore')\n"
        f"run = Run({str(tmp_path)!r})\nif not os.fork(): sys.exit(0)\nos.wait()\n"
        f"print(open({str(tmp_path / 'run.lock')!r}).read())"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert ended.stdout.startswith("process ")


def test_two_attempts_of_the_same_id_and_different_keys_are_an_error_not_a_loss(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.add_attempt(make_attempt(arm="a", task_id="b:c"))
    run.add_attempt(make_attempt(arm="a:b", task_id="c"))
    with pytest.raises(StoreError, match=r"UNIQUE constraint failed: attempts\.id"):
        run.close()


def test_a_closed_run_takes_nothing_and_says_so(tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    run.close()
    run.close()
    with pytest.raises(StoreError, match="is closed"):
        run.add_attempt(make_attempt())
    with pytest.raises(StoreError, match="is closed"):
        run.attempts()


def test_several_threads_may_add_attempts_and_each_sees_its_own(run: Run) -> None:
    missing = []

    def add(arm: str) -> None:
        for sample in range(30):
            run.add_attempt(make_attempt(arm=arm, sample=sample))
            if len(run.attempts(arm)) != sample + 1:
                missing.append((arm, sample))

    threads = [threading.Thread(target=add, args=(f"arm{i}",)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert missing == []
    assert len(run.attempts()) == 120


def test_pairs_that_cannot_be_stored_leave_the_old_ones(full_run: Run) -> None:
    old = [Pair("direct", "python", "t", "prompt", "target", ("a",))]
    full_run.replace_pairs(old)
    with pytest.raises(StoreError, match="full; what was stored before is kept"):
        full_run.replace_pairs([Pair("direct", "python", "t", "prompt", "x" * 200_000, ("a",))])
    assert full_run.pairs() == old


def test_a_write_that_failed_is_raised_by_the_next_attempt_and_says_what_is_kept(full_run: Run) -> None:
    full_run.add_attempt(make_attempt(code="x" * 100_000))
    while not full_run._writer._error:
        time.sleep(0.005)
    with pytest.raises(StoreError, match="full; what was stored before is kept, but 2 attempts are not stored"):
        full_run.add_attempt(make_attempt(sample=1))


@pytest.mark.parametrize("wait", [Run.flush, Run.close, Run.attempts, Run.pairs])
def test_a_write_that_failed_is_raised_by_whatever_waits(full_run: Run, wait: Callable[[Run], object]) -> None:
    full_run.add_attempt(make_attempt(code="x" * 100_000))
    with pytest.raises(StoreError, match="full; what was stored before is kept, but 1 attempt is not stored"):
        wait(full_run)


def test_attempts_before_the_one_that_failed_are_stored(full_run: Run) -> None:
    full_run.add_attempt(make_attempt())
    full_run.add_attempt(make_attempt(sample=1, code="x" * 100_000))
    with pytest.raises(StoreError, match="1 attempt is not"):
        full_run.flush()
    assert samples_on_disk(full_run.path) == [0]


def test_the_error_under_way_is_not_hidden_by_that_of_closing(full_run: Run) -> None:
    def work() -> None:
        with full_run:
            full_run.add_attempt(make_attempt(code="x" * 100_000))
            full_run.flush()

    with pytest.raises(StoreError) as caught:
        work()
    assert not isinstance(caught.value.__context__, StoreError)


KILLED = """
import sys, time
from mlx_selfdebug.store import Run
from mlx_selfdebug.testing import make_attempt
run = Run(sys.argv[1])
for sample in range(100_000):
    run.add_attempt(make_attempt(sample=sample))
    print(sample, time.monotonic(), flush=True)
    time.sleep(0.001)
"""


def kill(path: Path) -> set[int]:
    """Attempts added a tenth of a second before a process was killed, or earlier, that are not on disk."""
    with subprocess.Popen([sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        lines = [process.stdout.readline() for _ in range(300)]
        process.send_signal(signal.SIGKILL)
        killed = time.monotonic()
        lines += process.stdout.readlines()
    stored = samples_on_disk(path)
    assert stored == list(range(len(stored)))
    return {int(line.split()[0]) for line in lines if float(line.split()[1]) < killed - 0.1} - set(stored)


def test_a_killed_process_loses_no_attempt_older_than_a_tenth_of_a_second(tmp_path: Path) -> None:
    # Another program may keep the disk or the cores busy for longer than that; not three times.
    assert any(kill(tmp_path / f"run{i}") == set() for i in range(3))
