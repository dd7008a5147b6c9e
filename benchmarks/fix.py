"""Fix real small bugs in real packages by several means, each within the same seconds, and print one table.

    python benchmarks/fix.py run [--arms search repairs drafts] [--bugs ID ...] [--seconds 60] [--adapter FOLDER]
    python benchmarks/fix.py table

``run`` rebuilds each bug of ``results/fix/bugs.jsonl`` (see ``fix_bugs.py``) and calls ``fix_project`` on it, as
``mlx-selfdebug fix`` does. The model is loaded once. Every arm gets the same seconds for each bug, counted from the first run of
its tests. A fix is checked from outside: the change is written into the project and its tests are run without our sandbox; they
must pass, and nothing but lines of one function may differ. Results are appended to ``results/fix/ARM.jsonl`` as they come, and a
bug that is in there is not run again. ``table`` makes the table from these records alone and ends with one JSON line.

The arms:

``search``     edits, then lines and statements put in, then forks; what edits fix alone is read off the same runs
``repairs``    repairs that are shown the function and the facts
``drafts``     fresh drafts
``adapter``    repairs with ``--adapter``
"""

from __future__ import annotations

import argparse
import ast
import json
import platform
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from mlx_selfdebug.models.backend import device_name, mx

from fix_rebuilding import CACHE, RECORDS, Record, read_records, rebuild, run_tests

from mlx_selfdebug.evaluation.statistics import mcnemar, wilson
from mlx_selfdebug.fixing import Effort, FixResult, FixSettings, Project, TestCommand, fix_project
from mlx_selfdebug.models.load import Model, load_model

