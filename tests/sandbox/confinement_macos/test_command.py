"""The command line, run under a stand-in for ``sandbox-exec`` that takes the same options, and what is said when it fails."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from mlx_selfdebug.sandbox.confinement.layout import Layout
from mlx_selfdebug.sandbox.confinement.seatbelt import NESTED_EXIT, SANDBOX_EXEC, command, profile, start_failure

EXECUTABLE = str(Path(getattr(sys, "_base_executable", sys.executable)).resolve())
LAYOUT = Layout(EXECUTABLE, (sysconfig.get_path("stdlib"),))

STAND_IN = """\
#!{python}
import json, os, sys
option, profile, *rest = sys.argv[1:]
if option != "-p" or not profile.startswith("(version 1)"):
    sys.exit(64)
with open({record!r}, "w") as file:
    json.dump([profile, rest], file)
{end}
"""
RUNS = "os.execv(rest[0], rest)"


def stand_in(folder: Path, end: str) -> str:
    path = folder / "sandbox-exec"
    path.write_text(STAND_IN.format(python=sys.executable, record=str(folder / "record"), end=end))
    path.chmod(0o755)
    return str(path)


def start(folder: Path, end: str, code: str = "pass") -> subprocess.CompletedProcess[str]:
    inner = [EXECUTABLE, "-S", "-s", "-P", "-B", "-c", code]
    line = command(LAYOUT, inner, executables=[], sandbox_exec=stand_in(folder, end))
    return subprocess.run(line, capture_output=True, text=True, check=False)


def test_a_real_interpreter_runs_under_the_command(tmp_path: Path) -> None:
    done = start(tmp_path, RUNS, "import sys; print(sys.flags.no_site, sys.argv)")
    assert (done.returncode, done.stdout) == (0, "1 ['-c']\n")
    text, rest = json.loads((tmp_path / "record").read_text())
    assert text == profile(LAYOUT, executables=[])
    assert rest[0] == EXECUTABLE


def test_the_real_sandbox_exec_is_named_by_its_path() -> None:
    assert command(LAYOUT, [EXECUTABLE], executables=[])[:2] == [SANDBOX_EXEC, "-p"]


def test_a_program_that_the_profile_would_not_start_is_refused_before() -> None:
    with pytest.raises(ValueError, match="not '/bin/sh'"):
        command(LAYOUT, ["/bin/sh"], executables=[])


def test_a_path_that_no_profile_can_hold_is_named() -> None:
    with pytest.raises(ValueError, match=r"/a\\nb"):
        command(Layout(EXECUTABLE, ("/a\nb",)), [EXECUTABLE], executables=[])


def test_a_sandbox_in_a_sandbox_is_explained(tmp_path: Path) -> None:
    said = "sandbox-exec: sandbox_apply: Operation not permitted"
    done = start(tmp_path, f"print({said!r}, file=sys.stderr); sys.exit({NESTED_EXIT})")
    message = start_failure(done.returncode, done.stderr, EXECUTABLE)
    assert (
        message
        == f"macOS refuses a sandbox inside a sandbox ({said}): start this from a terminal that is not itself sandboxed."
    )


@pytest.mark.parametrize(
    ("status", "stderr", "part"),
    [
        (71, "sandbox-exec: execvp() of '/x/python' failed: Operation not permitted", "does not let /x/python start"),
        (
            65,
            "\nsandbox-exec: unbound variable: file-test",
            "does not understand the sandbox profile (sandbox-exec: unbound",
        ),
        (-6, "", "was ended by signal 6 as it started in the sandbox (no message)"),
        (1, "Fatal Python error: init_fs_encoding", "ended with status 1"),
    ],
)
def test_every_other_failure_is_one_sentence(status: int, stderr: str, part: str) -> None:
    message = start_failure(status, stderr, "/x/python")
    assert part in message
    assert "\n" not in message
