"""Turns test modules written for unittest or pytest into the source of checks. Each assertion becomes a plain ``assert``.

Supported are ``TestCase`` classes with ``setUp``, ``tearDown`` and their class-wide forms, ``subTest``, classes and functions whose
name begins with "test", ``parametrize``, ``raises`` and ``approx``. Neither framework is imported. Fixtures, conditional skips and
mocks are not supported and raise ValueError.

    >>> print(tests_to_source("def test_f():\\n    assert f(2) == 4"))
    def test_f():
        assert f(2) == 4
    <BLANKLINE>
    def check(candidate):
        with independent_test('test_f'):
            test_f()
    <BLANKLINE>
"""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Iterator, Sequence

from mlx_selfdebug.values.doctests import is_foreign
from mlx_selfdebug.values.parsing import parse_expression, parse_quietly

# Each form takes the arguments as {0}, {1}, ... Keyword arguments that change the meaning are added by _assertion.
_ASSERTIONS = {
    "assertEqual": "{0} == {1}",
    "assertNotEqual": "{0} != {1}",
    "assertTrue": "{0}",
    "assertFalse": "not {0}",
    "assertIs": "{0} is {1}",
    "assertIsNot": "{0} is not {1}",
    "assertIsNone": "{0} is None",
    "assertIsNotNone": "{0} is not None",
    "assertIn": "{0} in {1}",
    "assertNotIn": "{0} not in {1}",
    "assertIsInstance": "isinstance({0}, {1})",
    "assertNotIsInstance": "not isinstance({0}, {1})",
    "assertGreater": "{0} > {1}",
    "assertGreaterEqual": "{0} >= {1}",
    "assertLess": "{0} < {1}",
    "assertLessEqual": "{0} <= {1}",
    "assertRegex": "__import__('re').search({1}, {0})",
    "assertNotRegex": "not __import__('re').search({1}, {0})",
    "assertCountEqual": "sorted({0}, key=repr) == sorted({1}, key=repr)",
    "assertSequenceEqual": "list({0}) == list({1})",
    "assertAlmostEqual": "almost_equal({0}, {1})",
    "assertNotAlmostEqual": "not almost_equal({0}, {1})",
    **dict.fromkeys(
        ("assertListEqual", "assertTupleEqual", "assertSetEqual", "assertDictEqual", "assertMultiLineEqual"),
        "{0} == {1}",
    ),
}
_ALMOST = ("assertAlmostEqual", "assertNotAlmostEqual")
_RAISES = ("assertRaises", "assertRaisesRegex")
_FRAMEWORKS = ("unittest", "pytest")


def tests_to_source(source: str) -> str:
    """Return source that defines ``check(candidate)``, which runs the tests of ``source``.

    Raises SyntaxError if ``source`` does not parse, and ValueError if it has no tests or uses anything that is not supported.
    """
    tree = parse_quietly(textwrap.dedent(source))
    body = [node for node in tree.body if not is_foreign(node) and not _is_main(node)]
    runs = [line for node in body for line in _runs(node)]
    if not runs:
        raise ValueError("the source has no tests: neither a TestCase nor a function test_...")
    module = _Translator().visit(ast.Module(body, []))
    check = "def check(candidate):\n" + textwrap.indent("\n".join(runs), "    ") + "\n"
    return f"{ast.unparse(ast.fix_missing_locations(module))}\n\n{check}"


