"""Make mutants of a reference: programs that are one small change away from it.

They show which mistakes a task's checks would let through. The changes are the standard operators of mutation testing (Jia and
Harman, "An Analysis and Survey of the Development of Mutation Testing", 2011; the tools PIT, mutmut and cosmic-ray), and slips that
models make: a bound that is off by one, or a method in place of its twin. A mutant may behave like the reference, which cannot be
detected here.

    >>> [(mutant.operator, mutant.after) for mutant in mutants_of("def f(a, b):\\n    return a + b\\n", "f")]
    [('return', 'return None'), ('arithmetic', 'return a - b')]
"""

from __future__ import annotations

import ast
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from mlx_selfdebug.domains.python_source import same_scope
from mlx_selfdebug.parsing import parse

# The operators work on `ast`, without a library. cosmic-ray's operators can be used on a string, but bring 13 packages (aiohttp,
# SQLAlchemy, ...), and mutmut's bring pytest and textual. libcst (2 MB and PyYAML) has no operators, and it preserves layout and
# comments, which a program that is run once and dropped does not need. `ast.unparse` also gives the normal form by which duplicates
# are recognised.


MUTABLE = frozenset({"python", "project"})
"""Domains of whose programs mutants can be made."""


@dataclass(frozen=True)
class Mutant:
    """A program that differs from the reference by one change."""

    operator: str
    """The name of the operator that made the change, such as "arithmetic"."""
    line: int
    """The changed line of the reference, counted from 1."""
    before: str
    """The first line that differs, as ``ast.unparse`` writes it, in the reference."""
    after: str
    """The same line in the mutant."""
    source: str
    """The whole mutant."""


def mutants_of(source: str, entry_point: str = "", *, max_mutants: int = 0, seed: str | int = 0) -> list[Mutant]:
    """Return mutants of the code that ``entry_point`` uses, in the order of the source. No two of them are the same.

    If ``entry_point`` is empty, all of ``source`` is changed. If ``max_mutants`` is above 0, at most that many are drawn, and the
    same ``seed`` draws the same ones. The list is empty if ``source`` does not parse or is nested too deeply to be unparsed.
    """
    try:
        mutants = _all_mutants(source, entry_point)
    except (ValueError, RecursionError):
        # ast.unparse of Python 3.11 raises ValueError for some f-strings.
        return []
    if not max_mutants or len(mutants) <= max_mutants:
        return mutants
    chosen = random.Random(f"{seed}:mutants").sample(range(len(mutants)), max_mutants)
    return [mutants[i] for i in sorted(chosen)]


def _all_mutants(source: str, entry_point: str) -> list[Mutant]:
    tree = parse(source)
    if tree is None:
        return []
    reference = ast.unparse(tree)
    # The reference is in the dictionary so that a change without effect is skipped as a duplicate.
    by_text: dict[str, Mutant] = {reference: Mutant("none", 0, "", "", reference)}
    for statement in _reached(tree, entry_point):
        for place in _places(statement):
            for operator, changed in _changes(place):
                text = place.text_with(changed, tree)
                if text not in by_text:
                    by_text[text] = Mutant(operator, place.line, *_first_difference(reference, text), text)
    return list(by_text.values())[1:]


def _first_difference(reference: str, text: str) -> tuple[str, str]:
    pairs = zip(reference.splitlines(), text.splitlines(), strict=False)
    return next(((a.strip(), b.strip()) for a, b in pairs if a != b), ("", ""))


def _reached(tree: ast.Module, entry_point: str) -> list[ast.stmt]:
    """Return the statements of the module that the entry point uses. A mutant of a helper that nothing calls cannot be caught."""
    bound = {node: _bound(node) for node in tree.body}
    waiting = {entry_point}
    reached: set[ast.stmt] = {node for node, names in bound.items() if not names or not entry_point}
    waiting |= {name for node in reached for name in _used(node)}
    while new := {node for node, names in bound.items() if names & waiting and node not in reached}:
        reached |= new
        waiting |= {name for node in new for name in _used(node)}
    return [node for node in tree.body if node in reached]


def _bound(statement: ast.stmt) -> set[str]:
    """Return the names that the statement defines in the module."""
    names = set()
    for node in same_scope([statement]):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return names


def _used(statement: ast.stmt) -> set[str]:
    return {node.id for node in ast.walk(statement) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}


@dataclass(frozen=True)
class _Place:
    """The place of a node in the tree: ``parent.field``, or ``parent.field[index]``."""

    node: ast.AST
    parent: ast.AST
    field: str
    index: int | None = None

    @property
    def line(self) -> int:
        # An operator node such as ast.Add has no line of its own.
        return getattr(self.node, "lineno", 0) or getattr(self.parent, "lineno", 0)

    def text_with(self, changed: ast.AST, tree: ast.Module) -> str:
        """Return the program with ``changed`` in this place. The tree itself is unchanged afterwards."""
        self._put(changed)
        try:
            return ast.unparse(tree)
        finally:
            self._put(self.node)

    def _put(self, node: ast.AST) -> None:
        if self.index is None:
            setattr(self.parent, self.field, node)
        else:
            getattr(self.parent, self.field)[self.index] = node


