"""Start a zygote for the runner, give it one run after the other, and replace it when it is gone or has served long enough."""

from __future__ import annotations

import itertools
import math
import os
import signal
import socket
import time
from contextlib import suppress
from dataclasses import asdict, astuple, dataclass, replace
from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from mlx_selfdebug.sandbox.processes.zygote import Settings

START_S = 60.0
"""Seconds that a zygote may take to start, and to accept an order."""
EXIT_S = 10.0
"""Seconds that a zygote may take to end a run, or to end itself."""
GRADER_S = 130.0
"""Seconds that the checks themselves may take in addition to the candidate's time.

This is a little more than the grader allows itself.
"""
GRADER_MEMORY_BYTES = 2 << 30
"""Bytes of memory of a grader, on top of what the zygote maps."""
RUNS_PER_ZYGOTE = 2000
"""The number of runs after which a zygote is replaced."""
_MAX_MESSAGE_BYTES = 1 << 20
"""The maximum length of a message from the zygote."""
_NOTHING = Executed()


class WorkerError(Exception):
    """A failure of the machine, not of the program: a process could not be started, or was ended from outside."""


@dataclass(frozen=True)
class PreparedChecks:
    """Checks as a grader has prepared them."""

    data: bytes = b""
    """The prepared checks, which only later graders may read."""
    shareable: bool = False
    """Whether the grader that runs these checks may also run others."""


@dataclass(frozen=True)
class Result:
    """The result of one run."""

    report: Report
    ending: Ending
    """How the candidate's process ended."""
    prepared: PreparedChecks | None = None
    """The prepared checks, if the request did not hold them."""
    executed: Executed = _NOTHING
    """The lines that were executed, if the run was traced."""


@dataclass(frozen=True)
class _Reply:
    """What a grader has sent about one run."""

    report: Report | None = None
    prepared: PreparedChecks | None = None
    executed: Executed = _NOTHING
    failure: str = ""
    """The reason why there is no report."""
    stuck: bool = False
    """Whether the grader may still be running its checks."""


