"""Sets that the hub has: where it cannot be reached, the error says how a file is read instead."""

from __future__ import annotations

import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import LocalEntryNotFoundError

from mlx_selfdebug.errors import TaskError
from mlx_selfdebug.tasks import load_tasks


@pytest.mark.parametrize("name", ["mbpp", "humanevalpack", "gsm8k"])
def test_a_hub_that_cannot_be_reached_is_an_error_that_shows_the_way_by_file(monkeypatch, tmp_path, name):
    def unreachable(self: HfApi, repo: str, timeout: float) -> None:
        raise TimeoutError(f"the hub gave no answer within {timeout} s")

    def missing(*args: object, **options: object) -> None:
        raise LocalEntryNotFoundError("not in the cache")

    monkeypatch.setattr(HfApi, "dataset_info", unreachable)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", missing)
    with pytest.raises(TaskError, match="the hub gave no answer") as caught:
        load_tasks(name)
    assert caught.value.hint == f"to read the set from a file that you have: {name}:PATH"


def test_what_the_cache_has_is_read_without_the_hub(monkeypatch, write):
    path = write('{"question": "q", "answer": "#### 4"}')
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *args, **options: path)
    assert len(load_tasks("gsm8k")) == 1
