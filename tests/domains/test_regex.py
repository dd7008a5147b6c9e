"""Regular expressions: what is found, what is told, how a pattern is taken out of a reply."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

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


@pytest.mark.parametrize(
    ("reply", "pattern"),
    [
        (" {2,}", " {2,}"),
        ("```regex\n {2,} \n```", " {2,} "),
        ("r' {2,}'", " {2,}"),
        (", \n```", ", "),
        (" ", " "),
        ("```\n\t\n```\nA tab.", "\t"),
        ("1. This:\n\n   ```regex\n    x\n   ```\n", " x"),
        ("\n\n x \r\n", " x "),
        ("<think>Is it \\d?</think>\n \\w", " \\w"),
        (" and <|im_end|>", " and "),
        ("(?x)\n  a  # one\n  b\n```", "(?x)\n  a  # one\n  b"),
    ],
)
def test_blanks_at_the_ends_of_a_pattern_are_part_of_it(reply, pattern):
    assert domain_of("regex").extract(reply, TASK).code == pattern + "\n"


@pytest.mark.parametrize("pattern", [" {2,}", ", ", " and ", " "])
def test_a_pattern_with_blanks_finds_them(judge, pattern):
    checks = Checks.from_asserts([f"assert find('a  b, c and d') == {re.findall(pattern, 'a  b, c and d')!r}"])
    assert judge(Task("t", "regex", "Blanks.", "find", public=checks), pattern).passed


@given(st.text("a \\d[]+/'\"()|^$", min_size=1, max_size=8).filter(lambda text: text.count("'") + text.count('"') == 0))
def test_the_completion_that_teaches_a_pattern_is_read_as_that_pattern(pattern: str):
    domain = domain_of("regex")
    assert domain.extract(domain.completion(pattern + "\n"), TASK).code == pattern + "\n"


@pytest.mark.parametrize(
    ("reply", "pattern"),
    [
        (r"re.compile(r'\d+')", r"\d+"),
        ('import re\n\npattern = re.compile(r"\\d+")', r"\d+"),
        (r"re.compile('\\d+', re.IGNORECASE | re.M)", r"(?im)\d+"),
        (r"re.compile(r'a.b', flags=re.S)", "(?s)a.b"),
        (r"re.findall(r' \w+', text)", r" \w+"),
        (r"matches = re.compile(r'\d+').findall(text)", r"\d+"),
        (r"pattern = r'\d+'", r"\d+"),
        ("import re\np = r'a.'\nfound = re.findall(p, text, re.S)\nprint(found)", "(?s)a."),
        ("import re\nfor m in re.finditer('a', text):\n    print(re.sub('b', '', m[0]))", "a"),
        (r"/\d+/g", r"\d+"),
        (r"/a\/[/b]/gi", r"(?i)a/[/b]"),
        (r"/^ x$/ms", r"(?ms)^ x$"),
        ("'it\\'s'", "it's"),
    ],
)
def test_a_pattern_is_taken_out_of_the_call_or_the_slashes_around_it(reply, pattern):
    assert domain_of("regex").extract(reply, TASK).code == pattern + "\n"


@pytest.mark.parametrize(
    "pattern", [r"/\w+/", r"/a/b/g", "/x/y", "re.compile(p)", "f(x)", "x = 3", "'a' 'b'", r"re\.compile"]
)
def test_what_only_looks_like_a_call_or_slashes_stays(pattern):
    assert domain_of("regex").extract(pattern, TASK).code == pattern + "\n"


@pytest.mark.parametrize("pattern", ["'[^']*'|x", '"', "''+", "r'a'b'"])
def test_a_pattern_with_quotes_of_its_own_stays(pattern):
    assert domain_of("regex").extract(pattern, TASK).code == pattern + "\n"
