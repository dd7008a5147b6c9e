"""Define the SQL domains: an answer is one query that only reads, and it must give the right rows.

The facts for a repair are the database's error, or the rows that differ.

A task's ``starter_code`` is the schema that the prompt shows. Its ``data`` holds the databases that the checks name, as JSON:
``{"a": {"script": "CREATE TABLE ..."}}``, or for a database file ``{"a": {"sqlite": ...}}`` with the file's bytes, compressed by
zlib and written in base 85. The query runs in one process, and the checks compare its rows in another one: as a multiset, or in
order if the outermost query of the reference has an ORDER BY.

    >>> is_ordered("SELECT name FROM t ORDER BY name"), is_ordered("SELECT max(x) FROM (SELECT x FROM t ORDER BY y)")
    (True, False)
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from itertools import pairwise
from typing import Any

from mlx_selfdebug.domains.base import Runner, Tidied
from mlx_selfdebug.domains.inside import source_of
from mlx_selfdebug.domains.prompted import NO_VALUE, Prompted, error_text, got_text
from mlx_selfdebug.domains.tidying import fenced_or_whole
from mlx_selfdebug.values.checks import Checks
from mlx_selfdebug.values.task import Task
from mlx_selfdebug.values.verdict import Failure, Verdict

ENTRY_POINT = "answer"
"""The name of the function, in the programs that run a query, which the checks call."""
_TOKEN = re.compile(
    r"""'(?:''|[^'])*' | "(?:""|[^"])*" | `[^`]*` | \[[^\]]*\] | [^\W\d]\w* | \d[\w.]* | [<>=!|]+ | [^\s\w]""",
    re.VERBOSE,
)
"""Matches a string, a quoted name in one of three ways, a word, a number, an operator, or one other character."""
_COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)
"""Matches a comment of SQL, of either form."""


class SqlDomain(Prompted):
    """The SQL domain on SQLite."""

    name = "sql"
    fence = "sql"
    draft = "Write one SQLite query that answers the question.\n\n{task}"
    again = "Write the query again so that it gives the right rows."
    tested = "This query was run:\n\n{code}\n\n{facts}"
    hidden = "A query for it was run.\n\n{facts}"
    program = "sqlite_program"
    """The file in ``inside/`` that runs a query."""

    def task_text(self, task: Task, *, public_checks: bool) -> str:  # noqa: ARG002
        return f"```sql\n{task.starter_code.strip()}\n```\n\n{task.statement.strip()}"

    def failure_text(self, failure: Failure, verdict: Verdict, task: Task) -> str:  # noqa: ARG002
        if failure.error:
            return f"Error: {failure.error.message.partition(chr(10))[0] or error_text(failure)}"
        if failure.got:
            return f"Wrong rows: {got_text(failure)}"
        return f"Error: {NO_VALUE.get(verdict.outcome, verdict.outcome)}"

    def extract(self, text: str, task: Task) -> Tidied:  # noqa: ARG002
        return fenced_or_whole(text)

    def judge(self, code: str, task: Task, checks: Checks, runner: Runner) -> Future[Verdict]:
        program = (
            f"{source_of(self.program)}\nDATABASES.update(__import__('json').loads({task.data!r}))\nQUERY = {code!r}\n"
        )
        return runner.submit(program, checks, ENTRY_POINT)

    def nothing(self, task: Task) -> str:  # noqa: ARG002
        return "SELECT NULL WHERE 0\n"

    def normalise(self, code: str) -> str:
        """Return the tokens in lower case, except strings and quoted names, without semicolons and comments."""
        return " ".join(token if token[0] in "'\"`[" else token.lower() for token in self.tokens(code) if token != ";")

    def tokens(self, code: str) -> Sequence[str]:
        return _TOKEN.findall(_COMMENT.sub(" ", code))


class DuckDbDomain(SqlDomain):
    """The SQL domain on DuckDB. Its databases are always scripts."""

    name = "duckdb"
    draft = "Write one DuckDB query that answers the question.\n\n{task}"
    program = "duckdb_program"
    packages: tuple[str, ...] = ("duckdb",)
    install = "pip install 'mlx-selfdebug[duckdb]'"


def rows_checks(expected: Mapping[str, Sequence[Sequence[Any]]], *, ordered: bool) -> Checks:
    """Return checks that a query gives the expected rows on each database.

    ``expected`` maps the names of databases to rows. With ``ordered``, the order of the rows counts.
    """
    lines = [
        f"    assert difference(candidate({name!r}), {[list(row) for row in rows]!r}, {ordered}) == ''\n"
        for name, rows in expected.items()
    ]
    return Checks.from_source("def check(candidate):\n" + "".join(lines), source_of("rows")) if lines else Checks()


def is_ordered(query: str) -> bool:
    """Return whether the outermost query of ``query`` has an ORDER BY."""
    depth, words = 0, []
    for token in _TOKEN.findall(_COMMENT.sub(" ", query)):
        depth += (token == "(") - (token == ")")
        if depth == 0:
            words.append(token.lower())
    return ("order", "by") in pairwise(words)