_UNTOUCHED_FIELDS = {"annotation", "returns", "decorator_list", "format_spec", "type_params"}
_UNTOUCHED = (ast.Import, ast.ImportFrom, ast.Global, ast.Nonlocal)


def _places(parent: ast.AST) -> Iterator[_Place]:
    """Yield the places below ``parent`` that may be changed, in the order of the source.

    Docstrings, annotations, decorators and imports are left alone.
    """
    for field, value in ast.iter_fields(parent):
        if field in _UNTOUCHED_FIELDS:
            continue
        if isinstance(value, ast.AST):
            yield from _place_and_below(_Place(value, parent, field))
        elif isinstance(value, list):
            for index, node in enumerate(value):
                if isinstance(node, ast.AST):
                    yield from _place_and_below(_Place(node, parent, field, index))


def _place_and_below(place: _Place) -> Iterator[_Place]:
    node = place.node
    is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    is_text = is_text or (isinstance(node, ast.Constant) and isinstance(place.parent, ast.JoinedStr))
    if not is_text and not isinstance(node, _UNTOUCHED):
        yield place
        yield from _places(node)


_Changes = Iterator[ast.AST]


def _changes(place: _Place) -> Iterator[tuple[str, ast.AST]]:
    for name, operator in _OPERATORS:
        for changed in operator(place):
            yield name, changed


_ARITHMETIC: dict[type[ast.AST], tuple[type[ast.AST], ...]] = {
    ast.Add: (ast.Sub,),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.Div,),
    ast.Div: (ast.Mult, ast.FloorDiv),
    ast.FloorDiv: (ast.Mult, ast.Div),
    ast.Mod: (ast.FloorDiv,),
    ast.Pow: (ast.Mult,),
    ast.LShift: (ast.RShift,),
    ast.RShift: (ast.LShift,),
    ast.BitAnd: (ast.BitOr,),
    ast.BitOr: (ast.BitAnd,),
    ast.BitXor: (ast.BitAnd,),
}
# Each replacement gives another result than the comparison in only one of three cases: the left side is less than, equal to or
# greater than the right side. For the case that no comparison covers there is a constant (see _decided). Checks that catch these
# replacements catch every other one, the comparison's opposite among them (Kaminski, Ammann and Offutt, "Improving logic-based
# testing", 2013).
_COMPARISON: dict[type[ast.AST], tuple[type[ast.AST], ...]] = {
    ast.Lt: (ast.LtE, ast.NotEq),
    ast.LtE: (ast.Lt, ast.Eq),
    ast.Gt: (ast.GtE, ast.NotEq),
    ast.GtE: (ast.Gt, ast.Eq),
    ast.Eq: (ast.LtE, ast.GtE),
    ast.NotEq: (ast.Lt, ast.Gt),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
}
# If the left side cannot be less than 0, comparing it with 0 by these replacements gives the same result as before.
_SAME_FROM_ZERO: dict[type[ast.AST], type[ast.AST]] = {
    ast.Eq: ast.LtE, ast.NotEq: ast.Gt, ast.Gt: ast.NotEq, ast.LtE: ast.Eq
}  # fmt: skip
_LOOP_EXIT: dict[type[ast.AST], tuple[type[ast.AST], ...]] = {ast.Break: (ast.Continue,), ast.Continue: (ast.Break,)}
_CONNECTIVE: dict[type[ast.AST], tuple[type[ast.AST], ...]] = {ast.And: (ast.Or,), ast.Or: (ast.And,)}


def _swap(table: dict[type[ast.AST], tuple[type[ast.AST], ...]]) -> Callable[[_Place], _Changes]:
    return lambda place: (kind() for kind in table.get(type(place.node), ()))


def _compared(place: _Place) -> _Changes:
    node, parent = place.node, place.parent
    for kind in _COMPARISON.get(type(node), ()):
        if not (kind is _SAME_FROM_ZERO.get(type(node)) and isinstance(parent, ast.Compare) and _from_zero(parent)):
            yield kind()


def _from_zero(node: ast.Compare) -> bool:
    """Return whether the comparison is of 0 with something that is seldom or never negative: a remainder or a length."""
    left, right = node.left, node.comparators[0]
    remainder = isinstance(left, ast.BinOp) and isinstance(left.op, ast.Mod)
    length = isinstance(left, ast.Call) and isinstance(left.func, ast.Name) and left.func.id == "len"
    return (remainder or length) and isinstance(right, ast.Constant) and right.value == 0


