"""See what a confined command and all that it has started use: processes and threads, memory, processor time.

Everything is read from outside the sandbox, so nothing that the command says is believed.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


@dataclass(frozen=True)
class Load:
    """What a command uses at one moment."""

    processes: int = 0
    """Processes and threads."""
    memory_bytes: int = 0
    cpu_s: float = 0.0
    """Processor seconds, with those of processes that have ended."""


class Family:
    """The processes below one process, of which the first generations are not the command's but those that keep it."""

    def __init__(self, pid: int, keepers: int) -> None:
        self._pid = pid
        self._keepers = keepers

    def look(self, max_processes: int, memory_limit: int) -> Load:
        """Return what the command's processes use now. If there are more than ``max_processes``, only these are counted.

        Pages that processes share are counted in each of them. Only if that exceeds ``memory_limit`` are they divided among them,
        since that takes time.
        """
        if sys.platform != "linux":
            return self._look_elsewhere()
        keeper, members = self._members(max_processes)
        if len(members) > max_processes:
            return Load(len(members))
        stats = [found for pid in members if (found := _Stat.of(pid)) is not None]
        memory_bytes = sum(_held_bytes(pid) for pid in members)
        if memory_bytes > memory_limit:
            memory_bytes = sum(_share_bytes(pid) for pid in members)
        waited = _Stat.of(keeper)
        cpu_s = sum(each.cpu_s for each in stats) + (waited.children_cpu_s if waited else 0.0)
        return Load(sum(each.threads for each in stats), memory_bytes, cpu_s)

    def _members(self, most: int) -> tuple[int, list[int]]:
        """Return the number of the keeper and those of the command's processes, not many more than ``most``."""
        keeper = self._pid
        for _ in range(self._keepers - 1):
            keeper = next(iter(_children(keeper)), 0)
        return keeper, _below(keeper, most) if keeper else []

    def _look_elsewhere(self) -> Load:
        import psutil

        from mlx_selfdebug.machine.darwin import footprint

        load = Load()
        try:
            members = psutil.Process(self._pid).children(recursive=True)
        except psutil.Error:
            return load
        for each in members:
            try:
                times, threads = each.cpu_times(), each.num_threads()
            except psutil.Error:
                continue
            cpu_s = times.user + times.system
            load = Load(load.processes + threads, load.memory_bytes + footprint(each.pid), load.cpu_s + cpu_s)
        return load


@dataclass(frozen=True)
class _Stat:
    """What /proc/PID/stat says of one process."""

    threads: int
    cpu_s: float
    children_cpu_s: float
    """Processor seconds of the children that it has waited for."""

    @classmethod
    def of(cls, pid: int) -> _Stat | None:
        # The second field is the name of the program, which may hold anything but ends with the last bracket.
        fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
        if len(fields) < 18:
            return None
        user, system, children_user, children_system = (int(field) / _TICKS for field in fields[11:15])
        children_cpu_s = children_user + children_system
        return cls(int(fields[17]), user + system + children_cpu_s, children_cpu_s)


def _children(pid: int) -> list[int]:
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return []
    return [int(word) for thread in threads for word in _read(f"/proc/{pid}/task/{thread}/children").split()]


def _below(pid: int, most: int) -> list[int]:
    found: list[int] = []
    waiting = [pid]
    while waiting and len(found) <= most:
        children = _children(waiting.pop())
        found += children
        waiting += children
    return found


def _held_bytes(pid: int) -> int:
    """Return the memory that a process holds, without the pages of files, which the kernel can drop."""
    kib = [
        line.split() for line in _read(f"/proc/{pid}/status").splitlines() if line.startswith(("RssAnon", "RssShmem"))
    ]
    return sum(int(words[1]) for words in kib) << 10


def _share_bytes(pid: int) -> int:
    """Return the memory that a process holds, with its share alone of pages that others hold too, if that can be read."""
    lines = [line.split() for line in _read(f"/proc/{pid}/smaps_rollup").splitlines()]
    kib = [int(words[1]) for words in lines if words and words[0] in ("Pss_Anon:", "Pss_Shmem:")]
    return sum(kib) << 10 if kib else _held_bytes(pid)


def _read(path: str) -> str:
    try:
        return Path(path).read_text("utf-8", "replace")
    except OSError:  # the process has ended, or is another user's
        return ""
