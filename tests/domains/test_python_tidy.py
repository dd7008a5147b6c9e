"""From an answer to its code: what is changed, what never is, and that nothing is written for the model."""

from __future__ import annotations

import ast
import time
import warnings

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mlx_selfdebug.domains.base import Tidied
from mlx_selfdebug.domains.python import PythonDomain
from mlx_selfdebug.domains.python_prose import is_prose
from mlx_selfdebug.domains.python_tidy import MAX_CHARS, STEPS, tidy
from mlx_selfdebug.values.task import Task

from .answers import ANSWERS, BODY, PLAIN, RIGHT, SIGNATURE, TASK, TIDIED, WRONG, Answer

PIECES = [
    *PLAIN.splitlines(keepends=True),
    *BODY.splitlines(keepends=True),
    SIGNATURE,
    "```python\n",
    "```\n",
    "~~~",
    "Here is the code:\n",
    "\n",
    "This returns `x`.",
    "<|im_end|>",
    "<|im_start|>assistant\n",
    "\u00a0",
    "\u201c",
    "\r\n",
    "'''",
    '"""',
    "(",
    "\ufeff",
    "\t",
    "    ",
    "\\\n",
    "print(above([1",
    "x = = 3\n",
    "\x00",
    "\ud800",
    "# no\n",
]
texts = st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=8)), max_size=14).map("".join)
names = st.sampled_from(["x", "y", "numbers", "n"])
statements = st.recursive(
    st.one_of(
        st.builds("return {}".format, names),
        st.builds(
            "{} = '''{}'''".format, names, st.sampled_from(["```", "a\n```\nb", "<|im_end|>", "\u201c", "\u00a0"])
        ),
        st.builds("{} = {}".format, names, st.integers()),
        st.builds("# {}".format, st.sampled_from(["Here is the code:", "```", "\u2019s"])),
    ).map(lambda line: [line]),
    lambda inner: st.builds(lambda body: ["if x:", *("    " + line for line in body), "    pass"], inner),
    max_leaves=4,
)
programs = st.builds(
    lambda before, body, after: before + "def above(numbers, limit):\n    x = y = n = 0\n" + "".join(f"    {s}\n" for s in body) + after,
    st.sampled_from(["", "\n\n", "import math\n", "# Sure\n", '"""Prose.\n\n```\n"""\n']),
    statements,
    st.sampled_from(["", "\n", "above\n", "print(above([1], 0))", "\nif __name__ == '__main__':\n    above([], 1)\n", "\r\n"]),
)  # fmt: skip


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: answer.name)
def test_the_code_is_taken_out_of_a_realistic_answer_and_its_steps_are_named(answer: Answer) -> None:
    assert tidy(answer.text, TASK) == Tidied(answer.code, answer.steps)


def test_there_are_at_least_40_answers_that_need_tidying_and_every_step_occurs() -> None:
    assert len(TIDIED) >= 40
    assert {step for answer in ANSWERS for step in answer.steps} == set(STEPS)


@pytest.mark.parametrize("answer", [*RIGHT, *TIDIED], ids=lambda answer: answer.name)
def test_what_is_taken_out_of_a_good_answer_loads(answer: Answer) -> None:
    ast.parse(answer.code)


@pytest.mark.parametrize("answer", WRONG, ids=lambda answer: answer.name)
def test_a_wrong_answer_still_does_not_define_the_entry_point(answer: Answer) -> None:
    code = tidy(answer.text, TASK).code
    try:
        tree = ast.parse(code)
    except SyntaxError:
        return
    assert not [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "above"]


