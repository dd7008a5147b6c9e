"""Tell prose from code in a model's answer.

``is_prose`` judges a single line, for text that does not parse as Python. Some prose does parse, such as the line ``Sure``, and
``without_prose_statements`` drops it from code.

>>> [is_prose(line) for line in ("Here is the code:", "This returns `x`.", "def f(:", "print(f(3)", "x = = 3")]
[True, True, False, False, False]
"""

from __future__ import annotations

import ast
import keyword
import re

from mlx_selfdebug.domains.python_source import same_scope
from mlx_selfdebug.parsing import parse

_BULLET = re.compile(r"(?:[-*+>\u2022]+|\d+[.)])[ \t]+")
"""Matches the mark of a list item or a quotation, or the number of an item."""
_OPENING_MARKS = re.compile(r"[*_`\"'(\u201c\u2018]+")
"""Matches what may stand right before the first word: emphasis, a quotation mark or a bracket."""
_WORD = re.compile(r"[^\W\d_][\w'\u2019-]*")
"""Matches the first word."""
_GOES_ON_AS_PROSE = re.compile(r"[*_`]*[,;:!?.]?[*_`]*(?:$|[ \t]+[*_`\"'(\u201c\u2018]*[\w$\\])")
"""Matches the rest of a line of prose, after its first word.

There may be emphasis and a punctuation mark. Then the line ends, or a blank and another word, a number or a formula follow. In
code, the first name is mostly followed by an operator, a bracket or a dot.
"""
_TARGET = r"(?:[a-z_][\w.\[\]]*|[A-Z][A-Z_\d]*)"
_TYPE = r"[\w.]+(?:\[[\w.,| \[\]]*\])?"
_ASSIGNMENT = re.compile(
    rf"\(?{_TARGET}(?:(?:, ?\*?{_TARGET})+,?\)?|: ?{_TYPE}(?: \| {_TYPE})*) ?=(?!=)",
)
"""Matches assignments that begin as prose could: to several targets, or to a name with a type.

No target is a capitalized word, so that ``Note: n = 3`` and ``So, n = 3`` stay prose.
"""
_OTHER_PROSE = re.compile(r"(?:-{3,}|\*{3,}|={3,}|_{3,}|>>>.*|\.\.\.|\\[\[\]()].*|\$.*|</?[A-Za-z]\w*>)$")
"""Matches lines that count as prose without being sentences.

These are a horizontal rule, a line of a Python session, an ellipsis, a formula and an HTML tag, in this order.
"""
_CODE_WORDS = {*(word for word in keyword.kwlist if word.islower()), "print", "match", "case", "type"}
"""Words that begin a line of code. After a bullet they begin prose."""


def is_prose(line: str) -> bool:
    """Return whether ``line`` reads as prose: a sentence, a heading, a list item, a rule, a formula or the like.

    Broken code and comments count as code.
    """
    text = line.strip()
    if not text:
        return False
    if _OTHER_PROSE.match(text):
        return True
    bullet = _BULLET.match(text)
    rest = text[bullet.end() if bullet else 0 :]
    marks = _OPENING_MARKS.match(rest)
    word = _WORD.match(rest, marks.end() if marks else 0)
    if word is None:
        return False
    if not word[0].isascii():
        # Names in code are nearly always ASCII, so a word in another script is prose.
        return True
    if not bullet and (word[0] in _CODE_WORDS or _ASSIGNMENT.match(text)):
        return False
    return _GOES_ON_AS_PROSE.match(rest, word.end()) is not None


def without_prose_statements(code: str) -> str:
    """Return ``code`` without prose at its beginning and end that Python parses as statements: ``Sure``, ``Note: this``.

    ``code`` is returned as it is if it does not parse, or if nothing else would be left.
    """
    tree = parse(code)
    if tree is None:
        return code
    body = list(tree.body)
    while body and _may_be_prose(body[0]):
        del body[0]
    while body and _may_be_prose(body[-1]):
        del body[-1]
    if not body or len(body) == len(tree.body):
        return code
    lines = code.split("\n")
    start = 0 if body[0] is tree.body[0] else _first_line(body[0]) - 1
    end = len(lines) if body[-1] is tree.body[-1] else (body[-1].end_lineno or len(lines))
    return "\n".join(lines[start:end]).rstrip("\n") + "\n"


def _first_line(node: ast.stmt) -> int:
    """Return the number of a statement's first line, from 1, decorators included."""
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    return min([node.lineno, *(decorator.lineno for decorator in decorators)])


def _may_be_prose(node: ast.stmt) -> bool:
    """Return whether a statement could be prose: an expression with names but without calls, or an annotation without a value.

    Such a statement has no effect, except that it may raise NameError.
    """
    if isinstance(node, ast.AnnAssign):
        return node.value is None
    if not isinstance(node, ast.Expr):
        return False
    parts = list(same_scope([node.value]))
    return any(isinstance(part, ast.Name) for part in parts) and not any(
        isinstance(part, ast.Call | ast.Await | ast.NamedExpr | ast.Yield | ast.YieldFrom) for part in parts
    )
