"""List the packages into whose sources ``fix_bugs.py`` plants bugs, each with what its tests need.

All of them are pure Python, their source archives hold the tests, and these take a few seconds and no network.
"""

from __future__ import annotations

from dataclasses import dataclass

PYTEST = "pytest==8.4.2"
"""The requirement that the tests of every package have."""


@dataclass(frozen=True)
class Package:
    """A package whose source archive holds tests."""

    name: str
    version: str
    sdist_sha256: str
    """The SHA-256 of the source archive, in hexadecimal digits."""
    tests: tuple[str, ...]
    """The arguments after ``python -m pytest -q``."""
    sources: str = "."
    """The folder from which the package is imported, relative to the unpacked archive."""
    requires: tuple[str, ...] = ()
    """What the package and its tests need besides pytest."""

    @property
    def command(self) -> tuple[str, ...]:
        """Return the arguments after the interpreter that run the tests."""
        return ("-m", "pytest", "-q", *self.tests)


PACKAGES = (
    Package(
        "inflection",
        "0.5.1",
        "1a29730d366e996aaacffb2f1f1cb9593dc38e2ddd30c91250c6dde09ea9b417",
        ("test_inflection.py",),
    ),
    Package(
        "isodate",
        "0.7.2",
        "4cd1aa0f43ca76f4a6c6c0292a85f40b35ec2e43e315b59f06e6d32171a953e6",
        ("tests",),
        "src",
    ),
    Package("toolz", "1.2.0", "9667a038e9d6ecba37995e26cb2f59ec6420b6ad8dd9677de59db9b956b08490", ("toolz/tests",)),
    Package(
        "webcolors",
        "25.10.0",
        "62abae86504f66d0f6364c2a8520de4a0c47b80c03fc3a5f1815fedbef7c19bf",
        ("tests",),
        "src",
    ),
    Package("tabulate", "0.10.0", "e2cfde8f79420f6deeffdeda9aaec3b6bc5abce947655d17ac662b126e48a60d", ("test",)),
    Package(
        "funcy", "2.1", "8979feb3de7120afd1d00e5a8eae810c1942e4bfbc91697151e9ee1e49f79284", ("tests",),
        requires=("whatever==0.7",),
    ),
    Package(
        "semver",
        "3.1.2",
        "bea193552413194252d33ff26ce0962b76669bd1c6fb17e8e203ac37f072feaf",
        ("-o", "addopts=", "tests"),
        "src",
    ),
    Package(
        "itsdangerous",
        "2.2.0",
        "e0050c0b7da1eea53ffaf149c0cfbb5c6e2e2b69c4bef22c81fa6eb73e5f6173",
        ("tests",),
        "src",
        ("freezegun==1.5.5",),
    ),
    Package(
        "python-slugify",
        "9.2.0",
        "cee32948083476013804de1667724fb1362dacb71e47b1d5d92adf8db6ee3298",
        ("tests",),
        requires=("text-unidecode==1.3",),
    ),
    Package(
        "validators",
        "0.36.0",
        "92ad9ed00bbed320b784cec0ea90b213cf08904cf605b3d0852cfa4108e32a2c",
        ("tests", "--ignore=tests/crypto_addresses"),
        "src",
    ),
    Package(
        "mistune",
        "3.4.0",
        "2eaf7952af928ca8d33b779762effc1da517b62c6ad85ec8ca957e3b07b9782a",
        (
            "tests/test_directives.py", "tests/test_hooks.py", "tests/test_misc.py", "tests/test_plugins.py",
            "tests/test_renderers.py", "tests/test_syntax.py",
        ),
        "src",
    ),
    Package(
        "glom",
        "25.12.0",
        "1ae7da88be3693df40ad27bdf57a765a55c075c86c971bcddd67927403eb0069",
        ("glom/test", "--ignore=glom/test/test_cli.py"),
        requires=("attrs==26.1.0", "boltons==26.2.0", "face==26.0.1", "pyyaml==6.0.4"),
    ),
    Package(
        "parse",
        "1.22.4",
        "706d458feed5a81b02768d3156e8070baf6cee7d150a3a3c0cd43101a875c3b5",
        ("-o", "addopts=", "tests"),
    ),
    Package(
        "num2words",
        "0.5.14",
        "b066ec18e56b6616a3b38086b5747daafbaa8868b226a36127e0451c0cf379c6",
        ("tests", "--ignore=tests/test_cli.py"),
        requires=("docopt==0.6.2",),
    ),
    Package(
        "cachetools",
        "8.0.2",
        "30ac523adfc118b51d2b2e7bad8a0ddb31370dfe2700c7f10ca224f36ccf81e0",
        ("tests",),
        "src",
    ),
)  # fmt: skip


def package_named(name: str) -> Package:
    """Return the package of that name. Raises KeyError if there is none."""
    return {package.name: package for package in PACKAGES}[name]
