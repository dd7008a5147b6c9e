"""Edits of Python expressions: changes of a program's text that undo common slips.

They are the inverses of the operators that put bugs into programs (``auditing/mutants.py``), and further changes that the failures
of small models turned out to need: another name in scope, a number from the task's text, only one side of an operator, a call added
or removed.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain

from mlx_selfdebug.repair.edits.edit import Edit
from mlx_selfdebug.repair.edits.hints import Hints
from mlx_selfdebug.repair.edits.python_source import Place, PythonSource, names_bound_in

ARITHMETIC: Mapping[type[ast.AST], str] = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.FloorDiv: "//", ast.Div: "/", ast.Mod: "%", ast.Pow: "**",
}  # fmt: skip
BITS: Mapping[type[ast.AST], str] = {
    ast.BitAnd: "&", ast.BitOr: "|", ast.BitXor: "^", ast.LShift: "<<", ast.RShift: ">>",
}  # fmt: skip
ORDER: Mapping[type[ast.AST], str] = {
    ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!=",
}  # fmt: skip
MEMBERSHIP: Mapping[type[ast.AST], str] = {ast.In: "in", ast.NotIn: "not in"}
IDENTITY: Mapping[type[ast.AST], str] = {ast.Is: "is", ast.IsNot: "is not"}

TWINS: Sequence[tuple[str, ...]] = (
    ("min", "max", "sum", "len"), ("any", "all"), ("sorted", "list", "set", "tuple"), ("int", "float", "str", "round", "abs"),
    ("lower", "upper", "swapcase", "title", "capitalize"), ("islower", "isupper"),
    ("isalpha", "isalnum", "isdigit", "isspace", "isnumeric"), ("strip", "lstrip", "rstrip"), ("startswith", "endswith"),
    ("find", "rfind", "index", "rindex"), ("floor", "ceil", "sqrt", "trunc"), ("append", "extend", "remove", "add"),
    ("keys", "values", "items"), ("split", "rsplit", "splitlines"), ("ord", "chr"), ("zip", "enumerate"), ("pop", "get"),
    ("union", "intersection", "difference", "symmetric_difference"), ("partition", "rpartition"), ("bin", "oct", "hex"),
)  # fmt: skip
"""Groups of functions of which one is easily mistaken for another."""
_TWINS_OF = {name: [other for other in group if other != name] for group in TWINS for name in group}

WRAPPERS = ("abs", "len", "sorted", "list", "set", "str", "int", "float", "sum", "max", "min", "tuple", "round")
"""Functions of one argument that a programmer may forget to call on a value."""
MAX_NAMES, MAX_NUMBERS, MAX_TEXTS = 8, 6, 6
"""How many other names, numbers and strings are tried in the place of one. Those of the program come before those of the task."""


class Expressions:
    """The edits of the expressions of one program."""

    def __init__(self, source: PythonSource, hints: Hints) -> None:
        self._source, self._hints = source, hints
        self._scopes = _Scopes(source.tree)
        self._numbers = _distinct(chain(_constants(source.tree, (int, float)), hints.numbers))
        self._texts = _distinct(chain(_constants(source.tree, (str,)), hints.texts))

    def edits(self) -> Iterator[Edit]:
        """Yield every edit, in the order of the source."""
        for place in self._source.places():
            for operator in _OPERATORS:
                yield from filter(None, operator(self, place))

    def _operator_swaps(self, place: Place) -> Iterator[Edit | None]:
        node = place.node
        if isinstance(node, ast.BinOp):
            for table in (ARITHMETIC, BITS):
                if old := table.get(type(node.op)):
                    for new in _others(table, old):
                        yield self._source.between(node.left, node.right, old, new, "arithmetic")
        elif isinstance(node, ast.AugAssign) and (old := ARITHMETIC.get(type(node.op))):
            for new in _others(ARITHMETIC, old):
                yield self._source.between(node.target, node.value, f"{old}=", f"{new}=", "arithmetic")
            yield self._source.between(node.target, node.value, f"{old}=", "=", "assignment")
        elif isinstance(node, ast.Assign) and len(node.targets) == 1 and not isinstance(node.targets[0], ast.Tuple):
            for new in ("+=", "-=", "*="):
                yield self._source.between(node.targets[0], node.value, "=", new, "assignment")

    def _comparisons(self, place: Place) -> Iterator[Edit | None]:
        node = place.node
        if not isinstance(node, ast.Compare):
            return
        operands = [node.left, *node.comparators]
        for operator, left, right in zip(node.ops, operands, operands[1:], strict=False):
            for table in (ORDER, MEMBERSHIP, IDENTITY):
                if old := table.get(type(operator)):
                    for new in _others(table, old):
                        yield self._source.between(left, right, old, new, "comparison")

    def _connectives(self, place: Place) -> Iterator[Edit | None]:
        """Yield the edits that swap ``and`` and ``or``, and those that drop one part of a condition."""
        node, source = place.node, self._source
        if not isinstance(node, ast.BoolOp):
            return
        old, new = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
        for left, right in zip(node.values, node.values[1:], strict=False):
            yield source.between(left, right, old, new, "boolean")
        for i, value in enumerate(node.values):
            other = node.values[i - 1] if i else node.values[1]
            start = source.span(other)[1] if i else source.span(value)[0]
            end = source.span(value)[1] if i else source.span(other)[0]
            yield Edit(start, end, "", "operand")

    def _operands(self, place: Place) -> Iterator[Edit]:
        """Yield the edits that keep only one side of an operator, and the edit that swaps its sides."""
        node, source = place.node, self._source
        sides = _sides(source, node) if isinstance(node, ast.BinOp) else None
        if sides:
            left, between, right = sides
            yield source.replaced(node, left, "operand")
            yield source.replaced(node, right, "operand")
            if not isinstance(node.op, ast.Mult | ast.BitAnd | ast.BitOr | ast.BitXor):  # type: ignore[attr-defined]
                yield source.replaced(node, f"{right}{between}{left}", "swap")

    def _signs(self, place: Place) -> Iterator[Edit]:
        node, source = place.node, self._source
        if isinstance(node, ast.UnaryOp):
            yield source.replaced(node, source.text(node.operand), "unary")
        elif _is_value(node) and place.field in ("value", "right", "slice", "args", "comparators", "left", "elt"):
            yield Edit(*(source.span(node)[0],) * 2, "-", "unary")
        if place.field in ("test", "ifs") and isinstance(node, ast.expr) and not isinstance(node, ast.UnaryOp):
            yield source.replaced(node, f"not ({source.text(node)})", "condition")
        returned = place.field == "value" and isinstance(place.parent, ast.Return)
        if (returned or place.field == "values") and isinstance(node, ast.expr) and not isinstance(node, ast.UnaryOp):
            yield source.replaced(node, f"not {source.text(node)}", "condition")

    def _constants(self, place: Place) -> Iterator[Edit]:
        node = place.node
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            inner = node.operand
            if isinstance(inner, ast.Constant) and type(inner.value) in (int, float):
                for text in self._other_constants(-inner.value):  # type: ignore[operator]
                    yield self._source.replaced(node, text, "constant")
        elif isinstance(node, ast.Constant):
            for text in self._other_constants(node.value):
                yield self._source.replaced(node, text, "constant")

    def _other_constants(self, value: object) -> Iterator[str]:
        if isinstance(value, bool):
            yield str(not value)
        elif isinstance(value, int | float):
            near = (value + 1, value - 1, 0, 1, 2, -1)
            for number in _distinct(chain(near, self._numbers[:MAX_NUMBERS])):
                if number != value:
                    yield repr(number)
        elif isinstance(value, str):
            for text in _distinct(chain(("", " ", value.swapcase(), value.strip()), self._texts[:MAX_TEXTS])):
                if text != value:
                    yield repr(text)
        elif value is None:
            yield from ("0", "[]", "''", "False", "True")

    def _bounds(self, place: Place) -> Iterator[Edit]:
        """Yield the edits that make a value one more or one less."""
        node, parent, source = place.node, place.parent, self._source
        if not isinstance(node, ast.expr) or isinstance(node, ast.Constant | ast.Slice | ast.Tuple | ast.Starred):
            return
        if not (_is_value(node) or isinstance(node, ast.BinOp)):
            return
        is_range = isinstance(parent, ast.Call) and isinstance(parent.func, ast.Name) and parent.func.id == "range"
        operator = "boundary"
        if not ((is_range and place.field == "args") or place.field in ("slice", "lower", "upper", "step")):
            operator = "plus one"
            if place.field not in ("comparators", "left", "right") and not isinstance(parent, ast.Return | ast.Assign):
                return
        end = source.span(node)[1]
        # Beside an operator that binds more tightly than + and -, the sum needs parentheses.
        if isinstance(parent, ast.BinOp) and not isinstance(parent.op, ast.Add | ast.Sub):
            yield from (source.replaced(node, f"({source.text(node)} {sign} 1)", operator) for sign in "+-")
        else:
            yield from (Edit(end, end, f" {sign} 1", operator) for sign in "+-")

    def _ranges(self, place: Place) -> Iterator[Edit]:
        """Yield the edits that change where a range starts, its step or its direction."""
        node, source = place.node, self._source
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "range"):
            return
        texts = [source.text(argument) for argument in node.args]
        if len(texts) == 1:
            yield source.replaced(node, f"range(1, {texts[0]})", "range")
            yield source.replaced(node, f"range(1, {texts[0]} + 1)", "range")
            yield source.replaced(node, f"range(2, {texts[0]})", "range")
            yield source.replaced(node, f"range({texts[0]} - 1, -1, -1)", "range")
            yield source.replaced(node, f"range(len({texts[0]}))", "range")
        elif len(texts) >= 2:
            yield source.replaced(node, f"range({texts[1]})", "range")
            yield source.replaced(node, f"range({texts[0]}, {texts[1]}, 2)", "range")

    def _slices(self, place: Place) -> Iterator[Edit]:
        node, source = place.node, self._source
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load):
            yield source.replaced(node, source.text(node.value), "slice")
        if not isinstance(node, ast.Slice):
            return
        parts = [source.text(part) if part else "" for part in (node.lower, node.upper, node.step)]
        for i in range(3):
            without = [*parts[:i], "", *parts[i + 1 :]]
            yield source.replaced(node, ":".join(without).removesuffix(":") or ":", "slice")
        if not parts[2]:
            yield source.replaced(node, f"{parts[0]}:{parts[1]}:-1", "slice")
            yield source.replaced(node, f"{parts[0]}:{parts[1]}:2", "slice")

    def _names(self, place: Place) -> Iterator[Edit]:
        """Yield the edits that put another name of the same scope in the place of a name."""
        node = place.node
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and place.field != "func":
            for name in self._scopes.others(node)[:MAX_NAMES]:
                yield self._source.replaced(node, name, "name")

    def _calls(self, place: Place) -> Iterator[Edit]:
        node, source = place.node, self._source
        if not isinstance(node, ast.Call):
            return
        func = node.func
        name = func.id if isinstance(func, ast.Name) else func.attr if isinstance(func, ast.Attribute) else ""
        for twin in _TWINS_OF.get(name, ()):
            end = source.span(func)[1]
            yield Edit(end - len(name), end, twin, "call")
        if isinstance(func, ast.Attribute) and not isinstance(place.parent, ast.Expr):
            yield source.replaced(node, source.text(func.value), "unwrap")
        if len(node.args) == 1 and not isinstance(place.parent, ast.Expr):
            yield source.replaced(node, source.text(node.args[0]), "unwrap")
        yield from self._arguments(node)

    def _arguments(self, node: ast.Call) -> Iterator[Edit]:
        source = self._source
        if len(node.args) >= 2:
            (start, middle), (again, end) = source.span(node.args[0]), source.span(node.args[1])
            first, second = source.code[start:middle], source.code[again:end]
            yield Edit(start, end, f"{second}{source.code[middle:again]}{first}", "swap")
            yield Edit(source.span(node.args[-2])[1], source.span(node.args[-1])[1], "", "argument")
        if node.keywords:
            before = [*node.args, *node.keywords[:-1]]
            start = source.span(before[-1])[1] if before else source.span(node.keywords[-1])[0]
            yield Edit(start, source.span(node.keywords[-1])[1], "", "argument")
        if isinstance(node.func, ast.Name) and node.func.id in ("sorted", "max", "min"):
            end = source.span(node)[1] - 1
            yield Edit(end, end, ", reverse=True" if node.func.id == "sorted" else ", default=0", "argument")

    def _wraps(self, place: Place) -> Iterator[Edit]:
        """Yield the edits that put a value into a call which may have been forgotten, or that reverse it."""
        node, parent = place.node, place.parent
        held = isinstance(parent, ast.Return | ast.Assign | ast.For | ast.Compare | ast.comprehension)
        if held and place.field in ("value", "iter", "left", "comparators") and _is_whole(node):
            text = self._source.text(node)
            for name in WRAPPERS:
                yield self._source.replaced(node, f"{name}({text})", "wrap")
            if _is_value(node):
                yield self._source.replaced(node, f"{text}[::-1]", "wrap")


def _sides(source: PythonSource, node: ast.BinOp) -> tuple[str, str, str] | None:
    """Return the text of both sides of an operator, with their parentheses, and what stands between them."""
    start, end = source.span(node)
    left_end, right_start = source.span(node.left)[1], source.span(node.right)[0]
    operator = {**ARITHMETIC, **BITS, ast.MatMult: "@"}[type(node.op)]
    at = source.code.find(operator, left_end, right_start)
    if at < 0:
        return None
    left, right = source.code[start:at].rstrip(), source.code[at + len(operator) : end].lstrip()
    return left, source.code[start + len(left) : end - len(right)], right


def _others(table: Mapping[type[ast.AST], str], old: str) -> Iterator[str]:
    return (text for text in table.values() if text != old)


def _is_value(node: ast.AST) -> bool:
    """Return whether something may be written directly after the node's text, or a sign directly before it."""
    return isinstance(node, ast.Name | ast.Call | ast.Attribute | ast.Subscript) and isinstance(
        getattr(node, "ctx", ast.Load()), ast.Load
    )


