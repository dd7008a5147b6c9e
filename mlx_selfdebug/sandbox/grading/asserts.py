"""Rewrite the source of checks so that a recorder sees each ``assert``, which keeps its meaning.

A failed assert is recorded, and the checks go on. Each side of a comparison is evaluated once, and in the same order as before.
``assert L op R`` becomes::

    try:
        recorder.enter(3)
        recorder.leave(recorder.left(L) op recorder.right(R))
    except BaseException as error:
        recorder.fail(error, lambda: R)

where 3 is the index of the assert. Some statements are treated differently:

- An assert whose failure the checks themselves would catch, in a ``try`` with ``except Exception`` for example, is left as it is
  and not counted. In any other ``try`` with handlers, an exception that the expression of the assert raises goes to the handlers.
- ``try: f(x); assert False`` with ``except ValueError`` is one check, which passes if ``f(x)`` raises ValueError. So is a block
  ``with raises(ValueError)``, be it that of pytest or ``self.assertRaises``.
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
"""The function in the source of the checks that is called with the candidate."""
RECORDER = "__selfdebug_recorder__"
"""The name under which the rewritten checks find the recorder."""
_ERROR = "__selfdebug_error__"
_ASSERTION_CATCHERS = {"Exception", "BaseException", "AssertionError"}
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
"""What an assert checks.

``compare``: two sides with an operator. ``approx``: that two numbers are close. ``truth``: that a result of the candidate is
true, or false after ``not``. ``raises``: that an exception is raised. ``text``: what an interactive session shows, as in a
doctest. ``output``: what a program prints. ``predicate``: anything else.
"""
_RAISES_FUNCTIONS = frozenset({"raises", "assertRaises", "assertRaisesRegex"})
_CLOSE_FUNCTIONS = frozenset({"isclose", "allclose", "almost_equal"})
_TEXT_FUNCTIONS: dict[str, Form] = {"shows": "text", "outputs_match": "output"}


@dataclass(frozen=True)
class Site:
    """One assert in the source of the checks."""

    line: int
    """The number of its line, from 1."""
    text: str
    """The text of the assert, as a failure shows it."""
    form: Form
    expected: str
    """What the source says about the expected value. It is shown where the value itself is not known."""
    operator: str = ""
    """The comparison operator, if the form is ``compare``."""
    got_left: bool = True
    """Whether the candidate's value is on the left side of the comparison."""
    runs_once: bool = False
    """Whether the assert runs exactly once if ``check`` reaches it, since it stands in no loop, branch or inner function."""
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
        """Return the number of asserts after ``line`` that would have run exactly once."""
        return sum(site.runs_once and site.line > line for site in self.sites)


def check_name(entry_point: str) -> str:
    """Return the name of the function ``check`` in the rewritten source.

    It is renamed if the entry point is called ``check`` as well.
    """
    return f"__selfdebug_{CHECK}__" if entry_point == CHECK else CHECK


def compile_checks(source: str, entry_point: str) -> Compiled:
    """Rewrite and compile the source of checks. Raises SyntaxError or ValueError if it does not compile."""
    tree = ast.parse(source)
    taint = Taint(tree, entry_point)
    uses_objects = expects_objects(tree, taint, entry_point)
    lines = _lines(source)
    rewriter = _Rewriter(lines, taint)
    rewritten = rewriter.visit(tree)
    if uses_objects:
        rewritten.body.insert(_after_future(rewritten), ast.Expr(_call("expect_objects")))
    for node in rewritten.body:
        if isinstance(node, ast.FunctionDef) and node.name == CHECK:
            node.name = check_name(entry_point)
    ast.fix_missing_locations(rewritten)
    code = compile(rewritten, "<checks>", "exec", dont_inherit=True)
    return Compiled(code, tuple(rewriter.sites), lines)


def _lines(source: str) -> tuple[str, ...]:
    """Return the lines of the source as Python counts them. ``splitlines`` would also split at form feeds and the like."""
    return tuple(source.replace("\r\n", "\n").replace("\r", "\n").split("\n"))


@dataclass(frozen=True)
class _Place:
    """Where the rewriter is in the source, and what is true of an assert there."""

    function: str = ""
    """The names of the functions and classes around the place, outermost first and each after a dot: ".check" in ``check``."""
    branches: int = 0
    """The number of loops and branches around the place, within the innermost function."""
    guarded: bool = False
    """Whether the checks may catch an exception that is raised here."""
    caught: bool = False
    """Whether the checks would catch an assert that fails here."""


