"""The command ``push``: what it prints where, its exit codes, and what it does not do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ..support.hub import Hub, running_hub
from ..support.small import write_adapter

pytestmark = pytest.mark.slow

REPO = "me/coder"


def call(hub: Hub, home: Path, *words: str, token: str = "hf_secret") -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "HF_ENDPOINT": hub.address, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "HF_TOKEN": token}
    command = [sys.executable, "-m", "mlx_selfdebug", "push", *words]
    return subprocess.run(command, capture_output=True, text=True, env=env, timeout=120, check=False)


@pytest.fixture
def adapter(tmp_path: Path) -> str:
    return str(write_adapter(tmp_path / "adapter"))


def test_the_address_and_how_it_is_used_are_printed(tmp_path: Path, adapter: str) -> None:
    with running_hub() as hub:
        done = call(hub, tmp_path, adapter, REPO)
        assert done.returncode == 0, done.stderr
        assert set(hub.repositories[REPO].files) == {"README.md", "adapter_config.json", "adapters.safetensors"}
    first, _, *use = done.stdout.splitlines()
    assert first == f"uploaded: {hub.address}/{REPO} (private)"
    assert use[0] == f"hf download {REPO} --local-dir adapter"
    assert done.stderr == f"uploading 3 files, 0.0 MB, to {REPO}\n"


def test_a_dry_run_lists_every_file_with_its_size_and_asks_the_hub_nothing(tmp_path: Path, adapter: str) -> None:
    with running_hub() as hub:
        done = call(hub, tmp_path, adapter, REPO, "--dry-run", token="")
        assert (done.returncode, hub.asked) == (0, [])
    for name in ("README.md", "adapter_config.json", "adapters.safetensors"):
        assert name in done.stdout
    assert "5,010 bytes" in done.stdout
    assert f"{REPO} (private if it is new)" in done.stdout


def test_json_says_what_was_done(tmp_path: Path, adapter: str) -> None:
    with running_hub() as hub:
        done = call(hub, tmp_path, adapter, REPO, "--json", "--public")
    outcome = json.loads(done.stdout)
    assert (outcome["address"], outcome["private"], outcome["changed"]) == (f"{hub.address}/{REPO}", False, True)
    assert {"name": "adapters.safetensors", "bytes": 5010} in outcome["files"]


def test_without_a_token_nothing_is_asked_and_one_line_helps(tmp_path: Path, adapter: str) -> None:
    with running_hub() as hub:
        done = call(hub, tmp_path, adapter, REPO, token="")
        assert (done.returncode, hub.asked) == (1, [])
    assert done.stderr.splitlines()[1:] == [
        "Error: you are not logged in to the hub",
        "  help: run: hf auth login   (or set HF_TOKEN to a token that may write)",
    ]


def test_a_token_is_in_no_output_even_with_the_traceback(tmp_path: Path, adapter: str) -> None:
    with running_hub() as hub:
        done = call(hub, tmp_path, adapter, REPO, "--debug", token="hf_s\u00e9cret")
    assert done.returncode != 0
    assert "cret" not in done.stdout + done.stderr


def test_a_wrong_name_is_a_mistake_of_usage(tmp_path: Path, adapter: str) -> None:
    with running_hub() as hub:
        done = call(hub, tmp_path, adapter, "coder")
    assert (done.returncode, "'coder' has no owner" in done.stderr) == (2, True)
