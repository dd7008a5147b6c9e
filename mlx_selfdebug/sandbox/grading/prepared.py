"""Convert prepared checks to bytes and back.

The first grader that runs certain checks prepares them, and later graders use what it made. Only graders read these bytes, never
the runner, since a grader runs untrusted code.
"""

from __future__ import annotations

import ast
import marshal
from dataclasses import astuple

from mlx_selfdebug.sandbox.grading.asserts import Compiled, Site
from mlx_selfdebug.sandbox.grading.checking import Prepared
from mlx_selfdebug.sandbox.grading.shareable import keeps_to_itself


def pack(prepared: Prepared) -> bytes:
    checks = prepared.checks
    return marshal.dumps((prepared.setup, checks.code, [astuple(site) for site in checks.sites], checks.lines))


def unpack(data: bytes) -> Prepared:
    setup, code, sites, lines = marshal.loads(data)
    return Prepared(setup, Compiled(code, tuple(Site(*site) for site in sites), lines))


def shareable(checks: str, setup: str) -> bool:
    """Return whether a grader that ran these checks may run other checks afterwards. Both sources must parse."""
    return keeps_to_itself(ast.parse(checks), ast.parse(setup))
