"""Rewrite checks so that every ``assert`` of their source becomes a call of a recorder and keeps its meaning.

Each side of a comparison is evaluated once and in Python's order. A failed assert is recorded, and the checks go on.
``assert L op R`` becomes::

    try:
        recorder.enter(3)
        recorder.leave(recorder.left(L) op recorder.right(R))
    except BaseException as error:
        recorder.fail(error, lambda: R)

Some statements are treated differently:

- An assert whose failure the checks themselves would catch (in ``try`` with ``except Exception`` and the like) is left as it is and
  not counted. In any other ``try`` with handlers, an exception of the assert's own expression goes to the handlers.
- ``try: f(x); assert False`` with ``except ValueError`` is one check: that ``f(x)`` raises ValueError. So is a block
  ``with raises(ValueError)`` (pytest's, or ``self.assertRaises``).
- After a block ``with independent_test(name)`` the checks go on, whatever was raised in it.

The message of an assert is never evaluated.
"""

from __future__ import annotations

import ast
from collections.abc import Container, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from types import CodeType
from typing import Literal, TypeGuard

from mlx_selfdebug.sandbox.grading.objects import expects_objects
from mlx_selfdebug.sandbox.grading.taint import ARGUMENT, Taint
from mlx_selfdebug.sandbox.grading.text import cut

CHECK = "check"
RECORDER = "__selfdebug_recorder__"
_ERROR = "__selfdebug_error__"
_CATCH_ALL = {"Exception", "BaseException", "AssertionError"}
_OPERATORS: dict[type[ast.cmpop], str] = {
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Is: "is",
    ast.IsNot: "is not",
    ast.In: "in",
    ast.NotIn: "not in",
}
Form = Literal["compare", "approx", "truth", "predicate", "raises", "text", "output"]
_RAISES_FUNCTIONS = frozenset({"raises", "assertRaises", "assertRaisesRegex"})
_CLOSE_FUNCTIONS = frozenset({"isclose", "allclose", "almost_equal"})
_TEXT_FUNCTIONS: dict[str, Form] = {"shows": "text", "outputs_match": "output"}


@dataclass(frozen=True)
class Site:
    """One assert in the source of the checks."""

    line: int
    text: str
    form: Form
    """What kind of check the assert is. This decides how it becomes facts."""
    expected: str
    """What the text of the assert alone says about the expected value."""
    operator: str = ""
    """The comparison operator, if the form is ``compare``."""
    got_left: bool = True
    """Whether the candidate's value is on the left side of the comparison."""
    straight: bool = False
    """Whether the assert runs exactly once if ``check`` gets there: it stands in no loop, branch or inner function."""
    guarded: bool = False
    """Whether the checks may catch what the assert raises."""


@dataclass(frozen=True)
class Compiled:
    """Checks after rewriting."""

    code: CodeType
    sites: tuple[Site, ...]
    """The asserts of the checks. The recorder is called with an index into this tuple."""
    lines: tuple[str, ...]
    """The lines of the original source."""

    def remaining(self, line: int) -> int:
        """Return how many asserts of ``check`` after ``line`` would run exactly once: not in a loop, branch or inner function."""
        return sum(site.straight and site.line > line for site in self.sites)


def check_name(entry_point: str) -> str:
    """Return the name of the ``check`` function in the rewritten source.

    It is renamed if the entry point is called ``check`` as well.
    """
    return f"__selfdebug_{CHECK}__" if entry_point == CHECK else CHECK


def compile_checks(source: str, entry_point: str) -> Compiled:
    """Rewrite and compile the source of checks. Raises SyntaxError (or ValueError) on source that does not compile."""
    tree = ast.parse(source)
    taint = Taint(tree, entry_point)
    objects = expects_objects(tree, taint, entry_point)
    lines = _lines(source)
    rewriter = _Rewriter(lines, taint)
    rewritten = rewriter.visit(tree)
    if objects:
        rewritten.body.insert(_after_future(rewritten), ast.Expr(_call("expect_objects")))
    for node in rewritten.body:
        if isinstance(node, ast.FunctionDef) and node.name == CHECK:
            node.name = check_name(entry_point)
    ast.fix_missing_locations(rewritten)
    code = compile(rewritten, "<checks>", "exec", dont_inherit=True)
    return Compiled(code, tuple(rewriter.sites), lines)