@dataclass(frozen=True)
class _Observed:
    """An assert whose sides are recorded."""

    site: Site
    expression: ast.expr
    """The expression of the assert, with calls of the recorder around its sides."""
    late_side: ast.expr | None = None
    """The expected side, if it can be evaluated after the candidate's side has raised, so that the facts can name its value."""


@dataclass
class _Rewriter(ast.NodeTransformer):
    """A transformer that rewrites the asserts of a tree and collects their sites."""

    lines: tuple[str, ...]
    taint: Taint
    sites: list[Site] = field(default_factory=list)
    place: _Place = field(default_factory=_Place)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return self._visit_inside(node, _Place(f"{self.place.function}.{node.name}"))

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return self._visit_inside(node, _Place(f"{self.place.function}.{node.name}"))

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        # The dot at the end tells a class called check from the function, in which alone asserts count as running once.
        return self._visit_inside(node, _Place(f"{self.place.function}.{node.name}."))

    def visit_With(self, node: ast.With) -> ast.AST:
        outer = self.place
        caught = outer.caught or any(
            _is_call_of(item.context_expr, {"suppress", *_RAISES_FUNCTIONS}, 1) for item in node.items
        )
        visited = self._visit_inside(node, replace(outer, guarded=outer.guarded or caught, caught=caught))
        for item in node.items:
            call = item.context_expr
            if _is_call_of(call, _RAISES_FUNCTIONS, 1) and not outer.caught:
                item.context_expr = self._observed_raises_call(node, call)
            elif _is_call_of(call, {"independent_test"}, 1):
                item.context_expr = _call("independent_test", *call.args)
        return visited

    def _observed_raises_call(self, node: ast.With, call: ast.Call) -> ast.expr:
        """Return the call of the recorder that takes the place of ``raises(...)`` in a ``with`` statement."""
        site = Site(
            line=node.lineno,
            text=cut(self._text(node.body[0])),
            form="raises",
            expected=self._text(call.args[0]),
            runs_once=self._runs_once(),
            guarded=self.place.guarded,
        )
        observed = _call("raises", ast.Constant(self._add(site)), *call.args)
        observed.keywords = call.keywords
        return observed

    def visit_TryStar(self, node: ast.TryStar) -> ast.AST:
        # The handlers of ``except*`` are not examined: they are taken to catch everything.
        return self._visit_inside(
            node, replace(self.place, branches=self.place.branches + 1, guarded=True, caught=True)
        )

    def visit_For(self, node: ast.For) -> ast.AST:
        return self._visit_branch(node)

    def visit_While(self, node: ast.While) -> ast.AST:
        return self._visit_branch(node)

    def visit_If(self, node: ast.If) -> ast.AST:
        return self._visit_branch(node)

    def visit_Match(self, node: ast.Match) -> ast.AST:
        return self._visit_branch(node)

    def visit_Try(self, node: ast.Try) -> ast.AST:
        if _expects_exception(node):
            return self._visit_expecting_try(node)
        caught = self.place.caught or any(_catches_asserts(handler.type) for handler in node.handlers)
        guarded = self.place.guarded or bool(node.handlers)
        node.body = self._visit_statements(node.body, replace(self.place, guarded=guarded, caught=caught))
        branch = replace(self.place, branches=self.place.branches + 1)
        for handler in node.handlers:
            handler.body = self._visit_statements(handler.body, branch)
        node.orelse = self._visit_statements(node.orelse, branch)
        node.finalbody = self._visit_statements(node.finalbody, self.place)
        return node

    def _visit_expecting_try(self, node: ast.Try) -> ast.AST:
        """Rewrite a ``try`` whose handlers are expected to run. It is one check, which passes when one of them is entered."""
        site = Site(
            line=node.lineno,
            text=self._text(node.body[0]),
            form="raises",
            expected=" or ".join(ast.unparse(handler.type) for handler in node.handlers if handler.type),
            runs_once=self._runs_once(),
        )
        index = self._add(site)
        node.body = _with_not_raised(index, node.body)
        node.orelse = _with_not_raised(index, node.orelse)
        for handler in node.handlers:
            handler.body.insert(0, ast.Expr(_call("raised")))
        return self._visit_inside(node, replace(self.place, branches=self.place.branches + 1, guarded=True))

    def visit_Assert(self, node: ast.Assert) -> ast.AST:
        if self.place.caught:
            return node
        observed = self._observe(node)
        index = self._add(observed.site)
        body: list[ast.stmt] = [
            ast.Expr(_call("enter", ast.Constant(index))),
            ast.Expr(_call("leave", observed.expression)),
        ]
        arguments: list[ast.expr] = [ast.Name(_ERROR, ast.Load())]
        if observed.late_side is not None:
            arguments.append(ast.Lambda(ast.arguments([], [], None, [], [], None, []), observed.late_side))
        handler = ast.ExceptHandler(
            ast.Name("BaseException", ast.Load()), _ERROR, [ast.Expr(_call("fail", *arguments))]
        )
        return ast.copy_location(ast.Try(body, [handler], [], []), node)

    def _observe(self, node: ast.Assert) -> _Observed:
        """Return the assert with its sides recorded, in the form that its expression has."""
        test, text = node.test, self._text(node.test)
        site = Site(
            line=node.lineno,
            text=cut(f"assert {text}"),
            form="predicate",
            expected=text,
            runs_once=self._runs_once(),
            guarded=self.place.guarded,
        )
        pair = _close_pair(test)
        if pair is not None:  # abs(L - R) < eps, and the like
            site = replace(site, form="approx", got_left=self._got_left(*pair))
            return _Observed(site, _observed_pair(test, pair), self._late_side(pair[1], site.got_left))
        if _is_call_of(test, _TEXT_FUNCTIONS, 2):  # outputs_match(L, R), 'case 1'
            # A failure shows the message, here "case 1", in place of the source of the assert.
            label = node.msg.value if isinstance(node.msg, ast.Constant) else site.text
            site = replace(site, form=_TEXT_FUNCTIONS[_name(test.func)], text=cut(str(label)))
            got, expected = test.args[:2]
            return _Observed(site, _observed_pair(test, (got, expected)), self._late_side(expected, True))
        if isinstance(test, ast.Compare) and len(test.ops) == 1:
            return self._observe_comparison(test, site)
        return self._observe_truth(test, site)

    def _observe_comparison(self, test: ast.Compare, site: Site) -> _Observed:
        """Return the assert of ``L op R`` with its two sides recorded."""
        right = test.comparators[0]
        got_left = self._got_left(test.left, right)
        expression = ast.Compare(_recorded("left", test.left), test.ops, [_recorded("right", right)])
        site = replace(site, form="compare", operator=_OPERATORS[type(test.ops[0])], got_left=got_left)
        return _Observed(site, expression, self._late_side(right, got_left))

    def _observe_truth(self, test: ast.expr, site: Site) -> _Observed:
        """Return the assert of ``f(x)`` or ``not f(x)`` with the result of the candidate recorded.

        If the expression has neither form, nothing in it is recorded.
        """
        negated = isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not)
        result = test.operand if isinstance(test, ast.UnaryOp) and negated else test
        if not self.taint.is_result(result):
            return _Observed(site, test)
        value = _recorded("left", result)
        expression = ast.UnaryOp(ast.Not(), value) if negated else value
        return _Observed(replace(site, form="truth", expected=str(not negated)), expression)

    def _visit_statements(self, nodes: Sequence[ast.stmt], place: _Place) -> list[ast.stmt]:
        outer, self.place = self.place, place
        visited = [self.visit(node) for node in nodes]
        self.place = outer
        return visited

    def _visit_inside(self, node: ast.AST, place: _Place) -> ast.AST:
        outer, self.place = self.place, place
        self.generic_visit(node)
        self.place = outer
        return node

    def _visit_branch(self, node: ast.AST) -> ast.AST:
        return self._visit_inside(node, replace(self.place, branches=self.place.branches + 1))

    def _runs_once(self) -> bool:
        return self.place.function == ".check" and not self.place.branches

    def _add(self, site: Site) -> int:
        self.sites.append(site)
        return len(self.sites) - 1

    def _text(self, node: ast.AST) -> str:
        """Return the source text of a node that stands on one line, or the unparsed text of any other node, cut.

        ``ast.get_source_segment`` is not used, since it goes through the whole source each time.
        """
        line = getattr(node, "lineno", 0)
        if not line or line != node.end_lineno:  # type: ignore[attr-defined]
            return cut(ast.unparse(node))
        # ``col_offset`` counts bytes of UTF-8.
        text = self.lines[line - 1].encode()[node.col_offset : node.end_col_offset]  # type: ignore[attr-defined]
        return cut(text.decode())

    def _got_left(self, left: ast.expr, right: ast.expr) -> bool:
        return self.taint.level_of(left) >= self.taint.level_of(right)

    def _late_side(self, right: ast.expr, got_left: bool) -> ast.expr | None:
        """Return the right side if it is the expected one and can be evaluated after the left side has raised, or None."""
        harmless = self.taint.level_of(right) <= ARGUMENT and not _has(
            right, ast.NamedExpr, ast.Await, ast.Yield, ast.YieldFrom
        )
        return right if got_left and harmless else None


