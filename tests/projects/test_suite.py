"""Real test suites run confined: their outcomes, their facts, the lines they run, and what becomes of those that misbehave."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mlx_selfdebug.errors import UsageError
from mlx_selfdebug.projects.suite import Suite, SuiteLimits, open_suite
from tests.projects.made import FIXED_LINE, STATS, contents, project_at, write_project, write_stats

pytestmark = pytest.mark.slow

GOOD = STATS.replace("    return (ordered[n // 2 - 1] + ordered[n // 2 + 1]) / 2", FIXED_LINE)
MEDIAN = "tests/test_stats.py::test_median"


@pytest.fixture(scope="module")
def stats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Suite]:
    folder = write_stats(tmp_path_factory.mktemp("stats"))
    with open_suite(project_at(folder)) as suite:
        yield suite


def run_once(folder: Path, *arguments: str, framework: str = "pytest", limits: SuiteLimits | None = None):
    with open_suite(project_at(folder, *arguments, framework=framework), limits) as suite:
        return suite.run(facts=True).result()


def test_every_test_is_reported_with_its_outcome(stats: Suite) -> None:
    run = stats.run().result()
    assert {id_: test.outcome for id_, test in run.tests.items()} == {
        "tests/test_stats.py::test_mean": "passed",
        f"{MEDIAN}[values0-2]": "passed",
        f"{MEDIAN}[values1-2.5]": "failed",
        f"{MEDIAN}[values2-1.5]": "failed",
        "tests/test_stats.py::test_window": "passed",
    }


def test_a_failed_assert_is_reported_with_both_sides_and_the_parameters(stats: Suite) -> None:
    test = stats.run(facts=True).result().tests[f"{MEDIAN}[values1-2.5]"]
    assert test.facts is not None
    assert (test.facts.op, test.facts.left, test.facts.right) == ("==", "3.0", "2.5")
    assert test.parameters == {"values": "[4, 1, 3, 2]", "expected": "2.5"}
    assert stats.relative(test.path) == "tests/test_stats.py"


def test_an_exception_is_reported_with_where_it_was_raised(stats: Suite) -> None:
    facts = stats.run(facts=True).result().tests[f"{MEDIAN}[values2-1.5]"].facts
    assert facts is not None
    assert facts.type == "IndexError"
    assert (stats.relative(facts.frames[-1].path), facts.frames[-1].function) == ("pkg/stats.py", "median")


def test_the_lines_that_each_test_runs_are_recorded(stats: Suite) -> None:
    lines = stats.run(trace=["pkg/stats.py"]).result().lines
    (path,) = lines[f"{MEDIAN}[values0-2]"]
    ran = lines[f"{MEDIAN}[values0-2]"][path]
    assert STATS.split("\n").index("        return ordered[n // 2]") + 1 in ran
    assert STATS.split("\n").index("    return (ordered[n // 2 - 1] + ordered[n // 2 + 1]) / 2") + 1 not in ran


def test_what_is_run_only_to_say_why_a_test_failed_is_not_recorded(tmp_path: Path) -> None:
    files = {
        "m.py": "class A:\n    def __init__(self, x):\n        self.x = x\n\n    def __repr__(self):\n        return 'A'\n",
        "test_m.py": "from m import A\n\ndef test_a():\n    assert A(1) == A(2)\n",
    }
    with open_suite(project_at(write_project(tmp_path, files))) as suite:
        (lines,) = suite.run(facts=True, trace=["m.py"]).result().lines["test_m.py::test_a"].values()
    assert 3 in lines
    assert 6 not in lines


def test_a_file_is_replaced_for_one_run_alone(stats: Suite) -> None:
    assert not stats.run((), {"pkg/stats.py": GOOD}).result().failed()
    assert len(stats.run().result().failed()) == 2


def test_a_file_replaced_on_the_disk_is_what_other_programs_see(tmp_path: Path) -> None:
    test = (
        "import subprocess, sys\n\ndef test_it():\n"
        "    done = subprocess.run([sys.executable, '-c', 'import m; print(m.x)'], capture_output=True, text=True)\n"
        "    assert done.stdout == '2\\n'\n"
    )
    with open_suite(project_at(write_project(tmp_path, {"m.py": "x = 1\n", "test_m.py": test}))) as suite:
        assert suite.run(facts=True).result().spawning == {"test_m.py::test_it"}
        assert suite.run((), {"m.py": "x = 2\n"}).result().failed()
        suite.on_disk = True
        assert not suite.run((), {"m.py": "x = 2\n"}).result().failed()
        assert suite.run().result().failed()


def test_an_installed_project_is_the_copy_and_not_the_original(tmp_path: Path) -> None:
    """An editable install names the project's own folder, which was shown to the tests as it lies outside."""
    import os
    import subprocess
    import sys
    import sysconfig
    from dataclasses import replace

    folder = write_project(
        tmp_path / "p", {"src/m.py": "x = 1\n", "test_m.py": "from m import x\n\ndef test_it():\n    assert x == 2\n"}
    )
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    places = {"base": str(venv), "platbase": str(venv)}
    linked = Path(sysconfig.get_path("purelib", "venv", vars=places)) / "linked.pth"
    linked.write_text(f"{folder / 'src'}\n{sysconfig.get_path('purelib')}\n")
    project = replace(project_at(folder), python=os.fspath(venv / "bin/python"))
    with open_suite(project) as suite:
        suite.on_disk = True
        assert suite.run().result().failed() == ["test_m.py::test_it"]
        assert not suite.run((), {"src/m.py": "x = 2\n"}).result().failed()


