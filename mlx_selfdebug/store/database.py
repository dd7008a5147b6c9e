"""Open a run's database: create it whole or not at all, check it before writing, and keep a copy when it migrates.

A database is checked read-only before it is opened for writing, so that a damaged one is reported and left as it is, byte for
byte. Every SQLite error is raised as a StoreError.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from mlx_selfdebug.errors import StoreError
from mlx_selfdebug.store.rows import RowError
from mlx_selfdebug.store.schema import MIGRATIONS, SCHEMA_VERSION, Statements, upgrade, version_of

MAGIC = b"SQLite format 3\0"
"""The first bytes of every database (https://www.sqlite.org/fileformat.html, 1.3.1)."""
WAL_MAGICS = (b"\x37\x7f\x06\x82", b"\x37\x7f\x06\x83")
"""The first bytes of a write-ahead log, one for each byte order of its checksums (same page, 4.1)."""
BUSY_TIMEOUT_S = 30.0
"""How long SQLite waits for another program that has the database open, in seconds."""
HINTS = {
    sqlite3.SQLITE_FULL: "free some disk space, then run the same command again",
    sqlite3.SQLITE_IOERR: "free some disk space, then run the same command again",
    sqlite3.SQLITE_CANTOPEN: "free some disk space or check its permissions, then run the same command again",
    sqlite3.SQLITE_READONLY: "check its permissions, then run the same command again",
    sqlite3.SQLITE_BUSY: "close the other program that has it open, then run the same command again",
}
"""What helps against an error of SQLite, by its primary result code."""
RESTORE = "restore it from a copy, or start a new run in another folder with --run"
LIST_RUNS = "list the runs with: mlx-selfdebug runs list"


def open_for_writing(file: Path, migrations: Sequence[Statements] = MIGRATIONS) -> sqlite3.Connection:
    """Open a run's database for writing. Create it if it does not exist, and migrate it if its schema is older.

    The caller holds the run's lock. The connection may be handed to another thread. Raises StoreError.
    """
    newest = 1 + len(migrations)
    if not os.path.lexists(file):
        _create(file, migrations)
    elif (version := _examine(file, newest)) < newest:
        _migrate(file, version, migrations)
    with reported(file):
        return _connect(file)


@contextmanager
def reading(path: str | Path, *, leave_nothing: bool = False) -> Iterator[sqlite3.Connection]:
    """Open a run's database read-only. This works while another process writes it.

    SQLite may create two files beside a database that it reads, and leave them there. With ``leave_nothing`` it creates none. The
    connection should then be used only for a short time, since a writer may come and not be noticed. If a writer closes the
    database just while it is opened here, a StoreError is raised, and reading it again succeeds.

    Raises StoreError if there is no run, if the database is damaged, or if its schema is not the one this program reads.
    """
    file = Path(path) / "run.db"
    if not os.path.lexists(file):
        raise StoreError(f"{path} is not a run folder: it has no run.db", hint=LIST_RUNS)
    _check_header(file)
    # In a folder that is not writable, SQLite cannot create the files that it shares with a writer. But then there can be no
    # writer either, so the database is opened as immutable, which needs no such files.
    immutable = not os.access(path, os.W_OK) and not _wal(file).exists()
    if leave_nothing:
        immutable = not _has_shared_log(file)
    with (
        reported(file, writing=False),
        closing(_connect_read_only(file, immutable=immutable, read_index=leave_nothing)) as db,
    ):
        _check_version(file, version_of(db), SCHEMA_VERSION)
        if version_of(db) < SCHEMA_VERSION:
            raise StoreError(
                f"{file} has schema version {version_of(db)}, but this program reads {SCHEMA_VERSION}",
                hint=f"mlx-selfdebug runs upgrade {path}",
            )
        yield db


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """Run the block in a transaction, which is rolled back if the block raises an error."""
    db.execute("BEGIN")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


@contextmanager
def reported(file: Path, *, writing: bool = True) -> Iterator[None]:
    """Raise the SQLite errors and the RowErrors of the block as StoreError.

    ``writing`` chooses the message: whether the file cannot be written or cannot be read.
    """
    try:
        yield
    except (sqlite3.Error, RowError) as error:
        raise as_store_error(file, error, writing=writing) from error


def as_store_error(file: Path, error: Exception, unstored: int = 0, *, writing: bool = True) -> StoreError:
    """Return the StoreError that reports ``error``. ``unstored`` is the number of attempts that are not on disk because of it."""
    # The low byte of SQLite's extended result code is the primary one.
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB) or isinstance(error, RowError):
        return damaged(file, str(error))
    if not writing:
        return StoreError(f"{file} cannot be read: {error}", hint=HINTS.get(code))
    lost = f", but {unstored} attempt{'s are' if unstored > 1 else ' is'} not stored" if unstored else ""
    return StoreError(
        f"{file} cannot be written: {error}; what was stored before is kept{lost}",
        hint=HINTS.get(code),
    )


def damaged(file: Path, reason: str) -> StoreError:
    """Return the StoreError that reports a damaged database."""
    return StoreError(f"{file} is damaged: {reason}. It was left as it is", hint=RESTORE)


def _create(file: Path, migrations: Sequence[Statements]) -> None:
    """Create a database under another name first, so that a process killed meanwhile leaves no half-made database."""
    if _wal(file).exists():
        raise damaged(file, f"it is missing, but {_wal(file).name} exists")
    partial = file.with_name(file.name + ".partial")
    _remove(partial)
    try:
        with reported(file), closing(_connect(partial)) as db, transaction(db):
            upgrade(db, migrations)
        os.replace(partial, file)
    finally:
        _remove(partial)


