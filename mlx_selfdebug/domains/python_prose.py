"""Tell prose from code in an answer.

``is_prose`` judges a line of text that does not parse as Python. ``without_prose_statements`` takes prose out of text that does.

>>> [is_prose(line) for line in ("Here is the code:", "This returns `x`.", "def f(:", "print(f(3)", "x = = 3")]
[True, True, False, False, False]
"""

from __future__ import annotations

import ast
import keyword
import re

from mlx_selfdebug.domains.python_source import same_scope
from mlx_selfdebug.parsing import parse

_LEAD = re.compile(r"(?:[-*+>\u2022]+|\d+[.)])[ \t]+")
_MARKS = re.compile(r"[*_`\"'(\u201c\u2018]+")
_WORD = re.compile(r"[^\W\d_][\w'\u2019-]*")
_AFTER_WORD = re.compile(r"[*_`]*[,;:!?.]?[*_`]*(?:$|[ \t]+[*_`\"'(\u201c\u2018]*[\w$\\])")
_RULE = re.compile(r"(?:-{3,}|\*{3,}|={3,}|_{3,}|>>>.*|\.\.\.|\\[\[\]()].*|\$.*|</?[A-Za-z]\w*>)$")
_CODE_WORDS = {*(word for word in keyword.kwlist if word.islower()), "print", "match", "type"}


def is_prose(line: str) -> bool:
    """Return whether ``line`` reads as a sentence, a heading, a list item or a rule. Broken code and comments count as code."""
    text = line.strip()
    if not text or _RULE.match(text):
        return bool(text)
    lead = _LEAD.match(text)
    rest = text[lead.end() if lead else 0 :]
    marks = _MARKS.match(rest)
    word = _WORD.match(rest, marks.end() if marks else 0)
    if word is None:
        return False
    if not word[0].isascii():
        return True
    if word[0] in _CODE_WORDS and not lead:
        return False
    return _AFTER_WORD.match(rest, word.end()) is not None


def without_prose_statements(code: str) -> str:
    """Return ``code`` without the prose at its edges that Python parses as statements, such as ``Sure`` or ``Note: this``."""
    tree = parse(code)
    if tree is None:
        return code
    body = list(tree.body)
    while body and _says_nothing(body[0]):
        del body[0]
    while body and _says_nothing(body[-1]):
        del body[-1]
    if not body or len(body) == len(tree.body):
        return code
    lines = code.split("\n")
    first = 0 if body[0] is tree.body[0] else _first_line(body[0]) - 1
    last = len(lines) if body[-1] is tree.body[-1] else (body[-1].end_lineno or len(lines))
    return "\n".join(lines[first:last]).rstrip("\n") + "\n"


def _first_line(node: ast.stmt) -> int:
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    return min([node.lineno, *(decorator.lineno for decorator in decorators)])


def _says_nothing(node: ast.stmt) -> bool:
    """Return whether a statement is an expression of names that calls nothing, or an annotation without a value.

    Running such a statement has no effect except that it may raise NameError.
    """
    if isinstance(node, ast.AnnAssign):
        return node.value is None
    if not isinstance(node, ast.Expr):
        return False
    parts = list(same_scope([node.value]))
    return any(isinstance(part, ast.Name) for part in parts) and not any(
        isinstance(part, ast.Call | ast.Await | ast.NamedExpr | ast.Yield | ast.YieldFrom) for part in parts
    )
