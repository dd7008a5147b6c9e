"""jq filters: outputs, what is told, how a filter is taken out of a reply."""

from __future__ import annotations

import pytest

from mlx_selfdebug.domains import domain_of
from mlx_selfdebug.tasks import Checks, Task

CHECKS = Checks.from_asserts(["assert outputs({'a': [1, None]}) == [[1]]"])
TASK = Task("t", "jq", "Leave out nulls.", "outputs", public=CHECKS, hidden=CHECKS)


def test_the_outputs_are_compared(told):
    assert told(TASK, ".a | map(select(. != null))") == ""


def test_inputs_and_outputs_are_told_as_json(told):
    assert told(TASK, ".a") == 'Test failed:\nInput: {"a": [1, null]}\nExpected: [1]\nGot: [1, null]'


def test_no_output_is_nothing(told):
    assert told(TASK, "empty").endswith("Got: nothing")


@pytest.mark.parametrize("reply", [".a[", ".b.c.d[0] | keys"])
def test_a_filter_that_fails_is_told(told, reply):
    assert "Error: " in told(TASK, reply)


def test_a_filter_that_never_ends_is_ended(judge):
    assert judge(TASK, "last(range(1; infinite))").outcome in ("timeout_cpu", "timeout_wall", "memory")


@pytest.mark.parametrize("reply", [".a", "jq '.a'", "'.a'", "```jq\n.a\n```", ".a\n```"])
def test_a_filter_is_taken_out_of_its_fence_and_quotes(reply):
    assert domain_of("jq").extract(reply, TASK).code == ".a\n"


def test_the_prompt_shows_examples_as_json():
    assert 'Input: {"a": [1, null]}\nOutput: [1]' in domain_of("jq").prompt(TASK)
