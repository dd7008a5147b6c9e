"""Keep whole runs as compressed records, so that a study can go on, and its tables can be made, where only the records are."""

from __future__ import annotations

import lzma
import tempfile
from pathlib import Path

from mlx_selfdebug.store import export_run, import_run

SUFFIX = ".jsonl.xz"


def write_records(run: Path, records: Path) -> None:
    """Write the records of the run in folder ``run`` to ``records``/NAME.jsonl.xz. The same run gives the same bytes."""
    file = records_of(run, records)
    records.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial")
    with lzma.open(partial, "wt", preset=9, encoding="utf-8") as lines:
        export_run(run, lines)
    # Records that were written before are replaced only by whole ones, whenever this process ends.
    partial.replace(file)


def restore_run(run: Path, records: Path) -> bool:
    """Make the run in folder ``run`` from its records, if there are records but no run yet. Return whether there is a run now."""
    file = records_of(run, records)
    if (run / "config.toml").exists():
        return True
    if not file.exists():
        return False
    with tempfile.NamedTemporaryFile() as whole:
        whole.write(lzma.decompress(file.read_bytes()))
        whole.flush()
        import_run(whole.name, run)
    return True


def records_of(run: Path, records: Path) -> Path:
    """Return the file of the records of the run in folder ``run``."""
    return records / f"{run.name}{SUFFIX}"
