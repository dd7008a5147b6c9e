"""Functions are cut out of their files and put back, and every other byte stays."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mlx_selfdebug
from mlx_selfdebug.errors import UsageError
from mlx_selfdebug.projects.source import SourceFile, functions_of, lines_of, read_source

PACKAGE = Path(mlx_selfdebug.__file__).parent


def source(text: str) -> SourceFile:
    return SourceFile("m.py", text, "utf-8")


def names(text: str) -> list[str]:
    return [function.name for function in functions_of(source(text))]


@pytest.mark.parametrize("path", sorted(PACKAGE.glob("projects/*.py")), ids=lambda path: path.name)
def test_every_function_of_this_package_is_put_back_as_it_was(path: Path) -> None:
    file = read_source(path.parent, path.name)
    assert all(function.spliced(function.program) == file.text for function in functions_of(file))


@given(
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.sampled_from(["    ", "\t", "  "]),
    st.lists(st.sampled_from(["x = 1  ", "# é", "y = 'a\\tb'", "pass", ""]), max_size=5),
    st.booleans(),
)
def test_a_changed_line_changes_that_line_alone(end: str, indent: str, others: list[str], ends_open: bool) -> None:
    body = [*others, "return 1"]
    lines = ["import os", "def f(a):", *(indent + line for line in body)]
    text = end.join(lines) + ("" if ends_open else end)
    (function,) = functions_of(source(text))
    changed = function.program.replace("return 1", "return 2")
    assert function.spliced(changed) == text.replace("return 1", "return 2")


def test_an_added_line_ends_as_the_others_do() -> None:
    (function,) = functions_of(source("def f(a):\r\n    return a\r\n"))
    assert function.spliced("def f(a):\n    a += 1\n    return a\n") == "def f(a):\r\n    a += 1\r\n    return a\r\n"


def test_a_file_that_ends_without_a_newline_still_does() -> None:
    (function,) = functions_of(source("def f(a):\n    return a"))
    assert function.spliced("def f(a):\n    a += 1\n    return a + 1\n") == "def f(a):\n    a += 1\n    return a + 1"


def test_methods_stand_under_the_headers_of_their_classes() -> None:
    text = "class A(Base, metaclass=M):\n    x = 1\n\n    class B:\n        @property\n        def f(self):\n            return 1\n"
    (function,) = functions_of(source(text))
    assert function.name == "A.B.f"
    assert function.program.startswith(
        "class A(Base, metaclass=M):\n    class B:\n        @property\n        def f(self):"
    )
    assert function.spliced(function.program.replace("1", "2")) == text.replace("return 1", "return 2")


def test_functions_in_branches_are_found_and_those_in_functions_belong_to_the_outer_one() -> None:
    text = "try:\n    def f():\n        def inner():\n            return 1\n        return inner\nexcept E:\n    async def g():\n        pass\n"
    assert names(text) == ["f", "g"]


def test_a_function_that_shares_its_line_is_left_out() -> None:
    assert names("x = 1; f = lambda: 2\ndef g(): return 1\n") == ["g"]


def test_a_file_that_does_not_parse_has_no_functions() -> None:
    assert names("def f(:\n") == []


@pytest.mark.parametrize(
    "program", ["def g(a):\n    return a\n", "def f(a:\n", "x = 1\n", "", "def f(a):\n    return a\nx = 1\n"]
)
def test_what_is_no_other_version_of_the_function_is_not_put_in(program: str) -> None:
    (function,) = functions_of(source("def f(a):\n    return a\n"))
    assert function.spliced(program) is None


def test_a_form_feed_ends_no_line() -> None:
    text = "x = 1\n\x0c\ndef f():\n    return '\x0b\u2028'\n"
    (function,) = functions_of(source(text))
    assert function.spliced(function.program) == text


@given(st.text(alphabet="ab\r\n\x0c\u2028", max_size=30))
def test_lines_joined_are_the_text(text: str) -> None:
    assert "".join(lines_of(text)) == text


@pytest.mark.parametrize(
    "data",
    [
        "# -*- coding: latin-1 -*-\ndef f():\n    return 'é'\n".encode("latin-1"),
        b"\xef\xbb\xbfdef f():\n    return 1\n",
        "def f():\n    return 'ü'\n".encode(),
    ],
    ids=["latin-1", "mark", "utf-8"],
)
def test_a_file_keeps_its_encoding(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "m.py").write_bytes(data)
    file = read_source(tmp_path, "m.py")
    assert file.encoded(file.text) == data
    assert [function.name for function in functions_of(file)] == ["f"]


def test_a_file_that_cannot_be_decoded_is_named(tmp_path: Path) -> None:
    (tmp_path / "m.py").write_bytes(b"x = '\xff'\n")
    with pytest.raises(UsageError, match=r"m\.py cannot be read as Python"):
        read_source(tmp_path, "m.py")


DOCUMENTED = 'def f(a):\r\n    """Say\r\n    it."""\r\n    # Now.\r\n    return a\r\n'


def test_a_docstring_is_no_part_of_the_program_and_stays_in_the_file() -> None:
    (function,) = functions_of(source(DOCUMENTED))
    assert function.program == "def f(a):\n    # Now.\n    return a\n"
    assert function.description == "Say\nit."
    assert function.spliced("def f(b):\n    # Now.\n    x = 1\n    return b\n") == DOCUMENTED.replace(
        "(a)", "(b)"
    ).replace("    return a", "    x = 1\r\n    return b")


def test_lines_of_the_file_are_found_in_the_program() -> None:
    (function,) = functions_of(
        source(
            "class A:\n    x = 1\n\n"
            + "".join(f"    {line}" for line in DOCUMENTED.replace("\r", "").splitlines(keepends=True))
        )
    )
    lines = function.program.split("\n")
    found = {n: function.line_in_program(n) for n in range(1, 10)}
    assert [n for n, place in found.items() if place is None] == [1, 2, 3, 5, 6, 9]
    assert lines[(found[8] or 0) - 1].strip() == "return a"


@pytest.mark.parametrize(
    "text",
    ['def f():\n    """Say it."""\n', 'def f(): "Say it."; return 1\n', 'def f():\n    "Say"; x = 1\n    return x\n'],
)
def test_a_docstring_that_shares_its_lines_or_stands_alone_is_a_part_of_the_program(text: str) -> None:
    (function,) = functions_of(source(text))
    assert function.program == text
    assert function.description in ("Say it.", "Say")
    assert function.spliced(text) == text


LONG = 'def f(\n    a,\n    b,\n):\n    """Say it."""\n    return """x\ny\nz\nw""" * a\n'


def test_a_docstring_stays_where_a_new_signature_has_other_lines() -> None:
    (function,) = functions_of(source(LONG))
    program = '\n\ndef f(a, b):\n    return """x\ny\nz\nw""" * b\n'
    spliced = 'def f(a, b):\n    """Say it."""\n    return """x\ny\nz\nw""" * b\n'
    assert function.spliced(program) == spliced
    swapped = function.swapped(program)
    assert swapped is not None
    assert '"""x\ny\nz\nw"""' in swapped


def test_a_docstring_above_an_empty_line_keeps_its_indentation() -> None:
    (function,) = functions_of(source('def f(a):\n    """Say it."""\n\n    return a\n'))
    assert function.spliced(function.program) == function.file.text


def test_imports_and_helpers_may_stand_beside_a_function_and_lines_are_told_in_the_code() -> None:
    (_, function) = functions_of(source("x = 1\n\n\ndef g():\n    return 1\n\n\n" + LONG))
    code = "import math\n\n\ndef f(a, b):\n    # Now.\n    return math.sqrt(a)\n"
    placed = function.placed(code)
    assert placed is not None
    lines = placed.text.split("\n")
    assert '    """Say it."""' in lines
    for number, line in enumerate(lines, 1):
        inside = placed.line_in_code(number)
        assert inside == 0 or code.split("\n")[inside - 1] == line
    assert {placed.line_in_code(number) for number in range(1, len(lines) + 1)} >= {1, 4, 5, 6}


def test_a_signature_has_headers_decorators_and_no_part_of_the_body() -> None:
    text = "class A:\n    @property\n    def f(\n        self,\n    ):\n        'Say it.'\n        return 1\n\n    def g(self): return 2\n"
    f, g = functions_of(source(text))
    assert f.signature == "class A:\n    @property\n    def f(\n        self,\n    ):"
    assert g.signature == "class A:\n    def g(self):"
