"""Sets that the hub has: where it cannot be reached, the error says how a file is read instead."""

from __future__ import annotations

import pytest

from mlx_selfdebug.errors import TaskError
from mlx_selfdebug.tasks import load_tasks
from mlx_selfdebug.tasks.sets import published


@pytest.mark.parametrize("name", ["mbpp", "humanevalpack", "gsm8k"])
def test_a_hub_that_cannot_be_reached_is_an_error_that_shows_the_way_by_file(monkeypatch, tmp_path, name):
    def unreachable(repo: str) -> None:
        raise TimeoutError("the hub gave no answer within 6 s")

    monkeypatch.setattr(published.Published, "_cached", lambda self: None)
    monkeypatch.setattr(published, "_probe", unreachable)
    with pytest.raises(TaskError, match="the hub gave no answer") as caught:
        load_tasks(name)
    assert caught.value.hint == f"to read the set from a file that you have: {name}:PATH"


def test_what_the_cache_has_is_read_without_the_hub(monkeypatch, write):
    path = write('{"question": "q", "answer": "#### 4"}')
    monkeypatch.setattr(published.Published, "_cached", lambda self: path)
    assert len(load_tasks("gsm8k")) == 1
