"""The jq domain: an answer is one jq filter.

A check gives the filter an input and expects the list of all its outputs: ``assert outputs({"a": 1}) == [1]``.

>>> task = Task("t", "jq", "Give the names.", "outputs", public=Checks.from_asserts(['assert outputs({"name": None}) == [None]']))
>>> print(JqDomain().task_text(task, public_checks=True))
Give the names.
<BLANKLINE>
Input: {"name": null}
Output: null
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from typing import Any

from mlx_selfdebug.domains.base import Runner, Tidied
from mlx_selfdebug.domains.inside import source_of
from mlx_selfdebug.domains.prompted import NO_VALUE, Prompted, error_text
from mlx_selfdebug.domains.tidying import fenced_or_whole
from mlx_selfdebug.values.checks import Checks
from mlx_selfdebug.values.parsing import literal, parse_quietly
from mlx_selfdebug.values.task import Task
from mlx_selfdebug.values.verdict import Failure, Verdict

_TOKEN = re.compile(r"\"(?:\\.|[^\"\\])*\"|[.$@]?\w+|[<>=!/|+*-]+|\S")
_COMMENT = re.compile(r"#[^\n]*")


class JqDomain(Prompted):
    name = "jq"
    fence = "jq"
    draft = "Write one jq filter.\n\n{task}"
    again = "Write the filter again so that it passes."
    tested = "This filter was tested:\n\n{code}\n\n{facts}"
    hidden = "A filter for it was tested.\n\n{facts}"
    packages: tuple[str, ...] = ("jq",)
    install = "pip install 'mlx-selfdebug[tables]'"

    def task_text(self, task: Task, *, public_checks: bool) -> str:
        shown = "\n".join(
            f"Input: {as_json(given)}\nOutput: {_outputs(expected)}" for given, expected in _cases(task.public)
        )
        return "\n\n".join([task.statement.strip(), *([shown] if public_checks and shown else [])])

    def failure_text(self, failure: Failure, verdict: Verdict, task: Task) -> str:  # noqa: ARG002
        lines = ["Test failed:", f"Input: {_read(failure.input)}", f"Expected: {_read(failure.expected, every=True)}"]
        if failure.error:
            message = failure.error.message.removeprefix("jq: error: ").splitlines()
            lines.append(f"Error: {message[0] if message else error_text(failure)}")
        else:
            got = _read(failure.got, every=True) if failure.got else NO_VALUE.get(verdict.outcome, "nothing")
            lines.append(f"Got: {got}")
        return "\n".join(lines)

    def extract(self, text: str, task: Task) -> Tidied:  # noqa: ARG002
        """Return the filter. If it is quoted as for a shell (``jq '.a'``), the quotes are removed."""
        tidied = fenced_or_whole(text)
        quoted = re.fullmatch(r"(?:jq\s+)?'([^']*)'\s*", tidied.code)
        return Tidied(quoted[1].strip() + "\n", (*tidied.steps, "quotes")) if quoted else tidied

    def judge(self, code: str, task: Task, checks: Checks, runner: Runner) -> Future[Verdict]:
        return runner.submit(f"{source_of('jq_program')}\nFILTER = {code.strip()!r}\n", checks, task.entry_point)

    def nothing(self, task: Task) -> str:  # noqa: ARG002
        return "empty\n"

    def normalise(self, code: str) -> str:
        return " ".join(self.tokens(code))

    def tokens(self, code: str) -> Sequence[str]:
        return _TOKEN.findall(_COMMENT.sub("", code))


def as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _cases(checks: Checks) -> Iterator[tuple[Any, Any]]:
    """Yield the input and the expected outputs of each check. Checks of another form than the one above are skipped."""
    for node in ast.walk(parse_quietly(checks.source)):
        if isinstance(node, ast.Assert) and isinstance(node.test, ast.Compare) and isinstance(node.test.left, ast.Call):
            try:
                yield ast.literal_eval(node.test.left.args[0]), ast.literal_eval(node.test.comparators[0])
            except (ValueError, IndexError):
                continue


def _outputs(values: Any) -> str:
    """Return all outputs in one line, each as jq prints it."""
    return " ".join(map(as_json, values)) if isinstance(values, list) else as_json(values)


def _read(text: str, *, every: bool = False) -> str:
    """Return the Python literal ``text`` as JSON, or ``text`` itself if it is no literal, as when a failure shows it cut short."""
    try:
        value = literal(text)
    except (ValueError, SyntaxError):
        return text
    return (_outputs(value) or "nothing") if every else as_json(value)
