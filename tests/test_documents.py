"""What the pages of the rooms say is what the code does."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

import mlx_selfdebug
from mlx_selfdebug.cli.main import cli
from mlx_selfdebug.config import BudgetConfig
from mlx_selfdebug.presets import PRESETS

PACKAGE = Path(mlx_selfdebug.__file__).parent
ROOT = PACKAGE.parent
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(PACKAGE.glob("*/README.md")), ROOT / "benchmarks/results/README.md"]
PAGES += [ROOT / ".github/CONTRIBUTING.md"]


def page(room: str) -> str:
    return (PACKAGE / room / "README.md").read_text(encoding="utf-8")


def shown_commands(text: str) -> list[str]:
    """Commands in code blocks and in code spans, without what stands behind them as a comment."""
    blocks = re.findall(r"```sh\n(.*?)```", text, flags=re.DOTALL)
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL).replace("\n", " ")
    lines = [line for block in blocks for line in block.splitlines()] + re.findall(r"`([^`]+)`", prose)
    found = [line[line.index("mlx-selfdebug ") :] for line in lines if re.search(r"(^|[/(])mlx-selfdebug ", line)]
    return [re.split(r"\s{2,}|\s#|[|>;)&]", command)[0] for command in found]


def test_every_room_has_a_page() -> None:
    rooms = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert rooms == {path.parent.name for path in PACKAGE.glob("*/README.md")}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_on_a_page_exists_with_its_options(path: Path) -> None:
    for text in shown_commands(path.read_text(encoding="utf-8")):
        # A span of prose may hold a single quotation mark.
        words = shlex.split(text if text.count('"') % 2 == 0 else text.replace('"', ""))[1:]
        command: click.Command = cli
        while isinstance(command, click.Group) and words and not words[0].startswith("-"):
            child = command.get_command(click.Context(command), words.pop(0))
            assert child is not None, text
            command = child
        if isinstance(command, click.Group) and command.name == "bench":
            child = command.get_command(click.Context(command), "run")
            assert child is not None
            command = child
        known = {option for param in command.params for option in param.opts} | {"-h", "--help", "--version"}
        assert {word.partition("=")[0] for word in words if word.startswith("-")} - {"-"} <= known, text


def test_the_page_of_the_command_line_describes_every_preset() -> None:
    assert set(re.findall(r"^\| `(\w+)` \|", page("cli"), flags=re.MULTILINE)) == set(PRESETS)


def test_the_page_of_the_doctor_has_a_line_for_every_finding_that_can_be_other_than_ok() -> None:
    from mlx_selfdebug.doctor.hardware import examine_hardware
    from mlx_selfdebug.machine.this_machine import Machine, State

    rows = re.findall(r"^\| ([a-zA-Z][^|]*) \|", page("doctor"), flags=re.MULTILINE)
    named = {name.strip() for row in rows for name in row.split(",")}
    mac = Machine("macOS 26.1", "arm64", "Apple M4", 10, 16 * 2**30, 4, 6, 10)
    names = {finding.name for finding in examine_hardware(mac, State(0, "mains", False, "nominal"), BudgetConfig())}
    assert names - {"cores"} <= named
    assert {"BLAS", "sandbox", "hub", "disk", "cache", "model", "Python", "backend"} <= named


def test_the_page_of_the_bench_describes_the_work_as_it_is() -> None:
    from mlx_selfdebug.bench import stages

    text = page("bench")
    assert re.findall(r"^\| (\w+) \|", text, flags=re.MULTILINE)[1:] == list(stages.STAGES)
    assert f"then {stages.DRAFTS} side by side, {stages.DRAFT_TOKENS} tokens each" in text
    assert f"references of {stages.TESTED} starter tasks" in text
    assert f"`collect` on {stages.REPAIRED} tasks, {stages.SIZE['collect.samples']} drafts each" in text
    assert f"`train` on {stages.TRAINED} pairs" in text
    assert f"`evaluate` on {stages.EVALUATED} HumanEval tasks" in text
