from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator

import pytest

from mlx_selfdebug.auditing.mutants import Mutant, mutants_of
from mlx_selfdebug.tasks import load_tasks

REFERENCES = [(task.reference, task.entry_point) for task in [*load_tasks("starter"), *load_tasks("humaneval")[::4]]]


def after(body: str, parameters: str = "a, b") -> list[tuple[str, str]]:
    """Operator and changed line of each mutant of a function of one line."""
    return [(m.operator, m.after) for m in mutants_of(f"def f({parameters}):\n    {body}\n", "f")]


@pytest.mark.parametrize(
    ("body", "operator", "changed"),
    [
        ("return a + b", "arithmetic", ["return a - b"]),
        ("return a / b", "arithmetic", ["return a * b", "return a // b"]),
        ("a -= b", "arithmetic", ["a += b"]),
        ("return a < b", "comparison", ["return False", "return a <= b", "return a != b"]),
        ("return a >= b", "comparison", ["return True", "return a > b", "return a == b"]),
        ("return a in b", "comparison", ["return a not in b"]),
        ("return a < b < 9", "comparison", ["return a <= b < 9", "return a != b < 9", "return a < b <= 9", "return a < b != 9"]),
        ("return a and b", "boolean", ["return b", "return a", "return a or b"]),
        ("return 5 if a else b", "condition", ["return 5 if not a else b"]),
        ("return [x for x in a if x]", "condition", ["return [x for x in a if not x]"]),
        ("return -a", "unary", ["return a"]),
        ("return not a", "unary", ["return a"]),
        ("return a, 7", "constant", ["return (a, 8)", "return (a, 6)"]),
        ("return a, 0.5", "constant", ["return (a, 1.5)", "return (a, -0.5)"]),
        ("return a, True", "constant", ["return (a, False)"]),
        ("return a, ''", "constant", ["return (a, 'XX')"]),
        ("return a, 'x'", "constant", ["return (a, '')"]),
        ("return range(a)", "boundary", ["return range(a + 1)", "return range(a - 1)"]),
        ("return a[b:]", "boundary", ["return a[b + 1:]", "return a[b - 1:]"]),
        ("return a[1:b]", "slice", ["return a[:b]", "return a[1:]"]),
        ("return a[::-1]", "slice", ["return a[:]"]),
        ("return a", "return", ["return None"]),
        ("a.sort()", "statement", ["pass"]),
        ("return min(a)", "call", ["return max(a)"]),
        ("return sorted(a, key=b)", "call", ["return sorted(a)"]),
        ("return a.lstrip()", "call", ["return a.rstrip()"]),
    ],
)  # fmt: skip
def test_an_operator_makes_its_changes(body: str, operator: str, changed: list[str]) -> None:
    assert [line for name, line in after(body) if name == operator] == changed


def test_break_and_continue_take_each_others_place() -> None:
    source = "def f(a):\n    for x in a:\n        if x:\n            break\n        a.pop()\n"
    assert [(m.line, m.after) for m in mutants_of(source, "f") if m.operator == "loop exit"] == [(4, "continue")]


def test_a_remainder_or_length_is_not_asked_whether_it_is_negative() -> None:
    assert [line for name, line in after("return a % b == 0") if name == "comparison"] == [
        "return False",
        "return a % b >= 0",
    ]
    assert "return len(a) != 0" not in [line for _, line in after("return len(a) > 0")]


def test_no_condition_of_a_while_loop_is_made_always_true() -> None:
    assert not any(m.after == "while True:" for m in mutants_of("def f(a):\n    while a != 1:\n        a -= 1\n", "f"))


def test_a_mutant_says_the_line_of_the_reference_and_what_stood_there() -> None:
    source = "# a comment\n\ndef f(a):\n    x = a\n    return (x)\n"
    assert mutants_of(source, "f") == [
        Mutant("return", 5, "return x", "return None", "def f(a):\n    x = a\n    return None")
    ]


@pytest.mark.parametrize(("reference", "entry_point"), REFERENCES[::5])
def test_every_mutant_is_a_program_other_than_the_reference_and_all_others(reference: str, entry_point: str) -> None:
    sources = [mutant.source for mutant in mutants_of(reference, entry_point)]
    forms = {ast.dump(ast.parse(source)) for source in [reference, *sources]}
    assert len(forms) == len(sources) + 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # `is` with a number and the like
        assert all(compile(source, "mutant", "exec") for source in sources)


def prose(source: str) -> Iterator[str]:
    """Docstrings and annotations."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef):
            yield ast.get_docstring(node) or ""
            yield from (ast.unparse(part) for part in [node.returns, *(a.annotation for a in node.args.args)] if part)


@pytest.mark.parametrize(("reference", "entry_point"), REFERENCES[::5])
def test_docstrings_and_annotations_stay(reference: str, entry_point: str) -> None:
    assert all(list(prose(m.source)) == list(prose(reference)) for m in mutants_of(reference, entry_point))


def test_the_same_source_gives_the_same_mutants() -> None:
    reference, entry_point = REFERENCES[-1]
    assert mutants_of(reference, entry_point) == mutants_of(reference, entry_point)


def test_a_sample_is_drawn_by_its_seed_and_keeps_the_order() -> None:
    reference, entry_point = max(REFERENCES, key=lambda pair: len(pair[0]))
    found = mutants_of(reference, entry_point)
    first = mutants_of(reference, entry_point, max_mutants=6, seed="a")
    assert (
        first
        == mutants_of(reference, entry_point, max_mutants=6, seed="a")
        != mutants_of(reference, entry_point, max_mutants=6, seed="b")
    )
    assert [found.index(mutant) for mutant in first] == sorted({found.index(mutant) for mutant in first})
    assert len(first) == 6


def test_a_sample_larger_than_all_is_all() -> None:
    assert len(mutants_of("def f(a):\n    return a\n", "f", max_mutants=50)) == 1


def test_only_what_the_entry_point_uses_is_changed() -> None:
    helper = "def {0}(a):\n    return a\n\n"
    source = helper.format("used") + helper.format("unused") + "STEP = 2\n\ndef f(a):\n    return used(a) * STEP\n"
    assert {m.line for m in mutants_of(source, "f")} == {2, 7, 10}


def test_of_a_program_without_entry_point_everything_is_changed() -> None:
    assert {m.line for m in mutants_of("a = int(input())\nprint(a + 1)\n")} == {2}


@pytest.mark.parametrize("source", ["", "def f(:", "import math\n", "def f(): pass\n"])
def test_a_source_with_nothing_to_change_has_no_mutants(source: str) -> None:
    assert mutants_of(source, "f") == []