def _lines(source: str) -> tuple[str, ...]:
    """Return the lines of the source as Python counts them, which differs from ``splitlines``."""
    return tuple(source.replace("\r\n", "\n").replace("\r", "\n").split("\n"))


@dataclass(frozen=True)
class _Place:
    """The position of the rewriter in the source."""

    function: str = ""
    """The dotted path of the functions and classes around the place: ".check" for the body of ``check``."""
    branches: int = 0
    guarded: bool = False
    """Whether the checks may catch an exception that is raised here."""
    caught: bool = False
    """Whether the checks would catch an assert that fails here."""


@dataclass
class _Rewriter(ast.NodeTransformer):
    """Rewrites the asserts of a tree and collects their sites."""

    lines: tuple[str, ...]
    taint: Taint
    sites: list[Site] = field(default_factory=list)
    place: _Place = field(default_factory=_Place)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return self._within(node, _Place(f"{self.place.function}.{node.name}"))

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return self._within(node, _Place(f"{self.place.function}.{node.name}"))

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        # The dot at the end keeps a class called check apart from the function, whose asserts alone count as straight.
        return self._within(node, _Place(f"{self.place.function}.{node.name}."))

    def visit_With(self, node: ast.With) -> ast.AST:
        outer = self.place
        caught = outer.caught or any(
            _is_call_of(item.context_expr, {"suppress", *_RAISES_FUNCTIONS}, 1) for item in node.items
        )
        visited = self._within(node, replace(outer, guarded=outer.guarded or caught, caught=caught))
        for item in node.items:
            call = item.context_expr
            if _is_call_of(call, _RAISES_FUNCTIONS, 1) and not outer.caught:
                item.context_expr = self._observed_raises(node, call)
            elif _is_call_of(call, {"independent_test"}, 1):
                item.context_expr = _call("independent_test", *call.args)
        return visited

    def _observed_raises(self, node: ast.With, call: ast.Call) -> ast.expr:
        text = cut(self._text(node.body[0]))
        site = Site(
            line=node.lineno,
            text=text,
            form="raises",
            expected=self._text(call.args[0]),
            straight=self._straight(),
            guarded=self.place.guarded,
        )
        observed = _call("raises", ast.Constant(self._add(site)), *call.args)
        observed.keywords = call.keywords
        return observed

    def visit_TryStar(self, node: ast.TryStar) -> ast.AST:
        return self._within(node, replace(self.place, branches=self.place.branches + 1, guarded=True, caught=True))

    def visit_For(self, node: ast.For) -> ast.AST:
        return self._branch(node)

    def visit_While(self, node: ast.While) -> ast.AST:
        return self._branch(node)

    def visit_If(self, node: ast.If) -> ast.AST:
        return self._branch(node)

    def visit_Match(self, node: ast.Match) -> ast.AST:
        return self._branch(node)

    def visit_Try(self, node: ast.Try) -> ast.AST:
        if _expects_exception(node):
            return self._raises(node)
        caught = self.place.caught or any(_catches_asserts(handler.type) for handler in node.handlers)
        guarded = self.place.guarded or bool(node.handlers)
        node.body = self._statements(node.body, replace(self.place, guarded=guarded, caught=caught))
        branch = replace(self.place, branches=self.place.branches + 1)
        for handler in node.handlers:
            handler.body = self._statements(handler.body, branch)
        node.orelse = self._statements(node.orelse, branch)
        node.finalbody = self._statements(node.finalbody, self.place)
        return node

    def visit_Assert(self, node: ast.Assert) -> ast.AST:
        if self.place.caught:
            return node
        site, observed, late_side = self._observe(node)
        index = self._add(site)
        body: list[ast.stmt] = [ast.Expr(_call("enter", ast.Constant(index))), ast.Expr(_call("leave", observed))]
        arguments: list[ast.expr] = [ast.Name(_ERROR, ast.Load())]
        if late_side is not None:
            arguments.append(ast.Lambda(ast.arguments([], [], None, [], [], None, []), late_side))
        handler = ast.ExceptHandler(
            ast.Name("BaseException", ast.Load()), _ERROR, [ast.Expr(_call("fail", *arguments))]
        )
        return ast.copy_location(ast.Try(body, [handler], [], []), node)

    def _observe(self, node: ast.Assert) -> tuple[Site, ast.expr, ast.expr | None]:
        """Return the site, the expression with calls that record its sides, and the expected side if it can be evaluated later.

        That side is evaluated after the candidate's side has raised, so that the facts can name the expected value.
        """
        test, text = node.test, self._text(node.test)
        site = Site(
            node.lineno, cut(f"assert {text}"), "predicate", text, straight=self._straight(), guarded=self.place.guarded
        )
        pair = _close_pair(test)
        if pair is not None:
            site = replace(site, form="approx", got_left=self._got_left(*pair))
            return site, _observed_pair(test, pair), self._late_side(pair[1], site.got_left)
        if _is_call_of(test, _TEXT_FUNCTIONS, 2):
            label = node.msg.value if isinstance(node.msg, ast.Constant) else site.text
            site = replace(site, form=_TEXT_FUNCTIONS[_name(test.func)], text=cut(str(label)))
            got, expected = test.args[:2]
            return site, _observed_pair(test, (got, expected)), self._late_side(expected, True)
        if isinstance(test, ast.Compare) and len(test.ops) == 1:
            return self._observe_comparison(test, site)
        negated = isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not)
        inner = test.operand if isinstance(test, ast.UnaryOp) and negated else test
        if not self.taint.is_result(inner):
            return site, test, None
        value = _value("left", inner)
        observed = ast.UnaryOp(ast.Not(), value) if negated else value
        return replace(site, form="truth", expected=str(not negated)), observed, None

    def _observe_comparison(self, test: ast.Compare, site: Site) -> tuple[Site, ast.expr, ast.expr | None]:
        right = test.comparators[0]
        got_left = self._got_left(test.left, right)
        observed = ast.Compare(_value("left", test.left), test.ops, [_value("right", right)])
        site = replace(site, form="compare", operator=_OPERATORS[type(test.ops[0])], got_left=got_left)
        return site, observed, self._late_side(right, got_left)

    def _raises(self, node: ast.Try) -> ast.AST:
        """Rewrite a ``try`` whose handlers are expected to run. It is one check, which passes when one of them is entered."""
        names = " or ".join(ast.unparse(handler.type) for handler in node.handlers if handler.type)
        source = self._text(node.body[0])
        site = Site(line=node.lineno, text=source, form="raises", expected=names, straight=self._straight())
        index = self._add(site)
        node.body = self._not_raised(index, node.body)
        node.orelse = self._not_raised(index, node.orelse)
        for handler in node.handlers:
            handler.body.insert(0, ast.Expr(_call("raised")))
        return self._within(node, replace(self.place, branches=self.place.branches + 1, guarded=True))

    def _not_raised(self, index: int, nodes: Sequence[ast.stmt]) -> list[ast.stmt]:
        """Return the statements with each ``assert False`` turned into a record that the expected exception was not raised."""
        call = ast.Expr(_call("not_raised", ast.Constant(index)))
        return [ast.copy_location(copy(call), node) if _is_false_assert(node) else node for node in nodes]

    def _statements(self, nodes: Sequence[ast.stmt], place: _Place) -> list[ast.stmt]:
        outer, self.place = self.place, place
        visited = [self.visit(node) for node in nodes]
        self.place = outer
        return visited

    def _within(self, node: ast.AST, place: _Place) -> ast.AST:
        outer, self.place = self.place, place
        self.generic_visit(node)
        self.place = outer
        return node

    def _branch(self, node: ast.AST) -> ast.AST:
        return self._within(node, replace(self.place, branches=self.place.branches + 1))

    def _straight(self) -> bool:
        return self.place.function == ".check" and not self.place.branches

    def _add(self, site: Site) -> int:
        self.sites.append(site)
        return len(self.sites) - 1

    def _text(self, node: ast.AST) -> str:
        """Return the text of a node: as it was written if it stands on one line, unparsed otherwise.

        ``ast.get_source_segment`` would read the whole source each time.
        """
        line = getattr(node, "lineno", 0)
        if not line or line != node.end_lineno:  # type: ignore[attr-defined]
            return cut(ast.unparse(node))
        text = self.lines[line - 1].encode()[node.col_offset : node.end_col_offset]  # type: ignore[attr-defined]
        return cut(text.decode())

    def _got_left(self, left: ast.expr, right: ast.expr) -> bool:
        return self.taint.of(left) >= self.taint.of(right)

    def _late_side(self, right: ast.expr, got_left: bool) -> ast.expr | None:
        """Return the expected side if it stands on the right and evaluating it later can do no harm, or None."""
        harmless = self.taint.of(right) <= ARGUMENT and not _has(
            right, ast.NamedExpr, ast.Await, ast.Yield, ast.YieldFrom
        )
        return right if got_left and harmless else None


