"""jq filters: outputs, what is told, how a filter is taken out of a reply."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given

from mlx_selfdebug.domains import domain_of
from mlx_selfdebug.domains.inside.json_values import Json
from mlx_selfdebug.domains.jq import compared_as_json
from mlx_selfdebug.tasks import Checks, Task
from tests.domains.neighbours import json_values, pairs

CHECKS = Checks.from_asserts(["assert outputs({'a': [1, None]}) == [[1]]"])
TASK = Task("t", "jq", "Leave out nulls.", "outputs", public=CHECKS, hidden=CHECKS)


def test_the_outputs_are_compared(told):
    assert told(TASK, ".a | map(select(. != null))") == ""


def outputs_task(*asserts: str) -> Task:
    return Task("t", "jq", "?", "outputs", public=Checks.from_asserts(asserts))


@pytest.mark.parametrize(
    ("check", "reply"),
    [
        ("assert outputs({'a': 1}) == [True]", ".a"),
        ("assert outputs({'a': True}) == [1]", ".a"),
        ("assert outputs(None) == [{'ok': [False]}]", "{ok: [0]}"),
        ("assert [True] == outputs({'a': 1})", ".a"),
        ("assert outputs(1)[0] == True", "."),
        ("assert outputs(True) != [1] and outputs(1) != [1.0]", "."),
        ("assert True in outputs(1)", "."),
        ("assert all(x == True for x in outputs([1, 1]))", ".[]"),
    ],
)
def test_a_number_is_no_boolean(judge, check, reply):
    assert judge(outputs_task(check), reply).outcome == "failed"


@pytest.mark.parametrize(
    ("check", "reply"),
    [
        ("assert outputs({'a': 1}) == [True]", ".a == 1"),
        ("assert outputs(1) == [1.0]", "."),
        ("assert outputs(None) == [{'a': 1, 'b': None}]", "{b: null, a: 1}"),
        ("assert outputs(1) != [True] and True not in outputs(1)", "."),
    ],
)
def test_numbers_are_equal_by_value_and_objects_by_their_keys(judge, check, reply):
    assert judge(outputs_task(check), reply).passed


def test_a_wrong_type_is_told_as_json(told):
    assert told(outputs_task("assert outputs(None) == [{'ok': True}]"), "{ok: 1}").endswith(
        'Expected: {"ok": true}\nGot: {"ok": 1}'
    )


@given(pairs(json_values))
def test_no_value_that_is_close_to_the_right_one_equals_it(pair: tuple[Any, Any]):
    value, close = pair
    assert Json(value) != close


@given(json_values)
def test_a_value_equals_itself_after_a_round_through_text(value: Any):
    assert Json(value) == json.loads(json.dumps(value))


def test_checks_without_source_stay_without_source():
    assert not compared_as_json(Checks())


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


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        ("jq -r '.a'", ".a"),
        ('jq ".a"', ".a"),
        ("jq -rc --sort-keys '.a | .b' input.json", ".a | .b"),
        ("$ cat data.json | jq '.a'", ".a"),
        ("jq .a", ".a"),
        (r'jq ".[] | select(.x == \"y\")"', '.[] | select(.x == "y")'),
        (r'jq ". as \$x | \$x"', ". as $x | $x"),
        ('".a"', ".a"),
        (r'"{a: \"b\"}"', '{a: "b"}'),
        ("'\n.a\n| .b\n'", ".a\n| .b"),
        ("jq '.a' file --tab", ".a"),
        ("'.a == \"it\" '", '.a == "it"'),
    ],
)
def test_a_filter_is_taken_out_of_the_command_around_it(reply, code):
    assert domain_of("jq").extract(reply, TASK).code == code + "\n"


@pytest.mark.parametrize(
    "code",
    ["jq -n '[inputs]'", "jq --arg x 1 '.a'", "jq -s '.'", "jq '.a' | sort", '"a"', r'"[\(.a)] \(.b)"', '"a" + "b"', ". - 1", "'.a"],
)  # fmt: skip
def test_a_command_that_changes_the_input_and_a_text_of_jq_stay(code):
    assert domain_of("jq").extract(code, TASK).code == code + "\n"


def test_the_prompt_shows_examples_as_json():
    assert 'Input: {"a": [1, null]}\nOutput: [1]' in domain_of("jq").prompt(TASK)


def test_a_check_that_outputs_differ_is_no_example_of_an_output():
    checks = Checks.from_asserts(["assert outputs([1]) != [2]", "assert outputs([3]) == [3]"])
    prompt = domain_of("jq").prompt(Task("t", "jq", "Take it.", "outputs", public=checks, hidden=checks))
    assert "[3]" in prompt
    assert "[1]" not in prompt
