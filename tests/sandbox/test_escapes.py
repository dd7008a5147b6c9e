"""No program gets out, and each that tries is told apart: as root, as another user, with each layer switched off in turn."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest

from mlx_selfdebug.sandbox import Limits, TestRunner, Verdict, describe_isolation
from mlx_selfdebug.sandbox.confinement.system import layer_names
from tests.sandbox.escapes import ESCAPES
from tests.sandbox.hostile import ALL, FORGING, HANDLES, ROOMY, Hostile

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="the programs use Linux's ways out")]
FORGERS = [hostile for hostile in [*FORGING, *HANDLES] if hostile.limits == ROOMY]
BRIEF = Limits(wall_s=4, cpu_s=4, memory_bytes=256 << 20)
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def verdicts() -> Iterator[dict[str, Future[Verdict]]]:
    with TestRunner(workers=3, limits=ROOMY) as runner:
        yield {escape.name: runner.submit(escape.source, escape.checks, "square") for escape in ESCAPES}


@pytest.mark.parametrize("escape", ESCAPES, ids=lambda escape: escape.name)
def test_outcome_is_the_right_one(escape: Hostile, verdicts: dict[str, Future[Verdict]]) -> None:
    verdict = verdicts[escape.name].result()
    assert verdict.outcome in escape.outcomes, verdict
    assert not verdict.passed


def test_the_corpus_has_at_least_120_programs_of_different_names() -> None:
    names = [hostile.name for hostile in [*ALL, *ESCAPES]]
    assert len(set(names)) == len(names) >= 120


@pytest.mark.parametrize("layer", layer_names())
def test_with_a_layer_off_a_program_gets_out_only_where_the_level_says_so(layer: str) -> None:
    without = frozenset({layer})
    level = describe_isolation(without=without).level
    with TestRunner(workers=3, limits=BRIEF, level="none", without=without) as runner:
        futures = {escape.name: runner.submit(escape.source, escape.checks, "square") for escape in ESCAPES}
        out = {name for name, future in futures.items() if future.result().passed}
    assert not out or level == "weaker", (level, out)


@pytest.mark.parametrize("layer", layer_names())
def test_with_a_layer_off_no_program_forges_a_pass(layer: str) -> None:
    with TestRunner(workers=3, limits=ROOMY, level="none", without=frozenset({layer})) as runner:
        futures = {h.name: runner.submit(h.source, h.checks, h.entry_point) for h in FORGERS}
        got = {name: future.result().outcome for name, future in futures.items()}
    assert {h.name for h in FORGERS if got[h.name] == "passed" and "passed" not in h.outcomes} == set()


def test_all_outcomes_are_the_same_for_another_user() -> None:
    python = python_of_others()
    command = [python, "-m", "tests.sandbox.as_other_user"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["uid"] != 0
    assert found["level"] == "full"
    assert found["wrong"] == {}


def python_of_others() -> str:
    """An interpreter that any user can run: the package's own often lies in a home folder."""
    if os.getuid() != 0:
        pytest.skip("these tests already ran as another user than root")
    for name in ("/usr/bin/python3", "/usr/local/bin/python3"):
        python = shutil.which(name)
        if (
            python
            and subprocess.run(
                [python, "-c", "import sys; sys.exit(sys.version_info < (3, 11))"], check=False
            ).returncode
            == 0
        ):
            return python
    pytest.skip("no Python 3.11 that other users can run")
