"""Check the machines of a hosts file: whether each can be reached, has the same packages, and how fast they are connected."""

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
"""The seconds that asking for versions and measuring the link may take."""
LOCAL = "127.0.0.1"
_EXAMPLE = "examples/hosts.json shows the form of a hosts file"
_ASK = "import json; from mlx_selfdebug.machine.versions import versions; print(json.dumps(versions()))"
_SLOW_BYTES_PER_S = 50e6
"""A link slower than this takes longer for the gradient of a step than many a step takes to compute."""


@dataclass(frozen=True)
class Host:
    """A machine of a hosts file."""

    ssh_hostname: str
    """The name under which ssh reaches it."""
    ips: Sequence[str]
    """Its addresses on the link between the machines."""
    rdma: Sequence[Any]
    """The RDMA device that connects it with each machine, or None for itself. It is empty without such devices."""


def examine_hosts(file: Path) -> Iterator[Finding]:
    """Yield the findings about the machines that the hosts ``file`` of ``mlx.launch`` lists.

    Raises UsageError if the file cannot be read.
    """
    hosts, backend = read_hosts(file)
    all_are_well = True
    for rank, host in enumerate(hosts):
        finding = _examine_host(f"rank {rank}", host)
        all_are_well = all_are_well and finding.state == "ok"
        yield finding
    yield _examine_backend(hosts, backend)
    if not all_are_well:
        yield Finding("link", "warning", "not measured", "fix the machines above first")
    elif len(hosts) == 1:
        yield Finding("link", "warning", "a single machine", f"list more machines in {file}")
    else:
        yield _examine_link(file)


def read_hosts(file: Path) -> tuple[list[Host], str]:
    """Return the machines and the backend of a hosts file, in the form that ``mlx.launch`` reads. Raises UsageError.

    The file holds a list of machines, or an object with this list as "hosts", in which the backend may be named.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        machines = content["hosts"] if isinstance(content, dict) else content
        hosts = [Host(machine["ssh"], machine.get("ips", []), machine.get("rdma", [])) for machine in machines]
        backend = content.get("backend", "") if isinstance(content, dict) else ""
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror or error}", hint=_EXAMPLE) from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UsageError(f"{file} is not a hosts file of mlx.launch: {error!r}", hint=_EXAMPLE) from error
    if not hosts:
        raise UsageError(f"{file} lists no machines", hint=_EXAMPLE)
    return hosts, backend


def _examine_host(name: str, host: Host) -> Finding:
    """Return whether a machine can be reached and has the packages of this one."""
    label = f"{host.ssh_hostname} ({', '.join(host.ips) or 'no address'})"
    if host.ssh_hostname != LOCAL:
        error = _error_of(_ssh(host.ssh_hostname, ["true"]), CONNECT_S * 2)
        if error is not None:
            return Finding(
                name, "problem", f"{label}: {error}",
                f"turn on Remote Login there, and see that this works without a password: ssh {host.ssh_hostname}",
            )  # fmt: skip
    command = [sys.executable, "-c", _ASK]
    try:
        done = subprocess.run(
            command if host.ssh_hostname == LOCAL else _ssh(host.ssh_hostname, command),
            capture_output=True, text=True, timeout=VERSIONS_S, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        theirs = json.loads(done.stdout)
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
    """Return which backend the hosts file asks for, and which one suits the machines."""
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
    """Return how fast the machines are connected, measured by starting a small program on all of them."""
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
    try:
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
                output, errors = process.communicate(timeout=LINK_S)
            except subprocess.TimeoutExpired:
                process.kill()
                firewall = "see whether a firewall blocks the ports from 32323 on"
                return Finding("link", "problem", f"no answer within {LINK_S:.0f} s", firewall)
        link = json.loads(output.strip().splitlines()[-1])
    except (OSError, ValueError, IndexError):
        lines = [line for line in errors.splitlines() if line.strip()] or ["it printed nothing"]
        return Finding(
            "link", "problem", f"it could not be measured: {lines[-1]}", f"try it by hand: {shlex.join(command)}"
        )
    speed = link["bytes_per_s"]
    value = f"{link['latency_s'] * 1e3:.2g} ms for a small sum, {speed / 1e6:,.0f} MB/s in a large one, {link['ranks']} ranks"
    slow = "training waits for this link; collecting and evaluating hardly do. Use a cable: Thunderbolt or Ethernet"
    return judged("link", value, (speed < _SLOW_BYTES_PER_S, "warning", slow))


def _without_rank() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in ("MLX_RANK", "MLX_HOSTFILE")}


def _ssh(host: str, command: Sequence[str]) -> list[str]:
    """Return the command that runs ``command`` on another machine, without ever asking for a password."""
    return ["ssh", "-o", "BatchMode=yes", "-o", f"ConnectTimeout={CONNECT_S}", host, shlex.join(command)]


def _error_of(command: Sequence[str], timeout: float) -> str | None:
    """Run a command, and return the last line of its errors if it fails, or else None."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL)
    except FileNotFoundError:
        return f"{command[0]} is not installed here"
    except subprocess.TimeoutExpired:
        return f"no answer within {timeout:.0f} s"
    if done.returncode == 0:
        return None
    return (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
