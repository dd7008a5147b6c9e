"""Run a Python program as a single test, which passes if the program exits with 0."""

from __future__ import annotations

import os
import runpy
import sys

from .messages import CollectRequest
from .reports import Reports, facts_of

ID = "command"
"""The id of the only test."""


def run(request: CollectRequest, reports: Reports) -> int:
    """Run the program of a request. Return 0 if it exits with 0, and 1 if it exits with another code or raises."""
    reports.begin(ID)
    error: BaseException | None = None
    with reports.tracing():
        try:
            _run_program(request["arguments"])
        except SystemExit as exit_:
            error = exit_ if exit_.code not in (None, 0) else None
        except BaseException as raised:
            error = raised
    facts = facts_of(error, None) if error and reports.with_facts else {}
    reports.end(ID, "failed" if error else "passed", facts)
    return int(error is not None)


def _run_program(words: list[str]) -> None:
    """Run "-m NAME" or a file with its arguments, as the command ``python`` would."""
    if words[0] == "-m":
        sys.argv = words[1:]
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = words
        sys.path.insert(0, os.path.dirname(os.path.abspath(words[0])))
        runpy.run_path(words[0], run_name="__main__")