class Worker:
    """A manager of one zygote at a time, which is started when it is needed. Only one thread may use a worker at a time."""

    def __init__(self, setup: Setup) -> None:
        self.layers: tuple[str, ...] = ()
        """The names of the confinement layers in force for the zygote."""
        self.details: dict[str, str] = {}
        """A line of detail on each layer."""
        self._setup = setup
        self._pid = 0  # the number of the zygote, or 0
        self._n_runs = 0  # the runs of this zygote
        self._runs = itertools.count(1)  # numbers for the runs of all zygotes
        self._control: socket.socket | None = None
        self._channel: Channel | None = None  # on the control socket
        self._link: Channel | None = None  # to the grader

    def start(self) -> None:
        """Start a zygote unless there is one that can still be used. Raises WorkerError if that fails."""
        if self._pid and self._n_runs < RUNS_PER_ZYGOTE:
            return
        self._launch()
        if self._needs_bubblewrap():
            self._setup = self._setup.with_bubblewrap()
            self._launch()
        self._require_layers()

    def _require_layers(self) -> None:
        """Raise WorkerError and end the zygote if it lacks a required layer.

        A layer can fail in one zygote alone, for example while the system is short of processes.
        """
        missing = self._setup.required.difference(self.layers)
        if missing:
            reasons = "; ".join(f"{name}: {self.details.get(name, 'not offered')}" for name in sorted(missing))
            self.close()
            raise WorkerError(f"a sandbox process was started with less confinement than was probed ({reasons})")

    def _launch(self) -> None:
        """End the zygote if there is one, and start another. Raises WorkerError if that fails."""
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
            self._begin(launched)
        finally:
            os.close(launched.stderr)

    def _needs_bubblewrap(self) -> bool:
        """Return whether this program may not make namespaces, but bubblewrap may.

        A required layer was in force when the sandbox was probed. If namespaces are required and cannot be made now, that is
        temporary, and bubblewrap does not take their place.
        """
        are_lacking = "namespaces" in layer_names() and "namespaces" not in self.layers
        are_left_out = "namespaces" in self._setup.without
        are_required = "namespaces" in self._setup.required
        return are_lacking and not are_left_out and not are_required and bubblewrap.works()

    def _begin(self, launched: Launched) -> None:
        """Send a new zygote its settings, and wait until it is ready. Raises WorkerError if it does not get ready."""
        setup = self._setup
        settings: Settings = {
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
            content = codec.decode(started.body, _MAX_MESSAGE_BYTES)
        except (ChannelError, codec.CodecError) as error:
            status = self.close()
            raise WorkerError(start_failure(setup, status, launched.read_stderr())) from error
        if started.kind != messages.STARTED:
            self.close()
            raise WorkerError(f"the sandbox process did not start: {content}")
        self.layers, self.details = content
        if setup.bubblewrap:
            self.layers += ("bubblewrap",)
            self.details["bubblewrap"] = "mounts, processes, network, IPC, host name, users"

    def run(self, request: Request, *, shared: bool) -> Result:
        """Run one program against its checks and return the result.

        ``shared`` says that the checks touch nothing but their own objects, so that they may run in a grader that serves other
        runs as well. Raises WorkerError if the machine fails.
        """
        self.start()
        self._n_runs += 1
        number = next(self._runs)
        try:
            if not (shared and self._link):
                self._start_grader()
            self._order(messages.RUN, number)
            reply = self._receive_reply(request, number)
            done = self._end_run(number, reply, shared)
        except (OSError, ChannelError, codec.CodecError) as error:
            self.close()
            raise WorkerError(f"a sandbox process was lost: {error}") from error
        if reply.report is None:
            raise WorkerError(
                f"the process that runs the checks gave no report ({reply.failure}); {_describe_exit(done.grader)}"
            )
        ending = Ending(done.status, done.cpu_s, done.peak_bytes, done.killed)
        return Result(reply.report, ending, reply.prepared, reply.executed)

    def _start_grader(self) -> None:
        self._drop_link()
        ours, theirs = socket.socketpair()
        self._link = Channel(ours)
        with theirs:
            assert self._control is not None
            socket.send_fds(self._control, [Order(messages.GRADER).pack()], [theirs.fileno()])

    def _receive_reply(self, request: Request, number: int) -> _Reply:
        """Send the request to the grader, and return what it sends up to its report, or why there is no report."""
        reply = _Reply()
        link, deadline = self._link, time.monotonic() + request.wall_s + GRADER_S
        assert link is not None
        try:
            link.send_raw(frame(messages.REQUEST, number, astuple(request)), GRADER_S)
        except ChannelError as error:  # The grader does not even read what it is asked, so no candidate has run.
            return _Reply(failure=str(error))
        try:
            while reply.report is None:
                received = link.receive(messages.MAX_PREPARED_BYTES, deadline - time.monotonic())
                reply = _add_message(reply, received, number)
        except ChannelTimeoutError:
            return replace(reply, report=_endless_checks(request.wall_s), stuck=True)
        except (ChannelError, codec.CodecError) as error:
            return _Reply(failure=str(error))
        return reply

    def _end_run(self, number: int, reply: _Reply, shared: bool) -> Done:
        """Have the zygote end the run, and return how the candidate ended."""
        end_grader = reply.report is None or reply.stuck or not shared
        # A candidate that closed its channel may be about to end by itself. Its own exit status is wanted then.
        grace = reply.report is not None and reply.report.silence == "exit"
        self._order(messages.END_GRADER if end_grader else messages.END, number, grace)
        done = Done(*codec.decode(self._receive(EXIT_S).body, 1 << 10))
        if done.run != number:
            raise codec.CodecError("the zygote reported the end of another run")
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
        """End the zygote and everything that it started, and return its exit status, or None if that is not known.

        If there is no zygote, nothing is done and None is returned.
        """
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
        return self._channel.receive(_MAX_MESSAGE_BYTES, timeout_s)


def _child_limits(limits: Limits) -> ChildLimits:
    return ChildLimits(math.ceil(limits.cpu_s), limits.memory_bytes, limits.output_bytes, GRADER_MEMORY_BYTES)


def _add_message(reply: _Reply, received: Frame, number: int) -> _Reply:
    """Return the reply with a message of the grader added.

    Raises CodecError if the message is not valid, or if it is about another run.
    """
    if received.kind == messages.REPORT and received.id == number:
        return replace(reply, report=messages.read_report(received.body))
    if received.kind == messages.EXECUTED and received.id == number:
        return replace(reply, executed=messages.read_executed(received.body))
    if received.kind == messages.PREPARED:
        # Its id is not the number of the run, but says whether the checks are shareable.
        return replace(reply, prepared=PreparedChecks(received.body, received.id == 1))
    raise codec.CodecError(
        f"a message of kind {received.kind} about run {received.id} was not expected in run {number}"
    )


def _endless_checks(wall_s: float) -> Report:
    """Return the report of a run whose checks did not end in time.

    It counts against the candidate, since most likely a value of the candidate made them so slow. Checks that never end by
    themselves fail their own reference as well.
    """
    error = ErrorFact("TimeoutError", f"the checks did not finish within {wall_s + GRADER_S:.0f} s")
    return Report("timeout_wall", (Failure("", error=error),), 0, 1)


def _describe_exit(status: int | None) -> str:
    """Return how a grader ended, in words. ``status`` is None if there was no grader left to end."""
    if status is None:
        return "it is gone"
    code = os.waitstatus_to_exitcode(status)
    return f"it ended with exit code {code}" if code >= 0 else f"it was ended by signal {-code}"


def _wait(pid: int, options: int) -> tuple[int, int | None]:
    """Return the number of the process, or 0 if it is still running, and its exit code if that is known."""
    try:
        ended, status = os.waitpid(pid, options)
    except ChildProcessError:  # another part of this program has already waited for this process
        return pid, None
    return ended, os.waitstatus_to_exitcode(status)
