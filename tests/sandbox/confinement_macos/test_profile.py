"""What the profiles allow and deny, by the evaluator, whatever Apple's own profile allows."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlx_selfdebug.sandbox.confinement.layout import Layout
from mlx_selfdebug.sandbox.confinement.sbpl import ancestors, real_path, spellings
from mlx_selfdebug.sandbox.confinement.seatbelt import framework, profile

from . import system_profiles
from .evaluator import Policy
from .layouts import INSTALLATIONS, Installation

READS = ("file-read*", "file-read-data", "file-read-metadata", "file-read-xattr")
WRITES = (
    "file-write*",
    "file-write-create",
    "file-write-data",
    "file-write-mode",
    "file-write-unlink",
    "file-write-xattr",
)
SERVICES = (
    "com.apple.SecurityServer",
    "com.apple.pasteboard.1",
    "com.apple.coreservices.launchservicesd",
    "com.apple.cfprefsd.agent",
    "com.apple.trustd.agent",
)
SYSTEM_PROFILES = {name: text for name, text in vars(system_profiles).items() if name.isupper()}


@pytest.fixture(scope="module", params=INSTALLATIONS)
def installation(request: pytest.FixtureRequest) -> Installation:
    return INSTALLATIONS[request.param]


@pytest.fixture(scope="module", params=SYSTEM_PROFILES)
def policy(request: pytest.FixtureRequest, installation: Installation) -> Policy:
    return policy_of(installation.layout, SYSTEM_PROFILES[request.param])


def policy_of(layout: Layout, system: str = system_profiles.USUAL) -> Policy:
    return Policy.of(profile(layout, executables=[]), {"system.sb": system})


def allowed(policy: Policy, operations: tuple[str, ...], *targets: str) -> set[bool]:
    return {policy.allows(operation, real_path(target)) for operation in operations for target in targets}


def within(path: str, roots: Iterable[str]) -> bool:
    return any(path == root or path.startswith(f"{root}/") for root in map(real_path, roots))


def test_the_standard_library_is_read_and_its_extensions_are_mapped(installation: Installation, policy: Policy) -> None:
    stdlib = installation.stdlib
    assert allowed(policy, READS, stdlib, f"{stdlib}/os.py", f"{stdlib}/lib-dynload/_json.cpython-312-darwin.so") == {
        True
    }
    assert allowed(policy, ("file-map-executable",), f"{stdlib}/lib-dynload/_json.cpython-312-darwin.so") == {True}


def test_the_libraries_it_links_are_read_and_mapped(installation: Installation, policy: Policy) -> None:
    for folder in installation.layout.libraries:
        assert allowed(policy, (*READS, "file-map-executable"), f"{folder}/libssl.3.dylib") == {True}
    for file in installation.layout.files[-1:]:
        assert allowed(policy, (*READS, "file-map-executable"), file) == {True}
    assert allowed(policy, (*READS, "file-map-executable"), "/usr/lib/libSystem.B.dylib") == {True}


def test_site_packages_cannot_be_read_but_for_named_packages(installation: Installation, policy: Policy) -> None:
    hidden = installation.layout.hidden[0]
    assert allowed(policy, (*READS, "file-map-executable"), f"{hidden}/mlx/core.so", f"{hidden}/secret.pth") == {False}
    for package in installation.layout.packages:
        assert allowed(policy, (*READS, "file-map-executable"), f"{package}/core.so") == {True}
        assert allowed(policy, READS, f"{package}-other/core.so") == {False}
        folder = package.rsplit("/", 1)[0]
        assert allowed(policy, ("file-read-data", "file-read-metadata"), folder) == {True}
    for folder in installation.layout.libraries:
        assert allowed(policy, READS, f"{folder}/pytorch/2.5/lib/python3.12/site-packages/torch/__init__.py") == {False}


def test_nothing_private_can_be_read_or_seen(installation: Installation, policy: Policy) -> None:
    home = installation.home
    paths = [
        f"{home}/.ssh/id_ed25519",
        f"{home}/.cache/huggingface/token",
        f"{home}/Library/Keychains/login.keychain-db",
        f"{home}/work/mlx_selfdebug/sandbox/runner.py",
        "/private/var/folders/x1/abc/T/runner-1/program.py",
        "/private/tmp/other",
        "/private/etc/passwd",
        "/private/var/db/dslocal/nodes",
        "/Library/Keychains/System.keychain",
        "/Volumes/Backup/notes",
        "/System/Volumes/Data/Users/ana/notes",
        "/Applications/Safari.app/Contents/Info.plist",
        "/usr/local/etc/secret",
        "/bin/sh",
        "/dev/disk0",
    ]
    assert allowed(policy, (*READS, "file-map-executable"), *paths) == {False}


def test_folders_on_the_way_exist_and_cannot_be_listed(installation: Installation, policy: Policy) -> None:
    for folder in ancestors([real_path(installation.stdlib)]):
        assert allowed(policy, ("file-read-metadata",), folder) == {True}
        if not within(folder, installation.layout.libraries):
            assert allowed(policy, ("file-read-data",), folder) == {False}


def test_nothing_is_written_but_the_null_device(installation: Installation, policy: Policy) -> None:
    paths = [
        installation.stdlib,
        f"{installation.stdlib}/os.py",
        "/private/tmp/x",
        f"{installation.home}/x",
        "/cores/core.1",
        "/dev/zero",
    ]
    assert allowed(policy, WRITES, *paths) == {False}
    assert policy.allows("file-write-data", "/dev/null")
    assert allowed(policy, ("file-write-create", "file-write-mode", "file-write-unlink"), "/dev/null") == {False}


def test_the_loader_may_register_its_probes_and_control_no_other_device(policy: Policy) -> None:
    assert {policy.allows(operation, "/dev/dtracehelper") for operation in ("file-write-data", "file-ioctl")} == {True}
    assert {policy.allows("file-ioctl", path) for path in ("/dev/null", "/dev/ttys001", "/dev/disk0")} == {False}


def test_only_the_interpreter_can_be_started(installation: Installation, policy: Policy) -> None:
    assert allowed(policy, ("process-exec*", *READS, "file-map-executable"), *installation.starts) == {True}
    others = ["/bin/sh", "/usr/bin/osascript", "/usr/bin/open", f"{installation.stdlib}/tool", "/private/tmp/x"]
    assert allowed(policy, ("process-exec*", "process-exec-interpreter"), *others) == {False}
    assert policy.allows("process-fork")


@pytest.mark.parametrize("operation", ["network-outbound", "network-bind", "network-inbound"])
def test_there_is_no_network(policy: Policy, operation: str) -> None:
    assert not policy.allows(operation, "127.0.0.1:443")
    assert not policy.allows(operation, "/private/var/run/syslog")
    assert not policy.allows(operation, "com.apple.network.statistics")
    assert not policy.allows("system-socket")


def test_no_service_can_be_reached(policy: Policy) -> None:
    assert {policy.allows("mach-lookup", name) for name in SERVICES} == {False}
    denied = (
        "mach-priv-task-port",
        "appleevent-send",
        "lsopen",
        "pseudo-tty",
        "iokit-open",
        "iokit-get-properties",
        "sysctl-write",
    )
    assert {policy.allows(operation) for operation in denied} == {False}
    assert not policy.allows("mach-register", "com.example.mine")
    assert {
        policy.allows(operation, "apple.shm.notification_center")
        for operation in ("ipc-posix-shm-read*", "ipc-posix-sem")
    } == {False}


def test_only_itself_and_its_children_can_be_signalled_and_measured(policy: Policy) -> None:
    for operation in ("signal", "process-info-rusage", "process-info-pidinfo"):
        assert {target: policy.allows(operation, target) for target in ("self", "children", "others")} == {
            "self": True,
            "children": True,
            "others": False,
        }
    assert not policy.allows("process-info-listpids")


def test_the_processor_is_known_but_not_the_environment_of_others(policy: Policy) -> None:
    assert {policy.allows("sysctl-read", name) for name in ("hw.ncpu", "hw.pagesize", "kern.osproductversion")} == {
        True
    }
    assert {policy.allows("sysctl-read", name) for name in ("kern.procargs2", "kern.proc.all", "net.route.0")} == {
        False
    }


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs", "Cc"]), min_size=1),
        min_size=1,
        max_size=5,
    )
)
def test_a_path_outside_what_is_allowed_cannot_be_read(parts: list[str]) -> None:
    path = "/" + "/".join(parts)
    for installation, policy in _POLICIES:
        layout = installation.layout
        roots = spellings([*layout.stdlib, *layout.libraries, *layout.files, *layout.packages])
        assert within(path, (*roots, "/usr", "/System", "/dev", "/Library")) or not policy.allows(
            "file-read-data", path
        )
        assert not policy.allows("file-write-create", path)


_POLICIES = [(each, policy_of(each.layout, system_profiles.GENEROUS)) for each in INSTALLATIONS.values()]


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_accents_match_composed_and_decomposed(form: str) -> None:
    installation = INSTALLATIONS["spaces_accents_quotes"]
    file = unicodedata.normalize(form, f"{installation.stdlib}/os.py")
    hidden = unicodedata.normalize(form, f"{installation.layout.hidden[0]}/x")
    policy = policy_of(installation.layout)
    assert policy.allows("file-read-data", file)
    assert not policy.allows("file-read-data", hidden)


@pytest.mark.parametrize(
    ("executable", "home"),
    [
        ("/L/Python.framework/Versions/3.13/bin/python3.13", "/L/Python.framework/Versions/3.13"),
        ("/L/PythonT.framework/Versions/3.13/bin/python3.13t", "/L/PythonT.framework/Versions/3.13"),
        (
            "/F/Python.framework/Versions/3.9/Resources/Python.app/Contents/MacOS/Python",
            "/F/Python.framework/Versions/3.9",
        ),
        ("/Users/ana/.venv/bin/python", None),
    ],
)
def test_the_framework_of_an_interpreter(executable: str, home: str | None) -> None:
    assert framework(executable) == home


def test_an_extra_executable_may_be_started_with_what_it_starts() -> None:
    extra = "/Library/Frameworks/Python.framework/Versions/3.13/bin/python3.13"
    text = profile(INSTALLATIONS["uv"].layout, executables=[extra])
    policy = Policy.of(text, {"system.sb": system_profiles.NOTHING})
    application = "/Library/Frameworks/Python.framework/Versions/3.13/Resources/Python.app/Contents/MacOS/Python"
    assert policy.allows("process-exec*", extra)
    assert policy.allows("process-exec*", application)
    assert policy.allows("file-map-executable", "/Library/Frameworks/Python.framework/Versions/3.13/Python")
