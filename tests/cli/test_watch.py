"""``runs watch``: the page of a run that begins, is killed, is resumed and ends; and what is refused."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mlx_selfdebug.store import Run
from mlx_selfdebug.tasks.jsonl import dump_tasks
from mlx_selfdebug.testing import make_task

from .test_cli import run_cli
from .test_kill import DRAFTS, EXPRESSIONS, collect, heed_interrupts

pytestmark = pytest.mark.slow


@contextmanager
def watching(*args: str, cwd: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """``runs watch`` as it is typed, and the address that it prints."""
    command = [sys.executable, "-m", "mlx_selfdebug", "runs", "watch", *args, "--no-open"]
    with subprocess.Popen(
        command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heed_interrupts
    ) as process:
        assert process.stdout
        line = process.stdout.readline()
        try:
            yield process, line.split()[-1]
        finally:
            if process.poll() is None:
                process.kill()


def parts(url: str) -> dict[str, str]:
    with urllib.request.urlopen(f"{url}changes?since=0", timeout=10) as answer:
        changes: dict[str, dict[str, str]] = json.load(answer)
    return changes["parts"]


def eventually(seen: Callable[[], bool], seconds: float = 60.0) -> bool:
    end = time.monotonic() + seconds
    while not seen() and time.monotonic() < end:
        time.sleep(0.2)
    return seen()


def test_a_run_is_shown_before_it_begins_while_it_goes_on_when_it_is_killed_and_when_it_is_resumed(
    tmp_path: Path, tiny_folder: Path
) -> None:
    dump_tasks([make_task(f"f{i}", expression) for i, expression in enumerate(EXPRESSIONS)], tmp_path / "tasks.jsonl")
    with watching("cut", cwd=tmp_path) as (process, url):
        assert "Waiting for the run to begin." in parts(url)["sentence"]
        assert not (tmp_path / "cut").exists()
        running = collect(tmp_path, "cut", tiny_folder, samples=DRAFTS)
        assert eventually(lambda: bool(re.search(r"<dt>attempts</dt><dd>[1-9]", parts(url)["now"])))
        running.kill()
        running.wait()
        assert eventually(lambda: "the process that ran it is gone" in parts(url)["sentence"])
        assert "mlx-selfdebug run --run cut" in parts(url)["now"]
        again = collect(tmp_path, "cut", tiny_folder, samples=DRAFTS)
        assert eventually(lambda: "gone" not in parts(url)["sentence"])
        assert again.wait(timeout=120) == 0
        exported = run_cli("runs", "export", "cut", cwd=tmp_path).stdout
        n_attempts = exported.count('"type": "attempt"') - exported.count('"kind": "given"')
        assert n_attempts > len(EXPRESSIONS) * DRAFTS / 2
        shown = f"<dt>attempts</dt><dd>{n_attempts}</dd>"
        assert eventually(lambda: shown in parts(url)["now"])
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 0, stderr
    assert stdout == ""
    assert "Traceback" not in stderr


def test_a_port_can_be_chosen_and_one_that_is_in_use_is_refused(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = run_cli("runs", "watch", "run", "--port", str(port), "--no-open", cwd=tmp_path)
        assert result.returncode == 2
        assert f"Error: port {port} of 127.0.0.1 cannot be used" in result.stderr
        assert "help: choose another one with --port" in result.stderr
    with watching("run", "--port", str(port), cwd=tmp_path) as (_, url):
        assert url.startswith(f"http://127.0.0.1:{port}/")


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    result = run_cli("runs", "watch", str(tmp_path), "--no-open")
    assert result.returncode == 1
    assert "is not empty and not a run folder" in result.stderr


def test_a_damaged_run_is_refused_by_name(tmp_path: Path) -> None:
    Run(tmp_path / "run").close()
    (tmp_path / "run" / "run.db").write_text("nonsense")
    result = run_cli("runs", "watch", str(tmp_path / "run"), "--no-open")
    assert result.returncode == 1
    assert "run.db is damaged: it is not a database" in result.stderr


def test_the_page_is_opened_in_the_browser_that_is_set(tmp_path: Path) -> None:
    opened = tmp_path / "opened"
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {opened}\n')
    browser.chmod(0o755)
    command = [sys.executable, "-m", "mlx_selfdebug", "runs", "watch", "run", "--open"]
    environment = {**os.environ, "BROWSER": str(browser)}
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout
        url = process.stdout.readline().split()[-1]
        assert eventually(lambda: opened.exists() and opened.read_text().strip() == url, 20)
        process.kill()


def test_the_page_takes_no_mlx(tmp_path: Path) -> None:
    script = (
        "import sys, mlx_selfdebug.reporting.live; sys.exit(str([m for m in ('mlx', 'mlx_lm') if m in sys.modules]))"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stderr.strip() == "[]"
