"""Run the checks in the grader's process, and report what they found. The code of the checks may be anyone's."""

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

LINK, FEED = 3, 4
"""The descriptors of the sockets to the runner and to the zygote."""
START_S = 60.0
IDLE_S = 1e6
"""The seconds to wait for the next request, which is as good as for ever."""


def main(link: int, feed: int, address_space: int, confinement: ChildConfinement) -> NoReturn:
    """Set up this process and serve one run after the other.

    ``link`` is the socket to the runner. ``feed`` brings the descriptor of each run's candidate. This function never returns: the
    runner bounds the time of each run and has this process ended.
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
    received = runner.receive(messages.MAX_REQUEST_BYTES, IDLE_S)
    request = Request(*codec.decode(received.body, len(received.body)))
    _, (fd,), _, _ = socket.recv_fds(candidates, 1, 1)
    with socket.socket(fileno=fd) as end:
        channel = Channel(end)
        if channel.receive(0, START_S).kind != codec.READY:
            os._exit(1)
        report = _graded(runner, request, channel, received.id)
    runner.send_raw(messages.frame(messages.REPORT, received.id, report.to_tuple()), START_S)


def _graded(runner: Channel, request: Request, channel: Channel, number: int) -> Report:
    try:
        prepared = _prepared(runner, request)
    except BrokenChecksError as error:
        return broken_checks(error)
    limits = Limits(wall_s=request.wall_s, output_bytes=request.output_bytes)
    if request.traced:
        return _traced(runner, request, TracedCandidate(channel, limits, request.source), prepared, number)
    candidate = RemoteCandidate(channel, limits, request.source)
    candidate.load(request.source, request.entry_point, request.prelude)
    recorder = Recorder(prepared.checks, candidate, stop_at_first_failure=request.stop_at_first_failure)
    return run_checks(prepared, candidate, request.entry_point, recorder)


def _traced(runner: Channel, request: Request, candidate: TracedCandidate, prepared: Prepared, number: int) -> Report:
    candidate.load(request.source, request.entry_point, request.prelude)
    recorder = TracedRecorder(prepared.checks, candidate)
    report = run_checks(prepared, candidate, request.entry_point, recorder)
    executed = candidate.log.executed().to_tuple()
    runner.send_raw(messages.frame(messages.EXECUTED, number, executed), START_S)
    return report


def _prepared(runner: Channel, request: Request) -> Prepared:
    if request.prepared:
        return prepared_checks.unpack(request.prepared)
    prepared = prepare(request.checks, request.setup, request.entry_point)
    shareable = are_shareable(request.checks, request.setup)
    runner.send(messages.PREPARED, shareable, prepared_checks.pack(prepared), START_S)
    return prepared
