"""A hostile test never passes, never reaches out, and does not keep the next run from being served."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlx_selfdebug.projects.suite import Suite
from tests.projects.hostile_place import Place
from tests.projects.hostile_tests import ATTACKS
from tests.sandbox.test_escapes import python_of_others

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="the attacks use Linux's ways out")]
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("hostile"))


@pytest.fixture(scope="module")
def suite(place: Place) -> Iterator[Suite]:
    with place.open() as opened:
        yield opened


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_ends_as_it_has_to(name: str, place: Place, suite: Suite) -> None:
    assert place.attacked(suite, name) == []


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can become another user")
def test_the_attacks_end_alike_for_a_user_who_is_not_root() -> None:
    python = python_of_others()
    command = [python, "-m", "tests.projects.as_other_user"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout) == {"uid": 65534, "level": "full", "wrong": {}}