def test_many_runs_at_once_all_answer_with_their_own_files(stats: Suite) -> None:
    versions = [GOOD if n % 3 else STATS for n in range(12)]
    runs = [stats.run((), {"pkg/stats.py": text}) for text in versions]
    assert [not run.result().failed() for run in runs] == [text is GOOD for text in versions]


def test_named_tests_run_alone(stats: Suite) -> None:
    assert list(stats.run([f"{MEDIAN}[values0-2]"]).result().tests) == [f"{MEDIAN}[values0-2]"]


def test_the_first_failure_ends_a_run_if_that_is_wanted(stats: Suite) -> None:
    assert stats.run(stop_at_first_failure=True).result().failed() == [f"{MEDIAN}[values1-2.5]"]


def test_warm_runs_end_as_cold_ones_do(tmp_path: Path) -> None:
    with open_suite(project_at(write_stats(tmp_path))) as suite:
        cold = suite.run(facts=True).result()
        suite.warm([name for name, path in cold.modules.items() if suite.relative(path) is None])
        assert suite.run().result().failed() == cold.failed()


def test_tests_that_are_made_from_a_set_have_the_same_names_after_every_start(tmp_path: Path) -> None:
    text = "import pytest\n\n@pytest.mark.parametrize('x', {(None, str(n)) for n in range(20)})\ndef test_x(x):\n    assert x\n"
    with open_suite(project_at(write_project(tmp_path / "p", {"test_x.py": text}))) as suite:
        names = list(suite.run().result().tests)
        assert len(names) == 20
        suite.warm([])
        assert list(suite.run().result().tests) == names


def test_nothing_is_written_to_the_project(tmp_path: Path) -> None:
    folder = write_stats(tmp_path)
    before = contents(folder)
    run_once(folder)
    assert contents(folder) == before


def test_unittest_is_run_with_its_facts(tmp_path: Path) -> None:
    text = (
        "import unittest\nimport m\n\nclass T(unittest.TestCase):\n"
        "    def test_x(self):\n        self.assertEqual(m.x, 2)\n\n"
        "    def test_y(self):\n        self.assertTrue(m.x)\n\n"
        "    @unittest.skip('later')\n    def test_z(self):\n        pass\n"
    )
    run = run_once(write_project(tmp_path, {"m.py": "x = 1\n", "test_m.py": text}), framework="unittest")
    assert {id_: test.outcome for id_, test in run.tests.items()} == {
        "test_m.T.test_x": "failed", "test_m.T.test_y": "passed", "test_m.T.test_z": "skipped"}  # fmt: skip
    facts = run.tests["test_m.T.test_x"].facts
    assert facts is not None
    assert (facts.left, facts.right) == ("1", "2")


DISCOVERED = {
    "m.py": "x = 1\n",
    "checks/check_m.py": "import unittest\nimport m\n\nclass T(unittest.TestCase):\n"
    "    def test_x(self):\n        self.assertEqual(m.x, 2)\n\n"
    "    def test_y(self):\n        self.assertTrue(m.x)\n",
    "checks/test_other.py": "import unittest\n\nclass O(unittest.TestCase):\n    def test_o(self):\n        pass\n",
}


