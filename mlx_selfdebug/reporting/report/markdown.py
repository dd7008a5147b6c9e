"""The report as Markdown: its headline and tables, without pictures and codes."""

from __future__ import annotations

from collections.abc import Iterator

from mlx_selfdebug.config import flatten
from mlx_selfdebug.evaluation.evidence import Evidence, HalfEvidence
from mlx_selfdebug.reporting.columns import markdown_table
from mlx_selfdebug.reporting.records import Records
from mlx_selfdebug.reporting.report import tables
from mlx_selfdebug.reporting.report.headline import headline
from mlx_selfdebug.reporting.report.tables import Table


def report_markdown(records: Records) -> str:
    return "\n\n".join(_parts(records)) + "\n"


def _parts(records: Records) -> Iterator[str]:
    found = headline(records)
    yield f"# {found.sentence}"
    yield from found.lines
    if records.evidence:
        yield from _evaluation(records.evidence)
    yield from _section("Stages", tables.stages_table(records))
    yield from _section("Where time went", tables.parts_table(records))
    yield from _section("Pairs", tables.pairs_table(records))
    yield from _section("Repairs of held-back tasks, by which the epoch was chosen", tables.checks_table(records))
    yield from _section("Attempts on the training tasks", tables.collected_table(records.collected))
    yield from _section("Training tasks nearest to test tasks", tables.overlap_table(records))
    yield from _section("Machine", tables.mapping_table([*records.hardware.items(), *records.versions.items()]))
    yield from _section("Settings", tables.mapping_table(flatten(records.config).items()))


def _evaluation(evidence: Evidence) -> Iterator[str]:
    yield from _half(evidence, "Before and after, by arm", "")
    if evidence.bugs:
        yield from _half(evidence.bugs, "Bugs, by arm", "Bugs: ")


def _half(half: HalfEvidence, title: str, label: str) -> Iterator[str]:
    """``label`` stands before every title but the first."""

    def titled(text: str, table: Table) -> Iterator[str]:
        return _section(f"{label}{text[0].lower() + text[1:] if label else text}", table)

    yield from _section(title, tables.arms_table(half))
    yield from titled("Declared contrasts", tables.contrasts_table(half))
    yield from titled("Repaired, by what made them", tables.operators_table(half))
    yield from titled("Solved, of those of which no draft of the base is right", tables.hard_table(half))
    yield from titled("Problems solved at tenths of the tokens", tables.curves_table(half))
    yield from titled("Problems solved after each attempt a task", tables.after_table(half))
    yield from titled("Solved, by how the program that they begin with failed", tables.groups_table(half, "by_error"))
    yield from titled("Solved, by length of the reference", tables.groups_table(half, "by_size"))
    if half.regressions or not label:
        regressions = tables.mapping_table(((one.task_id, one.kind) for one in half.regressions), ("task", "from, to"))
        yield from titled(f"Right before, wrong after: {len(half.regressions)}", regressions)


def _section(title: str, table: Table) -> Iterator[str]:
    if table.rows:
        yield f"## {title}"
        yield markdown_table([table.head, *table.rows])
