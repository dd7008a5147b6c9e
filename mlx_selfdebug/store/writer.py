"""Write a run's database from a thread of its own, which commits rows in batches.

- ``add`` returns at once. The row is on disk at most ``WINDOW_S`` later, plus the time of one commit.
- ``call`` commits all rows that were added before, runs a function on the database, and returns its result.
- Rows are stored in the order in which they were added. If a row cannot be written, the rows before it are stored. This row and
  those after it are kept in memory, and the next ``call`` or ``flush`` tries them again.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from mlx_selfdebug.errors import StoreError
from mlx_selfdebug.store.database import as_store_error, open_for_writing, transaction
from mlx_selfdebug.store.rows import RowError

T = TypeVar("T")
WINDOW_S = 0.04
"""The longest time for which a row waits for others to be committed with it, in seconds."""


@dataclass(frozen=True)
class _Row:
    """A row that waits to be committed."""

    statement: str
    values: tuple[Any, ...]
    due: float
    """The ``time.monotonic()`` by which the row is to be committed."""


@dataclass(frozen=True)
class _Call:
    """A function that waits to be run on the database, and the future that takes its result."""

    work: Callable[[sqlite3.Connection], Any]
    answer: Future[Any]


class Writer:
    """A database that is open for writing, with the thread that writes it. Its methods may be called from any thread.

    Raises StoreError if ``file`` cannot be opened.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._changed = threading.Condition()
        self._rows: list[_Row] = []
        self._calls: list[_Call] = []
        self._error: Exception | None = None
        self._closed = False
        self._thread = threading.Thread(
            target=self._serve, args=(open_for_writing(file),), name="run.db writer", daemon=True
        )
        self._thread.start()

    def add(self, statement: str, values: tuple[Any, ...]) -> None:
        """Store a row soon. If an earlier row could not be stored, refuse this one and raise StoreError."""
        with self._changed:
            self._refuse_if_closed()
            if self._error:
                raise as_store_error(self._file, self._error, len(self._rows) + 1) from self._error
            self._rows.append(_Row(statement, values, time.monotonic() + WINDOW_S))
            if len(self._rows) == 1:
                self._changed.notify()

    def call(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run ``work`` in its own transaction, after all earlier rows are on disk, and return its result.

        Raises StoreError if earlier rows cannot be stored or the database fails, and whatever ``work`` raises.
        """
        answer: Future[T] = Future()
        with self._changed:
            self._refuse_if_closed()
            self._calls.append(_Call(work, answer))
            self._changed.notify()
        return answer.result()

    def flush(self) -> None:
        """Wait until every row is on disk. If that fails, raise StoreError and keep the rows for another flush."""
        self.call(lambda _: None)

    def close(self) -> None:
        """Flush and end the thread. Raises StoreError if rows could not be stored; those rows are lost."""
        try:
            if not self._closed and self._thread.is_alive():
                self.flush()
        finally:
            with self._changed:
                self._closed = True
                self._changed.notify()
            # A run may be garbage-collected by any thread, even this writer's own, which cannot join itself.
            if self._thread is not threading.current_thread():
                self._thread.join()

    def _refuse_if_closed(self) -> None:
        # In a process that was forked from the one that opened the run, the writer's thread does not run.
        if self._closed or not self._thread.is_alive():
            raise StoreError(f"{self._file.parent} is closed", hint="open it again with Run(path)")

    def _serve(self, db: sqlite3.Connection) -> None:
        """Commit rows and answer calls until the writer is closed. The thread runs this."""
        try:
            while self._wait():
                with self._changed:
                    calls, self._calls = self._calls, []
                    rows = list(self._rows)
                self._settle(rows, *_store(db, rows))
                for call in calls:
                    self._answer(db, call)
        finally:
            db.close()

    def _wait(self) -> bool:
        """Wait for work and return whether there is any. False means that the writer was closed."""
        with self._changed:
            while not self._calls and not self._closed:
                left = self._rows[0].due - time.monotonic() if self._rows and not self._error else None
                if left is not None and left <= 0:
                    return True
                self._changed.wait(left)
            return bool(self._calls)

    def _settle(self, rows: Sequence[_Row], n_stored: int, error: Exception | None) -> None:
        """Remove the first ``n_stored`` rows from the list, and remember the error that stopped the next row, if there is one."""
        if rows:
            with self._changed:
                del self._rows[:n_stored]
                self._error = error

    def _answer(self, db: sqlite3.Connection, call: _Call) -> None:
        """Run a call in a transaction and set its answer, or set an error if rows before it could not be stored."""
        try:
            if self._error:
                raise as_store_error(self._file, self._error, len(self._rows)) from self._error
            with transaction(db):
                result = call.work(db)
        except (sqlite3.Error, RowError) as error:
            call.answer.set_exception(as_store_error(self._file, error))
        except BaseException as error:
            call.answer.set_exception(error)
        else:
            call.answer.set_result(result)


def _store(db: sqlite3.Connection, rows: Sequence[_Row]) -> tuple[int, Exception | None]:
    """Store rows in one commit or, if that fails, one by one up to the row that fails.

    Return the number of rows that are on disk now, and the error of the row after them, or None if all are on disk.
    """
    try:
        if rows:
            _commit(db, rows)
        return len(rows), None
    except Exception as error:
        if len(rows) == 1:
            return 0, error
    for count, row in enumerate(rows):
        try:
            _commit(db, [row])
        except Exception as error:
            return count, error
    return len(rows), None


def _commit(db: sqlite3.Connection, rows: Sequence[_Row]) -> None:
    with transaction(db):
        for row in rows:
            db.execute(row.statement, row.values)
