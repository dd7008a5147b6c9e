"""Turn test modules for unittest or pytest into the source of checks. Each assertion becomes a plain ``assert``.

Supported are ``TestCase`` classes with ``setUp``, ``tearDown`` and their forms for classes and modules, ``subTest``, classes and
functions whose name begins with "test", inherited tests, nested classes, ``parametrize``, ``raises`` and ``approx``. Fixtures,
skips, async tests and mocks are not supported. Each test is run, or a reason is given why it is not. Neither framework is imported.

    >>> print(tests_to_source("def test_f():\\n    assert f(2) == 4"))
    def test_f():
        assert f(2) == 4
    <BLANKLINE>
    def check(candidate):
        with independent_test('test_f'):
            test_f()
    <BLANKLINE>

The steps are these. The names that the module imports are resolved (imports.py). Its tests are found (collection.py) in its
functions and classes (classes.py), with their marks (marks.py). Its statements are translated (translation.py, assertions.py).
Finally, checks are put together from some of the tests, the statements that these need, and a function that calls them (calls.py).
"""

from __future__ import annotations

import ast
import builtins
import copy
import sys
import textwrap
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from mlx_selfdebug.parsing import parse_quietly
from mlx_selfdebug.translating.assertions import PARAM_SOURCE, STAND_IN, STAND_IN_SOURCE
from mlx_selfdebug.translating.calls import MODULE_FUNCTIONS, check_source, values_name
from mlx_selfdebug.translating.classes import Function, SourceClass
from mlx_selfdebug.translating.collection import FoundTest, find_tests
from mlx_selfdebug.translating.imports import FRAMEWORKS, Imports, Renamed, is_foreign, sole_name
from mlx_selfdebug.translating.marks import NOT_EMPTY, NOT_EMPTY_SOURCE, Parameters
from mlx_selfdebug.translating.translation import Translation


def tests_to_source(source: str) -> str:
    """Return source that defines ``check(candidate)``, which runs all tests of ``source``.

    Raises SyntaxError if ``source`` does not parse, and ValueError if it has no tests or some that cannot be run. The message names
    these tests with the reasons.
    """
    suite = Suite(source)
    if refusals := suite.refusals():
        raise ValueError("; ".join(refusals))
    return suite.source(sole_name(suite.imports))


@dataclass(frozen=True)
class Case:
    """A test of a suite, as it appears to callers."""

    label: str
    """The name of the test after the names of its classes, such as ``TestPrices.test_total``."""
    uses: frozenset[str]
    """The origins of everything from other modules that the test, and the statements it needs, use (see imports.py)."""
    problem: str
    """The reason why the test cannot be run, or an empty string."""


