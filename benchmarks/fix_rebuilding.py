"""Rebuild planted bugs from their records: fetch the package's sources, set up an interpreter for its tests, put the bug in.

    for record in read_records(Path("benchmarks/results/fix/bugs.jsonl")):
        project = rebuild(record, Path("work") / record.id.replace(":", "-"))
        print(run_tests(project).failing)

Sources and requirements come from the package index by ``pip`` and are kept in a cache folder, so that the second bug of a package
takes a second to rebuild. Each rebuilt project has a small virtual environment of its own, in which its sources are importable as
after an editable install.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

from fix_packages import PYTEST, Package, package_named

CACHE = Path("~/.cache/mlx-selfdebug-bench").expanduser()
RECORDS = Path(__file__).parent / "results" / "fix" / "bugs.jsonl"
WALL_S = 30.0
"""The number of seconds that the tests of a bug may take before they count as hanging."""
TESTS_FAILED = 1
"""The exit code of pytest if tests were run and some of them failed."""


@dataclass(frozen=True)
class Replaced:
    """The one difference between a file and the same file with a bug."""

    start: int
    end: int
    text: str

    def applied(self, original: str) -> str:
        """Return the file with the bug. Offsets count characters, and newlines are as in the file.

        >>> Replaced(7, 8, "-").applied("return + 1")
        'return - 1'
        """
        return original[: self.start] + self.text + original[self.end :]

    @classmethod
    def between(cls, original: str, bugged: str) -> Replaced:
        """Return the shortest stretch of ``original`` that has to be replaced to get ``bugged``."""
        start = _length_in_common(original, bugged)
        behind = _length_in_common(original[start:][::-1], bugged[start:][::-1])
        return cls(start, len(original) - behind, bugged[start : len(bugged) - behind])


def _length_in_common(left: str, right: str) -> int:
    """Return the number of characters with which both texts begin."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(left, right, strict=False)))


@dataclass(frozen=True)
class Record:
    """A planted bug, as a line of the record file has it."""

    id: str
    package: str
    version: str
    sdist_sha256: str
    file: str
    """The path of the changed file inside the project."""
    function: str
    """The changed function; a method as "Class.method"."""
    operator: str
    in_search: bool
    """Whether some single edit of the search makes the function what it was. If none does, one may still make the tests pass."""
    line: int
    """The first changed line, from 1."""
    replaced: Replaced
    tests: tuple[str, ...]
    """The arguments after the interpreter that run the tests."""
    failing: tuple[str, ...]
    """The tests that fail with the bug."""
    n_tests: int
    suite_s: float
    """Seconds that the tests took without the bug on the machine that made the record."""

    def to_json(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, line: str) -> Record:
        """Return the record of one line of the file."""
        fields: dict[str, Any] = json.loads(line)
        lists = {name: tuple(fields[name]) for name in ("tests", "failing")}
        return cls(**{**fields, **lists, "replaced": Replaced(**fields["replaced"])})


@dataclass(frozen=True)
class Project:
    """An unpacked package with an interpreter that can run its tests."""

    folder: Path
    python: Path
    """The interpreter of the project's virtual environment."""
    tests: tuple[str, ...]
    file: Path
    """The file with the bug. It holds ``bugged``."""
    original: str
    bugged: str

    def write(self, text: str) -> None:
        """Put ``text`` in the place of the file with the bug, with the newlines that it has."""
        self.file.write_text(text, encoding="utf-8", newline="")


@dataclass(frozen=True)
class Outcome:
    """What a run of a project's tests gave."""

    code: int | None
    """The exit code, or None if the tests took too long."""
    failing: tuple[str, ...]
    """The ids of the tests that failed. The id of a file stands for tests that could not be collected."""
    n_tests: int
    seconds: float

    @property
    def passed(self) -> bool:
        return self.code == 0

    @property
    def honest(self) -> bool:
        """Return whether tests failed, and all that went wrong is that tests failed."""
        return self.code == TESTS_FAILED and bool(self.failing) and all("::" in test for test in self.failing)


def read_records(path: Path = RECORDS) -> list[Record]:
    """Return the records of a file, in its order."""
    return [Record.from_json(line) for line in path.read_text(encoding="utf-8").splitlines() if line]


