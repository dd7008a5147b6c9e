"""What the profiles of confined commands allow and deny, by the evaluator, whatever Apple's own profile allows; not run on a Mac."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlx_selfdebug.sandbox.confinement.seatbelt import SANDBOX_EXEC
from mlx_selfdebug.sandbox.confinement.seatbelt_command import command_line, command_profile

from . import system_profiles
from .evaluator import Policy
from .layouts import ENVIRONMENT, INSTALLATIONS, PROJECT, SCRATCH, TEMPORARY, Installation
from .test_profile import READS, SERVICES, SYSTEM_PROFILES, WRITES, allowed, within

GOLDEN = Path(__file__).parent / "golden_commands"
WRITABLE = [SCRATCH, TEMPORARY]
FOLDER_WRITES = ("file-write-create", "file-write-data", "file-write-mode", "file-write-times", "file-write-unlink")


def text_of(installation: Installation, *, network: bool = False) -> str:
    return command_profile(installation.layout, readable=[ENVIRONMENT], writable=WRITABLE, network=network)


@pytest.fixture(scope="module", params=INSTALLATIONS)
def installation(request: pytest.FixtureRequest) -> Installation:
    return INSTALLATIONS[request.param]


@pytest.fixture(scope="module", params=SYSTEM_PROFILES)
def policy(request: pytest.FixtureRequest, installation: Installation) -> Policy:
    return Policy.of(text_of(installation), {"system.sb": SYSTEM_PROFILES[request.param]})


@pytest.fixture(scope="module", params=SYSTEM_PROFILES)
def connected(request: pytest.FixtureRequest, installation: Installation) -> Policy:
    return Policy.of(text_of(installation, network=True), {"system.sb": SYSTEM_PROFILES[request.param]})


@pytest.mark.parametrize("name", INSTALLATIONS)
def test_the_profile_is_the_one_that_was_read(name: str) -> None:
    """After a wanted change: ``UPDATE_GOLDEN=1 python -m pytest tests/sandbox``."""
    text, path = text_of(INSTALLATIONS[name]), GOLDEN / f"{name}.sb"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text, "utf-8")
    assert text == path.read_text("utf-8")


def test_every_golden_file_has_its_installation() -> None:
    assert {path.stem for path in GOLDEN.iterdir()} == set(INSTALLATIONS)


@pytest.mark.parametrize("name", INSTALLATIONS)
def test_a_named_program_can_be_started_and_no_other_that_can_be_read(name: str) -> None:
    layout = INSTALLATIONS[name].layout
    text = command_profile(
        layout, readable=["/opt/tool"], programs=["/opt/tool/bin/prover"], writable=WRITABLE, network=False
    )
    for system in SYSTEM_PROFILES.values():
        policy = Policy.of(text, {"system.sb": system})
        assert allowed(policy, ("process-exec*",), "/opt/tool/bin/prover") == {True}
        assert allowed(policy, ("process-exec*",), "/opt/tool/bin/other") == {False}


def test_what_is_installed_is_read_and_mapped(installation: Installation, policy: Policy) -> None:
    paths = [
        f"{installation.stdlib}/os.py",
        f"{installation.stdlib}/site-packages/pip/__init__.py",
        f"{ENVIRONMENT}/pyvenv.cfg",
        f"{ENVIRONMENT}/lib/python3.12/site-packages/numpy/core.so",
    ]
    assert allowed(policy, (*READS, "file-map-executable"), *paths) == {True}


def test_it_writes_in_its_folders_and_neither_starts_nor_loads_what_it_wrote(policy: Policy) -> None:
    paths = [f"{folder}/{name}" for folder in WRITABLE for name in ("made", "deep/er/made")]
    assert allowed(policy, (*READS, *FOLDER_WRITES), *paths) == {True}
    assert allowed(policy, ("process-exec*", "process-exec-interpreter", "file-map-executable"), *paths) == {False}
    assert allowed(policy, ("file-write-setugid",), *paths) == {False}


def test_nothing_else_is_written(installation: Installation, policy: Policy) -> None:
    paths = [
        f"{PROJECT}/src/shapes.py",
        f"{ENVIRONMENT}/lib/python3.12/site-packages/numpy/__init__.py",
        f"{installation.stdlib}/os.py",
        f"{installation.home}/x",
        f"{SCRATCH}-other/x",
        "/private/tmp/x",
        "/private/var/folders/x1/abc/T/x",
        "/cores/core.1",
    ]
    assert allowed(policy, WRITES, *paths) == {False}


def test_nothing_private_is_read(installation: Installation, policy: Policy) -> None:
    paths = [
        f"{installation.home}/.ssh/id_ed25519",
        f"{installation.home}/Library/Keychains/login.keychain-db",
        f"{PROJECT}/src/shapes.py",
        f"{PROJECT}/.env",
        "/private/var/folders/x1/abc/T/mlx-selfdebug-501/scratch-2/other/x.py",
        "/private/etc/passwd",
        "/Volumes/Backup/notes",
    ]
    assert allowed(policy, (*READS, "file-map-executable"), *paths) == {False}


def test_the_interpreter_alone_is_started(installation: Installation, policy: Policy) -> None:
    assert allowed(policy, ("process-exec*", *READS), *installation.starts) == {True}
    others = [
        "/bin/sh",
        "/usr/bin/osascript",
        f"{ENVIRONMENT}/bin/pytest",
        f"{SCRATCH}/made",
        f"{installation.stdlib}/tool",
    ]
    assert allowed(policy, ("process-exec*", "process-exec-interpreter"), *others) == {False}
    assert policy.allows("process-fork")


def test_there_is_no_network_and_no_service(policy: Policy) -> None:
    for operation in ("network-outbound", "network-bind", "network-inbound"):
        assert {policy.allows(operation, target) for target in ("127.0.0.1:443", f"{TEMPORARY}/socket")} == {False}
    assert not policy.allows("system-socket")
    assert {policy.allows("mach-lookup", name) for name in SERVICES} == {False}


def test_with_the_network_hosts_are_reached_and_still_no_service_and_no_socket_of_others(connected: Policy) -> None:
    assert connected.allows("system-socket")
    assert {
        connected.allows(operation, "1.2.3.4:443")
        for operation in ("network-outbound", "network-bind", "network-inbound")
    } == {True}
    assert connected.allows("network-outbound", "/private/var/run/mDNSResponder")
    assert not connected.allows("network-outbound", "/private/var/run/syslog")
    assert {connected.allows("mach-lookup", name) for name in SERVICES} == {False}
    assert not connected.allows("file-read-data", "/private/etc/passwd")


def test_it_signals_itself_and_its_children_alone(policy: Policy) -> None:
    assert {target: policy.allows("signal", target) for target in ("self", "children", "others")} == {
        "self": True,
        "children": True,
        "others": False,
    }


def test_semaphores_of_multiprocessing_and_no_shared_memory(policy: Policy) -> None:
    assert policy.allows("ipc-posix-sem", "/mp-abc")
    assert not policy.allows("ipc-posix-sem", "/other")
    assert not policy.allows("ipc-posix-shm-read*", "/psm_abc")


def test_the_command_line_names_the_real_sandbox_exec_by_its_path() -> None:
    layout = INSTALLATIONS["uv"].layout
    line = command_line(
        layout, [f"{ENVIRONMENT}/bin/python", "-m", "pytest"], readable=[], writable=WRITABLE, network=False
    )
    assert line[:2] == [SANDBOX_EXEC, "-p"]
    assert line[3:] == [f"{ENVIRONMENT}/bin/python", "-m", "pytest"]


_POLICIES = [Policy.of(text_of(each), {"system.sb": system_profiles.GENEROUS}) for each in INSTALLATIONS.values()]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs", "Cc"]), min_size=1),
        min_size=1,
        max_size=5,
    ),
    st.sampled_from(["", "/Users/ana", PROJECT, SCRATCH]),
)
def test_a_path_outside_its_folders_cannot_be_written(parts: list[str], start: str) -> None:
    path = start + "/" + "/".join(parts)
    for policy in _POLICIES:
        assert within(path, WRITABLE) or not policy.allows("file-write-create", path)
