"""Progress as lines of text, where there is no terminal."""

from __future__ import annotations

import io
import re
from contextlib import suppress

import pytest

from mlx_selfdebug import progress as progress_module
from mlx_selfdebug.cli.progress import progress
from mlx_selfdebug.progress import Lines, NullProgress


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: now[0])
    return now


def test_a_line_a_minute_says_what_is_done_how_fast_and_what_is_left(clock: list[float]) -> None:
    file = io.StringIO()
    with Lines(file).stage("collect", total=300, unit="tasks") as stage:
        for _ in range(9):
            clock[0] += 15
            stage.advance(20, note="drafts")
    first, second, last = file.getvalue().splitlines()
    assert first == "collect: 80 of 300 tasks, 1.33 per second, 2 min 45 s left (drafts)"
    assert second.startswith("collect: 160 of 300 tasks")
    assert last.startswith("collect: 180 of 300 tasks")


def test_a_short_stage_writes_nothing(clock: list[float]) -> None:
    file = io.StringIO()
    with Lines(file).stage("read", total=3) as stage:
        clock[0] += 59
        stage.advance(3)
    assert file.getvalue() == ""


def test_bytes_are_shown_as_megabytes_and_an_unknown_total_is_left_out(clock: list[float]) -> None:
    file = io.StringIO()
    with Lines(file).stage("download", unit="B") as stage:
        clock[0] += 60
        stage.advance(120_000_000)
    assert file.getvalue().splitlines()[0] == "download: 120.0 MB, 2.0 MB per second, 1 min 00 s"


def test_a_stage_that_ends_by_an_error_writes_no_last_line(clock: list[float]) -> None:
    file = io.StringIO()
    with suppress(KeyError), Lines(file).stage("train", total=10, unit="steps") as stage:
        clock[0] += 60
        stage.advance()
        raise KeyError
    assert len(file.getvalue().splitlines()) == 1


def test_output_in_a_pipe_gets_lines_and_quiet_gets_nothing() -> None:
    assert isinstance(progress(quiet=False), Lines)
    assert isinstance(progress(quiet=True), NullProgress)


def test_no_line_holds_a_control_character(clock: list[float]) -> None:
    file = io.StringIO()
    with Lines(file, interval_s=0.0).stage("train", total=3, unit="steps") as stage:
        stage.advance()
    assert not re.search(r"[^\x20-\x7e\n]", file.getvalue())
