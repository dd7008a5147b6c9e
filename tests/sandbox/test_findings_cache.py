"""What the probes have found is kept while it must still be true, and believed only if nobody else can have written it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mlx_selfdebug.machine.cache_folder import CACHE_VARIABLE
from mlx_selfdebug.sandbox.findings_cache import MAX_AGE_S, cached_findings
from mlx_selfdebug.sandbox.probes import Findings, Probe

BEST = Findings({"seccomp": "a filter"}, frozenset({"seccomp"}), (Probe("write a file", "files", True),))


class Prober:
    """A finder of findings that counts its calls."""

    def __init__(self, findings: Findings = BEST) -> None:
        self.findings, self.calls = findings, 0

    def __call__(self) -> Findings:
        self.calls += 1
        return self.findings


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    return tmp_path / "isolation"


def kept(folder: Path) -> Path:
    assert cached_findings(("runs",), Prober()) == BEST
    [file] = folder.iterdir()
    return file


def edit(**changes: object) -> Callable[[Path], None]:
    return lambda file: file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def replace_by_link(file: Path) -> None:
    file.rename(file.with_suffix(".elsewhere"))
    file.symlink_to(file.with_suffix(".elsewhere"))


def age(file: Path) -> None:
    os.utime(file, (0, time.time() - MAX_AGE_S - 1))


def give_away(file: Path) -> None:
    os.chown(file, 12345, -1)


WAYS = {
    "older than a day": age,
    "from the future": lambda file: os.utime(file, (0, time.time() + 60)),
    "writable by a group": lambda file: file.chmod(0o620),
    "writable by everybody": lambda file: file.chmod(0o602),
    "a link": replace_by_link,
    "a folder": lambda file: (file.unlink(), file.mkdir()),
    "a pipe": lambda file: (file.unlink(), os.mkfifo(file)),
    "empty": lambda file: file.write_text(""),
    "no findings": lambda file: file.write_text("[]"),
    "an attempt that was not stopped": edit(probes=[["write a file", "files", False]]),
    "an attempt of which nothing is known": edit(probes=[["write a file", "files", None]]),
    "of another start of the machine": edit(surroundings={"boot": "another"}),
}


def test_probes_are_made_once_for_what_is_the_same(folder: Path) -> None:
    prober = Prober()
    assert [cached_findings(("runs",), prober) for _ in range(3)] == [BEST] * 3
    assert prober.calls == 1


def test_other_processes_are_probed_for_themselves(folder: Path) -> None:
    prober = Prober()
    cached_findings(("runs",), prober)
    cached_findings(("commands",), prober)
    assert prober.calls == 2


def test_probes_are_made_afresh_where_that_is_asked_for(folder: Path) -> None:
    prober = Prober()
    cached_findings(("runs",), prober)
    cached_findings(("runs",), prober, afresh=True)
    assert prober.calls == 2


@pytest.mark.parametrize("held", [False, None])
def test_only_the_best_result_is_kept(held: bool | None, folder: Path) -> None:
    prober = Prober(Findings({}, frozenset(), (Probe("write a file", "files", held),)))
    cached_findings(("runs",), prober)
    cached_findings(("runs",), prober)
    assert prober.calls == 2


@pytest.mark.parametrize("way", WAYS)
def test_findings_that_may_not_hold_are_found_again(way: str, folder: Path) -> None:
    WAYS[way](kept(folder))
    prober = Prober()
    assert cached_findings(("runs",), prober) == BEST
    assert prober.calls == 1


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give a file away")
def test_findings_of_another_user_are_not_believed(folder: Path) -> None:
    give_away(kept(folder))
    prober = Prober()
    cached_findings(("runs",), prober)
    assert prober.calls == 1


def test_a_file_that_was_kept_too_long_is_removed_with_the_next_one(folder: Path) -> None:
    old = kept(folder)
    age(old)
    cached_findings(("commands",), Prober())
    assert not old.exists()


def test_where_nothing_can_be_kept_the_probes_are_made_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "file"))
    prober = Prober()
    assert [cached_findings(("runs",), prober) for _ in range(2)] == [BEST] * 2
    assert prober.calls == 2


def test_the_next_program_finds_what_this_machine_was_seen_to_stop(folder: Path) -> None:
    script = "from mlx_selfdebug.sandbox import describe_isolation as d; print(sorted(d().in_force), [p.held for p in d().probes])"
    command = [sys.executable, "-c", script]
    first, second = (subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(2))
    assert first == second
    assert len(list(folder.iterdir())) == 1
