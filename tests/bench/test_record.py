from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from mlx_selfdebug.bench import read_records
from mlx_selfdebug.bench.record import parse_record
from mlx_selfdebug.errors import FormatError, StoreError

from .conftest import AIR, SERVER, make_record


def test_a_record_is_read_back_as_it_was_written_raw_trials_and_all(tmp_path: Path) -> None:
    record = make_record()
    path = record.save(tmp_path / "results")
    assert read_records(tmp_path / "results") == [record]
    assert [len(stage["trials"]) for stage in json.loads(path.read_text())["stages"] if stage["name"] == "sample"] == [
        3
    ]


def test_the_file_is_named_after_machine_model_and_backend() -> None:
    assert make_record(AIR, "metal").file_name == "apple-m4-10-gpu-16-gb-qwen2.5-coder-0.5b.json"
    assert make_record().file_name == "amd-epyc-2-cores-24-gb-qwen2.5-coder-0.5b-cpu.json"
    assert make_record().file_name != make_record(replace(SERVER, cores=64)).file_name
    assert make_record(replace(AIR, chip="../..\\x / y")).file_name == "x-y-10-gpu-16-gb-qwen2.5-coder-0.5b-cpu.json"


def test_a_second_measurement_of_the_same_machine_takes_the_place_of_the_first(tmp_path: Path) -> None:
    make_record().save(tmp_path)
    make_record(date="2026-12-01").save(tmp_path)
    assert [record.date for record in read_records(tmp_path)] == ["2026-12-01"]


def test_every_file_that_is_no_record_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{}")
    (tmp_path / "b.json").write_text("not json")
    (tmp_path / "c.json").write_text(json.dumps({**make_record().to_dict(), "format": 99}))
    with pytest.raises(FormatError) as caught:
        read_records(tmp_path)
    assert all(f"{name}.json" in str(caught.value) for name in "abc")


def test_a_folder_that_cannot_be_made_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="file"):
        make_record().save(tmp_path / "file" / "results")


def test_an_unknown_key_is_no_record() -> None:
    with pytest.raises(ValueError, match="colour: unknown"):
        parse_record({**make_record().to_dict(), "colour": "red"})
