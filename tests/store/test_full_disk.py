"""A disk that is really full: the error is clear, the database whole, and the run goes on once there is space."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

FILL = """
import json, sqlite3, sys
from contextlib import suppress
from pathlib import Path
from mlx_selfdebug.errors import StoreError
from mlx_selfdebug.store import Run, read_attempts, reading
from mlx_selfdebug.testing import make_attempt

folder, error, again = Path(sys.argv[1]), "", ""
LIMIT_START
try:
    with Run(folder / "run") as run:
        for sample in range(1000):
            run.add_attempt(make_attempt(sample=sample, code="x" * 10_000))
            if sample % 10 == 9:
                run.flush()
                flushed = sample + 1
except StoreError as caught:
    error = str(caught)
with reading(folder / "run") as db:
    stored = len(list(read_attempts(db)))
    check = db.execute("PRAGMA integrity_check").fetchone()[0]
with suppress(OSError), open(folder / "rest", "wb", buffering=0) as rest:
    while True:
        rest.write(bytes(1000))
with suppress(OSError), open(folder / "rest", "ab", buffering=0) as rest:
    while True:
        rest.write(bytes(1))
try:
    with Run(folder / "run") as run:
        run.add_attempt(make_attempt(sample=4000, code="x" * 3_000_000))
except StoreError as caught:
    again = str(caught)
(folder / "rest").unlink()
LIMIT_END
with Run(folder / "run") as run:
    there = len(run.attempts())
    run.add_attempt(make_attempt(sample=5000, code="x" * 100_000))
    after = len(run.attempts())
print(json.dumps({"error": error, "again": again, "flushed": flushed, "stored": stored, "check": check, "there": there, "after": after}))
"""
FILLER = 'filler = folder / "filler"; filler.write_bytes(bytes(2_000_000))', "filler.unlink()"
RESOURCE = (
    "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))",
    "resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))",
)
MOUNT = 'mount -t tmpfs -o size=4m none "$1" && exec "$2" -c "$3" "$1"'
IN_A_SMALL_DISK = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", MOUNT, "sh"]


def fill(command: list[str]) -> dict[str, Any]:
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
    result: dict[str, Any] = json.loads(ended.stdout)
    return result


def program(start: str, end: str) -> str:
    return FILL.replace("LIMIT_START", start).replace("LIMIT_END", end)


def may_mount() -> bool:
    trial = ["unshare", "--user", "--map-root-user", "--mount", "true"]
    return shutil.which("unshare") is not None and subprocess.run(trial, capture_output=True).returncode == 0


@pytest.fixture(scope="module", params=["a disk of 4 MB", "files of 1 MB at most"])
def result(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a run found that was written until nothing more could be."""
    folder = tmp_path_factory.mktemp("disk")
    if request.param == "files of 1 MB at most":
        return fill([sys.executable, "-c", program(*RESOURCE), str(folder)])
    if not may_mount():
        pytest.skip("no small disk can be mounted here")
    return fill([*IN_A_SMALL_DISK, str(folder), sys.executable, program(*FILLER)])


def test_the_error_names_the_file_and_what_is_kept(result: dict[str, Any]) -> None:
    assert "run.db cannot be written: " in result["error"]
    assert "what was stored before is kept" in result["error"]


def test_opening_the_run_while_the_disk_is_full_is_as_clear(result: dict[str, Any]) -> None:
    assert "run.db cannot be written: " in result["again"]


def test_the_database_is_whole_and_holds_all_that_was_flushed(result: dict[str, Any]) -> None:
    assert result["check"] == "ok"
    assert result["stored"] >= result["flushed"] > 0


def test_the_run_goes_on_once_there_is_space(result: dict[str, Any]) -> None:
    assert result["there"] == result["stored"]
    assert result["after"] == result["there"] + 1


def test_a_run_that_cannot_even_be_begun_says_so_and_leaves_no_half_database(tmp_path: Path) -> None:
    code = (
        "import resource, sys\nfrom mlx_selfdebug.store import Run\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))\nRun(sys.argv[1])\n"
    )
    ended = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=60)
    assert "StoreError" in ended.stderr
    assert "cannot be" in ended.stderr
    assert list(tmp_path.glob("run.db*")) == []
