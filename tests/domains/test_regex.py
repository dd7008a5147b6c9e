"""Regular expressions: what is found, what is told, how a pattern is taken out of a reply."""

from __future__ import annotations

import pytest

from mlx_selfdebug.domains import domain_of
from mlx_selfdebug.tasks import Checks, Task

CHECKS = Checks.from_asserts(["assert find('a1 b22') == ['1', '22']"])
TASK = Task("t", "regex", "Find the numbers.", "find", public=CHECKS, hidden=CHECKS)


def test_whole_matches_are_found(told):
    assert told(TASK, r"(\d)+") == ""


def test_what_was_found_instead_is_told(told):
    assert told(TASK, r"\d") == "Test failed:\nInput: 'a1 b22'\nExpected: ['1', '22']\nGot: ['1', '2', '2']"


def test_a_pattern_that_is_none_is_told(told):
    assert "Error: " in told(TASK, "(")


def test_a_pattern_that_never_ends_is_ended(judge):
    checks = Checks.from_asserts(["assert find('" + "a" * 40 + "!') == []"])
    verdict = judge(Task("t", "regex", "Slow.", "find", public=checks), r"(a+)+$")
    assert verdict.outcome in ("timeout_cpu", "timeout_wall")


@pytest.mark.parametrize("reply", [r"\d+", "\\d+\n```", "```regex\n\\d+\n```", r"r'\d+'", r'r"\d+"', "'\\\\d+'"])
def test_a_pattern_is_taken_out_of_its_fence_and_quotes(reply):
    assert domain_of("regex").extract(reply, TASK).code == "\\d+\n"


@pytest.mark.parametrize("pattern", ["'[^']*'|x", '"', "''+", "r'a'b'"])
def test_a_pattern_with_quotes_of_its_own_stays(pattern):
    assert domain_of("regex").extract(pattern, TASK).code == pattern + "\n"
