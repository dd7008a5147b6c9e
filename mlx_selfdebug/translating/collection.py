"""Find the tests of a module as pytest and unittest do, without running anything.

Each function whose name begins with "test" becomes a test that can be run, or one with a problem that says why it cannot. Functions
inside other functions are no tests.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mlx_selfdebug.translating.classes import Function, SourceClass, assigned_names, read_classes
from mlx_selfdebug.translating.imports import Imports
from mlx_selfdebug.translating.marks import Parameters, marks_in, named_marks, read_marks

_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
"""What binds its name to a function or class. A later definition of the same name replaces it."""
_NO_FRAMEWORK = "its class is no TestCase and has no name that begins with Test, and no such class inherits from it"


@dataclass(frozen=True)
class FoundTest:
    """A test of a module, which can be run unless ``problem`` says why not."""

    label: str
    """The name of the test after the names of its classes, such as ``TestPrices.test_total``."""
    node: ast.stmt
    """The function, or the statement that stands for tests that cannot be run."""
    owner: SourceClass | None = None
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
    finder.add_misplaced(tree.body, "")
    for class_ in finder.classes:
        finder.add_misplaced(class_.node.body, f"{class_.path}.")
    for node in tree.body:
        if isinstance(node, Function) and node.name.startswith("test"):
            finder.add(node.name, node, None)
        elif isinstance(node, ast.ClassDef):
            finder.add_class(next(class_ for class_ in finder.classes if class_.node is node), "")
    finder.add_rest()
    return finder.tests


class _Finder:
    """Collects the tests of a module in ``tests``."""

    def __init__(self, tree: ast.Module, imports: Imports) -> None:
        self.imports = imports
        self.classes = read_classes(tree, imports)
        self.tests: list[FoundTest] = []
        self._functions = {node.name: node for node in tree.body if isinstance(node, Function)}
        assigned = assigned_names(tree.body)
        self._marks = named_marks(assigned, imports)
        self._module_marks = marks_in(assigned["pytestmark"]) if "pytestmark" in assigned else []
        self._accounted: set[int] = set()
        """The ``id()`` of each function that is among the found tests, or that a class deliberately does not run."""
        self._replaced: set[int] = set()
        """The ``id()`` of each function and class that a later definition of the same name replaces."""

    def add_misplaced(self, body: Sequence[ast.stmt], prefix: str) -> None:
        """Add the tests in the body of a module or class that are replaced, stand inside an ``if`` or the like, or are assigned.

        All of them have a problem. ``prefix`` is the path of the class with a dot, or empty for the module.
        """
        last = {node.name: node for node in body if isinstance(node, _Definition)}
        for node in body:
            if not isinstance(node, _Definition):
                where = type(node).__name__.lower()
                reason = f"it stands inside `{where}`; only tests at the top level of a file or class are run"
            elif last[node.name] is not node:
                reason = f"`{node.name}` is defined again below, and only the last one would run; give one of them another name"
                self._replaced.add(id(node))
            else:
                continue
            for label, test in _tests_inside(node, prefix):
                self._accounted.add(id(test))
                self.tests.append(FoundTest(label, test, problem=reason))
            if isinstance(node, ast.Assign) and self._may_be_function(node.value):
                names = [target.id for target in node.targets if isinstance(target, ast.Name)]
                reason = "it is assigned; only tests that are written with def are run"
                labels = [f"{prefix}{name}" for name in names if name.startswith("test")]
                self.tests += [FoundTest(label, node, problem=reason) for label in labels]

    def _may_be_function(self, value: ast.expr) -> bool:
        """Return whether an assigned value is a function, or the result of a function that defines a function."""
        if isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id in self._functions:
            maker = self._functions[value.func.id]
            return any(isinstance(part, Function | ast.Lambda) for part in ast.walk(maker) if part is not maker)
        return isinstance(value, ast.Lambda) or (isinstance(value, ast.Name) and value.id in self._functions)

    def add_class(self, class_: SourceClass, around: str) -> None:
        """Add the tests of a class, and of the classes inside it, if a framework would run them.

        ``around`` is the path of the test class around it, with a dot, or empty at the top level.
        """
        path = f"{around}{class_.node.name}"
        is_test_case = any(other.is_test_case for other in class_.order)
        is_run = is_test_case or class_.node.name.startswith("Test")
        unknown = next((other.unknown for other in class_.order if other.unknown), "")
        if id(class_.node) in self._replaced:
            return
        if unknown and (class_.tests or class_.is_like_a_test):
            self._add_problem(class_, path, unknown)
        if unknown or not is_run:
            return
        self._accounted |= {id(function) for other in class_.order for function in other.functions.values()}
        switch = class_.constants.get("__test__")  # ``__test__ = False`` tells pytest not to run a class
        if isinstance(switch, ast.Constant) and not switch.value:
            return
        if not is_test_case and class_.tests and {"__init__", "__new__"} & class_.members.keys():
            self._add_problem(class_, path, "its class has an __init__, so that pytest does not run it")
            return
        # unittest runs tests by name and ignores classes inside classes. pytest runs tests in the order of the source.
        for name in sorted(class_.tests) if is_test_case else class_.tests:
            self.add(f"{path}.{name}", class_.tests[name], class_)
        if not is_test_case:
            inner_classes = [
                inner for other in reversed(class_.order) for inner in self.classes if inner.outer is other
            ]
            # Of several inner classes with one name, the last is that of the class which inherits from the others.
            for inner in {inner.node.name: inner for inner in inner_classes}.values():
                self.add_class(inner, f"{path}.")

    def _add_problem(self, class_: SourceClass, path: str, problem: str) -> None:
        """Add the tests of a class as tests that cannot be run, or the class itself if none of its tests is known."""
        self._accounted |= {id(function) for function in class_.tests.values()}
        for name, function in class_.tests.items():
            self.tests.append(FoundTest(f"{path}.{name}", function, class_, problem=problem))
        if not class_.tests:
            self.tests.append(FoundTest(path, class_.node, class_, problem=problem))

    def add(self, label: str, node: Function, owner: SourceClass | None) -> None:
        """Add a test with its parameters, or with the reason why it cannot be run."""
        if id(node) in self._replaced:
            return
        try:
            own = read_marks(node.decorator_list, self.imports, self._marks)
            around = read_marks(self._marks_around(owner), self.imports, self._marks)
            if (own or around) and owner and any(class_.is_test_case for class_ in owner.order):
                raise ValueError("parametrize is not supported in a TestCase")
            _check_function(node, Counter(name for given in (*own, *around) for name in given.names), owner is not None)
        except ValueError as error:
            self.tests.append(FoundTest(label, node, owner, problem=str(error)))
        else:
            self.tests.append(FoundTest(label, node, owner, tuple(own), tuple(around)))

    def _marks_around(self, owner: SourceClass | None) -> list[ast.expr]:
        """Return the marks of the module, of the class and of its bases, each once."""
        marks = list(self._module_marks)
        for class_ in owner.order if owner else ():
            marks += class_.node.decorator_list
            marks += marks_in(class_.constants["pytestmark"]) if "pytestmark" in class_.constants else []
        return list({ast.unparse(mark): mark for mark in marks}.values())

    def add_rest(self) -> None:
        """Add the tests of classes that no framework runs and no test class inherits from. All others are accounted for."""
        for class_ in self.classes:
            for name, function in class_.functions.items():
                if name.startswith("test") and id(function) not in self._accounted:
                    self.tests.append(FoundTest(f"{class_.path}.{name}", function, problem=_NO_FRAMEWORK))


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

    ``given`` counts how many decorators give each argument. With ``in_class``, the first argument is the instance.
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