def _expects_exception(node: ast.Try) -> bool:
    """Return whether a ``try`` fails if no exception is raised in it.

    It then holds an ``assert False``, which its handlers do not catch.
    """
    has_false_assert = any(_is_false_assert(statement) for statement in [*node.body[1:], *node.orelse])
    if not has_false_assert or not node.handlers:
        return False
    return not any(_catches_asserts(handler.type) for handler in node.handlers)


def _with_not_raised(index: int, nodes: Sequence[ast.stmt]) -> list[ast.stmt]:
    """Return the statements with each ``assert False`` turned into a record that the expected exception was not raised."""
    call = ast.Expr(_call("not_raised", ast.Constant(index)))
    return [ast.copy_location(copy(call), node) if _is_false_assert(node) else node for node in nodes]


def _is_false_assert(node: ast.stmt) -> bool:
    return isinstance(node, ast.Assert) and isinstance(node.test, ast.Constant) and not node.test.value


def _catches_asserts(handled: ast.expr | None) -> bool:
    """Return whether a handler of these exceptions may catch a failed assert. An expression other than a name may mean any type."""
    if handled is None:
        return True
    kinds = handled.elts if isinstance(handled, ast.Tuple) else [handled]
    return any(not isinstance(kind, ast.Name) or kind.id in _ASSERTION_CATCHERS for kind in kinds)