@pytest.mark.parametrize(
    ("arguments", "ids"),
    [
        ("discover -s checks -p check_*.py", ["check_m.T.test_x", "check_m.T.test_y"]),
        ("discover --start-directory checks --pattern=check_*.py", ["check_m.T.test_x", "check_m.T.test_y"]),
        ("discover checks check_*.py .", ["checks.check_m.T.test_x", "checks.check_m.T.test_y"]),
        ("discover -s checks -t . -p check_*.py -v", ["checks.check_m.T.test_x", "checks.check_m.T.test_y"]),
        ("discover -s checks", ["test_other.O.test_o"]),
        ("checks/check_m.py", ["checks.check_m.T.test_x", "checks.check_m.T.test_y"]),
        ("-k test_y checks.check_m", ["checks.check_m.T.test_y"]),
    ],
)
def test_unittest_finds_the_tests_that_its_arguments_name(tmp_path: Path, arguments: str, ids: list[str]) -> None:
    folder = write_project(tmp_path, {**DISCOVERED, "checks/__init__.py": ""})
    with open_suite(project_at(folder, *arguments.split(), framework="unittest")) as suite:
        run = suite.run(facts=True).result()
        assert sorted(run.tests) == ids
        if run.failed():
            again = suite.run(run.failed(), {"m.py": "x = 2\n"}).result()
            assert {id_: test.outcome for id_, test in again.tests.items()} == {ids[0]: "passed"}


def test_arguments_that_unittest_does_not_know_are_told_in_its_words(tmp_path: Path) -> None:
    run = run_once(write_project(tmp_path, DISCOVERED), "--nonsense", framework="unittest")
    assert not run.tests
    assert "unrecognized arguments: --nonsense" in run.output


def test_a_program_that_exits_badly_is_one_failed_test(tmp_path: Path) -> None:
    folder = write_project(tmp_path, {"m.py": "x = 1\n", "check.py": "import sys, m\nsys.exit(m.x)\n"})
    with open_suite(project_at(folder, "check.py", framework="script")) as suite:
        assert suite.run(facts=True).result().failed() == ["command"]
        assert suite.run((), {"m.py": "x = 0\n"}).result().passed("command")


def test_a_test_that_does_not_end_fails_and_the_others_before_it_count(tmp_path: Path) -> None:
    text = "def test_a():\n    pass\n\ndef test_b():\n    while True:\n        pass\n"
    run = run_once(write_project(tmp_path, {"test_m.py": text}), limits=SuiteLimits(stall_s=2))
    assert run.ending == "timed_out"
    assert {id_: test.outcome for id_, test in run.tests.items()} == {
        "test_m.py::test_a": "passed",
        "test_m.py::test_b": "failed",
    }


@pytest.mark.parametrize("how", ["os._exit(0)", "os.kill(os.getpid(), 9)", "os.abort()"])
def test_a_test_that_ends_its_process_fails(tmp_path: Path, how: str) -> None:
    run = run_once(write_project(tmp_path, {"test_m.py": f"import os\n\ndef test_a():\n    {how}\n"}))
    assert run.failed() == ["test_m.py::test_a"]


def test_a_test_that_takes_too_much_memory_ends_the_session_and_the_next_run_has_a_new_one(tmp_path: Path) -> None:
    text = "def test_a():\n    import m\n    assert len(b'x' * m.n) == m.n\n"
    folder = write_project(tmp_path, {"m.py": "n = 1 << 31\n", "test_m.py": text})
    with open_suite(project_at(folder), SuiteLimits(memory_bytes=600 << 20)) as suite:
        assert not suite.run().result().passed("test_m.py::test_a")
        assert suite.run((), {"m.py": "n = 8\n"}).result().passed("test_m.py::test_a")


def test_what_a_test_leaves_running_is_ended_with_its_run(tmp_path: Path) -> None:
    text = "import os, time\n\ndef test_a():\n    if not os.fork():\n        os.setsid()\n        time.sleep(600)\n        os._exit(0)\n"
    with open_suite(project_at(write_project(tmp_path, {"test_m.py": text}))) as suite:
        runs = [suite.run().result() for _ in range(3)]
    assert all(run.passed("test_m.py::test_a") for run in runs)
    assert all(run.wall_s < 60 for run in runs)


def test_a_file_that_cannot_be_collected_is_a_failed_test(tmp_path: Path) -> None:
    run = run_once(write_project(tmp_path, {"m.py": "1 / 0\n", "test_m.py": "import m\n\ndef test_a():\n    pass\n"}))
    assert run.failed() == ["test_m.py"]
    assert run.tests["test_m.py"].collecting


def test_an_interpreter_without_pytest_is_named(tmp_path: Path) -> None:
    import subprocess
    import sys
    from dataclasses import replace

    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")], check=True)
    project = replace(project_at(write_stats(tmp_path / "p")), python=str(tmp_path / "venv/bin/python"))
    with pytest.raises(UsageError, match="has no pytest"), open_suite(project):
        pass
