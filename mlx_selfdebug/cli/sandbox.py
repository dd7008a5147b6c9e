"""Check, before model-written code is run, that it can be confined here, or that the user accepts that it cannot."""

from __future__ import annotations

import textwrap
from collections.abc import Callable

WIDTH = 80


def require_sandbox(say: Callable[[str], None], *, allow_weak: bool) -> None:
    """Check the sandbox, and if it is weak, say what a program could do here.

    Raises SandboxError if the sandbox is weak and ``allow_weak`` is false.
    """
    from mlx_selfdebug.sandbox.isolation import describe_isolation, isolation_notice, require_level

    isolation = describe_isolation()
    require_level(isolation, "none" if allow_weak else "full")
    if notice := isolation_notice(isolation):
        say(textwrap.fill(notice, WIDTH))
