"""The notebooks are made of the scripts beside them: cells begin at ``# %%``, text at ``# %% [markdown]``.

    python examples/notebooks.py                      write every notebook anew, without outputs
    python examples/notebooks.py --execute            and run it here, with its outputs kept
    python examples/notebooks.py --execute first_steps seed_protocol

They run in the current folder, one after the other: some read what an earlier one left in ``runs/``. A cell that ends with
``print(name)`` ends with ``name`` in the notebook, which shows it as a table where it can. Needs nbclient and ipykernel.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import Any

import nbformat

HERE = Path(__file__).parent
NAMES = ("first_steps", "reading_a_report", "own_tasks", "own_domain", "seed_protocol")
"""In the order in which they are to be run."""
CELL = re.compile(r"^# %%( \[markdown\])?\n", re.MULTILINE)
LAST_PRINT = re.compile(r"^print\(([a-z_]+(?:\[:?\d+\]|\.[a-z_]+)*)\)$")
TIMEOUT_S = 3600


def cells_of(source: str) -> list[Any]:
    """The cells of a script. Raises ValueError if it does not begin with one."""
    if not CELL.match(source):
        raise ValueError("a script begins with # %%")
    parts = CELL.split(source)[1:]
    found = []
    for number, (markdown, text) in enumerate(zip(parts[::2], parts[1::2], strict=True)):
        make = nbformat.v4.new_markdown_cell if markdown else nbformat.v4.new_code_cell
        cell = make(_markdown(text) if markdown else _shown(text.strip()))
        cell.id = f"cell-{number}"
        found.append(cell)
    return found


def _markdown(text: str) -> str:
    return "\n".join(line.removeprefix("#").removeprefix(" ") for line in text.strip().splitlines())


def _shown(code: str) -> str:
    *before, last = code.split("\n")
    found = LAST_PRINT.match(last)
    return "\n".join([*before, found[1] if found else last])


def notebook_of(source: str) -> Any:
    made = nbformat.v4.new_notebook(cells=cells_of(source))
    made.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    return made


def execute(notebook: Any) -> None:
    """In this folder, by this Python. Raises CellExecutionError at the first cell that fails."""
    from nbclient import NotebookClient

    client = NotebookClient(notebook, timeout=TIMEOUT_S, kernel_name="python3", resources={"metadata": {"path": "."}})
    client.execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # times of day
        for output in cell.get("outputs", []):
            if output.output_type == "stream":
                output.text = _last_of_bars(output.text)


def _last_of_bars(text: str) -> str:
    """Of a line that was written over again and again, what was there at the end."""
    return "\n".join(line.rstrip("\r").rpartition("\r")[2].rstrip() for line in text.split("\n"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "names", nargs="*", default=NAMES, metavar="NAME", help=f"of {', '.join(NAMES)}; all by default"
    )
    parser.add_argument("--execute", action="store_true", help="run them, and keep what they print")
    parser.add_argument("--out", type=Path, default=HERE, help="folder to write to")
    options = parser.parse_args()
    if unknown := set(options.names) - set(NAMES):
        parser.error(f"no script {sorted(unknown)[0]!r}: {', '.join(NAMES)}")
    for name in [name for name in NAMES if name in options.names]:
        notebook = notebook_of((HERE / f"{name}.py").read_text(encoding="utf-8"))
        if options.execute:
            print(name, file=sys.stderr)
            execute(notebook)
        options.out.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, options.out / f"{name}.ipynb")


if __name__ == "__main__":
    main()