def _is_main(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and "__name__" in ast.unparse(node.test)


def _runs(node: ast.stmt) -> Iterator[str]:
    """Yield the statements that run the tests of a class or function. ``node`` is not translated yet."""
    if isinstance(node, ast.ClassDef) and _is_test_class(node):
        yield from _class_runs(node)
    elif isinstance(node, ast.FunctionDef) and node.name.startswith("test"):
        yield _function_run(node.name, node.name, node)


def _is_test_class(node: ast.ClassDef) -> bool:
    return node.name.startswith("Test") or any("TestCase" in ast.unparse(base) for base in node.bases)


def _class_runs(node: ast.ClassDef) -> Iterator[str]:
    methods = {item.name: item for item in node.body if isinstance(item, ast.FunctionDef)}
    prepare = [name for name in ("setup_class", "setUpClass") if name in methods]
    yield from (f"{node.name}.{name}()" for name in prepare)
    names = [name for name in methods if name.startswith("test")]
    for name in sorted(names) if any("TestCase" in ast.unparse(base) for base in node.bases) else names:
        yield _function_run(f"{node.name}.{name}", f"case.{name}", methods[name], _around(node.name, methods))
    yield from (f"{node.name}.{name}()" for name in ("tearDownClass", "teardown_class") if name in methods)


def _around(class_name: str, methods: dict[str, ast.FunctionDef]) -> tuple[list[str], list[str]]:
    before = [f"case = {class_name}()"]
    before += [f"case.{name}()" for name in ("setup_method", "setUp") if name in methods]
    return before, [f"case.{name}()" for name in ("tearDown", "teardown_method") if name in methods]


def _function_run(
    label: str, call: str, node: ast.FunctionDef, around: tuple[Sequence[str], Sequence[str]] = ((), ())
) -> str:
    names, values = _parameters(node)
    taken = len(node.args.args) - call.startswith("case.")
    if taken != len(names):
        raise ValueError(f"{label}: fixtures are not supported")
    before, after = around
    arguments = "" if not names else "values" if len(names) == 1 else "*values"
    body = f"{call}({arguments})"
    if after:
        body = "try:\n" + textwrap.indent(body, "    ") + "\nfinally:\n" + textwrap.indent("\n".join(after), "    ")
    block = f"with independent_test({label!r}):\n" + textwrap.indent("\n".join([*before, body]), "    ")
    return f"for values in {values}:\n{textwrap.indent(block, '    ')}" if names else block


def _parameters(node: ast.FunctionDef) -> tuple[list[str], str]:
    """Return the names and the values of the test's only ``parametrize``."""
    for decorator in node.decorator_list:
        if isinstance(decorator, ast.Call) and ast.unparse(decorator.func).endswith("parametrize"):
            names = ast.literal_eval(decorator.args[0])
            parts = names.split(",") if isinstance(names, str) else names
            return [part.strip() for part in parts], ast.unparse(decorator.args[1])
        raise ValueError(f"{node.name}: the decorator {ast.unparse(decorator)} is not supported")
    return [], ""


class _Translator(ast.NodeTransformer):
    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        node.bases = [base for base in node.bases if "TestCase" not in ast.unparse(base)]
        return self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.decorator_list = [item for item in node.decorator_list if "parametrize" not in ast.unparse(item)]
        return self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        if isinstance(node.value, ast.Name) and node.value.id == "pytest" and node.attr in ("raises", "approx"):
            return ast.Name(node.attr, ast.Load())
        if isinstance(node.value, ast.Name) and node.value.id in _FRAMEWORKS:
            raise ValueError(f"{ast.unparse(node)} is not supported")
        return self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        call, name = node.value, _own_method(node.value)
        if not name or not isinstance(call, ast.Call):
            return self.generic_visit(node)
        if name in _RAISES and len(call.args) > 1 + (name == "assertRaisesRegex"):
            return self._raises_call(call, name)
        statement = _assertion(call, name)
        return self.generic_visit(parse_quietly(statement).body[0])

    def visit_With(self, node: ast.With) -> ast.AST:
        for item in node.items:
            name = _own_method(item.context_expr)
            if name and isinstance(item.context_expr, ast.Call):
                item.context_expr = _context(item.context_expr, name)
        return self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        name = _own_method(node)
        if name.startswith(("assert", "skip", "patch", "add")):
            raise ValueError(f"self.{name} is not supported here")
        return self.generic_visit(node)

    def _raises_call(self, call: ast.Call, name: str) -> ast.AST:
        n_own = 1 + (name == "assertRaisesRegex")
        inner = ast.Call(call.args[n_own], call.args[n_own + 1 :], call.keywords)
        context = _context(ast.Call(call.func, call.args[:n_own], []), name)
        return self.generic_visit(ast.With([ast.withitem(context)], [ast.Expr(inner)]))


def _own_method(node: ast.expr) -> str:
    """Return the name in ``self.name(...)`` if it is a method of unittest, otherwise an empty string."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name):
        own = node.func.value.id in ("self", "cls")
        return node.func.attr if own and node.func.attr.startswith(("assert", "fail", "sub", "skip")) else ""
    return ""


def _assertion(call: ast.Call, name: str) -> str:
    if name == "fail":
        return "raise AssertionError" if not call.args else f"raise AssertionError({ast.unparse(call.args[0])})"
    form = _ASSERTIONS.get(name)
    if form is None or any(isinstance(argument, ast.Starred) for argument in call.args):
        raise ValueError(f"self.{name} is not supported")
    texts = [f"({ast.unparse(argument)})" for argument in call.args]
    if len(texts) < (2 if "{1}" in form else 1):
        raise ValueError(f"self.{name} has too few arguments")
    condition = ast.unparse(parse_expression(form.format(*texts)))
    if name in _ALMOST:
        extra = [f"{keyword.arg}={ast.unparse(keyword.value)}" for keyword in call.keywords if keyword.arg != "msg"]
        extra = [f"places={ast.unparse(call.args[2])}", *extra] if len(call.args) > 2 else extra
        condition = "".join([condition[:-1], *(f", {text}" for text in extra), ")"])
    return f"assert {condition}"


def _context(call: ast.Call, name: str) -> ast.expr:
    if name == "subTest":
        return ast.Call(ast.Name("independent_test", ast.Load()), [ast.Constant(f"subTest({_inside(call)})")], [])
    if name not in _RAISES:
        raise ValueError(f"self.{name} is not supported as a context manager")
    keywords = [ast.keyword("match", call.args[1])] if name == "assertRaisesRegex" else []
    return ast.Call(ast.Name("raises", ast.Load()), call.args[:1], keywords)


def _inside(call: ast.Call) -> str:
    return ast.unparse(call).partition("(")[2][:-1]
