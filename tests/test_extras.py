"""What an optional extra installs is all that the domains which name it need. The requirements are those of what is installed here."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from mlx_selfdebug.domains import domain_of

PROJECT = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
NAMES = ["duckdb", "math", "reasoning", "pandas", "polars", "jq"]


def installed_by(requirements: list[str]) -> set[str]:
    """The names of all distributions that pip installs for requirements in an empty environment."""
    found: set[str] = set()
    waiting = [(Requirement(text), "") for text in requirements]
    seen = set()
    while waiting:
        requirement, extra = waiting.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        name = canonicalize_name(requirement.name)
        for wanted in (requirement.extras or {""}) | {""}:
            if (name, wanted) not in seen:
                seen.add((name, wanted))
                found.add(name)
                waiting += [(Requirement(text), wanted) for text in metadata.requires(name) or []]
    return found


@pytest.mark.parametrize("name", NAMES)
def test_the_extra_that_a_domain_names_installs_every_package_that_it_asks_for(name: str) -> None:
    domain = domain_of(name)
    extra = re.findall(r"\[(\w+)\]", domain.install)[0]
    installed = installed_by([*PROJECT["dependencies"], *PROJECT["optional-dependencies"][extra]])
    homes = metadata.packages_distributions()
    missing = [
        package
        for package in domain.packages
        if not installed & {canonicalize_name(home) for home in homes.get(package, [])}
    ]
    assert missing == []


def test_every_extra_of_a_domain_is_for_developers_too() -> None:
    extras = PROJECT["optional-dependencies"]
    apart = {"cpu", "cuda", "dev", "docs", "wandb"}
    wanted = {text for name, texts in extras.items() if name not in apart for text in texts}
    assert wanted <= set(extras["dev"])
