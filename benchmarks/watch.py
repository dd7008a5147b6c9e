"""Measure how soon the page of a run under way shows a picture, and what it costs the run to be watched.

    python benchmarks/watch.py [--tasks 312] [--model qwen2.5-coder-0.5b] [--windows 60] [--window-s 10]

First, `mlx-selfdebug runs watch` is started on a made-up run of 5,000 attempts that this process has open. Then a real run
collects, and is watched in every second window of time: in the others, the process that watches is stopped by SIGSTOP. What a page
open in a browser asks for is asked for every two seconds.

The cost is given in two ways. One is the processor time of the watching process as a share of a core. The run cannot lose a larger
share of its time than this, unless the two also disturb each other's caches. The other is the decoded tokens per second in both
kinds of windows. For this, the run writes down when each step of its batch ended. Steps that also computed prompts do not count,
since how many prompts fall into a window is chance. Prints a table, then one JSON line.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))

from mlx_selfdebug.cli import main as command_line
from mlx_selfdebug.sampling.decoder import BatchDecoder
from mlx_selfdebug.store import Family
from tests.support.runs import make_run

PROGRAM = (sys.executable, "-m", "mlx_selfdebug")
PAGE_S = 2.0
"""The seconds between two requests of an open page."""
STEP = struct.Struct("=ddd")
"""What is written of a step: the second when it ended, the tokens that were decoded, the tokens of prompts that were computed."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--tasks", type=int, default=312, help="evaluation tasks of the made-up run, with about 16 attempts each"
    )
    parser.add_argument("--model", default="qwen2.5-coder-0.5b", help="model of the real run")
    parser.add_argument(
        "--windows", type=int, default=60, help="number of windows, half of them watched; 0 leaves this out"
    )
    parser.add_argument("--window-s", type=float, default=10.0, help="seconds of a window")
    parser.add_argument("--collect-into", type=Path, metavar="RUN", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.collect_into:
        collect(options.collect_into, options.model)
        return
    with tempfile.TemporaryDirectory() as folder:
        first = first_picture(Path(folder) / "large", options.tasks)
        print(f"a run of {first['attempts']:,.0f} attempts, under way")
        for name in ("address", "page", "picture in a browser", "all parts"):
            print(f"  {name:24}{first[name]:8.2f} s" if first[name] is not None else f"  {name:24}       -")
        cost = (
            watched(Path(folder) / "real", options.model, options.windows, options.window_s)
            if options.windows
            else None
        )
    if cost:
        print(f"a real run, watched in {options.windows // 2} of {options.windows} windows of {options.window_s:g} s")
        print(f"  processor time of watching{cost['core_share']:8.2%} of a core")
        print(f"  tokens/s{cost['watched']:8.1f} watched{cost['alone']:8.1f} alone")
        print(f"  difference{cost['difference']:8.2%}, 95 % interval {cost['low']:.2%} to {cost['high']:.2%}")
    print(json.dumps({"benchmark": "watch", "first": first, "cost": cost, "machine": platform.machine()}))


def first_picture(path: Path, tasks: int) -> dict[str, float | None]:
    """Return the seconds from the start of the command to its address, and from there to the page and its pictures."""
    with make_run(path, tasks=tasks, pairs=200) as run:
        run.remember(Family.MACHINE.key("rewards"), {"versions": {}, "hardware": {}})
        n_attempts = len(run.attempts())
        begin = time.perf_counter()
        with watch(path) as (_, url):
            address_s = time.perf_counter() - begin
            begin = time.perf_counter()
            page = fetch(url)
            page_s = time.perf_counter() - begin
            assert "<svg viewBox" in page
            while not json.loads(fetch(f"{url}changes?since=0"))["parts"].get("settings"):
                time.sleep(0.05)
            all_s = time.perf_counter() - begin
            return {"attempts": n_attempts, "address": address_s, "page": page_s, "all parts": all_s,
                    "picture in a browser": browser_picture_s(url)}  # fmt: skip


def browser_picture_s(url: str) -> float | None:
    """Return the seconds until headless Chromium has drawn the first picture, or None without Chromium."""
    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        return None
    from selenium.webdriver.common.by import By

    from tests.support.browser import headless

    with tempfile.TemporaryDirectory() as profile, headless(Path(profile)) as browser:
        begin = time.perf_counter()
        browser.get(url)
        while not any(chart.size["width"] > 300 for chart in browser.find_elements(By.CSS_SELECTOR, ".chart svg")):
            time.sleep(0.02)
        return time.perf_counter() - begin


def collect(path: Path, model: str) -> None:
    """Collect into the run ``path``, and write down each step of its batch in the file ``steps_of(path)``."""
    step = BatchDecoder.step
    with steps_of(path).open("wb", buffering=0) as file:

        def counted(self: BatchDecoder) -> list[Any]:
            before = self.counts.decoded_tokens, self.counts.prefilled_tokens
            completions = step(self)
            decoded, prefilled = self.counts.decoded_tokens - before[0], self.counts.prefilled_tokens - before[1]
            file.write(STEP.pack(time.monotonic(), decoded, prefilled))
            return completions

        BatchDecoder.step = counted  # type: ignore[method-assign]
        command_line(["collect", "--run", str(path), "--model", model, "--preset", "cpu", "--collect-samples", "64",
                      "--collect-weak-share", "0", "--quiet"])  # fmt: skip


def steps_of(path: Path) -> Path:
    return path.with_suffix(".steps")


def read_steps(path: Path) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Return the steps that were written down so far, one per line."""
    whole = steps_of(path).read_bytes() if steps_of(path).exists() else b""
    return np.frombuffer(whole[: len(whole) // STEP.size * STEP.size]).reshape(-1, 3)


def watched(path: Path, model: str, n_windows: int, window_s: float) -> dict[str, float]:
    """Return what a real run loses by being watched."""
    command = [sys.executable, str(Path(__file__)), "--collect-into", str(path), "--model", model]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as run:
        try:
            # The first step has to compute the prompts of all its rows.
            while len(read_steps(path)) < 20:
                assert run.poll() is None, "the run has ended"
                time.sleep(1)
            with watch(path) as (process, url):
                fetch(url)
                return alternate(path, process, url, n_windows, window_s)
        finally:
            run.kill()


def alternate(
    path: Path, process: subprocess.Popen[str], url: str, n_windows: int, window_s: float
) -> dict[str, float]:
    windows: list[tuple[bool, float, float]] = []
    cpu_s, version = 0.0, 0
    for i in range(n_windows):
        # Pairs of windows begin with the watched one in turn, so that a drift of the machine falls on both.
        is_watched = i % 4 in (0, 3)
        process.send_signal(signal.SIGCONT if is_watched else signal.SIGSTOP)
        cpu_before, begin = processor_s(process.pid), time.monotonic()
        while (left := begin + window_s - time.monotonic()) > 0:
            if is_watched:
                version = json.loads(fetch(f"{url}changes?since={version}"))["version"]
            time.sleep(min(PAGE_S, left))
        windows.append((is_watched, begin, time.monotonic()))
        cpu_s += (processor_s(process.pid) - cpu_before) if is_watched else 0.0
    process.send_signal(signal.SIGCONT)
    rates = {
        watched: [rate(read_steps(path), *window) for w, *window in windows if w == watched]
        for watched in (True, False)
    }
    lost = [1 - with_ / without for with_, without in zip(rates[True], rates[False], strict=True)]
    lost = [share for share in lost if share == share]  # a window in which no step counts has no rate
    mean = statistics.fmean(lost) if lost else float("nan")
    half = 2.0 * statistics.stdev(lost) / len(lost) ** 0.5 if len(lost) > 1 else float("nan")
    return {"core_share": cpu_s / (window_s * len(rates[True])), "watched": float(np.nanmean(rates[True])),
            "alone": float(np.nanmean(rates[False])), "difference": mean, "low": mean - half, "high": mean + half}  # fmt: skip


def rate(steps: np.ndarray[tuple[int, int], np.dtype[np.float64]], begin: float, end: float) -> float:
    """Return the tokens per second of the steps between two moments that computed no prompts; not a number if there are none."""
    ended, decoded, prefilled = steps.T
    counts = (ended[:-1] >= begin) & (ended[1:] <= end) & (prefilled[1:] == 0)
    seconds = np.diff(ended)[counts].sum()
    return float(decoded[1:][counts].sum() / seconds) if seconds else float("nan")


@contextmanager
def watch(path: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start `runs watch`, and yield its process and its address."""
    command = [*PROGRAM, "runs", "watch", str(path), "--no-open"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout
        try:
            yield process, process.stdout.readline().split()[-1]
        finally:
            process.kill()


def fetch(url: str) -> str:
    with urllib.request.urlopen(url, timeout=60) as answer:
        text: str = answer.read().decode()
    return text


def processor_s(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


if __name__ == "__main__":
    main()