class Suite:
    """The tests of one module, from which checks can be made."""

    def __init__(self, source: str, module_name: str = "") -> None:
        """Read the tests of ``source``. ``module_name`` is the dotted name of the module, if it is known.

        Raises SyntaxError or ValueError if the source does not parse.
        """
        tree = parse_quietly(textwrap.dedent(source))
        tree.body = [_without_annotation(node) for node in tree.body]
        self.imports = Imports(tree, module_name)
        self._has_params = "pytest.param" in self.imports.used(tree)
        tests = find_tests(tree, self.imports)
        self._test_ids = {id(test.node) for test in tests}
        """The ``id()`` of the node of each test."""
        self._translation = Translation(tree, self.imports, self._test_ids)
        self._tests = [self._translated(test) for test in tests]
        self._uses: dict[int, set[str]] = {}
        """The origins that a node uses, by the ``id()`` of the node. This is a cache for ``_used``."""
        self._bindings: dict[str, list[ast.stmt]] = {}
        """For each name, the statements that do nothing but bind it. Only tests that use the name need them."""
        for node in self._translation.body:
            for name in self._bound(node):
                self._bindings.setdefault(name, []).append(node)

    @cached_property
    def cases(self) -> tuple[Case, ...]:
        """The tests of the module, including those that cannot be run."""
        return tuple(map(self._case, self._tests))

    def refusals(self, name_of: Callable[[str], str] | None = None) -> list[str]:
        """Return the reasons why tests cannot be run, each once, after the labels of the tests.

        With ``name_of`` (see ``Renamed``), one reason is the use of a foreign thing for which it returns no name.
        """
        reasons: dict[str, list[str]] = {}
        for case in self.cases:
            reason = case.problem or (_lacking(case, name_of) if name_of else "")
            if reason:
                reasons.setdefault(reason, []).append(case.label)
        if not self.cases:
            return [self._translation.problem or "the source has no tests: neither a TestCase nor a function test_..."]
        return [f"{', '.join(labels)}: {reason}" for reason, labels in reasons.items()]

    def source(self, name_of: Callable[[str], str], labels: Container[str] | None = None) -> str:
        """Return the source of checks that run the tests with these labels, or all tests. Tests with a problem are left out.

        ``name_of`` returns the name that a tested thing has in checks, by its origin (see ``Renamed``).
        """
        chosen = [test for test in self._tests if not test.problem and (labels is None or test.label in labels)]
        needed = {id(node) for test in chosen for node in self._needed(test).statements}
        parameters = {id(test.node): test.own for test in chosen}
        statements = [
            _reduced(node, self._test_ids, parameters) for node in self._translation.body if id(node) in needed
        ]
        renamed = Renamed(self.imports, name_of)
        visited = map(renamed.visit, copy.deepcopy(statements))
        body = [node for node in visited if isinstance(node, ast.stmt) and not isinstance(node, ast.Pass)]
        # Imports from __future__ have to come first, even before the helpers.
        future: list[ast.stmt] = [
            node for node in body if isinstance(node, ast.ImportFrom) and node.module == "__future__"
        ]
        rest = _unparsed([node for node in body if node not in future])
        functions = {node.name: node for node in body if isinstance(node, Function)}
        check = check_source([_visited(test, renamed) for test in chosen], functions, with_params=self._has_params)
        helpers = [
            STAND_IN_SOURCE if STAND_IN in rest else "",
            PARAM_SOURCE if self._has_params else "",
            NOT_EMPTY_SOURCE if NOT_EMPTY in check else "",
        ]
        parts = [_unparsed(future), *helpers, rest, check]
        return "\n\n".join(part.strip("\n") for part in parts if part) + "\n"

    def _translated(self, test: FoundTest) -> FoundTest:
        """Return the test with the values of its parameters translated, or with the reason why they cannot be."""
        try:
            return _visited(test, self._translation.translator)
        except ValueError as error:
            return replace(test, problem=str(error))

    def _bound(self, node: ast.stmt) -> list[str]:
        """Return the names that a statement of the module binds, or nothing if it also does something else."""
        if isinstance(node, Function | ast.ClassDef):
            is_called = node.name in MODULE_FUNCTIONS or any(map(self._may_register, node.decorator_list))
            return [] if is_called else [node.name]
        if isinstance(node, ast.Assign) and all(isinstance(target, ast.Name) for target in node.targets):
            return [target.id for target in node.targets if isinstance(target, ast.Name)]
        return []

    def _may_register(self, decorator: ast.expr) -> bool:
        """Return whether a decorator may do more than return a function, such as register it, since it is not a standard one."""
        origin = self._translation.called(decorator)
        is_standard = origin.partition(".")[0] in sys.stdlib_module_names - FRAMEWORKS
        return not is_standard and not hasattr(builtins, ast.unparse(decorator))

    def _case(self, test: FoundTest) -> Case:
        """Return a test as callers see it. A problem of a statement that it needs is a problem of the test."""
        needed = self._needed(test)
        reasons = [test.problem, self._translation.problem]
        reasons += [self._translation.problems.get(id(node), "") for node in (*needed.statements, *needed.parts)]
        uses = frozenset[str]().union(*(self._used(part) for part in needed.parts))
        return Case(test.label, uses, next(filter(None, reasons), ""))

    def _used(self, part: ast.AST) -> set[str]:
        """Return the origins that a node uses."""
        if id(part) not in self._uses:
            self._uses[id(part)] = self.imports.used(part)
        return self._uses[id(part)]

    def _needed(self, test: FoundTest) -> _Needed:
        """Return the statements of the module that a test needs, directly or through other statements."""
        values = [parameters.values for parameters in (*test.own, *test.around)]
        classes = _classes_around(test.owner) if test.owner else []
        # A statement that does more than bind names is always needed, such as ``random.seed(0)``.
        statements = [node for node in self._translation.body if not self._bound(node)]
        statements += [class_.node for class_ in classes if class_.outer is None] or [test.node]
        parts: list[ast.AST] = [test.node, *values]
        for node in (*statements, *(class_.node for class_ in classes)):
            parts += self._parts(node)
        names: set[str] = set()
        for part in parts:  # The list grows while it is read: what a needed statement uses is needed too.
            for name in _names(part) - names:
                names.add(name)
                for node in self._bindings.get(name, ()):
                    if not any(node is statement for statement in statements):
                        statements.append(node)
                        parts += self._parts(node)
        return _Needed(statements, parts)

    def _parts(self, node: ast.stmt) -> list[ast.AST]:
        """Return the nodes that a statement needs by itself: for a class, its body without tests, its bases and its decorators."""
        if not isinstance(node, ast.ClassDef):
            return [node]
        inner = [item for item in node.body if id(item) not in self._test_ids]
        return [*node.bases, *node.decorator_list, *(part for item in inner for part in self._parts(item))]


