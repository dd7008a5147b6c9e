"""The test runner: what passes here did pass. See README.md for what it protects from, and what not yet."""

from mlx_selfdebug.sandbox.runner import Limits, TestRunner, describe_isolation, isolation_notice
from mlx_selfdebug.sandbox.verdict import ErrorFact, Failure, Verdict

__all__ = ["ErrorFact", "Failure", "Limits", "TestRunner", "Verdict", "describe_isolation", "isolation_notice"]