def _examine(file: Path, newest: int) -> int:
    """Check that a database is intact and return its schema version, without writing anything.

    Raises StoreError if the database is damaged, or if its schema is newer than ``newest``.
    """
    _check_header(file)
    # Without a write-ahead log there is nothing to recover, so the database can be opened as immutable. SQLite then creates no
    # files beside it.
    immutable = not _wal(file).exists() or not _wal(file).stat().st_size
    with reported(file, writing=False), closing(_connect_read_only(file, immutable=immutable)) as db:
        version = version_of(db)
        _check_version(file, version, newest)
        problems = [row[0] for row in db.execute("PRAGMA integrity_check(3)")]
        if problems != ["ok"]:
            raise damaged(file, "; ".join(problems).replace("\n", " "))
        return version


def _check_header(file: Path) -> None:
    """Check for damage that SQLite reports unclearly or mistakes for an empty database. Raises StoreError."""
    if file.is_dir():
        raise damaged(file, "it is a folder")
    header, wal_header = _header(file), _header(_wal(file))
    if not header:
        raise damaged(file, "it is empty")
    if header[:16] != MAGIC:
        raise damaged(file, "it is not a database")
    # With a log beside it, the file may end anywhere: a process may have died while it merged the log into the file.
    if not wal_header and file.stat().st_size < (expected := _declared_size(header)):
        raise damaged(file, f"it is cut short: {file.stat().st_size} of {expected} bytes are there")
    # A log that is all zeros so far counts as empty.
    if any(wal_header) and wal_header[:4] not in WAL_MAGICS:
        raise damaged(_wal(file), "it is not the log of a database")


def _declared_size(header: bytes) -> int:
    """Return the size in bytes that the header declares (https://www.sqlite.org/fileformat.html, 1.3).

    It is the page size, at offset 16, times the number of pages, at offset 28. A page size of 65,536 is written as 1.
    """
    page_size = int.from_bytes(header[16:18], "big")
    return (65536 if page_size == 1 else page_size) * int.from_bytes(header[28:32], "big")


def _header(file: Path) -> bytes:
    """Return the first 100 bytes of a file, or fewer if it is shorter or does not exist. Raises StoreError."""
    try:
        with file.open("rb") as opened:
            return opened.read(100)
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise StoreError(f"{file} cannot be read: {error.strerror}", hint="check its permissions") from error


def _check_version(file: Path, version: int, newest: int) -> None:
    if version < 1:
        raise StoreError(f"{file} is a database, but not a run's: it has no schema version", hint=RESTORE)
    if version > newest:
        raise StoreError(
            f"{file} has schema version {version}, but this program reads only up to {newest}",
            hint="a newer mlx-selfdebug wrote it: update mlx-selfdebug, or choose another folder with --run",
        )


def _migrate(file: Path, version: int, migrations: Sequence[Statements]) -> None:
    """Copy a database of ``version`` and migrate it in one transaction. If the migration fails, the copy is removed again."""
    kept = _free_name(file.with_name(f"{file.name}.v{version}"))
    with reported(file), closing(_connect(file)) as db:
        _copy(db, kept)
        try:
            with transaction(db):
                upgrade(db, migrations)
        except BaseException:
            _remove(kept)
            raise


def _copy(db: sqlite3.Connection, target: Path) -> None:
    """Copy a database to ``target``, whole or not at all."""
    partial = target.with_name(target.name + ".partial")
    _remove(partial)
    try:
        with closing(sqlite3.connect(partial)) as copy:
            db.backup(copy)
        os.replace(partial, target)
    finally:
        _remove(partial)


def _free_name(file: Path) -> Path:
    """Return ``file``, or the first of ``file-2``, ``file-3`` and so on that does not exist."""
    names = (file.with_name(f"{file.name}{'' if n == 1 else f'-{n}'}") for n in range(1, 1000))
    return next(name for name in names if not os.path.lexists(name))


def _remove(file: Path) -> None:
    """Remove a database and the files that SQLite puts beside it, as far as they exist."""
    for ending in ("", "-wal", "-shm", "-journal"):
        file.with_name(file.name + ending).unlink(missing_ok=True)


def _has_shared_log(file: Path) -> bool:
    """Return whether a database has a write-ahead log and the log's index. A writer makes both, and leaves them if it is killed.

    Raises StoreError if there is something in the log but no index, which only a writer can make again.
    """
    log, index = _wal(file), file.with_name(f"{file.name}-shm")
    if index.exists():
        return log.exists()
    if log.exists() and log.stat().st_size:
        raise StoreError(
            f"{file} cannot be read without writing: its log has no index",
            hint=f"mlx-selfdebug runs upgrade {file.parent}",
        )
    return False


def _wal(file: Path) -> Path:
    """Return the file of a database's write-ahead log."""
    return file.with_name(file.name + "-wal")


def _connect(file: Path) -> sqlite3.Connection:
    """Open a database for writing, or create an empty one."""
    db = sqlite3.connect(file, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    try:
        db.row_factory = sqlite3.Row
        db.execute("PRAGMA journal_mode = WAL")
        # In WAL mode anything less may lose the last commits when the power fails.
        db.execute("PRAGMA synchronous = FULL")
    except BaseException:
        db.close()
        raise
    return db


def _connect_read_only(file: Path, *, immutable: bool, read_index: bool = False) -> sqlite3.Connection:
    """Open a database read-only. ``immutable`` promises that nobody writes it meanwhile.

    With ``read_index``, the index of the write-ahead log is opened read-only, too, and not created if it does not exist.
    """
    options = f"mode=ro{'&immutable=1' if immutable else ''}{'&readonly_shm=1' if read_index else ''}"
    db = sqlite3.connect(f"{file.absolute().as_uri()}?{options}", uri=True, isolation_level=None)
    db.row_factory = sqlite3.Row
    return db
