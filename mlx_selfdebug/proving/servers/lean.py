"""Run Lean on one file after another: the server that runs in a confined process of the Lean checker.

A request holds a file and its time limit. The answer holds the messages that Lean printed, each as a severity, a line and a text:

    {"id": 1, "source": "theorem goal_6f1c8e0d2b7a4935 : 1 + 1 = 2\\n  := by\\n  rfl\\n...", "wall_s": 10.0}
    {"id": 1, "seconds": 0.3, "ended": "", "exit_code": 0, "messages": [["information", 6, "..."]], "said": ""}

``ended`` says why Lean was ended (``timed_out``, ``memory``, ``output`` or ``crashed``), and ``said`` is the end of its standard
error. Lean is started anew for each file, since a running Lean cannot go back to an earlier state as Rocq can.
"""

from __future__ import annotations

import json
import os
import resource
import selectors
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

from .serving import MAX_TEXT, serve

FILE = "proof.lean"
"""The name of the file in the working folder that Lean checks."""
MAX_OUTPUT_BYTES = 8 << 20
"""The maximum number of bytes that Lean may print about one file. If it prints more, it is ended."""
PROCESSES = "/proc"
"""The folder in which Linux shows processes.

A process that has no /proc of its own sees its working folder here (see ``proving/lean.py``).
"""
_MEBIBYTE = 1 << 20


def main() -> NoReturn:
    """Answer requests until the channel is closed. The three arguments of the command line are those of ``Server``."""
    serve(Server(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])).answer)
    os._exit(0)


class Server:
    """A server that runs ``program``, which is Lean, on a file in the working folder.

    Lean is told to use at most ``memory_bytes``, and on Linux may map ``mapped_bytes`` for itself.
    """

    def __init__(self, program: str, memory_bytes: int, mapped_bytes: int) -> None:
        self._program, self._mapped_bytes = program, mapped_bytes
        self._command = [program, "--json", f"-M{memory_bytes // _MEBIBYTE}", FILE]
        # Where there is no /proc, the loader needs this to find libraries that are named relative to the program.
        self._environment = {**os.environ, "LD_ORIGIN_PATH": os.path.dirname(program)}

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Return the answer to a request: what Lean printed about its source, and how Lean ended."""
        began = time.monotonic()
        Path(FILE).write_text(request["source"], encoding="utf-8")
        result = self._run(began + request["wall_s"])
        return {"id": request["id"], "seconds": time.monotonic() - began, **result}

    def _run(self, deadline: float) -> dict[str, Any]:
        """Run Lean on the file, end it at the deadline or when it prints too much, and return how it ended and what it printed."""
        try:
            process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=self._environment,
                preexec_fn=self._prepare,
            )
        except (OSError, subprocess.SubprocessError) as error:
            return _result("crashed", None, b"", str(error).encode())
        with process:
            try:
                ended, out, err = _read_outputs(process, deadline)
            finally:
                process.kill()
                code = process.wait()
        shutil.rmtree(str(process.pid), ignore_errors=True)  # the folder that _prepare made
        if not ended and b"out of memory" in err.lower():
            ended = "memory"
        elif not ended and code < 0:
            ended = "crashed"
        return _result(ended, code, out, err)

    def _prepare(self) -> None:
        """Limit the memory of the new process before it becomes Lean, and make the link ``/proc/PID/exe`` for it."""
        if sys.platform != "linux":
            return
        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        mapped = self._mapped_bytes if hard == resource.RLIM_INFINITY else min(self._mapped_bytes, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (mapped, mapped))
        if os.getcwd() == PROCESSES:
            # Lean reads this link to learn where it is installed, and does not start without it.
            os.mkdir(str(os.getpid()))
            os.symlink(self._program, f"{os.getpid()}/exe")


def _read_outputs(process: subprocess.Popen[bytes], deadline: float) -> tuple[str, bytes, bytes]:
    """Read standard output and standard error until the process ends or exceeds a limit.

    Return the limit that it exceeded, ``timed_out`` or ``output``, or an empty string if it ended, and then the two outputs.
    """
    outputs = {process.stdout: bytearray(), process.stderr: bytearray()}
    with selectors.DefaultSelector() as selector:
        for stream in outputs:
            assert stream is not None
            selector.register(stream, selectors.EVENT_READ)
        ended = ""
        while selector.get_map() and not ended:
            ready = selector.select(max(0.0, deadline - time.monotonic()))
            for key, _ in ready:
                data = os.read(key.fd, 1 << 16)
                outputs[key.fileobj] += data  # type: ignore[index]
                if not data:
                    selector.unregister(key.fileobj)
            if sum(map(len, outputs.values())) > MAX_OUTPUT_BYTES:
                ended = "output"
            elif not ready:
                ended = "timed_out"
    if not ended:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            ended = "timed_out"
    return ended, bytes(outputs[process.stdout]), bytes(outputs[process.stderr])


def _result(ended: str, code: int | None, out: bytes, err: bytes) -> dict[str, Any]:
    """Return how Lean ended, its exit code, the messages in its standard output, and the end of its standard error.

    With ``--json``, Lean prints a line for each message: ``{"severity": "error", "pos": {"line": 3, ...}, "data": "...", ...}``.
    """
    messages = []
    for line in out.splitlines():
        try:
            message = json.loads(line)
            position = message["pos"]["line"]
            messages.append([str(message["severity"]), int(position), str(message["data"])[:MAX_TEXT]])
        except (ValueError, LookupError, TypeError, RecursionError):
            continue  # the line is not a message
    stderr = err.decode("utf-8", "replace").strip()[-MAX_TEXT:]
    return {"ended": ended, "exit_code": code, "messages": messages, "said": stderr}
