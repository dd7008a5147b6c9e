"""Store a run in a folder: ``config.toml``, ``run.db`` (SQLite in WAL mode), ``adapter/`` and, written last, ``summary.json``.

    run.py        Run: opens or creates a run and adds rows
    stored.py     StoredRun: reads a run, even while another process writes it
    facts.py      what a run knows beside its rows, and the keys under which it is stored
    rows.py       converts values to rows and back
    codec.py      converts values to plain JSON data and back
    schema.py     the tables and their migrations
    database.py   opens, checks and migrates a database
    writer.py     the thread that commits rows in batches
    lock.py       lets one process at a time write a run
    under_way.py  keeps how far a stage has come, for those who watch
    files.py      writes files whole or not at all
    exchange.py   exports a run to JSONL and imports it

To store another field of an attempt, add it to the dataclass with a default, and add one migration to schema.py.
"""

from mlx_selfdebug.store.database import reading
from mlx_selfdebug.store.exchange import export_run, import_run
from mlx_selfdebug.store.facts import Facts, Family, Key
from mlx_selfdebug.store.files import write_atomically, writing_atomically
from mlx_selfdebug.store.rows import read_attempts, read_pairs
from mlx_selfdebug.store.run import Run
from mlx_selfdebug.store.stored import StoredRun, open_stored, stored_config
from mlx_selfdebug.store.under_way import ProgressFile

__all__ = [
    "Facts",
    "Family",
    "Key",
    "ProgressFile",
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
