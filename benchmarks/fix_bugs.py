"""Plant small bugs in real packages, for a benchmark of ``mlx-selfdebug fix``, and check that they can be rebuilt.

    python benchmarks/fix_bugs.py find [--seed N] [--per-package N]
    python benchmarks/fix_bugs.py check [ID ...] [--write-times]
    python benchmarks/fix_bugs.py list

``find`` draws the bugs and writes one record per bug. In each package it plants as many bugs that a single edit of the search
undoes as bugs that none undoes, in as many functions, and keeps those that at least one test and at most ``--most`` tests catch.
Of the operators that can be applied to a function it takes the one that was used least so far. Packages whose bugs the file has
already are left as they are. ``check`` rebuilds each bug from its record and runs the tests with and without it. Both fetch sources
from the package index once, into the cache, and run the tests of these packages outside the sandbox. ``list`` counts the bugs. Each
prints a table, then one JSON line.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from fix_packages import PACKAGES, Package
from fix_planting import FunctionText, Plant, functions_of, in_search, large_plants, small_plants
from fix_rebuilding import (
    CACHE,
    RECORDS,
    Outcome,
    Project,
    Record,
    Replaced,
    functions_called,
    read_records,
    read_text,
    rebuild,
    run_tests,
    unpacked,
    write_records,
)

OPERATORS_PER_FUNCTION = 2
"""The number of operators that are tried on a function before it is left."""
NO_SOURCES = ("test", "docs", "doc", "setup.py", "conftest", "bench", "example", "script", "_version", "build")
"""How files and folders begin in which no bugs are planted."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["find", "check", "list"])
    parser.add_argument("ids", nargs="*", metavar="ID", help="bugs to check; all of them if none is given")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--per-package", type=int, default=4, help="number of bugs per package, half of each kind")
    parser.add_argument("--most", type=int, default=20, help="largest number of tests that may catch a bug")
    parser.add_argument("--write-times", action="store_true", help="record the seconds that a check measures")
    parser.add_argument("--cache", type=Path, default=CACHE, help="folder for sources and requirements")
    parser.add_argument("--records", type=Path, default=RECORDS, help="file of the records")
    options = parser.parse_args()
    {"find": find, "check": check, "list": summary}[options.command](options)


def find(options: argparse.Namespace) -> None:
    """Write the records of all packages. What the file already has of a package is kept, so that a broken search goes on."""
    records = read_records(options.records) if options.records.exists() else []
    for package in PACKAGES:
        known = [record for record in records if record.package == package.name]
        if not known:
            records += found_in(package, Counter(record.operator for record in records), options)
            write_records(records, options.records)
    summary(options)


def found_in(package: Package, used: Counter[str], options: argparse.Namespace) -> list[Record]:
    """Return the records of one package. Functions are tried in an order that the seed and the package's name decide."""
    with tempfile.TemporaryDirectory() as folder:
        where, python = unpacked(package, Path(folder) / package.name, options.cache)
        project = Project(where, python, package.command, where, "", "")
        right = run_tests(project)
        if not right.passed:
            sys.exit(f"the tests of {package.name} fail without a bug: {right.failing[:3] or right.code}")
        search = Search(package, project, right, used, random.Random(f"{options.seed}:{package.name}"), options.most)
        records = list(search.records(options.per_package))
    return sorted(records, key=lambda record: (record.file, record.line))


