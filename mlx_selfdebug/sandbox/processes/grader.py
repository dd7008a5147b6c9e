"""Run the grader: a process that runs checks against a candidate and reports the result to the runner.

The code of the checks is untrusted, so the grader is confined like the candidate.
"""

from __future__ import annotations

import gc
import os
import socket
from typing import NoReturn

from mlx_selfdebug.sandbox.confinement.system import ChildConfinement
from mlx_selfdebug.sandbox.grading import prepared as prepared_checks
from mlx_selfdebug.sandbox.grading.checking import BrokenChecksError, Prepared, prepare, run_checks
from mlx_selfdebug.sandbox.grading.recorder import Recorder
from mlx_selfdebug.sandbox.grading.remote import RemoteCandidate
from mlx_selfdebug.sandbox.grading.report import Report, broken_checks
from mlx_selfdebug.sandbox.grading.shareable import are_shareable
from mlx_selfdebug.sandbox.grading.traced import TracedCandidate, TracedRecorder
from mlx_selfdebug.sandbox.limits import Limits
from mlx_selfdebug.sandbox.processes.limits import close_from, renumber, set_limits
from mlx_selfdebug.sandbox.wire import codec, messages
from mlx_selfdebug.sandbox.wire.channel import Channel
from mlx_selfdebug.sandbox.wire.messages import Request

LINK = 3
"""The descriptor of the socket to the runner."""
FEED = 4
"""The descriptor of the socket to the zygote."""
START_S = 60.0
"""Seconds that the candidate may take to get ready, and the runner to read a message."""
IDLE_S = 1e6
"""Seconds that the grader waits for its next request, which is more than eleven days."""


def main(link: int, feed: int, address_space: int, confinement: ChildConfinement) -> NoReturn:
    """Set up this process and serve one run after the other.

    ``link`` is the descriptor of the socket to the runner. Over the socket ``feed``, the zygote sends the channel to each run's
    candidate. The limit ``address_space`` is in bytes. This function never returns: the runner bounds the time of each run and has
    the process ended.
    """
    renumber(link, feed)
    set_limits(0, address_space)
    confinement.apply()
    close_from(FEED + 1)
    gc.enable()
    runner, candidates = socket.socket(fileno=LINK), socket.socket(fileno=FEED)
    runner.setblocking(True)
    while True:
        _serve(Channel(runner), candidates)


def _serve(runner: Channel, candidates: socket.socket) -> None:
    """Receive a request and its candidate, run the checks, and send the report."""
    received = runner.receive(messages.MAX_REQUEST_BYTES, IDLE_S)
    request = Request(*codec.decode(received.body, len(received.body)))
    _, (fd,), _, _ = socket.recv_fds(candidates, 1, 1)
    with socket.socket(fileno=fd) as end:
        channel = Channel(end)
        if channel.receive(0, START_S).kind != codec.READY:
            os._exit(1)
        report = _grade(runner, request, channel, received.id)
    runner.send_raw(messages.frame(messages.REPORT, received.id, report.to_tuple()), START_S)


def _grade(runner: Channel, request: Request, channel: Channel, run: int) -> Report:
    """Run the checks of a request against the candidate at the other end of ``channel``. ``run`` is the number of the run."""
    try:
        prepared = _prepare(runner, request)
    except BrokenChecksError as error:
        return broken_checks(error)
    limits = Limits(wall_s=request.wall_s, output_bytes=request.output_bytes)
    if request.traced:
        return _grade_traced(runner, request, TracedCandidate(channel, limits, request.source), prepared, run)
    candidate = RemoteCandidate(channel, limits, request.source)
    candidate.load(request.source, request.entry_point, request.prelude)
    recorder = Recorder(prepared.checks, candidate, stop_at_first_failure=request.stop_at_first_failure)
    return run_checks(prepared, candidate, request.entry_point, recorder)


def _grade_traced(
    runner: Channel, request: Request, candidate: TracedCandidate, prepared: Prepared, run: int
) -> Report:
    """Run the checks, and send which lines the candidate ran before the report is sent."""
    candidate.load(request.source, request.entry_point, request.prelude)
    recorder = TracedRecorder(prepared.checks, candidate)
    report = run_checks(prepared, candidate, request.entry_point, recorder)
    executed = candidate.log.executed().to_tuple()
    runner.send_raw(messages.frame(messages.EXECUTED, run, executed), START_S)
    return report


def _prepare(runner: Channel, request: Request) -> Prepared:
    """Return the prepared checks. If the request does not hold them, prepare them, and send them to the runner."""
    if request.prepared:
        return prepared_checks.unpack(request.prepared)
    prepared = prepare(request.checks, request.setup, request.entry_point)
    shareable = are_shareable(request.checks, request.setup)
    runner.send(messages.PREPARED, shareable, prepared_checks.pack(prepared), START_S)
    return prepared
