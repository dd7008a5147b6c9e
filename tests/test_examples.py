"""The examples: scripts, and notebooks made of them with the outputs of a real run; all of them run here, on the tiny model."""

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

from mlx_selfdebug.store import open_stored

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).parent.parent / "examples"
NAMES = ("first_steps", "fix_failing_tests", "reading_a_report", "own_tasks", "own_domain", "seed_protocol")
"""In the order in which they are to be run: one reads what another left."""
SCRIPTS = ("fix_failing_tests", "own_domain")
"""The scripts that are also run as such. The notebooks are made of all of them and run too."""
ABOUT = {
    ("fix_failing_tests", "ordered[n // 2]) / 2"),
    ("fix_failing_tests", "by a small edit"),
    ("first_steps", "Pair(kind="),
    ("first_steps", "There is no evidence that the trained model repairs better"),
    ("reading_a_report", "GB of the whole process tree"),
    ("own_tasks", "sound"),
    ("own_tasks", "broken.jsonl:3"),
    ("own_tasks", "bugs"),
    ("own_domain", "cron/workdays"),
    ("seed_protocol", "of 8 problems"),
    ("seed_protocol", "of 50 test inputs"),
}


def cells(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return found


def sources(path: Path) -> list[tuple[str, str]]:
    return [(cell["cell_type"], "".join(cell["source"])) for cell in cells(path)]


def shown(path: Path) -> str:
    """All text that a notebook's cells printed or showed, tables too."""
    parts = []
    for output in [output for cell in cells(path) for output in cell.get("outputs", [])]:
        data = output.get("data", {})
        parts += [
            output.get("text", ""),
            data.get("text/plain", ""),
            data.get("text/html", ""),
            output.get("ename", ""),
        ]
    return "\n".join(text if isinstance(text, str) else "".join(text) for text in parts)


def run(command: list[str], here: Path, model: Path) -> str:
    small = {"EVAL_LIMIT": "1", "EVAL_BUGS_LIMIT": "1", "EVAL_FORKS": "1", "COLLECT_EDITS": "1", "COLLECT_FORKS": "1"}
    settings = {f"MLX_SELFDEBUG_{name}": value for name, value in {"MODEL": str(model), **small}.items()}
    environment = {**os.environ, **settings}
    ended = subprocess.run(
        [sys.executable, *command], cwd=here, env=environment, capture_output=True, text=True, timeout=600
    )
    assert ended.returncode == 0, (command, ended.stderr[-3000:])
    return ended.stdout


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> dict[str, str]:
    here = tmp_path_factory.mktemp("scripts")
    return {name: run([str(EXAMPLES / f"{name}.py")], here, tiny_folder) for name in SCRIPTS}


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> Path:
    """The folder of all notebooks, made and run here. One that fails fails here, with its cell."""
    here = tmp_path_factory.mktemp("notebooks")
    run([str(EXAMPLES / "notebooks.py"), "--out", "."], here, tiny_folder)
    return here


def test_there_is_a_script_and_a_notebook_for_every_name_and_no_other() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {*NAMES, "notebooks"}
    assert {path.stem for path in EXAMPLES.glob("*.ipynb")} == set(NAMES)


@pytest.mark.parametrize(("name", "text"), sorted(about for about in ABOUT if about[0] in SCRIPTS))
def test_a_script_prints_what_it_is_about(name: str, text: str, printed: dict[str, str]) -> None:
    assert text in printed[name]


@pytest.mark.parametrize(("name", "text"), sorted(ABOUT))
def test_a_notebook_shows_what_it_is_about(name: str, text: str, executed: Path) -> None:
    assert text in shown(executed / f"{name}.ipynb")


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_its_script_as_it_stands_now(name: str, executed: Path) -> None:
    assert sources(EXAMPLES / f"{name}.ipynb") == sources(executed / f"{name}.ipynb")


def test_values_show_themselves_as_tables_and_progress_as_text(executed: Path) -> None:
    text = shown(executed / "first_steps.ipynb")
    assert "<table>" in text
    assert "collect: 100%" in text
    assert "IProgress" not in text


@pytest.mark.parametrize("name", NAMES)
def test_the_outputs_of_a_real_run_are_kept_without_an_error_or_a_path_of_ours(name: str) -> None:
    path = EXAMPLES / f"{name}.ipynb"
    outputs = [output for cell in cells(path) for output in cell.get("outputs", [])]
    assert outputs
    assert [output for output in outputs if output["output_type"] == "error"] == []
    assert "tiny" not in shown(path)
    assert "\r" not in shown(path)
    assert str(Path.home()) not in path.read_text(encoding="utf-8")


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
settings = {{"model": {model!r}, "preset": "demo", "collect.samples": 16, "collect.weak_share": 0.0}}
config = sd.load_config(overrides=settings)
model = sd.load_model(config.model)
with sd.Run("runs/interrupted", config) as run:
    attempts = sd.collect(run, model, sd.load_tasks("starter").spread(8), progress=sd.Bars())
"""


def stored(folder: Path) -> list[str]:
    """Ids of the drafts on disk."""
    if not (folder / "run.db").exists():
        return []
    with open_stored(folder) as run:
        return [attempt.id for attempt in run.attempts("collect") if attempt.round == 0]


def reply(client: Any, asked: str) -> dict[str, Any]:
    """What the kernel answers to the message ``asked``; answers to others are passed over."""
    while True:
        message = client.get_shell_msg(timeout=120)
        if message["parent_header"].get("msg_id") == asked:
            content: dict[str, Any] = message["content"]
            return content


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_a_cell_that_is_interrupted_goes_on_where_it_was_when_it_is_run_again(
    kernel: Any, tiny_folder: Path, tmp_path: Path
) -> None:
    manager, client = kernel
    code, folder = CELL.format(model=str(tiny_folder)), tmp_path / "runs" / "interrupted"
    asked = client.execute(code)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not stored(folder):
        time.sleep(0.05)
    manager.interrupt_kernel()
    assert reply(client, asked)["ename"] == "KeyboardInterrupt"
    before = stored(folder)
    assert 0 < len(before) < 16 * 8
    assert reply(client, client.execute(code))["status"] == "ok"
    after = stored(folder)
    assert set(before) < set(after)
    assert len(after) == 16 * 8
