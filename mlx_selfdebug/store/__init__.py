"""The run folder: ``config.toml``, ``run.db`` (SQLite, WAL), ``adapter/``, ``summary.json`` (written last).

    run.py        Run: open or create, add                  lock.py       one process at a time, named
    stored.py     StoredRun: read, while another writes
    writer.py     the thread that commits in batches         database.py   open, examine, migrate; every error as StoreError
    rows.py       which values make which rows               schema.py     tables and migrations
    values.py     values from and to plain JSON              exchange.py   a run as JSONL, out and in
    files.py      text files written whole or not at all

To store one more field of an attempt: add it to the dataclass, with a default, and one migration to schema.py.
"""

from mlx_selfdebug.store.database import reading
from mlx_selfdebug.store.exchange import export_run, import_run
from mlx_selfdebug.store.files import write_atomically, writing_atomically
from mlx_selfdebug.store.rows import read_attempts, read_pairs
from mlx_selfdebug.store.run import Run
from mlx_selfdebug.store.stored import StoredRun, open_stored, stored_config

__all__ = [
    "Run",
    "StoredRun",
    "export_run",
    "import_run",
    "open_stored",
    "read_attempts",
    "read_pairs",
    "reading",
    "stored_config",
    "write_atomically",
    "writing_atomically",
]
