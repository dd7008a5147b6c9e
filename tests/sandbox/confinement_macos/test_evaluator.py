"""The evaluator itself: the cases in which Apple's compiler and the rule of thumb differ, and what it refuses."""

from __future__ import annotations

import pytest

from .evaluator import Policy, parse


def policy(text: str) -> Policy:
    return Policy.of(f"(version 1)(deny default){text}", {})


def test_a_particular_operation_outlives_a_later_denial_of_its_wildcard() -> None:
    rules = policy('(allow file-write-data (literal "/x"))(deny file-write* (subpath "/"))')
    assert rules.compiled("file-write-data", "/x")
    assert not rules.last_match("file-write-data", "/x")
    with pytest.raises(AssertionError, match="readings"):
        rules.allows("file-write-data", "/x")


def test_a_rule_without_filter_decides_only_where_no_filter_matches() -> None:
    rules = policy('(allow network-outbound (literal "/x"))(deny network-outbound)')
    assert rules.compiled("network-outbound", "/x")
    assert not rules.last_match("network-outbound", "/x")


def test_of_two_filters_the_later_wins() -> None:
    rules = policy(
        '(allow file-read* (subpath "/a"))(deny file-read* (subpath "/a/b"))(allow file-read* (literal "/a/b/c"))'
    )
    assert [rules.allows("file-read-data", path) for path in ("/a/x", "/a/b/x", "/a/b/c", "/ab")] == [
        True,
        False,
        True,
        False,
    ]


@pytest.mark.parametrize(
    "text",
    [
        "(allow file-raed*)",
        '(allow signal (literal "/x"))',
        "(define x 1)",
        "(allow file-read*",
        "(allow sysctl-read))",
    ],
)
def test_what_it_does_not_know_is_an_error(text: str) -> None:
    with pytest.raises((ValueError, IndexError)):
        policy(text)


def test_comments_and_patterns() -> None:
    assert parse('(a #"^x\\.y" ; (b\n "c;d")') == [["a", "^x\\.y", "c;d"]]
