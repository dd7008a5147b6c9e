"""The parts of the page follow the run: before it begins, while it goes on, when it is killed, resumed and finished."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mlx_selfdebug.errors import StoreError
from mlx_selfdebug.reporting.live import page, state, watcher
from mlx_selfdebug.reporting.live.page import PARTS, SLOW
from mlx_selfdebug.reporting.live.watcher import Watcher
from mlx_selfdebug.reporting.records import read_records
from mlx_selfdebug.reporting.report import report_html
from mlx_selfdebug.store import Family, ProgressFile, Run, open_stored, under_way
from mlx_selfdebug.testing import make_attempt
from mlx_selfdebug.values.step import Step

from ...store.test_schema import make_first_version
from ...support.runs import HOSTILE, make_run
from ..test_report import Reader
from .test_attempts import draft, repair_of
from .test_state import KILLED, closed_long_ago


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("finished") / "run"
    with make_run(path) as run:
        run.summary_path.write_text("{}")
    return path


def begin(run: Run, stage: str) -> None:
    run.remember(Family.MACHINE.key(stage), {"versions": {}, "hardware": {}})


def parts_of(path: Path) -> dict[str, str]:
    """All parts, as one look and one rendering make them."""
    looking = Watcher(path)
    looking.look()
    looking.render()
    return dict(looking.changes().parts)


def text_of(html: str) -> str:
    return " ".join(" ".join(Reader(html).texts).split())


def test_a_run_that_has_not_begun_is_waited_for_and_shown_when_it_begins(tmp_path: Path) -> None:
    looking = Watcher(tmp_path / "a run")
    looking.look()
    waiting = looking.changes()
    assert "Waiting for the run to begin." in waiting.parts["sentence"]
    assert f"mlx-selfdebug run --run '{tmp_path}/a run'" in text_of(waiting.parts["now"])
    with Run(tmp_path / "a run") as run:
        begin(run, "collect")
        looking.look()
    assert "Collecting attempts." in looking.changes(waiting.version).parts["sentence"]


def test_a_stage_under_way_is_shown_with_how_far_it_has_come_and_its_figures(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(under_way, "INTERVAL_S", 0.0)
    begin(run, "collect")
    for attempt in (draft(0), repair_of(draft(0)), make_attempt(sample=1)):
        run.add_attempt(attempt)
    run.flush()
    with ProgressFile(run.path).stage("collect", 30, "tasks") as stage:
        stage.advance(12, "7 solved")
        parts = parts_of(run.path)
    now = text_of(parts["now"])
    assert "12 of 30 tasks · 7 solved" in now
    assert "attempts 3 2 passed" in now
    assert "repairs 1 right, of 1 that were made" in now
    assert "of 6.00 GB allowed" in now
    assert f"process {os.getpid()}" in now


def test_the_memory_of_a_stage_under_way_is_drawn_before_the_stage_has_stored_it(run: Run) -> None:
    begin(run, "collect")
    looking = Watcher(run.path)
    looking.look()
    time.sleep(1.1)  # a shorter stage is not drawn
    looking.look()
    looking.render()
    html = looking.changes().parts["memory"]
    assert "<svg" in html
    assert "GB of 6.00 GB allowed (dashed)" in html


def test_the_newest_repairs_are_shown_with_their_facts_and_changes(run: Run) -> None:
    hostile = draft(0, code=f"x = {HOSTILE!r}\n")
    run.add_attempt(hostile)
    run.add_attempt(repair_of(hostile, code="x = 1\n", prompt=HOSTILE))
    run.flush()
    html = parts_of(run.path)["repairs"]
    reader = Reader(html)
    assert reader.open == []
    assert not {"script", "img"} & set(reader.tags)
    assert any(HOSTILE in text for text in reader.texts)
    assert "repair, passed: test/square (collect, sample 0, round 1)" in text_of(html)
    assert '<span class="add">' in html


def test_the_loss_of_a_training_under_way_is_shown_and_drawn_as_it_falls(run: Run) -> None:
    begin(run, "train")
    run.add_step(Step(0, 1.25, 500, 1e-4, 0.8, 10.0))
    looking = Watcher(run.path)
    looking.look()
    first = looking.changes()
    assert "loss 1.250 nats per token, after step 1" in text_of(first.parts["now"])
    assert "tokens/s 50 supervised" in text_of(first.parts["now"])
    run.add_step(Step(1, 0.75, 500, 1e-4, 0.8, 10.0))
    looking.look()
    later = looking.changes(first.version).parts
    assert "loss 0.750 nats per token, after step 2" in text_of(later["now"])
    assert later["training"].count("<svg") == 1


def test_what_has_not_changed_is_not_sent_again(finished: Path) -> None:
    looking = Watcher(finished)
    looking.look()
    looking.render()
    version = looking.changes().version
    looking.look()
    looking.render()
    assert looking.changes(version).parts == {}
    assert set(looking.changes().parts) == set(PARTS)


def test_several_pages_cost_one_computation(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looking = Watcher(finished)
    looking.look()
    monkeypatch.setattr(watcher, "open_stored", None)
    assert looking.changes().parts == looking.changes().parts != {}


def test_the_sections_are_those_of_the_report(finished: Path) -> None:
    with open_stored(finished, leave_nothing=True) as run:
        report = report_html(read_records(run))
    parts = parts_of(finished)
    for name in (*page.QUICK, *SLOW):
        assert parts[name]
        assert parts[name] in report, name


def test_a_finished_run_is_shown_with_its_headline_and_a_link_to_its_report(finished: Path) -> None:
    parts = parts_of(finished)
    assert "This run is finished." in parts["sentence"]
    assert "href" not in parts["now"]
    assert "Evaluated on 40 problems" in parts["headline"]
    assert parts["repairs"] == parts["arms"] == ""
    (finished / "report.html").write_text("the report")
    assert 'href="report.html"' in parts_of(finished)["now"]


def test_a_run_whose_process_was_killed_says_so_and_how_to_resume_it_and_goes_on_when_it_is(tmp_path: Path) -> None:
    path = tmp_path / "run"
    subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
    looking = Watcher(path)
    looking.look()
    stopped = looking.changes()
    assert "Stopped: the process that ran it is gone." in stopped.parts["sentence"]
    assert f"mlx-selfdebug run --run {path}" in stopped.parts["now"]
    with Run(path) as run:
        begin(run, "train")
        looking.look()
        assert "Training on pairs." in looking.changes(stopped.version).parts["sentence"]
    closed_long_ago(path)
    looking.look()
    assert "Stopped: no process has the run open." in looking.changes().parts["sentence"]


def test_a_run_that_was_replaced_by_another_is_shown_anew(tmp_path: Path) -> None:
    path = tmp_path / "run"
    looking = Watcher(path)
    for n in (3, 1):
        with Run(path) as run:
            for sample in range(n):
                run.add_attempt(make_attempt(sample=sample))
            run.flush()
            looking.look()
            assert f"attempts {n} " in text_of(looking.changes().parts["now"])
        shutil.rmtree(path)


def test_looking_leaves_the_folder_as_it_is(finished: Path) -> None:
    before = {file.name: (file.stat().st_mtime_ns, file.stat().st_size) for file in finished.iterdir()}
    parts_of(finished)
    assert {file.name: (file.stat().st_mtime_ns, file.stat().st_size) for file in finished.iterdir()} == before


def test_a_run_of_an_older_version_is_refused_with_what_helps(tmp_path: Path) -> None:
    make_first_version(tmp_path / "old")
    with pytest.raises(StoreError, match="has schema version 1") as caught:
        Watcher(tmp_path / "old").start()
    assert "runs upgrade" in str(caught.value.hint)


def eventually(seen: Callable[[], bool], seconds: float = 10.0) -> bool:
    end = time.monotonic() + seconds
    while not seen() and time.monotonic() < end:
        time.sleep(0.05)
    return seen()


@pytest.fixture
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOOK_S", "RENDER_S", "TICK_S"):
        monkeypatch.setattr(watcher, name, 0.02)
    for name in ("LOOK_SHARE", "RENDER_SHARE"):
        monkeypatch.setattr(watcher, name, 1.0)


@pytest.mark.usefixtures("quickly")
def test_the_thread_follows_the_run_and_shows_an_error_only_as_long_as_it_lasts(tmp_path: Path) -> None:
    path = tmp_path / "run"
    looking = Watcher(path)
    looking.start()
    try:
        with Run(path) as run:
            assert eventually(lambda: "Under way" in looking.changes().parts["sentence"])
            run.add_attempt(make_attempt())
            assert eventually(lambda: "<td" in looking.changes().parts["arms"])
        (path / "run.db").rename(path / "kept")
        (path / "run.db").write_text("nonsense")
        assert eventually(lambda: "cannot be read" in looking.changes().parts["sentence"])
        assert "restore it from a copy" in looking.changes().parts["now"]
        (path / "kept").rename(path / "run.db")
        assert eventually(lambda: "cannot be read" not in looking.changes().parts["sentence"])
        assert eventually(lambda: "settings" in looking.changes().parts)
    finally:
        looking.close()
    looking.close()


@pytest.mark.usefixtures("quickly")
def test_without_a_page_open_the_run_is_hardly_looked_at(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watcher, "OPEN_S", 0.0)
    looks: list[float] = []
    monkeypatch.setattr(watcher, "read_state", lambda path: looks.append(time.monotonic()) or state.read_state(path))
    looking = Watcher(finished)
    looking.start()
    time.sleep(1.0)
    looking.close()
    assert len(looks) <= 2
