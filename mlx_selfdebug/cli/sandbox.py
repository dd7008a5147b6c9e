"""Before model-written code is run: that it can be confined here, or that the user knows it is not."""

from __future__ import annotations

import textwrap
from collections.abc import Callable

WIDTH = 80


def require_sandbox(say: Callable[[str], None], *, allow_weak: bool) -> None:
    """Says what a program could do here if it is weakly confined. Raises SandboxError if that is not allowed."""
    from mlx_selfdebug.sandbox.isolation import describe_isolation, isolation_notice, require_level

    found = describe_isolation()
    require_level(found, "none" if allow_weak else "full")
    if notice := isolation_notice(found):
        say(textwrap.fill(notice, WIDTH))
