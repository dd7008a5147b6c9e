"""Opening a run's database: made whole or not at all, examined before it is written, migrated with a copy kept.

A database that is damaged is reported and left as it is, byte for byte: it is examined read-only before it is opened for
writing. Every error of SQLite's leaves here as a StoreError.
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
WAL_MAGICS = (b"\x37\x7f\x06\x82", b"\x37\x7f\x06\x83")
BUSY_TIMEOUT_S = 30.0
HINTS = {
    sqlite3.SQLITE_FULL: "free some space, then run the same command again",
    sqlite3.SQLITE_IOERR: "free some space, then run the same command again",
    sqlite3.SQLITE_CANTOPEN: "free some space or look at its permissions, then run the same command again",
    sqlite3.SQLITE_READONLY: "look at its permissions, then run the same command again",
    sqlite3.SQLITE_BUSY: "close the other program that has it open, then run the same command again",
}
RESTORE = "restore it from a copy, or begin anew with another --run"


def open_for_writing(file: Path, migrations: Sequence[Statements] = MIGRATIONS) -> sqlite3.Connection:
    """A run's database, made if there is none, migrated if it is of an older schema. The caller holds the run's lock.

    The connection may be handed to another thread. Raises StoreError.
    """
    if not os.path.lexists(file):
        _create(file, migrations)
    elif (version := _examine(file, 1 + len(migrations))) <= len(migrations):
        _migrate(file, version, migrations)
    with reported(file):
        return _connect(file)


@contextmanager
def reading(path: str | Path) -> Iterator[sqlite3.Connection]:
    """A run's database, read-only; works while another process writes it.

    Raises StoreError if there is no run, the database is damaged, or its schema is not this program's.
    """
    file = Path(path) / "run.db"
    if not os.path.lexists(file):
        raise StoreError(
            f"{path} is not a run folder: it has no run.db", hint="list runs with: mlx-selfdebug runs list"
        )
    _check_header(file)
    # Where nothing can be written, SQLite cannot make the files it shares with a writer, and there is no writer.
    still = not os.access(path, os.W_OK) and not _wal(file).exists()
    with reported(file, writing=False), closing(_connect_read_only(file, still=still)) as db:
        _check_version(file, version_of(db), SCHEMA_VERSION)
        if version_of(db) < SCHEMA_VERSION:
            raise StoreError(
                f"{file} has schema version {version_of(db)}, this program reads {SCHEMA_VERSION}",
                hint=f"mlx-selfdebug runs upgrade {path}",
            )
        yield db


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """All or nothing; on an error what stood before stands again."""
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
    """What SQLite raises in the block, as StoreError."""
    try:
        yield
    except (sqlite3.Error, RowError) as error:
        raise as_store_error(file, error, writing=writing) from error


def as_store_error(file: Path, error: Exception, unstored: int = 0, *, writing: bool = True) -> StoreError:
    """``unstored`` attempts are not on disk because of ``error``."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB) or isinstance(error, RowError):
        return damaged(file, str(error))
    if not writing:
        return StoreError(f"{file} cannot be read: {error}", hint=HINTS.get(code))
    lost = f", {unstored} attempt{'s are' if unstored > 1 else ' is'} not" if unstored else ""
    return StoreError(
        f"{file} cannot be written: {error}; what was stored before is kept{lost}",
        hint=HINTS.get(code),
    )


def damaged(file: Path, what: str) -> StoreError:
    return StoreError(f"{file} is damaged: {what}. It was left as it is", hint=RESTORE)


def _create(file: Path, migrations: Sequence[Statements]) -> None:
    """Under another name first: a run killed meanwhile has no database rather than half of one."""
    if _wal(file).exists():
        raise damaged(file, f"it is missing, and {_wal(file).name} is there")
    partial = file.with_name(file.name + ".partial")
    _remove(partial)
    try:
        with reported(file), closing(_connect(partial)) as db, transaction(db):
            upgrade(db, migrations)
        os.replace(partial, file)
    finally:
        _remove(partial)


def _examine(file: Path, newest: int) -> int:
    """The schema version of a database that is whole. Raises StoreError, and writes nothing."""
    _check_header(file)
    # Without a log there is nothing to recover, and an immutable database is read without making files beside it.
    still = not _wal(file).exists() or not _wal(file).stat().st_size
    with reported(file, writing=False), closing(_connect_read_only(file, still=still)) as db:
        version = version_of(db)
        _check_version(file, version, newest)
        problems = [row[0] for row in db.execute("PRAGMA integrity_check(3)")]
        if problems != ["ok"]:
            raise damaged(file, "; ".join(problems).replace("\n", " "))
        return version


def _check_header(file: Path) -> None:
    """What SQLite reports badly, or takes for an empty database."""
    if file.is_dir():
        raise damaged(file, "it is a folder")
    head, wal = _head(file), _head(_wal(file))
    if not head:
        raise damaged(file, "it is empty")
    if head[:16] != MAGIC:
        raise damaged(file, "it is not a database")
    # With a log beside it, it may end anywhere: it was being merged.
    if not wal and file.stat().st_size < (expected := _size_in_header(head)):
        raise damaged(file, f"it is cut short: {file.stat().st_size} of {expected} bytes are there")
    if any(wal) and wal[:4] not in WAL_MAGICS:
        raise damaged(_wal(file), "it is not a database's log")


def _size_in_header(head: bytes) -> int:
    """Bytes of a database by its first 100 (https://www.sqlite.org/fileformat.html, 1.3): page size times pages."""
    page_size = int.from_bytes(head[16:18], "big")
    return (65536 if page_size == 1 else page_size) * int.from_bytes(head[28:32], "big")


def _head(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(100)
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise StoreError(f"{file} cannot be read: {error.strerror}", hint="look at its permissions") from error


def _check_version(file: Path, version: int, newest: int) -> None:
    if version < 1:
        raise StoreError(f"{file} is a database, but not a run's: it has no schema version", hint=RESTORE)
    if version > newest:
        raise StoreError(
            f"{file} has schema version {version}, this program reads up to {newest}",
            hint="a newer mlx-selfdebug wrote it: update this one, or choose another --run",
        )


def _migrate(file: Path, version: int, migrations: Sequence[Statements]) -> None:
    """In one transaction, after a copy was put beside the file. If it fails both are as before, without the copy."""
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
    partial = target.with_name(target.name + ".partial")
    _remove(partial)
    try:
        with closing(sqlite3.connect(partial)) as copy:
            db.backup(copy)
        os.replace(partial, target)
    finally:
        _remove(partial)


def _free_name(file: Path) -> Path:
    names = (file.with_name(f"{file.name}{'' if n == 1 else f'-{n}'}") for n in range(1, 1000))
    return next(name for name in names if not os.path.lexists(name))


def _remove(file: Path) -> None:
    for ending in ("", "-wal", "-shm", "-journal"):
        file.with_name(file.name + ending).unlink(missing_ok=True)


def _wal(file: Path) -> Path:
    return file.with_name(file.name + "-wal")


def _connect(file: Path) -> sqlite3.Connection:
    db = sqlite3.connect(file, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    try:
        db.row_factory = sqlite3.Row
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
    except BaseException:
        db.close()
        raise
    return db


def _connect_read_only(file: Path, *, still: bool) -> sqlite3.Connection:
    """``still``: nobody writes it meanwhile."""
    uri = f"{file.absolute().as_uri()}?mode=ro{'&immutable=1' if still else ''}"
    db = sqlite3.connect(uri, uri=True, isolation_level=None)
    db.row_factory = sqlite3.Row
    return db
