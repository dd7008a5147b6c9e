"""Define the requests that ``projects/suite.py`` sends to the server as lines of JSON.

The field ``do`` names the kind of a request: "collect" for a ``CollectRequest``, "run" for a ``RunRequest``. Two further kinds have
no class here: "hello" asks which test framework the interpreter has, and "import" has modules imported before any run. Each answer
repeats the ``id`` of its request. A session may begin like this, with > before requests and < before answers:

    > {"do": "hello", "id": 0, "alone": true}
    < {"id": 0, "framework": "pytest"}
    > {"do": "import", "id": 0, "modules": ["numpy"]}
    < {"id": 0, "failed": []}
    > {"do": "run", "id": 1, "framework": "pytest", "tests": ["test_shop.py::test_total"], ...}
    < {"id": 1, "ending": "ended", "exit": 0, "tests": {"test_shop.py::test_total": {"outcome": "passed"}}, "lines": {}, ...}

``projects/suite_run.py`` reads the answers to runs.
"""

from __future__ import annotations

from typing import TypedDict


class SwapRequest(TypedDict):
    """New code for one function that is loaded already."""

    path: str
    """The file that defines the function, as the tests see it."""
    name: str
    """The function's name, without those of its classes."""
    first: int
    """The number of the function's first line in its file, from 1, decorators included."""
    program: str
    """Source that defines the function on the same lines as the file."""


class CollectRequest(TypedDict):
    """A request to load the project and collect tests, for runs that follow."""

    do: str
    id: int
    """The number of the request."""
    framework: str
    """Either "pytest", "unittest" or "script"."""
    arguments: list[str]
    """The arguments of the framework, or the command line of the script."""
    tests: list[str]
    """The ids of the tests. An empty list stands for those that ``arguments`` select."""
    facts: bool
    """Whether to report why tests failed, what they load and what they print."""
    trace: list[str]
    """The paths, as the tests see them, of the files to trace: the lines that each test runs in them are reported."""
    stop_at_first_failure: bool
    """Whether to end the run with the first test that fails."""
    wall_s: float
    """The largest number of seconds for the whole request."""


class RunRequest(CollectRequest):
    """A request to run tests with other text in some files of the project."""

    files: dict[str, str]
    """The texts that replace files, by the paths of the files as the tests see them."""
    on_disk: bool
    """Whether ``files`` are written to the disk. Otherwise only imports see them."""
    swap: SwapRequest | None
    """The function whose body is the only thing that ``files`` change, or None if they may change more."""
    stall_s: float
    """The largest number of seconds between two reports, and so for one test. Up to the first report, the server waits longer."""
