"""The examples run from their first cell to their last, in order, on the tiny model."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
NAMES = ("first_steps", "reading_a_report", "own_tasks", "own_domain", "seed_protocol")
"""In the order in which they are to be run: one reads what another left."""


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> dict[str, str]:
    here = tmp_path_factory.mktemp("examples")
    environment = {**os.environ, "MLX_SELFDEBUG_MODEL": str(tiny_folder), "MLX_SELFDEBUG_EVAL_LIMIT": "1"}
    found = {}
    for name in NAMES:
        command = [sys.executable, str(EXAMPLES / f"{name}.py")]
        ended = subprocess.run(command, cwd=here, env=environment, capture_output=True, text=True, timeout=300)
        assert ended.returncode == 0, (name, ended.stderr[-3000:])
        found[name] = ended.stdout
    return found


def test_there_is_a_script_for_every_name_and_no_other() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(NAMES)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("first_steps", "references take the place of pairs"),  # a model of random weights solves nothing
        ("first_steps", "problems solved"),
        ("reading_a_report", "GB of the whole process tree"),
        ("own_tasks", "sound"),
        ("own_tasks", "broken.jsonl:3"),
        ("own_tasks", "bugs"),
        ("own_domain", "cron/workdays"),
        ("seed_protocol", "of 8 problems"),
        ("seed_protocol", "of 50 test inputs"),
    ],
)
def test_an_example_prints_what_it_is_about(name: str, text: str, printed: dict[str, str]) -> None:
    assert text in printed[name]
