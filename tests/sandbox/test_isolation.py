"""How well programs are kept apart is found by trying and told as it is; too little is refused."""

from __future__ import annotations

import pytest

from mlx_selfdebug.errors import SandboxError
from mlx_selfdebug.sandbox import Limits, TestRunner, describe_isolation, isolation_notice
from mlx_selfdebug.sandbox.confinement import bubblewrap
from mlx_selfdebug.sandbox.confinement.layout import this_interpreter
from mlx_selfdebug.sandbox.confinement.system import layer_names
from mlx_selfdebug.sandbox.isolation import Isolation, require_level
from mlx_selfdebug.sandbox.probes import Probe
from mlx_selfdebug.sandbox.processes.launch import Setup
from mlx_selfdebug.sandbox.processes.worker import Worker
from mlx_selfdebug.sandbox.wire.messages import Request
from mlx_selfdebug.values.checks import Checks

SQUARE = Checks.from_asserts(["assert candidate(3) == 9"])
RIGHT = "def square(x): return x * x"


def found(level: str) -> Isolation:
    return Isolation(level, {}, frozenset(), (Probe("read a file", "files", False), Probe("fork", "processes", True)))  # type: ignore[arg-type]


def test_here_every_probe_is_stopped_and_every_control_gets_there() -> None:
    isolation = describe_isolation(afresh=True)
    assert {probe.name: probe.held for probe in isolation.probes if not probe.held} == {}
    assert isolation.level == "full"
    assert isolation_notice(isolation) == ""


def test_without_any_layer_the_level_is_none_and_the_open_ways_are_named() -> None:
    open_ = describe_isolation(without=frozenset(layer_names()))
    assert open_.level == "none"
    assert {"read one of the runner's files", "connect over TCP", "start a process by fork"} <= set(open_.open_ways)
    assert "read one of the runner's files" in isolation_notice(open_)


def test_every_verdict_carries_the_level_it_was_made_at() -> None:
    with TestRunner(1, level="none", without=frozenset(layer_names())) as runner:
        assert runner.run(RIGHT, SQUARE, "square").isolation == runner.isolation == "none"


def test_a_runner_that_cannot_confine_is_refused_unless_it_is_allowed() -> None:
    without = frozenset(layer_names())
    with pytest.raises(SandboxError, match="read one of the runner's files") as caught:
        TestRunner(1, without=without)
    assert "--allow-weak-sandbox" in (caught.value.hint or "")
    with pytest.raises(SandboxError):
        TestRunner(1, level="weaker", without=without)


@pytest.mark.parametrize("level", ["weaker", "none"])
def test_a_weaker_level_is_refused_where_full_is_required(level: str) -> None:
    with pytest.raises(SandboxError, match="read a file"):
        require_level(found(level), "full")


def test_a_level_that_is_enough_is_not_refused() -> None:
    require_level(found("weaker"), "weaker")
    require_level(found("full"), "full")
    require_level(found("none"), "none")


def test_an_unknown_level_is_named_with_those_that_exist() -> None:
    with pytest.raises(ValueError, match="'strong'; it must be one of none, weaker, full"):
        TestRunner(1, level="strong")  # type: ignore[arg-type]


@pytest.mark.skipif(not bubblewrap.works(), reason="there is no bubblewrap that works")
def test_in_namespaces_of_bubblewrap_a_program_is_confined_as_well() -> None:
    worker = Worker(Setup(this_interpreter(), Limits()).with_bubblewrap())
    try:
        worker.start()
        ran = worker.run(Request(RIGHT, "", "square", SQUARE.source, "", b"", 5.0, 1 << 16), shared=False)
    finally:
        worker.close()
    assert ran.report.outcome == "passed"
    assert set(worker.layers) == {"bubblewrap", "landlock", "seccomp", "capabilities"}


def test_an_unknown_package_is_named() -> None:
    with pytest.raises(ValueError, match="nothing_of_this_name"):
        TestRunner(1, packages=("nothing_of_this_name",))


def test_programs_and_checks_may_use_the_packages_a_runner_is_given() -> None:
    checks = Checks.from_asserts(["import numpy as np", "assert np.allclose(candidate(3), [3.0, 9.0])"])
    source = "import numpy as np\ndef square(x): return np.array([x, x * x]).tolist()"
    with TestRunner(1, Limits(wall_s=30, cpu_s=30, memory_bytes=1 << 30), packages=("numpy",)) as runner:
        verdict = runner.run(source, checks, "square")
    assert verdict.passed, verdict


def test_without_them_site_packages_cannot_be_imported() -> None:
    with TestRunner(1) as runner:
        assert runner.run("import numpy\n" + RIGHT, SQUARE, "square").outcome == "load_error"
