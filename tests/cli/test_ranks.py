"""Several ranks on this machine do the work of one, over loopback: the same rows, the same adapter, whoever dies."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

from mlx_selfdebug.models.backend import mx

import pytest

from mlx_selfdebug.machine.cache_folder import CACHE_VARIABLE
from mlx_selfdebug.store import Run, reading
from mlx_selfdebug.store.run import folder_of_rank
from mlx_selfdebug.tasks.jsonl import dump_tasks
from mlx_selfdebug.testing import CHAT_TEMPLATE, make_task, write_taught_model, write_tiny_model
from mlx_selfdebug.values.pair import Pair

from ..support.ranks import finish, run_ranks, start
from ..support.stored import n_stored, wait_for_rows
from ..support.values import small_config
from .test_kill import rows

pytestmark = pytest.mark.slow

EXPRESSIONS = ("x * x", "x + x", "x ** 3", "-x", "x - 1", "x // 2", "abs(x)", "x % 3")
PAIRS = [
    Pair(
        "repair",
        "python",
        f"t{i}",
        f"Fix {i}.",
        f"def f(): return {'1 + ' * (i % 3)}{i}\n```",
        ("a", "b"),
        f"Write {i}.",
    )
    for i in range(14)
]
KILLS = 10


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ranks")
    dump_tasks([make_task(f"f{i}", expression) for i, expression in enumerate(EXPRESSIONS)], folder / "tasks.jsonl")
    return folder


def collecting(folder: Path, run: str, model: Path, *more: str) -> list[str]:
    command = ["-m", "mlx_selfdebug", "collect", "--run", str(folder / run), "--model", str(model), "--preset", "cpu"]
    command += ["--collect-tasks", str(folder / "tasks.jsonl"), "--collect-samples", "4"]
    command += [
        "--collect-batch-size",
        "6",
        "--collect-max-tokens",
        "24",
        "--collect-edits",
        "1",
        "--collect-forks",
        "1",
    ]
    return [*command, "--quiet", *more]


@pytest.fixture(scope="module")
def alone(folder: Path, tiny_folder: Path) -> list[tuple[Any, ...]]:
    """The rows of a run of one process."""
    subprocess.run([sys.executable, *collecting(folder, "alone", tiny_folder)], check=True, timeout=120)
    return rows(folder / "alone")


@pytest.mark.parametrize("n", [2, 4])
def test_the_rows_of_several_ranks_are_those_of_one_process_on_every_rank(
    n: int, folder: Path, tiny_folder: Path, alone: list[tuple[Any, ...]]
) -> None:
    ended = run_ranks(folder, n, collecting(folder, f"of-{n}", tiny_folder))
    assert [code for code, _, _ in ended] == [0] * n, ended
    for rank in range(n):
        assert rows(folder_of_rank(folder / f"of-{n}", rank)) == alone


def test_only_rank_0_speaks(folder: Path, tiny_folder: Path, alone: list[tuple[Any, ...]]) -> None:
    _, (code, output, errors) = run_ranks(folder, 2, collecting(folder, "of-2", tiny_folder))
    assert (code, output, errors) == (0, "", "")


def test_a_rank_killed_at_random_moments_loses_nothing(
    folder: Path, tiny_folder: Path, alone: list[tuple[Any, ...]]
) -> None:
    moments = sorted(random.Random(0).sample(range(len(alone) - 4), KILLS))
    for number, moment in enumerate(moments):
        ranks = start(folder, 2, collecting(folder, "cut", tiny_folder))
        victim = number % 2
        wait_for_rows(moment, folder_of_rank(folder / "cut", victim), ranks[victim])
        ranks[victim].kill()
        ended = finish(ranks)
        assert "Traceback" not in ended[1 - victim][2]
    assert 0 < n_stored(folder / "cut") <= len(alone)
    ended = run_ranks(folder, 2, collecting(folder, "cut", tiny_folder))
    assert [code for code, _, _ in ended] == [0, 0], ended
    assert rows(folder / "cut") == rows(folder_of_rank(folder / "cut", 1)) == alone


def test_fewer_ranks_go_on_from_what_more_have_done(
    folder: Path, tiny_folder: Path, alone: list[tuple[Any, ...]]
) -> None:
    ranks = start(folder, 3, collecting(folder, "fewer", tiny_folder))
    wait_for_rows(len(alone) // 2, folder / "fewer", ranks[0])
    ranks[2].kill()
    finish(ranks)
    subprocess.run([sys.executable, *collecting(folder, "fewer", tiny_folder)], check=True, timeout=120)
    assert rows(folder / "fewer") == alone


def test_a_machine_without_the_model_gets_it_from_rank_0(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ranks share this disk, so they look for the model by a relative path, in different folders."""
    cache = tmp_path / "cache"
    monkeypatch.setenv(CACHE_VARIABLE, str(cache))
    model = write_tiny_model(tmp_path / "here" / "model")
    # The template is in a file of its own, as in many models of the hub. Without it, rank 1 would ask with other prompts.
    (model / "chat_template.jinja").write_text(CHAT_TEMPLATE)
    (tmp_path / "there").mkdir()
    chdir = f"import os, sys; os.chdir(os.path.join({str(tmp_path)!r}, ['here', 'there'][int(os.environ['MLX_RANK'])]))"
    call = "from mlx_selfdebug.cli import main; main(sys.argv[1:])"
    arguments = collecting(tmp_path, "run", Path("model"), "--collect-tasks", str(folder / "tasks.jsonl"))
    ended = run_ranks(tmp_path, 2, ["-c", f"{chdir}; {call}", *arguments[2:]])
    assert [code for code, _, _ in ended] == [0, 0], ended
    assert rows(tmp_path / "run") == rows(folder_of_rank(tmp_path / "run", 1))
    [passed_on] = cache.glob("models/passed-on-*")
    assert {path.name: path.read_bytes() for path in passed_on.iterdir()} == {
        path.name: path.read_bytes() for path in model.iterdir()
    }


