"""The package as others see it: its names, its README, its examples."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import mlx_selfdebug as sd

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_public_name_can_be_imported() -> None:
    assert all(getattr(sd, name).__module__.startswith("mlx_selfdebug.") for name in sd.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'colect'"):
        sd.colect  # noqa: B018


def test_every_folder_and_module_of_the_readmes_tree_exists_and_none_is_left_out() -> None:
    tree = README.partition("mlx_selfdebug/\n")[2].partition("```")[0]
    named = set(re.findall(r"(\w+\.py|\w+/) {2,}", tree))
    package = ROOT / "mlx_selfdebug"
    there = {f"{p.name}/" for p in package.iterdir() if (p / "__init__.py").exists()}
    there |= {p.name for p in package.glob("*.py") if not p.name.startswith("__")}
    assert named == there


ROOMS = ("errors", "progress", "notebook", "columns", "parsing", "translating", "values", "machine", "presets", "config", "memory", "models", "distributed", "sampling", "sandbox",
         "projects",
    "proving", "domains", "tasks", "auditing", "store", "repair", "training", "evaluation", "reporting", "tracking", "stages", "fixing", "exporting", "doctor", "bench",
         "cli", "testing", "__init__", "__main__")  # fmt: skip
"""From the lowest to the highest: a room imports from those before it alone."""
IMPORTS_UP = {
    # A function of a folder becomes a task only if its checks catch what mutants of it do: whoever loads it has to run them.
    ("tasks/own/functions.py", "auditing"),
}


def imports_of(path: Path) -> set[str]:
    """The rooms and modules of the package that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "mlx_selfdebug":
            parts = (node.module or "").split(".")
            found |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("mlx_selfdebug.")}
    return found


def test_a_room_imports_from_rooms_below_it_alone() -> None:
    package = ROOT / "mlx_selfdebug"
    up = set()
    for path in package.rglob("*.py"):
        name = str(path.relative_to(package))
        room = ROOMS.index(name.partition("/")[0].removesuffix(".py"))
        up |= {(name, other) for other in imports_of(path) if ROOMS.index(other) > room}
    assert up == IMPORTS_UP


def files_imported_by(path: Path) -> set[Path]:
    """The files of the package that a file imports, wherever in it. Files that only hand names on are left out."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            modules = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            found |= {ROOT / f"{module.replace('.', '/')}.py" for module in modules}
    return {file for file in found if file.is_file()}


def test_no_files_import_each_other_in_a_circle() -> None:
    files = (ROOT / "mlx_selfdebug").rglob("*.py")
    TopologicalSorter({file: files_imported_by(file) for file in files if file.name != "__init__.py"}).prepare()


def test_the_example_on_the_page_of_the_test_runner_prints_what_it_claims(capsys: pytest.CaptureFixture[str]) -> None:
    page = (ROOT / "mlx_selfdebug/sandbox/README.md").read_text(encoding="utf-8")
    code = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)[0]
    exec(code, {})
    assert capsys.readouterr().out.strip() == code.strip().rpartition("# ")[2]


def test_what_reads_a_run_loads_no_mlx() -> None:
    """`runs list` and its kin answer at once; the stream is among what they import."""
    rooms = "repair.stream, mlx_selfdebug.evaluation.evidence, mlx_selfdebug.reporting.report"
    script = f"import sys, mlx_selfdebug.{rooms}; sys.exit(str([m for m in ('mlx', 'mlx_lm', 'transformers') if m in sys.modules]))"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert found.stderr.strip() == "[]"
