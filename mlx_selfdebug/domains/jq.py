"""Define the jq domain: an answer is one jq filter, and its outputs are compared as JSON.

A check gives the filter an input and expects the list of all its outputs: ``assert outputs({"a": 1}) == [1]``. Values are compared
together with their types, so ``true`` is not 1.

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
import shlex
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from functools import lru_cache
from typing import Any

from mlx_selfdebug.domains.base import Runner, Tidied
from mlx_selfdebug.domains.inside import source_of
from mlx_selfdebug.domains.prompted import NO_VALUE, Prompted, error_text, rewritten
from mlx_selfdebug.domains.tidying import fenced_or_whole
from mlx_selfdebug.parsing import literal, parse_quietly
from mlx_selfdebug.values.checks import Checks
from mlx_selfdebug.values.task import Task
from mlx_selfdebug.values.verdict import Failure, Verdict

_TOKEN = re.compile(r"\"(?:\\.|[^\"\\])*\"|[.$@]?\w+|[<>=!/|+*-]+|\S")
"""Matches a string, a name with its ``.``, ``$`` or ``@``, an operator, or one other character."""
_COMMENT = re.compile(r"#[^\n]*")
_COMMAND = re.compile(r"(?:\$\s+)?(?:cat\s+[^\s|]+\s*\|\s*)?jq\s+")
"""Matches the beginning of a command for a shell, up to the options: ``jq ``, ``$ jq `` or ``cat FILE | jq ``."""
_PRINTING_OPTION = re.compile(
    r"-[rcMCSaje]+|--(?:(?:raw|compact|join|ascii|color|monochrome)-output|sort-keys|tab|exit-status|unbuffered)"
)
"""Matches an option of the command that changes how outputs are printed, but not what they are."""
_QUOTED_FILTER = re.compile(r"\"([.\[{](?:\\\\|\\\"|[^\"\\])*)\"")
r"""Matches a filter in double quotes, which jq itself would read as a constant string. A constant solves no task.

A string with ``\(...)`` in it is no constant and is not matched.
"""


class JqDomain(Prompted):
    """The jq domain."""

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
        """Return the input, the expected outputs, and the outputs or the error that came instead, as JSON."""
        lines = ["Test failed:", f"Input: {_input_text(failure.input)}", f"Expected: {_outputs_text(failure.expected)}"]
        if failure.error:
            message = failure.error.message.removeprefix("jq: error: ").splitlines()
            lines.append(f"Error: {message[0] if message else error_text(failure)}")
        else:
            got = _outputs_text(failure.got) if failure.got else NO_VALUE.get(verdict.outcome, "nothing")
            lines.append(f"Got: {got}")
        return "\n".join(lines)

    def extract(self, text: str, task: Task) -> Tidied:  # noqa: ARG002
        """Return the filter. If it is written as for a shell (``jq -r '.a' file``), the command and the quotes are removed."""
        tidied = fenced_or_whole(text)
        unquoted = _without_command(tidied.code.strip())
        return Tidied(f"{unquoted}\n", (*tidied.steps, "quotes")) if unquoted else tidied

    def judge(self, code: str, task: Task, checks: Checks, runner: Runner) -> Future[Verdict]:
        program = f"{source_of('jq_program')}\nFILTER = {code.strip()!r}\n"
        return runner.submit(program, compared_as_json(checks), task.entry_point)

    def nothing(self, task: Task) -> str:  # noqa: ARG002
        return "empty\n"

    def normalise(self, code: str) -> str:
        return " ".join(self.tokens(code))

    def tokens(self, code: str) -> Sequence[str]:
        return _TOKEN.findall(_COMMENT.sub("", code))


@lru_cache(maxsize=1024)
def compared_as_json(checks: Checks) -> Checks:
    """Return the same checks with one side of each ``==``, ``!=``, ``in`` and ``not in`` made a ``Json``, which compares types too.

    >>> compared_as_json(Checks.from_asserts(["assert outputs(None) == [True]"])).source
    'def check(candidate):\\n    assert outputs(None) == Json([True])\\n'
    """
    return rewritten(checks, _AsJson(), source_of("json_values"))


class _AsJson(ast.NodeTransformer):
    """Wraps one side of each comparison in ``Json``: the left side of ``in``, and the right side of ``==``."""

    def visit_Compare(self, node: ast.Compare) -> ast.Compare:
        self.generic_visit(node)
        node.comparators = [
            _json(side) if isinstance(operator, ast.Eq | ast.NotEq) else side
            for operator, side in zip(node.ops, node.comparators, strict=True)
        ]
        if isinstance(node.ops[0], ast.In | ast.NotIn):
            node.left = _json(node.left)
        return node


def _json(node: ast.expr) -> ast.expr:
    return ast.Call(ast.Name("Json", ast.Load()), [node], [])


def _without_command(code: str) -> str | None:
    """Return the filter in a command for a shell or in quotes, or None if ``code`` is neither.

    A command counts only if its options leave the filter's input as it is.

    >>> _without_command("jq -r '.a' file.json"), _without_command("'.a'"), _without_command("jq -n '.a'"), _without_command(".a")
    ('.a', '.a', None, None)
    """
    string = _QUOTED_FILTER.fullmatch(code)
    if string:
        return re.sub(r"\\(.)", r"\1", string[1]).strip()
    command = _COMMAND.match(code)
    if not command and not code.startswith("'"):
        return None
    try:
        words = shlex.split(code[command.end() :] if command else code)
    except ValueError:
        return None
    words = [word for word in words if not _PRINTING_OPTION.fullmatch(word)]
    # The filter comes first. Only names of files may follow it, and only after a command.
    if not words or re.match(r"--?[A-Za-z]", words[0]) or (len(words) > 1 and not command):
        return None
    if any(word.startswith("-") or "|" in word for word in words[1:]):
        return None
    return words[0].replace("\\$", "$").strip()


def as_json(value: Any) -> str:
    """Return ``value`` as one line of JSON. Characters outside ASCII are not escaped."""
    return json.dumps(value, ensure_ascii=False)


def _cases(checks: Checks) -> Iterator[tuple[Any, Any]]:
    """Yield the input and the expected outputs of each assert that a call equals a literal. Other asserts are skipped."""
    for node in ast.walk(parse_quietly(checks.source)):
        test = node.test if isinstance(node, ast.Assert) else None
        if not isinstance(test, ast.Compare) or not isinstance(test.left, ast.Call):
            continue
        if len(test.ops) != 1 or not isinstance(test.ops[0], ast.Eq):
            continue
        try:
            yield ast.literal_eval(test.left.args[0]), ast.literal_eval(test.comparators[0])
        except (ValueError, IndexError):  # IndexError if the call has no argument
            continue


def _outputs(values: Any) -> str:
    """Return a list of outputs in one line, each as JSON: ``1 "a"`` for ``[1, "a"]``. Any other value is one output."""
    return " ".join(map(as_json, values)) if isinstance(values, list) else as_json(values)


# A failure holds values as Python literals. Long literals were cut, and such a text is shown as it is.


def _input_text(text: str) -> str:
    """Return the Python literal ``text`` as JSON, or ``text`` itself if it is no literal."""
    try:
        return as_json(literal(text))
    except (ValueError, SyntaxError):
        return text


def _outputs_text(text: str) -> str:
    """Return the outputs in the Python literal ``text`` in one line, or "nothing" if it is an empty list.

    If ``text`` is no literal, it is returned as it is.
    """
    try:
        return _outputs(literal(text)) or "nothing"
    except (ValueError, SyntaxError):
        return text
