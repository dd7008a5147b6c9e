"""Start a program as several ranks on this machine, as ``mlx.launch`` does, over the loopback interface."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path


def free_ports(n: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(n)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def environments(folder: Path, n: int, ports: Sequence[int] = ()) -> list[dict[str, str]]:
    """Return the environment of each of ``n`` ranks. Their hosts file is written to ``folder``."""
    hosts = folder / "ranks.json"
    hosts.write_text(json.dumps([[f"127.0.0.1:{port}"] for port in ports or free_ports(n)]))
    return [{**os.environ, "MLX_RANK": str(rank), "MLX_HOSTFILE": str(hosts)} for rank in range(n)]


def start(folder: Path, n: int, arguments: Sequence[str]) -> list[subprocess.Popen[str]]:
    """Start ``python ARGUMENTS`` as ``n`` ranks."""
    return [
        subprocess.Popen(
            [sys.executable, *arguments],
            env=env,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
        )
        for env in environments(folder, n)
    ]


def finish(ranks: Sequence[subprocess.Popen[str]], timeout: float = 120.0) -> list[tuple[int, str, str]]:
    """Wait for the ranks, and return the exit code, the output and the errors of each."""
    ended = []
    try:
        for rank in ranks:
            output, errors = rank.communicate(timeout=timeout)
            ended.append((rank.returncode, output, errors))
    finally:
        for rank in ranks:
            rank.kill()
    return ended


def run_ranks(folder: Path, n: int, arguments: Sequence[str], timeout: float = 120.0) -> list[tuple[int, str, str]]:
    """Run ``python ARGUMENTS`` as ``n`` ranks, and return the exit code, the output and the errors of each."""
    return finish(start(folder, n, arguments), timeout)
