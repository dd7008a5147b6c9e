from __future__ import annotations

from pathlib import Path

import pytest

from mlx_selfdebug.machine import linux


def write(root: Path, **files: str) -> Path:
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_the_chip_is_the_model_name_or_the_boards(tmp_path: Path) -> None:
    intel = write(tmp_path / "a", proc__cpuinfo="processor\t: 0\nmodel name\t: AMD EPYC 7B13\nflags : fpu\n")
    board = write(
        tmp_path / "b", **{"proc__cpuinfo": "processor\t: 0\n", "proc__device-tree__model": "Raspberry Pi 5\0"}
    )
    assert linux.chip(intel) == "AMD EPYC 7B13"
    assert linux.chip(board) == "Raspberry Pi 5"
    assert linux.chip(tmp_path / "nothing") is None


@pytest.mark.parametrize(("board", "chip"), [("Raspberry Pi 5\0", "Raspberry Pi 5"), ("\0", None), ("", None)])
def test_an_empty_name_is_no_name(tmp_path: Path, board: str, chip: str | None) -> None:
    root = write(tmp_path, **{"proc__cpuinfo": "model name\t:\n", "proc__device-tree__model": board})
    assert linux.chip(root) == chip


def test_the_system_is_the_distribution_and_the_kernel(tmp_path: Path) -> None:
    root = write(tmp_path, **{"etc__os-release": 'NAME="Debian"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n'})
    assert linux.system_name(root).startswith("Debian GNU/Linux 12 (bookworm), Linux ")
    assert linux.system_name(tmp_path / "nothing").startswith("Linux ")


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("PRETTY_NAME='Foo Linux'", "Foo Linux, Linux "),
        ("PRETTY_NAME=Foo", "Foo, Linux "),
        (r'PRETTY_NAME="The \"Foo\" Linux"', 'The "Foo" Linux, Linux '),
        ("PRETTY_NAME=Foo's", "Foo's, Linux "),
        ('PRETTY_NAME=""', "Linux "),
    ],
)
def test_the_name_of_the_distribution_is_read_as_a_shell_reads_it(tmp_path: Path, line: str, name: str) -> None:
    assert linux.system_name(write(tmp_path, **{"etc__os-release": f"{line}\n"})).startswith(name)


def test_the_name_of_the_distribution_may_be_in_usr(tmp_path: Path) -> None:
    root = write(tmp_path, **{"usr__lib__os-release": "PRETTY_NAME=Foo\n"})
    assert linux.system_name(root).startswith("Foo, Linux ")


@pytest.mark.parametrize(
    ("supplies", "source"),
    [
        ({"AC/type": "Mains", "AC/online": "1", "BAT0/type": "Battery", "BAT0/status": "Charging"}, "mains"),
        ({"AC/type": "Mains", "AC/online": "0", "BAT0/type": "Battery", "BAT0/status": "Discharging"}, "battery"),
        ({"BAT0/type": "Battery", "BAT0/status": "Full"}, None),
        ({"mouse/type": "Battery", "mouse/status": "Discharging", "mouse/scope": "Device"}, None),
        ({"USB/type": "USB", "USB/online": "2", "BAT0/type": "Battery", "BAT0/status": "Discharging"}, "mains"),
        ({"pen/type": "USB", "pen/online": "1", "pen/scope": "Device"}, None),
        ({}, None),
    ],
)
def test_power_comes_from_a_supply_that_is_on_line_or_from_a_battery_that_discharges(
    tmp_path: Path, supplies: dict[str, str], source: str | None
) -> None:
    for name, text in supplies.items():
        write(tmp_path, **{f"sys/class/power_supply/{name}": text + "\n"})
    assert linux.power_source(tmp_path) == source
