"""Check the machines of a hosts file: whether each can be reached and has the same packages, and how fast they are connected.

A hosts file is what ``mlx.launch --hostfile`` reads:

    [{"ssh": "first.local", "ips": ["192.168.0.10"]}, {"ssh": "second.local", "ips": ["192.168.0.11"]}]
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlx_selfdebug.doctor.finding import Finding, judged, ok
from mlx_selfdebug.errors import UsageError
from mlx_selfdebug.machine.versions import versions

CONNECT_S = 5
"""The seconds within which a machine has to answer to ssh."""
VERSIONS_S, LINK_S = 60.0, 180.0
"""The longest time to wait for the versions of a machine, and for the measurement of the link, in seconds."""
LOCAL = "127.0.0.1"
"""The name by which a hosts file lists this machine itself. It is checked without ssh."""
_HINT = "examples/hosts.json shows the form of a hosts file"
_PRINT_VERSIONS = "import json; from mlx_selfdebug.machine.versions import versions; print(json.dumps(versions()))"
"""The Python program that a machine runs to tell the versions of its packages."""
_SLOW_BYTES_PER_S = 50e6
"""Over a link slower than this, sending the gradients of a training step often takes longer than computing them."""


@dataclass(frozen=True)
class Host:
    """A machine of a hosts file."""

    ssh_hostname: str
    """The name under which ssh reaches the machine."""
    ips: Sequence[str]
    """The addresses of the machine on the link between the machines."""
    rdma: Sequence[Any]
    """For each machine of the file, the RDMA device that connects this one with it, or None for this one itself.

    It is empty if the file names no such devices.
    """


def examine_hosts(file: Path) -> Iterator[Finding]:
    """Yield the findings about the machines that the hosts ``file`` of ``mlx.launch`` lists.

    The link between the machines is measured only if all of them are ok. Raises UsageError if the file cannot be read.
    """
    hosts, backend = read_hosts(file)
    all_are_ok = True
    for rank, host in enumerate(hosts):
        finding = _examine_host(f"rank {rank}", host)
        all_are_ok = all_are_ok and finding.state == "ok"
        yield finding
    yield _examine_backend(hosts, backend)
    if not all_are_ok:
        yield Finding("link", "warning", "not measured", "fix the machines above first")
    elif len(hosts) == 1:
        yield Finding("link", "warning", "a single machine", f"list more machines in {file}")
    else:
        yield _examine_link(file)


def read_hosts(file: Path) -> tuple[list[Host], str]:
    """Return the machines that a hosts file lists, and the backend that it names, or "" if it names none.

    The file holds a list of machines, or an object such as ``{"backend": "ring", "hosts": [...]}``. Raises UsageError if it
    cannot be read, has another form or lists no machine.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        machines = content["hosts"] if isinstance(content, dict) else content
        hosts = [Host(machine["ssh"], machine.get("ips", []), machine.get("rdma", [])) for machine in machines]
        backend = content.get("backend", "") if isinstance(content, dict) else ""
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror or error}", hint=_HINT) from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UsageError(f"{file} is not a hosts file of mlx.launch: {error!r}", hint=_HINT) from error
    if not hosts:
        raise UsageError(f"{file} lists no machines", hint=_HINT)
    return hosts, backend


