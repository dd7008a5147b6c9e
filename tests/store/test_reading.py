"""A run can be read without anything being left in its folder, whether it is closed, in use or was killed."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlx_selfdebug.errors import StoreError
from mlx_selfdebug.store import Run, open_stored
from mlx_selfdebug.testing import make_attempt

WRITE = """
import sys
from mlx_selfdebug.store import Run
from mlx_selfdebug.testing import make_attempt
with Run(sys.argv[1]) as run:
    for line in sys.stdin:
        run.add_attempt(make_attempt(sample=int(line)))
        run.flush()
        print("stored", flush=True)
"""


class Writer:
    """Another process that has the run at ``path`` open."""

    def __init__(self, path: Path) -> None:
        command = [sys.executable, "-c", WRITE, str(path)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def store(self, sample: int) -> None:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(f"{sample}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "stored\n"

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.end()

    def end(self) -> None:
        self.process.communicate()


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[Writer]:
    writer = Writer(tmp_path / "run")
    yield writer
    if writer.process.poll() is None:
        writer.end()


def files(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(path.iterdir())}


def samples(path: Path) -> list[int]:
    with open_stored(path, leave_nothing=True) as run:
        return [attempt.sample for attempt in run.attempts()]


def test_a_closed_run_is_read_and_left_as_it_was(tmp_path: Path) -> None:
    with Run(tmp_path / "run") as run:
        run.add_attempt(make_attempt())
    before = files(run.path)
    assert samples(run.path) == [0]
    assert files(run.path) == before


def test_what_a_process_has_just_stored_is_read_while_it_goes_on(tmp_path: Path, writer: Writer) -> None:
    for sample in range(3):
        writer.store(sample)
        names = set(files(tmp_path / "run"))
        assert samples(tmp_path / "run") == list(range(sample + 1))
        assert set(files(tmp_path / "run")) == names


def test_a_run_that_was_killed_is_read_with_what_its_log_holds_and_left_as_it_was(
    tmp_path: Path, writer: Writer
) -> None:
    writer.store(0)
    writer.store(1)
    writer.kill()
    before = files(tmp_path / "run")
    assert before["run.db-wal"]
    assert samples(tmp_path / "run") == [0, 1]
    assert files(tmp_path / "run") == before


def test_a_killed_run_is_read_on_once_it_was_resumed(tmp_path: Path, writer: Writer) -> None:
    writer.store(0)
    writer.kill()
    assert samples(tmp_path / "run") == [0]
    again = Writer(tmp_path / "run")
    again.store(1)
    assert samples(tmp_path / "run") == [0, 1]
    again.end()
    assert samples(tmp_path / "run") == [0, 1]


def test_a_writer_is_not_kept_from_tidying_up(tmp_path: Path, writer: Writer) -> None:
    writer.store(0)
    assert samples(tmp_path / "run") == [0]
    writer.end()
    assert set(files(tmp_path / "run")) == {"config.toml", "run.db", "run.lock"}


def test_a_log_without_its_index_is_refused_with_what_helps(tmp_path: Path, writer: Writer) -> None:
    writer.store(0)
    writer.kill()
    (tmp_path / "run" / "run.db-shm").unlink()
    before = files(tmp_path / "run")
    with pytest.raises(StoreError, match="its log has no index") as caught:
        samples(tmp_path / "run")
    assert f"runs upgrade {tmp_path / 'run'}" in str(caught.value.hint)
    assert files(tmp_path / "run") == before
    Run(tmp_path / "run").close()
    assert samples(tmp_path / "run") == [0]


def test_attempts_are_found_by_their_ids(run: Run) -> None:
    made = [make_attempt(sample=sample) for sample in range(3)]
    for attempt in made:
        run.add_attempt(attempt)
    assert run.attempts_by_id([made[2].id, "nowhere", made[0].id]) == {a.id: a for a in (made[0], made[2])}
    assert run.attempts_by_id([]) == {}
