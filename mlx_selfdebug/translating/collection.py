"""Find the tests of a module as pytest and unittest do, without running anything.

Each function whose name begins with "test" becomes a test that can be run, or one with a problem that says why it cannot. Functions
inside other functions are no tests.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mlx_selfdebug.translating.classes import Function, KnownClass, assigned_names, read_classes
from mlx_selfdebug.translating.imports import Imports
from mlx_selfdebug.translating.marks import Parameters, marks_in, named_marks, read_marks

_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
_NO_FRAMEWORK = "its class is no TestCase and has no name that begins with Test, and no such class inherits from it"


@dataclass(frozen=True)
class FoundTest:
    """A test of a module, which can be run unless ``problem`` says why not."""

    label: str
    """The name of the test after the names of its classes, such as ``TestPrices.test_total``."""
    node: ast.stmt
    """The function, or the statement that stands for tests that cannot be run."""
    owner: KnownClass | None = None
    """The class that runs the test, which may have inherited it, or None for a function of the module."""
    own: tuple[Parameters, ...] = ()
    """The parameters in the decorators of the test itself."""
    around: tuple[Parameters, ...] = ()
    """The parameters that its classes and the module give to all of their tests."""
    problem: str = ""
    """The reason why the test cannot be run, or an empty string."""


def find_tests(tree: ast.Module, imports: Imports) -> list[FoundTest]:
    """Return the tests of a module, including those that cannot be run."""
    finder = _Finder(tree, imports)
    finder.note_problems(tree.body, "")
    for known in finder.classes:
        finder.note_problems(known.node.body, f"{known.path}.")
    for node in tree.body:
        if isinstance(node, Function) and node.name.startswith("test"):
            finder.add(node.name, node, None)
        elif isinstance(node, ast.ClassDef):
            finder.add_class(next(known for known in finder.classes if known.node is node), "")
    finder.add_rest()
    return finder.found


class _Finder:
    """Collects the tests of a module in ``found``."""

    def __init__(self, tree: ast.Module, imports: Imports) -> None:
        self.imports = imports
        self.classes = read_classes(tree, imports)
        self.found: list[FoundTest] = []
        self._functions = {node.name: node for node in tree.body if isinstance(node, Function)}
        assigned = assigned_names(tree.body)
        self._marks = named_marks(assigned, imports)
        self._module_marks = marks_in(assigned["pytestmark"]) if "pytestmark" in assigned else []
        self._accounted: set[int] = set()
        """The ``id()`` of each function that is among the found tests, or that a class deliberately does not run."""
        self._replaced: set[int] = set()
        """The ``id()`` of each function and class that a later definition of the same name replaces."""

    def note_problems(self, body: Sequence[ast.stmt], prefix: str) -> None:
        """Add the tests in the body of a module or class that are replaced by others, assigned, or inside an ``if`` or the like.

        ``prefix`` is the path of the class with a dot, or empty for the module.
        """
        last = {node.name: node for node in body if isinstance(node, _Definition)}
        for node in body:
            reason = f"it stands inside `{type(node).__name__.lower()}`; only tests at the top level of a file or class are run"
            if isinstance(node, _Definition):
                if last[node.name] is node:
                    continue
                reason = f"`{node.name}` is defined again below, and only the last one would run; give one of them another name"
                self._replaced.add(id(node))
            for label, test in _tests_inside(node, prefix):
                self._accounted.add(id(test))
                self.found.append(FoundTest(label, test, problem=reason))
            if isinstance(node, ast.Assign) and self._makes_function(node.value):
                names = [target.id for target in node.targets if isinstance(target, ast.Name)]
                reason = "it is assigned; only tests that are written with def are run"
                tests = (f"{prefix}{name}" for name in names if name.startswith("test"))
                self.found += [FoundTest(label, node, problem=reason) for label in tests]

    def _makes_function(self, value: ast.expr) -> bool:
        """Return whether the value of an assignment is a function, or may be: the result of a function that defines another."""
        if isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id in self._functions:
            maker = self._functions[value.func.id]
            return any(isinstance(part, Function | ast.Lambda) for part in ast.walk(maker) if part is not maker)
        return isinstance(value, ast.Lambda) or (isinstance(value, ast.Name) and value.id in self._functions)

    def add_class(self, known: KnownClass, around: str) -> None:
        """Add the tests of a class, and of the classes inside it, if a framework would run them.

        ``around`` is the path of the test class around it, with a dot, or empty at the top level.
        """
        path = f"{around}{known.node.name}"
        is_test_case = any(other.is_test_case for other in known.order)
        is_run = is_test_case or known.node.name.startswith("Test")
        unknown = next((other.unknown for other in known.order if other.unknown), "")
        if id(known.node) in self._replaced:
            return
        if unknown and (known.tests or known.is_like_a_test):
            self._add_problem(known, path, unknown)
        if unknown or not is_run:
            return
        self._accounted |= {id(item) for other in known.order for item in other.functions.values()}
        switch = known.constants.get("__test__")
        if isinstance(switch, ast.Constant) and not switch.value:
            return
        if not is_test_case and known.tests and {"__init__", "__new__"} & known.members.keys():
            self._add_problem(known, path, "its class has an __init__, so that pytest does not run it")
            return
        for name in sorted(known.tests) if is_test_case else known.tests:
            self.add(f"{path}.{name}", known.tests[name], known)
        if not is_test_case:
            inherited = [inner for other in reversed(known.order) for inner in self.classes if inner.outer is other]
            for inner in {inner.node.name: inner for inner in inherited}.values():
                self.add_class(inner, f"{path}.")

    def _add_problem(self, known: KnownClass, path: str, problem: str) -> None:
        """Add the tests of a class as tests that cannot be run, or the class itself if all its tests are inherited."""
        self._accounted |= {id(item) for item in known.tests.values()}
        for name, item in known.tests.items():
            self.found.append(FoundTest(f"{path}.{name}", item, known, problem=problem))
        if not known.tests:
            self.found.append(FoundTest(path, known.node, known, problem=problem))

    def add(self, label: str, node: Function, owner: KnownClass | None) -> None:
        """Add a test with its parameters, or with the reason why it cannot be run."""
        if id(node) in self._replaced:
            return
        try:
            own = read_marks(node.decorator_list, self.imports, self._marks)
            around = read_marks(self._marks_around(owner), self.imports, self._marks)
            if (own or around) and owner and any(known.is_test_case for known in owner.order):
                raise ValueError("parametrize is not supported in a TestCase")
            _check_function(node, Counter(name for given in (*own, *around) for name in given.names), owner is not None)
        except ValueError as error:
            self.found.append(FoundTest(label, node, owner, problem=str(error)))
        else:
            self.found.append(FoundTest(label, node, owner, tuple(own), tuple(around)))

    def _marks_around(self, owner: KnownClass | None) -> list[ast.expr]:
        """Return the marks of the module, of the class and of its bases, each once."""
        marks = list(self._module_marks)
        for known in owner.order if owner else ():
            marks += known.node.decorator_list
            marks += marks_in(known.constants["pytestmark"]) if "pytestmark" in known.constants else []
        return list({ast.unparse(mark): mark for mark in marks}.values())

    def add_rest(self) -> None:
        """Add the tests of classes that no framework runs and no test class inherits from. All others are accounted for."""
        for known in self.classes:
            for name, item in known.functions.items():
                if name.startswith("test") and id(item) not in self._accounted:
                    self.found.append(FoundTest(f"{known.path}.{name}", item, problem=_NO_FRAMEWORK))


def _tests_inside(node: ast.AST, prefix: str) -> Iterator[tuple[str, ast.stmt]]:
    """Yield the label and the node of each test in a statement, without those inside functions."""
    if isinstance(node, Function):
        if node.name.startswith("test"):
            yield f"{prefix}{node.name}", node
        return
    inside = f"{prefix}{node.name}." if isinstance(node, ast.ClassDef) else prefix
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.stmt | ast.ExceptHandler | ast.match_case):
            yield from _tests_inside(child, inside)


def _check_function(node: Function, given: Counter[str], in_class: bool) -> None:
    """Raise ValueError if the test is no plain function, or if its arguments are not those that ``parametrize`` gives.

    ``given`` counts how often each argument is given.
    """
    if isinstance(node, ast.AsyncFunctionDef):
        raise ValueError("async tests are not supported")
    if any(isinstance(part, ast.Yield | ast.YieldFrom) for part in _own_parts(node)):
        raise ValueError("tests that yield are not supported")
    positional = [*node.args.posonlyargs, *node.args.args]
    n_needed = len(positional) - len(node.args.defaults)
    is_bound = in_class and not any(ast.unparse(decorator) == "staticmethod" for decorator in node.decorator_list)
    needed = [argument.arg for argument in positional[int(is_bound) : n_needed]]
    by_name = zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
    needed += [argument.arg for argument, default in by_name if default is None]
    if fixtures := [name for name in needed if name not in given]:
        raise ValueError(f"fixtures are not supported ({', '.join(fixtures)})")
    taken = {argument.arg for argument in (*positional, *node.args.kwonlyargs)}
    if wrong := [name for name in given if name not in taken or given[name] > 1]:
        raise ValueError(f"parametrize gives {', '.join(wrong)}, which the test does not take, or takes only once")


def _own_parts(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes inside a function, without those inside its inner functions."""
    for child in ast.iter_child_nodes(node):
        yield child
        if not isinstance(child, Function | ast.Lambda):
            yield from _own_parts(child)
