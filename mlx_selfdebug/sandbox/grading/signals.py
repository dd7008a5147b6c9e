"""Define the exceptions that interrupt or end the checks.

CandidateDied and StopChecks derive from BaseException alone, so that no ``except Exception`` of the checks catches them.
"""

from __future__ import annotations

import builtins
from typing import cast

from mlx_selfdebug.values.verdict import ErrorFact, Outcome


class CandidateError(BaseException):
    """An exception that the candidate raised.

    The checks see a subclass that also derives from the built-in type that was raised (see ``raisable``), so that they can expect
    and catch it like that type.
    """

    fact: ErrorFact
    """The type, the message and the line of the exception, for the record of a failed check."""


class CandidateDied(BaseException):
    """The error of a call to a candidate that no longer answers."""


class StopChecks(BaseException):
    """The exception that ends the checks early. If that decides the run, ``outcome`` is the run's outcome."""

    def __init__(self, message: str, outcome: Outcome | None = None) -> None:
        super().__init__(message)
        self.outcome = outcome


class UnsendableError(Exception):
    """The error of an argument that cannot be sent to the candidate, which is the fault of the checks."""


def raisable(fact: ErrorFact, base_name: str) -> CandidateError:
    """Return an exception for ``fact`` that also is an instance of the built-in exception type called ``base_name``.

    If there is no such type, or if it is an exception group, which needs the exceptions in it, it is an instance of Exception.
    """
    base = getattr(builtins, base_name, Exception)
    if not (isinstance(base, type) and issubclass(base, BaseException)) or issubclass(base, BaseExceptionGroup):
        base = Exception
    kind = type(fact.type, (CandidateError, base), {"__init__": _no_init, "__str__": _message})
    error = cast(CandidateError, kind(fact.message))
    error.fact = fact
    return error


def base_name(kind: type[BaseException]) -> str:
    """Return the name of the nearest built-in type among ``kind`` and its bases."""
    return next((c.__name__ for c in kind.__mro__ if c.__module__ == "builtins"), "Exception")


def _no_init(self: CandidateError, *_: object) -> None:
    """Accept any arguments. The constructors of some built-in exceptions, such as UnicodeDecodeError, insist on certain ones."""


def _message(self: CandidateError) -> str:
    return self.fact.message
