"""Make edits of Python expressions: changes of a program's text that undo common slips.

    Expressions(PythonSource.parsed("return a < b"), Hints()).edits()  # return a <= b, return a > b, return not a < b, ...

They are the inverses of the operators that put bugs into programs (``auditing/mutants.py``), and further changes that the failures
of small models turned out to need: another name in scope, a number from the task's text, only one side of an operator, a call added
or removed. Each edit carries the name of its kind, such as "comparison", for which ``weights.py`` has a weight.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import TypeGuard

from mlx_selfdebug.repair.edits.edit import Edit
from mlx_selfdebug.repair.edits.hints import Hints
from mlx_selfdebug.repair.edits.python_source import Place, PythonSource, names_bound_in

# Within each of these tables, any operator may be mistaken for any other.
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
"""Groups of functions that are easily mistaken for each other."""
_TWINS_OF = {name: [other for other in group if other != name] for group in TWINS for name in group}
"""The other functions of a function's group, by its name."""

WRAPPERS = ("abs", "len", "sorted", "list", "set", "str", "int", "float", "sum", "max", "min", "tuple", "round")
"""Functions of one argument that a programmer may forget to call on a value."""
MAX_NAMES = 8
"""The largest number of other names that are tried in the place of a name."""
MAX_NUMBER_BITS = 1024
"""Whole numbers of more bits are not tried. Python refuses to write a number of more than 4,300 digits."""
MAX_NUMBERS, MAX_TEXTS = 6, 6
"""The largest number of numbers, or strings, of the program and the task that are tried in the place of a number or string."""