@given(programs)
def test_code_that_parses_and_defines_the_entry_point_is_not_changed_by_a_byte(code: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ast.parse(code)
    assert tidy(code, TASK).code == code


@given(texts)
@example("def above(a, b):\n    return 1\nprint(f(3)\n```\nSure")
@example("```\n```python\ndef above(:\n```\n```\n~~~")
@example("def above(\n" + "(" * 5000)
def test_any_text_is_tidied_and_a_second_time_changes_nothing(text: str) -> None:
    first = tidy(text, TASK)
    second = tidy(first.code, TASK)
    assert second.code == first.code
    assert set(second.steps) <= {"imports"}
    assert set(first.steps) <= set(STEPS)


@given(texts)
def test_no_line_is_written_for_the_model_but_the_task_s_signature(text: str) -> None:
    tidied = tidy(text, TASK)
    said = _squeezed(text)
    unsaid = [line for line in tidied.code.split("\n") if _squeezed(line) not in said]
    assert unsaid in ([], [SIGNATURE.strip()])
    assert not unsaid or "bare_body" in tidied.steps


def _squeezed(text: str) -> str:
    """Without what typography alone changes."""
    return "".join(c for c in text if c.isascii() and not c.isspace() and c not in "\"'")


@given(texts)
def test_only_the_steps_named_change_anything(text: str) -> None:
    tidied = tidy(text, TASK)
    assert (tidied.code == text) == (not set(tidied.steps) - {"imports"})


@pytest.mark.parametrize(
    "text",
    [
        "Here is the code:\n" * 1600,
        "x = (\n" * 4900,
        "```\ndef above(:\n```\n" * 1400,
        "Is above it:\n\ndef above(:\n" * 1000,
        "\u201c" * 29_000,
        "'''\n" * 5001 + "def above(",
        PLAIN * 400 + "(",
    ],
    ids=["prose", "open", "fences", "broken", "quotes", "strings", "long"],
)
def test_no_answer_keeps_the_tidying_busy_for_long(text: str) -> None:
    started = time.process_time()
    tidy(text, TASK)
    assert time.process_time() - started < 30


def test_an_answer_too_long_to_be_one_is_left_as_it_is() -> None:
    text = "Here it is:\n" + PLAIN + "#" * MAX_CHARS
    assert tidy(text, TASK) == Tidied(text)


def test_a_signature_of_several_lines_is_kept_as_the_task_has_it() -> None:
    task = Task("t", "python", "", "f", "@cache\ndef f(\n    x: int,\n) -> int:\n")
    assert tidy("    return x\n", task).code == "@cache\ndef f(\n    x: int,\n) -> int:\n    return x\n"


def test_a_starter_with_a_docstring_or_a_body_gives_its_signature_alone() -> None:
    for starter in ('def f(x):\n    """Doc."""\n', "def f(x): ...", "def f(x):\n    pass\n"):
        assert tidy("    return x\n", Task("t", "python", "", "f", starter)).code == "def f(x):\n    return x\n"


def test_a_signature_of_several_lines_may_have_its_body_on_the_last_of_them() -> None:
    task = Task("t", "python", "", "f", "def f(\n    x, caf\u00e9=1\n): ...")
    assert tidy("    return x\n", task).code == "def f(\n    x, caf\u00e9=1\n):\n    return x\n"


def test_a_body_stays_as_it_is_where_the_task_gives_no_signature() -> None:
    assert tidy("    return x\n", Task("t", "python", "", "f")) == Tidied("    return x\n")


def test_tidying_a_models_code_warns_of_nothing_in_it() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert tidy("def above(a, b):\n    return '\\d' is 1\n", TASK).steps == ()


def test_extract_ends_the_code_with_one_newline_and_keeps_the_steps() -> None:
    assert PythonDomain().extract("\n    return numbers", TASK) == Tidied(
        SIGNATURE + "    return numbers\n", ("bare_body", "imports")
    )


@pytest.mark.parametrize(
    "line",
    [
        "Sure! Here's the code:", "This function uses `sorted()` to order them.", "- The first step is to sort.", "1. Sort the list",
        "**Note:** it is fast", "Explanation:", "`x` is the argument", "---", ">>> f(3)", "\\[ x^2 \\]",
        "If the list is empty, it returns 0.", "\u8bf4\u660e\uff1a",
        "Note: n = 3 is the default", "So, n = 3 here", "sorted, reversed and joined", "Case 1: the list is empty",
    ],
)  # fmt: skip
def test_prose_is_told_from_code(line: str) -> None:
    assert is_prose(line)


@pytest.mark.parametrize(
    "line",
    [
        "def f(x:", "print(f(3)", "x = = 3", "return x if", "for i in range(3)", "else:", "result.append(", "@cache", "]", "    ", "print x",
        "if x == 3 then", "f(x) = 3", "x += +", "while True",
        "# Test cases", "### Explanation",
        "a, b = f(", "(a, b) = f(", "first, *rest = f(", "count: int = 0 +", "totals: dict[str, int] = {", "name: str | None = (", "case x:",
    ],
)  # fmt: skip
def test_broken_code_is_not_taken_for_prose(line: str) -> None:
    assert not is_prose(line)
