"""Render the report as Markdown: its headline, its tables, and the programs that the model read.

The charts, the pairs and the programs of regressions are only in the HTML page.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from mlx_selfdebug.columns import columns, markdown_table
from mlx_selfdebug.config import flatten
from mlx_selfdebug.evaluation.evidence import Evidence, HalfEvidence
from mlx_selfdebug.evaluation.readings import StoredReading
from mlx_selfdebug.repair.picture import as_text
from mlx_selfdebug.reporting.records import Records
from mlx_selfdebug.reporting.report import tables
from mlx_selfdebug.reporting.report.diff import diff_lines
from mlx_selfdebug.reporting.report.headline import headline
from mlx_selfdebug.reporting.report.tables import Table
from mlx_selfdebug.reporting.words import ending_text

READINGS_INTRODUCTION = """\
These failed programs were given to the base model as if each were its own answer to the statement; it was not told that they
failed. The most surprising token of a line is marked, with what the model would rather have written: `[- -> +]`. Below each program
are its most surprising places and the edit that is right. The programs are examples, chosen among those that an edit fixed."""


def report_markdown(records: Records) -> str:
    """Return the report as Markdown text."""
    return "\n\n".join(_parts(records)) + "\n"


def _parts(records: Records) -> Iterator[str]:
    """Yield the paragraphs, titles and tables of the report in their order."""
    head = headline(records)
    yield f"# {head.sentence}"
    yield from head.lines
    if records.evidence:
        yield from _evaluation(records.evidence)
    if records.readings:
        yield "## What the model reads"
        yield READINGS_INTRODUCTION
        for reading in records.readings:
            yield from _reading(reading)
    yield from _section("Stages", tables.stages_table(records))
    yield from _section("Where time went", tables.parts_table(records))
    yield from _section("Pairs", tables.pairs_table(records))
    yield from _section(
        "Repairs of held-back tasks, which decided the epoch that was kept", tables.validations_table(records)
    )
    yield from _section("Training by rewards", tables.reward_steps_table(records))
    if records.reward_ending:
        yield ending_text(records.reward_ending)
    yield from _section(
        "Repairs of held-back tasks during the training by rewards", tables.reward_validations_table(records)
    )
    yield from _section("Attempts on the training tasks", tables.collected_table(records.collected))
    yield from _section("Training tasks nearest to test tasks", tables.overlap_table(records))
    yield from _section("Machine", tables.mapping_table([*records.hardware.items(), *records.versions.items()]))
    yield from _section("How the run came about", tables.history_table(records))
    yield from _section("Settings", tables.mapping_table(flatten(records.config).items()))


def _evaluation(evidence: Evidence) -> Iterator[str]:
    yield from _half(evidence, "Before and after, by arm", "")
    if evidence.bugs:
        yield from _half(evidence.bugs, "Bugs, by arm", "Bugs: ")


def _half(half: HalfEvidence, title: str, label: str) -> Iterator[str]:
    """Yield the sections of one half of the evaluation. ``label``, such as "Bugs: ", precedes every title but the first."""

    def titled(text: str, table: Table) -> Iterator[str]:
        heading = f"{label}{text[0].lower()}{text[1:]}" if label else text
        return _section(heading, table)

    yield from _section(title, tables.arms_table(half))
    yield from titled("Declared contrasts", tables.contrasts_table(half))
    yield from titled("Repaired, by the operator that made them", tables.operators_table(half))
    yield from titled("Problems solved, of those that no draft of the base solves", tables.hard_table(half))
    yield from titled("Problems solved at tenths of the tokens", tables.curves_table(half))
    yield from titled("Problems solved after each attempt per task", tables.after_table(half))
    yield from titled(
        "Problems solved, by the failure of the program they begin with", tables.groups_table(half, "by_error")
    )
    yield from titled("Problems solved, by length of the reference", tables.groups_table(half, "by_size"))
    if half.regressions or not label:
        pairs = ((regression.task_id, regression.kind) for regression in half.regressions)
        regressions = tables.mapping_table(pairs, ("task", "from, to"))
        yield from titled(f"Right before, wrong after: {len(half.regressions)}", regressions)


def _reading(reading: StoredReading) -> Iterator[str]:
    """Yield one reading. It stands in fenced blocks, because Markdown would interpret some of what models write."""
    places = tables.places_table(reading.shades)
    yield f"### {reading.title}"
    yield _fenced(as_text(reading.shades))
    if places.rows:
        yield _fenced(columns([places.head, *places.rows], right=range(places.n_text_columns, len(places.head))))
    edit = (f"{line.sign} {line.text}" for line in diff_lines(reading.code, reading.edited.strip("\n")))
    yield _fenced("\n".join(edit), "diff")


def _fenced(text: str, language: str = "") -> str:
    """Return a fenced block. Its fence is longer than any run of backticks in the text."""
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence}{language}\n{text}\n{fence}"


def _section(title: str, table: Table) -> Iterator[str]:
    """Yield a title and a table, or nothing if the table has no rows."""
    if table.rows:
        yield f"## {title}"
        yield markdown_table([table.head, *table.rows])
