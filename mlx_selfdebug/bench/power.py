"""Measure the power of the machine while something runs.

The power is read from ``macmon``, which runs on Apple chips and needs no password. If it is not on the ``PATH``, the power is
unknown.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import threading
from collections.abc import Sequence
from types import TracebackType

from mlx_selfdebug.machine.apple import PowerSample, parse_macmon

INTERVAL_MS = 250
"""The milliseconds between two samples."""


def macmon_command() -> tuple[str, ...]:
    """Return the command that prints one sample per line until it is ended, or an empty command if macmon is not installed."""
    path = shutil.which("macmon")
    return (path, "pipe", "-i", str(INTERVAL_MS)) if path else ()


class PowerMeter:
    """A meter that samples the power while a block runs. The caller measures how long the block took.

        begin = time.perf_counter()
        with PowerMeter() as power:
            work()
        energy = power.joules(time.perf_counter() - begin)

    ``command`` is the command that prints the samples, by default that of macmon.
    """

    def __init__(self, command: Sequence[str] | None = None) -> None:
        self._command = macmon_command() if command is None else command
        self._process: subprocess.Popen[str] | None = None
        self._thread: threading.Thread | None = None
        self._samples: list[PowerSample] = []

    def __enter__(self) -> PowerMeter:
        self._samples.clear()
        if self._command:
            try:
                self._process = subprocess.Popen(
                    self._command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
                )
            except OSError:
                # A macmon that cannot be started is treated as one that is not installed.
                return self
            self._thread = threading.Thread(target=self._read, name="power-meter", daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process and self._thread:
            self._process.terminate()
            self._process.wait()
            self._thread.join()
            assert self._process.stdout is not None
            self._process.stdout.close()

    def joules(self, seconds: float) -> float | None:
        """Return the energy in joules, as the mean power times ``seconds``, or None if nothing was sampled."""
        return statistics.fmean(sample.watts for sample in self._samples) * seconds if self._samples else None

    @property
    def gpu_celsius(self) -> float | None:
        """The highest sampled temperature of the GPU, or None if there is no sample of it."""
        return max((s.gpu_celsius for s in self._samples if s.gpu_celsius is not None), default=None)

    def _read(self) -> None:
        """Collect the samples that the command prints. The thread runs this until the command ends."""
        assert self._process is not None
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if sample := parse_macmon(line):
                self._samples.append(sample)