def _examine_host(name: str, host: Host) -> Finding:
    """Return the finding that says whether a machine can be reached and has the same packages as this one."""
    label = f"{host.ssh_hostname} ({', '.join(host.ips) or 'no address'})"
    if host.ssh_hostname != LOCAL:
        error = _error_of(_ssh(host.ssh_hostname, ["true"]), CONNECT_S * 2)
        if error is not None:
            return Finding(
                name, "problem", f"{label}: {error}",
                f"turn on Remote Login there, and see that this works without a password: ssh {host.ssh_hostname}",
            )  # fmt: skip
    command = [sys.executable, "-c", _PRINT_VERSIONS]
    try:
        completed = subprocess.run(
            command if host.ssh_hostname == LOCAL else _ssh(host.ssh_hostname, command),
            capture_output=True, text=True, timeout=VERSIONS_S, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        theirs = json.loads(completed.stdout)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return Finding(
            name, "problem", f"{label}: this package does not run there",
            f"install it there at the same path as here, {sys.executable}, for example from the same folder with `make setup`",
        )  # fmt: skip
    different = [
        f"{package} {theirs.get(package)}" for package, version in versions().items() if theirs.get(package) != version
    ]
    return judged(
        name,
        f"{label}: " + (", ".join(different) if different else f"mlx {theirs['mlx']}, the same packages as here"),
        (bool(different), "problem", "install the same versions on all machines"),
        (not host.ips, "problem", 'give the machine\'s address on the link in the hosts file: "ips": ["192.168.0.10"]'),
    )


def _examine_backend(hosts: Sequence[Host], backend: str) -> Finding:
    """Return the finding that says whether the backend of the hosts file suits the machines.

    With RDMA devices between all pairs of machines, "jaccl" is faster than "ring", the default.
    """
    has_rdma = all(len(host.rdma) == len(hosts) for host in hosts) and len(hosts) > 1
    best = "jaccl" if has_rdma else "ring"
    if (backend or "ring") in (best, "mpi", "nccl", "jaccl-ring"):
        return ok("backend", backend or f"{best} (the default)")
    why = (
        "names RDMA devices, over which it is faster" if has_rdma else "names no RDMA device for every pair of machines"
    )
    return Finding(
        "backend", "warning", backend or "ring (the default)", f'write "backend": "{best}": the hosts file {why}'
    )


def _examine_link(file: Path) -> Finding:
    """Return the finding that says how fast the machines are connected. ``mlx.launch`` starts a program on all of them."""
    folder = Path(sys.executable).parent
    launcher = shutil.which("mlx.launch", path=os.pathsep.join([str(folder), os.environ.get("PATH", "")]))
    if launcher is None:
        return Finding("link", "problem", "mlx.launch is not installed", "pip install mlx")
    command = [
        launcher,
        "--hostfile",
        str(file),
        "--python",
        sys.executable,
        "--",
        "-m",
        "mlx_selfdebug.distributed.measure",
    ]
    by_hand = f"try it by hand: {shlex.join(command)}"
    try:
        output, errors = _run_on_all(command)
    except OSError as error:
        return Finding("link", "problem", f"it could not be measured: {error}", by_hand)
    except subprocess.TimeoutExpired:
        firewall = "see whether a firewall blocks the ports from 32323 on"
        return Finding("link", "problem", f"no answer within {LINK_S:.0f} s", firewall)
    try:
        # The program prints one line of JSON, and mlx.launch may print other lines before it.
        link = json.loads(output.strip().splitlines()[-1])
    except (ValueError, IndexError):
        lines = [line for line in errors.splitlines() if line.strip()] or ["it printed nothing"]
        return Finding("link", "problem", f"it could not be measured: {lines[-1]}", by_hand)
    speed = link["bytes_per_s"]
    value = f"{link['latency_s'] * 1e3:.2g} ms for a small sum, {speed / 1e6:,.0f} MB/s in a large one, {link['ranks']} ranks"
    slow = "training waits for this link; collecting and evaluating hardly do. Use a cable: Thunderbolt or Ethernet"
    return judged("link", value, (speed < _SLOW_BYTES_PER_S, "warning", slow))


def _run_on_all(command: Sequence[str]) -> tuple[str, str]:
    """Run a command of ``mlx.launch``, and return what it has written to stdout and to stderr.

    Raises OSError if it cannot be started, and TimeoutExpired after ``LINK_S`` seconds.
    """
    # mlx.launch reads its standard input all the time, so that is a pipe to which nothing is written.
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=_without_rank(),
    ) as process:
        try:
            return process.communicate(timeout=LINK_S)
        except subprocess.TimeoutExpired:
            process.kill()
            raise


def _without_rank() -> dict[str, str]:
    """Return the environment of this process without the variables by which MLX knows the ranks of an earlier launch."""
    return {name: value for name, value in os.environ.items() if name not in ("MLX_RANK", "MLX_HOSTFILE")}


def _ssh(host: str, command: Sequence[str]) -> list[str]:
    """Return the command that runs ``command`` on another machine, without ever asking for a password."""
    return ["ssh", "-o", "BatchMode=yes", "-o", f"ConnectTimeout={CONNECT_S}", host, shlex.join(command)]


def _error_of(command: Sequence[str], timeout: float) -> str | None:
    """Run a command for at most ``timeout`` seconds. Return why it failed, in one line, or None if it succeeded."""
    try:
        completed = subprocess.run(command, capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL)
    except FileNotFoundError:
        return f"{command[0]} is not installed here"
    except subprocess.TimeoutExpired:
        return f"no answer within {timeout:.0f} s"
    if completed.returncode == 0:
        return None
    lines = completed.stderr.strip().splitlines()
    return lines[-1] if lines else f"exit code {completed.returncode}"
