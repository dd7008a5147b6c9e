"""The regex domain: an answer is one pattern for Python's ``re`` module.

A check lists all matches of the pattern in a text, whole and from left to right: ``assert find("a1 b2") == ["1", "2"]``.

>>> RegexDomain().extract("r'[0-9]+'", Task("t", "regex", "", "find")).code
'[0-9]+\\n'
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from concurrent.futures import Future

from mlx_selfdebug.domains.base import Runner, Tidied
from mlx_selfdebug.domains.inside import source_of
from mlx_selfdebug.domains.prompted import Prompted, shown_checks, tested_text
from mlx_selfdebug.domains.tidying import fenced_or_whole
from mlx_selfdebug.values.checks import Checks
from mlx_selfdebug.values.parsing import literal
from mlx_selfdebug.values.task import Task
from mlx_selfdebug.values.verdict import Failure, Verdict

_LITERAL = re.compile(r"r?(?:'[^'\n]*'|\"[^\"\n]*\")")
_TOKEN = re.compile(r"\\.|\[(?:\\.|[^\]\\])*\]|\(\?[:=!<]*|\{[\d,]*\}|.", re.DOTALL)


class RegexDomain(Prompted):
    name = "regex"
    fence = "regex"
    draft = "Write one regular expression for Python's re module. All its matches, whole, are what is found.\n\n{task}"
    again = "Write the regular expression again so that it passes."
    tested = "This regular expression was tested:\n\n{code}\n\n{facts}"
    hidden = "A regular expression for it was tested.\n\n{facts}"

    def task_text(self, task: Task, *, public_checks: bool) -> str:
        return "\n\n".join(
            [task.statement.strip(), *([shown_checks(task.public)] if public_checks and task.public else [])]
        )

    def failure_text(self, failure: Failure, verdict: Verdict, task: Task) -> str:  # noqa: ARG002
        return tested_text(failure, verdict)

    def extract(self, text: str, task: Task) -> Tidied:  # noqa: ARG002
        """Return the pattern. If it is written as a Python string literal, the value of the literal is returned."""
        tidied = fenced_or_whole(text)
        if not _LITERAL.fullmatch(tidied.code.strip()):
            return tidied
        try:
            return Tidied(f"{literal(tidied.code.strip())}\n", (*tidied.steps, "literal"))
        except (ValueError, SyntaxError):
            return tidied

    def judge(self, code: str, task: Task, checks: Checks, runner: Runner) -> Future[Verdict]:
        return runner.submit(f"{source_of('regex_program')}\nPATTERN = {code.strip()!r}\n", checks, task.entry_point)

    def nothing(self, task: Task) -> str:  # noqa: ARG002
        return "(?!)\n"

    def normalise(self, code: str) -> str:
        return code.strip()

    def tokens(self, code: str) -> Sequence[str]:
        return _TOKEN.findall(code.strip())
