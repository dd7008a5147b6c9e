"""Measure how long the report of a large run takes to render, and how large it is.

    python benchmarks/report.py [--tasks 1250]

The run is made up by the tests' own generator and written through the real store. Its programs are all different. Prints a table,
then one JSON line. At 20,000 attempts the report should take at most 5 s and 5 MB.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from mlx_selfdebug.reporting.records import read_records
from mlx_selfdebug.reporting.report import report_data, report_html, report_markdown
from mlx_selfdebug.store import open_stored
from tests.support.runs import make_run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--tasks", type=int, default=1250, help="number of evaluation tasks, with about 16 attempts each"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        make_run(Path(folder) / "run", tasks=options.tasks, pairs=500).close()
        seconds: dict[str, float] = {}
        with open_stored(Path(folder) / "run") as run:
            attempts = len(run.attempts())
            begin = time.perf_counter()
            records = read_records(run)
            seconds["records"] = time.perf_counter() - begin
    page = timed(seconds, "page", lambda: report_html(records))
    markdown = timed(seconds, "markdown", lambda: report_markdown(records))
    data = timed(seconds, "json", lambda: json.dumps(report_data(records)))
    sizes = {"page": len(page.encode()), "markdown": len(markdown.encode()), "json": len(data.encode())}
    print(f"{attempts} attempts, {len(records.pairs)} pairs")
    for name, value in seconds.items():
        print(f"  {name:10}{value:8.2f} s{sizes.get(name, 0) / 1e6:10.2f} MB")
    total = seconds["records"] + seconds["page"]
    print(f"  report.html in {total:.2f} s")
    result = {"attempts": attempts, "seconds": seconds, "bytes": sizes, "machine": platform.machine()}
    print(json.dumps({"benchmark": "report", **result}))


def timed(seconds: dict[str, float], name: str, make: object) -> str:
    """Return what ``make`` returns, and store the seconds that it took under ``name``."""
    assert callable(make)
    begin = time.perf_counter()
    made: str = make()
    seconds[name] = time.perf_counter() - begin
    return made


if __name__ == "__main__":
    main()