def write_records(records: Iterable[Record], path: Path = RECORDS) -> None:
    """Write one line per record into a file, whose folder is made if it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{record.to_json()}\n" for record in records), encoding="utf-8")


def rebuild(record: Record, folder: Path, cache: Path = CACHE) -> Project:
    """Make the bug's project in ``folder``, which must not exist, and return it.

    Raises subprocess.CalledProcessError if ``pip`` fails, and ValueError if the sources are not those of the record.
    """
    package = package_named(record.package)
    if (package.version, package.sdist_sha256) != (record.version, record.sdist_sha256):
        raise ValueError(f"{record.id} is of another version of {record.package} than {package.version}")
    where, python = unpacked(package, folder, cache)
    file = where / record.file
    original = read_text(file)
    project = Project(where, python, record.tests, file, original, record.replaced.applied(original))
    project.write(project.bugged)
    return project


def unpacked(package: Package, folder: Path, cache: Path = CACHE) -> tuple[Path, Path]:
    """Unpack the sources of a package into a new ``folder``. Return where they are and the interpreter for their tests."""
    archive, requirements = _sdist(package, cache), _requirements(package, cache)
    folder = folder.absolute()
    folder.mkdir(parents=True)
    project = folder / "project"
    with tempfile.TemporaryDirectory(dir=folder) as beside, tarfile.open(archive) as tar:
        tar.extractall(beside, filter="data")
        [top] = Path(beside).iterdir()
        top.rename(project)
    return project, _environment(folder / "venv", [project / package.sources, requirements])


def read_text(file: Path) -> str:
    """Return the text of a file with the newlines that it has."""
    return file.read_bytes().decode()


def _sdist(package: Package, cache: Path) -> Path:
    """Return the source archive of a package, which is downloaded unless the cache has it."""
    kept = cache / "sdists" / f"{package.name}-{package.version}.tar.gz"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent) as folder:
            # pip asks the sources for their metadata, for which it installs what their build needs.
            _pip("download", "--no-deps", f"--no-binary={package.name}", f"--dest={folder}", _pinned(package))
            [archive] = Path(folder).glob("*.tar.gz")
            archive.replace(kept)
    if hashlib.sha256(kept.read_bytes()).hexdigest() != package.sdist_sha256:
        raise ValueError(f"{kept} is not the archive of {_pinned(package)} that the bugs were planted in")
    return kept


def _pinned(package: Package) -> str:
    return f"{package.name}=={package.version}"


def _requirements(package: Package, cache: Path) -> Path:
    """Return the folder with what the tests of a package need, which is made unless the cache has it."""
    tag = sys.implementation.cache_tag
    kept = cache / "requirements" / f"{package.name}-{package.version}-{tag}"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent) as folder:
            _pip("install", f"--target={folder}/new", PYTEST, *package.requires)
            shutil.move(f"{folder}/new", kept)
    return kept


def _pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", arguments[0], "--quiet", "--disable-pip-version-check", *arguments[1:]]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def _environment(folder: Path, importable: list[Path]) -> Path:
    """Make a virtual environment without packages that imports from the given folders, and return its interpreter."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    places = {"base": str(folder), "platbase": str(folder)}
    packages = Path(sysconfig.get_path("purelib", "venv", vars=places))
    (packages / "project.pth").write_text("".join(f"{path.absolute()}\n" for path in importable))
    return folder / "bin" / "python"


def run_tests(project: Project, wall_s: float = WALL_S, most: int = 0) -> Outcome:
    """Run the tests of a project as it lies in its folder. A ``most`` above 0 stops them after that many failures."""
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as cache:
        options = ["--color=no", "-o", f"cache_dir={cache}", *([f"--maxfail={most}"] if most else [])]
        command = [str(project.python), *project.tests, *options]
        try:
            done = subprocess.run(
                command, cwd=project.folder, env=_variables(), capture_output=True, text=True, timeout=wall_s
            )
        except subprocess.TimeoutExpired:
            return Outcome(None, (), 0, time.perf_counter() - started)
        failing = Path(cache) / "v" / "cache" / "lastfailed"
        names = json.loads(failing.read_text()) if failing.exists() else {}
    return Outcome(done.returncode, tuple(sorted(names)), _number_run(done.stdout), time.perf_counter() - started)


_NOTING = """
import json, runpy, sys

called = set()

def note(frame, event, argument):
    if event == "call":
        called.add((frame.f_code.co_filename, frame.f_code.co_qualname))

result, sys.argv = sys.argv[1], sys.argv[2:]
sys.setprofile(note)
try:
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
finally:
    sys.setprofile(None)
    with open(result, "w") as file:
        json.dump(sorted(called), file)
"""
"""A program that runs a module and writes down which functions were called, by file and name."""


def functions_called(project: Project) -> set[tuple[str, str]]:
    """Run the tests, and return the file and the qualified name of each function that they call in the main thread."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "called.json"
        # The tests' arguments begin with -m.
        command = [str(project.python), "-c", _NOTING, str(result), *project.tests[1:], "-p", "no:cacheprovider"]
        subprocess.run(command, cwd=project.folder, env=_variables(), capture_output=True)
        return {(file, name) for file, name in json.loads(result.read_text())}


def _variables() -> dict[str, str]:
    """Return the environment of a run of tests.

    Nothing is compiled to files: a bug that leaves a file's length and second of change as they were would not be seen.
    """
    outside = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PYTEST"))}
    return {**outside, "PYTHONDONTWRITEBYTECODE": "1"}


def _number_run(output: str) -> int:
    """Return the number of tests that the last line of pytest's output counts, without those that were skipped.

    >>> _number_run("2 failed, 10 passed, 1 skipped in 0.12s")
    12
    """
    last = output.strip().rpartition("\n")[2]
    return sum(
        int(n) for n, kind in re.findall(r"(\d+) (\w+)", last) if kind in ("passed", "failed", "xfailed", "xpassed")
    )
