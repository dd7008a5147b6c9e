"""Show values in a notebook as small HTML tables, and turn them into pandas data frames.

    attempts = sd.collect(run, model, tasks)      # shown as a table of the first rows, with long texts cut
    attempts.to_frame().groupby("task_id").passed.mean()

Everything is escaped, so that what a model wrote is shown as text. The tables have no colours of their own, so they fit a light or
a dark notebook.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Protocol, SupportsIndex, TypeVar, overload

from mlx_selfdebug.errors import UsageError

ROWS_SHOWN = 20
"""The largest number of rows in the table of a list."""
MAX_CELL = 80
"""The largest number of characters in a cell of a table of several records."""
MAX_TEXT = 20_000
"""The largest number of characters in a cell of the table of a single record."""


class Record(Protocol):
    """A value that can be written as one row of a table."""

    def to_record(self) -> dict[str, Any]:
        """Return the value as a flat dictionary of texts, numbers, booleans or None, by column."""


T = TypeVar("T", bound=Record)


class Shown:
    """A value that shows itself in a notebook. Subclasses define ``to_record``."""

    def to_record(self) -> dict[str, Any]:
        raise NotImplementedError

    def to_frame(self) -> Any:
        """Return a pandas data frame of one row. Raises UsageError if pandas is not installed."""
        return frame([self.to_record()])

    def _repr_html_(self) -> str:
        return sheet(self.to_record())


class Rows(list[T]):
    """A list of records that shows itself as a table in a notebook, and so does a slice of it."""

    @overload
    def __getitem__(self, key: SupportsIndex) -> T: ...
    @overload
    def __getitem__(self, key: slice) -> Rows[T]: ...
    def __getitem__(self, key: SupportsIndex | slice) -> T | Rows[T]:
        item = super().__getitem__(key)
        return Rows(item) if isinstance(key, slice) else item  # type: ignore[arg-type, return-value]

    def to_frame(self) -> Any:
        """Return a pandas data frame with one row per record. Raises UsageError if pandas is not installed."""
        return frame([value.to_record() for value in self])

    def _repr_html_(self) -> str:
        return table([value.to_record() for value in self[:ROWS_SHOWN]], len(self))


def sheet(record: Mapping[str, Any]) -> str:
    """Return one record as an HTML table with one row per column of the record."""
    rows = [f"<tr><th>{escape(key)}</th><td>{_long_cell(value)}</td></tr>" for key, value in record.items()]
    return f"<table>{''.join(rows)}</table>"


def frame(records: Sequence[Mapping[str, Any]]) -> Any:
    """Return records as a pandas data frame. Raises UsageError if pandas is not installed."""
    try:
        import pandas as pd
    except ImportError:
        raise UsageError("to_frame() needs pandas", hint="pip install 'mlx-selfdebug[report]'") from None
    return pd.DataFrame.from_records([dict(record) for record in records])


def table(records: Sequence[Mapping[str, Any]], total: int | None = None) -> str:
    """Return records as an HTML table. If they are only the first of more records, ``total`` is the number of all of them."""
    if not records:
        return "<p>no rows</p>"
    head = "".join(f"<th>{escape(key)}</th>" for key in records[0])
    rows = ["".join(f"<td>{escape(_cell(value))}</td>" for value in record.values()) for record in records]
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    more = f"<p>{len(records)} of {total}</p>" if total is not None and total > len(records) else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}"


def _cell(value: Any) -> str:
    """Return a value as one line of text, cut if it is longer than ``MAX_CELL``."""
    text = " ".join(_plain(value).split())
    return text if len(text) <= MAX_CELL else text[: MAX_CELL - 1] + "…"


def _long_cell(value: Any) -> str:
    """Return a value as HTML with its lines kept, cut if it is longer than ``MAX_TEXT``."""
    text = _plain(value)
    if len(text) > MAX_TEXT:
        text = text[:MAX_TEXT] + f"… ({len(text) - MAX_TEXT} more characters)"
    return f"<pre>{escape(text)}</pre>" if "\n" in text else escape(text)


def _plain(value: Any) -> str:
    """Return a value as text, or ``-`` for None. Lone surrogates, which UTF-8 cannot encode, are written as escapes."""
    return "-" if value is None else str(value).encode("utf-8", "backslashreplace").decode()
