"""Check that the test runner reports the facts that a repair needs, on HumanEval and on a file of MBPP.

    python benchmarks/sandbox_facts.py [--mbpp FILE] [--repeats 10] [--workers N]

Three programs are run per task: the reference, one that returns None and one that raises. The table counts

- references that pass; those that fail are listed with the reason,
- programs that return None and whose first failure gives the input, the expected value and the value got,
- programs that raise and whose error gives its type and its line,
- programs whose verdict is not the same in each repeat ("unsteady").

The file of MBPP is a JSON array or JSON lines with ``code``, ``test_list`` and ``test_setup_code`` (or ``test_imports``). It is run
once. Prints a table, then one JSON line.
"""

from __future__ import annotations

import argparse
import ast
import json
import platform
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlx_selfdebug.sandbox import TestRunner, Verdict
from mlx_selfdebug.tasks import Checks, load_tasks

KINDS = ("reference", "returns None", "raises")
RAISING_LINE = "    raise ValueError('on purpose')"


@dataclass(frozen=True)
class Row:
    """A task whose three programs are run."""

    id: str
    entry_point: str
    reference: str
    checks: Checks

    def programs(self) -> tuple[str, str, str]:
        """Return the programs in the order of ``KINDS``."""
        head = f"def {self.entry_point}(*args, **kwargs):\n"
        return self.reference, head + "    return None\n", f"{head}    x = 1\n{RAISING_LINE}\n"


