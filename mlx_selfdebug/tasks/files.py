"""Split a file of tasks or records into the texts of its JSON values: one object per line, objects of several lines, or an array.

A file may be compressed with gzip. The kind of a file is recognised by its first bytes and not by its name. A file of a kind that
is not read is refused with an error that names the kind and says how to convert it.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "two.json")
    ...     _ = path.write_text('[{"id": 1},\\n {"id": 2}]')
    ...     [(place.removeprefix(folder), text) for place, text in json_texts(path)]
    [('/two.json[0]', b'{"id": 1}'), ('/two.json[1]', b'{"id": 2}')]
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

from mlx_selfdebug.errors import TaskError

MAX_BYTES = 256 << 20
"""The largest size of a file after decompression."""
_PARQUET = b"PAR1"
_GZIP = b"\x1f\x8b"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_SEPARATORS = re.compile(r"[ \t\r\n,]*")
"""What may stand between two values of an array, or between two objects."""
_CONVERT_PARQUET = (
    'convert it: python -c "import pandas; '
    "pandas.read_parquet('{path}').to_json('tasks.jsonl', orient='records', lines=True)\""
)
_CONVERT_UTF16 = "save it as UTF-8: iconv -f UTF-16 -t UTF-8 '{path}' > tasks.jsonl"
_OTHER_KINDS: Mapping[bytes, tuple[str, str]] = {
    _PARQUET: ("a Parquet file", _CONVERT_PARQUET),
    b"PK\x03\x04": ("a zip archive", "unpack it, and give the path of the file that was in it: unzip '{path}'"),
    b"\x28\xb5\x2f\xfd": ("compressed with zstd", "decompress it: zstd -d '{path}'"),
    b"\xfd7zXZ\x00": ("compressed with xz", "decompress it: xz -dk '{path}'"),
    b"BZh": ("compressed with bzip2", "decompress it: bzip2 -dk '{path}'"),
    b"SQLite format 3\x00": ("a SQLite database", "questions over a database are read with spider:FILE"),
    b"\xff\xfe": ("text in UTF-16", _CONVERT_UTF16),
    b"\xfe\xff": ("text in UTF-16", _CONVERT_UTF16),
    b"version https://git-lfs": ("a pointer of Git LFS and not the file itself", "fetch the file: git lfs pull"),
    b"<": ("a web page or XML", "download the file itself, which web sites often call the raw file"),
}
"""The kinds of files that are not read, by their first bytes: what such a file is called, and what the user can do with it."""


def stem(path: Path) -> str:
    """Return the name of a file without ``.gz`` and without the suffix before it: ``mine`` for ``mine.jsonl.gz``."""
    return Path(path.name.removesuffix(".gz")).stem


def is_parquet(path: Path) -> bool:
    """Return whether a file begins like a Parquet file.

    False for a pipe: its first bytes could not be read again, so they are left in it.
    """
    try:
        with path.open("rb") if path.is_file() else BytesIO() as file:
            return file.read(len(_PARQUET)) == _PARQUET
    except OSError:
        return False


def json_texts(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the place and the text of each JSON value of a file.

    A place is ``file:line``, or ``file[index]`` in an array. Blank lines are skipped. If a file has one value per line, its lines
    are yielded without being parsed, so that whoever parses them can report all bad lines at once (``parsed``).

    Raises TaskError if the file is missing, cannot be read, is larger than ``MAX_BYTES`` or is of a kind that is not read, or if an
    array or an object of several lines is not JSON.
    """
    data = _contents(path)
    # An object that spans several lines usually begins with a "{" that has a line to itself.
    if data.lstrip()[:1] == b"[" or data.lstrip().partition(b"\n")[0].strip() == b"{":
        yield from _texts_in_document(path, data)
        return
    for number, line in enumerate(data.split(b"\n"), 1):
        if line.strip():
            yield f"{path}:{number}", line.rstrip(b"\r")


def parsed(text: bytes) -> Any:
    """Parse a JSON text. If it is not JSON, a ValueError that says why is returned, not raised."""
    try:
        return json.loads(text.decode("utf-8"))
    except UnicodeDecodeError as error:
        return ValueError(f"not UTF-8 at byte {error.start + 1}: {text[error.start : error.start + 4]!r}")
    except json.JSONDecodeError as error:
        return ValueError(f"not JSON at column {error.colno} ({error.msg})")
    except (ValueError, RecursionError) as error:
        return ValueError(f"not JSON that can be read ({error})")


def _contents(path: Path) -> bytes:
    """Return the decompressed bytes of a file, without a byte order mark. Raises TaskError as ``json_texts`` does."""
    try:
        # The file may be a pipe, which cannot be read twice, so its first bytes are looked at in the buffer.
        with path.open("rb") as file:
            is_compressed = file.peek(2)[:2] == _GZIP
            data = (gzip.GzipFile(fileobj=file) if is_compressed else file).read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise TaskError(
            f"{path}: no such file", hint="to see the sets that are known by name: mlx-selfdebug tasks list"
        ) from None
    except (OSError, EOFError, zlib.error) as error:
        raise TaskError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if len(data) > MAX_BYTES:
        raise TaskError(
            f"{path}: the file is larger than {MAX_BYTES >> 20} MiB, which is more than is read",
            hint="split it into several files",
        )
    for first_bytes, (kind, advice) in _OTHER_KINDS.items():
        if data.startswith(first_bytes):
            raise TaskError(f"{path}: the file is {kind}", hint=advice.format(path=path))
    return data.removeprefix(_BYTE_ORDER_MARK)


def _texts_in_document(path: Path, data: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield the place and the text of each value of an array, or of each of several objects that span lines."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise TaskError(f"{path}:{line}: not UTF-8: {data[error.start : error.start + 4]!r}") from None
    is_array = text.lstrip()[0] == "["
    begin = text.index("[") + 1 if is_array else 0
    try:
        if is_array:
            json.loads(text)  # finds what ``_spans`` does not look for, such as a missing comma or "]"
        spans = list(_spans(text, begin))
    except json.JSONDecodeError as error:
        raise TaskError(f"{path}:{error.lineno}: not JSON at column {error.colno} ({error.msg})") from None
    except (ValueError, RecursionError) as error:
        raise TaskError(f"{path}: not JSON that can be read ({error})") from None
    line, position = 1, 0
    for index, (start, end) in enumerate(spans):
        line, position = line + text.count("\n", position, start), start
        yield f"{path}[{index}]" if is_array else f"{path}:{line}", text[start:end].encode("utf-8", "surrogatepass")


def _spans(text: str, position: int) -> Iterator[tuple[int, int]]:
    """Yield where in ``text`` each JSON value begins and ends, from ``position`` to the end of the text or of the array.

    Raises JSONDecodeError if something there is not JSON.
    """
    decoder = json.JSONDecoder()
    while True:
        separators = _SEPARATORS.match(text, position)
        start = separators.end() if separators else position
        if start == len(text) or text[start] == "]":
            return
        _, position = decoder.raw_decode(text, start)
        yield start, position
