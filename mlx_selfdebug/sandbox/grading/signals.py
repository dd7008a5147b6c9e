"""What ends or interrupts checks: exceptions between the remote candidate, its handles and the recorder."""

from __future__ import annotations

import builtins
from typing import cast

from mlx_selfdebug.values.verdict import ErrorFact, Outcome


class CandidateError(BaseException):
    """The candidate raised. What the checks see is a subclass that is also the built-in type it raised."""

    fact: ErrorFact


class CandidateDied(BaseException):
    """The candidate answers no more. No ``except Exception`` of a check may swallow it."""


class StopChecks(BaseException):
    """The checks end here, with ``outcome`` if that decides the run."""

    def __init__(self, message: str, outcome: Outcome | None = None) -> None:
        super().__init__(message)
        self.outcome = outcome


class UnsendableError(Exception):
    """The checks pass something that cannot travel: their fault, not the candidate's."""


def raisable(fact: ErrorFact, base_name: str) -> CandidateError:
    """An exception of the built-in type of that name, as far as one can be made of a fact."""
    base = getattr(builtins, base_name, Exception)
    if not (isinstance(base, type) and issubclass(base, BaseException)) or issubclass(base, BaseExceptionGroup):
        base = Exception
    kind = type(fact.type, (CandidateError, base), {"__init__": _no_init, "__str__": _message})
    error = cast(CandidateError, kind(fact.message))
    error.fact = fact
    return error


def base_name(kind: type[BaseException]) -> str:
    """The nearest built-in type."""
    return next((c.__name__ for c in kind.__mro__ if c.__module__ == "builtins"), "Exception")


def _no_init(self: CandidateError, *_: object) -> None:
    """Some built-in exceptions insist on arguments of their own."""


def _message(self: CandidateError) -> str:
    return self.fact.message
