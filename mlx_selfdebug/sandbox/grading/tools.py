"""Define the tools that checks can use without an import.

These are ``raises``, ``approx``, ``almost_equal``, ``shows``, ``outputs_match`` and ``independent_test``. ``raises`` and ``approx``
behave like pytest's functions of these names, as far as checks need them. Checks that import pytest get these two instead. Most
uses of ``raises`` and ``independent_test`` never get here, since asserts.py replaces them with calls of the recorder.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from numbers import Complex
from types import ModuleType, TracebackType
from typing import Any, Literal

from mlx_selfdebug.sandbox.grading.outputs import outputs_match, shows
from mlx_selfdebug.sandbox.grading.signals import CandidateDied, StopChecks
from mlx_selfdebug.sandbox.wire.codec import OpaqueValueError

APPROX_RELATIVE, APPROX_ABSOLUTE = 1e-6, 1e-12
"""The tolerances of ``approx`` if none is given. They are those of pytest."""
Ending = Literal["raised", "not raised", "other"]
"""How a block that expects an exception ended: with that exception, without any, or with another one."""


class Raises:
    """A context manager that expects an exception, as in ``with Raises(ValueError, match="no") as caught``.

    After the block, the exception is ``caught.value``, its name in pytest, and also ``caught.exception``, its name in unittest.

    ``kinds`` is an exception type, a tuple of such types, or the name of a class that only the candidate has. ``match`` is a
    regular expression that must be found in the text of the exception, and ``message`` is the whole text.

    When the block ends, ``end(ending, error)`` is called. If it returns True, the exception is swallowed. The recorder passes a
    function of its own. The default function asserts that an exception was raised, and swallows the expected one.
    """

    def __init__(
        self,
        kinds: Any,
        match: str | None = None,
        *,
        message: str | None = None,
        end: Callable[[Ending, BaseException | None], bool] | None = None,
    ) -> None:
        self.value: Any = None
        self.exception: Any = None
        self._kinds, self._match, self._message = kinds, match, message
        self._end = end or _assert_raised

    def __enter__(self) -> Raises:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> bool:
        if error is None:
            return self._end("not raised", None)
        if isinstance(error, CandidateDied | StopChecks):  # these end the run, whatever the checks expect
            return False
        # An error of the grader itself must not satisfy ``raises(Exception)``.
        if isinstance(error, OpaqueValueError) or not self._expects(error):
            return self._end("other", error)
        self.value = self.exception = error
        return self._end("raised", error)

    def _expects(self, error: BaseException) -> bool:
        """Return whether this is an exception that the block expects, by its type and its text."""
        if isinstance(self._kinds, str):
            names = {base.__name__ for base in type(error).__mro__}
            is_expected = self._kinds.rpartition(".")[2] in names
        else:
            is_expected = isinstance(error, self._kinds)
        text = str(error)
        return is_expected and (not self._match or bool(re.search(self._match, text))) and self._message in (None, text)


def _assert_raised(ending: Ending, _: BaseException | None) -> bool:
    assert ending != "not raised", "no exception was raised"
    return ending == "raised"


@contextmanager
def independent_test(_name: str) -> Iterator[None]:
    """Do nothing but run the block. In recorded checks, ``Recorder.independent_test`` replaces it, and goes on if a block fails."""
    yield


class Approx:
    """A value that equals every number that is close to ``expected``, as ``approx`` of pytest does.

    ``expected`` may also be a list, a tuple, a dict or an array, whose elements are compared one by one. A list may take the place
    of a tuple, and a tuple that of a list. Values that are not numbers must be equal. There are three differences from pytest:
    containers may be nested, other sequences and sets are never close to a list or tuple, and a ``Decimal`` must be equal.
    """

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, expected: Any, rel: float | None = None, abs: float | None = None, nan_ok: bool = False) -> None:  # noqa: A002
        self.expected, self.rel, self.abs, self.nan_ok = expected, rel, abs, nan_ok

    def __repr__(self) -> str:
        return f"approx({self.expected!r})"

    def __eq__(self, got: object) -> bool:
        return self._close(got, self.expected)

    def _close(self, got: Any, expected: Any) -> bool:
        """Return whether two values are close. Lists, tuples, dicts and arrays are compared element by element."""
        if type(expected).__module__ == "numpy":
            return self._close(got, expected.tolist())
        if type(expected) in (list, tuple):
            same_shape = type(got) in (list, tuple) and len(got) == len(expected)
            return same_shape and all(map(self._close, got, expected))
        if type(expected) is dict:
            return (
                type(got) is dict
                and got.keys() == expected.keys()
                and all(self._close(got[k], expected[k]) for k in got)
            )
        if type(expected) is bool:
            return got is expected
        if got == expected:
            return True
        if not all(isinstance(value, Complex) for value in (got, expected)):
            return False
        try:
            return self._within(got, expected)
        except OverflowError:  # one of them is too large to be compared with a float
            return False

    def _within(self, got: Any, expected: Any) -> bool:
        """Return whether two numbers differ by no more than the tolerance."""
        if got != got or expected != expected:  # one of them is not a number
            return self.nan_ok and got != got and expected != expected
        if abs(expected) == float("inf"):
            return False
        absolute = APPROX_ABSOLUTE if self.abs is None else self.abs
        relative = self.rel
        if relative is None:  # as in pytest, an absolute tolerance that is given replaces the relative one
            relative = APPROX_RELATIVE if self.abs is None else 0.0
        return bool(abs(got - expected) <= max(absolute, relative * abs(expected)))


def almost_equal(first: Any, second: Any, places: int | None = None, delta: Any = None) -> bool:
    """Return whether ``assertAlmostEqual`` of ``unittest`` would accept the two values."""
    if first == second:
        return True
    difference = abs(first - second)
    if delta is not None:
        return bool(difference <= delta)
    return bool(round(difference, 7 if places is None else places) == 0)  # 7 is the default of unittest


def pytest_module() -> ModuleType:
    """Return a module that stands in for pytest in checks. pytest itself is not imported for them."""
    module = ModuleType("pytest")
    module.__dict__.update(raises=Raises, approx=Approx)
    return module


TOOLS = {
    "raises": Raises,
    "approx": Approx,
    "almost_equal": almost_equal,
    "shows": shows,
    "outputs_match": outputs_match,
    "independent_test": independent_test,
}
"""The tools by the names under which checks use them."""