def _decided(place: _Place) -> _Changes:
    """Yield a constant in place of a comparison: the result that the comparison seldom has."""
    node = place.node
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        if isinstance(node.ops[0], ast.Lt | ast.Gt | ast.Eq):
            yield ast.Constant(False)
        # A condition that is always true would make an endless loop, which any check catches, but only after seconds.
        elif isinstance(node.ops[0], ast.LtE | ast.GtE | ast.NotEq) and not isinstance(place.parent, ast.While):
            yield ast.Constant(True)


def _one_side(place: _Place) -> _Changes:
    """Yield the boolean expression without one of its operands, as ``a`` for ``a and b``."""
    node = place.node
    if isinstance(node, ast.BoolOp):
        for i in range(len(node.values)):
            rest = node.values[:i] + node.values[i + 1 :]
            yield rest[0] if len(rest) == 1 else ast.BoolOp(node.op, rest)


def _negated(place: _Place) -> _Changes:
    """Yield the negation of a condition, unless other operators already give its opposite or a mutant that is harder to catch."""
    node = place.node
    other = isinstance(node, ast.Compare | ast.UnaryOp | ast.Constant)
    if place.field in ("test", "ifs") and isinstance(node, ast.expr) and not other:
        yield ast.UnaryOp(ast.Not(), node)


def _without_sign(place: _Place) -> _Changes:
    if isinstance(place.node, ast.UnaryOp):
        yield place.node.operand


def _constant(place: _Place) -> _Changes:
    value = place.node.value if isinstance(place.node, ast.Constant) else None
    if isinstance(value, bool):
        yield ast.Constant(not value)
    elif isinstance(value, int | float):
        yield from (ast.Constant(value + 1), ast.Constant(value - 1))
    elif isinstance(value, str):
        yield ast.Constant("" if value else "XX")


def _off_by_one(place: _Place) -> _Changes:
    """Yield a bound of a range or slice plus and minus 1. A bound that holds a number is left to the changes of that number."""
    node = place.node
    if isinstance(node, ast.expr) and _is_bound(place) and not any(isinstance(n, ast.Constant) for n in ast.walk(node)):
        yield ast.BinOp(node, ast.Add(), ast.Constant(1))
        yield ast.BinOp(node, ast.Sub(), ast.Constant(1))


def _is_bound(place: _Place) -> bool:
    parent = place.parent
    if isinstance(parent, ast.Call) and place.field == "args":
        return isinstance(parent.func, ast.Name) and parent.func.id == "range"
    return isinstance(parent, ast.Slice) and place.field != "step"


def _slice(place: _Place) -> _Changes:
    node = place.node
    if isinstance(node, ast.Slice):
        for name in ("lower", "upper", "step"):
            kept = {field: value for field, value in ast.iter_fields(node) if field != name}
            yield ast.Slice(**kept)


def _return(place: _Place) -> _Changes:
    if isinstance(place.node, ast.Return) and place.node.value is not None:
        yield ast.Return(ast.Constant(None))


def _statement(place: _Place) -> _Changes:
    """Yield ``pass`` in place of a statement that is executed for its effect."""
    if isinstance(place.node, ast.Expr | ast.AugAssign):
        yield ast.Pass()


_TWINS = (
    ("min", "max"), ("any", "all"), ("lower", "upper"), ("islower", "isupper"), ("isalpha", "isalnum"), ("lstrip", "rstrip"),
    ("startswith", "endswith"), ("find", "rfind"), ("index", "rindex"), ("floor", "ceil"),
)  # fmt: skip
_TWIN = {**dict(_TWINS), **{b: a for a, b in _TWINS}}


def _call(place: _Place) -> _Changes:
    """Yield the call with the twin of its function, and the call without one of its keyword arguments."""
    node = place.node
    if isinstance(node, ast.Call):
        func = node.func
        if isinstance(func, ast.Name) and func.id in _TWIN:
            yield ast.Call(ast.Name(_TWIN[func.id], ast.Load()), node.args, node.keywords)
        if isinstance(func, ast.Attribute) and func.attr in _TWIN:
            yield ast.Call(ast.Attribute(func.value, _TWIN[func.attr], ast.Load()), node.args, node.keywords)
        for i in range(len(node.keywords)):
            yield ast.Call(func, node.args, node.keywords[:i] + node.keywords[i + 1 :])


_OPERATORS: tuple[tuple[str, Callable[[_Place], _Changes]], ...] = (
    ("arithmetic", _swap(_ARITHMETIC)),
    ("comparison", _compared),
    ("comparison", _decided),
    ("boolean", _swap(_CONNECTIVE)),
    ("boolean", _one_side),
    ("condition", _negated),
    ("unary", _without_sign),
    ("constant", _constant),
    ("boundary", _off_by_one),
    ("slice", _slice),
    ("loop exit", _swap(_LOOP_EXIT)),
    ("return", _return),
    ("statement", _statement),
    ("call", _call),
)
