"""Render the report of a run: as one self-contained HTML page, as Markdown, and as plain data.

    page.py       records -> HTML                   charts.py     numbers -> SVG
    tables.py     records -> heads and rows         diff.py       two codes -> the lines and words that changed
    headline.py   records -> the main findings      markdown.py   records -> Markdown
    data.py       records -> plain data             templates/    the page's frame, style and script

>>> with open_stored("runs/first") as run:                                              # doctest: +SKIP
...     write_report(run)
"""

from __future__ import annotations

from pathlib import Path

from mlx_selfdebug.reporting.records import read_records
from mlx_selfdebug.reporting.report.data import report_data
from mlx_selfdebug.reporting.report.markdown import report_markdown
from mlx_selfdebug.reporting.report.page import report_html
from mlx_selfdebug.store import StoredRun, write_atomically

__all__ = ["FILE", "report_data", "report_html", "report_markdown", "write_report"]

FILE = "report.html"


def write_report(run: StoredRun) -> Path:
    """Write the page into the run's folder and return its path. Raises StoreError if it cannot be written."""
    path = run.path / FILE
    write_atomically(path, report_html(read_records(run)))
    return path
