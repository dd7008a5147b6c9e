"""The edits themselves: what they change, and that every one leaves the rest of the program alone."""

from __future__ import annotations

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlx_selfdebug.auditing.mutants import mutants_of
from mlx_selfdebug.domains import domain_of
from mlx_selfdebug.repair.edits.candidates import syntax_edits
from mlx_selfdebug.repair.edits.hints import Hints
from mlx_selfdebug.tasks import load_tasks

PYTHON = domain_of("python")
REFERENCES = [task.reference.strip("\n") for task in load_tasks("starter")][::4]


def edited(code: str, hints: Hints = Hints()) -> set[str]:  # noqa: B008
    return {edit.applied(code) for edit in syntax_edits(code, PYTHON, hints)}


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("return a - b", "return a + b"),
        ("return a / b", "return a // b"),
        ("return b - a", "return a - b"),
        ("return a + 1", "return a"),
        ("return a", "return a + 1"),
        ("return a < b", "return a <= b"),
        ("return a not in b", "return a in b"),
        ("return a or b", "return a and b"),
        ("return a and b", "return a"),
        ("return not a", "return a"),
        ("return a", "return not a"),
        ("return -a", "return a"),
        ("return 1", "return 0"),
        ("return 'a'", "return ''"),
        ("return True", "return False"),
        ("return a[:b]", "return a[:b + 1]"),
        ("return a[0:b]", "return a[:b]"),
        ("return a[::-1]", "return a"),
        ("return a[b]", "return a[b - 1]"),
        ("return range(a)", "return range(1, a + 1)"),
        ("return max(a)", "return min(a)"),
        ("return a.lower()", "return a.upper()"),
        ("return list(a)", "return sorted(a)"),
        ("return a", "return sorted(a)"),
        ("return sorted(a)", "return a"),
        ("return f(a, b)", "return f(b, a)"),
        ("return f(a, b)", "return f(a)"),
        ("return f(a, key=b)", "return f(a)"),
        ("return a", "return b"),
        ("a = b\n    return a", "a += b\n    return a"),
        ("a += b\n    return a", "a = b\n    return a"),
        ("a += b\n    return a", "a -= b\n    return a"),
    ],
)
def test_a_slip_is_among_the_edits_of_its_program(wrong: str, right: str) -> None:
    assert f"def f(a, b):\n    {right}" in edited(f"def f(a, b):\n    {wrong}")


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("for x in a:\n    t += x\n    return t", "for x in a:\n    t += x\nreturn t"),
        ("for x in a:\n    t += x\nu = t", "for x in a:\n    t += x\n    u = t"),
        ("x = 1\ny = 2", "y = 2\nx = 1"),
        ("x = 1\ny = 2", "x = 1"),
        ("if a:\n    b = 1\nc = 2", "b = 1\nc = 2"),
        ("if a: return 1\nreturn 2", "return 1\nreturn 2"),
        ("if a:\n    b = 1\nelif c:\n    d = 2", "if a:\n    b = 1\nif c:\n    d = 2"),
        ("for x in a:\n    break", "for x in a:\n    continue"),
        ("if a:\n    b = 1", "while a:\n    b = 1"),
    ],
)
def test_a_statement_can_be_moved_or_left_out(wrong: str, right: str) -> None:
    def body(text: str) -> str:
        return "def f(a):\n" + "\n".join(f"    {line}" for line in text.split("\n"))

    assert {code.rstrip("\n") for code in edited(body(wrong))} >= {body(right)}


def test_a_program_that_is_nested_too_deeply_has_no_syntax_edits() -> None:
    assert edited("def f(x):\n    return " + " + ".join(["x"] * 1200)) == set()


def test_a_number_too_long_to_be_written_is_replaced_by_small_ones_alone() -> None:
    huge = "0x" + "F" * 4000
    assert f"def f(x):\n    return {huge} + 1" in edited(f"def f(x):\n    return {huge} + 2")


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_lines_end_where_python_ends_them(line_end: str) -> None:
    def program(operator: str) -> str:
        return line_end.join(["def f(a, b):", "    c = a", f"    return c {operator} b"])

    assert program("+") in edited(program("-"))


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("b = []\n    for x in a: pass", "b = []\n    for x in a: b.append(x)"),
        ("b = 0\n    for x in a: pass", "b = 0\n    for x in a: b += 1"),
        ("b = 0\n    for x in a: pass", "b = 0\n    for x in a: b += x"),
        ("b = {}\n    for x in a: pass", "b = {}\n    for x in a: b[x] = b.get(x, 0) + 1"),
        ("b = set()\n    for x in a: pass", "b = set()\n    for x in a: b.add(x)"),
    ],
)
def test_a_forgotten_statement_is_written_where_a_program_only_passes(wrong: str, right: str) -> None:
    assert f"def f(a):\n    {right}" in edited(f"def f(a):\n    {wrong}")


def test_a_pass_inside_another_function_is_given_that_functions_names() -> None:
    code = "def f(a):\n    def g(b):\n        c = []\n        pass\n    return g(a)"
    assert code.replace("pass", "c.append(b)") in edited(code)
    assert code.replace("pass", "c.append(a)") not in edited(code)


def test_numbers_and_texts_of_the_task_become_constants() -> None:
    found = edited("def f():\n    return 5, 'x'", Hints((17,), ("yes",)))
    assert "def f():\n    return 17, 'x'" in found
    assert "def f():\n    return 5, 'yes'" in found


def test_the_inverse_of_most_mutants_is_among_the_edits() -> None:
    """A bug is undone by an edit, unless something was lost with it: a value, a statement, a comparison, a text."""
    undone = total = 0
    for reference in REFERENCES:
        plain = ast.unparse(ast.parse(reference))
        wanted = PYTHON.normalise(plain)
        for mutant in mutants_of(plain, max_mutants=4, seed=reference):
            lost = mutant.after.count("True") + mutant.after.count("False") + mutant.after.count("''")
            if lost or mutant.operator in ("return", "statement", "boolean", "slice", "call"):
                continue
            total += 1
            edits = edited(mutant.source)
            undone += any(PYTHON.normalise(code) == wanted for code in edits)
    assert undone / total > 0.9


def test_docstrings_annotations_and_imports_are_left_alone() -> None:
    code = 'import math\n\ndef f(a: int = 3) -> int:\n    """Add 1."""\n    return a'
    for found in edited(code):
        assert found.startswith("import math\n\ndef f(a: int = ")
        assert '"""Add 1."""' in found


def test_columns_are_counted_in_characters() -> None:
    assert "def f(a):\n    return 'é' * 3 - a" in edited("def f(a):\n    return 'é' * 3 + a")


@given(st.sampled_from(REFERENCES))
def test_an_edit_changes_one_stretch_and_nearly_always_still_parses(reference: str) -> None:
    edits = syntax_edits(reference, PYTHON, Hints())
    for edit in edits:
        assert 0 <= edit.start <= edit.end <= len(reference)
        found = edit.applied(reference)
        assert found.startswith(reference[: edit.start])
        assert found.endswith(reference[edit.end :])
    broken = sum(not _parses(edit.applied(reference)) for edit in edits)
    assert broken <= 1 + len(edits) // 20


def _parses(code: str) -> bool:
    from mlx_selfdebug.parsing import parse

    return parse(code) is not None


def test_code_that_does_not_parse_has_no_edits_of_syntax() -> None:
    assert syntax_edits("def f(:\n", PYTHON, Hints()) == []


def test_a_domain_without_operators_has_no_edits_of_syntax() -> None:
    assert syntax_edits("SELECT 1", domain_of("sql"), Hints()) == []
