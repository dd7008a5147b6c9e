"""The command ``fix``: its exit codes, what it prints where, and what it writes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mlx_selfdebug.testing import write_tiny_model
from tests.projects.made import contents, write_project

pytestmark = pytest.mark.slow

BROKEN = "def before(x):\n    return x + 1\n"
TESTS = "from m import before\n\n\ndef test_before():\n    assert before(1) == 0\n    assert before(5) == 4\n"


def write_broken(folder: Path) -> Path:
    return write_project(folder, {"m.py": BROKEN, "test_m.py": TESTS})


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_tiny_model(tmp_path_factory.mktemp("model")))


def call(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mlx_selfdebug", "fix", "--python", sys.executable, *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)


def test_a_diff_is_printed_that_git_applies(tmp_path: Path, model: str) -> None:
    folder = write_broken(tmp_path)
    before = contents(folder)
    done = call(folder, "--model", model, "--diff")
    assert done.returncode == 0, done.stderr
    assert contents(folder) == before
    subprocess.run(["git", "apply", "-"], input=done.stdout, cwd=folder, text=True, check=True)
    assert (folder / "m.py").read_text() != BROKEN


def test_the_change_is_written_and_a_copy_is_kept(tmp_path: Path, model: str) -> None:
    folder = write_broken(tmp_path)
    done = call(folder, "m.py", "--model", model, "--apply", "--json", "--quiet")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["outcome"] == "fixed"
    assert (folder / "m.py.before-fix").read_text() == BROKEN
    assert (folder / "m.py").read_text() != BROKEN


def test_what_is_not_fixed_ends_with_1_and_says_so(tmp_path: Path, model: str) -> None:
    files = {
        "m.py": "def f():\n    return None\n",
        "test_m.py": "import m\n\ndef test_a():\n    assert m.f() == {'a': [1, 2, 3]}\n",
    }
    done = call(write_project(tmp_path, files), "--model", model, "--attempts", "0", "--seconds", "8")
    assert done.returncode == 1
    assert "not fixed" in done.stdout, done.stderr


def test_a_project_whose_tests_pass_ends_with_0(tmp_path: Path, model: str) -> None:
    good = {"m.py": BROKEN.replace("+", "-"), "test_m.py": TESTS}
    done = call(write_project(tmp_path, good), "--model", model)
    assert (done.returncode, "nothing to fix" in done.stdout) == (0, True)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--diff", "--json"], "only one of"),
        (["--force"], "goes with --apply"),
        (["nowhere.py"], "does not exist"),
        (["--test", "make"], "give pytest, unittest, or a Python program"),
        (["--adapter", "."], "holds no adapter"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(tmp_path: Path, words: list[str], message: str) -> None:
    done = call(write_project(tmp_path, {"m.py": ""}), *words)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
