"""A zygote's profile lets it load the sandbox's own code: what it really opens and lists on its way, held against the profile."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

import mlx_selfdebug
from mlx_selfdebug.sandbox.confinement.layout import this_interpreter
from mlx_selfdebug.sandbox.confinement.sbpl import real_path
from mlx_selfdebug.sandbox.confinement.seatbelt import profile
from mlx_selfdebug.sandbox.processes.launch import boot, with_own_code

from . import system_profiles
from .evaluator import Policy

PACKAGE = Path(mlx_selfdebug.__file__).resolve().parent
WATCH = """
import sys
events = []
sys.addaudithook(lambda name, args: events.append((name, str(args[0]))) if name in ("open", "os.listdir", "os.scandir") else None)
"""
REPORT = "import json, mlx_selfdebug.sandbox.confinement.macos; print(json.dumps(events))"
"""What a zygote imports beside its own module on a Mac, and what it did until then."""


@pytest.fixture(scope="module")
def reached() -> set[str]:
    """The paths within the package's folder, or above it, that a zygote opens or lists until it is ready to be confined."""
    *words, code, argument = boot(this_interpreter(), "zygote")
    ready = code.replace("zygote.main()", REPORT)
    assert ready != code
    done = subprocess.run([*words, WATCH + ready, argument], capture_output=True, text=True, check=True, cwd="/")
    paths = {Path(path) for _, path in json.loads(done.stdout)}
    ours = {path for path in paths if path in PACKAGE.parents or path.is_relative_to(PACKAGE.parent)}
    # Where compiled code cannot be read, Python compiles the source.
    return {str(path) for path in ours if path.parent.name != "__pycache__"}


@pytest.fixture(scope="module")
def policy() -> Policy:
    layout = with_own_code(this_interpreter())
    return Policy.of(profile(layout, executables=[]), {"system.sb": system_profiles.USUAL})


def test_a_zygote_opens_and_lists_nothing_that_its_profile_denies(reached: set[str], policy: Policy) -> None:
    assert str(PACKAGE / "sandbox/processes/zygote.py") in reached
    assert sorted(path for path in reached if not policy.allows("file-read-data", real_path(path))) == []


def test_what_lies_beside_the_sandbox_stays_hidden(policy: Policy) -> None:
    hidden = [PACKAGE / "tasks/starter", PACKAGE / "auditing/mutants.py", PACKAGE.parent]
    assert [path for path in hidden if policy.allows("file-read-data", real_path(str(path)))] == []
