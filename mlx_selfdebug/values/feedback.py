"""What a repair prompt shows of the attempt that failed: everything, or less, where a control must tell what it was that helped."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Feedback:
    """``code``: the failed code. ``facts``: what its tests said (False leaves the sentence that it failed).
    ``public_checks``: the task's public checks, in drafts and repairs alike.
    """

    code: bool = True
    facts: bool = True
    public_checks: bool = True


EVERYTHING = Feedback()
CODE_ONLY = Feedback(facts=False)
NOTICE = Feedback(code=False, facts=False)
"""That it failed, and nothing else."""
