"""What a person's hands expect of any command."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import mlx_selfdebug
from mlx_selfdebug.cli.main import cli
from mlx_selfdebug.cli.paths import PathType
from mlx_selfdebug.cli.stages import _adapters
from mlx_selfdebug.tasks import load_tasks

from .test_cli import run_cli


def every_command(command: click.Command = cli, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    if isinstance(command, click.Group):
        ctx = click.Context(command)
        for name in command.list_commands(ctx):
            child = command.get_command(ctx, name)
            assert child is not None
            yield from every_command(child, (*path, name))


COMMANDS = list(every_command())


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_help_fits_80_columns_and_shows_an_example(path: tuple[str, ...]) -> None:
    for flag in ("-h", "--help"):
        result = CliRunner().invoke(cli, [*path, flag], terminal_width=80)
        assert result.exit_code == 0
        assert [line for line in result.output.splitlines() if len(line) > 80] == []
    is_group = path and any(other[: len(path)] == path and other != path for other in COMMANDS)
    assert is_group or "Example" in result.output


WRITERS = {"completion", "config init", "runs branch", "runs export", "runs import", "runs pairs", "runs upgrade"}
"""They write a file or a run; `runs pairs` and `runs export` are JSONL themselves."""
SERVERS = {"runs watch"}
"""They answer a browser until they are interrupted."""


def test_every_command_that_reads_gives_json() -> None:
    leaves = [path for path in COMMANDS if path and not any(o[: len(path)] == path and o != path for o in COMMANDS)]
    without = {" ".join(path) for path in leaves if "--json" not in CliRunner().invoke(cli, [*path, "--help"]).output}
    assert without == WRITERS | SERVERS


@pytest.mark.parametrize(
    ("words", "meant"),
    [(("tasks", "chek"), "check"), (("runs", "shwo"), "show"), (("models", "lst"), "list"), (("benhc",), "bench")],
)
def test_a_mistyped_command_is_answered_with_the_one_meant(words: tuple[str, ...], meant: str) -> None:
    result = run_cli(*words)
    assert result.returncode == 2
    assert f"Did you mean {meant!r}?" in result.stderr


def test_version_is_the_packages() -> None:
    from importlib.metadata import version

    assert run_cli("--version").stdout.strip().endswith(version("mlx-selfdebug"))


def test_a_reader_that_goes_away_is_no_error_message() -> None:
    command = f"{sys.executable} -m mlx_selfdebug tasks show starter | head -1"
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
    assert result.stdout.startswith("starter/")
    assert result.stderr == ""


@pytest.mark.parametrize("args", [("doctor",), ("tasks", "list"), ("--help",)])
def test_a_pipe_gets_no_colours_and_no_bars(args: tuple[str, ...]) -> None:
    result = run_cli(*args)
    assert "\x1b" not in result.stdout + result.stderr


def in_a_terminal(*args: str, **environment: str) -> str:
    """All that a command shows in a terminal of 24 rows and 80 columns."""
    script = "import pty, sys; sys.exit(pty.spawn(sys.argv[1:]) >> 8)"
    typed = shlex.join([sys.executable, "-m", "mlx_selfdebug", *args])
    env = {**os.environ, "TERM": "xterm", **environment}
    command = [sys.executable, "-c", script, "sh", "-c", f"stty rows 24 cols 80; {typed}"]
    return subprocess.run(command, capture_output=True, env=env, timeout=60, stdin=subprocess.DEVNULL).stdout.decode()


def test_colours_are_left_out_of_a_terminal_that_does_not_want_them() -> None:
    seen = {no: "\x1b[3" in in_a_terminal("doctor", HF_HUB_OFFLINE="1", NO_COLOR=no) for no in ("", "1")}
    assert seen == {"": True, "1": False}


def test_work_of_seconds_shows_how_far_it_is_in_a_terminal_unless_asked_to_be_quiet() -> None:
    done = f"{len(load_tasks('regex'))}/{len(load_tasks('regex'))}"
    bars = {flags: done in in_a_terminal("tasks", "check", "regex", *flags) for flags in ((), ("--quiet",))}
    assert bars == {(): True, ("--quiet",): False}


@pytest.mark.parametrize("home", ["/nowhere/at/all", "/proc"])
def test_without_a_home_to_write_to_the_readers_still_read(home: str) -> None:
    env = {**os.environ, "HOME": home}
    for args in (["tasks", "show", "starter", "--json"], ["config", "show", "--json"]):
        result = subprocess.run(
            [sys.executable, "-m", "mlx_selfdebug", *args], capture_output=True, text=True, env=env, timeout=60
        )
        assert result.returncode == 0, result.stderr
        assert json.loads(result.stdout)


def test_the_shells_completions_are_scripts_and_know_names() -> None:
    for shell in ("bash", "zsh", "fish"):
        assert "_MLX_SELFDEBUG_COMPLETE" in run_cli("completion", shell).stdout
    words = "mlx-selfdebug run --preset "
    env = {**os.environ, "_MLX_SELFDEBUG_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": "3"}
    result = subprocess.run(
        [sys.executable, "-m", "mlx_selfdebug"], capture_output=True, text=True, env=env, timeout=60
    )
    assert "plain,demo" in result.stdout.splitlines()


def test_a_script_of_bash_is_one(tmp_path: Path) -> None:
    file = tmp_path / "completion.bash"
    file.write_text(run_cli("completion", "bash").stdout)
    assert subprocess.run(["bash", "-n", str(file)], capture_output=True).returncode == 0


def test_the_module_is_the_command() -> None:
    main = Path(mlx_selfdebug.__file__).with_name("__main__.py")
    assert subprocess.run([sys.executable, str(main.parent), "--version"], capture_output=True).returncode == 0


def test_a_tilde_behind_an_equals_sign_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "c.toml").write_text("seed = 77\n")
    shown = CliRunner().invoke(cli, ["config", "show", "--config=~/c.toml", "--run=~/runs/none"])
    assert (shown.exit_code, "77" in shown.output) == (0, True)


def test_a_tilde_in_the_folder_of_a_named_adapter_is_the_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    adapter = tmp_path / "runs" / "seed-1" / "adapter"
    adapter.mkdir(parents=True)
    parameters = {"rank": 2, "scale": 2.0, "dropout": 0.0}
    (adapter / "adapter_config.json").write_text(json.dumps({"num_layers": 1, "lora_parameters": parameters}))
    (adapter / "adapters.safetensors").write_bytes(b"")
    assert _adapters(["seed-1=~/runs/seed-1"])["seed-1"].path == adapter


def test_no_path_of_the_command_line_is_taken_without_its_tilde_expanded() -> None:
    def types(command: click.Command) -> Iterator[click.ParamType]:
        yield from (parameter.type for parameter in command.params)
        if isinstance(command, click.Group):
            context = click.Context(command)
            for name in command.list_commands(context):
                if child := command.get_command(context, name):
                    yield from types(child)

    paths = [type_ for type_ in types(cli) if isinstance(type_, click.Path)]
    assert len(paths) > 10
    assert all(isinstance(type_, PathType) for type_ in paths)
