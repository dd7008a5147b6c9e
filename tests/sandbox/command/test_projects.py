"""A real suite in a src layout with an editable install runs confined in a scratch copy, and each of its tests passes."""

from __future__ import annotations

import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from mlx_selfdebug.sandbox import Completed, run_confined, scratch_copy

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="proven on Linux")
SUITE = (Path(__file__).parent / "project_suite.py").read_text("utf-8")
NAMES = [line[4:].partition("(")[0] for line in SUITE.splitlines() if line.startswith("def test_")]
SITE = sysconfig.get_path("purelib")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a virtual environment inside it, which shows our own packages and is installed editable."""
    root = tmp_path_factory.mktemp("projects") / "shapes"
    for folder in ("src/shapes", "tests"):
        (root / folder).mkdir(parents=True)
    (root / "pyproject.toml").write_text("[tool.pytest.ini_options]\ntestpaths = ['tests']\n")
    (root / "src/shapes/__init__.py").write_text("def area(x):\n    return x + x\n")
    (root / "tests/test_shapes.py").write_text(SUITE)
    venv.create(root / ".venv", with_pip=False, symlinks=True)
    packages = next((root / ".venv/lib").glob("python*/site-packages"))
    (packages / "more.pth").write_text(f"{SITE}\n{root}/src\n")
    return root


@pytest.fixture(scope="module")
def done(project: Path) -> Completed:
    with scratch_copy(project) as scratch:
        (scratch.folder / "src/shapes/__init__.py").write_text("def area(x):\n    return x * x\n")
        argv = [str(project / ".venv/bin/python"), "-m", "pytest", "-rA", "-q"]
        return run_confined(argv, folder=scratch.folder, seen_at=scratch.project, readable=[SITE])


@pytest.mark.parametrize("name", NAMES)
def test_a_test_of_the_project_passes(name: str, done: Completed) -> None:
    assert f"PASSED tests/test_shapes.py::{name}\n" in done.stdout, done.stdout + done.stderr


def test_the_suite_ends_by_itself(done: Completed) -> None:
    assert (done.ending, done.exit_code) == ("exited", 0), done


def test_the_project_is_as_it_was(done: Completed, project: Path) -> None:
    assert sorted(path.name for path in project.iterdir()) == [".venv", "pyproject.toml", "src", "tests"]
    assert "x + x" in (project / "src/shapes/__init__.py").read_text()
    assert not list(project.rglob("tests/__pycache__"))
