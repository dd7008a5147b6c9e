"""Domains by name. One from outside the package is an entry point of the group ``mlx_selfdebug.domains``, or:

>>> from mlx_selfdebug.domains import register
>>> register(MyDomain())                                                                # doctest: +SKIP
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import entry_points

from mlx_selfdebug.domains.base import Domain, Tidied
from mlx_selfdebug.domains.python import PythonDomain
from mlx_selfdebug.errors import UnknownNameError

__all__ = ["Domain", "Tidied", "domain_of", "register"]

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


@cache
def _from_entry_points() -> None:
    for entry in entry_points(group="mlx_selfdebug.domains"):
        if entry.name not in _DOMAINS:
            register(entry.load()())


register(PythonDomain())