@dataclass(frozen=True)
class Results:
    """The verdicts on all programs of a set."""

    rows: Sequence[Row]
    verdicts: Mapping[tuple[str, str], Verdict]
    """The verdicts of the first repeat, by the row's id and the kind of the program."""
    unsteady: tuple[str, ...]
    """The programs that a later repeat gave another verdict, each as "id, kind"."""
    repeats: int
    seconds: float
    """Wall time of all repeats."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mbpp", type=Path, metavar="FILE")
    parser.add_argument("--repeats", type=int, default=10, help="how often HumanEval is run")
    parser.add_argument("--workers", type=int, default=None, help="programs run at a time; default: usable processors")
    parser.add_argument("--limit", type=int, default=None, help="number of tasks per set; all by default")
    options = parser.parse_args()
    left_out: list[str] = []
    with TestRunner(options.workers) as runner:
        sets = {"HumanEval": judge(runner, humaneval()[: options.limit], options.repeats)}
        if options.mbpp:
            sets["MBPP"] = judge(runner, mbpp(options.mbpp, left_out)[: options.limit], 1)
        level = runner.isolation
    numbers = {name: count(results) for name, results in sets.items()}
    show(sets, numbers, left_out)
    print(json.dumps(record(sets, numbers, left_out, level)))


def humaneval() -> list[Row]:
    return [Row(task.id, task.entry_point, task.reference, task.hidden) for task in load_tasks("humaneval")]


def mbpp(file: Path, left_out: list[str]) -> list[Row]:
    """Return the rows of the file in order. A row that is not made of checks of one function is added to ``left_out`` instead."""
    rows = []
    for record in _records(file):
        id_ = f"MBPP/{record['task_id']}"
        try:
            name = _entry_point(record)
            rows.append(
                Row(
                    id_,
                    name,
                    record["code"].replace("\r\n", "\n"),
                    Checks.from_asserts(record["test_list"], _setup(record)),
                )
            )
        except (SyntaxError, ValueError) as error:
            left_out.append(f"{id_}: {error}")
    return rows


def _records(file: Path) -> list[dict[str, Any]]:
    try:
        text = file.read_text(encoding="utf-8")
        if text.lstrip().startswith("["):
            return list(json.loads(text))
        return [json.loads(line) for line in text.splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        sys.exit(f"{file} cannot be read as a JSON array or JSON lines: {error}")


def _setup(record: Mapping[str, Any]) -> str:
    return "\n".join([record.get("test_setup_code", ""), *record.get("test_imports", ())]).replace("\r\n", "\n")


def _entry_point(record: Mapping[str, Any]) -> str:
    """Return the name of the first function that the tests call and the code defines."""
    defined = {node.name for node in ast.parse(record["code"]).body if isinstance(node, ast.FunctionDef)}
    for text in record["test_list"]:
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in defined:
                return node.func.id
    raise ValueError("its tests call no function of its code")


def judge(runner: TestRunner, rows: Sequence[Row], repeats: int) -> Results:
    """Run the programs of all rows ``repeats`` times and return their verdicts."""
    seen: dict[tuple[str, str], set[object]] = defaultdict(set)
    first: dict[tuple[str, str], Verdict] = {}
    started = time.monotonic()
    for _ in range(repeats):
        futures = {
            (row.id, kind): runner.submit(program, row.checks, row.entry_point)
            for row in rows
            for kind, program in zip(KINDS, row.programs(), strict=True)
        }
        for key, future in futures.items():
            verdict = future.result()
            first.setdefault(key, verdict)
            seen[key].add((verdict.outcome, verdict.failures, verdict.n_passed, verdict.n_checks))
    unsteady = tuple(f"{id_}, {kind}" for (id_, kind), verdicts in seen.items() if len(verdicts) > 1)
    return Results(rows, first, unsteady, repeats, time.monotonic() - started)


def count(results: Results) -> dict[str, int]:
    by_kind = {kind: [results.verdicts[row.id, kind] for row in results.rows] for kind in KINDS}
    return {
        "tasks": len(results.rows),
        "references_pass": sum(verdict.passed for verdict in by_kind["reference"]),
        "none_passes": sum(verdict.passed for verdict in by_kind["returns None"]),
        "none_full_facts": sum(map(_full, by_kind["returns None"])),
        "raising_passes": sum(verdict.passed for verdict in by_kind["raises"]),
        "raising_error_and_line": sum(map(_located, by_kind["raises"])),
        "unsteady": len(results.unsteady),
        "repeats": results.repeats,
    }


def _full(verdict: Verdict) -> bool:
    return bool(verdict.failures) and all(
        (verdict.failures[0].input, verdict.failures[0].expected, verdict.failures[0].got)
    )


def _located(verdict: Verdict) -> bool:
    error = verdict.failures[0].error if verdict.failures else None
    return error is not None and (error.type, error.line, error.source.strip()) == (
        "ValueError",
        3,
        RAISING_LINE.strip(),
    )


def failing(results: Results) -> Iterable[str]:
    """Yield a line for each reference that does not pass, with the reason."""
    for row in results.rows:
        verdict = results.verdicts[row.id, "reference"]
        if not verdict.passed:
            yield f"{row.id} {row.entry_point}: {reason(verdict)}"


def partial(results: Results) -> Iterable[str]:
    """Yield a line for each program that returns None and lacks a fact, with its first failure."""
    for row in results.rows:
        verdict = results.verdicts[row.id, "returns None"]
        if not _full(verdict):
            yield f"{row.id} {row.entry_point}: {reason(verdict)}"


def reason(verdict: Verdict) -> str:
    if not verdict.failures:
        return verdict.outcome
    failure = verdict.failures[0]
    parts = [verdict.outcome, failure.check]
    parts += [f"input {failure.input}"] * bool(failure.input) + [f"expected {failure.expected}"] * bool(
        failure.expected
    )
    parts += [f"got {failure.got}"] * bool(failure.got)
    parts += [f"{failure.error.type}: {failure.error.message}"] if failure.error else []
    return "; ".join(part if len(part) <= 90 else part[:87] + "..." for part in parts)


def show(sets: Mapping[str, Results], numbers: Mapping[str, Mapping[str, int]], left_out: Sequence[str]) -> None:
    print(f"{'':38}" + "".join(f"{name:>12}" for name in sets))
    for key in next(iter(numbers.values())):
        print(f"{key.replace('_', ' '):38}" + "".join(f"{numbers[name][key]:>12}" for name in sets))
    print(f"{'seconds':38}" + "".join(f"{results.seconds:>12.1f}" for results in sets.values()))
    for name, results in sets.items():
        for title, lines in (
            ("references that fail", failing(results)),
            ("programs that return None and lack a fact", partial(results)),
            ("unsteady", results.unsteady),
        ):
            print("\n".join([f"\n{name}, {title}:", *(f"  {line}" for line in lines)]))
    if left_out:
        print("\n".join(["\nleft out:", *(f"  {line}" for line in left_out)]))
    print()


def record(
    sets: Mapping[str, Results], numbers: Mapping[str, Mapping[str, int]], left_out: Sequence[str], level: str
) -> dict[str, Any]:
    return {
        "benchmark": "sandbox_facts",
        "python": platform.python_version(),
        "machine": platform.machine(),
        "system": platform.system(),
        "level": level,
        "sets": {
            name: {
                **counted,
                "none_full_facts_share": round(counted["none_full_facts"] / max(counted["tasks"], 1), 4),
                "references_that_fail": [line.partition(" ")[0] for line in failing(sets[name])],
                "left_out": len(left_out) if name == "MBPP" else 0,
            }
            for name, counted in numbers.items()
        },
    }


if __name__ == "__main__":
    main()
