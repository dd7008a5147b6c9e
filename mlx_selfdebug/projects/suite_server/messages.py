"""Define the requests for runs of tests, which ``projects/suite.py`` sends to the server as lines of JSON.

The field ``do`` of a request says what it asks for: "collect" for a ``CollectRequest``, "run" for a ``RunRequest``. Two further
kinds have no class here: "hello" asks which test framework the interpreter has, and "import" has modules imported before any run.
"""

from __future__ import annotations

from typing import TypedDict


class SwapRequest(TypedDict):
    """Other code for one function, to be put into the function that is loaded already."""

    path: str
    """The file that defines the function, as the tests see it."""
    name: str
    """The function's name, without those of its classes."""
    first: int
    """The number of the function's first line in its file, from 1, decorators included."""
    program: str
    """Source that defines the function on the same lines as its file does."""


class CollectRequest(TypedDict):
    """A request to load the project and collect tests, for runs that follow."""

    do: str
    id: int
    """A number that the answer repeats."""
    framework: str
    """Either "pytest", "unittest" or "script"."""
    arguments: list[str]
    """The arguments of the framework, or the command line of the script."""
    tests: list[str]
    """The ids of the tests. An empty list stands for those that ``arguments`` select."""
    facts: bool
    """Whether to report why tests failed, what they load and what they print."""
    trace: list[str]
    """The files, as the tests see them, of which the lines that each test runs are reported."""
    first_failure: bool
    """Whether to end the run with the first test that fails."""
    wall_s: float
    """Seconds for all of it."""


class RunRequest(CollectRequest):
    """A request to run tests with other text in some files of the project."""

    files: dict[str, str]
    """The texts that take the place of files, by the paths of these files as the tests see them."""
    on_disk: bool
    """Whether ``files`` are written to the disk. Otherwise only imports see them."""
    swap: SwapRequest | None
    """The one function whose body is all that ``files`` change, or None if they may change more."""
    stall_s: float
    """Seconds for one test."""
