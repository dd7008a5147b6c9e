"""What TensorBoard's own reader finds in the event files is what the run's database holds."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlx_selfdebug.config import flatten
from mlx_selfdebug.errors import TrackingError
from mlx_selfdebug.store import Run, open_stored
from mlx_selfdebug.tracking import send_run
from mlx_selfdebug.values.step import Step

from ..support.runs import make_run
from .read_back import expected, in_tensorboard

pytest.importorskip("tensorboard")


def with_steps(path: Path, steps: range) -> None:
    with Run(path) as run:
        for step in steps:
            run.add_step(Step(step, 2.0 * 0.9**step, 400 + step, 1e-4 / (1 + step), 0.7, 1.25))


def test_every_figure_is_read_back_once_as_it_is_in_the_database(tmp_path: Path) -> None:
    make_run(tmp_path / "run", tasks=6, pairs=4).close()
    [sent] = send_run(tmp_path / "run", "tensorboard")
    assert in_tensorboard(tmp_path / "run") == expected(tmp_path / "run", as_float32=True)
    assert sent.view == f"tensorboard --logdir {tmp_path / 'run' / 'tensorboard'}"
    with open_stored(tmp_path / "run") as run:
        losses = {step.step: step.loss for step in run.steps()}
    read = {step: value for (tag, step), [value] in in_tensorboard(tmp_path / "run").items() if tag == "train/loss"}
    assert read == pytest.approx(losses, rel=1e-6)


def test_only_what_is_new_is_sent_the_next_time(tmp_path: Path) -> None:
    sent = []
    for end in (3, 3, 5):
        with_steps(tmp_path, range(end))
        sent += [each.points for each in send_run(tmp_path, "tensorboard")]
    assert sent == [3, 0, 2]
    assert in_tensorboard(tmp_path) == expected(tmp_path, as_float32=True)


def test_a_call_with_nothing_to_send_makes_no_file(tmp_path: Path) -> None:
    with_steps(tmp_path, range(2))
    for _ in range(3):
        send_run(tmp_path, "tensorboard")
    assert len(list((tmp_path / "tensorboard").iterdir())) == 1


def test_records_that_were_deleted_are_sent_again(tmp_path: Path) -> None:
    with_steps(tmp_path, range(4))
    send_run(tmp_path, "tensorboard")
    for file in (tmp_path / "tensorboard").iterdir():
        file.unlink()
    assert send_run(tmp_path, "tensorboard")[0].points == 4


@given(cut=st.integers(1, 900), more=st.integers(0, 3))
@settings(max_examples=30)
def test_a_file_that_was_cut_short_anywhere_is_completed_without_a_gap_or_a_double(cut: int, more: int) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        with_steps(path, range(6))
        send_run(path, "tensorboard")
        [file] = (path / "tensorboard").iterdir()
        file.write_bytes(file.read_bytes()[:-cut])
        with_steps(path, range(6 + more))
        send_run(path, "tensorboard")
        assert in_tensorboard(path) == expected(path, as_float32=True)


def test_the_settings_are_the_hyperparameters(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import metadata

    with_steps(tmp_path, range(1))
    send_run(tmp_path, "tensorboard")
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    content = events.SummaryMetadata(metadata.SESSION_START_INFO_TAG).plugin_data.content
    stored = metadata.parse_session_start_info_plugin_data(content).hparams
    with open_stored(tmp_path) as run:
        for key, value in flatten(run.config).items():
            if key != "track":
                kind = "string_value" if isinstance(value, str) else "number_value"
                assert getattr(stored[key], kind) == value
    assert "track" not in stored


def test_a_folder_that_cannot_be_made_is_one_clear_error(tmp_path: Path) -> None:
    with_steps(tmp_path, range(1))
    (tmp_path / "tensorboard").write_text("")
    with pytest.raises(TrackingError, match=r"^tensorboard: .*exists.*/tensorboard'$") as caught:
        send_run(tmp_path, "tensorboard")
    assert "\n" not in str(caught.value)
