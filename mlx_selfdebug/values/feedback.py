"""Define ``Feedback``: which parts of a failed attempt a repair prompt shows.

In an evaluation, some arms are controls: their prompts leave out a part, to find out whether that part helps.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Feedback:
    """Which parts of a task and of a failed attempt a prompt shows."""

    code: bool = True
    """Whether the failed code is shown."""
    facts: bool = True
    """Whether the facts of its tests are shown. If not, the prompt only says that a test failed."""
    public_checks: bool = True
    """Whether the public checks of the task are shown, in drafts as well as in repairs."""


EVERYTHING = Feedback()
CODE_ONLY = Feedback(facts=False)
"""The prompt shows the failed code, and says that a test failed without its facts."""
NOTICE = Feedback(code=False, facts=False)
"""The prompt only says that the attempt failed."""
MAX_FACTS = 3
"""The maximum number of failed checks that a repair prompt shows. Training and inference must both use this number."""
