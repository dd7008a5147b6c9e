"""Render the report of a run: as one self-contained HTML page, as Markdown, and as plain data.

    page.py       records -> HTML                   page_charts.py  records -> the charts of the page
    tables.py     records -> heads and rows         charts.py       numbers -> SVG
    headline.py   records -> the main findings      diff.py         two programs -> the lines and words that changed
    markdown.py   records -> Markdown               templates/      the templates of the page, its style and its script
    data.py       records -> plain data             items.py        pairs and repairs, to be unfolded

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
    """Write the HTML page into the folder of the run, and return its path. Raises StoreError if it cannot be written."""
    path = run.path / FILE
    write_atomically(path, report_html(read_records(run)))
    return path
