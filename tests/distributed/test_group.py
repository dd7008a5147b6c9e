from __future__ import annotations

import json
import signal
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from mlx_selfdebug.distributed import ALONE, join, launched_rank
from mlx_selfdebug.distributed.files import share_folder
from mlx_selfdebug.errors import StoreError

from ..support.ranks import environments, finish, run_ranks, start

ALL = """
import json, sys
from pathlib import Path
from mlx_selfdebug.models.backend import mx
from mlx_selfdebug.distributed import join
from mlx_selfdebug.distributed.exchange import Exchange
from mlx_selfdebug.distributed.files import share_folder
from mlx_selfdebug.errors import DistributedError, StoreError

folder = Path(sys.argv[1])
group = join()
says = {"rank": group.rank, "size": group.size}
says["gathered"] = [len(value) for value in group.gather(bytes(3 + 1000 * group.rank))]
says["json"] = group.gather_json({"rank": group.rank})
says["agreed"] = group.agree(lambda: f"of rank {group.rank}")
summed = group.sum({"a": mx.full((2, 2), group.rank + 1.0), "b": {"c": mx.array([group.rank], mx.int32)}})
says["sum"] = [summed["a"].tolist(), summed["b"]["c"].tolist(), str(summed["b"]["c"].dtype)]
copied = group.copy_of_first([mx.array([0.1 + group.rank, 1e30 * (group.rank + 1)])])
says["copied"] = copied[0].tolist()

def error_of(call):
    try:
        return [call(), ""]
    except (DistributedError, StoreError) as error:
        return [type(error).__name__, str(error)]

says["same"] = error_of(lambda: group.require_same({"mlx": "1"}))
says["different"] = error_of(lambda: group.require_same({"mlx": "1", "model": f"m{group.rank // 2}"}))

def fail_on(rank):
    if group.rank == rank:
        raise StoreError("the disk is full")
    return "done"

says["together"] = [error_of(lambda: group.together(lambda: fail_on(rank))) for rank in (9, 0, 2)]
says["agree_fails"] = error_of(lambda: group.agree(lambda: fail_on(0)))

own = folder / str(group.rank)
if group.rank == 0:
    (own / "below").mkdir(parents=True)
    (own / "large.bin").write_bytes(bytes(range(256)) * 150_000)
    (own / "below" / "small.txt").write_text("small")
    (own / "empty").write_text("")
if group.rank == 1:
    own.mkdir()
    (own / "old.txt").write_text("old")
share_folder(group, own)

exchange, received, rounds = Exchange(group), [], 0
for i in range(3):
    exchange.send({"rank": group.rank, "i": i, "text": "x" * (i * 3_000_000 if group.rank == 1 else 1) })
while sum(map(len, received)) < 3 * group.size:
    exchange.begin_round()
    for rank, messages in enumerate(exchange.receive()):
        received.append([(rank, message["rank"], message["i"], len(message["text"])) for message in messages])
says["received"] = [message for messages in received for message in messages]
print(json.dumps(says))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ranks")


@pytest.fixture(scope="module")
def ranks(folder: Path) -> list[dict[str, Any]]:
    """What each of three ranks saw of all calls."""
    ended = run_ranks(folder, 3, ["-c", ALL, str(folder)])
    assert [code for code, _, _ in ended] == [0, 0, 0], ended
    return [json.loads(output) for _, output, _ in ended]


def same_on_all(ranks: list[dict[str, Any]], name: str) -> Any:
    assert all(rank[name] == ranks[0][name] for rank in ranks)
    return ranks[0][name]


def test_every_rank_knows_its_number_and_how_many_there_are(ranks: list[dict[str, Any]]) -> None:
    assert [(rank["rank"], rank["size"]) for rank in ranks] == [(0, 3), (1, 3), (2, 3)]


def test_values_of_different_lengths_are_gathered_in_the_order_of_ranks(ranks: list[dict[str, Any]]) -> None:
    assert same_on_all(ranks, "gathered") == [3, 1003, 2003]
    assert same_on_all(ranks, "json") == [{"rank": 0}, {"rank": 1}, {"rank": 2}]


def test_ranks_agree_on_what_rank_0_computes(ranks: list[dict[str, Any]]) -> None:
    assert same_on_all(ranks, "agreed") == "of rank 0"


def test_arrays_are_summed_and_keep_their_names_shapes_and_types(ranks: list[dict[str, Any]]) -> None:
    assert same_on_all(ranks, "sum") == [[[6.0, 6.0], [6.0, 6.0]], [3], "mlx.core.int32"]


def test_the_arrays_of_rank_0_are_copied_bit_for_bit(ranks: list[dict[str, Any]]) -> None:
    import numpy as np

    assert same_on_all(ranks, "copied") == np.array([0.1, 1e30], np.float32).tolist()


def test_a_fact_that_differs_is_named_with_the_rank_and_both_values(ranks: list[dict[str, Any]]) -> None:
    assert same_on_all(ranks, "same") == [None, ""]
    kind, message = same_on_all(ranks, "different")
    assert kind == "DistributedError"
    assert message == "rank 2 has another model than rank 0: m1 instead of m0"


def test_an_error_of_one_rank_reaches_all_of_them(ranks: list[dict[str, Any]]) -> None:
    for rank in ranks:
        well, of_rank_0, of_rank_2 = rank["together"]
        assert well == ["done", ""]
        assert of_rank_2 == ["DistributedError", "rank 2: the disk is full"]
        mine = ["StoreError", "the disk is full"]
        assert (
            of_rank_0
            == rank["agree_fails"]
            == (mine if rank["rank"] == 0 else ["DistributedError", "rank 0: the disk is full"])
        )


def test_a_folder_of_rank_0_replaces_those_of_the_others(ranks: list[dict[str, Any]], folder: Path) -> None:
    for rank in range(len(ranks)):
        files = {
            path.relative_to(folder / str(rank)).as_posix(): path.read_bytes()
            for path in (folder / str(rank)).rglob("*")
            if path.is_file()
        }
        assert files == {"large.bin": bytes(range(256)) * 150_000, "below/small.txt": b"small", "empty": b""}


def test_messages_longer_than_a_round_arrive_whole_and_in_order(ranks: list[dict[str, Any]]) -> None:
    received = same_on_all(ranks, "received")
    for sender in range(3):
        lengths = [length for rank, said, _, length in received if rank == said == sender]
        assert lengths == ([0, 3_000_000, 6_000_000] if sender == 1 else [1, 1, 1])


def test_a_process_that_was_not_launched_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLX_RANK", "MLX_HOSTFILE"):
        monkeypatch.delenv(name, raising=False)
    assert launched_rank() is None
    assert join() is ALONE


def test_a_process_alone_agrees_with_itself_and_shares_nothing(tmp_path: Path) -> None:
    assert ALONE.agree(lambda: 3) == ALONE.together(lambda: 3) == 3
    assert ALONE.gather_json("x") == ["x"]
    share_folder(ALONE, tmp_path / "none")
    with pytest.raises(StoreError, match="full"):
        ALONE.together(lambda: (_ for _ in ()).throw(StoreError("full")))


def test_a_launcher_of_a_single_process_leaves_it_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hosts").write_text("")
    monkeypatch.setenv("MLX_HOSTFILE", str(tmp_path / "hosts"))
    monkeypatch.setenv("MLX_RANK", "0")
    assert launched_rank() is None


WAITING = """
import sys, time
from mlx_selfdebug.distributed import launched
from mlx_selfdebug.errors import SelfDebugError
launched.JOIN_S = 2.0
try:
    group = launched.join()
    print("joined", flush=True)
    if group.rank == 1:
        time.sleep(60)
    object.__setattr__(group, "wait_s", 2.0)
    group.gather(b"x")