@dataclass(frozen=True)
class Search:
    """The search for the bugs of one package."""

    package: Package
    project: Project
    right: Outcome
    """What its tests give without a bug."""
    used: Counter[str]
    """How many bugs each operator has made, in all packages."""
    draw: random.Random
    most: int
    numbers: Counter[str] = field(default_factory=Counter)
    """How many bugs each operator has made in this package."""

    def records(self, wanted: int) -> Iterator[Record]:
        """Yield up to ``wanted`` records, half of them of bugs that one edit undoes. No two are of the same function."""
        missing = {True: wanted // 2, False: wanted - wanted // 2}
        seen: Counter[str] = Counter()
        functions = list(self._functions())
        self.draw.shuffle(functions)
        # Files whose functions already have bugs come later.
        while functions and any(missing.values()):
            file, function = min(functions, key=lambda function: seen[str(function[0])])
            functions.remove((file, function))
            within = missing[True] > missing[False] or not missing[False]
            record = self._record(file, function, within)
            seen[str(file)] += 1
            if record is not None:
                missing[within] -= 1
                self.used[record.operator] += 1
                print(f"{record.id:40}{len(record.failing):4} tests  {record.file}: {record.function}", flush=True)
                yield record

    def _functions(self) -> Iterator[tuple[Path, FunctionText]]:
        """Yield the functions that the tests call, in the order of files and lines."""
        called = functions_called(self.project)
        root = self.project.folder / self.package.sources
        for file in sorted(root.rglob("*.py")):
            if not any(part.startswith(NO_SOURCES) for part in file.relative_to(self.project.folder).parts):
                for function in functions_of(read_text(file)):
                    if (str(file), function.name) in called:
                        yield file, function

    def _record(self, file: Path, function: FunctionText, within: bool) -> Record | None:
        """Return the record of a bug in the function, or None if none of those that were tried is caught as it should be."""
        text = read_text(file)
        project = replace(self.project, file=file, original=text)
        for plant in self._plants(function.code, within):
            wrongs = [function.replaced(text, code) for code in (plant.code, *plant.halves)]
            caught = self._outcome(project, wrongs[0])
            few = caught.honest and len(caught.failing) <= self.most
            halves_caught = few and all(self._outcome(project, wrong).honest for wrong in wrongs[1:])
            # A second run shows whether the same tests fail each time.
            if halves_caught and self._outcome(project, wrongs[0]).failing == caught.failing:
                return self._written(project, function, plant, wrongs[0], caught, within)
        return None

    def _plants(self, code: str, within: bool) -> Iterator[Plant]:
        """Yield a plant by each of a few operators, the one that was used least first."""
        plants = small_plants(code) if within else large_plants(code, self.draw)
        self.draw.shuffle(plants)
        operators = sorted(dict.fromkeys(plant.operator for plant in plants), key=lambda name: self.used[name])
        for operator in operators[:OPERATORS_PER_FUNCTION]:
            of_operator = (plant for plant in plants if plant.operator == operator)
            fitting = (plant for plant in of_operator if in_search(code, plant.code) == within)
            yield from islice(fitting, 1)

    def _outcome(self, project: Project, text: str) -> Outcome:
        """Return what the tests give with ``text`` in the place of the file."""
        project.write(text)
        try:
            return run_tests(project, most=self.most + 1)
        finally:
            project.write(project.original)

    def _written(
        self, project: Project, function: FunctionText, plant: Plant, wrong: str, outcome: Outcome, within: bool
    ) -> Record:
        package, replaced = self.package, Replaced.between(project.original, wrong)
        self.numbers[plant.operator] += 1
        return Record(
            id=f"{package.name}:{plant.operator.replace(' ', '-')}-{self.numbers[plant.operator]}",
            package=package.name,
            version=package.version,
            sdist_sha256=package.sdist_sha256,
            file=project.file.relative_to(project.folder).as_posix(),
            function=function.name,
            operator=plant.operator,
            in_search=within,
            line=project.original.count("\n", 0, replaced.start) + 1,
            replaced=replaced,
            tests=package.command,
            failing=outcome.failing,
            n_tests=self.right.n_tests,
            suite_s=round(self.right.seconds, 2),
        )


def check(options: argparse.Namespace) -> None:
    """Rebuild the bugs, and exit with 1 if the tests of some do not fail as recorded or do not pass without the bug."""
    records = read_records(options.records)
    chosen = [record for record in records if not options.ids or record.id in options.ids]
    wrong, seconds = [], dict[str, float]()
    for record in chosen:
        reason, suite_s = _difference(record, options.cache)
        wrong += [record.id] if reason else []
        seconds[record.package] = min(suite_s, seconds.get(record.package, suite_s))
        print(f"{record.id:40}{reason or 'as recorded'}", flush=True)
    if options.write_times:
        timed = [replace(record, suite_s=round(seconds.get(record.package, record.suite_s), 2)) for record in records]
        write_records(timed, options.records)
    print(json.dumps({"benchmark": "fix_bugs", "checked": len(chosen), "wrong": wrong}))
    sys.exit(bool(wrong))


def _difference(record: Record, cache: Path) -> tuple[str, float]:
    """Return in which way a rebuilt bug differs from its record, or "", and the seconds that the tests took without the bug."""
    with tempfile.TemporaryDirectory() as folder:
        project = rebuild(record, Path(folder) / "bug", cache)
        with_bug = run_tests(project)
        project.write(project.original)
        without = run_tests(project)
    if with_bug.failing != record.failing or not with_bug.honest:
        return f"other tests fail: {with_bug.failing or with_bug.code}", without.seconds
    return "" if without.passed else f"tests fail without the bug: {without.failing or without.code}", without.seconds


def summary(options: argparse.Namespace) -> None:
    """Print how many bugs there are by package and by operator."""
    records = read_records(options.records)
    for record in {record.package: record for record in records}.values():
        of_package = [other for other in records if other.package == record.package]
        within = sum(other.in_search for other in of_package)
        print(
            f"{record.package:20}{len(of_package):4} bugs, {within} in the search{record.suite_s:8} s, {record.n_tests} tests"
        )
    counts = {
        name: dict(Counter(record.operator for record in records if record.in_search == within).most_common())
        for name, within in (("in_search", True), ("not_in_search", False))
    }
    for name, operators in counts.items():
        print(f"{name:15}{operators}")
    print(json.dumps({"benchmark": "fix_bugs", "bugs": len(records), **counts}))


if __name__ == "__main__":
    main()
