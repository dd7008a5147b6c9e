"""Tables for a terminal: plain text, 80 columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mlx_selfdebug.evaluation.result import ArmResult, Result, Score

NOT_SHOWN = (
    "Not shown: whether this is learning. This version has no blind-resampling arm at\n"
    "equal tokens and no paired test; small differences on few problems are luck."
)


def columns(rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> str:
    """Rows of cells as aligned lines; the columns in ``right`` are flushed right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(w) if i in right else cell.ljust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def result_table(result: Result) -> str:
    """Before and after, by problem and by check, and what the table does not show."""
    rows = [
        ["", "problems solved", "", "checks passed", ""],
        ["", "first pass", "after repair", "first pass", "after repair"],
    ]
    rows += [[name, *_cells(arm)] for name, arm in (("base", result.base), ("adapter", result.adapter))]
    return columns(rows, right=(1, 2, 3, 4)) + "\n\n" + NOT_SHOWN


def _cells(arm: ArmResult) -> list[str]:
    def cell(score: tuple[int, int]) -> str:
        return f"{score[0]}/{score[1]}"

    first, after = arm.first_pass, arm.after_repair
    return [cell(first.problems), cell(after.problems), cell(first.checks), cell(after.checks)]


def stage_table(stages: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [["stage", "seconds", "peak GiB"]]
    rows += [[name, f"{s['wall_s']:.1f}", gib(s["peak_bytes"])] for name, s in stages.items()]
    return columns(rows, right=(1, 2))


def summary_text(summary: Mapping[str, Any]) -> str:
    """A summary for a person: what was made, before and after, time and memory by stage."""
    kinds = ", ".join(f"{n} {kind}" for kind, n in summary["pairs"].items())
    parts = [
        f"model {summary['model']} · preset {summary['preset']} · seed {summary['seed']} · test runner: {summary['isolation']}",
        f"{summary['attempts']['total']} attempts, pairs: {kinds}",
    ]
    if result := _result(summary):
        parts.append(result_table(result))
    return "\n\n".join([*parts, stage_table(summary["stages"])])


def gib(n_bytes: int | None) -> str:
    return f"{n_bytes / 2**30:.2f}" if n_bytes else "-"


def _result(summary: Mapping[str, Any]) -> Result | None:
    """The result a summary holds, None if the run was not evaluated."""
    if not summary.get("base") or not summary.get("adapter"):
        return None
    arms = [_arm(summary[name]) for name in ("base", "adapter")]
    return Result((), *arms)


def _arm(data: Mapping[str, Any]) -> ArmResult:
    return ArmResult(
        *(Score(tuple(data[k]["problems"]), tuple(data[k]["checks"])) for k in ("first_pass", "after_repair"))
    )