except SelfDebugError as error:
    print(error, "|", error.hint, file=sys.stderr)
    sys.exit(1)
"""


def test_a_port_in_use_is_an_error_that_says_how_to_choose_another(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        hosts = tmp_path / "ranks.json"
        hosts.write_text(json.dumps([[f"127.0.0.1:{taken.getsockname()[1]}"], ["127.0.0.1:1"]]))
        environment = {**environments(tmp_path, 1)[0]}
        hosts.write_text(json.dumps([[f"127.0.0.1:{taken.getsockname()[1]}"], ["127.0.0.1:1"]]))
        ended = _run(environment)
    assert ended[0] == 1
    assert "rank 0 cannot join the others" in ended[2]
    assert "--starting-port" in ended[2]


def test_a_rank_does_not_wait_forever_for_one_that_never_comes(tmp_path: Path) -> None:
    begin = time.monotonic()
    code, _, errors = _run(environments(tmp_path, 2)[0])
    assert code == -signal.SIGKILL
    assert "rank 0 has waited 2 seconds for the other ranks" in errors
    assert time.monotonic() - begin < 30


def test_a_rank_does_not_wait_forever_for_one_that_is_silent(tmp_path: Path) -> None:
    ranks = start(tmp_path, 2, ["-c", WAITING])
    code, _, errors = finish(ranks[:1])[0]
    ranks[1].kill()
    finish(ranks[1:])
    assert code == 1
    assert "rank 0 has waited 2 seconds for the other ranks" in errors


def test_a_rank_that_dies_ends_the_wait_of_the_others(tmp_path: Path) -> None:
    ranks = start(tmp_path, 2, ["-c", WAITING])
    assert ranks[1].stdout
    assert ranks[1].stdout.readline() == "joined\n"
    ranks[1].kill()
    (code, _, errors), _ = finish(ranks)
    assert code == 1
    assert "rank 0 has lost another rank" in errors
    assert "run the same command again" in errors


def _run(environment: dict[str, str]) -> tuple[int, str, str]:
    import subprocess
    import sys

    done = subprocess.run(
        [sys.executable, "-c", WAITING],
        env=environment,
        text=True,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        timeout=60,
    )
    return done.returncode, done.stdout, done.stderr
