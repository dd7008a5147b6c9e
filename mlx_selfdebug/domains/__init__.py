"""Register domains, and look them up by name with ``domain_of``.

A domain of another package is found through an entry point of the group ``mlx_selfdebug.domains``, or is registered by hand:

>>> from mlx_selfdebug.domains import register
>>> register(MyDomain())                                                                # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from importlib.metadata import entry_points

from mlx_selfdebug.domains.base import Domain, Tidied
from mlx_selfdebug.domains.jq import JqDomain
from mlx_selfdebug.domains.lean import LeanDomain
from mlx_selfdebug.domains.mathematics import MathDomain
from mlx_selfdebug.domains.project import ProjectDomain
from mlx_selfdebug.domains.prompted import Prompted, tested_text
from mlx_selfdebug.domains.proof import ProofDomain
from mlx_selfdebug.domains.python import PythonDomain
from mlx_selfdebug.domains.reasoning import ReasoningDomain
from mlx_selfdebug.domains.regex import RegexDomain
from mlx_selfdebug.domains.sql import DuckDbDomain, SqlDomain
from mlx_selfdebug.domains.tables import PandasDomain, PolarsDomain
from mlx_selfdebug.domains.tidying import fenced_or_whole
from mlx_selfdebug.errors import UnknownNameError

__all__ = ["Domain", "Prompted", "Tidied", "domain_of", "fenced_or_whole", "packages_of", "register", "tested_text"]

_DOMAINS: dict[str, Domain] = {}


def register(domain: Domain) -> None:
    """Register ``domain`` under its name, in place of any domain that was registered under that name before."""
    _DOMAINS[domain.name] = domain


def domain_of(name: str) -> Domain:
    """Return the domain of that name. Raises UnknownNameError if there is none."""
    if name not in _DOMAINS:
        _register_entry_points()
    if name not in _DOMAINS:
        raise UnknownNameError("domain", name, _DOMAINS)
    return _DOMAINS[name]


def packages_of(names: Iterable[str]) -> tuple[str, ...]:
    """Return the packages that the tests of the domains with these names import, each once.

    Raises UsageError if one of them, or a program that the tests need, is not installed, and UnknownNameError if no domain has one
    of the names.
    """
    domains = [domain_of(name) for name in sorted(names)]
    for domain in domains:
        domain.require_installed()
    return tuple(dict.fromkeys(package for domain in domains for package in domain.packages))


@cache
def _register_entry_points() -> None:
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
    ProjectDomain(),
    ProofDomain(),
    LeanDomain(),
):
    register(_domain)
