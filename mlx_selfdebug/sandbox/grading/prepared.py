"""Convert prepared checks to bytes and back.

The first grader that runs certain checks prepares them and sends the result as bytes, which later graders start from. Only graders
read these bytes: the runner must not, since a grader runs untrusted code.
"""

from __future__ import annotations

import marshal
from dataclasses import astuple

from mlx_selfdebug.sandbox.grading.asserts import Compiled, Site
from mlx_selfdebug.sandbox.grading.checking import Prepared


def pack(prepared: Prepared) -> bytes:
    """Return prepared checks as bytes that ``unpack`` reads."""
    checks = prepared.checks
    return marshal.dumps((prepared.setup, checks.code, [astuple(site) for site in checks.sites], checks.lines))


def unpack(data: bytes) -> Prepared:
    """Return the prepared checks that ``pack`` wrote. The bytes must come from the same version of Python."""
    setup, code, sites, lines = marshal.loads(data)
    return Prepared(setup, Compiled(code, tuple(Site(*site) for site in sites), lines))
