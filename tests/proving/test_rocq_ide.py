"""What ``coqidetop`` sends is read as XML, and output that is not XML ends the process."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlx_selfdebug.proving.servers.rocq_ide import Ended, Ide


@pytest.fixture
def ide(tmp_path: Path, answer: str) -> Iterator[Ide]:
    """A process that sends ``answer`` as soon as it is called, and nothing more."""
    program = tmp_path / "coqidetop"
    program.write_text(f"#!/bin/sh\nhead -c 1 >/dev/null\nprintf '%s' '{answer}'\ncat >/dev/null\n")
    program.chmod(0o755)
    process = Ide(str(program), 1 << 30)
    yield process
    process.end()


@pytest.mark.parametrize("answer", ['<value val="good"><state_id val="7"/></value>'])
def test_an_answer_is_waited_for_if_there_is_no_deadline(ide: Ide):
    assert ide.initial() == 7


@pytest.mark.parametrize("answer", ['<value val="good"></oops>', "Fatal error: & so on", "</answers><answers>"])
def test_output_that_is_not_xml_is_a_crash(ide: Ide):
    with pytest.raises(Ended, match="crashed"):
        ide.initial()


@pytest.mark.parametrize("answer", ['<value val="good">'])
def test_an_answer_that_does_not_come_in_time_is_told(ide: Ide):
    ide.deadline = time.monotonic() + 0.3
    with pytest.raises(Ended, match="timed_out"):
        ide.initial()