RESULTS = Path(__file__).parent / "results" / "fix"
STEPS = (
    "running the tests",
    "finding suspects",
    "warming up",
    "reading",
    "until the first verdict",
    "a try (median)",
    "trying edits",
    "total",
)
ALONE = Effort(waves=(2,), tries=0, rewritten_lines=0, insertions=0, forks=0, repairs=0, drafts=0)
ARMS: Mapping[str, Effort] = {
    "search": Effort(repairs=0, drafts=0),
    "repairs": replace(ALONE, repairs=24),
    "adapter": replace(ALONE, repairs=24),
    "drafts": replace(ALONE, drafts=24),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    running = commands.add_parser("run")
    running.add_argument("--arms", nargs="+", choices=list(ARMS), default=["search", "repairs", "drafts"])
    running.add_argument("--bugs", nargs="+", default=[], metavar="ID")
    running.add_argument("--seconds", type=float, default=60.0)
    running.add_argument("--adapter", type=Path)
    running.add_argument("--cache", type=Path, default=CACHE)
    commands.add_parser("table")
    arguments = parser.parse_args()
    if arguments.command == "run":
        run(arguments)
    else:
        table()


def run(arguments: argparse.Namespace) -> None:
    """Fix every bug that has no result yet, arm by arm."""
    for arm in arguments.arms:
        model = load_model("qwen2.5-coder-0.5b", adapter=arguments.adapter if arm == "adapter" else None)
        done = {result["id"] for result in results_of(arm)}
        for record in read_records(RECORDS):
            if record.id in done or (arguments.bugs and record.id not in arguments.bugs):
                continue
            result = one(record, arm, model, arguments)
            with (RESULTS / f"{arm}.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(result) + "\n")
            print(
                f"{arm:8} {record.id:36} {result['outcome']:12} {result['by']:7} {result['wall_s']:6.1f} s", flush=True
            )


def one(record: Record, arm: str, model: Model, arguments: argparse.Namespace) -> dict[str, Any]:
    """Rebuild one bug, fix it, check the fix from outside, and return what came of it."""
    with tempfile.TemporaryDirectory() as folder:
        project = rebuild(record, Path(folder).resolve() / "bug", arguments.cache)
        command = TestCommand("pytest", tuple(word for word in record.tests if word not in ("-m", "pytest")))
        begin = time.monotonic()
        result = fix_project(
            Project(project.folder, str(project.python), command),
            model,
            settings=FixSettings(seconds=arguments.seconds, effort=ARMS[arm]),
        )
        wall_s = time.monotonic() - begin
        return {
            "id": record.id,
            "outcome": result.outcome,
            "by": result.change.by if result.fixed and result.change else "-",
            "wall_s": round(wall_s, 2),
            "right_function": bool(result.change and result.change.function == record.function),
            "rank": rank_of(record, result),
            "special_cases": bool(result.change and result.change.special_cases),
            "decoded_tokens": result.decoded_tokens,
            "tried": dict(result.tried),
            "seconds": {step: round(seconds, 3) for step, seconds in result.seconds.items()},
            "notes": list(result.notes),
            "diff": result.change.diff() if result.change else "",
            **(checked(record, project, result) if result.fixed else {}),
        }


def rank_of(record: Record, result: FixResult) -> int | None:
    """Return the place of the function with the bug among the suspects, from 1."""
    names = [name for name, _ in result.suspects]
    wanted = f"{record.file}::{record.function}"
    return names.index(wanted) + 1 if wanted in names else None


def checked(record: Record, project: Any, result: FixResult) -> dict[str, Any]:
    """Write the change into the project, run its tests without our sandbox, and compare with the original."""
    assert result.change is not None
    text = result.change.data.decode()
    before, after = project.bugged.splitlines(keepends=True), text.splitlines(keepends=True)
    project.write(text)
    outcome = run_tests(project, wall_s=120)
    same_file = result.change.file.name == record.file
    return {
        "holds": outcome.passed,
        "same_program": same_file and ast.dump(ast.parse(text)) == ast.dump(ast.parse(project.original)),
        "lines_changed": sum(line not in before for line in after) + sum(line not in after for line in before),
    }


def results_of(arm: str) -> list[dict[str, Any]]:
    """Return the results of an arm that are stored."""
    path = RESULTS / f"{arm}.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def rows() -> Iterator[tuple[str, list[str], dict[str, bool]]]:
    """Yield for each way of fixing its name, its cells and which bugs it fixed."""
    for arm in ARMS:
        results = results_of(arm)
        ways = {"edits alone": ("edits",), "edits, lines and forks": ()} if arm == "search" else {arm: ()}
        for name, by in ways.items():
            if results:
                fixed = {r["id"]: r["outcome"] == "fixed" and (not by or r["by"] in by) for r in results}
                yield name, _cells(results, fixed), fixed


def _cells(results: Sequence[Mapping[str, Any]], fixed: Mapping[str, bool]) -> list[str]:
    good = [r for r in results if fixed[r["id"]]]
    n, k = len(results), len(good)
    interval = wilson(k, n)
    return [
        f"{k} of {n}",
        f"{100 * k / n:.0f} % ({100 * interval.low:.0f} to {100 * interval.high:.0f})",
        f"{median(r['wall_s'] for r in good):.0f} s" if good else "-",
        str(sum(r["same_program"] for r in good)),
        str(sum(not r["holds"] for r in good)),
    ]


def table() -> None:
    """Print the table of all arms, then one JSON line."""
    all_rows = list(rows())
    kinds = {record.id: record.in_search for record in read_records(RECORDS)}
    print(
        "| what | fixed | share, 95 % interval | median time | identical to the original | failed a test outside the sandbox |\n"
        "|---|---|---|---|---|---|"
    )
    for name, cells, _ in all_rows:
        print(f"| {name} | {' | '.join(cells)} |")
    for name, _, fixed in all_rows:
        inside = [ok for id_, ok in fixed.items() if kinds[id_]]
        outside = [ok for id_, ok in fixed.items() if not kinds[id_]]
        print(
            f"{name}: {sum(inside)} of {len(inside)} whose inverse is an edit, {sum(outside)} of {len(outside)} others"
        )
    summary: dict[str, Any] = {name: cells for name, cells, _ in all_rows}
    found = {name: fixed for name, _, fixed in all_rows}
    search = found.pop("edits, lines and forks", {})
    for name in sorted(found.keys() & set(ARMS)):
        other = found[name]
        both = [id_ for id_ in search if id_ in other]
        won = sum(search[id_] and not other[id_] for id_ in both)
        lost = sum(other[id_] and not search[id_] for id_ in both)
        summary[f"search against {name}"] = {"won": won, "lost": lost, "p": mcnemar(won, lost)}
        print(f"search against {name}: {won} won, {lost} lost, p = {mcnemar(won, lost):.2g}")
    ranks = [r["rank"] for r in results_of("search")]
    for most in (1, 3):
        print(
            f"the function with the bug among the first {most}: {sum(bool(r) and r <= most for r in ranks)} of {len(ranks)}"
        )
    steps = [r["seconds"] for r in results_of("search")]
    for step in STEPS:
        values = [seconds[step] for seconds in steps if step in seconds]
        if values:
            print(f"{step}: median {median(values):.3g} s, largest {max(values):.3g} s")
    print(json.dumps({**summary, "machine": platform.processor() or platform.machine(), "python": platform.python_version(),
                      "mlx": mx.__version__, "device": device_name()}))  # fmt: skip


if __name__ == "__main__":
    main()