def _expects_exception(node: ast.Try) -> bool:
    false = any(_is_false_assert(item) for item in [*node.body[1:], *node.orelse])
    return false and bool(node.handlers) and not any(_catches_asserts(handler.type) for handler in node.handlers)


def _is_false_assert(node: ast.stmt) -> bool:
    return isinstance(node, ast.Assert) and isinstance(node.test, ast.Constant) and not node.test.value


def _catches_asserts(kind: ast.expr | None) -> bool:
    if kind is None:
        return True
    kinds = kind.elts if isinstance(kind, ast.Tuple) else [kind]
    return any(not isinstance(item, ast.Name) or item.id in _CATCH_ALL for item in kinds)


def _close_pair(test: ast.expr) -> tuple[ast.expr, ast.expr] | None:
    """Return L and R of ``abs(L - R) < eps``, ``isclose(L, R, ...)`` and the like, or ``L == approx(R)``; None for other tests."""
    if (
        isinstance(test, ast.Call)
        and not test.args
        and _name(test.func) == "all"
        and isinstance(test.func, ast.Attribute)
    ):
        test = test.func.value
    if _is_call_of(test, _CLOSE_FUNCTIONS, 2):
        return test.args[0], test.args[1]
    if not isinstance(test, ast.Compare) or len(test.ops) != 1:
        return None
    operator, left, right = test.ops[0], test.left, test.comparators[0]
    if isinstance(operator, ast.Eq):
        return _approx_pair(left, right)
    return _difference(left) if isinstance(operator, ast.Lt | ast.LtE) else None