class Expressions:
    """The edits of the expressions of one program."""

    def __init__(self, source: PythonSource, hints: Hints) -> None:
        self._source, self._hints = source, hints
        self._scopes = _Scopes(source.tree)
        # The program's own constants come before those of the task.
        self._numbers = _distinct(chain(_constants_in(source.tree, (int, float)), hints.numbers))
        self._texts = _distinct(chain(_constants_in(source.tree, (str,)), hints.texts))

    def edits(self) -> Iterator[Edit]:
        """Yield every edit, place by place in the order of the tree."""
        for place in self._source.places():
            for edits_at in _FAMILIES:
                # ``PythonSource.between`` returns None for an operator that is written in another way, such as ``not  in`` with two
                # spaces. Some families pass this on.
                yield from filter(None, edits_at(self, place))

    def _operator_swaps(self, place: Place) -> Iterator[Edit | None]:
        """Yield the edits that put another operator in the place of an arithmetic, bitwise or assignment operator."""
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
        """Yield the edits that put another operator in the place of a comparison operator."""
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
        # The first part is dropped together with the connective after it, every other part with the one before it.
        yield Edit(source.span(node.values[0])[0], source.span(node.values[1])[0], "", "operand")
        for before, value in zip(node.values, node.values[1:], strict=False):
            yield Edit(source.span(before)[1], source.span(value)[1], "", "operand")

    def _operands(self, place: Place) -> Iterator[Edit]:
        """Yield the edits that keep only one side of an operator, and the edit that swaps its sides."""
        node, source = place.node, self._source
        sides = _sides(source, node) if isinstance(node, ast.BinOp) else None
        if not isinstance(node, ast.BinOp) or sides is None:
            return
        left, between, right = sides
        yield source.replaced(node, left, "operand")
        yield source.replaced(node, right, "operand")
        # Swapping the sides of these operators changes nothing. Swapping those of ``+`` does, for strings and lists.
        if not isinstance(node.op, ast.Mult | ast.BitAnd | ast.BitOr | ast.BitXor):
            yield source.replaced(node, f"{right}{between}{left}", "swap")

    def _signs(self, place: Place) -> Iterator[Edit]:
        """Yield the edits that drop a sign or a ``not``, and those that put ``-`` or ``not`` before an expression."""
        node, source = place.node, self._source
        if isinstance(node, ast.UnaryOp):
            yield source.replaced(node, source.text(node.operand), "unary")
            return
        if _is_value(node) and place.field in ("value", "right", "slice", "args", "comparators", "left", "elt"):
            start = source.span(node)[0]
            yield Edit(start, start, "-", "unary")
        if not isinstance(node, ast.expr):
            return
        is_returned = place.field == "value" and isinstance(place.parent, ast.Return)
        if place.field in ("test", "ifs"):
            yield source.replaced(node, f"not ({source.text(node)})", "condition")
        elif is_returned or place.field == "values":  # the parts of ``and`` and ``or``, and the values of a dictionary
            yield source.replaced(node, f"not {source.text(node)}", "condition")

    def _constants(self, place: Place) -> Iterator[Edit]:
        """Yield the edits that put another constant in the place of a constant, which may be a number with a minus sign."""
        node = place.node
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Constant):
            value = node.operand.value
            if isinstance(value, int | float) and not isinstance(value, bool):
                for text in self._other_constants(-value):
                    yield self._source.replaced(node, text, "constant")
        elif isinstance(node, ast.Constant):
            for text in self._other_constants(node.value):
                yield self._source.replaced(node, text, "constant")

    def _other_constants(self, value: object) -> Iterator[str]:
        """Yield the source text of constants that may have been meant instead of ``value``, the nearest first."""
        if isinstance(value, bool):
            yield str(not value)
        elif isinstance(value, int | float):
            near = (value + 1, value - 1, 0, 1, 2, -1)
            for number in _distinct(chain(near, self._numbers[:MAX_NUMBERS])):
                is_huge = isinstance(number, int) and number.bit_length() > MAX_NUMBER_BITS
                if number != value and not is_huge:
                    yield repr(number)
        elif isinstance(value, str):
            for text in _distinct(chain(("", " ", value.swapcase(), value.strip()), self._texts[:MAX_TEXTS])):
                if text != value:
                    yield repr(text)
        elif value is None:
            yield from ("0", "[]", "''", "False", "True")

    def _bounds(self, place: Place) -> Iterator[Edit]:
        """Yield the edits that make a value one more or one less.

        The kind of such an edit is "boundary" in a range, an index or a slice. It is "plus one" beside an operator, in a ``return``
        or in an assignment.
        """
        node, parent, source = place.node, place.parent, self._source
        if not (_is_value(node) or isinstance(node, ast.BinOp)):
            return
        in_range = _is_call_of_range(parent) and place.field == "args"
        if in_range or place.field in ("slice", "lower", "upper", "step"):
            operator = "boundary"
        elif place.field in ("comparators", "left", "right") or isinstance(parent, ast.Return | ast.Assign):
            operator = "plus one"
        else:
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
        if not _is_call_of_range(node):
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
        """Yield the edits that drop a subscript or one part of a slice, and those that give a slice a step of -1 or 2."""
        node, source = place.node, self._source
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load):
            yield source.replaced(node, source.text(node.value), "slice")
        if not isinstance(node, ast.Slice):
            return
        lower, upper, step = (source.text(part) if part else "" for part in (node.lower, node.upper, node.step))
        for parts in (("", upper, step), (lower, "", step), (lower, upper, "")):
            # Without a step, the second colon is dropped as well: "a:b" instead of "a:b:".
            yield source.replaced(node, ":".join(parts).removesuffix(":") or ":", "slice")
        if not step:
            yield source.replaced(node, f"{lower}:{upper}:-1", "slice")
            yield source.replaced(node, f"{lower}:{upper}:2", "slice")

    def _names(self, place: Place) -> Iterator[Edit]:
        """Yield the edits that put another name of the same scope in the place of a name."""
        node = place.node
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and place.field != "func":
            for name in self._scopes.others(node)[:MAX_NAMES]:
                yield self._source.replaced(node, name, "name")

    def _calls(self, place: Place) -> Iterator[Edit]:
        """Yield the edits that call a twin of a function instead, that drop a call, or that change its arguments."""
        node, source = place.node, self._source
        if not isinstance(node, ast.Call):
            return
        function = node.func
        name = ""
        if isinstance(function, ast.Name):
            name = function.id
        elif isinstance(function, ast.Attribute):
            name = function.attr
        for twin in _TWINS_OF.get(name, ()):
            end = source.span(function)[1]
            yield Edit(end - len(name), end, twin, "call")
        # A call that is a statement has an effect, and would have none once it is dropped.
        if not isinstance(place.parent, ast.Expr):
            if isinstance(function, ast.Attribute):
                yield source.replaced(node, source.text(function.value), "unwrap")
            if len(node.args) == 1:
                yield source.replaced(node, source.text(node.args[0]), "unwrap")
        yield from self._arguments(node)

    def _arguments(self, call: ast.Call) -> Iterator[Edit]:
        """Yield the edits that swap the first two arguments, drop the last one, or add one that is often forgotten."""
        source = self._source
        if len(call.args) >= 2:
            (first_start, first_end), (second_start, second_end) = map(source.span, call.args[:2])
            first, second = source.code[first_start:first_end], source.code[second_start:second_end]
            between = source.code[first_end:second_start]
            yield Edit(first_start, second_end, f"{second}{between}{first}", "swap")
            yield Edit(source.span(call.args[-2])[1], source.span(call.args[-1])[1], "", "argument")
        if call.keywords:
            before = [*call.args, *call.keywords[:-1]]
            start = source.span(before[-1])[1] if before else source.span(call.keywords[-1])[0]
            yield Edit(start, source.span(call.keywords[-1])[1], "", "argument")
        if isinstance(call.func, ast.Name) and call.func.id in ("sorted", "max", "min"):
            closing_parenthesis = source.span(call)[1] - 1
            argument = ", reverse=True" if call.func.id == "sorted" else ", default=0"
            yield Edit(closing_parenthesis, closing_parenthesis, argument, "argument")

    def _wraps(self, place: Place) -> Iterator[Edit]:
        """Yield the edits that put a value into a call which may have been forgotten, or that reverse it."""
        node, parent = place.node, place.parent
        may_be_wrapped = isinstance(parent, ast.Return | ast.Assign | ast.For | ast.Compare | ast.comprehension)
        if may_be_wrapped and place.field in ("value", "iter", "left", "comparators") and _is_whole(node):
            text = self._source.text(node)
            for name in WRAPPERS:
                yield self._source.replaced(node, f"{name}({text})", "wrap")
            if _is_value(node):
                yield self._source.replaced(node, f"{text}[::-1]", "wrap")


