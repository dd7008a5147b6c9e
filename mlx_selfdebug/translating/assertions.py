"""Turn the assertions of unittest and pytest into plain ``assert``, ``with raises(...)`` and ``approx(...)``.

Names are resolved by the imports of the module (imports.py). A use of a framework that is not supported raises ValueError.
"""

from __future__ import annotations

import ast

from mlx_selfdebug.parsing import parse_expression, parse_quietly
from mlx_selfdebug.translating.imports import FRAMEWORKS, Imports, Scoped

STAND_IN = "_UnittestTestCase"
"""The name of the class that takes the place of ``unittest.TestCase`` among the bases of test classes."""
STAND_IN_SOURCE = f"""\
class {STAND_IN}:
    def setUp(self): pass
    def tearDown(self): pass
    @classmethod
    def setUpClass(cls): pass
    @classmethod
    def tearDownClass(cls): pass
"""
PARAM_SOURCE = """\
class param(tuple):
    def __new__(cls, *values, id=None): return super().__new__(cls, values)
"""
"""The source of a stand-in for ``pytest.param``. It is a subclass of tuple, so that it can be told from a value that is a tuple."""
_ASSERTIONS = {  # for each assertion, the condition that it asserts, in which {0} and {1} are the arguments
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
"""The assertions whose further arguments count: ``places`` and ``delta``."""
_RAISES = ("assertRaises", "assertRaisesRegex")
_OTHER_METHODS = frozenset(
    {
        "fail", "failIf", "failUnless", "subTest", "skipTest", "addCleanup", "addClassCleanup", "addTypeEqualityFunc",
        "doCleanups", "enterContext", "enterClassContext", "id", "shortDescription",
    }
)  # fmt: skip
"""Other methods of unittest.TestCase. Only ``fail`` and ``subTest`` are supported."""
_TOOLS = {"pytest.raises": "raises", "pytest.approx": "approx", "pytest.param": "param"}
"""The names that the supported functions of pytest have in checks."""


class Translator(Scoped, ast.NodeTransformer):
    """Translates one statement at a time. Raises ValueError for what is not supported.

    ``attributes`` are the names of methods and attributes that the module itself defines. A call such as ``self.assertSlug(...)``
    of one of them stays as it is.
    """

    def __init__(self, imports: Imports, attributes: set[str]) -> None:
        super().__init__(imports)
        self.attributes = attributes

    # Annotations are dropped, since they may use names that are only there in the module under test.

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_Name(self, node: ast.Name) -> ast.AST:
        if node.id == "__file__":
            raise ValueError("__file__ is not supported: the files beside the tests are not there in a test run")
        return self._translated_name(node) or node

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        return self._translated_name(node) or self.generic_visit(node)

    def _translated_name(self, node: ast.Name | ast.Attribute) -> ast.expr | None:
        """Return the name in checks of a function of pytest, or None if ``node`` is something else."""
        origin = self.origin(node)
        if origin in _TOOLS:
            return ast.copy_location(ast.Name(_TOOLS[origin], ast.Load()), node)
        if origin.partition(".")[0] in FRAMEWORKS and isinstance(node.ctx, ast.Load):
            raise ValueError(f"{origin} is not supported")
        return None

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        call = node.value
        if not isinstance(call, ast.Call):
            return self.generic_visit(node)
        origin, name = self.origin(call.func), self._test_case_method(call)
        if origin == "pytest.fail":
            return self.generic_visit(parse_quietly(_fail(call)).body[0])
        # The function that has to raise follows the exception, or the exception and the pattern of its message.
        n_before = 2 if name == "assertRaisesRegex" else 1
        if (origin == "pytest.raises" or name in _RAISES) and len(call.args) > n_before:
            return self._raises_call(call, n_before)
        return self.generic_visit(parse_quietly(_assertion(call, name)).body[0] if name else node)

    def visit_With(self, node: ast.With) -> ast.AST:
        for item in node.items:
            name = self._test_case_method(item.context_expr)
            if name and isinstance(item.context_expr, ast.Call):
                item.context_expr = _context(item.context_expr, name)
        return self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        name = self._test_case_method(node)
        if name:
            raise ValueError(f"self.{name} is not supported here")
        if self.origin(node.func) == "pytest.raises" and len(node.args) > 1:
            raise ValueError("pytest.raises with a function is only supported as a statement of its own")
        if self.origin(node.func) == "pytest.param" and any(keyword.arg != "id" for keyword in node.keywords):
            raise ValueError("pytest.param with marks is not supported")
        return self.generic_visit(node)

    def _test_case_method(self, node: ast.expr) -> str:
        """Return the name in ``self.name(...)`` if it is a method of ``unittest.TestCase``, or else an empty string."""
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            return ""
        owner, name = node.func.value, node.func.attr
        is_inherited = isinstance(owner, ast.Name) and owner.id in ("self", "cls") and name not in self.attributes
        return name if is_inherited and (name.startswith("assert") or name in _OTHER_METHODS) else ""

    def _raises_call(self, call: ast.Call, n_before: int) -> ast.AST:
        """Return the ``with`` statement for a call such as ``pytest.raises(ValueError, f, 1)``.

        ``n_before`` is the number of arguments before the function that has to raise.
        """
        raising = ast.Call(call.args[n_before], call.args[n_before + 1 :], call.keywords)
        manager = ast.Call(call.func, call.args[:n_before], [])
        name = self._test_case_method(call)
        context = _context(manager, name) if name else manager
        return self.generic_visit(ast.With([ast.withitem(context)], [ast.Expr(raising)]))


def _assertion(call: ast.Call, name: str) -> str:
    """Return the statement for the call of the assertion ``name``. Raises ValueError if it is not supported."""
    if name == "fail":
        return _fail(call)
    form = _ASSERTIONS.get(name)
    if form is None or any(isinstance(argument, ast.Starred) for argument in call.args):
        raise ValueError(f"self.{name} is not supported")
    texts = [f"({ast.unparse(argument)})" for argument in call.args]
    if len(texts) < (2 if "{1}" in form else 1):
        raise ValueError(f"self.{name} has too few arguments")
    condition = ast.unparse(parse_expression(form.format(*texts)))
    if name in _ALMOST:
        extra = [f"places={ast.unparse(call.args[2])}"] if len(call.args) > 2 else []
        extra += [f"{keyword.arg}={ast.unparse(keyword.value)}" for keyword in call.keywords if keyword.arg != "msg"]
        # The condition ends with the bracket of ``almost_equal(...)``, before which further arguments are put.
        condition = ", ".join([condition.removesuffix(")"), *extra]) + ")"
    return f"assert {condition}"


def _fail(call: ast.Call) -> str:
    """Return the statement for a call of ``self.fail`` or ``pytest.fail``."""
    return f"raise AssertionError({ast.unparse(call.args[0])})" if call.args else "raise AssertionError"


def _context(call: ast.Call, name: str) -> ast.expr:
    """Return the context manager for a ``with`` statement that calls the method ``name``.

    ``self.subTest(n=1)`` becomes ``independent_test('subTest(n=1)')``, and ``self.assertRaises(E)`` becomes ``raises(E)``. Raises
    ValueError for other methods.
    """
    if name == "subTest":
        label = ast.unparse(call).partition("(")[2][:-1]
        return ast.Call(ast.Name("independent_test", ast.Load()), [ast.Constant(f"subTest({label})")], [])
    if name not in _RAISES:
        raise ValueError(f"self.{name} is not supported as a context manager")
    arguments = dict(zip(("expected_exception", "expected_regex"), call.args, strict=False))
    arguments |= {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg}
    if "expected_exception" not in arguments or (name == "assertRaisesRegex" and "expected_regex" not in arguments):
        raise ValueError(f"self.{name} has too few arguments")
    keywords = [ast.keyword("match", arguments["expected_regex"])] if name == "assertRaisesRegex" else []
    return ast.Call(ast.Name("raises", ast.Load()), [arguments["expected_exception"]], keywords)
