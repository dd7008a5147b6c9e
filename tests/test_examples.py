"""The notebooks: the same as the scripts beside them, with the outputs of a real run, and executed here on the tiny model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
NAMES = ("first_steps", "reading_a_report", "own_tasks", "own_domain", "seed_protocol")


def cells(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return found


def shown(cell: dict[str, Any]) -> str:
    """All text that a cell printed or showed."""
    parts = []
    for output in cell.get("outputs", []):
        texts = output.get("text") or output.get("data", {}).get("text/plain") or output.get("ename", "")
        parts.append(texts if isinstance(texts, str) else "".join(texts))
    return "\n".join(parts)


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> Path:
    """Every notebook, run in order in a folder of its own on the tiny model. One that fails fails here, with its cell."""
    here = tmp_path_factory.mktemp("notebooks")
    command = [sys.executable, str(EXAMPLES / "notebooks.py"), "--execute", "--out", str(here / "out")]
    environment = {**os.environ, "MLX_SELFDEBUG_MODEL": str(tiny_folder), "MLX_SELFDEBUG_EVAL_MAX_TOKENS": "8"}
    ended = subprocess.run(command, cwd=here, env=environment, capture_output=True, text=True, timeout=600)
    assert ended.returncode == 0, ended.stderr[-3000:]
    return here


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_its_script(name: str, executed: Path) -> None:
    made, kept = cells(executed / "out" / f"{name}.ipynb"), cells(EXAMPLES / f"{name}.ipynb")
    assert [(cell["cell_type"], "".join(cell["source"])) for cell in kept] == [
        (cell["cell_type"], "".join(cell["source"])) for cell in made
    ]


@pytest.mark.parametrize("name", NAMES)
def test_the_outputs_of_a_real_run_are_kept_and_none_is_an_error(name: str) -> None:
    kept = cells(EXAMPLES / f"{name}.ipynb")
    outputs = [output for cell in kept for output in cell.get("outputs", [])]
    assert outputs
    assert [output for output in outputs if output["output_type"] == "error"] == []
    text = "\n".join(map(shown, kept))
    assert "tiny" not in text
    assert str(Path.home()) not in text
    assert "\r" not in text


def test_first_steps_leaves_a_report_that_the_next_notebook_reads(executed: Path) -> None:
    assert (executed / "runs" / "first-steps" / "report.html").exists()
    assert "problems solved" in "\n".join(map(shown, cells(executed / "out" / "reading_a_report.ipynb")))


def test_the_seeds_protocol_prints_both_units_of_eight_problems(executed: Path) -> None:
    text = "\n".join(map(shown, cells(executed / "out" / "seed_protocol.ipynb")))
    assert "of 8 problems" in text
    assert "of 50 test inputs" in text


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[Any]:
    from jupyter_client.manager import start_new_kernel

    manager, client = start_new_kernel(kernel_name="python3", cwd=str(tmp_path))
    try:
        yield manager, client
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


CELL = """
import mlx_selfdebug as sd
config = sd.resolve(overrides={{"model": {model!r}, "preset": "demo", "collect.samples": 16, "collect.weak_share": 0.0}}).config
model = sd.load_model(config.model)
run = sd.Run("runs/interrupted", config)
attempts = sd.collect(run, model, sd.load_tasks("starter").spread(8))
print(len(attempts), len({{attempt.id for attempt in attempts}}))
"""


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_a_cell_that_is_interrupted_goes_on_where_it_was_when_it_is_run_again(
    kernel: Any, tiny_folder: Path, tmp_path: Path
) -> None:
    from mlx_selfdebug.store import open_stored

    manager, client = kernel
    code = CELL.format(model=str(tiny_folder))
    asked = client.execute(code)
    folder = tmp_path / "runs" / "interrupted"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not ((folder / "run.db").exists() and stored(folder)):
        time.sleep(0.05)
    manager.interrupt_kernel()
    reply = client.get_shell_msg(timeout=60)
    assert reply["parent_header"]["msg_id"] == asked
    assert reply["content"]["ename"] == "KeyboardInterrupt"
    before = stored(folder)
    assert 0 < before < 16 * 8
    client.execute("run.close()")
    client.get_shell_msg(timeout=60)
    client.execute(code)
    assert client.get_shell_msg(timeout=120)["content"]["status"] == "ok"
    with open_stored(folder) as run:
        drafts = [attempt for attempt in run.attempts("collect") if attempt.round == 0]
    assert len(drafts) == 16 * 8


def stored(folder: Path) -> int:
    from mlx_selfdebug.store import open_stored

    with open_stored(folder) as run:
        return len(run.attempts())