def _close_pair(test: ast.expr) -> tuple[ast.expr, ast.expr] | None:
    """Return L and R of ``abs(L - R) < eps``, ``isclose(L, R, ...)``, ``L == approx(R)`` and the like, or None for other tests."""
    # isclose(L, R).all(), as NumPy allows it
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
    return _difference_pair(left) if isinstance(operator, ast.Lt | ast.LtE) else None


def _approx_pair(left: ast.expr, right: ast.expr) -> tuple[ast.expr, ast.expr] | None:
    if _is_call_of(right, {"approx"}, 1):
        return left, right.args[0]
    if _is_call_of(left, {"approx"}, 1):
        return left.args[0], right
    return None


def _difference_pair(left: ast.expr) -> tuple[ast.expr, ast.expr] | None:
    inner = left.args[0] if _is_call_of(left, {"abs", "fabs"}, 1) else None
    return (inner.left, inner.right) if isinstance(inner, ast.BinOp) and isinstance(inner.op, ast.Sub) else None


def _is_call_of(node: ast.expr, names: Container[str], n_args: int) -> TypeGuard[ast.Call]:
    """Return whether a node calls a function or method of one of these names with at least ``n_args`` positional arguments."""
    if not isinstance(node, ast.Call) or len(node.args) < n_args or any(isinstance(a, ast.Starred) for a in node.args):
        return False
    return _name(node.func) in names


def _name(function: ast.expr) -> str:
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def _after_future(tree: ast.Module) -> int:
    """Return the index at which a statement can be inserted: after the last ``from __future__`` import, or 0 if there is none."""
    are_future_imports = (isinstance(n, ast.ImportFrom) and n.module == "__future__" for n in tree.body)
    return max((position + 1 for position, is_future in enumerate(are_future_imports) if is_future), default=0)


def _observed_pair(test: ast.expr, pair: tuple[ast.expr, ast.expr]) -> ast.expr:
    """Return ``test`` with calls of the recorder around its two nodes in ``pair``."""
    sides = {id(pair[0]): "left", id(pair[1]): "right"}

    class Observe(ast.NodeTransformer):
        def visit(self, node: ast.AST) -> ast.AST:
            side = sides.get(id(node))
            return _recorded(side, node) if side and isinstance(node, ast.expr) else self.generic_visit(node)

    observed = Observe().visit(test)
    assert isinstance(observed, ast.expr)
    return observed


def _call(method: str, *arguments: ast.expr) -> ast.Call:
    """Return a call of a method of the recorder."""
    return ast.Call(ast.Attribute(ast.Name(RECORDER, ast.Load()), method, ast.Load()), list(arguments), [])


def _recorded(method: str, value: ast.expr) -> ast.Call:
    """Return a call of the recorder that notes the value of an expression and returns it."""
    return ast.copy_location(_call(method, value), value)


def _has(node: ast.AST, *kinds: type[ast.AST]) -> bool:
    return any(isinstance(part, kinds) for part in ast.walk(node))
