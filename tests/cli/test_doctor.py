from __future__ import annotations

import json
import os
import subprocess
import sys


def doctor(*args: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mlx_selfdebug", "doctor", *args]
    env = {**os.environ, "HF_HUB_OFFLINE": "1", **environment}
    return subprocess.run(command, capture_output=True, text=True, env=env, timeout=120)


def test_json_holds_every_finding_and_the_worst_state() -> None:
    result = doctor("--json")
    report = json.loads(result.stdout)
    assert {"name", "state", "value", "remedy"} == set(report["findings"][0])
    assert report["state"] in {"ok", "warning", "problem"}
    assert result.returncode == (report["state"] == "problem")


def test_no_line_is_wider_than_the_terminal() -> None:
    result = doctor(COLUMNS="80")
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert "HF_HUB_OFFLINE" in result.stdout


def test_a_terminal_narrower_than_the_first_columns_is_no_error() -> None:
    result = doctor(COLUMNS="20")
    assert result.stderr == ""
    assert "HF_HUB_OFFLINE" in result.stdout


def test_a_home_that_is_not_there_is_no_traceback() -> None:
    result = doctor(HOME="/nowhere/at/all")
    assert "Traceback" not in result.stderr
    assert "cache" in result.stdout
