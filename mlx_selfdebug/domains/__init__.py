"""Domains by name. One from outside the package is an entry point of the group ``mlx_selfdebug.domains``, or:

>>> from mlx_selfdebug.domains import register
>>> register(MyDomain())                                                                # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from importlib.metadata import entry_points
from importlib.util import find_spec

from mlx_selfdebug.domains.base import Domain, Tidied
from mlx_selfdebug.domains.jq import JqDomain
from mlx_selfdebug.domains.mathematics import MathDomain
from mlx_selfdebug.domains.python import PythonDomain
from mlx_selfdebug.domains.reasoning import ReasoningDomain
from mlx_selfdebug.domains.regex import RegexDomain
from mlx_selfdebug.domains.sql import DuckDbDomain, SqlDomain
from mlx_selfdebug.domains.tables import PandasDomain, PolarsDomain
from mlx_selfdebug.errors import UnknownNameError, UsageError

__all__ = ["Domain", "Tidied", "domain_of", "packages_of", "register"]

_DOMAINS: dict[str, Domain] = {}


def register(domain: Domain) -> None:
    """Make ``domain`` known by its name; a second one of the same name takes its place."""
    _DOMAINS[domain.name] = domain


def domain_of(name: str) -> Domain:
    """The domain of that name. Raises UnknownNameError."""
    if name not in _DOMAINS:
        _from_entry_points()
    if name not in _DOMAINS:
        raise UnknownNameError("domain", name, _DOMAINS)
    return _DOMAINS[name]


def packages_of(names: Iterable[str]) -> tuple[str, ...]:
    """What the tests of these domains import. Raises UsageError for what is not installed, UnknownNameError for no domain."""
    found: list[str] = []
    for name in sorted(names):
        domain = domain_of(name)
        missing = [package for package in domain.packages if find_spec(package) is None]
        if missing:
            raise UsageError(
                f"tasks of the domain {name} need {', '.join(missing)}, not installed here", hint=domain.install
            )
        found += domain.packages
    return tuple(dict.fromkeys(found))


@cache
def _from_entry_points() -> None:
    for entry in entry_points(group="mlx_selfdebug.domains"):
        if entry.name not in _DOMAINS:
            register(entry.load()())


for _domain in (
    PythonDomain(),
    SqlDomain(),
    DuckDbDomain(),
    MathDomain(),
    ReasoningDomain(),
    PandasDomain(),
    PolarsDomain(),
    RegexDomain(),
    JqDomain(),
):
    register(_domain)
