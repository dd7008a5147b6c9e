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
# In prose, the first word is followed by the end of the line, or by a blank and then a word, a number or a formula. In code, the
# first name is mostly followed by an operator, a bracket or a dot.
_GOES_ON_AS_PROSE = re.compile(r"[*_`]*[,;:!?.]?[*_`]*(?:$|[ \t]+[*_`\"'(\u201c\u2018]*[\w$\\])")
_NOT_A_SENTENCE = re.compile(r"(?:-{3,}|\*{3,}|={3,}|_{3,}|>>>.*|\.\.\.|\\[\[\]()].*|\$.*|</?[A-Za-z]\w*>)$")
"""Matches lines that are neither sentences nor code: a rule, the line of a session, an ellipsis, a formula or a tag of HTML."""
_CODE_WORDS = {*(word for word in keyword.kwlist if word.islower()), "print", "match", "type"}
"""Words that begin a line of code. After a bullet they begin prose."""


def is_prose(line: str) -> bool:
    """Return whether ``line`` reads as prose: a sentence, a heading, a list item, a rule, a formula or the like.

    Broken code and comments count as code.
    """
    text = line.strip()
    if not text:
        return False
    if _NOT_A_SENTENCE.match(text):
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
    if word[0] in _CODE_WORDS and not bullet:
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
    while body and _has_no_effect(body[0]):
        del body[0]
    while body and _has_no_effect(body[-1]):
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


def _has_no_effect(node: ast.stmt) -> bool:
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
