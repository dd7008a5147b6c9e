from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from mlx_selfdebug.cli.main import cli
from mlx_selfdebug.doctor import hosts
from mlx_selfdebug.doctor.hosts import examine_hosts
from mlx_selfdebug.errors import UsageError

LOCAL = {"ssh": "127.0.0.1", "ips": ["127.0.0.1"]}


def hosts_file(folder: Path, *machines: dict[str, Any], **more: Any) -> Path:
    file = folder / "hosts.json"
    file.write_text(json.dumps({"hosts": list(machines), **more}))
    return file


@pytest.fixture
def ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program called ssh, which runs the command for `twin` here, and for all other machines says that they are unknown."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "ssh"
    program.write_text(
        '#!/bin/bash\nhost=${@: -2:1}\n[ "$host" = twin ] || { echo "ssh: Could not resolve hostname $host" >&2; exit 255; }\n'
        'eval "${@: -1}"\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return program


@pytest.mark.slow
def test_the_link_between_two_ranks_of_this_machine_is_measured(tmp_path: Path) -> None:
    first, second, backend, link = examine_hosts(hosts_file(tmp_path, LOCAL, LOCAL))
    assert [finding.state for finding in (first, second, backend)] == ["ok"] * 3
    assert "the same packages as here" in second.value
    assert link.state == "ok", link
    assert "MB/s in a large one, 2 ranks" in link.value


def test_a_launcher_that_cannot_be_started_is_a_problem_that_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launcher = tmp_path / "mlx.launch"
    launcher.write_text("#!/no/such/python\n")
    launcher.chmod(0o755)
    monkeypatch.setattr(hosts.shutil, "which", lambda *_, **__: str(launcher))
    *_, link = examine_hosts(hosts_file(tmp_path, LOCAL, LOCAL))
    assert (link.name, link.state) == ("link", "problem")
    assert "No such file or directory" in link.value
    assert str(launcher) in link.remedy


def test_a_machine_that_cannot_be_reached_is_a_problem_that_says_what_to_try(tmp_path: Path, ssh: Path) -> None:
    findings = list(examine_hosts(hosts_file(tmp_path, LOCAL, {"ssh": "nowhere.local", "ips": ["10.0.0.9"]})))
    assert [finding.state for finding in findings] == ["ok", "problem", "ok", "warning"]
    assert findings[1].value == "nowhere.local (10.0.0.9): ssh: Could not resolve hostname nowhere.local"
    assert "ssh nowhere.local" in findings[1].remedy
    assert findings[3].value == "not measured"


def test_a_machine_with_other_packages_is_a_problem_that_names_them(
    tmp_path: Path, ssh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hosts, "versions", lambda: {"mlx": "0.1.0"})
    finding = next(examine_hosts(hosts_file(tmp_path, {"ssh": "twin", "ips": ["10.0.0.9"]})))
    assert finding.state == "problem"
    assert finding.value.startswith("twin (10.0.0.9): mlx 0.")


def test_a_machine_without_this_package_is_a_problem(
    tmp_path: Path, ssh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    finding = next(examine_hosts(hosts_file(tmp_path, {"ssh": "twin", "ips": ["10.0.0.9"]})))
    assert "this package does not run there" in finding.value
    assert "/nowhere/python" in finding.remedy


def test_a_machine_without_an_address_is_a_problem(tmp_path: Path) -> None:
    finding = next(examine_hosts(hosts_file(tmp_path, {"ssh": "127.0.0.1"})))
    assert finding.state == "problem"
    assert '"ips"' in finding.remedy


def test_machines_with_rdma_are_told_to_use_it(tmp_path: Path) -> None:
    machines = [{**LOCAL, "rdma": [None, "rdma_en2"]}, {"ssh": "", "ips": [], "rdma": ["rdma_en2", None]}]
    backend = hosts._examine_backend(hosts.read_hosts(hosts_file(tmp_path, *machines))[0], "")
    assert backend.state == "warning"
    assert '"backend": "jaccl"' in backend.remedy


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"hosts": []}', '{"hosts": [{"ips": []}]}'])
def test_a_hosts_file_that_cannot_be_read_is_one_line(text: str, tmp_path: Path) -> None:
    file = tmp_path / "hosts.json"
    file.write_text(text)
    with pytest.raises(UsageError) as caught:
        list(examine_hosts(file))
    assert str(file) in str(caught.value)
    assert "examples/hosts.json" in str(caught.value.hint)


def test_a_missing_hosts_file_is_a_usage_error_of_the_command(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["doctor", "--hosts", str(tmp_path / "none.json")])
    assert isinstance(result.exception, UsageError)
    assert "none.json" in str(result.exception)


def test_the_example_of_a_hosts_file_is_one() -> None:
    machines, backend = hosts.read_hosts(Path(__file__).parents[2] / "examples" / "hosts.json")
    assert [machine.ssh_hostname for machine in machines] == ["127.0.0.1", "second-mac.local"]
    assert backend == "ring"