@dataclass(frozen=True)
class _Needed:
    """What a test needs."""

    statements: list[ast.stmt]
    """The statements at the top level of the module."""
    parts: list[ast.AST]
    """The nodes in which names are looked for: the test, the values of its parameters, and its statements without other tests."""


def _classes_around(owner: SourceClass) -> list[SourceClass]:
    """Return the class of a test, the classes that it inherits from, and the classes around each of them."""
    classes: list[SourceClass] = []
    for class_ in owner.order:
        outer: SourceClass | None = class_
        while outer is not None:
            classes += [outer] if outer is class_ or outer not in classes else []
            classes += [other for other in outer.order if other not in classes]
            outer = outer.outer
    return classes


def _reduced(node: ast.stmt, tests: Container[int], chosen: Mapping[int, Sequence[Parameters]]) -> ast.stmt:
    """Return a class without the tests that were not chosen, and with the values of each chosen test assigned above the test.

    Any other statement is returned as it is. ``tests`` holds the ``id()`` of the node of each test. ``chosen`` holds the parameters
    of each chosen test, by the ``id()`` of its node. With one chosen test, a class becomes:

        class TestSlug:
            _values_test_a_0 = [("A", "a"), ("B C", "b-c")]    # from the decorator of test_a
            def test_a(self, title, slug): ...
    """
    if not isinstance(node, ast.ClassDef):
        return node
    body: list[ast.stmt] = []
    for item in node.body:
        if isinstance(item, Function) and id(item) in chosen:
            values = enumerate(parameters.values for parameters in chosen[id(item)])
            body += [
                ast.Assign([ast.Name(values_name(item.name, n), ast.Store())], value, lineno=0) for n, value in values
            ]
        if id(item) in chosen or id(item) not in tests:
            body.append(_reduced(item, tests, chosen))
    reduced = copy.copy(node)
    reduced.body = body or [ast.Pass()]
    return reduced


def _visited(test: FoundTest, transformer: ast.NodeTransformer) -> FoundTest:
    """Return a copy of the test in which the values of its parameters are transformed."""

    def visited(given: Sequence[Parameters]) -> tuple[Parameters, ...]:
        return tuple(replace(item, values=transformer.visit(copy.deepcopy(item.values))) for item in given)

    return replace(test, own=visited(test.own), around=visited(test.around))


def _lacking(case: Case, name_of: Callable[[str], str]) -> str:
    """Return the reason why a test that uses a foreign thing without a name cannot be run, or else an empty string."""
    for origin in sorted(filter(is_foreign, case.uses)):
        parts = origin.split(".")
        if not any(name_of(".".join(parts[:n])) for n in range(1, len(parts) + 1)):
            return f"it uses {origin.lstrip('.')}, which a test run does not have"
    return ""


def _without_annotation(node: ast.stmt) -> ast.stmt:
    """Return ``x: int = 1`` as ``x = 1``, and any other statement as it is."""
    if isinstance(node, ast.AnnAssign) and node.value is not None:
        return ast.copy_location(ast.Assign([node.target], node.value), node)
    return node


def _names(node: ast.AST) -> set[str]:
    return {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}


def _unparsed(body: list[ast.stmt]) -> str:
    return ast.unparse(ast.fix_missing_locations(ast.Module(body, [])))
