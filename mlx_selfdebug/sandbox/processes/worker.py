"""The runner's handle on one zygote: starts it, gives it one run after the other, starts another when it is gone."""

from __future__ import annotations

import itertools
import math
import os
import signal
import socket
import time
from contextlib import suppress
from dataclasses import asdict, astuple, dataclass, replace

from mlx_selfdebug.sandbox.confinement import bubblewrap
from mlx_selfdebug.sandbox.confinement.system import layer_names
from mlx_selfdebug.sandbox.executed import Executed
from mlx_selfdebug.sandbox.grading.report import Report
from mlx_selfdebug.sandbox.limits import Limits
from mlx_selfdebug.sandbox.processes.ending import Ending
from mlx_selfdebug.sandbox.processes.launch import Launched, Setup, launch, start_failure
from mlx_selfdebug.sandbox.wire import codec, messages
from mlx_selfdebug.sandbox.wire.channel import Channel, ChannelError, ChannelTimeoutError, Frame
from mlx_selfdebug.sandbox.wire.messages import ChildLimits, Done, Order, Request, frame
from mlx_selfdebug.values.verdict import ErrorFact, Failure

START_S = 60.0
EXIT_S = 10.0
GRADER_S = 130.0
"""Seconds the checks themselves may take beyond what the candidate may; a little more than the grader allows itself."""
GRADER_MEMORY_BYTES = 2 << 30
RUNS_A_ZYGOTE = 2000
_NOTHING = Executed()


class WorkerError(Exception):
    """The machine's fault, not the program's: a process could not be started, or was ended from outside."""


@dataclass(frozen=True)
class PreparedChecks:
    """What a grader made of checks, for later graders alone to read; ``shareable``: any grader may run them."""

    data: bytes = b""
    shareable: bool = False


@dataclass(frozen=True)
class Result:
    """``prepared`` if the grader had to make it, ``executed`` if the run was traced."""

    report: Report
    ending: Ending
    prepared: PreparedChecks | None = None
    executed: Executed = _NOTHING


@dataclass(frozen=True)
class _Heard:
    """Hold what a grader said. Without a report, ``failure`` says why; ``stuck``: it may still be at its checks."""

    report: Report | None = None
    prepared: PreparedChecks | None = None
    executed: Executed = _NOTHING
    failure: str = ""
    stuck: bool = False


