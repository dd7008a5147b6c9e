"""Measure how many processes, how much memory and how much processor time a confined command uses, with all that it has started.

Everything is read from outside the sandbox, so nothing depends on what the command says.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
"""The unit of processor time in /proc."""


@dataclass(frozen=True)
class Load:
    """What a command uses at one moment."""

    processes: int = 0
    """The number of its processes and threads."""
    memory_bytes: int = 0
    """The memory of all processes together."""
    cpu_s: float = 0.0
    """The processor seconds of all processes together, with those of processes that have ended."""


class Family:
    """The processes of one command.

    ``pid`` is the number of the process that the caller started. The command itself comes some generations later, and ``keepers``
    is the number of processes before it. With namespaces, for example, there are two: the launcher, and the keeper in the
    namespaces.
    """

    def __init__(self, pid: int, keepers: int) -> None:
        self._pid = pid
        self._keepers = keepers

    def look(self, max_processes: int, memory_limit: int) -> Load:
        """Return what the command's processes use now. If there are more than ``max_processes``, only their number is returned.

        A page of memory that several processes share is counted in each of them. Only if that sum exceeds ``memory_limit`` is
        such a page divided among them, since to find that out takes longer.
        """
        if sys.platform != "linux":
            return self._look_elsewhere()
        keeper, members = self._members(max_processes)
        if len(members) > max_processes:
            return Load(len(members))
        stats = [stat for pid in members if (stat := _Stat.of(pid)) is not None]
        memory_bytes = sum(_held_bytes(pid) for pid in members)
        if memory_bytes > memory_limit:
            memory_bytes = sum(_shared_bytes(pid) for pid in members)
        # The processes that have ended count in the times of the keeper, which has waited for them.
        keeper_stat = _Stat.of(keeper)
        cpu_s = sum(stat.cpu_s for stat in stats) + (keeper_stat.children_cpu_s if keeper_stat else 0.0)
        return Load(sum(stat.threads for stat in stats), memory_bytes, cpu_s)

    def _members(self, max_processes: int) -> tuple[int, list[int]]:
        """Return the number of the keeper and the numbers of the command's processes, stopping soon after ``max_processes``."""
        keeper = self._pid
        for _ in range(self._keepers - 1):
            keeper = next(iter(_children(keeper)), 0)
        return keeper, _descendants(keeper, max_processes) if keeper else []

    def _look_elsewhere(self) -> Load:
        """Return what the command's processes use, where there is no /proc."""
        import psutil

        from mlx_selfdebug.machine.darwin import footprint

        load = Load()
        try:
            members = psutil.Process(self._pid).children(recursive=True)
        except psutil.Error:
            return load
        for member in members:
            try:
                times, threads = member.cpu_times(), member.num_threads()
            except psutil.Error:
                continue
            cpu_s = times.user + times.system
            load = Load(load.processes + threads, load.memory_bytes + footprint(member.pid), load.cpu_s + cpu_s)
        return load


@dataclass(frozen=True)
class _Stat:
    """Numbers in /proc/PID/stat about one process."""

    threads: int
    cpu_s: float
    """Processor seconds of the process and of the children that it has waited for."""
    children_cpu_s: float
    """Processor seconds of these children alone."""

    @classmethod
    def of(cls, pid: int) -> _Stat | None:
        """Return the numbers of a process, or None if they cannot be read, as after its end."""
        # The second field is the name of the program in brackets. It may hold anything, so it is taken to end at the last
        # bracket. The fields after it are, from index 0 on, those that proc(5) numbers from 3 on.
        fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
        if len(fields) < 18:
            return None
        # From 11 to 14: utime, stime, cutime and cstime in ticks. 17: num_threads.
        user, system, children_user, children_system = (int(field) / _TICKS_PER_S for field in fields[11:15])
        children_cpu_s = children_user + children_system
        return cls(int(fields[17]), user + system + children_cpu_s, children_cpu_s)


def _children(pid: int) -> list[int]:
    """Return the numbers of the processes that any thread of a process has started and that have not been waited for."""
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return []
    return [int(word) for thread in threads for word in _read(f"/proc/{pid}/task/{thread}/children").split()]


def _descendants(pid: int, max_processes: int) -> list[int]:
    """Return the numbers of all processes below one, or of somewhat more than ``max_processes`` of them if there are more."""
    descendants: list[int] = []
    unvisited = [pid]
    while unvisited and len(descendants) <= max_processes:
        children = _children(unvisited.pop())
        descendants += children
        unvisited += children
    return descendants


def _held_bytes(pid: int) -> int:
    """Return the memory that a process holds, without the pages of files, which the kernel can drop."""
    lines = _read(f"/proc/{pid}/status").splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(("RssAnon", "RssShmem"))) << 10


def _shared_bytes(pid: int) -> int:
    """Return the memory that a process holds, where a page that n processes hold counts as 1/n of a page, if that can be read."""
    lines = [line.split() for line in _read(f"/proc/{pid}/smaps_rollup").splitlines()]
    kib = [int(words[1]) for words in lines if words and words[0] in ("Pss_Anon:", "Pss_Shmem:")]
    return sum(kib) << 10 if kib else _held_bytes(pid)


def _read(path: str) -> str:
    try:
        return Path(path).read_text("utf-8", "replace")
    except OSError:  # the process has ended, or belongs to another user
        return ""