def _is_whole(node: ast.AST) -> bool:
    """Return whether the node is an expression other than a constant, a starred value, a tuple, a list or a dictionary."""
    return isinstance(node, ast.expr) and not isinstance(
        node, ast.Constant | ast.Starred | ast.Tuple | ast.List | ast.Dict
    )


def _constants(tree: ast.AST, kinds: tuple[type, ...]) -> Iterator[int | float | str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and type(node.value) in kinds:
            yield node.value  # type: ignore[misc]


def _distinct(values: Iterable[int | float | str]) -> list[int | float | str]:
    """Return each value once, in order. 1 and 1.0 count as two values."""
    return list({(type(value), value): value for value in values}.values())


class _Scopes:
    """The names that each function has: its parameters, and the names that are assigned in it."""

    def __init__(self, tree: ast.Module) -> None:
        self._of: dict[ast.AST, list[str]] = {}
        self._walk(tree, names_bound_in(tree))

    def others(self, name: ast.Name) -> list[str]:
        return [other for other in self._of.get(name, ()) if other != name.id]

    def _walk(self, node: ast.AST, names: list[str]) -> None:
        for child in ast.iter_child_nodes(node):
            inner = names
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                inner = names_bound_in(child, names if isinstance(child, ast.Lambda) else ())
            elif isinstance(child, ast.Name):
                self._of[child] = names
            self._walk(child, inner)


_OPERATORS: tuple[Callable[[Expressions, Place], Iterator[Edit | None]], ...] = (
    Expressions._operator_swaps,
    Expressions._comparisons,
    Expressions._connectives,
    Expressions._operands,
    Expressions._signs,
    Expressions._constants,
    Expressions._bounds,
    Expressions._ranges,
    Expressions._slices,
    Expressions._names,
    Expressions._calls,
    Expressions._wraps,
)