class Worker:
    """One zygote at a time, started when first needed. Not for use by two threads at once."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._pid = 0
        self._n_runs = 0
        self._runs = itertools.count(1)
        self._control: socket.socket | None = None
        self._channel: Channel | None = None
        self._link: Channel | None = None
        self.layers: tuple[str, ...] = ()
        self.details: dict[str, str] = {}

    def start(self) -> None:
        """Does nothing if a zygote is there. Raises WorkerError."""
        if self._pid and self._n_runs < RUNS_A_ZYGOTE:
            return
        self._launch()
        if self._needs_bubblewrap():
            without = self._setup.without | {"namespaces"}
            self._setup = replace(self._setup, folder="/", without=without, bubblewrap=True)
            self._launch()

    def _launch(self) -> None:
        self.close()
        ours, theirs = socket.socketpair()
        try:
            launched = launch(self._setup, theirs)
        except OSError as error:
            ours.close()
            raise WorkerError(f"cannot start {self._setup.layout.executable}: {error}") from error
        finally:
            theirs.close()
        self._pid, self._control, self._channel, self._n_runs = launched.pid, ours, Channel(ours), 0
        try:
            self._greet(launched)
        finally:
            os.close(launched.stderr)

    def _needs_bubblewrap(self) -> bool:
        """Where this program may not make namespaces, but bubblewrap may."""
        lacking = "namespaces" in layer_names() and "namespaces" not in self.layers
        return lacking and "namespaces" not in self._setup.without and bubblewrap.works()

    def _greet(self, launched: Launched) -> None:
        setup = self._setup
        settings = {
            "layout": asdict(setup.layout),
            "folder": setup.folder,
            "packages": setup.packages,
            "package_paths": tuple(dict.fromkeys(os.path.dirname(path) for path in setup.layout.packages)),
            "without": tuple(sorted(setup.without)),
            "limits": asdict(_child_limits(setup.limits)),
        }
        try:
            self._send(frame(messages.SETTINGS, 0, settings))
            started = self._receive(START_S)
            content = codec.decode(started.body, 1 << 20)
        except (ChannelError, codec.CodecError) as error:
            status = self.close()
            raise WorkerError(start_failure(setup, status, launched.said())) from error
        if started.kind != messages.STARTED:
            self.close()
            raise WorkerError(f"the sandbox process did not start: {content}")
        self.layers, self.details = content
        if setup.bubblewrap:
            self.layers += ("bubblewrap",)
            self.details["bubblewrap"] = "mounts, processes, network, IPC, host name, users"

    def run(self, request: Request, *, shared: bool) -> Result:
        """``shared``: the checks keep to themselves, so the grader may serve other runs too. Raises WorkerError."""
        self.start()
        self._n_runs += 1
        number = next(self._runs)
        try:
            if not (shared and self._link):
                self._start_grader()
            self._order(messages.RUN, number)
            heard = self._heard(request, number)
            done = self._end(number, heard, shared)
        except (OSError, ChannelError, codec.CodecError) as error:
            self.close()
            raise WorkerError(f"a sandbox process was lost: {error}") from error
        if heard.report is None:
            raise WorkerError(f"the process that runs the checks gave no report: {heard.failure}, {_how(done.grader)}")
        ending = Ending(done.status, done.cpu_s, done.peak_bytes, done.killed)
        return Result(heard.report, ending, heard.prepared, heard.executed)

    def _start_grader(self) -> None:
        self._drop_link()
        ours, theirs = socket.socketpair()
        self._link = Channel(ours)
        with theirs:
            assert self._control is not None
            socket.send_fds(self._control, [Order(messages.GRADER).pack()], [theirs.fileno()])

    def _heard(self, request: Request, number: int) -> _Heard:
        heard = _Heard()
        link, deadline = self._link, time.monotonic() + request.wall_s + GRADER_S
        assert link is not None
        try:
            link.send_raw(frame(messages.REQUEST, number, astuple(request)), GRADER_S)
            while heard.report is None:
                heard = _with(heard, link.receive(messages.MAX_PREPARED_BYTES, deadline - time.monotonic()), number)
        except ChannelTimeoutError:
            return replace(heard, report=_endless_checks(request.wall_s), stuck=True)
        except (ChannelError, codec.CodecError) as error:
            return _Heard(failure=str(error))
        return heard

    def _end(self, number: int, heard: _Heard, shared: bool) -> Done:
        last = heard.report is None or heard.stuck or not shared
        grace = heard.report is not None and heard.report.silence == "exit"
        self._order(messages.END_GRADER if last else messages.END, number, grace)
        done = Done(*codec.decode(self._receive(EXIT_S).body, 1 << 10))
        if done.run != number:
            raise codec.CodecError("the ending of another run")
        if done.grader is not None:
            self._drop_link()
        return done

    def _drop_link(self) -> None:
        if self._link:
            self._link.close()
            self._link = None

    def _order(self, kind: int, run: int, grace: bool = False) -> None:
        self._send(Order(kind, run, grace).pack())

    def close(self) -> int | None:
        """End the zygote and all it started; its exit status if there was one. May be called again."""
        if not self._pid:
            return None
        pid, self._pid = self._pid, 0
        self._drop_link()
        if self._control:
            self._control.close()
        deadline = time.monotonic() + EXIT_S
        ended, status = _wait(pid, os.WNOHANG)
        while not ended and time.monotonic() < deadline:
            time.sleep(0.002)
            ended, status = _wait(pid, os.WNOHANG)
        if not ended:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            _, status = _wait(pid, 0)
        return status

    def _send(self, data: bytes) -> None:
        assert self._channel is not None
        self._channel.send_raw(data, START_S)

    def _receive(self, timeout_s: float) -> Frame:
        assert self._channel is not None
        return self._channel.receive(1 << 20, timeout_s)


def _child_limits(limits: Limits) -> ChildLimits:
    return ChildLimits(math.ceil(limits.cpu_s), limits.memory_bytes, limits.output_bytes, GRADER_MEMORY_BYTES)


def _with(heard: _Heard, received: Frame, number: int) -> _Heard:
    """Add what was received. Raises CodecError on a report or executed lines that are none."""
    if received.kind == messages.REPORT and received.id == number:
        return replace(heard, report=messages.read_report(received.body))
    if received.kind == messages.EXECUTED and received.id == number:
        return replace(heard, executed=messages.read_executed(received.body))
    return replace(heard, prepared=PreparedChecks(received.body, received.id == 1))


def _endless_checks(wall_s: float) -> Report:
    """Most likely a value of the candidate made them so; checks that never end fail their own reference as well."""
    error = ErrorFact("TimeoutError", f"the checks did not come to their end within {wall_s + GRADER_S:.0f} s")
    return Report("timeout_wall", (Failure("", error=error),), 0, 1)


def _how(status: int | None) -> str:
    if status is None:
        return "and is gone"
    code = os.waitstatus_to_exitcode(status)
    return f"exit code {code}" if code >= 0 else f"ended by signal {-code}"


def _wait(pid: int, options: int) -> tuple[int, int | None]:
    try:
        ended, status = os.waitpid(pid, options)
    except ChildProcessError:  # someone else in this program waited for it
        return pid, None
    return ended, os.waitstatus_to_exitcode(status)
