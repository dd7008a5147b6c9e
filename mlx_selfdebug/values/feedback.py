"""Define ``Feedback``: what a repair prompt shows of the attempt that failed.

A control shows less than everything, to find out which part helped.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Feedback:
    """What a prompt shows of a task and of a failed attempt."""

    code: bool = True
    """Whether the failed code is shown."""
    facts: bool = True
    """Whether the facts of its tests are shown. If not, the prompt only says that a test failed."""
    public_checks: bool = True
    """Whether the public checks of the task are shown, in drafts as well as in repairs."""


EVERYTHING = Feedback()
CODE_ONLY = Feedback(facts=False)
NOTICE = Feedback(code=False, facts=False)
"""The prompt only says that the attempt failed."""
MAX_FACTS = 3
"""The most failed checks that a repair prompt shows. Training and inference must agree, so this is said once, here."""