_FAMILIES: tuple[Callable[[Expressions, Place], Iterator[Edit | None]], ...] = (
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
"""The families of edits, in the order in which they are made at each place."""


def _sides(source: PythonSource, node: ast.BinOp) -> tuple[str, str, str] | None:
    """Return the left side of an operator, what stands between the sides, and the right side.

    Both sides have their parentheses. Returns None if the operator is not found between them.
    """
    start, end = source.span(node)
    left_end, right_start = source.span(node.left)[1], source.span(node.right)[0]
    operator = {**ARITHMETIC, **BITS, ast.MatMult: "@"}[type(node.op)]
    operator_start = source.code.find(operator, left_end, right_start)
    if operator_start < 0:
        return None
    # The span of an operand leaves its parentheses out, so the sides are what stands before and after the operator.
    left = source.code[start:operator_start].rstrip()
    right = source.code[operator_start + len(operator) : end].lstrip()
    return left, source.code[start + len(left) : end - len(right)], right


def _others(table: Mapping[type[ast.AST], str], old: str) -> Iterator[str]:
    """Return the operators of ``table`` but ``old``."""
    return (text for text in table.values() if text != old)


def _is_call_of_range(node: ast.AST) -> TypeGuard[ast.Call]:
    """Return whether ``node`` is a call of ``range``."""
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "range"


def _is_value(node: ast.AST) -> bool:
    """Return whether ``-`` may be written directly before the node, and ``[::-1]`` or ``+ 1`` directly after it.

    Names that are assigned or deleted are excluded, as are numbers and other constants.
    """
    return isinstance(node, ast.Name | ast.Call | ast.Attribute | ast.Subscript) and isinstance(
        getattr(node, "ctx", ast.Load()), ast.Load
    )


def _is_whole(node: ast.AST) -> bool:
    """Return whether the node is an expression other than a constant, a starred value, a tuple, a list or a dictionary."""
    return isinstance(node, ast.expr) and not isinstance(
        node, ast.Constant | ast.Starred | ast.Tuple | ast.List | ast.Dict
    )


def _constants_in(tree: ast.AST, kinds: tuple[type, ...]) -> Iterator[int | float | str]:
    """Yield the constants in a program whose type is exactly one of ``kinds``, so that True is not taken for a number."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and type(node.value) in kinds:
            yield node.value  # type: ignore[misc]


def _distinct(values: Iterable[int | float | str]) -> list[int | float | str]:
    """Return each value once, in order. 1 and 1.0 count as two values."""
    return list({(type(value), value): value for value in values}.values())


class _Scopes:
    """The names in scope at each use of a name.

    They are the parameters of the innermost function around the name, and the names that are assigned in this function. Inside a
    lambda, the names of the function around the lambda are in scope as well. Outside of functions, all names of the program are.
    """

    def __init__(self, tree: ast.Module) -> None:
        self._names_at: dict[ast.Name, list[str]] = {}
        self._walk(tree, names_bound_in(tree))

    def others(self, name: ast.Name) -> list[str]:
        """Return the names in scope at ``name`` except its own."""
        return [other for other in self._names_at.get(name, ()) if other != name.id]

    def _walk(self, node: ast.AST, names: list[str]) -> None:
        """Record the names in scope at each name below ``node``, in which ``names`` are in scope."""
        for child in ast.iter_child_nodes(node):
            inner_names = names
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                inner_names = names_bound_in(child, names if isinstance(child, ast.Lambda) else ())
            elif isinstance(child, ast.Name):
                self._names_at[child] = names
            self._walk(child, inner_names)
