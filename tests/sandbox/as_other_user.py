"""The corpus as user nobody, for ``test_escapes.py``: prints the level, and each program with a wrong outcome, as JSON."""

from __future__ import annotations

import json
import os
import sys

NOBODY = 65534


def main() -> None:
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)
    from mlx_selfdebug.sandbox import TestRunner
    from tests.sandbox.escapes import ESCAPES
    from tests.sandbox.hostile import ALL, ROOMY

    programs = [*ESCAPES, *(hostile for hostile in ALL if hostile.limits == ROOMY)]
    with TestRunner(workers=2, limits=ROOMY) as runner:
        futures = [
            (hostile, runner.submit(hostile.source, hostile.checks, hostile.entry_point)) for hostile in programs
        ]
        found = [(hostile, future.result().outcome) for hostile, future in futures]
        wrong = {hostile.name: outcome for hostile, outcome in found if outcome not in hostile.outcomes}
        json.dump({"uid": os.getuid(), "level": runner.isolation, "wrong": wrong}, sys.stdout)


if __name__ == "__main__":
    main()