def _approx_pair(left: ast.expr, right: ast.expr) -> tuple[ast.expr, ast.expr] | None:
    if _is_call_of(right, {"approx"}, 1):
        return left, right.args[0]
    if _is_call_of(left, {"approx"}, 1):
        return left.args[0], right
    return None


def _difference(left: ast.expr) -> tuple[ast.expr, ast.expr] | None:
    inner = left.args[0] if _is_call_of(left, {"abs", "fabs"}, 1) else None
    return (inner.left, inner.right) if isinstance(inner, ast.BinOp) and isinstance(inner.op, ast.Sub) else None


def _is_call_of(node: ast.expr, names: Container[str], n_args: int) -> TypeGuard[ast.Call]:
    """Return whether a node calls a function of one of these names, with at least ``n_args`` arguments by position."""
    if not isinstance(node, ast.Call) or len(node.args) < n_args or any(isinstance(a, ast.Starred) for a in node.args):
        return False
    return _name(node.func) in names


def _name(function: ast.expr) -> str:
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def _after_future(tree: ast.Module) -> int:
    """Return the index at which the first statement may be inserted: ``from __future__`` imports must come before it."""
    are_future_imports = (isinstance(n, ast.ImportFrom) and n.module == "__future__" for n in tree.body)
    return max((position + 1 for position, is_future in enumerate(are_future_imports) if is_future), default=0)


def _observed_pair(test: ast.expr, pair: tuple[ast.expr, ast.expr]) -> ast.expr:
    """Return ``test`` with the two sides of ``pair``, which are nodes of it, recorded."""
    sides = {id(pair[0]): "left", id(pair[1]): "right"}

    class Observe(ast.NodeTransformer):
        def visit(self, node: ast.AST) -> ast.AST:
            side = sides.get(id(node))
            return _value(side, node) if side and isinstance(node, ast.expr) else self.generic_visit(node)

    observed = Observe().visit(test)
    assert isinstance(observed, ast.expr)
    return observed


def _call(method: str, *arguments: ast.expr) -> ast.Call:
    return ast.Call(ast.Attribute(ast.Name(RECORDER, ast.Load()), method, ast.Load()), list(arguments), [])


def _value(method: str, value: ast.expr) -> ast.Call:
    return ast.copy_location(_call(method, value), value)


def _has(node: ast.AST, *kinds: type[ast.AST]) -> bool:
    return any(isinstance(part, kinds) for part in ast.walk(node))