def trained(path: Path, model: Path, n: int) -> tuple[list[float], dict[str, mx.array]]:
    """Train on the pairs with ``n`` ranks, and return the losses and the adapter of the last rank."""
    settings = {"train__batch_size": 4, "train__epochs": 3, "train__learning_rate": 5e-4}
    with Run(path, small_config(model=str(model), preset="cpu", **settings)) as run:
        run.replace_pairs(PAIRS)
    command = ["-m", "mlx_selfdebug", "train", "--run", str(path), "--quiet"]
    if n == 1:
        subprocess.run([sys.executable, *command], check=True, timeout=120)
    else:
        ended = run_ranks(path.parent, n, command)
        assert [code for code, _, _ in ended] == [0] * n, ended
    last = folder_of_rank(path, n - 1)
    with Run(last) as run:
        losses = [step.loss for step in run.steps()]
    return losses, dict(mx.load(str(last / "adapter" / "adapters.safetensors")))  # type: ignore[arg-type]


@pytest.mark.parametrize("n", [2, 4])
def test_training_on_several_ranks_equals_training_on_one(n: int, tmp_path: Path, tiny_folder: Path) -> None:
    losses, adapter = trained(tmp_path / "one", tiny_folder, 1)
    losses_of_n, adapter_of_n = trained(tmp_path / "several", tiny_folder, n)
    assert len(losses) == 12
    assert losses_of_n == pytest.approx(losses, abs=1e-5)
    assert adapter.keys() == adapter_of_n.keys()
    for name, weight in adapter.items():
        assert mx.allclose(weight, adapter_of_n[name], atol=1e-4, rtol=0).item(), name


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with tasks to train on and to evaluate on, and a model that solves some of them."""
    here = tmp_path_factory.mktemp("taught")
    train = [make_task(f"f{i}", expression) for i, expression in enumerate(EXPRESSIONS[:4])]
    test = [make_task(f"g{i}", expression) for i, expression in enumerate(EXPRESSIONS[4:7])]
    dump_tasks(train, here / "train.jsonl")
    dump_tasks(test, here / "test.jsonl")
    wrong = {task: f"def {task.entry_point}(x):\n    return x\n" for task in [*train, *test]}
    write_taught_model(here / "model", {task: [task.reference, wrong[task]] for task in [*train, *test]})
    return here


def whole_run(taught: Path, path: Path, n: int) -> dict[str, Any]:
    """Run every stage with ``n`` ranks, and return the summary."""
    command = ["-m", "mlx_selfdebug", "run", "--run", str(path), "--model", str(taught / "model"), "--preset", "demo"]
    command += ["--collect-tasks", str(taught / "train.jsonl"), "--eval-tasks", str(taught / "test.jsonl")]
    command += [
        "--collect-samples",
        "6",
        "--collect-max-tokens",
        "48",
        "--eval-max-tokens",
        "48",
        "--eval-tokens",
        "96",
    ]
    command += [
        "--train-held-back-share",
        "0.5",
        "--train-reward-steps",
        "2",
        "--train-reward-max-tokens",
        "40",
        "--quiet",
    ]
    if n == 1:
        subprocess.run([sys.executable, *command], check=True, timeout=300)
    else:
        ended = run_ranks(path.parent, n, command, timeout=300)
        assert [code for code, _, _ in ended] == [0] * n, ended
    summary: dict[str, Any] = json.loads((path / "summary.json").read_text())
    return summary


def test_a_whole_run_on_two_ranks_ends_with_the_summary_of_one(taught: Path, tmp_path: Path) -> None:
    one, two = whole_run(taught, tmp_path / "one", 1), whole_run(taught, tmp_path / "two", 2)
    for name in ("attempts", "pairs", "base", "adapter"):
        assert two[name] == one[name], name
    assert not (tmp_path / "two.rank-1" / "summary.json").exists()


def test_a_folder_of_another_run_is_refused(tmp_path: Path, folder: Path, tiny_folder: Path) -> None:
    settings = {"model": str(tiny_folder), "preset": "cpu", "collect__tasks": str(folder / "tasks.jsonl")}
    with Run(folder_of_rank(tmp_path / "run", 1), small_config(**settings)) as run:
        run.remember("id", "another")
    command = [
        "-m",
        "mlx_selfdebug",
        "collect",
        "--run",
        str(tmp_path / "run"),
        "--model",
        str(tiny_folder),
        "--preset",
        "cpu",
        "--quiet",
    ]
    first, second = run_ranks(tmp_path, 2, [*command, "--collect-tasks", str(folder / "tasks.jsonl")])
    assert (first[0], second[0]) == (1, 1)
    assert "run.rank-1 belongs to another run than that of rank 0" in first[2]
    assert "rm -r" in first[2]
    assert second[2] == ""
    with reading(tmp_path / "run") as db:
        assert db.execute("SELECT count(*) FROM attempts").fetchone()[0] == 0
