"""Make mutants of a reference: programs that are one small change away from it.

Mutants show which mistakes a task's checks would let through. Most operators are the standard ones of mutation testing (Jia and
Harman, "An Analysis and Survey of the Development of Mutation Testing", 2011; the tools PIT, mutmut and cosmic-ray). The rest make
mistakes that language models make, such as a bound that is off by one, or ``max`` instead of ``min``. A mutant may happen to behave
like the reference. That is not detected here.

    >>> [(mutant.operator, mutant.after) for mutant in mutants_of("def f(a, b):\\n    return a + b\\n", "f")]
    [('return', 'return None'), ('arithmetic', 'return a - b')]
"""

from __future__ import annotations

import ast
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from mlx_selfdebug.domains.python_source import same_scope
from mlx_selfdebug.parsing import parse

# The operators work on `ast`, without a library. cosmic-ray's operators can be used on a string, but bring 13 packages (aiohttp,
# SQLAlchemy, ...), and mutmut's bring pytest and textual. libcst (2 MB and PyYAML) has no operators, and it preserves layout and
# comments, which do not matter in a program that is run once and dropped. `ast.unparse` also gives the normal form by which
# duplicates are recognised.

MUTABLE = frozenset({"python", "project"})
"""The domains whose programs are Python, so that mutants can be made of them."""


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
    """Return the distinct mutants of the code that ``entry_point`` uses, in the order of the source.

    If ``entry_point`` is empty, all of ``source`` is mutated. If ``max_mutants`` is above 0, at most that many mutants are drawn at
    random, and the same ``seed`` draws the same ones. The list is empty if ``source`` does not parse or cannot be unparsed.
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
    """Return all distinct mutants, in the order of the source. The list is empty if ``source`` does not parse."""
    tree = parse(source)
    if tree is None:
        return []
    reference = ast.unparse(tree)
    # The reference is in the dictionary so that a change without effect is skipped as a duplicate.
    by_text: dict[str, Mutant] = {reference: Mutant("none", 0, "", "", reference)}
    for statement in _reached_statements(tree, entry_point):
        for place in _places(statement):
            for operator, changed in _changes(place):
                text = place.text_with(changed, tree)
                if text not in by_text:
                    by_text[text] = Mutant(operator, place.line, *_first_difference(reference, text), text)
    return list(by_text.values())[1:]  # all but the reference


def _first_difference(reference: str, text: str) -> tuple[str, str]:
    """Return the first line of each text that differs from the same line of the other, or empty texts if there is none."""
    pairs = zip(reference.splitlines(), text.splitlines(), strict=False)
    return next(((before.strip(), after.strip()) for before, after in pairs if before != after), ("", ""))


def _reached_statements(tree: ast.Module, entry_point: str) -> list[ast.stmt]:
    """Return the statements of the module that the entry point uses, or all of them if it is empty.

    The rest is left alone, since no check can catch a mutant of a helper that nothing calls. A statement that defines no name, such
    as a bare call, is always among the returned ones: it runs when the module is loaded.
    """
    defined = {node: _defined_names(node) for node in tree.body}
    reached: set[ast.stmt] = {node for node, names in defined.items() if not names or not entry_point}
    needed = {entry_point}.union(*map(_used_names, reached))
    while new := {node for node, names in defined.items() if names & needed and node not in reached}:
        reached |= new
        needed = needed.union(*map(_used_names, new))
    return [node for node in tree.body if node in reached]


def _defined_names(statement: ast.stmt) -> set[str]:
    """Return the names that the statement defines in the module."""
    names = set()
    for node in same_scope([statement]):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return names


def _used_names(statement: ast.stmt) -> set[str]:
    return {node.id for node in ast.walk(statement) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}


@dataclass(frozen=True)
class _Place:
    """The place of a node in the tree: ``parent.field``, or ``parent.field[index]`` if the field is a list."""

    node: ast.AST
    parent: ast.AST
    field: str
    index: int | None = None

    @property
    def line(self) -> int:
        """The line of the node, counted from 1, or 0 if it is not known."""
        # An operator node such as ast.Add has no line of its own.
        return getattr(self.node, "lineno", 0) or getattr(self.parent, "lineno", 0)

    def text_with(self, changed: ast.AST, tree: ast.Module) -> str:
        """Return the source of ``tree`` with ``changed`` in this place. The tree is left as it was."""
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


# Fields and statements in which nothing is mutated. ``_places`` says what they hold.
_UNTOUCHED_FIELDS = {"annotation", "returns", "decorator_list", "format_spec", "type_params"}
_UNTOUCHED = (ast.Import, ast.ImportFrom, ast.Global, ast.Nonlocal)


def _places(parent: ast.AST) -> Iterator[_Place]:
    """Yield the places below ``parent`` that may be mutated, in the order of the source.

    Docstrings, the literal text of f-strings, annotations, decorators, imports, ``global`` and ``nonlocal`` are left alone.
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
    is_docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    is_text_of_f_string = isinstance(node, ast.Constant) and isinstance(place.parent, ast.JoinedStr)
    if not is_docstring and not is_text_of_f_string and not isinstance(node, _UNTOUCHED):
        yield place
        yield from _places(node)


