"""Parsers of what macOS prints, on texts in its form. The calls themselves run on a Mac alone: `doctor` makes them there."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlx_selfdebug.machine import apple

SYSCTL = "machdep.cpu.brand_string: Apple M4\nhw.perflevel0.physicalcpu: 4\nhw.perflevel1.physicalcpu: 6\niogpu.wired_limit_mb: 0\n"
IOREG = """+-o AGXAcceleratorG16G  <class AGXAcceleratorG16G, id 0x100000d4e, registered, matched, active, busy 0 (0 ms), retain 78>
    {
      "model" = "Apple M4"
      "gpu-core-count" = 10
      "PerformanceStatistics" = {"Device Utilization %"=37,"In use system memory"=344702976}
    }
"""
PMSET = """System-wide power settings:
Currently in use:
 standby              1
 Sleep On Power Button 1
 hibernatefile        /var/vm/sleepimage
 sleep                1 (sleep prevented by powerd)
 displaysleep         10
 lowpowermode         {}
 womp                 0
"""
MACMON = (
    '{"temp":{"cpu_temp_avg":43.7,"gpu_temp_avg":36.9},"memory":{"ram_total":25769803776,"ram_usage":20985479168},'
    '"ecpu_usage":[1181,0.08],"cpu_power":0.2,"gpu_power":0.02,"ane_power":0.0,"all_power":0.22,"sys_power":5.87}'
)
PARSERS = (
    apple.parse_sysctl,
    apple.parse_gpu_cores,
    apple.parse_sw_vers,
    apple.parse_power_source,
    apple.parse_low_power,
    apple.parse_pressure,
    apple.parse_macmon,
)


def answering(**answers: str) -> apple.Ask:
    def ask(command: Sequence[str]) -> str:
        return answers.get(command[0].rpartition("/")[2], "")

    return ask


def test_the_chip_its_cores_and_the_wired_limit_are_read() -> None:
    assert apple.read_hardware(answering(sysctl=SYSCTL, ioreg=IOREG)) == apple.Hardware("Apple M4", 4, 6, 10, None)
    raised = SYSCTL.replace("wired_limit_mb: 0", "wired_limit_mb: 12288")
    assert apple.read_hardware(answering(sysctl=raised)).wired_limit_bytes == 12288 * 2**20


def test_what_a_mac_does_not_say_is_unknown() -> None:
    assert apple.read_hardware(answering()) == apple.Hardware(None, None, None, None, None)
    silent = answering()
    read = (apple.system_name, apple.power_source, apple.low_power_mode, apple.thermal_pressure)
    assert [reader(silent) for reader in read] == [None] * 4


def test_the_system_is_named_with_its_build() -> None:
    text = "ProductName:\t\tmacOS\nProductVersion:\t\t14.2.1\nBuildVersion:\t\t23C71\n"
    assert apple.system_name(answering(sw_vers=text)) == "macOS 14.2.1 (23C71)"


def test_the_time_since_the_start_has_a_name() -> None:
    text = "kern.bootsessionuuid: 5F7B0E9C-6D1A-4C55-9A7F-0A6B1C2D3E4F\n"
    assert apple.boot_session(answering(sysctl=text)) == "5F7B0E9C-6D1A-4C55-9A7F-0A6B1C2D3E4F"
    assert apple.boot_session(answering()) is None


@pytest.mark.parametrize(
    ("text", "source"),
    [
        (
            "Now drawing from 'AC Power'\n -InternalBattery-0 (id=1)\t82%; charging; 1:05 remaining present: true\n",
            "mains",
        ),
        ("Now drawing from 'AC Power'\nNo batteries available.", "mains"),
        ("Now drawing from 'Battery Power'\n -InternalBattery-0 (id=1)\t27%; discharging; 3:32 remaining\n", "battery"),
        ("Now drawing from 'UPS Power'\n", None),
    ],
)
def test_the_power_source_is_the_one_drawn_from(text: str, source: str | None) -> None:
    assert apple.power_source(answering(pmset=text)) == source


@pytest.mark.parametrize(
    ("text", "low"),
    [
        (PMSET.format(1), True),
        (PMSET.format(0), False),
        (PMSET.format(0).replace("lowpowermode", "powermode   "), False),
        (PMSET.format(1).replace("lowpowermode", "powermode   "), True),
        (PMSET.format(2).replace("lowpowermode", "powermode   "), False),
        (" hibernatemode 3", None),
    ],
)
def test_low_power_mode_is_read_under_both_of_its_names(text: str, low: bool | None) -> None:
    assert apple.low_power_mode(answering(pmset=text)) is low


@pytest.mark.parametrize(("level", "word"), [(0, "nominal"), (1, "moderate"), (2, "heavy"), (9, None)])
def test_thermal_pressure_is_a_word(level: int, word: str | None) -> None:
    text = f"com.apple.system.thermalpressurelevel {level}\n"
    assert apple.thermal_pressure(answering(notifyutil=text)) == word


def test_a_line_of_macmon_gives_watts_of_the_machine_or_of_its_chip() -> None:
    assert apple.parse_macmon(MACMON) == apple.PowerSample(5.87, 36.9)
    assert apple.parse_macmon('{"all_power": 0.22}') == apple.PowerSample(0.22, None)


@pytest.mark.parametrize("line", ['{"all_power": 1' + "0" * 400 + "}", "[" * 100_000])
def test_a_line_of_macmon_with_absurd_json_states_no_power(line: str) -> None:
    assert apple.parse_macmon(line) is None


def test_a_superscript_is_no_number_of_cores() -> None:
    assert apple.read_hardware(answering(sysctl="hw.perflevel0.physicalcpu: \u00b2")).performance_cores is None


@pytest.mark.parametrize("before", ['"gpu-core-count" = ', "thermalpressurelevel ", "iogpu.wired_limit_mb: "])
def test_a_number_of_five_thousand_digits_is_unknown(before: str) -> None:
    answers = dict.fromkeys(("ioreg", "notifyutil", "sysctl"), before + "1" * 5000)
    assert apple.read_hardware(answering(**answers)) == apple.Hardware(None, None, None, None, None)
    assert apple.thermal_pressure(answering(**answers)) is None


@given(st.text())
def test_no_parser_fails_on_any_text(text: str) -> None:
    for parser in PARSERS:
        parser(text)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["temp", "all_power", "sys_power", "gpu_temp_avg"]), inner)))  # fmt: skip
def test_no_json_makes_the_parser_of_macmon_fail(value: object) -> None:
    import json

    apple.parse_macmon(json.dumps(value))


def test_a_tool_that_is_not_there_or_hangs_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apple, "TIMEOUT_S", 0.05)
    assert apple.ask(["/nowhere/sysctl"]) == ""
    assert apple.ask(["sleep", "5"]) == ""
