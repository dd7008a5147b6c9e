"""What trackio's own storage has of a run is what the run's database holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mlx_selfdebug.config import flatten
from mlx_selfdebug.store import Run, open_stored
from mlx_selfdebug.tracking.tracker import run_name
from mlx_selfdebug.values.step import Step

from ..support.runs import make_run
from .read_back import expected, figures_of, run_python, trackio_runs

pytest.importorskip("trackio")
pytestmark = pytest.mark.slow  # each call imports trackio in a process of its own

SEND = "import json, sys; from mlx_selfdebug.tracking import send_run; print(json.dumps([vars(sent) for sent in send_run(sys.argv[1], 'trackio')]))"


def send(path: Path, folder: Path, **environment: str) -> dict[str, Any]:
    ended = run_python(SEND, str(path), TRACKIO_DIR=str(folder), **environment)
    assert ended.returncode == 0, ended.stderr
    [sent] = json.loads(ended.stdout)
    return dict(sent)


def test_every_figure_and_setting_is_read_back_as_it_is_in_the_database(tmp_path: Path) -> None:
    make_run(tmp_path / "run", tasks=6, pairs=4).close()
    sent = send(tmp_path / "run", tmp_path / "trackio")
    [stored] = trackio_runs(tmp_path / "trackio")
    assert stored["name"] == run_name(tmp_path / "run")
    assert figures_of(stored["logs"]) == expected(tmp_path / "run")
    assert sent["points"] == len(stored["logs"])
    with open_stored(tmp_path / "run") as run:
        settings = {key: value for key, value in flatten(run.config).items() if key != "track"}
    assert {key: value for key, value in stored["config"].items() if not key.startswith("_")} == settings


def test_a_resumed_run_goes_on_in_the_same_run_and_sends_only_what_is_new(tmp_path: Path) -> None:
    sent = []
    for end in (3, 3, 5):
        with Run(tmp_path / "run") as run:
            for step in range(end):
                run.add_step(Step(step, 2.0 * 0.9**step, 400, 1e-4, 0.7, 1.25))
        sent.append(send(tmp_path / "run", tmp_path / "trackio")["points"])
    assert sent == [3, 0, 2]
    [stored] = trackio_runs(tmp_path / "trackio")
    assert figures_of(stored["logs"]) == expected(tmp_path / "run")


def test_a_new_run_in_the_same_folder_is_another_run(tmp_path: Path) -> None:
    for begun in ("20200101-000000", "20200102-000000"):
        with Run(tmp_path / "run") as run:
            run.add_step(Step(0, 1.0, 400, 1e-4, 0.7, 1.25))
        (tmp_path / "run" / "tracking.json").write_text(json.dumps({"begun": begun}))
        assert send(tmp_path / "run", tmp_path / "trackio")["points"] == 1
    assert len(trackio_runs(tmp_path / "trackio")) == 2


def test_a_folder_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    with Run(tmp_path / "run") as run:
        run.add_step(Step(0, 1.0, 400, 1e-4, 0.7, 1.25))
    (tmp_path / "trackio").write_text("")
    program = SEND.replace("print(", "from mlx_selfdebug.errors import TrackingError\ntry: print(").replace(
        "'trackio')]))", "'trackio')]))\nexcept TrackingError as error: print(error)"
    )
    ended = run_python(program, str(tmp_path / "run"), TRACKIO_DIR=str(tmp_path / "trackio"))
    assert ended.returncode == 0, ended.stderr
    [line] = ended.stdout.splitlines()
    assert line.startswith("trackio: ")


SERVE = """
import sys, trackio
_, url, _, address = trackio.show(open_browser=False, block_thread=False)
print(address, flush=True)
sys.stdin.read()
"""


def test_a_server_that_the_user_has_configured_gets_the_points_once(tmp_path: Path) -> None:
    import os
    import subprocess
    import sys

    with Run(tmp_path / "run") as run:
        for step in range(4):
            run.add_step(Step(step, 2.0 * 0.9**step, 400, 1e-4, 0.7, 1.25))
    environment = {**os.environ, "TRACKIO_DIR": str(tmp_path / "server")}
    with subprocess.Popen(
        [sys.executable, "-c", SERVE], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        address = next(line.strip() for line in server.stdout if line.startswith("http"))
        try:
            sent = [send(tmp_path / "run", tmp_path / "here", TRACKIO_SERVER_URL=address)["points"] for _ in range(2)]
        finally:
            server.kill()
    assert sent == [4, 0]
    [stored] = trackio_runs(tmp_path / "server")
    assert figures_of(stored["logs"]) == expected(tmp_path / "run")
