"""The names of trackers, and the name of a run in them."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlx_selfdebug.errors import TrackingError, UnknownNameError, UsageError
from mlx_selfdebug.store.database import LIST_RUNS
from mlx_selfdebug.tracking import TRACKERS, require_trackers
from mlx_selfdebug.tracking.sending import Sender
from mlx_selfdebug.tracking.tracker import metadata, run_name

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def all_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "version", lambda _name: "1.0")


@pytest.mark.usefixtures("all_installed")
def test_names_are_separated_by_commas_and_each_counts_once() -> None:
    assert require_trackers(" trackio,tensorboard , trackio,") == ["trackio", "tensorboard"]
    assert require_trackers("") == []


def test_a_mistyped_tracker_is_answered_with_the_one_meant() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown tracker 'tensrboard'\. Did you mean 'tensorboard'\?"):
        require_trackers("tensrboard")


def test_a_tracker_that_is_not_installed_is_refused_with_what_to_type(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def version(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", version)
    # A folder of that name, such as the one that wandb makes, is not the package.
    (tmp_path / "wandb").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="the tracker wandb is not installed") as caught:
        require_trackers("wandb")
    assert "pip install 'mlx-selfdebug[wandb]'" in str(caught.value.hint)


def test_every_tracker_has_an_extra_that_installs_its_package() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    for name in TRACKERS:
        assert [text.partition(">")[0] for text in extras[name]] == [name]


def test_a_resumed_run_keeps_its_name_and_a_new_run_in_the_same_folder_gets_another(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    first = run_name(folder)
    assert first.startswith("mine-")
    assert run_name(folder) == first
    assert {path.name for path in folder.iterdir()} == {"tracking.json"}
    (folder / "tracking.json").write_text('{"begun": "20200101-000000"}\n')
    assert run_name(folder) == "mine-20200101-000000" != first


def test_a_renamed_run_has_the_name_of_its_folder(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    begun = run_name(tmp_path / "old").removeprefix("old-")
    os.rename(tmp_path / "old", tmp_path / "new")
    assert run_name(tmp_path / "new") == f"new-{begun}"


def test_a_damaged_file_is_made_again(tmp_path: Path) -> None:
    (tmp_path / "tracking.json").write_text("{")
    assert run_name(tmp_path) == run_name(tmp_path)


@given(st.text(st.characters(blacklist_characters="/\0", blacklist_categories=["Cs"]), min_size=1, max_size=20))
def test_the_name_of_a_run_has_no_character_that_a_tracker_refuses(name: str) -> None:
    import tempfile

    if name in (".", ".."):
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.mkdir()
        assert not set(run_name(path)) & set("/\\#?%: ")


def test_an_error_of_the_run_keeps_its_hint(tmp_path: Path) -> None:
    with pytest.raises(TrackingError) as error:
        Sender(tmp_path / "none", "tensorboard").open()
    assert error.value.hint == LIST_RUNS
