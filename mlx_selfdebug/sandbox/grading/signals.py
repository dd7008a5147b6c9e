"""Define the exceptions that end or interrupt checks. The remote candidate, its handles and the recorder raise and catch them."""

from __future__ import annotations

import builtins
from typing import cast

from mlx_selfdebug.values.verdict import ErrorFact, Outcome


class CandidateError(BaseException):
    """An exception that the candidate raised. The checks see a subclass that is also the built-in type that was raised."""

    fact: ErrorFact


class CandidateDied(BaseException):
    """An exception that says that the candidate answers no more.

    It derives from BaseException, so that no ``except Exception`` of a check swallows it.
    """


class StopChecks(BaseException):
    """An exception that ends the checks. ``outcome`` is given if it decides the run."""

    def __init__(self, message: str, outcome: Outcome | None = None) -> None:
        super().__init__(message)
        self.outcome = outcome


class UnsendableError(Exception):
    """An exception about an argument that cannot be sent to the candidate. That is the checks' fault, not the candidate's."""


def raisable(fact: ErrorFact, base_name: str) -> CandidateError:
    """Return an exception for ``fact`` that is of the built-in type with that name, or of Exception where that cannot be made."""
    base = getattr(builtins, base_name, Exception)
    if not (isinstance(base, type) and issubclass(base, BaseException)) or issubclass(base, BaseExceptionGroup):
        base = Exception
    kind = type(fact.type, (CandidateError, base), {"__init__": _no_init, "__str__": _message})
    error = cast(CandidateError, kind(fact.message))
    error.fact = fact
    return error


def base_name(kind: type[BaseException]) -> str:
    """Return the name of the nearest built-in type among the exception's bases."""
    return next((c.__name__ for c in kind.__mro__ if c.__module__ == "builtins"), "Exception")


def _no_init(self: CandidateError, *_: object) -> None:
    """Accept any arguments: the constructors of some built-in exceptions insist on arguments of their own."""


def _message(self: CandidateError) -> str:
    return self.fact.message