def _changes(place: _Place) -> Iterator[tuple[str, ast.AST]]:
    """Yield the name of an operator and a node that it puts into this place, for each change of each operator."""
    for name, operator in _OPERATORS:
        for changed in operator(place):
            yield name, changed


_NodeType = type[ast.AST]
_Replacements = Mapping[_NodeType, tuple[_NodeType, ...]]
_Changed = Iterator[ast.AST]
"""What an operator yields: the nodes that may take the place of a node."""

_ARITHMETIC: _Replacements = {
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
# The left side of a comparison is less than, equal to or greater than the right side. Each replacement of an order or an equality
# differs from the original in only one of these three cases. The constant of _decide_comparison differs in the case that is left.
# Checks that catch these mutants also catch every other replacement, such as the comparison's opposite (Kaminski, Ammann and
# Offutt, "Improving logic-based testing", 2013).
_COMPARISON: _Replacements = {
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
# If the left side of a comparison with 0 cannot be negative, these replacements never change its result.
_SAME_FROM_ZERO: Mapping[_NodeType, _NodeType] = {
    ast.Eq: ast.LtE, ast.NotEq: ast.Gt, ast.Gt: ast.NotEq, ast.LtE: ast.Eq
}  # fmt: skip
# In these and the tables above, a node of the type on the left is replaced by one of a type on the right.
_LOOP_EXIT: _Replacements = {ast.Break: (ast.Continue,), ast.Continue: (ast.Break,)}
_CONNECTIVE: _Replacements = {ast.And: (ast.Or,), ast.Or: (ast.And,)}


def _swap(table: _Replacements) -> Callable[[_Place], _Changed]:
    """Return an operator that replaces a node by its replacements in ``table``."""
    return lambda place: (replacement() for replacement in table.get(type(place.node), ()))


def _swap_comparison(place: _Place) -> _Changed:
    """Yield the replacements of a comparison operator that can change a result."""
    node, parent = place.node, place.parent
    for replacement in _COMPARISON.get(type(node), ()):
        is_same = replacement is _SAME_FROM_ZERO.get(type(node))
        if not (is_same and isinstance(parent, ast.Compare) and _compares_with_zero(parent)):
            yield replacement()


def _compares_with_zero(node: ast.Compare) -> bool:
    """Return whether 0 is compared with a remainder or a length, which are seldom or never negative."""
    left, right = node.left, node.comparators[0]
    is_remainder = isinstance(left, ast.BinOp) and isinstance(left.op, ast.Mod)
    is_length = isinstance(left, ast.Call) and isinstance(left.func, ast.Name) and left.func.id == "len"
    return (is_remainder or is_length) and isinstance(right, ast.Constant) and right.value == 0


def _decide_comparison(place: _Place) -> _Changed:
    """Yield the constant that replaces a comparison: False for ``<``, ``>`` and ``==``, True for ``<=``, ``>=`` and ``!=``."""
    node = place.node
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        if isinstance(node.ops[0], ast.Lt | ast.Gt | ast.Eq):
            yield ast.Constant(False)
        # A loop whose condition is always true mostly does not end. Any check catches that, but only after seconds.
        elif isinstance(node.ops[0], ast.LtE | ast.GtE | ast.NotEq) and not isinstance(place.parent, ast.While):
            yield ast.Constant(True)


def _drop_operand(place: _Place) -> _Changed:
    """Yield a boolean expression without one of its operands, such as ``a`` instead of ``a and b``."""
    node = place.node
    if isinstance(node, ast.BoolOp):
        for i in range(len(node.values)):
            rest = node.values[:i] + node.values[i + 1 :]
            yield rest[0] if len(rest) == 1 else ast.BoolOp(node.op, rest)


def _negate_condition(place: _Place) -> _Changed:
    """Yield the negation of a condition.

    A comparison, a negation and a constant are left to other operators, which make their opposite or a mutant that is harder to
    catch.
    """
    node = place.node
    is_left_to_others = isinstance(node, ast.Compare | ast.UnaryOp | ast.Constant)
    if place.field in ("test", "ifs") and isinstance(node, ast.expr) and not is_left_to_others:
        yield ast.UnaryOp(ast.Not(), node)


def _drop_unary(place: _Place) -> _Changed:
    """Yield the operand of a sign, of ``~`` or of ``not``."""
    if isinstance(place.node, ast.UnaryOp):
        yield place.node.operand


def _change_constant(place: _Place) -> _Changed:
    """Yield the opposite of a boolean, a number plus and minus 1, an empty string for any other, and "XX" for an empty string."""
    value = place.node.value if isinstance(place.node, ast.Constant) else None
    if isinstance(value, bool):
        yield ast.Constant(not value)
    elif isinstance(value, int | float):
        yield from (ast.Constant(value + 1), ast.Constant(value - 1))
    elif isinstance(value, str):
        yield ast.Constant("" if value else "XX")


def _shift_bound(place: _Place) -> _Changed:
    """Yield a bound of a range or slice plus and minus 1, unless it holds a constant, which ``_change_constant`` changes."""
    node = place.node
    if isinstance(node, ast.expr) and _is_bound(place) and not any(isinstance(n, ast.Constant) for n in ast.walk(node)):
        yield ast.BinOp(node, ast.Add(), ast.Constant(1))
        yield ast.BinOp(node, ast.Sub(), ast.Constant(1))


def _is_bound(place: _Place) -> bool:
    parent = place.parent
    if isinstance(parent, ast.Call) and place.field == "args":
        return isinstance(parent.func, ast.Name) and parent.func.id == "range"
    return isinstance(parent, ast.Slice) and place.field != "step"


def _drop_slice_part(place: _Place) -> _Changed:
    """Yield a slice without its lower bound, without its upper bound, and without its step."""
    node = place.node
    if isinstance(node, ast.Slice):
        for name in ("lower", "upper", "step"):
            kept = {field: value for field, value in ast.iter_fields(node) if field != name}
            yield ast.Slice(**kept)


def _return_none(place: _Place) -> _Changed:
    """Yield ``return None`` instead of a ``return`` with a value."""
    if isinstance(place.node, ast.Return) and place.node.value is not None:
        yield ast.Return(ast.Constant(None))


def _drop_statement(place: _Place) -> _Changed:
    """Yield ``pass`` instead of a statement that has an effect and no control flow: an expression or an augmented assignment."""
    if isinstance(place.node, ast.Expr | ast.AugAssign):
        yield ast.Pass()


_TWINS = (
    ("min", "max"), ("any", "all"), ("lower", "upper"), ("islower", "isupper"), ("isalpha", "isalnum"), ("lstrip", "rstrip"),
    ("startswith", "endswith"), ("find", "rfind"), ("index", "rindex"), ("floor", "ceil"),
)  # fmt: skip
"""Functions and methods that are easily confused, in pairs."""
_TWIN = {**dict(_TWINS), **{second: first for first, second in _TWINS}}


def _change_call(place: _Place) -> _Changed:
    """Yield a call of the twin of the called function, and the call without each of its keyword arguments."""
    node = place.node
    if isinstance(node, ast.Call):
        func = node.func
        if isinstance(func, ast.Name) and func.id in _TWIN:
            yield ast.Call(ast.Name(_TWIN[func.id], ast.Load()), node.args, node.keywords)
        if isinstance(func, ast.Attribute) and func.attr in _TWIN:
            yield ast.Call(ast.Attribute(func.value, _TWIN[func.attr], ast.Load()), node.args, node.keywords)
        for i in range(len(node.keywords)):
            yield ast.Call(func, node.args, node.keywords[:i] + node.keywords[i + 1 :])


_OPERATORS: Sequence[tuple[str, Callable[[_Place], _Changed]]] = (
    ("arithmetic", _swap(_ARITHMETIC)),
    ("comparison", _swap_comparison),
    ("comparison", _decide_comparison),
    ("boolean", _swap(_CONNECTIVE)),
    ("boolean", _drop_operand),
    ("condition", _negate_condition),
    ("unary", _drop_unary),
    ("constant", _change_constant),
    ("boundary", _shift_bound),
    ("slice", _drop_slice_part),
    ("loop exit", _swap(_LOOP_EXIT)),
    ("return", _return_none),
    ("statement", _drop_statement),
    ("call", _change_call),
)
