"""The bugs in real packages: how they are planted, recorded and put back. Nothing is fetched, and no package's tests run."""

from __future__ import annotations

import ast
import importlib
import random
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from .test_benchmarks import ROOT, benchmark

pytestmark = pytest.mark.slow


def module(name: str) -> ModuleType:
    """A module beside the benchmarks' scripts, which these import by its name alone."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))


packages, planting, rebuilding = module("fix_packages"), module("fix_planting"), module("fix_rebuilding")

FUNCTION = '''\
def words(lines, limit=None, sep=" "):
    """Split lines into words."""
    limit = limit or len(lines)
    if not lines:
        # Nothing to split.
        return []
    found = []
    for line in lines[0:limit]:
        count = 0
        for word in line.strip().lower().split(sep):
            count += 1
            found.append(word)
            seen.update(a=word, b=count)
    try:
        total = sum([len(word) for word in found if word and len(word) < limit * 2 - 1])
    except (TypeError, ValueError):
        total = 0
    if total > 3:
        log.write(total, 1, end="")
        log.flush()
        self.n += 1
    else:
        log.clear()
        total = (limit + total * 2) if total else max(limit, total)
    return sorted(found, key=str, reverse=False)
'''
MODULE = "import os\n\nE = 'é'\n\n\nclass Text:\n    @cached\n" + "".join(
    f"    {line}" if line.strip() else line for line in FUNCTION.splitlines(keepends=True)
)
MODULE += "\n    def short(self):\n        return 1\n\n\nTAIL = Text()\n"


def parses(code: str) -> bool:
    try:
        ast.parse(code)
    except SyntaxError:
        return False
    return True


def outcome_of(operator: str) -> list[str]:
    plants = planting.large_plants(FUNCTION, random.Random(0))
    return [plant.code for plant in plants if plant.operator == operator]


def test_a_method_is_found_by_its_class_and_short_functions_are_not() -> None:
    [function] = planting.functions_of(MODULE)
    assert (function.name, function.code, function.margin) == ("Text.words", FUNCTION, "    ")
    assert function.replaced(MODULE, FUNCTION) == MODULE


@pytest.mark.parametrize("text", ["def f(:\n", MODULE.replace("\n", "\r\n"), FUNCTION.replace("    ", "\t")])
def test_no_function_is_found_in_files_whose_lines_cannot_be_moved(text: str) -> None:
    assert planting.functions_of(text) == []


@pytest.mark.parametrize("operator", [*planting.LARGE, "two places"])
def test_each_large_operator_makes_another_function_that_parses(operator: str) -> None:
    codes = outcome_of(operator)
    assert codes
    for code in codes:
        assert parses(code)
        assert ast.dump(ast.parse(code)) != ast.dump(ast.parse(FUNCTION))


@pytest.mark.parametrize("kind", ["small", "large"])
def test_a_plant_changes_nothing_outside_its_function(kind: str) -> None:
    [function] = planting.functions_of(MODULE)
    draw = random.Random(0)
    plants = planting.small_plants(FUNCTION) if kind == "small" else planting.large_plants(FUNCTION, draw)
    for plant in plants:
        bugged = function.replaced(MODULE, plant.code)
        assert parses(bugged)
        replaced = rebuilding.Replaced.between(MODULE, bugged)
        assert function.start <= replaced.start <= replaced.end <= function.end
        assert replaced.applied(MODULE) == bugged


@pytest.mark.parametrize(
    ("operator", "gone", "there"),
    [
        ("guard removed", "return []", "found = []"),
        ("branch removed", "log.clear()", "log.flush()"),
        ("arguments dropped", "a=word", "seen.update()"),
        ("chain cut", "strip", "in line.split(sep)"),
        ("filter removed", "if word", "len(word) for word in found]"),
        ("slice simplified", "lines[0:limit]", "for line in lines:"),
        ("handler narrowed", "(TypeError, ValueError)", "except TypeError:"),
        ("default removed", "limit or", "if not lines:"),
        ("part for whole", "if total else", "total = limit + total * 2"),
        ("effects removed", "log.write", "self.n += 1"),
    ],
)  # fmt: skip
def test_what_a_large_operator_takes_out(operator: str, gone: str, there: str) -> None:
    assert any(gone not in code and there in code for code in outcome_of(operator))


def test_lines_are_moved_out_of_a_loop_and_into_it() -> None:
    assert any("\n        found.append(word)\n        seen" in code for code in outcome_of("moved out of loop"))
    assert any("lines[0:limit]:\n        found = []\n        count" in code for code in outcome_of("reset in loop"))


def test_two_places_are_changed_together_and_each_alone() -> None:
    plants = [plant for plant in planting.large_plants(FUNCTION, random.Random(0)) if plant.halves]
    assert plants
    for plant in plants:
        assert len({FUNCTION, plant.code, *plant.halves}) == 4


def test_the_search_undoes_a_small_change_and_not_a_branch_that_is_gone() -> None:
    assert planting.in_search(FUNCTION, FUNCTION.replace("count = 0", "count = 1"))
    assert not any(planting.in_search(FUNCTION, code) for code in outcome_of("branch removed"))


def test_small_plants_keep_comments_and_name_operators_of_mutants() -> None:
    plants = planting.small_plants(FUNCTION)
    assert {"constant", "comparison", "arithmetic"} <= {plant.operator for plant in plants}
    assert all("# Nothing to split." in plant.code for plant in plants if plant.operator == "constant")


@given(st.text("ab\n\r", max_size=12), st.text("ab\n\r", max_size=12))
def test_the_difference_of_two_texts_makes_the_second_of_the_first(original: str, bugged: str) -> None:
    replaced = rebuilding.Replaced.between(original, bugged)
    assert replaced.applied(original) == bugged
    assert len(replaced.text) <= len(bugged)


def a_record(**changes: object) -> object:
    fields: dict[str, object] = {
        "id": "toolz:constant-1", "package": "toolz", "version": "1", "sdist_sha256": "00", "file": "a.py", "function": "f",
        "operator": "constant", "in_search": True, "line": 1, "replaced": rebuilding.Replaced(0, 1, "é"),
        "tests": ("-m", "pytest"), "failing": ("t.py::test_a",), "n_tests": 3, "suite_s": 0.5,
    }  # fmt: skip
    return rebuilding.Record(**{**fields, **changes})


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    records = [a_record(), a_record(id="toolz:constant-2", in_search=False)]
    path = tmp_path / "bugs.jsonl"
    rebuilding.write_records(records, path)
    assert rebuilding.read_records(path) == records


def test_a_record_of_another_version_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="another version"):
        rebuilding.rebuild(a_record(), tmp_path / "bug", tmp_path / "cache")


def test_sources_with_another_hash_are_refused(tmp_path: Path) -> None:
    package = packages.package_named("toolz")
    archive = tmp_path / "sdists" / f"toolz-{package.version}.tar.gz"
    archive.parent.mkdir()
    archive.write_bytes(b"other")
    with pytest.raises(ValueError, match="is not the archive"):
        rebuilding.unpacked(package, tmp_path / "bug", tmp_path)


def test_the_tests_of_a_project_are_run_and_those_that_fail_are_named(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text("def test_a():\n    assert 0\n\n\ndef test_b():\n    pass\n")
    file = tmp_path / "it.py"
    project = rebuilding.Project(tmp_path, Path(sys.executable), ("-m", "pytest", "-q"), file, "a\r\n", "b\r\n")
    outcome = rebuilding.run_tests(project)
    assert (outcome.failing, outcome.n_tests, outcome.honest) == (("test_it.py::test_a",), 2, True)
    project.write(project.bugged)
    assert file.read_bytes() == b"b\r\n"
    (tmp_path / "test_it.py").write_text("import nothing_of_this_name\n")
    assert not rebuilding.run_tests(project).honest


def test_a_run_of_tests_that_hangs_is_ended(tmp_path: Path) -> None:
    command = ("-c", "import time; time.sleep(60)")
    project = rebuilding.Project(tmp_path, Path(sys.executable), command, tmp_path, "", "")
    assert rebuilding.run_tests(project, wall_s=0.2).code is None


RECORDS = rebuilding.read_records()


def test_the_records_are_of_the_listed_packages_and_no_two_of_one_function() -> None:
    assert len({record.id for record in RECORDS}) == len(RECORDS) >= 50
    assert len({(record.package, record.file, record.function) for record in RECORDS}) == len(RECORDS)
    assert len({record.package for record in RECORDS}) >= 12
    for record in RECORDS:
        package = packages.package_named(record.package)
        assert (record.version, record.sdist_sha256) == (package.version, package.sdist_sha256)
        assert record.tests == package.command
        assert 1 <= len(record.failing) <= 20
        assert all("::" in test for test in record.failing)


def test_about_half_of_the_bugs_are_undone_by_one_edit() -> None:
    assert 0.4 <= sum(record.in_search for record in RECORDS) / len(RECORDS) <= 0.6


def test_the_bugs_are_counted() -> None:
    last = benchmark("fix_bugs", "list")[1]
    assert last["bugs"] == len(RECORDS)
    assert Counter(last["in_search"]) == Counter(record.operator for record in RECORDS if record.in_search)
