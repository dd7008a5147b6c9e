"""Makes the notebooks of the scripts beside it, and runs them: `make notebooks`.

    python examples/notebooks.py                       all of them, in order, each run here with its outputs kept
    python examples/notebooks.py first_steps --out DIR

They run in the current folder: some read what an earlier one left in `runs/`. A cell of a script that ends with `print(name)` ends
with `name` in the notebook, which shows the value as a table where it can. A notebook is written when its last cell has ended.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).parent
NAMES = ("first_steps", "fix_failing_tests", "reading_a_report", "own_tasks", "own_domain", "seed_protocol")
"""In the order in which they are to be run."""
LAST_PRINT = re.compile(r"^print\((\w+(\[:\d+\])?)\)\Z", re.MULTILINE)
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
TIMEOUT_S = 3600
"""Of a cell."""


def notebook_of(script: Path) -> Any:
    """The cells of a script, without outputs; the same for the same script."""
    notebook = jupytext.read(script, fmt="py:percent")
    for number, cell in enumerate(notebook.cells):
        cell.id, cell.source = f"cell-{number}", LAST_PRINT.sub(r"\1", cell.source)
    notebook.metadata = {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    return notebook


def execute(notebook: Any) -> None:
    """In the current folder, with this Python. Raises CellExecutionError at the first cell that fails."""
    NotebookClient(notebook, timeout=TIMEOUT_S, record_timing=False, coalesce_streams=True).execute()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "names", nargs="*", default=NAMES, metavar="NAME", help=f"of {', '.join(NAMES)}; all by default"
    )
    parser.add_argument("--out", type=Path, default=HERE, help="folder to write to")
    options = parser.parse_args()
    if unknown := set(options.names) - set(NAMES):
        parser.error(f"no script {sorted(unknown)[0]!r}: {', '.join(NAMES)}")
    options.out.mkdir(parents=True, exist_ok=True)
    for name in [name for name in NAMES if name in options.names]:
        print(name, file=sys.stderr)
        notebook = notebook_of(HERE / f"{name}.py")
        execute(notebook)
        nbformat.write(notebook, options.out / f"{name}.ipynb")


if __name__ == "__main__":
    main()
